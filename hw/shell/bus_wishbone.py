"""A shell's registers on Wishbone, its words in registers among them, queued."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import fifo, stream, wiring

from selvage.hw.shell.axi import FrameParameters, StreamIn, StreamOut
from selvage.hw.shell.buses import Bus, flat, join
from selvage.hw.shell.registers import RegisterFile
from selvage.hw.shell.run import Run
from selvage.hw.shell.wishbone import QueueIn, QueueOut, Wishbone, wishbone_signature

if TYPE_CHECKING:
    from selvage.hw.shell.shell import Shell


class WishboneBus(Bus):
    """Wishbone B4, classic cycles."""

    name, framed, queues = "wishbone", False, True

    def members(
        self, inputs: Sequence[FrameParameters], outputs: Sequence[FrameParameters]
    ) -> dict[str, wiring.Member]:
        """Return the pins of the one port."""
        return flat("wb", wishbone_signature().flip())

    def registers(self, m: Module, shell: "Shell") -> wiring.PureInterface:
        """Add Wishbone between its pins and the register file."""
        m.submodules.bus = bus = Wishbone()
        join(m, shell, "wb", bus.wishbone)
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
        """Connect the register and the queue of an input."""
        m.submodules[f"parts_{k}"] = parts = QueueIn(shell.p.inputs[k])
        _queue(m, f"words_{k}", shell.p.queue, frames.o, target, run)
        m.d.comb += [
            parts.access.eq(getattr(registers, f"data_in_{k}_access")),
            parts.value.eq(getattr(registers, f"data_in_{k}_value")),
            parts.running.eq(run.running),
            getattr(registers, f"data_in_{k}_refusal").eq(parts.refusal),
            getattr(registers, f"data_in_{k}_ready").eq(1),
            registers.data_ready_inputs[k].eq(frames.axi.tready),
            frames.axi.tvalid.eq(parts.axi.tvalid),
            frames.axi.tdata.eq(parts.axi.tdata),
            frames.axi.tlast.eq(frames.final),  # an image is counted, not marked
            parts.axi.tready.eq(frames.axi.tready),
        ]

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
        """Connect the register and the queue of an output."""
        _queue(m, f"queue_{k}", shell.p.queue, source, frames.i, run)
        m.submodules[f"parts_out_{k}"] = parts = QueueOut(shell.p.outputs[k])
        wiring.connect(m, frames.axi, parts.axi)
        m.d.comb += [
            frames.forget.eq(run.forget | run.aborting),  # the host reads no word of a run that ended early
            parts.forget.eq(frames.forget),
            parts.access.eq(getattr(registers, f"data_out_{k}_access")),
            getattr(registers, f"data_out_{k}_value").eq(parts.value),
            getattr(registers, f"data_out_{k}_refusal").eq(parts.refusal),
            getattr(registers, f"data_out_{k}_ready").eq(1),
            registers.data_ready_outputs[k].eq(frames.axi.tvalid),
        ]


def _queue(m: Module, name: str, depth: int, source: stream.Interface, target: stream.Interface, run: Run) -> None:
    """Add a queue of words between two streams, empty outside runs."""
    words = fifo.SyncFIFOBuffered(width=len(source.payload.as_value()), depth=depth)
    m.submodules[name] = ResetInserter(~run.running)(words)
    m.d.comb += [
        words.w_en.eq(source.valid),
        words.w_data.eq(source.payload.as_value()),
        source.ready.eq(words.w_rdy),
        target.valid.eq(words.r_rdy),
        target.payload.as_value().eq(words.r_data),
        words.r_en.eq(target.ready),
    ]
