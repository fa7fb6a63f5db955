"""Runs inside the simulator: which outputs of a step exist, against the layer's output map."""

from typing import Any

import cocotb

from selvage.hw.tile.output import output_layout
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.splice import beat_layout
from selvage.mapping.drain import beat_outputs
from tb.benches.component_bench import Bench, Sink, Source, every_case, fields
from tb.benches.components import present_case

IMAGES = 3


def blocks(p: TileParameters) -> tuple[int, int]:
    """Rows and columns of output blocks that come in: the steps, and with overlap all that hold outputs."""
    sweep = p.placement.sweep
    if not sweep.overlap:
        return sweep.steps
    rows, columns = (
        max(sweep.steps[axis], -(-(sweep.crop[axis] + sweep.output[axis]) // sweep.block[axis])) for axis in range(2)
    )
    return rows, columns


def leaving_beats(p: TileParameters) -> list[list[int | None]]:
    """Output ids of the beats of one block; with overlap only those of the step's own block."""
    sweep, m = p.placement.sweep, p.placement.layer.outputs
    beats = beat_outputs(p.placement, p.tile, p.drain)
    if not sweep.overlap:
        return beats
    phases = [sweep.phases[ids[0] // m] for ids in beats]
    own = [phase[0] < sweep.block[0] and phase[1] < sweep.block[1] for phase in phases]
    return [ids for ids, final in zip(beats, own, strict=True) if final]


def exists(p: TileParameters, row: int, column: int, output: int) -> bool:
    """Whether the output id is a pixel of the output map in block (row, column)."""
    sweep = p.placement.sweep
    phase = sweep.phases[output // p.placement.layer.outputs]
    at = [place * sweep.block[k] + phase[k] - sweep.crop[k] for k, place in enumerate((row, column))]
    return all(0 <= at[k] < sweep.output[k] for k in range(2))


def one_image(bench: Bench, p: TileParameters) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Words in, and (values, keep, last) out."""
    layout, beats, (rows, columns) = beat_layout(p), leaving_beats(p), blocks(p)
    words, want, sweep = [], [], p.placement.sweep
    every = [(y, x) for y in range(rows) for x in range(columns)]
    for row, column in every[sweep.first :: sweep.every]:
        for ids in beats:
            given = [int(output is not None and bench.rng.random() < 0.9) for output in ids]
            keep = sum(
                bit << k
                for k, (bit, output) in enumerate(zip(given, ids, strict=True))
                if bit and exists(p, row, column, output)
            )
            values = bench.rng.getrandbits(layout["values"].width)
            mask = sum(bit << k for k, bit in enumerate(given))
            words.append(values << layout["values"].offset | mask << layout["keep"].offset)
            want.append((values, keep, 0))
    want[-1] = (*want[-1][:2], 1)
    return words, want


@cocotb.test(timeout_time=3, timeout_unit="ms")
@every_case(
    (("source", "sink"), [("never", "never"), ("mostly", "never"),
                          ("never", "mostly"), ("half", "half")]),
)  # fmt: skip
async def keeps_what_exists(dut: Any, case_name: str, source: str, sink: str) -> None:
    """Values pass as they are; outputs beyond the map are dropped; images end."""
    bench, p = Bench(dut, case_name), present_case(case_name).parameters
    await bench.reset("i__valid", "i__payload", "o__ready")
    images = [one_image(bench, p) for _ in range(IMAGES)]
    layout = output_layout(p)

    def decode(raw: int) -> tuple[int, int, int]:
        o = fields(layout, raw)
        return o["values"], o["keep"], o["last"]

    words = bench.add(Source(bench, "i", [w for own, _ in images for w in own], bench.pace(source)))
    out = bench.add(Sink(bench, "o", [o for _, own in images for o in own], bench.pace(sink), decode))
    await bench.finish(out)
    assert words.sent == len(words.words)
    if source == sink == "never":
        assert out.times == list(range(len(out.times))), "not one beat a cycle"
