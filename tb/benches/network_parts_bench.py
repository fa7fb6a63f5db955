"""Runs inside the simulator: one part of a network between sources and sinks that pause, image after image."""

from collections.abc import Callable, Iterator
from typing import Any

import cocotb
import numpy as np

from tb.benches.component_bench import Bench, Sink, Source, every_case, pack, unpack
from tb.benches.network_maps import Streams, Words
from tb.benches.network_parts import present_part

IMAGES = 3


def lane_bits(bench: Bench, name: str, words: Words) -> int:
    """Bits of one lane of a stream's payload."""
    return len(bench.pin(f"{name}__payload")) // len(words[0])


def decoder(words: Words, bits: int) -> Callable[[int], list[int | None]]:
    """Payloads as lanes, of which those that hold anything are left out."""
    expected: Iterator[list[int | None]] = iter(words)

    def decode(raw: int) -> list[int | None]:
        want = next(expected)
        own = unpack(raw, bits, len(want))
        return [None if value is None else lane for lane, value in zip(own, want, strict=True)]

    return decode


def attach(bench: Bench, streams: Streams, source: str, sink: str) -> tuple[list[Source], list[Sink]]:
    """Sources and sinks of all streams, each pausing by itself."""
    sources, sinks = [], []
    for name, words in streams.inputs.items():
        bits = lane_bits(bench, name, words)
        sources.append(bench.add(Source(bench, name, [pack(word, bits) for word in words], bench.pace(source))))
    for name, words in streams.outputs.items():
        bits = lane_bits(bench, name, words)
        want = [[None if value is None else value % 2**bits for value in word] for word in words]
        sinks.append(bench.add(Sink(bench, name, want, bench.pace(sink), decoder(words, bits))))
    return sources, sinks


async def start(bench: Bench, streams: Streams) -> None:
    """Two cycles of reset, nothing offered and nothing taken; then loads what there is to load, still in reset."""
    inputs = [f"{name}__{pin}" for name in streams.inputs for pin in ("valid", "payload")]
    await bench.reset(*inputs, *(f"{name}__ready" for name in streams.outputs))
    if table := getattr(present_part(bench.case_name), "table", ()):
        rst, write, *word = (bench.input(name) for name in ("rst", "table__write", "table__address", "table__data"))
        rst.put(1)
        for own in enumerate(table):
            for go in (*[0] * bench.rng.randrange(2), 1):
                write.put(go)
                for pin, value in zip(word, own if go else (bench.rng.randrange(len(table)), 0), strict=True):
                    pin.put(value)
                await bench.cycles(1)
        write.put(0)
        rst.put(0)
        bench.now = 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
@every_case(
    (("source", "sink"), [("never", "never"), ("mostly", "never"),
                          ("never", "mostly"), ("half", "half")]),
)  # fmt: skip
async def passes_every_image(dut: Any, case_name: str, source: str, sink: str) -> None:
    """Every word as the golden functions have it, and no other; when nothing pauses, each in its cycle."""
    bench = Bench(dut, case_name)
    streams = present_part(case_name).streams(np.random.default_rng(cocotb.RANDOM_SEED), IMAGES)
    await start(bench, streams)
    sources, sinks = attach(bench, streams, source, sink)
    await bench.finish(*sinks)
    for own in sources:
        assert own.sent == len(own.words)
    if source == sink == "never":
        for own in sinks:
            found = [k for k, (got, want) in enumerate(zip(own.times, streams.times, strict=True)) if got != want]
            assert not found, (
                f"{own.name}: word {found[0]} of {len(own.times)} left in cycle {own.times[found[0]]} instead of "
                f"{streams.times[found[0]]}"
            )


@cocotb.test(timeout_time=1, timeout_unit="ms")
@every_case()
async def begins_again(dut: Any, case_name: str) -> None:
    """A reset anywhere, and nothing is left of what was under way."""
    bench = Bench(dut, case_name)
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    for _ in range(3):
        streams = present_part(case_name).streams(rng, 1)
        await start(bench, streams)
        attach(bench, streams, "half", "half")
        before = len(next(iter(streams.inputs.values())))
        await bench.cycles(bench.rng.randint(before // 4, before))
    streams = present_part(case_name).streams(rng, 1)
    await start(bench, streams)
    _, sinks = attach(bench, streams, "half", "never")
    await bench.finish(*sinks)
