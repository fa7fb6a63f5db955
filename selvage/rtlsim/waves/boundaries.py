"""What every component of a tile must show in a step, and what it showed in the waves."""

from collections.abc import Iterator

import numpy as np

from selvage.hw.tile.output import output_beats
from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.waves.array_boundaries import array_boundaries
from selvage.rtlsim.waves.boundary import Boundary, Entry
from selvage.rtlsim.waves.file import TRANSFER, UNKNOWN, Events, WaveFile
from selvage.rtlsim.waves.words import masked, two_complement
from selvage.sim.trace import TileTrace


def boundaries_of(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int) -> Iterator[Boundary]:
    """Yield all boundaries of a step, in the order in which data goes through them."""
    yield from _input(p, trace, waves, step)
    yield from array_boundaries(p, trace, waves, step)
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
    due = [base] if len(mine) else []
    given = waves.events("input_buffer", "gives", ["gives_step", "given_row", "given_column"])
    given = given.of_step(step, "gives_step")
    yield Boundary("step generator", [base] if len(given) else [], given, ("given_row", "given_column"), _told_base)
    yield Boundary("gate", due, begins, ("row", "column"), _told_base)
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
        since="input_buffer.taken",
        told=lambda e: f"the word {[c for c in e if c != UNKNOWN]}",
    )


def _told_base(entry: Entry) -> str:
    return f"the base ({entry[0]}, {entry[1]})"


def _begun(waves: WaveFile, loaded: int, step: int) -> bool:
    """Return whether the load of a step that is not whole has begun."""
    if loaded:
        return True
    begins, loads = waves.events("input_buffer", "begins", []), waves.events("input_buffer", "loads", ["step"])
    last = loads.cycles[loads.fields["step"] < step]
    return bool(len(begins)) and (not len(last) or bool(begins.cycles[-1] > last[-1]))


def wrong_output(
    p: TileParameters, trace: TileTrace, waves: WaveFile, step: int
) -> tuple[int, tuple[int, int], int, int | None] | None:
    """Return output id, pixel, what is due and what came (None: X) of the first wrong output of a step, if one is."""
    sweep, (_, row, column), width = p.placement.sweep, trace.place(step), p.output_width
    boundary = _leaving(p, trace, waves, step)
    for beat, found, wanted in zip(output_beats(p), boundary.entries(), boundary.expected, strict=False):
        for output, came, due in zip(beat, found, wanted, strict=False):
            if output is not None and due not in (UNKNOWN, came):
                phase = sweep.phases[output // p.placement.layer.outputs]
                y, x = (
                    at * block + own - crop
                    for at, block, own, crop in zip((row, column), sweep.block, phase, sweep.crop, strict=True)
                )
                shown = None if came == UNKNOWN else two_complement(came, width)
                return output, (y, x), two_complement(due, width), shown
    return None


def _output(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int) -> Iterator[Boundary]:
    if trace.devices is None:
        yield _splice(p, trace, waves, step, 2**p.output_width - 1)
    yield _leaving(p, trace, waves, step)


def _leaving(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int) -> Boundary:
    width, mask = p.output_width, 2**p.output_width - 1
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
    shown = waves.events("leaving", "beats", ["step", *names, "keep", "last"], high=TRANSFER).of_step(block)
    per_image = sweep.grid[0] * sweep.grid[1] if sweep.every == 1 else len(sweep.computed)
    ends = [int(k == len(beats) - 1 and (block + 1) % per_image == 0) for k in range(len(beats))]
    return Boundary(
        "overlap adder" if sweep.overlap else "output stage",
        [(*values, keep, last) for values, keep, last in zip(due, keeps, ends, strict=True)],
        shown,
        (*names, "keep", "last"),
        lambda e: _told_outputs(e, width),
        "leaving.beats",
        taker="bench",
        settled=True,
        fed=len(waves.events("splice", "beats", ["step"], high=TRANSFER).of_step(step)) if not sweep.overlap else None,
    )


def _told_outputs(entry: Entry, width: int) -> str:
    values = [two_complement(value, width) if value != UNKNOWN else "-" for value in entry[:-2]]
    return f"the outputs {values} of which {entry[-2]:#b} exist{', the last of the image' if entry[-1] == 1 else ''}"


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
        lambda e: f"the sums {[two_complement(v, p.output_width) if v != UNKNOWN else '-' for v in e[:-1]]}",
        "splice.beats",
        settled=True,
        taker="overlap adder" if p.placement.sweep.overlap else "output stage",
        fed=len(due) if _drained(p, waves, step) else 0,
    )


def _drained(p: TileParameters, waves: WaveFile, step: int) -> bool:
    """Return whether all slots of a step have been read out."""
    return len(waves.events("accumulator_0", "drains", ["step"]).of_step(step)) >= p.drain.length
