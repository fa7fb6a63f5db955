"""Runs inside the simulator: the overlap buffer against a scatter-add in NumPy."""

from typing import Any

import cocotb
import numpy as np

from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.splice import beat_layout
from selvage.mapping.drain import beat_outputs
from selvage.mapping.widths import bank_range
from tb.benches.component_bench import Bench, Sink, Source, as_signed, every_case, fields, pack, unpack
from tb.benches.components import present_case
from tb.benches.output_bench import blocks, leaving_beats

IMAGES = 3
INPUTS = ("i__valid", "i__payload", "o__ready")


def one_image(bench: Bench, p: TileParameters) -> tuple[list[int], list[list[int]]]:
    """Words in, and values of each beat out, block by block."""
    sweep, m, layout, width = p.placement.sweep, p.placement.layer.outputs, beat_layout(p), p.output_width
    beats, (rows, columns) = beat_outputs(p.placement, p.tile, p.drain), blocks(p)
    corner = [max(own) + 1 for own in zip(*sweep.phases, strict=True)]
    shape = (rows * sweep.block[0] + corner[0], columns * sweep.block[1] + corner[1], m)
    sums, words = np.zeros(shape, np.int64), []
    reach = [bank_range(p.placement, p.tile, bank) for bank in p.drain.banks]
    end = bench.rng.choice(["", "low", "high"])

    def place(y: int, x: int, output: int) -> tuple[int, int, int]:
        phase = sweep.phases[output // m]
        return y * sweep.block[0] + phase[0], x * sweep.block[1] + phase[1], output % m

    for y, x in np.ndindex(*sweep.steps):
        for ids in beats:
            values = [getattr(r, end) if end else bench.rng.randint(r.low, r.high) for r in reach]
            words.append(pack(values, width) << layout["values"].offset | 2 ** len(ids) - 1 << layout["keep"].offset)
            for output, value in zip(ids, values, strict=True):
                sums[place(y, x, output)] += value
    want = [
        [int(sums[place(y, x, output)]) for output in ids]
        for y, x in np.ndindex(rows, columns)
        for ids in leaving_beats(p)
    ]
    return words, want


def play(bench: Bench, p: TileParameters, source: str, sink: str) -> tuple[Source, Sink]:
    images = [one_image(bench, p) for _ in range(IMAGES)]
    layout, width = beat_layout(p), p.output_width

    def decode(raw: int) -> list[int]:
        o = fields(layout, raw)
        count = layout["keep"].width
        assert o["keep"] == 2**count - 1, "a value of a whole block is not kept"
        return [as_signed(value, width) for value in unpack(o["values"], width, count)]

    words = bench.add(Source(bench, "i", [w for own, _ in images for w in own], bench.pace(source)))
    return words, bench.add(Sink(bench, "o", [o for _, own in images for o in own], bench.pace(sink), decode))


@cocotb.test(timeout_time=3, timeout_unit="ms")
@every_case(
    (("source", "sink"), [("never", "never"), ("mostly", "never"),
                          ("never", "mostly"), ("half", "half")]),
)  # fmt: skip
async def adds_what_overlaps(dut: Any, case_name: str, source: str, sink: str) -> None:
    """Several images; nothing of one is left in the next."""
    bench, p = Bench(dut, case_name), present_case(case_name).parameters
    await bench.reset(*INPUTS)
    words, out = play(bench, p, source, sink)
    await bench.finish(out)
    assert words.sent == len(words.words)
    if source == sink == "never":
        # After the clearing every cycle takes a beat or flushes one.
        flushed = len(out.times) - IMAGES * int(np.prod(p.placement.sweep.steps)) * len(leaving_beats(p))
        beats = len(words.words) + flushed
        assert out.times[-1] - words.times[0] <= beats, "not one beat a cycle"


@cocotb.test(timeout_time=3, timeout_unit="ms")
@every_case()
async def forgets_at_reset(dut: Any, case_name: str) -> None:
    """A reset while the memory holds sums; then images from their beginning."""
    bench, p = Bench(dut, case_name), present_case(case_name).parameters
    await bench.reset(*INPUTS)
    words, _ = play(bench, p, "never", "half")
    while words.sent < len(words.words) // IMAGES // 2:
        await bench.cycles(1)
    await bench.reset(*INPUTS)
    words, out = play(bench, p, "half", "never")
    await bench.finish(out)
    assert words.sent == len(words.words)
