"""Runs inside the simulator: the address generator against the windows of the placement."""

from collections import deque
from dataclasses import replace
from typing import Any

import cocotb
import numpy as np

from selvage.hw.tile.address import word_layout
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.steps import step_layout
from selvage.sim.cycles import buffer_lines
from selvage.sim.machine import step_windows
from tb.benches.component_bench import Bench, Source, every_case, fields
from tb.benches.components import present_case
from tb.benches.steps_bench import steps_of


def addresses(p: TileParameters) -> list[tuple[Any, ...]]:
    """Of one image: address (None outside the map), cycle of the plan, last of the step."""
    placement, tile, plan = p.placement, p.tile, p.load
    height, width = placement.sweep.size
    row, column = np.indices((height, width))
    line = row % buffer_lines(placement.sweep, tile.offsets)
    # A map of addresses, one channel a word; 0 is left for what is outside.
    marks = np.stack([(line * width + column) * plan.words + word + 1 for word in range(plan.words)])
    whole = replace(tile, first_channel=0, channels=plan.words)
    windows = step_windows(placement, whole, marks[None]).reshape(-1, len(tile.offsets), plan.words)
    found = []
    for window, kind in zip(windows.tolist(), placement.sweep.kind_of_steps().tolist(), strict=True):
        for index in plan.part(kind):
            pixel, word = plan.reads[index]
            mark = window[pixel][word]
            found.append((mark - 1 if mark else None, index, int(index == plan.part(kind)[-1])))
    return found


def step_places(expected: list[tuple[Any, ...]]) -> list[tuple[int, int]]:
    """Of each word: its step, and how many words of the step come before it."""
    places, step, index = [], 0, 0
    for *_, last in expected:
        places.append((step, index))
        step, index = (step + 1, 0) if last else (step, index + 1)
    return places


class Words:
    """Watches addresses: they cannot be stalled, and come three cycles after their cycle of the plan."""

    def __init__(self, bench: Bench, p: TileParameters, steps: Source, expected: list[tuple[Any, ...]]) -> None:
        self.bench, self.steps = bench, steps
        self.places = step_places(expected)
        self.expected = deque(expected)
        self.layout = word_layout(p.buffer)
        self.valid, self.word = bench.output("valid"), bench.output("word")
        self.count = 0

    def drive(self) -> None:
        pass

    def sample(self) -> None:
        if not self.valid.get():
            return
        o = fields(self.layout, self.word.get())
        got = o["address"] if o["inside"] else None, o["index"], o["last"]
        assert self.expected and got == self.expected.popleft(), f"word {self.count}: {got}"
        step, index = self.places[self.count]
        assert self.bench.now == self.steps.times[step] + index + 3, f"word {self.count} is not three cycles late"
        self.count += 1


@cocotb.test(timeout_time=2, timeout_unit="ms")
@every_case(source=["never", "half", "mostly"])
async def walks_every_window(dut: Any, case_name: str, source: str) -> None:
    """Addresses of three images, whenever a step may begin."""
    p = present_case(case_name).parameters
    bench = Bench(dut, case_name)
    await bench.reset("i__valid", "i__payload")
    layout = step_layout(p.buffer)
    place = layout["limit"].shape
    offsets = {name: member.offset for name, member in layout}

    def payload(step: dict[str, Any]) -> int:
        """What the generator reads of a step; the rest is noise that it must not mind."""
        noise = {name: bench.rng.getrandbits(place.size) for name in ("need", "limit")}
        return sum((noise.get(name, step.get(name, 0)) or 0) << offset for name, offset in offsets.items())

    steps = bench.add(Source(bench, "i", [payload(own) for own in steps_of(p) * 3], bench.pace(source)))
    out = bench.add(Words(bench, p, steps, addresses(p) * 3))
    await bench.finish(out)
    assert out.count == len(out.places) and steps.sent == out.places[-1][0] + 1
    if source == "never":
        begins = [count for count, (_, index) in enumerate(out.places) if index == 0]
        assert steps.times == begins, "a bubble between steps"
