"""The first component of a tile that shows something else than the golden model, from waves of its run.

Components are looked at in the order in which data goes through them, so what goes into the one that is named was
right. Where nothing is wrong and something is missing, the run hangs: then it is who neither offers nor takes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selvage.hw.tile.output import output_beats
from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.waves.file import REFUSED, TRANSFER, UNKNOWN, Events, WaveFile
from selvage.rtlsim.waves.words import masked, rows_of_mask
from selvage.sim.trace import Read, TileTrace


@dataclass(frozen=True)
class Finding:
    """What is wrong first: in which component, cycle and step, and what stood in the place of what."""

    component: str
    cycle: int | None
    step: int
    reason: str
    array: int | None = None  # crossbar
    block: int | None = None
    row_group: int | None = None
    plane: int | None = None
    column_group: int | None = None

    def __str__(self) -> str:
        when = "" if self.cycle is None else f" in cycle {self.cycle:,}"
        return f"{self.component}, step {self.step:,}{when}: {self.reason}"


Entry = Sequence[int]


@dataclass(frozen=True)
class Boundary:
    """What leaves a component: what it must show in a step, and what it showed.

    ``told`` says what an entry means; ``place`` gives what else is known of the place of entry k. ``handshake`` is the
    stream's signal, where it is a stream.
    """

    component: str
    expected: Sequence[Entry]
    shown: Events
    names: tuple[str, ...]
    told: Callable[[Entry], str]
    handshake: str = ""
    place: Callable[[int], dict[str, int]] = lambda _: {}
    taker: str = ""  # the component that takes it, where there is a handshake
    fed: int | None = None  # entries that what it has been given is enough for; None: all

    def entries(self) -> list[Entry]:
        """Return what was shown."""
        columns = [self.shown.fields[name].tolist() for name in self.names]
        return list(zip(*columns, strict=True))


def blame(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int) -> Finding | None:
    """Return what is wrong first in ``step``, or None where all components showed what they must."""
    boundaries = list(_boundaries(p, trace, waves, step))
    for boundary in boundaries:
        if found := _mismatch(boundary, step):
            return found
    return _missing(boundaries, waves, step)


def _mismatch(boundary: Boundary, step: int) -> Finding | None:
    """Return the first entry that is wrong; one that is missing is no mismatch as long as nothing comes after it."""
    shown = boundary.entries()
    for k, (found, wanted) in enumerate(zip(shown, boundary.expected, strict=False)):
        wrong = [a for a, b in zip(found, wanted, strict=True) if a != b and b != UNKNOWN]
        if wrong:
            says = "X" if UNKNOWN in wrong else boundary.told(found)
            reason = f"due: {boundary.told(wanted)}; shown: {says}"
            return Finding(boundary.component, int(boundary.shown.cycles[k]), step, reason, **boundary.place(k))
    if len(shown) > len(boundary.expected):
        k = len(boundary.expected)
        reason = f"due: nothing more; shown: {boundary.told(shown[k])}"
        return Finding(boundary.component, int(boundary.shown.cycles[k]), step, reason)
    return None


def _missing(boundaries: Sequence[Boundary], waves: WaveFile, step: int) -> Finding | None:
    """Return who does not go on: the first that offers nothing though it has what it needs, or else who refuses."""
    refused = None
    for boundary in boundaries:
        have, due = len(boundary.shown), len(boundary.expected)
        if have >= min(due, due if boundary.fed is None else boundary.fed):
            continue
        what = f"{have} of {due} in this step, and {boundary.told(boundary.expected[have])} does not come"
        if not boundary.handshake:
            return Finding(boundary.component, None, step, what, **boundary.place(have))
        state, since = waves.last(boundary.handshake), waves.since(boundary.handshake)
        if state == REFUSED:
            told = f"refuses {boundary.told(boundary.expected[have])} since then, {have} of {due} taken in this step"
            # Who stands still first makes the others stand.
            if refused is None or since < (refused.cycle or 0):
                refused = Finding(boundary.taker, since, step, told, **boundary.place(have))
            continue
        return Finding(boundary.component, since, step, f"offers nothing since then: {what}", **boundary.place(have))
    return refused


def _boundaries(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int) -> Iterator[Boundary]:
    """Yield all boundaries of a step, in the order in which data goes through them."""
    yield from _input(p, trace, waves, step)
    window = trace.window(step)
    for k in range(len(p.engines)):
        yield from _engine(p, trace, waves, step, k, window)
    for k in range(len(p.engines)):
        yield _accumulator(p, trace, waves, step, k)
    yield from _output(p, trace, waves, step)


def _input(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int) -> Iterator[Boundary]:
    buffer, lanes = p.buffer, range(p.buffer.lanes)
    image, *_ = trace.place(step)
    words = trace.fetched(step)
    every = waves.events("input_buffer", "loads", ["step", *(f"code_{k}" for k in lanes)])
    mine = every.of_step(step)
    # Two cycles before a word is out its address is asked for.
    asked = waves.events("input_buffer", "fetches", ["in_map", "address", "words"])
    first = mine.cycles[0] - 2 if len(mine) else waves.cycles[-1] + 1
    last = mine.cycles[-1] - 2 if len(mine) else first
    asked = asked.where((asked.cycles >= first) & (asked.cycles <= last))
    begins = waves.events("input_buffer", "begins", ["row", "column"])
    # The first word's address is asked for three cycles after its step has begun.
    begins = begins.where(begins.cycles == first - 3)
    row, column = trace.base(step)
    base = masked(row, waves.width("input_buffer.row")), masked(column, waves.width("input_buffer.column"))
    yield Boundary(
        "step generator", [base] if len(mine) else [], begins, ("row", "column"), lambda e: f"the base ({e[0]}, {e[1]})"
    )
    depth, per_image = buffer.depth, buffer.sweep.size[0] * buffer.pitch
    places = [(int(w.inside), w.word % depth if w.inside else UNKNOWN) for w in words]

    def told(entry: Entry) -> str:
        return f"the word at address {entry[1]}" if entry[0] else "a word outside the map"

    yield Boundary("address generator", places[: len(asked)], asked, ("in_map", "address"), told)
    early = []
    for k, word in enumerate(words[: len(asked)]):
        there = int(asked.fields["words"][k]) - image * per_image
        early.append(int(word.inside and there <= word.word))
    shown = Events(asked.cycles[: len(early)], {"early": np.array(early, np.int64)})
    yield Boundary(
        "gate",
        [(0,)] * len(early),
        shown,
        ("early",),
        lambda e: "a word that has not come yet is read" if e[0] else "a word that is there",
    )
    mask = 2**buffer.format.bits - 1
    codes = [tuple(code & mask for code in w.codes) for w in words]
    codes = [(*own, *[UNKNOWN] * (buffer.lanes - len(own))) for own in codes]
    needed = image * per_image + max((w.word + 1 for w in words if w.inside), default=0)
    component, begun = "writer of the input buffer", _begun(waves, len(mine), step)
    if len(mine) < len(words) and waves.last("input_buffer.words") >= needed:
        component = "address generator" if begun else "gate"
    yield Boundary(
        component,
        codes,
        mine,
        tuple(f"code_{k}" for k in lanes),
        lambda e: f"the word {[c for c in e if c != UNKNOWN]}",
    )


def _begun(waves: WaveFile, loaded: int, step: int) -> bool:
    """Return whether the load of a step that is not whole has begun."""
    if loaded:
        return True
    begins, loads = waves.events("input_buffer", "begins", []), waves.events("input_buffer", "loads", ["step"])
    last = loads.cycles[loads.fields["step"] < step]
    return bool(len(begins)) and (not len(last) or bool(begins.cycles[-1] > last[-1]))


def _engine(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int, k: int, window: Any) -> Iterator[Boundary]:
    scope, engine = f"engine_{k}", p.engines[k]
    macros = p.tile.read_together[k]
    reads, picked = trace.reads(k, window), trace.picked(k, window)
    first, name = macros[0], f"array {' and '.join(map(str, macros))}"

    def at_group(number: int) -> dict[str, int]:
        group = picked[number] if number < len(picked) else 0
        return {"array": first, "block": engine.groups[group].block, "row_group": group}

    def at_read(number: int) -> dict[str, int]:
        read = reads[number] if number < len(reads) else None
        if read is None:
            return {"array": first}
        block = engine.groups[read.group].block
        place = {"array": first, "block": block, "row_group": read.group, "plane": read.plane}
        return {**place, "column_group": read.column_group}

    takes = waves.events(scope, "takes", ["takes_step", "pending"]).of_step(step, "takes_step")
    pending = sum(1 << group for group in picked)
    yield Boundary(
        f"row registers of {name}",
        [(pending,)],
        takes,
        ("pending",),
        lambda e: f"row groups {rows_of_mask(e[0])} with an active row",
        place=at_group,
        fed=int(_loaded(trace, waves, step)),
    )
    values = [f"value_{row}" for row in range(engine.group_rows)]
    fields = ["picks_step", "pick_group", "pick_none", *values]
    picks = waves.events(scope, "picks", fields).of_step(step, "picks_step")
    yield Boundary(
        f"look-ahead of {name}",
        [(group, 0) for group in picked] or [(UNKNOWN, 1)],
        picks,
        ("pick_group", "pick_none"),
        lambda e: "no row group" if e[1] else f"row group {e[0]}",
        place=at_group,
        fed=max(1, len(picked)) * len(takes),
    )
    own = [tuple(trace.values(k, group, window)) for group in picked]
    yield Boundary(
        f"row registers of {name}",
        own or [(UNKNOWN,) * len(values)],
        picks,
        tuple(values),
        lambda e: f"the inputs {list(e)}",
        place=at_group,
        fed=0,
    )
    fields = ["forms_step", "formed_planes", "formed_group", "formed_none"]
    forms = waves.events(scope, "forms", fields).of_step(step, "forms_step")
    formed = []
    for group in picked:
        masks = trace.planes(k, group, window)
        formed.append((sum(mask << plane * engine.group_rows for plane, mask in enumerate(masks)), group, 0))
    yield Boundary(
        f"group reader of {name}",
        formed or [(UNKNOWN, UNKNOWN, 1)],
        forms,
        tuple(fields[1:]),
        lambda e: "no row group" if e[2] == 1 else f"row group {e[1]} with the planes {e[0]:#x}",
        place=at_group,
        fed=0,
    )
    names = ("tag_slot", "tag_plane", *(("tag_driven",) if engine.driven_bits else ()), "tag_last", "tag_none")
    tags = waves.events(scope, "decides", ["step", *(n for n in names if n in waves.names(scope))], high=TRANSFER)
    names = tuple(n for n in names if n in tags.fields)
    tags = tags.of_step(step)
    due = [_tag(read, number == len(reads) - 1, names) for number, read in enumerate(reads)] or [
        tuple({"tag_last": 1, "tag_none": 1}.get(n, UNKNOWN) for n in names)
    ]
    yield Boundary(
        f"walker of {name}",
        due,
        tags,
        names,
        lambda e: _told_tag(dict(zip(names, e, strict=True))),
        f"{scope}.decides",
        at_read,
        f"accumulator of {name}",
        sum(read.group in picked[: len(forms)] for read in reads) if reads else len(forms),
    )
    for macro in macros:
        yield from _pins(p, trace, waves, step, macro, (reads, min(len(tags), len(reads))), at_read)


def _tag(read: Read, last: bool, names: Sequence[str]) -> Entry:
    fields = {"tag_slot": read.slot, "tag_plane": read.plane, "tag_driven": read.driven}
    return tuple({**fields, "tag_last": int(last), "tag_none": 0}[name] for name in names)


def _told_tag(tag: dict[str, int]) -> str:
    if tag.get("tag_none") == 1:
        return "a step without reads"
    last = ", the step's last" if tag.get("tag_last") else ""
    return f"a read of slot {tag.get('tag_slot', 0)} in plane {tag.get('tag_plane', 0)}{last}"


def _pins(
    p: TileParameters,
    trace: TileTrace,
    waves: WaveFile,
    step: int,
    macro: int,
    decided: tuple[Sequence[Read], int],
    at_read: Callable[[int], dict[str, int]],
) -> Iterator[Boundary]:
    scope, lanes = f"crossbar_{macro}", range(p.chip.ou_cols)
    reads, count = decided
    requests = waves.events(scope, "read", ["step", "wordlines", "column_group"], high=TRANSFER).of_step(step)

    def here(number: int) -> dict[str, int]:
        return {**at_read(number), "array": macro}

    yield Boundary(
        f"walker of array {macro}",
        [(read.wordlines, read.column_group) for read in reads],
        requests,
        ("wordlines", "column_group"),
        lambda e: f"a read of word lines {rows_of_mask(e[0])}, column group {e[1]}",
        f"{scope}.read",
        here,
        f"crossbar {macro}",
        count,
    )
    fields = ["codes_step", *(f"code_{lane}" for lane in lanes)]
    codes = waves.events(scope, "converted", fields, high=TRANSFER).of_step(step, "codes_step")
    due: list[Entry] = [(UNKNOWN,) * len(lanes)] * len(reads)
    if trace.devices is None:
        due = [_codes(trace, p, macro, read) for read in reads]
    yield Boundary(
        f"crossbar {macro}",
        due,
        codes,
        tuple(fields[1:]),
        lambda e: f"the codes {list(e)}",
        f"{scope}.converted",
        here,
        f"accumulator of array {macro}",
        len(requests),
    )


def _codes(trace: TileTrace, p: TileParameters, macro: int, read: Read) -> Entry:
    word, bits = trace.crossbars[macro].read(read.wordlines, read.column_group), p.chip.adc_bits
    return tuple(word >> lane * bits & 2**bits - 1 for lane in range(p.chip.ou_cols))


def _accumulator(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int, k: int) -> Boundary:
    own, macros = p.accumulators[k], p.tile.read_together[k]
    lanes = range(own.lanes + bool(own.driven_bits))
    reads = trace.reads(k, trace.window(step))
    codes = []
    for macro in macros:
        fields = ["codes_step", *(f"code_{lane}" for lane in range(p.chip.ou_cols))]
        shown = waves.events(f"crossbar_{macro}", "converted", fields, high=TRANSFER).of_step(step, "codes_step")
        codes.append(list(zip(*(shown.fields[name].tolist() for name in fields[1:]), strict=True)))
    told = (
        codes[0]
        if len(codes) == 1
        else [tuple(a - b for a, b in zip(*pair, strict=True)) for pair in zip(*codes, strict=False)]
    )
    count = min(len(told), len(reads))
    sums = trace.sums(k, reads[:count], told[:count])
    mask = 2**own.width - 1
    due = [
        tuple(value & mask for value in sums.get(slot, [0] * len(lanes))) if slot is not None else (0,) * len(lanes)
        for slot in own.beats
    ]
    names = tuple(f"sum_{lane}" for lane in lanes)
    shown = waves.events(f"accumulator_{k}", "drains", ["step", "beat", *names]).of_step(step)
    whole = all(len(own_codes) >= len(reads) for own_codes in codes)
    return Boundary(
        f"accumulator of array {' and '.join(map(str, macros))}",
        due,
        shown,
        names,
        lambda e: f"the sums {[_signed(v, own.width) for v in e]}",
        place=lambda _: {"array": macros[0]},
        fed=len(due) if whole and _all_added(p, trace, waves, step) else 0,
    )


def _loaded(trace: TileTrace, waves: WaveFile, step: int) -> bool:
    """Return whether all words of a step have been loaded."""
    loads = waves.events("input_buffer", "loads", ["step"]).of_step(step)
    return len(loads) >= len(trace.fetched(step))


def _all_added(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int) -> bool:
    """Return whether every array has had all codes of a step."""
    window = trace.window(step)
    for k, macros in enumerate(p.tile.read_together):
        due = len(trace.reads(k, window))
        for macro in macros:
            codes = waves.events(f"crossbar_{macro}", "converted", ["codes_step"], high=TRANSFER)
            if len(codes.of_step(step, "codes_step")) < due:
                return False
    return True


def _signed(value: int, width: int) -> int:
    return value - ((value >> width - 1 & 1) << width) if value != UNKNOWN else value


def _output(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int) -> Iterator[Boundary]:
    width, mask = p.output_width, 2**p.output_width - 1
    if trace.devices is None:
        yield _splice(p, trace, waves, step, mask)
    sweep, beats = p.placement.sweep, output_beats(p)
    m = p.placement.layer.outputs
    image, row, column = trace.place(step)
    block = step
    if sweep.overlap:
        block = image * sweep.grid[0] * sweep.grid[1] + row * sweep.grid[1] + column
    due, keeps = [], []
    for beat in beats:
        values, keep = [], 0
        for lane, output in enumerate(beat):
            phase = sweep.phases[(output or 0) // m]
            at = row * sweep.block[0] + phase[0] - sweep.crop[0], column * sweep.block[1] + phase[1] - sweep.crop[1]
            inside = output is not None and 0 <= at[0] < sweep.output[0] and 0 <= at[1] < sweep.output[1]
            keep |= inside << lane
            values.append(int(trace.maps[image, (output or 0) % m, at[0], at[1]]) & mask if inside else UNKNOWN)
        due.append(tuple(values))
        keeps.append(keep)
    names = tuple(f"value_{lane}" for lane in range(len(beats[0])))
    shown = waves.events("leaving", "beats", ["step", *names, "keep"], high=TRANSFER).of_step(block)
    yield Boundary(
        "overlap adder" if sweep.overlap else "output stage",
        [(*values, keep) for values, keep in zip(due, keeps, strict=True)],
        shown,
        (*names, "keep"),
        lambda e: (
            f"the outputs {[_signed(v, width) if v != UNKNOWN else '-' for v in e[:-1]]} of which {e[-1]:#b} exist"
        ),
        "leaving.beats",
        taker="bench",
        fed=len(waves.events("splice", "beats", ["step"], high=TRANSFER).of_step(step)) if not sweep.overlap else None,
    )


def _splice(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int, mask: int) -> Boundary:
    outputs, due = trace.outputs(step), []
    for beat in range(p.drain.length):
        values, keep = [], 0
        for bank in p.drain.banks:
            here = bank.beats[beat] if beat < len(bank.beats) else None
            for weight in range(p.weights):
                real = here is not None and here.last and weight < len(here.outputs)
                keep |= real << len(values)
                value = outputs.get(here.outputs[weight]) if real and here else None
                values.append(UNKNOWN if value is None else value & mask)
        if keep:
            due.append((*values, keep))
    names = tuple(f"value_{k}" for k in range(len(p.drain.banks) * p.weights))
    shown = waves.events("splice", "beats", ["step", *names, "keep"], high=TRANSFER).of_step(step)
    return Boundary(
        "splice",
        due,
        shown,
        (*names, "keep"),
        lambda e: f"the sums {[_signed(v, p.output_width) if v != UNKNOWN else '-' for v in e[:-1]]}",
        "splice.beats",
        taker="overlap adder" if p.placement.sweep.overlap else "output stage",
        fed=len(due) if _drained(p, waves, step) else 0,
    )


def _drained(p: TileParameters, waves: WaveFile, step: int) -> bool:
    """Return whether all slots of a step have been read out."""
    return len(waves.events("accumulator_0", "drains", ["step"]).of_step(step)) >= p.drain.length
