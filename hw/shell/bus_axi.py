"""A shell's registers on AXI4-Lite, its words on AXI4-Stream, a frame an image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from amaranth.hdl import Module
from amaranth.lib import stream, wiring

from selvage.hw.shell.axi import AxiLite, FrameParameters, StreamIn, StreamOut, axi_lite_signature, axi_stream_signature
from selvage.hw.shell.buses import Bus, flat, join
from selvage.hw.shell.registers import RegisterFile
from selvage.hw.shell.run import Run

if TYPE_CHECKING:
    from selvage.hw.shell.shell import Shell


class Axi(Bus):
    """AXI4-Lite and AXI4-Stream."""

    name, framed, queues = "axi", True, False

    def members(
        self, inputs: Sequence[FrameParameters], outputs: Sequence[FrameParameters]
    ) -> dict[str, wiring.Member]:
        """Return the pins of all channels."""
        found = flat("s_axil", axi_lite_signature().flip())
        for k, frames in enumerate(inputs):
            found |= flat(f"s_axis_{k}", axi_stream_signature(frames).flip())
        for k, frames in enumerate(outputs):
            found |= flat(f"m_axis_{k}", axi_stream_signature(frames))
        return found

    def registers(self, m: Module, shell: "Shell") -> wiring.PureInterface:
        """Add AXI4-Lite between its pins and the register file."""
        m.submodules.bus = bus = AxiLite()
        join(m, shell, "s_axil", bus.axi)
        return bus.bus

    def enter(
        self,
        m: Module,
        shell: "Shell",
        k: int,
        frames: StreamIn,
        target: stream.Interface,
        registers: RegisterFile,
        run: Run,
    ) -> None:
        """Connect the frames of an input."""
        join(m, shell, f"s_axis_{k}", frames.axi)
        wiring.connect(m, frames.o, target)

    def leave(
        self,
        m: Module,
        shell: "Shell",
        k: int,
        frames: StreamOut,
        source: stream.Interface,
        registers: RegisterFile,
        run: Run,
    ) -> None:
        """Connect the frames of an output."""
        wiring.connect(m, source, frames.i)
        m.d.comb += frames.forget.eq(run.forget)
        join(m, shell, f"m_axis_{k}", frames.axi)
