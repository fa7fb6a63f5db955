"""Runs inside the simulator: the host of an AXI shell, by cocotbext-axi with random pauses on every channel."""

from collections.abc import Iterator
from typing import Any

from cocotb.triggers import ClockCycles
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from selvage.hw.shell.registers import State
from tb.benches.shell_host import DONE, TOLD, Host

INPUTS, OUTPUTS = TOLD["inputs"], TOLD["outputs"]
IMAGES = len(INPUTS[0])


class AxiManager(Host):
    """Registers by AXI4-Lite."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.manager = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)

    async def write(self, address: int, value: int) -> bool:
        answer = await self.manager.write(address, value.to_bytes(4, "little"))
        assert answer.resp in (AxiResp.OKAY, AxiResp.SLVERR)
        return answer.resp == AxiResp.OKAY

    async def read(self, address: int) -> int | None:
        answer = await self.manager.read(address, 4)
        assert answer.resp in (AxiResp.OKAY, AxiResp.SLVERR)
        return int.from_bytes(answer.data, "little") if answer.resp == AxiResp.OKAY else None


class AxiHost(AxiManager):
    """Manager, sources and sinks; ``pauses``: the share of cycles in which each of their channels pauses."""

    def __init__(self, dut: Any, pauses: float = 0.4) -> None:
        super().__init__(dut)
        self.outputs = OUTPUTS  # words of each image of each output
        clock = (dut.clk, dut.rst)
        bus = AxiStreamBus.from_prefix  # one lane: data of a frame are words, not bytes
        self.sources = [AxiStreamSource(bus(dut, f"s_axis_{k}"), *clock, byte_lanes=1) for k in range(len(INPUTS))]
        self.sinks = [AxiStreamSink(bus(dut, f"m_axis_{k}"), *clock, byte_lanes=1) for k in range(len(OUTPUTS))]
        write, read = self.manager.write_if, self.manager.read_if
        channels = [write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel]
        for channel in (*channels, *self.sources, *self.sinks):
            if pauses:
                channel.set_pause_generator(self.pause(pauses))

    def pause(self, share: float) -> Iterator[bool]:
        """In ``share`` of the cycles, drawn each time."""
        while True:
            yield self.rng.random() < share

    def feed(self, first: int = 0, last: int = IMAGES) -> None:
        """Frames of some images to every input."""
        for source, images in zip(self.sources, INPUTS, strict=True):
            for image in images[first:last]:
                source.send_nowait(AxiStreamFrame(image))

    async def expect(self, first: int = 0, last: int = IMAGES) -> None:
        """The outputs of some images, each a frame, and nothing more."""
        for sink, images in zip(self.sinks, self.outputs, strict=True):
            for image in images[first:last]:
                frame = await sink.recv()
                assert list(frame.tdata) == image
        await ClockCycles(self.dut.clk, 60)
        assert all(sink.empty() and sink.idle for sink in self.sinks), "more came than was expected"

    async def settle(self, spent: int | None = None) -> None:
        """After a run that ended early: frames that came are right, nothing is left. Source ``spent`` is empty."""
        await ClockCycles(self.dut.clk, 300)  # what is left of frames that have begun is dropped
        assert spent is None or self.sources[spent].idle(), "the rest of the wrong frame was not dropped"
        for source in self.sources:
            source.assert_reset()  # frames that have not
        while await self.state() != State.READY:
            pass
        for sink, images in zip(self.sinks, self.outputs, strict=True):
            for n in range(sink.count()):
                assert list(sink.recv_nowait().tdata) == images[n]
            sink.assert_reset()  # what came of a frame that does not end
        self.sane()

    async def run(self, images: int = IMAGES) -> None:
        """A whole run, from the ready state."""
        self.feed(0, images)
        await self.start(images)
        await self.expect(0, images)
        assert await self.interrupt() == DONE
        assert await self.state() == State.READY
        self.sane()
