"""Runs inside the simulator: the AXI shell, whose runs end early with sources and sinks in any state."""

from collections import deque
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from selvage.hw.shell.registers import Code, State
from tb.benches.axi_host import IMAGES, INPUTS, OUTPUTS, AxiManager
from tb.benches.shell_host import DONE, ERROR, LOADED, TOLD, crossbar

DROPPED = 8  # interrupt
FAILED, DROPPING = 16, 128  # of STATUS
SIZES = [len(images[0]) for images in INPUTS]


class Source:
    """Beats to an input at full speed, as a DMA sends them that can be stopped anywhere; ``taken``: how many went."""

    def __init__(self, dut: Any, k: int) -> None:
        self.clock, self.pins = (
            dut.clk,
            {name: dut[f"s_axis_{k}_t{name}"] for name in ("valid", "ready", "data", "last")},
        )
        self.beats: deque[tuple[int, int]] = deque()
        self.allowed, self.taken, self.stopping = 10**9, 0, False
        self.pins["valid"].value = 0
        cocotb.start_soon(self._run())

    def send(self, words: list[int], last: bool = True) -> None:
        self.beats += [(word, int(last and n == len(words) - 1)) for n, word in enumerate(words)]

    async def stop(self) -> None:
        """Forget what was not taken, an offered beat too."""
        self.stopping = True
        await ClockCycles(self.clock, 2)

    async def until(self, taken: int) -> None:
        while self.taken < taken:
            await RisingEdge(self.clock)

    async def _run(self) -> None:
        offered = False
        while True:
            await RisingEdge(self.clock)  # what is read here is from before the edge
            if offered and self.pins["ready"].value == 1:
                self.beats.popleft()
                self.taken += 1
            if self.stopping:
                self.beats.clear()
                self.stopping = False
            offered = bool(self.beats) and self.taken < self.allowed
            self.pins["valid"].value = int(offered)
            if offered:
                self.pins["data"].value, self.pins["last"].value = self.beats[0]


class Sink:
    """``beats`` that an output gave while ``ready`` was high."""

    def __init__(self, dut: Any, k: int) -> None:
        self.clock, self.pins = (
            dut.clk,
            {name: dut[f"m_axis_{k}_t{name}"] for name in ("valid", "ready", "data", "last")},
        )
        self.beats: list[tuple[int, int]] = []
        self.ready = True
        self.pins["ready"].value = 1
        cocotb.start_soon(self._run())

    def word(self) -> tuple[int, int, int]:
        """What is offered."""
        return tuple(int(self.pins[name].value) for name in ("valid", "data", "last"))

    async def _run(self) -> None:
        taking = True
        while True:
            await RisingEdge(self.clock)
            if taking and self.pins["valid"].value == 1:
                self.beats.append(self.word()[1:])
            taking = self.ready
            self.pins["ready"].value = int(taking)


class EndsHost(AxiManager):
    """A host whose DMAs can be stopped."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.sources = [Source(dut, k) for k in range(len(INPUTS))]
        self.sinks = [Sink(dut, k) for k in range(len(OUTPUTS))]

    def feed(self, images: int) -> None:
        for source, own in zip(self.sources, INPUTS, strict=True):
            for image in own[:images]:
                source.send(image)

    def forget(self) -> None:
        """Words that went so far do not count."""
        for source in self.sources:
            source.taken, source.allowed = 0, 10**9
        for sink in self.sinks:
            sink.beats.clear()

    async def aborts(self) -> None:
        assert await self.command("abort")
        assert await self.error() == Code.ABORTED

    async def dropping(self) -> bool:
        return bool(await self.get("status") & DROPPING)

    async def settled(self) -> None:
        """Ready in a few cycles, nothing is offered, cells as they were."""
        await ClockCycles(self.dut.clk, 20)
        assert await self.state() == State.READY
        assert all(sink.word()[0] == 0 for sink in self.sinks)
        assert self.dut.interrupt_request.value == 0

    async def check(self, images: int) -> None:
        """A run that was started and fed ends whole, with its own words, tlast and counts and no others."""
        assert await self.interrupt() == DONE
        assert await self.get("images_done") == images
        await ClockCycles(self.dut.clk, 30)
        for sink, own in zip(self.sinks, OUTPUTS, strict=True):
            assert sink.beats == [
                (word, int(n == len(image) - 1)) for image in own[:images] for n, word in enumerate(image)
            ]
        assert [source.taken for source in self.sources] == [images * size for size in SIZES]
        assert not any(source.beats for source in self.sources) and not await self.dropping()
        self.sane()

    async def again(self, images: int = 1) -> None:
        """A whole run, fed once it has started."""
        self.forget()
        await self.start(images)
        self.feed(images)
        await self.check(images)


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(k=[0, 1])
async def aborted(dut: Any, k: int) -> None:
    """Aborted when each number of words of a frame has entered; then its source is stopped and the next run begins; or
    sends the rest before that; is stopped and a second abort gives the rest up; or sends the rest in the next run."""
    host = EndsHost(dut)
    await host.ready(DONE | ERROR | LOADED | DROPPED)
    source, ways = host.sources[k], ("stopped", "sent", "cleared", "early")
    places = range(1, SIZES[k])
    turns = [(n, then) for n in places for then in ways] if SIZES[k] < 12 else [(n, ways[n % 4]) for n in places]
    for entered, then in turns:
        host.forget()
        source.allowed = entered
        source.send(INPUTS[k][0])
        await host.start(2)
        await source.until(entered)
        await host.aborts()
        assert await host.dropping()
        match then:
            case "stopped":
                await source.stop()
            case "sent":
                source.send(INPUTS[k][0])  # the first of the next run
                source.allowed = 10**9
                assert await host.interrupt() == DROPPED
                await ClockCycles(dut.clk, 30)
                assert source.taken == SIZES[k], "not the rest of one frame was dropped"
                assert not await host.dropping()
                await source.stop()
            case "cleared":
                await source.stop()
                await host.aborts()
                assert not await host.dropping()
                assert not await host.command("abort")
                assert await host.error() == Code.NOT_RUNNING
                host.forget()
                host.feed(1)
                await ClockCycles(dut.clk, 30)
                assert source.taken == 0, "a frame of the next run was dropped"
                await host.start(1)
                await host.check(1)
            case "early":
                await host.start(1)
                assert not await host.dropping()
                source.allowed = 10**9
                assert await host.error() == Code.EARLY_LAST
        await host.settled()
        await host.again()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(k=[0, 1])
async def missing_last(dut: Any, k: int) -> None:
    """A frame without its tlast, and of the next one nothing, some, or all with or without a tlast."""
    host = EndsHost(dut)
    await host.ready(DONE | ERROR | LOADED | DROPPED)
    source, size = host.sources[k], SIZES[k]
    for good, excess, last in [
        (n, more, end) for n in (0, 1) for more in (0, 1, size, size + 1) for end in (False, True)
    ]:
        if last and not excess:
            continue
        host.forget()
        for image in INPUTS[k][:good]:
            source.send(image)
        source.send(INPUTS[k][good], last=False)
        source.send([0] * excess, last)
        await host.start(good + 2)
        raised = await host.interrupt()
        assert raised & ERROR and host.code == Code.LATE_LAST
        if last and not raised & DROPPED:
            assert await host.interrupt() == DROPPED
        await host.settled()
        assert source.taken == (good + 1) * size + excess, "the rest was not dropped"
        assert await host.dropping() == (not last)
        await host.again(1 + good)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize((("dead", "late"), [((0,), False), ((0,), True), ((1,), False), ((0, 1), False)]))
async def dead_sinks(dut: Any, dead: tuple[int, ...], late: bool) -> None:
    """A word waits at an output when the run ends early: it stays, until it is taken or a second abort withdraws it."""
    host = EndsHost(dut)
    await host.ready()
    for revived in (True, False):
        host.forget()
        for k in dead:
            host.sinks[k].ready = False
        host.feed(IMAGES - 1)
        host.sources[1].send(INPUTS[1][IMAGES - 1], last=not late)
        if late:  # a frame without its tlast ends the run once the word waits
            host.sources[1].allowed = IMAGES * SIZES[1] - 1
        await host.start(IMAGES)
        while not all(host.sinks[k].word()[0] for k in dead):
            await RisingEdge(dut.clk)
        if late:
            host.sources[1].allowed += 1
            assert await host.error() == Code.LATE_LAST
        else:
            await host.aborts()
        offered = [host.sinks[k].word() for k in dead]
        for source in host.sources:
            await source.stop()
        await ClockCycles(dut.clk, 40)
        assert await host.state() == State.STOPPING
        assert offered == [host.sinks[k].word() for k in dead], "what was offered has changed"
        host.sane()
        assert not await host.command("start")
        assert await host.error() == Code.BUSY
        counts = [len(host.sinks[k].beats) for k in dead]
        if revived:
            for k in dead:
                host.sinks[k].ready = True
        else:
            await host.aborts()
            assert dut.unstable.value == 1, "the word was not withdrawn"
            dut.unstable.value = 0
        await host.settled()
        assert [len(host.sinks[k].beats) for k in dead] == [n + revived for n in counts]
        for k in dead:
            host.sinks[k].ready = True
        await host.again(2)


@cocotb.test(timeout_time=600, timeout_unit="us")
async def registers(dut: Any) -> None:
    """All are known before any run, after a failed load whose cells were shown, in a run and after each reset."""
    host = EndsHost(dut)
    for _ in range(2):
        await host.reset()
        found = await host.survey()
        assert found["failed_count"] == found["failed_cell"] == found["failed_levels"] == 0
        await host.put("interrupt_enable", DONE | ERROR | LOADED)
        assert await host.interrupt() == ERROR  # of the addresses that are none
        crossbar(dut, 0).faults[2].value = 3 << TOLD["width"] | ~TOLD["image"][3 + 2] & 3
        assert await host.load() == ERROR and host.code == Code.CELLS
        crossbar(dut, 0).faults[2].value = 0
        for column in range(2):
            assert (await host.survey())["failed_cell"] == 2 | column << 16
            assert await host.command("next_failed")
        found = await host.survey()
        assert found["failed_count"] == 2 and not found["status"] & FAILED
        assert found["failed_cell"] == found["failed_levels"] == 0
        assert await host.interrupt() == ERROR
        assert await host.load() == LOADED
        await host.again()
        host.feed(IMAGES)
        await host.start(IMAGES)
        assert State((await host.survey())["status"] & 7) == State.RUNNING
        for source in host.sources:
            await source.stop()
