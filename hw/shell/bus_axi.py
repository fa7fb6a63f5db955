"""A shell's registers on AXI4-Lite, its words on AXI4-Stream, a frame an image."""

from collections.abc import Sequence

from amaranth.hdl import Module
from amaranth.lib import wiring

from selvage.hw.shell.axi import AxiLite, FrameParameters, StreamIn, StreamOut, axi_lite_signature, axi_stream_signature
from selvage.hw.shell.buses import Bus, flat, join
from selvage.hw.shell.registers import RegisterFile
from selvage.hw.shell.run import Run


class Axi(Bus):
    """AXI4-Lite and AXI4-Stream."""

    name, framed, queues = "axi", True, False

    def members(
        self, inputs: Sequence[FrameParameters], outputs: Sequence[FrameParameters]
    ) -> dict[str, wiring.Member]:
        found = flat("s_axil", axi_lite_signature().flip())
        for k, frames in enumerate(inputs):
            found |= flat(f"s_axis_{k}", axi_stream_signature(frames).flip())
        for k, frames in enumerate(outputs):
            found |= flat(f"m_axis_{k}", axi_stream_signature(frames))
        return found

    def registers(self, m: Module, shell: wiring.Component) -> wiring.PureInterface:
        m.submodules.bus = bus = AxiLite()
        join(m, shell, "s_axil", bus.axi)
        return bus.bus

    def enter(
        self,
        m: Module,
        shell: wiring.Component,
        k: int,
        frames: StreamIn,
        target: wiring.PureInterface,
        registers: RegisterFile,
        run: Run,
    ) -> None:
        join(m, shell, f"s_axis_{k}", frames.axi)
        wiring.connect(m, frames.o, target)

    def leave(
        self,
        m: Module,
        shell: wiring.Component,
        k: int,
        frames: StreamOut,
        source: wiring.PureInterface,
        registers: RegisterFile,
        run: Run,
    ) -> None:
        wiring.connect(m, source, frames.i)
        m.d.comb += frames.forget.eq(run.forget)
        join(m, shell, f"m_axis_{k}", frames.axi)
