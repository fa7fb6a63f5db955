"""Runs inside the simulator: the input buffer against the windows of the placement."""

from collections import deque
from dataclasses import replace
from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from selvage.hw.tile.parameters import TileParameters
from selvage.sim.machine import step_windows
from tb.benches.component_bench import Bench, Level, Source, every_case, inverted, pack, unpack
from tb.benches.components import present_case

IMAGES = 3
BEGIN_TO_LOAD = 4  # a step's first cycle to its first `valid`
INPUTS = ("i__valid", "i__payload", "hold")


def activations(bench: Bench, p: TileParameters) -> NDArray[np.int64]:
    """Raw activations (N, words * lanes, H, W) of the tile; channels that fill up a word are noise."""
    low, high = p.buffer.format.raw_range
    shape = (IMAGES, p.load.words * p.load.lanes, *p.placement.sweep.size)
    values = [bench.rng.randint(low, high) for _ in range(int(np.prod(shape)))]
    return np.array(values, np.int64).reshape(shape)


def stream_words(p: TileParameters, x: NDArray[np.int64]) -> list[int]:
    """In raster order, the words of a pixel one after the other."""
    pixels = x.transpose(0, 2, 3, 1).reshape(-1, p.load.lanes)
    return [pack(word, p.buffer.format.raw_bits) for word in pixels.tolist()]


def loads(p: TileParameters, x: NDArray[np.int64]) -> list[tuple[Any, ...]]:
    """Of every step: cycle of the plan, last of the step, and the codes of the word's real channels."""
    plan, tile = p.load, p.tile
    whole = replace(tile, first_channel=0, channels=plan.words * plan.lanes)
    windows = step_windows(p.placement, whole, x - p.buffer.format.zero_point)
    by_word = windows.reshape(-1, len(tile.offsets), plan.words, plan.lanes) & 2**p.buffer.format.bits - 1
    found = []
    for window, kind in zip(by_word.tolist(), p.placement.sweep.kind_of_steps().tolist() * len(x), strict=True):
        for index in plan.part(kind):
            pixel, word = plan.reads[index]
            real = min(plan.lanes, tile.channels - word * plan.lanes)
            found.append((index, int(index == plan.part(kind)[-1]), window[pixel][word][:real]))
    return found


class Loads:
    """Watches the loads; a word's data come a cycle after its ``valid``, and no load has a gap."""

    def __init__(self, bench: Bench, p: TileParameters, expected: list[tuple[Any, ...]], hold: Level) -> None:
        self.bench, self.hold, self.expected = bench, hold, deque(expected)
        self.lanes, self.bits, self.plan = p.load.lanes, p.buffer.format.bits, p.load
        names = ("begins", "index", "load__valid", "load__last", "load__data")
        self.pins = {name: bench.output(name) for name in names}
        self.due: tuple[int, int] | None = None
        self.index = 0
        self.began = deque()  # cycles in which steps began

    def drive(self) -> None:
        pass

    def sample(self) -> None:
        get, now = {name: self.pins[name].get for name in self.pins}, self.bench.now
        if self.due:
            index, last, want = self.expected.popleft()
            got = unpack(get["load__data"](), self.bits, self.lanes)[: len(want)]
            assert (*self.due, got) == (index, last, want), f"cycle {now}: {len(self.expected)} words are left"
        self.due = None
        if get["load__valid"]():
            assert len(self.expected) > 0, f"cycle {now}: a word too many"
            self.due = self.index, get["load__last"]()
            before = self.due[0] - self.plan.begins[self.plan.kind_at(self.due[0])]
            assert self.began and self.began[0] + BEGIN_TO_LOAD + before == now, f"cycle {now}: a gap in a load"
            if self.due[1]:
                self.began.popleft()
        else:
            assert not get["load__last"]()
        self.index = get["index"]()  # a cycle before its ``valid``
        if get["begins"]():
            assert not self.hold.high, f"cycle {now}: a step began while it was held"
            self.began.append(now)


def play(bench: Bench, p: TileParameters, source: str, hold: str) -> tuple[Source, Loads]:
    x = activations(bench, p)
    words = bench.add(Source(bench, "i", stream_words(p, x), bench.pace(source)))
    held = bench.add(Level(bench, "hold", inverted(bench.pace(hold))))
    return words, bench.add(Loads(bench, p, loads(p, x), held))


async def whole_run(bench: Bench, p: TileParameters, source: str, hold: str) -> None:
    words, watched = play(bench, p, source, hold)
    await bench.finish(watched)
    assert words.sent == len(words.words), "activations were left over"
    assert not watched.began and watched.due is None


@cocotb.test(timeout_time=2, timeout_unit="ms")
@every_case(
    (
        ("source", "hold"),
        [
            ("never", "never"),
            ("mostly", "never"),
            ("never", "mostly"),
            ("half", "half"),
        ],
    ),
)
async def loads_every_window(dut: Any, case_name: str, source: str, hold: str) -> None:
    """Several images back to back; each activation is accepted once."""
    bench = Bench(dut, case_name)
    await bench.reset(*INPUTS)
    await whole_run(bench, present_case(case_name).parameters, source, hold)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@every_case()
async def forgets_at_reset(dut: Any, case_name: str) -> None:
    """A reset in the middle of an image, in several places; then the images from their beginning."""
    bench, p = Bench(dut, case_name), present_case(case_name).parameters
    for _ in range(4):
        await bench.reset(*INPUTS)
        play(bench, p, "never", "half")
        await bench.cycles(bench.rng.randint(1, 120))
    await bench.reset(*INPUTS)
    await whole_run(bench, p, "half", "never")
