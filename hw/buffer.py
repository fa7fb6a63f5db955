"""The input buffer: lines of the map in a memory, and the words of each step's window out of it."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.address import AddressGenerator
from hw.parameters import BufferParameters
from hw.streams import load_signature
from hw.tables import count_up
from spec.layer import InputFormat


class Writer(wiring.Component):
    """Where the next word of the input stream belongs, and whether it may be written yet.

    A pixel overwrites the one ``rows`` lines above it, so it waits until the window has passed that.

    Members
    -------
    put : a word is written now
    may_put : the next word fits
    address : of the next word
    present : every pixel of the window is in the buffer, and at least one word of the image
    finished : the whole image is in the buffer; ``restart`` begins the next image
    first_row .. retires : from the address generator; ``done`` when it needs no more pixels
    """

    def __init__(self, parameters: BufferParameters, edge: object) -> None:
        self.p = parameters
        super().__init__(
            {
                "put": In(1),
                "may_put": Out(1),
                "address": Out(parameters.address_bits),
                "first_row": In(edge),
                "first_column": In(edge),
                "last_row": In(edge),
                "last_column": In(edge),
                "retires": In(1),
                "done": In(1),
                "present": Out(1),
                "finished": Out(1),
                "restart": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        height, width = p.sweep.size
        row = Signal(range(height + 1))
        column = Signal(range(max(2, width)))
        word = Signal(range(max(2, p.words)))
        pixel_end = count_up(m, word, p.words, self.put)
        row_end = count_up(m, column, width, self.put & pixel_end)
        count_up(m, self.address, p.depth, self.put)
        with m.If(self.put & pixel_end & row_end):
            m.d.sync += row.eq(row + 1)
            m.d.sync += self.finished.eq(row == height - 1)
        # A window that lies outside the map needs no pixel, but no step begins before its image does.
        started = Signal()
        with m.If(self.put):
            m.d.sync += started.eq(1)
        with m.If(self.restart):
            m.d.sync += [row.eq(0), self.address.eq(0), self.finished.eq(0), started.eq(0)]
        m.d.comb += [
            self.present.eq(started & self._present(row, column)),
            self.may_put.eq(~self.finished & self._fits(m, row, column)),
        ]
        return m

    def _present(self, row: Value, column: Value) -> Value:
        """The window's last pixel inside the map has been passed, or none is inside."""
        height, width = self.p.sweep.size
        outside = (
            (self.last_row < 0) | (self.last_column < 0) | (self.first_row >= height) | (self.first_column >= width)
        )
        last_row = Mux(self.last_row < height, self.last_row, height - 1)
        last_column = Mux(self.last_column < width, self.last_column, width - 1)
        passed = (row > last_row) | ((row == last_row) & (column > last_column))
        return outside | self.finished | passed

    def _fits(self, m: Module, row: Value, column: Value) -> Value:
        """Registered a cycle late: a word is not overwritten in the cycle that reads it."""
        height, width = self.p.sweep.size
        limit_row = Signal(range(height + self.p.rows + 1), init=self.p.rows)
        limit_column = Signal(range(width + 1))
        low = Mux(self.first_row < 0, 0, Mux(self.first_row < height, self.first_row, height))
        passed = Mux(self.first_column < 0, 0, Mux(self.first_column < width, self.first_column, width))
        m.d.sync += [
            limit_row.eq(Mux(self.done, height, low + self.p.rows)),
            limit_column.eq(Mux(self.retires, passed, 0)),
        ]
        return (row < limit_row) | ((row == limit_row) & (column < limit_column))


class InputBuffer(wiring.Component):
    """Takes each activation once, in raster order, and loads every step's window from it.

    A word is ``lanes`` channels of one pixel; a pixel is ``words`` words, channels in order, the last
    word filled up with anything. Zero points are subtracted on entry. One word in and one word out a
    cycle. A step's load takes ``len(reads)`` cycles and begins when its pixels are present and
    ``hold`` is low; data appears two cycles after.

    Members
    -------
    i : activations as they come, before the zero point is subtracted
    load : the window's words, see `load_signature`
    index : cycle of the load plan, with ``load.valid``
    hold : no row registers are free: the next step's load must wait
    begins : a step's load begins
    """

    def __init__(self, parameters: BufferParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(p.format.raw_bits, p.lanes))),
                "load": Out(load_signature(p.lanes, p.format.bits)),
                "index": Out(p.index_bits),
                "hold": In(1),
                "begins": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        m.submodules.address_generator = address = AddressGenerator(p)
        m.submodules.writer = writer = Writer(p, address.first_row.shape())
        width = p.format.bits * p.lanes
        m.submodules.lines = lines = Memory(shape=width, depth=p.depth, init=[])
        write, read = lines.write_port(), lines.read_port()
        for name in ("first_row", "first_column", "last_row", "last_column", "retires"):
            m.d.comb += getattr(writer, name).eq(getattr(address, name))
        restart = Signal()
        m.d.comb += [
            restart.eq(writer.finished & address.finished),
            writer.done.eq(address.finished),
            writer.restart.eq(restart),
            address.restart.eq(restart),
            self.i.ready.eq(writer.may_put),
            writer.put.eq(self.i.valid & self.i.ready),
            write.en.eq(writer.put),
            write.addr.eq(writer.address),
            write.data.eq(_codes(self.i.payload, p.format)),
            address.hold.eq(self.hold | ~writer.present),
            self.begins.eq(address.begins),
        ]
        self._read(m, address, read)
        return m

    def _read(self, m: Module, address: AddressGenerator, read: object) -> None:
        inside = Signal()
        m.d.sync += inside.eq(address.o.payload.inside)
        m.d.comb += [
            address.o.ready.eq(1),
            read.en.eq(address.o.valid & address.o.payload.inside),
            read.addr.eq(address.o.payload.address),
            self.load.valid.eq(address.o.valid),
            self.index.eq(address.o.payload.index),
            self.load.last.eq(address.o.valid & address.o.payload.last),
            self.load.data.as_value().eq(Mux(inside, read.data, 0)),
        ]


def _codes(word: data.View, numbers: InputFormat) -> Value:
    """Codes of a word of raw activations: zero point subtracted, so that zero is code 0."""
    if not numbers.zero_point:
        return word.as_value()
    raw = [word[lane].as_signed() if numbers.raw_signed else word[lane] for lane in range(len(word))]
    return Cat((value - numbers.zero_point)[: numbers.bits] for value in raw)
