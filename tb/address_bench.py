"""Runs inside the simulator: the address generator against the windows of the placement."""

from dataclasses import replace
from typing import Any

import cocotb
import numpy as np

from hw.address import address_layout
from hw.parameters import TileParameters
from sim.cycles import buffer_lines, window_edges
from sim.machine import step_windows
from tb.component_bench import Bench, Level, Sink, as_signed, fields, inverted
from tb.components import present_case

EDGES = ("first_row", "last_row", "first_column", "last_column")


def addresses(p: TileParameters) -> list[tuple[Any, ...]]:
    """Of one image: address (None outside the map), cycle of the plan, last of the step."""
    placement, tile, plan = p.placement, p.tile, p.load
    height, width = placement.sweep.size
    row, column = np.indices((height, width))
    line = row % buffer_lines(placement, tile)
    # A map of addresses, one channel a word; 0 is left for what is outside.
    marks = np.stack([(line * width + column) * plan.words + word + 1 for word in range(plan.words)])
    whole = replace(tile, first_channel=0, channels=plan.words)
    windows = step_windows(placement, whole, marks[None]).reshape(-1, len(tile.offsets), plan.words)
    found = []
    for window in windows.tolist():
        for index, (pixel, word) in enumerate(plan.reads):
            mark = window[pixel][word]
            found.append((mark - 1 if mark else None, index, int(index == len(plan.reads) - 1)))
    return found


def edges(p: TileParameters) -> list[dict[str, int]]:
    """Per step: the window's first and last row and column, and whether the next row retires a line."""
    (top, bottom), (left, right) = (window_edges(p.placement, p.tile, axis) for axis in range(2))
    sweep = p.placement.sweep
    lowest = min(offset[0] for offset in p.tile.offsets)
    found = []
    for y in range(sweep.steps[0]):
        following = ((y + 1) * sweep.stride[0] + lowest) // sweep.insert[0]
        for x in range(sweep.steps[1]):
            own = (top[y], bottom[y], left[x], right[x])
            found.append(dict(zip(EDGES, map(int, own), strict=True)))
            found[-1]["retires"] = int(following > max(top[y], 0))
    return found


class Steps:
    """Watches the beginnings of steps and restarts images."""

    def __init__(self, bench: Bench, p: TileParameters, hold: Level, images: int, wait: int) -> None:
        self.bench, self.hold, self.images, self.wait = bench, hold, images, wait
        self.begin, self.finished = bench.output("begins"), bench.output("finished")
        self.restart = bench.input("restart")
        self.watched = {name: bench.output(name) for name in (*EDGES, "retires")}
        self.width = len(bench.dut["first_row"])
        self.edges = edges(p)
        self.begun, self.left, self.pulse = 0, 0, False

    def drive(self) -> None:
        self.pulse = self.images > 1 and bool(self.finished.get()) and self.left == 0
        self.restart.put(int(self.pulse))

    def sample(self) -> None:
        if self.begin.get():
            assert not self.hold.high, "a step began while it was held"
            assert self.begun < len(self.edges), "a step too many"
            shown = {name: as_signed(pin.get(), self.width) for name, pin in self.watched.items()}
            shown["retires"] &= 1
            assert shown == self.edges[self.begun], f"step {self.begun}"
            self.begun += 1
        if self.finished.get():
            assert self.begun == len(self.edges), "finished before the last step"
            self.left = max(0, self.left - 1)
        if self.pulse:
            self.images, self.begun = self.images - 1, 0
            self.left = self.bench.rng.randint(0, self.wait)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(
    (
        ("hold", "sink"),
        [
            ("never", "never"),
            ("half", "never"),
            ("never", "mostly"),
            ("mostly", "half"),
        ],
    ),
)
async def walks_every_window(dut: Any, hold: str, sink: str) -> None:
    """Addresses, edges and the end of three images."""
    p = present_case().parameters
    bench, images = Bench(dut), 3
    await bench.reset("hold", "o__ready", "restart")
    layout, want = address_layout(p.buffer), addresses(p)

    def decode(raw: int) -> tuple[Any, ...]:
        o = fields(layout, raw)
        return o["address"] if o["inside"] else None, o["index"], o["last"]

    held = bench.add(Level(bench, "hold", inverted(bench.pace(hold))))
    steps = bench.add(Steps(bench, p, held, images, 0 if sink == "never" else 9))
    out = bench.add(Sink(bench, "o", want * images, bench.pace(sink), decode))
    await bench.finish(out)
    assert steps.finished.get() and steps.images == 1
    if hold == sink == "never":
        # One address a cycle from the first; between images, one cycle to finish and restart.
        assert out.times == [1 + k + k // len(want) for k in range(images * len(want))], "a bubble"
