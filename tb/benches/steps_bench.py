"""Runs inside the simulator: the steps of an image against the windows of the placement."""

from typing import Any

import cocotb

from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.steps import step_layout
from selvage.sim.cycles import buffer_lines, window_edges
from tb.benches.component_bench import Bench, Sink, every_case, fields
from tb.benches.components import present_case

IMAGES = 3


def positions(p: TileParameters, axis: int) -> list[tuple[int, int]]:
    """Base of each step along an axis: pixel, and positions behind it."""
    sweep = p.placement.sweep
    return [divmod(step * sweep.stride[axis], sweep.insert[axis]) for step in range(sweep.steps[axis])]


def steps_of(p: TileParameters) -> list[dict[str, int]]:
    """Of one image: base, the last pixel that is needed (None where none is), the first that must wait."""
    sweep, plan = p.placement.sweep, p.load
    (height, width), lines = sweep.size, buffer_lines(sweep, p.tile.offsets)
    (top, bottom), (left, right) = (window_edges(sweep, p.tile.offsets, axis) for axis in range(2))
    following = [
        ((y + 1) * sweep.stride[0] + min(o[0] for o in p.tile.offsets)) // sweep.insert[0]
        for y in range(sweep.steps[0])
    ]
    found = []
    for y, (row, row_rest) in enumerate(positions(p, 0)):
        for x, (column, column_rest) in enumerate(positions(p, 1)):
            outside = bottom[y] < 0 or top[y] >= height or right[x] < 0 or left[x] >= width
            need = None if outside else (int(min(bottom[y], height - 1)), int(min(right[x], width - 1)))
            retires = following[y] > max(top[y], 0)
            limit = (int(max(top[y], 0)) + lines, int(max(left[x], 0)) if retires else 0)
            found.append(
                {
                    "row": row,
                    "row_remainder": row_rest,
                    "row_base": row % lines,
                    "column": column,
                    "column_remainder": column_rest,
                    "column_base": column * plan.words,
                    "need": need,
                    "limit": limit,
                    "last": 0,
                }
            )
    found = found[sweep.first :: sweep.every]
    found[-1]["last"] = 1
    return found


@cocotb.test(timeout_time=2, timeout_unit="ms")
@every_case(sink=["never", "half", "mostly"])
async def steps_without_an_end(dut: Any, case_name: str, sink: str) -> None:
    """Three images; one step a cycle from the first."""
    p = present_case(case_name).parameters
    bench = Bench(dut, case_name)
    await bench.reset("o__ready")
    layout = step_layout(p.buffer)
    place = layout["limit"].shape

    def decode(raw: int) -> dict[str, Any]:
        o = fields(layout, raw)
        need, limit = (fields(place, o.pop(name)) for name in ("need", "limit"))
        o["need"] = None if o.pop("outside") else (need["row"], need["column"])
        return {**o, "limit": (limit["row"], limit["column"])}

    want = steps_of(p) * IMAGES
    out = Sink(bench, "o", want, bench.pace(sink), decode)
    bench.add(out)
    while out.expected:
        await bench.cycles(1)
    if sink == "never":
        assert out.times == [1 + k for k in range(len(want))], "a bubble"
