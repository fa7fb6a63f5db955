"""The input buffer: lines of the map in a memory, and the words of each step's window out of it."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory, ReadPort
from amaranth.lib.wiring import In, Out

from selvage.base.layer import InputFormat
from selvage.hw.lib.tables import count_ahead, count_up
from selvage.hw.tile.address import AddressGenerator
from selvage.hw.tile.parameters import BufferParameters
from selvage.hw.tile.steps import StepGenerator, first_limit, position_layout, step_layout
from selvage.hw.tile.streams import LoadInterface, Relay, load_signature


def buffer_probe(p: BufferParameters) -> data.StructLayout:
    """Return the layout of what the input buffer shows for waves.

    A word is fetched (``fetch``) from ``address``, or lies outside the map. The step whose load ``begins`` has its base
    at ``row`` and ``column``, in pixels; the step generator ``gives`` steps before. ``free`` is the address of the next
    word that is taken. ``state`` is {the whole image is written, all of it has been read}.
    """
    step = step_layout(p)
    place = {"begins": 1, "row": step["row"].shape, "column": step["column"].shape}
    given = {"gives": 1, "given_row": step["row"].shape, "given_column": step["column"].shape}
    word = {"fetch": 1, "inside": 1, "address": p.address_bits}
    return data.StructLayout({**word, **place, **given, "free": p.address_bits, "state": 2})


class Writer(wiring.Component):
    """The place of the next word of the input stream in the buffer, and whether it may be written yet.

    Members
    -------
    put : a word is written now
    may_put : the next word fits, its pixel was before ``limit`` a cycle ago; registered
    address : of the next word
    position : its pixel
    started, finished : a word, or the whole, of the image is in the buffer; ``restart`` begins the next image
    """

    put: Signal
    may_put: Signal
    address: Signal
    position: data.View
    limit: data.View
    started: Signal
    finished: Signal
    restart: Signal

    def __init__(self, parameters: BufferParameters) -> None:
        self.p = parameters
        super().__init__(
            {
                "put": In(1),
                "may_put": Out(1, init=1),  # pyright: ignore[reportCallIssue]  # stubs lack it
                "address": Out(parameters.address_bits),
                "position": Out(position_layout(parameters)),
                "limit": In(position_layout(parameters)),
                "started": Out(1),
                "finished": Out(1),
                "restart": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the counters of words and pixels, and the comparison with the limit."""
        m = Module()
        p = self.p
        height, width = p.sweep.size
        second = {"row": 1, "column": 0} if width == 1 else {"row": 0, "column": 1}
        following = Signal(position_layout(p), init=second)  # the pixel behind `position`
        end = Signal()
        _, pixel_end = count_ahead(m, "word", p.words, self.put)
        over = pixel_end & (following.row == height)  # with the word that is put
        m.d.comb += end.eq(self.put & pixel_end)
        count_up(m, self.address, p.depth, self.put)
        with m.If(end):
            m.d.sync += [self.position.eq(following), self.finished.eq(following.row == height)]
            row_end = following.column == width - 1
            m.d.sync += following.column.eq(Mux(row_end, 0, following.column + 1))
            m.d.sync += following.row.eq(following.row + row_end)
        fits, follows = (place.as_value() < self.limit.as_value() for place in (self.position, following))
        # Whether a word is put is known last, and selects.
        after = Mux(pixel_end, follows, fits) & ~over
        m.d.sync += self.may_put.eq(~self.finished & Mux(self.put, after, fits))
        with m.If(self.put):
            m.d.sync += self.started.eq(1)
        with m.If(self.restart):
            m.d.sync += [self.position.as_value().eq(0), following.eq(following.shape().const(second))]
            m.d.sync += [self.address.eq(0), self.started.eq(0), self.finished.eq(0), self.may_put.eq(1)]
        return m


class Gate(wiring.Component):
    """The start interlock: a step begins when its pixels are there, at the earliest two cycles after the last came.

    A window that lies outside the map needs no pixel, but no step begins before a word of its image has come.

    Members
    -------
    i, o : steps; no cycle is lost between two steps whose pixels are there
    position, started, written : of the `Writer`
    hold : keeps the next step from beginning
    limit : what may be written from the next cycle on. That follows the oldest step three cycles late: by then the
        last word of the step before has been read
    finished : nothing of the image is read any more; ``restart`` begins the next image
    """

    i: stream.Interface
    o: stream.Interface
    position: data.View
    started: Signal
    written: Signal
    hold: Signal
    limit: data.View
    finished: Signal
    restart: Signal

    def __init__(self, parameters: BufferParameters) -> None:
        self.p = p = parameters
        first = first_limit(p)
        super().__init__(
            {
                "i": In(stream.Signature(step_layout(p))),
                "o": Out(stream.Signature(step_layout(p))),
                "position": In(position_layout(p)),
                "started": In(1),
                "written": In(1),
                "hold": In(1),
                "limit": Out(position_layout(p), init=first),  # pyright: ignore[reportCallIssue]  # stubs lack it
                "finished": Out(1),
                "restart": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the register of the waiting step and the comparison with what is written."""
        m = Module()
        here = Signal(step_layout(self.p))
        there = Signal()
        present = Signal()
        over = Signal()  # the image's last step has begun
        ends = Signal()
        leaves = Signal()
        m.d.comb += [
            self.o.valid.eq(present & ~self.hold),
            self.o.payload.eq(here),
            leaves.eq(self.o.valid & self.o.ready),
            self.i.ready.eq(~there | leaves),
            ends.eq(over | (leaves & here.last)),
        ]
        m.d.sync += over.eq(ends & ~self.restart)
        # Both comparisons are made, for which of the two steps it is, is known late.
        passed = Mux(self.i.ready, self.i.valid & self._passed(self.i.payload), there & self._passed(here))
        m.d.sync += present.eq(passed & self.started & ~ends)
        with m.If(self.i.ready):
            m.d.sync += [here.eq(self.i.payload), there.eq(self.i.valid)]
        self._late(m, here, there, over)
        return m

    def _passed(self, step: data.View) -> Value:
        return step.outside | self.written | (self.position.as_value() > step.need.as_value())

    def _late(self, m: Module, here: data.View, there: Value, over: Value) -> None:
        """Delay the limit and the end of the image until the words still being read have passed."""
        height = self.p.sweep.size[0]
        start = self.limit.shape().const(first_limit(self.p))
        early = Signal(position_layout(self.p), init=first_limit(self.p))
        idle = Signal()
        with m.If(self.o.ready & over):
            m.d.sync += [early.row.eq(height), early.column.eq(0)]
        with m.Elif(self.o.ready & there):
            m.d.sync += early.eq(here.limit)
        m.d.sync += self.limit.eq(early)
        m.d.sync += [idle.eq(over & self.o.ready), self.finished.eq(idle)]
        with m.If(self.restart):
            m.d.sync += [idle.eq(0), self.finished.eq(0), early.eq(start), self.limit.eq(start)]


class InputBuffer(wiring.Component):
    """The input buffer: takes each activation once, in raster order, and loads every step's window from it.

    A word is ``lanes`` channels of one pixel; a pixel is ``words`` words, channels in order, the last
    word filled up with anything. Zero points are subtracted on entry. One word in and one word out a
    cycle. A step's load takes ``len(reads)`` cycles and begins when its pixels are present and
    ``hold`` is low; data appears five cycles after.

    Members
    -------
    i : activations as they come, before the zero point is subtracted
    load : the window's words, see `load_signature`
    index : cycle of the load plan, one cycle before ``load.valid``
    hold : no row registers are free: the next step's load must wait
    begins : a step's load begins
    probe : with ``probes``: see `buffer_probe`
    """

    i: stream.Interface
    load: LoadInterface
    index: Signal
    hold: Signal
    begins: Signal
    probe: data.View

    def __init__(self, parameters: BufferParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(p.format.raw_bits, p.lanes))),
                "load": Out(load_signature(p.lanes, p.format.bits)),
                "index": Out(p.index_bits),
                "hold": In(1),
                "begins": Out(1),
                **({"probe": Out(buffer_probe(p))} if p.probes else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect step generator, gate, address generator, writer and the memory of lines."""
        m = Module()
        p = self.p
        m.submodules.steps = steps = StepGenerator(p)
        m.submodules.gate = gate = Gate(p)
        m.submodules.address_generator = address = AddressGenerator(p)
        m.submodules.writer = writer = Writer(p)
        m.submodules.lines = lines = Memory(shape=p.format.bits * p.lanes, depth=p.depth, init=[])
        write, read = lines.write_port(), lines.read_port()
        # Words are written a cycle late: no load can ask for one so soon.
        m.d.sync += [
            write.en.eq(writer.put),
            write.addr.eq(writer.address),
            write.data.eq(_codes(self.i.payload, p.format)),
        ]
        # How far a step's answer has to go: not to the counters.
        m.submodules.ahead = ahead = Relay(step_layout(p))
        wiring.connect(m, steps.o, ahead.i)
        wiring.connect(m, ahead.o, gate.i)
        wiring.connect(m, gate.o, address.i)
        restart = Signal()
        m.d.comb += [
            restart.eq(writer.finished & gate.finished),
            gate.restart.eq(restart),
            writer.restart.eq(restart),
            gate.position.eq(writer.position),
            gate.started.eq(writer.started),
            gate.written.eq(writer.finished),
            gate.hold.eq(self.hold),
            writer.limit.eq(gate.limit),
            self.i.ready.eq(writer.may_put),
            writer.put.eq(self.i.valid & self.i.ready),
            self.begins.eq(gate.o.valid & gate.o.ready),
        ]
        self._read(m, address, read)
        if p.probes:
            step, word = gate.o.payload, address.word
            fetched = [address.valid, word.inside, word.address]
            next_step = steps.o.payload
            given = [steps.o.valid & steps.o.ready, next_step.row, next_step.column]
            states = [writer.address, gate.finished, writer.finished]
            m.d.comb += self.probe.eq(Cat(*fetched, self.begins, step.row, step.column, *given, *states))
        return m

    def _read(self, m: Module, address: AddressGenerator, read: ReadPort) -> None:
        """Send words out through a register, with a bit for each lane that is not zero.

        Engines far away share both.
        """
        p, inside = self.p, Signal()
        words = [Mux(inside, read.data.word_select(lane, p.format.bits), 0) for lane in range(p.lanes)]
        m.d.comb += [
            read.en.eq(address.valid & address.word.inside),
            read.addr.eq(address.word.address),
            self.index.eq(address.word.index),
        ]
        m.d.sync += [
            inside.eq(address.word.inside),
            self.load.valid.eq(address.valid),
            self.load.last.eq(address.valid & address.word.last),
            self.load.data.as_value().eq(Cat(words)),
            self.load.nonzero.eq(Cat(word.any() for word in words)),
        ]


def _codes(word: data.View, numbers: InputFormat) -> Value:
    """Return a word of raw activations less the zero point, so that zero is code 0."""
    if not numbers.zero_point:
        return word.as_value()
    raw = [word[lane].as_signed() if numbers.raw_signed else word[lane] for lane in range(len(word))]
    return Cat((value - numbers.zero_point)[: numbers.bits] for value in raw)
