"""The bench inside the simulator: a tile, its source and sink, and a crossbar behind each macro's pins."""

import gc
import os
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

from selvage.rtlsim.job import PERIOD, Record, TileJob, load_job, save_fault, save_result
from selvage.rtlsim.pins import InPin, OutPin, UnknownPin
from selvage.rtlsim.streams import bursts
from selvage.rtlsim.watch import GatewareFault, Watch, most_cycles, told_hang, told_unknown

ALWAYS = (1, 0)


@dataclass
class Stalls:
    """The pauses of streams: (cycles on, cycles off) at most, drawn anew each time."""

    source: tuple[int, int] = ALWAYS
    sink: tuple[int, int] = ALWAYS
    macro: tuple[int, int] = ALWAYS
    latency: int = 0  # added to a macro's latency, at most

    @property
    def slower(self) -> int:
        """Times as long, at most, as a run takes without pauses."""
        return 1 + sum(off for _, off in (self.source, self.sink, self.macro)) + self.latency


class Macros:
    """The crossbar macros of a tile behind their pins: requests in, codes back in order."""

    def __init__(self, dut, job: TileJob, stalls: Stalls, rng: random.Random) -> None:
        self.job, self.rng, self.extra = job, rng, stalls.latency
        self.n = len(job.crossbars)
        self.pause = bursts(rng, *stalls.macro) if tuple(stalls.macro) != ALWAYS else None
        self.everyone = 2**self.n - 1
        self.due: list[deque[tuple[int, int]]] = [deque() for _ in range(self.n)]
        self.known: list[dict[int, int]] = [{} for _ in range(self.n)]
        self.reads = [0] * self.n
        for crossbar in job.crossbars:
            crossbar.begin()
        self.ready, self.codes, self.valid = (InPin(pin) for pin in (dut.request_ready, dut.codes, dut.codes_valid))
        self.ready.put(self.everyone)
        self.valid.put(0)

    def cycle(self, now: int, pins: int) -> None:
        """Do everything of a falling edge; transfers happen at the rising edge that follows."""
        ready = self.everyone
        if self.pause:
            ready = sum(int(next(self.pause)) << k for k in range(self.n))
            self.ready.put(ready)
        asked = pins & ready
        if asked:
            self._accept(now, asked, pins >> 2 * self.n)
        self._answer(now, pins >> self.n)

    def _accept(self, now: int, asked: int, word: int) -> None:
        bits = self.job.request_bits
        mask, latency = 2**bits - 1, self.job.chip.read_latency
        for k in range(self.n):
            if asked >> k & 1:
                request = word >> k * bits & mask
                code = self.known[k].get(request)
                if code is None:
                    code = self._convert(k, request)
                    if self.job.crossbars[k].repeatable:
                        self.known[k][request] = code
                at = now + latency
                if self.extra:
                    at = max(at + self.rng.randint(0, self.extra), self.due[k][-1][0] if self.due[k] else 0)
                self.due[k].append((at, code))
                self.reads[k] += 1

    def _convert(self, k: int, request: int) -> int:
        rows = self.job.chip.rows
        wordlines, group, chip = request & 2**rows - 1, request >> rows, self.job.chip
        # The invariants of the pins: one read drives at most `ou_rows` word lines, of a column group that there is.
        if wordlines.bit_count() > chip.ou_rows:
            raise GatewareFault(
                f"the RTL drives {wordlines.bit_count()} word lines of crossbar_{k} in one read, and ou_rows = "
                f"{chip.ou_rows}"
            )
        if group * chip.ou_cols >= chip.columns:
            raise GatewareFault(f"the RTL asks crossbar_{k} for column group {group}, which it does not have")
        if len(self.known[k]) > 500_000:
            self.known[k].clear()
        return self.job.crossbars[k].read(wordlines, group)

    def _answer(self, now: int, ready: int) -> None:
        valid = codes = 0
        bits = self.job.codes_bits
        for k, due in enumerate(self.due):
            if due and due[0][0] <= now:
                valid |= 1 << k
                codes |= due[0][1] << k * bits
                if ready >> k & 1:
                    due.popleft()
        if valid:
            self.codes.put(codes)
        self.valid.put(valid)


class Source:
    """The source of the words that the tile takes."""

    def __init__(self, dut, words: list[int], pattern: Iterator[bool]) -> None:
        self.words, self.pattern = words, pattern
        self.valid, self.payload = InPin(dut.i__valid), InPin(dut.i__payload)
        self.sent, self.holding = 0, False

    def cycle(self, ready: int) -> None:
        """Offer a word, or pause, at a falling edge; a word that is offered stays until the tile is ``ready``."""
        if self.sent == len(self.words):
            self.valid.put(0)
            return
        offer = self.holding or next(self.pattern)
        if offer and not self.holding:
            self.payload.put(self.words[self.sent])
        self.valid.put(int(offer))
        self.holding = bool(offer and not ready)
        self.sent += int(offer and ready)


class Handshakes:
    """The handshakes of all streams: the tile's input and output, then requests and codes of every macro."""

    def __init__(self, dut, job: TileJob) -> None:
        self.n = n = len(job.crossbars)
        macros = [(f"crossbar_{k}__{stream}", stream == "request") for stream in ("request", "codes") for k in range(n)]
        self.names = [("i", False), ("o", True), *macros]
        self.watch = Watch(self.names)
        self.pins = OutPin(dut.pins)
        self.request_bits = job.request_bits

    def look(self, now: int) -> int:
        """Return the pins that the tile drives (`rtlsim.harness`).

        `GatewareFault`: a handshake is X, or a payload that is offered.
        """
        try:
            return self.pins.get()
        except UnknownPin:
            return self._known(now, self.pins.bits()[::-1])

    def _known(self, now: int, bits: str) -> int:
        n = self.n
        handshakes = ["i__ready", "o__valid"]
        handshakes += [f"crossbar_{k}__{pin}" for pin in ("request__valid", "codes__ready") for k in range(n)]
        unknown = [name for name, bit in zip(handshakes, bits, strict=False) if bit not in "01"]
        for k in range(n):
            first = len(handshakes) + k * self.request_bits
            if bits[2 + k] != "0" and set(bits[first : first + self.request_bits]) - set("01"):
                unknown.append(f"crossbar_{k}__request__payload")
        if unknown:
            raise GatewareFault(told_unknown(unknown, now))
        return int("".join(bit if bit in "01" else "0" for bit in reversed(bits)), 2)

    def see(self, now: int, pins: int, source: Source, take: bool, macros: Macros) -> None:
        """Note what both sides show in a cycle."""
        n, every = self.n, macros.everyone
        self.watch.see(
            now,
            source.valid.shown | (pins >> 1 & 1) << 1 | (pins >> 2 & every) << 2 | macros.valid.shown << 2 + n,
            pins & 1 | take << 1 | macros.ready.shown << 2 | (pins >> 2 + n & every) << 2 + n,
        )


async def play(
    dut, job: TileJob, stalls: Stalls, rng: random.Random, *, stop_after: int = -1, record: Record | None = None
) -> Record:
    """Run the tile from the cycle after reset until the last beat, or for ``stop_after`` cycles.

    All happens at falling edges: what the tile shows is registered, and what it is given is stable at
    the next rising edge; so a transfer is certain when both sides are up at a falling edge.
    """
    record = record or Record()
    macros, source = Macros(dut, job, stalls, rng), Source(dut, job.words, bursts(rng, *stalls.source))
    handshakes, payload, ready = Handshakes(dut, job), OutPin(dut.o__payload), InPin(dut.o__ready)
    sink, edge, now = bursts(rng, *stalls.sink), FallingEdge(dut.clk), 0
    most = most_cycles(job.predicted, stalls.slower)
    # A layer may be over before its last activations have come: they are taken all the same.
    while (len(record.beats) < job.beats or (not job.ends and source.sent < len(job.words))) and now != stop_after:
        pins = handshakes.look(now)
        source.cycle(pins & 1)
        take = next(sink)
        ready.put(int(take))
        if take and pins & 2:
            record.beats.append(_payload(payload, now))
            record.cycles = now + 1
        macros.cycle(now, pins >> 2)
        handshakes.see(now, pins, source, take, macros)
        await edge
        now += 1
        if now == most:
            why = f"for {most:,} cycles are over and {job.predicted:,} are predicted"
            raise GatewareFault(told_hang(why, handshakes.watch.streams()))
    record.fetched, record.reads = source.sent, macros.reads
    left = [k for k, due in enumerate(macros.due) if due]
    if left and now != stop_after and not job.ends:
        raise GatewareFault(f"the RTL left codes of crossbar_{left[0]} at its pins when all outputs had come")
    return record


def _payload(pin: OutPin, now: int) -> int:
    try:
        return pin.get()
    except UnknownPin as error:
        raise GatewareFault(told_unknown([str(error)], now)) from None


async def reset(dut) -> None:
    """Reset for two cycles, until a falling edge."""
    dut.rst.value = 1
    for name in ("i__valid", "i__payload", "o__ready", "request_ready", "codes", "codes_valid"):
        getattr(dut, name).value = 0
    await ClockCycles(dut.clk, 2)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def nothing_left(dut, job: TileJob, end: int) -> None:
    """Watch the tile from cycle ``end`` on, behind the last beat.

    `GatewareFault`: something more comes, or a macro is asked.
    """
    dut.i__valid.value = 0
    dut.o__ready.value = 1
    handshakes = Handshakes(dut, job)
    offered = handshakes.names[1 : 2 + len(job.crossbars)]
    for cycle in range(end, end + 4 * job.chip.read_latency + 40):
        await FallingEdge(dut.clk)
        pins = handshakes.look(cycle)
        for k, (name, _) in enumerate(offered):
            if pins >> 1 + k & 1:
                raise GatewareFault(
                    f"the RTL offers {name} in cycle {cycle:,}, and its last output left before {end:,}"
                )


@cocotb.test()
async def run_tile(dut) -> None:
    """Run the job once; ``job.stalls`` paces the streams, ``job.reset_after`` interrupts it once."""
    gc.disable()  # nothing here makes cycles, and looking for them takes time in every one of the clock
    job = load_job(os.environ["SELVAGE_JOB"])
    record = Record()
    try:
        await _run(dut, job, record)
    except GatewareFault as fault:
        save_fault(job, str(fault), record)
        await ClockCycles(dut.clk, 2)  # what is wrong is in the waves


async def _run(dut, job: TileJob, record: Record) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    Clock(dut.clk, PERIOD, unit="ns", impl="gpi").start(start_high=False)
    await reset(dut)
    stalls = Stalls(**job.stalls)
    if job.reset_after:
        await play(dut, job, stalls, rng, stop_after=job.reset_after)
        await reset(dut)
    await play(dut, job, stalls, rng, record=record)
    counters = {name: _payload(OutPin(getattr(dut, name)), record.cycles) for name in job.counters}
    if not job.ends:
        await nothing_left(dut, job, record.cycles)
    save_result(job, record, counters)
