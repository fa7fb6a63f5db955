"""AXI shells of registers and of streams."""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.network.maps import codes_layout
from selvage.hw.shell.registers import ADDRESS_BITS, BusInterface, bus_signature

OKAY, SLVERR = 0, 2


class AxiLiteInterface(wiring.PureInterface):
    """Pins of AXI4-Lite: members of `axi_lite_signature`."""

    awvalid: Signal
    awready: Signal
    awaddr: Signal
    awprot: Signal
    wvalid: Signal
    wready: Signal
    wdata: Signal
    wstrb: Signal
    bvalid: Signal
    bready: Signal
    bresp: Signal
    arvalid: Signal
    arready: Signal
    araddr: Signal
    arprot: Signal
    rvalid: Signal
    rready: Signal
    rdata: Signal
    rresp: Signal


def axi_lite_signature() -> wiring.Signature:
    """Return the signature of AXI4-Lite, seen from the manager."""
    return wiring.Signature(
        {
            "awvalid": Out(1),
            "awready": In(1),
            "awaddr": Out(ADDRESS_BITS),
            "awprot": Out(3),
            "wvalid": Out(1),
            "wready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "bvalid": In(1),
            "bready": Out(1),
            "bresp": In(2),
            "arvalid": Out(1),
            "arready": In(1),
            "araddr": Out(ADDRESS_BITS),
            "arprot": Out(3),
            "rvalid": In(1),
            "rready": Out(1),
            "rdata": In(32),
            "rresp": In(2),
        }
    )


class AxiLite(wiring.Component):
    """An AXI4-Lite subordinate.

    Address and data of a write come in any order; at most one write and one read wait.

    A read answers two cycles after its address came, a write two after the later of its parts. A read goes before a
    write, also before one that waits at a register that is not ready. What the registers refuse answers SLVERR.
    """

    axi: AxiLiteInterface
    bus: BusInterface

    def __init__(self) -> None:
        super().__init__({"axi": In(axi_lite_signature()), "bus": Out(bus_signature())})

    def elaborate(self, platform: object) -> Module:
        """Build the registers that hold addresses and data, and the two answers."""
        m = Module()
        axi, bus = self.axi, self.bus
        reads, writes = Signal(), Signal()  # may go to the registers
        read, written = Signal(), Signal()  # go through
        here = {}
        for channel, members, done in (
            ("aw", ["addr"], written),
            ("w", ["data", "strb"], written),
            ("ar", ["addr"], read),
        ):
            here[channel] = held = Signal(name=f"{channel}_held")
            valid, ready = getattr(axi, f"{channel}valid"), getattr(axi, f"{channel}ready")
            m.d.comb += ready.eq(~held)
            with m.If(ready):
                m.d.sync += held.eq(valid)
            with m.Elif(done):
                m.d.sync += held.eq(0)
            for member in members:
                source = getattr(axi, f"{channel}{member}")
                here[channel + member] = kept = Signal.like(source, name=f"{channel}{member}_kept")
                with m.If(ready):
                    m.d.sync += kept.eq(source)
        m.d.comb += [
            reads.eq(here["ar"] & ~axi.rvalid),
            writes.eq(here["aw"] & here["w"] & ~axi.bvalid),
            bus.valid.eq(reads | writes),
            bus.write.eq(~reads),
            bus.address.eq(Mux(reads, here["araddr"], here["awaddr"])),
            bus.data.eq(here["wdata"]),
            bus.strobe.eq(here["wstrb"]),
            read.eq(reads & bus.ready),
            written.eq(~reads & writes & bus.ready),
        ]
        response = Mux(bus.error, SLVERR, OKAY)
        self._answer(m, read, axi.rvalid, axi.rready, [axi.rdata.eq(bus.answer), axi.rresp.eq(response)])
        self._answer(m, written, axi.bvalid, axi.bready, [axi.bresp.eq(response)])
        return m

    @staticmethod
    def _answer(m: Module, done: Signal, valid: Signal, ready: Signal, values: list) -> None:
        with m.If(done):
            m.d.sync += [valid.eq(1), *values]
        with m.Elif(ready):
            m.d.sync += valid.eq(0)


@dataclass(frozen=True)
class FrameParameters:
    """Words of ``lanes`` values of ``bits`` bits; a frame is an image of ``words`` words."""

    bits: int
    lanes: int
    words: int

    def __post_init__(self) -> None:
        if min(self.bits, self.lanes, self.words) < 1:
            raise ValueError(f"bits, lanes and words must be at least 1, not {self.bits}, {self.lanes}, {self.words}")

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self.bits * self.lanes

    @property
    def data_bits(self) -> int:
        """Bits of ``tdata``: whole bytes, the word lowest."""
        return -(-self.width // 8) * 8


class FrameInterface(wiring.PureInterface):
    """Pins of AXI4-Stream: members of `axi_stream_signature`."""

    tvalid: Signal
    tready: Signal
    tdata: Signal
    tlast: Signal


def axi_stream_signature(p: FrameParameters) -> wiring.Signature:
    """Return the signature of AXI4-Stream, seen from the source."""
    return wiring.Signature({"tvalid": Out(1), "tready": In(1), "tdata": Out(p.data_bits), "tlast": Out(1)})


class StreamIn(wiring.Component):
    """The input of frames: frames of a run in, words out.

    One cycle, a word a cycle; what has entered is never withdrawn.

    Nothing is taken outside a run, but the rest of a frame of which some was taken in a run that ended early, or that
    had no ``tlast`` where it was due: it is dropped up to its ``tlast``, or to ``forget``. A beat with a wrong
    ``tlast`` is taken and does not leave. ``framed``: False where ``tlast`` is ``final`` itself; then nothing is left
    of a frame.

    Members
    -------
    axi, o : frames; their words
    running : a run; falls when it ends and then clears what is in hand
    start, forget : a run begins in the next cycle; no rest of a frame comes from then on, high with ``start`` too
    hold : nothing is taken in this cycle
    limit : images that may enter; at ``endless`` any number
    images : whole images of this run that entered
    begun : images of which a word entered
    final : the word that is awaited is the last of its image
    early, late : for a cycle, with a beat whose ``tlast`` is wrong
    dropping, dropped : a rest is dropped; for a cycle, with the ``tlast`` that ends it
    """

    axi: FrameInterface
    o: stream.Interface
    running: Signal
    start: Signal
    forget: Signal
    hold: Signal
    endless: Signal
    limit: Signal
    images: Signal
    begun: Signal
    final: Signal
    early: Signal
    late: Signal
    dropping: Signal
    dropped: Signal

    def __init__(self, parameters: FrameParameters, framed: bool = True) -> None:
        self.p, self.framed = parameters, framed
        p = parameters
        super().__init__(
            {
                "axi": In(axi_stream_signature(p)),
                "o": Out(stream.Signature(codes_layout(p.bits, p.lanes))),
                "running": In(1),
                "start": In(1),
                "forget": In(1),
                "hold": In(1),
                "endless": In(1),
                "limit": In(32),
                "images": Out(32),
                "begun": Out(32),
                "final": Out(1),
                "early": Out(1),
                "late": Out(1),
                "dropping": Out(1),
                "dropped": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the place in the frame, the count of images, and the output register."""
        m = Module()
        axi, place = self.axi, Signal(range(max(2, self.p.words)))
        opened, take, wrong = Signal(), Signal(), Signal()
        dropping = self.dropping
        m.d.comb += [
            opened.eq(self.running & ~self.hold & ~dropping & (self.endless | (self.images != self.limit))),
            self.final.eq(place == self.p.words - 1),
            axi.tready.eq(dropping | (opened & (~self.o.valid | self.o.ready))),
            take.eq(axi.tvalid & axi.tready & ~dropping),
            wrong.eq(axi.tlast != self.final),
            self.early.eq(take & wrong & axi.tlast),
            self.late.eq(take & wrong & ~axi.tlast),
            self.begun.eq(self.images + (place != 0)),
            self.dropped.eq(dropping & axi.tvalid & axi.tlast),
        ]
        with m.If(~self.running):
            m.d.sync += self.o.valid.eq(0)
        with m.Elif(take & ~wrong):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.as_value().eq(axi.tdata)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(take):
            m.d.sync += place.eq(Mux(wrong | self.final, 0, place + 1))
            m.d.sync += self.images.eq(self.images + (self.final & ~wrong))
        with m.Elif(self.start):
            m.d.sync += self.images.eq(0)
        with m.If(self.forget):
            m.d.sync += [dropping.eq(0), place.eq(0)]
        with m.Elif(self.late | (~self.running & (place != 0))):
            m.d.sync += [dropping.eq(int(self.framed)), place.eq(0)]
        with m.Elif(self.dropped):
            m.d.sync += dropping.eq(0)
        return m


class StreamOut(wiring.Component):
    """The output of frames: words in, frames out, ``tlast`` with each image's last word.

    One cycle, a word a cycle.

    What is offered stays until it is taken, or ``forget``, also when the run ends early: then the frame has no
    ``tlast``.

    Members
    -------
    i, axi : words; frames
    running, start : as of `StreamIn`; nothing is taken outside a run
    forget : the word that is offered is withdrawn, only outside a run
    images : whole images of this run that were taken at the far side
    """

    i: stream.Interface
    axi: FrameInterface
    running: Signal
    start: Signal
    forget: Signal
    images: Signal

    def __init__(self, parameters: FrameParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(codes_layout(p.bits, p.lanes))),
                "axi": Out(axi_stream_signature(p)),
                "running": In(1),
                "start": In(1),
                "forget": In(1),
                "images": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the place in the frame, the count of images, and the output register."""
        m = Module()
        axi, place = self.axi, Signal(range(max(2, self.p.words)))
        free, take, final = Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq(~axi.tvalid | axi.tready),
            self.i.ready.eq(self.running & free),
            take.eq(self.i.valid & self.i.ready),
            final.eq(place == self.p.words - 1),
        ]
        with m.If(free | self.forget):
            m.d.sync += axi.tvalid.eq(take)
        with m.If(take):
            m.d.sync += [axi.tdata.eq(self.i.payload.as_value()), axi.tlast.eq(final)]
            m.d.sync += place.eq(Mux(final, 0, place + 1))
        with m.Elif(self.start):
            m.d.sync += place.eq(0)
        with m.If(self.start):
            m.d.sync += self.images.eq(0)
        with m.Elif(axi.tvalid & axi.tready & axi.tlast):
            m.d.sync += self.images.eq(self.images + 1)
        return m
