"""Waves of a tile as steps: what was fetched, read, skipped, converted, summed and sent in each."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.rtlsim.waves.described import Described
from selvage.rtlsim.waves.file import TRANSFER, Events, WaveFile, signed
from selvage.rtlsim.waves.signals import SIGNED

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ReaderStep:
    """What one array, or pair, did in a step: OU reads and those skipped, row groups, planes, codes and their sum."""

    arrays: list[int]
    reads: int
    skipped: int
    row_groups: list[int]
    planes: list[int]
    codes: int  # converted, of all lanes
    codes_sum: int
    first_cycle: int | None  # of its reads at the pins
    last_cycle: int | None


@dataclass(frozen=True)
class ReadStory:
    """One OU read at the pins of a crossbar: word lines as a mask, and its codes by lane, where they have come."""

    array: int
    cycle: int
    plane: int
    wordlines: int
    column_group: int
    codes: list[int]


@dataclass(frozen=True)
class StepStory:
    """One step: where it stands, from which cycle to which, its words and the outputs that left."""

    step: int
    image: int
    row: int
    column: int
    first_cycle: int
    last_cycle: int
    whole: bool  # else it went no further in the waves
    pixels: list[tuple[int, int]]  # fetched inside the map
    outside: int  # words of the window outside the map or at an inserted zero
    readers: list[ReaderStep]
    outputs: list[dict[str, int]]  # output id, phase, channel, value


class Story:
    """The steps in a file of waves. `InputError`: they are of another design than the description."""

    def __init__(self, waves: WaveFile, described: Described) -> None:
        if waves.digest != described.digest:
            raise InputError(
                f"waves {waves.path} are of design {waves.digest or 'unknown'}, and the description beside them is of "
                f"{described.digest}"
            )
        self.waves, self.d = waves, described

    @cached_property
    def steps(self) -> list[int]:
        """The steps that were asked for and are whole, in order: their words came, and their outputs left."""
        loaded, counts = np.unique(self._word_index, return_counts=True)
        left = set(np.unique(self._beat_index).tolist())
        found = zip(loaded.tolist(), counts.tolist(), strict=True)
        first, count = self.d.asked
        asked = range(first, first + count)
        whole = [step for step, count in found if count == len(self._part(step)) and self._block(step) in left]
        return [step for step in whole if step in asked]

    @cached_property
    def unfinished(self) -> int | None:
        """The first step that was asked for and has begun, and is not whole; of a run that went wrong or was cut."""
        first, count = self.d.asked
        begun = set(np.unique(self._word_index).tolist()) & set(range(first, first + count))
        return min(begun - set(self.steps), default=None)

    @cached_property
    def _whole(self) -> set[int]:
        return set(self.steps)

    def story(self, step: int) -> StepStory:
        """Return one step, what there is of it. `InputError`: it is not in the waves."""
        if step not in self._whole and step != self.unfinished:
            known = f"they hold steps {self.steps[0]:,} to {self.steps[-1]:,}" if self.steps else "they hold none"
            raise InputError(f"step {step} is not in the waves {self.waves.path}: {known}")
        beats = _of(self._beats, self._beat_index, self._block(step))
        image, row, column = self._place(step)
        words = _of(self._words, self._word_index, step)
        pixels, outside = self._pixels(step, words)
        readers = [self._reader(k, step) for k in range(len(self.d.arrays))]
        seen = [int(k) for k in (*words.cycles[[0, -1]], *beats.cycles[:1], *beats.cycles[-1:])] if len(words) else [0]
        seen += [k for reader in readers for k in (reader.first_cycle, reader.last_cycle) if k is not None]
        return StepStory(
            step,
            image,
            row,
            column,
            min(seen),
            max(seen),
            step in self._whole,
            pixels,
            outside,
            readers,
            self._outputs(beats),
        )

    def _place(self, step: int) -> tuple[int, int, int]:
        """Return image, row and column of a step."""
        (first, every), (rows, columns) = self.d.computed, self.d.steps
        image, at = divmod(step, -(-(rows * columns - first) // every))
        row, column = divmod(first + at * every, columns)
        return image, row, column

    def _block(self, step: int) -> int:
        """Return the number of the output block of a step. Where steps overlap there are more blocks than steps."""
        if self.d.grid == self.d.steps:
            return step
        image, row, column = self._place(step)
        return (image * self.d.grid[0] + row) * self.d.grid[1] + column

    def _part(self, step: int) -> list[tuple[int, int, int]]:
        """Return the part of the load plan that a step of its kind has."""
        d, (_, *at) = self.d, self._place(step)
        kind = 0
        if d.kinds > 1:
            rest = [k * stride % insert for k, stride, insert in zip(at, d.stride, d.insert, strict=True)]
            kind = rest[0] * d.insert[1] + rest[1]
        begins = [*d.begins, len(d.reads)]
        return d.reads[begins[kind] : begins[kind + 1]]

    def _pixels(self, step: int, words: Events) -> tuple[list[tuple[int, int]], int]:
        """Return the pixels that the words of a step are of, and how many words are none."""
        d, (_, *at) = self.d, self._place(step)
        base = [k * stride for k, stride in zip(at, d.stride, strict=True)]
        found: dict[tuple[int, int], None] = {}
        outside = 0
        for row, column, _ in self._part(step)[: len(words)]:
            y, between = divmod(base[0] + row, d.insert[0])
            x, beside = divmod(base[1] + column, d.insert[1])
            if between or beside or not (0 <= y < d.size[0] and 0 <= x < d.size[1]):
                outside += 1
            else:
                found[y, x] = None
        return list(found), outside

    def _reader(self, k: int, step: int) -> ReaderStep:
        tags = _of(self._tags[k], self._tag_index[k], step)
        real = tags.where(tags.fields["tag_none"] == 0)
        picks = _of(self._picks[k], self._pick_index[k], step)
        groups = picks.fields["pick_group"][picks.fields["pick_none"] == 0]
        count = total = 0
        first: int | None = None
        last: int | None = None
        for macro in self.d.arrays[k]:
            codes = _of(self._codes[macro], self._code_index[macro], step)
            count += len(codes) * self.d.ou_cols
            total += int(codes.fields["sum"].sum())
            reads = _of(self._reads[macro], self._read_index[macro], step)
            if len(reads):
                first = min(int(reads.cycles[0]), int(reads.cycles[0]) if first is None else first)
                last = max(int(reads.cycles[-1]), last or 0)
        planes = real.fields.get("tag_plane", np.zeros(len(real), np.int64))
        return ReaderStep(
            self.d.arrays[k],
            len(real),
            self.d.dense[k] - len(real),
            [int(group) for group in groups],
            sorted({int(plane) for plane in planes}),
            count,
            total,
            first,
            last,
        )

    def _outputs(self, beats: Events) -> list[dict[str, int]]:
        found = []
        for k in range(len(beats)):
            ids = self.d.outputs[int(beats.fields["beat"][k])]
            keep = int(beats.fields["keep"][k])
            for lane, output in enumerate(ids):
                if output is not None and keep >> lane & 1:
                    phase, channel = divmod(output, self.d.channels)
                    value = int(beats.fields[f"value_{lane}"][k])
                    found.append({"output_id": output, "phase": phase, "channel": channel, "value": value})
        return found

    def reads(self, step: int) -> list[ReadStory]:
        """Return every OU read of a step in the order of cycles: what its pins showed, and the codes that came."""
        found = []
        for k, macros in enumerate(self.d.arrays):
            for macro in macros:
                names = [f"code_{lane}" for lane in range(self.d.ou_cols)]
                asked = self.waves.events(
                    f"crossbar_{macro}", "read", ["step", "wordlines", "column_group"], high=TRANSFER
                ).of_step(step)
                codes = self.waves.events(
                    f"crossbar_{macro}", "converted", ["codes_step", *names], high=TRANSFER
                ).of_step(step, "codes_step")
                planes = _of(self._tags[k], self._tag_index[k], step)
                planes = planes.where(planes.fields["tag_none"] == 0).fields.get("tag_plane")
                for number, cycle in enumerate(asked.cycles.tolist()):
                    here = number < len(codes)
                    found.append(
                        ReadStory(
                            macro,
                            cycle,
                            int(planes[number]) if planes is not None and number < len(planes) else 0,
                            int(asked.fields["wordlines"][number]),
                            int(asked.fields["column_group"][number]),
                            [int(codes.fields[name][number]) for name in names] if here else [],
                        )
                    )
        return sorted(found, key=lambda own: (own.cycle, own.array))

    @cached_property
    def _beats(self) -> Events:
        lanes = range(len(self.d.outputs[0]))
        fields = ["step", "beat", "keep", *(f"value_{k}" for k in lanes)]
        found = self.waves.events("leaving", "beats", fields, high=TRANSFER)
        for lane in lanes:
            width = self.waves.width(f"leaving.value_{lane}")
            found.fields[f"value_{lane}"] = signed(found.fields[f"value_{lane}"], width, SIGNED)
        return found

    @cached_property
    def _words(self) -> Events:
        return self.waves.events("input_buffer", "loads", ["step"])

    @cached_property
    def _tags(self) -> list[Events]:
        return [self._tag_events(k) for k in range(len(self.d.arrays))]

    def _tag_events(self, k: int) -> Events:
        scope = f"engine_{k}"
        fields = [name for name in ("tag_plane", "tag_none") if name in self.waves.names(scope)]
        return self.waves.events(scope, "decides", ["step", *fields], high=TRANSFER)

    @cached_property
    def _picks(self) -> list[Events]:
        fields = ["picks_step", "pick_group", "pick_none"]
        return [self.waves.events(f"engine_{k}", "picks", fields, high=TRANSFER) for k in range(len(self.d.arrays))]

    @property
    def _macros(self) -> list[int]:
        return [macro for arrays in self.d.arrays for macro in arrays]

    @cached_property
    def _reads(self) -> dict[int, Events]:
        return {m: self.waves.events(f"crossbar_{m}", "read", ["step"], high=TRANSFER) for m in self._macros}

    @cached_property
    def _codes(self) -> dict[int, Events]:
        found = {}
        for m in self._macros:
            names = [f"code_{lane}" for lane in range(self.d.ou_cols)]
            events = self.waves.events(f"crossbar_{m}", "converted", ["codes_step", *names], high=TRANSFER)
            total: Any = sum(events.fields[name] for name in names)
            found[m] = Events(events.cycles, {"codes_step": events.fields["codes_step"], "sum": total})
        return found

    @cached_property
    def _beat_index(self) -> Integers:
        return _index(self._beats, "step")

    @cached_property
    def _word_index(self) -> Integers:
        return _index(self._words, "step")

    @cached_property
    def _tag_index(self) -> list[Integers]:
        return [_index(events, "step") for events in self._tags]

    @cached_property
    def _pick_index(self) -> list[Integers]:
        return [_index(events, "picks_step") for events in self._picks]

    @cached_property
    def _code_index(self) -> dict[int, Integers]:
        return {m: _index(events, "codes_step") for m, events in self._codes.items()}

    @cached_property
    def _read_index(self) -> dict[int, Integers]:
        return {m: _index(events, "step") for m, events in self._reads.items()}

    def __iter__(self) -> Iterator[StepStory]:
        for step in self.steps:
            yield self.story(step)


def _index(events: Events, name: str) -> Integers:
    """Return the steps of events, which never fall."""
    return np.asarray(events.fields[name], np.int64)


def _of(events: Events, steps: Integers, step: int) -> Events:
    """Return the events of one step."""
    first, last = np.searchsorted(steps, [step, step + 1])
    return Events(events.cycles[first:last], {name: values[first:last] for name, values in events.fields.items()})
