"""Runs inside the simulator: what the benches of all components share.

Everything is driven at falling edges and looked at a little later, before the rising edge at which
it counts; so outputs that follow inputs without a register have settled.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import cocotb
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from selvage.rtlsim.pins import InPin, OutPin
from selvage.rtlsim.streams import bursts
from tb.benches.bench_run import case_names

# How a stream stalls: at most so many cycles on and off, drawn anew each time.
PACES = {"never": (1, 0), "half": (6, 6), "mostly": (1, 7)}


def every_case(*options: Any, **named: Any) -> Any:
    """`cocotb.parametrize`, and for each case of the run, whose name the test takes as ``case_name``."""
    return cocotb.parametrize(*options, case_name=[cocotb.Param(name, name) for name in case_names()], **named)


class Agent(Protocol):
    """Plays one side of the component: once a cycle each."""

    def drive(self) -> None: ...
    def sample(self) -> None: ...


class Bench:
    """The clock, the agents, and the seed of one test."""

    def __init__(self, dut: Any, case_name: str = "") -> None:
        self.dut, self.case_name, self.now = dut, case_name, 0
        self.rng = random.Random(f"{cocotb.RANDOM_SEED} {case_name}")
        dut._log.info("seed %d", cocotb.RANDOM_SEED)
        self.agents: list[Agent] = []
        clock = self.pin("clk")
        self._edge, self._settled = FallingEdge(clock), Timer(2, unit="ns")
        Clock(clock, 10, unit="ns").start(start_high=False)

    def pin(self, name: str) -> Any:
        """A pin of the case's component: behind the case's name where several stand side by side."""
        return self.dut[f"{self.case_name}__{name}" if self.case_name else name]

    def pace(self, name: str) -> Iterator[bool]:
        return bursts(self.rng, *PACES[name])

    def input(self, name: str) -> InPin:
        return InPin(self.pin(name))

    def output(self, name: str) -> OutPin:
        return OutPin(self.pin(name))

    def add(self, agent: Any) -> Any:
        self.agents.append(agent)
        return agent

    async def reset(self, *inputs: str) -> None:
        """Two cycles of reset, without agents; all ``inputs`` are low."""
        self.agents, self.now = [], 0
        await self._edge  # what is put at time 0 is lost
        for name in inputs:
            self.input(name).put(0)
        self.input("rst").put(1)
        for _ in range(2):
            await self._edge
        self.input("rst").put(0)

    async def cycles(self, count: int) -> None:
        for _ in range(count):
            for agent in self.agents:
                agent.drive()
            await self._settled
            for agent in self.agents:
                agent.sample()
            await self._edge
            self.now += 1

    async def finish(self, *sinks: "Sink", rest: int = 60) -> None:
        """Run until every sink has what it expects; then nothing more may come."""
        while any(sink.expected for sink in sinks):
            await self.cycles(1)
        await self.cycles(rest)


class Source:
    """Drives a stream. What is offered stays until it is taken; between, the payload is noise."""

    def __init__(
        self,
        bench: Bench,
        name: str,
        words: list[int],
        pattern: Iterator[bool],
        *,
        allowed: Callable[[int], bool] = lambda index: True,
    ) -> None:
        self.bench, self.words, self.pattern, self.allowed = bench, words, pattern, allowed
        self.valid, self.payload = bench.input(f"{name}__valid"), bench.input(f"{name}__payload")
        self.ready = bench.output(f"{name}__ready")
        self.width = len(bench.pin(f"{name}__payload"))
        self.offered = False
        self.times: list[int] = []  # when each word was taken

    @property
    def sent(self) -> int:
        return len(self.times)

    def drive(self) -> None:
        if not self.offered:
            go = next(self.pattern)
            self.offered = go and self.sent < len(self.words) and self.allowed(self.sent)
            noise = self.bench.rng.getrandbits(self.width)
            self.payload.put(self.words[self.sent] if self.offered else noise)
        self.valid.put(int(self.offered))

    def sample(self) -> None:
        if self.offered and self.ready.get():
            self.times.append(self.bench.now)
            self.offered = False


class Sink:
    """Takes from a stream and compares; a stalled payload must stay."""

    def __init__(
        self,
        bench: Bench,
        name: str,
        expected: Iterable[Any],
        pattern: Iterator[bool],
        decode: Callable[[int], Any],
    ) -> None:
        self.bench, self.name, self.expected = bench, name, deque(expected)
        self.pattern, self.decode = pattern, decode
        self.valid, self.payload = bench.output(f"{name}__valid"), bench.output(f"{name}__payload")
        self.ready = bench.input(f"{name}__ready")
        self.taking, self.stalled = False, None
        self.times: list[int] = []  # when each item was taken
        self.items: list[Any] = []

    def drive(self) -> None:
        self.taking = next(self.pattern)
        self.ready.put(int(self.taking))

    def sample(self) -> None:
        payload = self.payload.get() if self.valid.get() else None
        where = f"{self.name}, cycle {self.bench.now}, item {len(self.items)}"
        if self.stalled is not None:
            assert payload == self.stalled, f"{where}: what was stalled changed"
        self.stalled = None
        if payload is None:
            return
        assert self.expected, f"{where}: nothing more was expected"
        if not self.taking:
            self.stalled = payload
            return
        got, want = self.decode(payload), self.expected.popleft()
        assert got == want, f"{where}: {got} instead of {want}"
        self.items.append(got)
        self.times.append(self.bench.now)


class Level:
    """Drives one input by a pattern."""

    def __init__(self, bench: Bench, name: str, pattern: Iterator[bool]) -> None:
        self.pin, self.pattern, self.high = bench.input(name), pattern, False

    def drive(self) -> None:
        self.high = next(self.pattern)
        self.pin.put(int(self.high))

    def sample(self) -> None:
        pass


def inverted(pattern: Iterator[bool]) -> Iterator[bool]:
    """A pace as the level of an input that holds things up."""
    return (not high for high in pattern)


def as_signed(value: int, width: int) -> int:
    return value - (value >> width - 1 << width)


def pack(values: Iterable[int], bits: int) -> int:
    """Integers side by side, the first lowest."""
    return sum((int(value) & 2**bits - 1) << bits * k for k, value in enumerate(values))


def unpack(word: int, bits: int, count: int) -> list[int]:
    return [word >> bits * k & 2**bits - 1 for k in range(count)]


def fields(layout: data.StructLayout, raw: int) -> dict[str, int]:
    """Members of a payload as unsigned integers."""
    return {name: raw >> f.offset & 2**f.width - 1 for name, f in layout}


def random_codes(rng: random.Random, count: int, low: int, high: int, *, zeros: float) -> list[int]:
    """Values of which a share is zero."""
    return [0 if rng.random() < zeros else rng.randint(low, high) for _ in range(count)]
