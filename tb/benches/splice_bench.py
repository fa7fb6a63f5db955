"""Runs inside the simulator: the splice between made-up sums of every array and a stalling sink."""

from collections.abc import Iterator
from typing import Any

import cocotb

from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.splice import beat_layout
from selvage.mapping.drain import beat_outputs
from selvage.mapping.widths import slot_range
from selvage.sim.beats import drain_to_beat
from tb.benches.component_bench import Bench, Sink, as_signed, every_case, fields, pack, unpack
from tb.benches.components import present_case

STEPS = 16


Sums = list[list[list[int]]]  # per array and slot: lanes, then the reference when there is one


def random_sums(bench: Bench, p: TileParameters) -> Sums:
    """Sums that arrays can reach; sometimes all of them at an end of their range."""
    rng = bench.rng
    end = rng.choice(["", "", "low", "high"])
    found: Sums = []
    for array, own, slots in zip(p.tile.readers, p.accumulators, p.drain.slots, strict=True):
        reach = slot_range(p.placement, array)
        # The far end of an output is where arrays that subtract are at their other end.
        ends = {"": (reach.low, reach.high), "low": (reach.low,) * 2, "high": (reach.high,) * 2}
        flipped = {"low": "high", "high": "low"}.get(end, "") if array.polarity < 0 else end
        sums = [[rng.randint(*ends[flipped]) for _ in range(own.lanes)] for _ in range(own.slots)]
        if p.placement.weight_offset:
            _add_reference(bench, p, array, slots, sums)
        found.append(sums)
    return found


def _add_reference(bench: Bench, p: TileParameters, array: Any, slots: tuple[int, ...], sums: list[list[int]]) -> None:
    """All slots of the same outputs have the same reference: every column saw the same word lines."""
    reach = slot_range(p.placement, array, reference=True)
    references = {slot: bench.rng.randint(reach.low, reach.high) for slot in slots}
    for slot, lanes in enumerate(sums):
        lanes.append(references[max(first for first in slots if first <= slot)])


def outputs_of(p: TileParameters, sums: Sums) -> dict[int, int]:
    """Every output of the tile: its slices at their significance, its arrays with their sign."""
    chip, totals = p.chip, {}
    for array, slots, own in zip(p.tile.readers, p.drain.slots, sums, strict=True):
        for first, block in dict(zip(slots, array.blocks, strict=True)).items():
            for weight, output in enumerate(block.outputs.tolist()):
                value = 0
                for band, significance in enumerate(block.significances):
                    begin = first + band * -(-len(block.outputs) * array.slices // chip.ou_cols)
                    for piece in range(array.slices):
                        slot, lane = divmod(weight * array.slices + piece, chip.ou_cols)
                        value += own[begin + slot][lane] << significance + piece * chip.cell_bits
                if p.placement.weight_offset:
                    value -= p.placement.weight_offset * own[first][-1]
                totals[output] = totals.get(output, 0) + array.polarity * value
    return totals


def beats_of(p: TileParameters, sums: Sums) -> list[list[int | None]]:
    """Values of each beat, None where a bank has none."""
    totals = outputs_of(p, sums)
    return [
        [None if output is None else totals.get(output, 0) for output in ids]
        for ids in beat_outputs(p.placement, p.tile, p.drain)
    ]


class Arrays:
    """Plays the accumulators: each finishes its steps when it likes, and reads its slots when it is told."""

    def __init__(self, bench: Bench, p: TileParameters, steps: list[Sums], pattern: Iterator[bool]) -> None:
        self.bench, self.steps, self.pattern = bench, steps, pattern
        n = len(p.accumulators)
        self.beats, self.widths = [own.beats for own in p.accumulators], [own.width for own in p.accumulators]
        self.sums = [bench.input(f"sums_{k}") for k in range(n)]
        self.noise = [len(bench.pin(f"sums_{k}")) for k in range(n)]
        self.ended, self.go = bench.input("ended"), bench.output("go")
        self.shown = [0] * n  # sums of the slots read in the cycle before
        self.fresh = 0  # arrays that finish a step in this cycle
        self.finished = [0] * n  # steps
        self.beat, self.done = 0, 0
        self.times: list[int] = []  # last beats

    def drive(self) -> None:
        self.fresh = 0
        for k in range(len(self.finished)):
            if self.finished[k] < min(len(self.steps), self.done + 2) and next(self.pattern):
                self.fresh |= 1 << k
            self.sums[k].put(self.shown[k])
        self.ended.put(self.fresh)

    def sample(self) -> None:
        self.shown = [self.bench.rng.getrandbits(bits) for bits in self.noise]
        if go := self.go.get():
            assert go == 2 ** len(self.beats) - 1, f"cycle {self.bench.now}: {go:b} is not all arrays"
            assert min(self.finished) > self.done, "a step was drained that not all arrays had finished"
            for k, beats in enumerate(self.beats):
                slot = beats[self.beat]
                self.shown[k] = 0 if slot is None else pack(self.steps[self.done][k][slot], self.widths[k])
            self.beat = (self.beat + 1) % len(self.beats[0])
            if self.beat == 0:
                self.done += 1
                self.times.append(self.bench.now)
        self.finished = [own + (self.fresh >> k & 1) for k, own in enumerate(self.finished)]


@cocotb.test(timeout_time=3, timeout_unit="ms")
@every_case(
    (("arrays", "sink"), [("never", "never"), ("mostly", "never"),
                          ("never", "mostly"), ("half", "half")]),
)  # fmt: skip
async def splices_every_output(dut: Any, case_name: str, arrays: str, sink: str) -> None:
    """Beats in the order of the drain plan."""
    bench, p = Bench(dut, case_name), present_case(case_name).parameters
    n = len(p.accumulators)
    await bench.reset("o__ready", "ended", *(f"sums_{k}" for k in range(n)))
    steps = [random_sums(bench, p) for _ in range(STEPS)]
    ids = beat_outputs(p.placement, p.tile, p.drain)
    layout, width = beat_layout(p), p.output_width

    def decode(raw: int) -> list[int | None]:
        o = fields(layout, raw)
        values = [as_signed(value, width) for value in unpack(o["values"], width, len(ids[0]))]
        keep = unpack(o["keep"], 1, len(ids[0]))
        # Where no output belongs, no value counts; but one that is kept there shows.
        return [value if kept else None for value, kept in zip(values, keep, strict=True)]

    want = [beat for sums in steps for beat in beats_of(p, sums)]
    played = bench.add(Arrays(bench, p, steps, bench.pace(arrays)))
    out = bench.add(Sink(bench, "o", want, bench.pace(sink), decode))
    await bench.finish(out)
    assert played.done == STEPS and played.finished == [STEPS] * n
    if arrays == sink == "never":
        # The last slot is read a cycle after it was asked for. Arrays that are played here know of it later yet.
        if p.drain.length > 1:
            assert played.times == [(k + 1) * p.drain.length + 1 for k in range(STEPS)], "a bubble in the drain"
        arrays = max(len(bank.arrays) for bank in p.drain.banks)
        assert out.times[-1] == played.times[-1] - 1 + drain_to_beat(p.placement, p.tile, arrays)
