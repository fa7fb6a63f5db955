"""Wishbone shells of registers and, through registers, of streams."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.shell.axi import FrameInterface, FrameParameters, axi_stream_signature
from selvage.hw.shell.registers import ADDRESS_BITS, CODE_BITS, BusInterface, Code, bus_signature


class WishboneInterface(wiring.PureInterface):
    """Pins of Wishbone: members of `wishbone_signature`."""

    cyc: Signal
    stb: Signal
    we: Signal
    adr: Signal
    sel: Signal
    dat_w: Signal
    dat_r: Signal
    ack: Signal
    err: Signal


def wishbone_signature() -> wiring.Signature:
    """Return the signature of Wishbone B4, seen from the manager: classic cycles, 32 bits, byte addresses."""
    return wiring.Signature(
        {
            "cyc": Out(1),
            "stb": Out(1),
            "we": Out(1),
            "adr": Out(ADDRESS_BITS),
            "sel": Out(4),
            "dat_w": Out(32),
            "dat_r": In(32),
            "ack": In(1),
            "err": In(1),
        }
    )


class Wishbone(wiring.Component):
    """Wishbone classic subordinate. It answers in the cycle after a strobe, or after a register has become ready.

    What the registers refuse answers ``err`` and not ``ack``. A bus without ``err`` (Caravel's) takes both as its
    acknowledge, and the host reads STATUS.code.
    """

    wishbone: WishboneInterface
    bus: BusInterface

    def __init__(self) -> None:
        super().__init__({"wishbone": In(wishbone_signature()), "bus": Out(bus_signature())})

    def elaborate(self, platform: object) -> Module:
        """Build the answer, a cycle after the strobe."""
        m = Module()
        wishbone, bus = self.wishbone, self.bus
        done = Signal()
        m.d.comb += [
            bus.valid.eq(wishbone.cyc & wishbone.stb & ~wishbone.ack & ~wishbone.err),
            bus.write.eq(wishbone.we),
            bus.address.eq(wishbone.adr),
            bus.data.eq(wishbone.dat_w),
            bus.strobe.eq(wishbone.sel),
            done.eq(bus.valid & bus.ready),
        ]
        m.d.sync += [wishbone.ack.eq(done & ~bus.error), wishbone.err.eq(done & bus.error)]
        with m.If(done):
            m.d.sync += wishbone.dat_r.eq(bus.answer)
        return m


def parts_of(p: FrameParameters) -> int:
    """Return how many registers of 32 bits a word takes."""
    return -(-p.data_bits // 32)


class QueueIn(wiring.Component):
    """A word from parts that are written to a register, the lowest first. The last part offers it in the same cycle.

    Members
    -------
    access, value : a part is being written; it
    refusal : why it would be refused: outside a run, or the last part while nobody takes a word
    running : a run; parts in hand are forgotten when it ends
    axi : words, of which nothing waits here; ``tlast`` is low
    """

    access: Signal
    value: Signal
    refusal: Signal
    running: Signal
    axi: FrameInterface

    def __init__(self, parameters: FrameParameters) -> None:
        self.p = parameters
        super().__init__(
            {
                "access": In(1),
                "value": In(32),
                "refusal": Out(CODE_BITS),
                "running": In(1),
                "axi": Out(axi_stream_signature(parameters)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the count of parts and the parts in hand."""
        m = Module()
        count, width = parts_of(self.p), self.p.data_bits
        part, kept, final = Signal(range(max(2, count))), Signal(32 * (count - 1)), Signal()
        m.d.comb += [
            final.eq(part == count - 1),
            self.axi.tvalid.eq(self.access & self.running & final),
            self.axi.tdata.eq(Cat(kept, self.value)[:width]),
        ]
        with m.If(~self.running):
            m.d.comb += self.refusal.eq(Code.NOT_RUNNING)
        with m.Elif(final & ~self.axi.tready):
            m.d.comb += self.refusal.eq(Code.NO_ROOM)
        with m.If(~self.running):
            m.d.sync += part.eq(0)
        with m.Elif(self.access & (self.refusal == Code.NONE)):
            m.d.sync += part.eq(Mux(final, 0, part + 1))
            if count > 1:
                m.d.sync += kept.eq(Cat(kept, self.value)[32:])
        return m


class QueueOut(wiring.Component):
    """A word, taken when a register has been read for each of its parts, the lowest first. No word waits here.

    Members
    -------
    axi : words; ``tlast`` is passed over
    access : a part is being read
    value : it
    refusal : why a read would be refused: there is no word
    forget : parts that were read of a word mean nothing any more
    """

    axi: FrameInterface
    access: Signal
    value: Signal
    refusal: Signal
    forget: Signal

    def __init__(self, parameters: FrameParameters) -> None:
        self.p = parameters
        super().__init__(
            {
                "axi": In(axi_stream_signature(parameters)),
                "access": In(1),
                "value": Out(32),
                "refusal": Out(CODE_BITS),
                "forget": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the count of parts and their selection."""
        m = Module()
        count, word = parts_of(self.p), self.axi.tdata
        part = Signal(range(max(2, count)))
        read, final = Signal(), Signal()
        m.d.comb += [
            final.eq(part == count - 1),
            self.value.eq(word.word_select(part, 32) if count > 1 else word),
            self.refusal.eq(Mux(self.axi.tvalid, Code.NONE, Code.NO_DATA)),
            read.eq(self.access & self.axi.tvalid),
            self.axi.tready.eq(read & final),
        ]
        with m.If(self.forget):
            m.d.sync += part.eq(0)
        with m.Elif(read):
            m.d.sync += part.eq(Mux(final, 0, part + 1))
        return m
