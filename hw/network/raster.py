"""From blocks of output pixels to raster order; and pixels that leave several times."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import count_up
from selvage.hw.network.components import Surroundings, component_of, parameters_of
from selvage.mapping.stages import ResizeStage


@dataclass(frozen=True)
class RasterParameters:
    """Parameters of a map that comes in ``grid`` blocks of ``block`` pixels.

    The map has ``size`` pixels, its first at ``crop`` of the first block.

    ``repeat`` is how often each pixel leaves, in rows and in columns.
    """

    grid: tuple[int, int]
    block: tuple[int, int]
    crop: tuple[int, int]
    size: tuple[int, int]
    repeat: tuple[int, int]
    words: int  # of a pixel
    lanes: int
    bits: int

    @property
    def pitch(self) -> int:
        """Words of a line as it is stored."""
        return self.grid[1] * self.block[1] * self.words

    @property
    def half(self) -> int:
        """Words of a row of blocks."""
        return self.block[0] * self.pitch

    @property
    def depth(self) -> int:
        """Words of the memory: two rows of blocks."""
        return 2 * self.half

    @property
    def buffer_bits(self) -> int:
        """Bits of the memory."""
        return self.depth * self.lanes * self.bits


class RasterBuffer(wiring.Component):
    """Two rows of blocks: one is read line by line while the other is written block by block.

    What lies outside of the map is left out; a line that does costs a cycle. The first word of a row of blocks
    leaves two cycles after its last word came, or follows the word before it: one word a cycle.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, parameters: RasterParameters) -> None:
        self.p = p = parameters
        word = data.ArrayLayout(p.bits, p.lanes)
        super().__init__({"i": In(stream.Signature(word)), "o": Out(stream.Signature(word))})

    def elaborate(self, platform: object) -> Module:
        """Build the memory and the counters that write blocks and read lines."""
        m = Module()
        p = self.p
        m.submodules.blocks = blocks = Memory(shape=p.bits * p.lanes, depth=p.depth, init=[])
        write, read = blocks.write_port(), blocks.read_port()
        put, enable, go = Signal(), Signal(), Signal()
        full, address = self._write(m, put)
        done, source = self._read(m, go, enable)
        count = Signal(2)
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(count != 2),
            put.eq(self.i.valid & self.i.ready),
            go.eq(enable & (count != 0)),
            write.en.eq(put),
            write.addr.eq(address),
            write.data.eq(self.i.payload.as_value()),
            read.en.eq(enable),
            read.addr.eq(source),
            self.o.payload.as_value().eq(read.data),
        ]
        m.d.sync += count.eq(count + full - done)
        return m

    def _write(self, m: Module, put: Value) -> tuple[Value, Value]:
        """Return whether a row of blocks is whole with this word, and the word's address."""
        p = self.p
        across = p.block[1] * p.words
        word = Signal(range(max(2, across)), name="written_word")
        row = Signal(range(max(2, p.block[0])), name="written_row")
        column = Signal(range(max(2, p.grid[1])), name="written_column")
        half = Signal(name="written_half")
        line = Signal(range(max(2, p.half)), name="written_line")  # row * pitch
        base = Signal(range(max(2, p.pitch)), name="written_base")  # column * across
        word_end = count_up(m, word, across, put)
        row_end = count_up(m, row, p.block[0], put & word_end)
        block_end = Signal()
        m.d.comb += block_end.eq(put & word_end & row_end)
        column_end = count_up(m, column, p.grid[1], block_end)
        with m.If(put & word_end):
            m.d.sync += line.eq(Mux(row_end, 0, line + p.pitch))
        with m.If(block_end):
            m.d.sync += base.eq(Mux(column_end, 0, base + across))
        full = Signal(name="full")
        m.d.comb += full.eq(block_end & column_end)
        m.d.sync += half.eq(half ^ full)
        return full, line + base + word + Mux(half, p.half, 0)

    def _read(self, m: Module, go: Value, enable: Value) -> tuple[Value, Value]:
        """Return whether a row of blocks has been read with this cycle, and the address to read."""
        p = self.p
        word = Signal(range(max(2, p.words)), name="read_word")
        again = Signal(range(max(2, p.repeat[1])), name="read_again")
        column = Signal(range(max(2, p.size[1])), name="read_column")
        twice = Signal(range(max(2, p.repeat[0])), name="read_twice")
        row = Signal(range(max(2, p.block[0])), name="read_row")
        band = Signal(range(max(2, p.grid[0])), name="read_band")
        line = Signal(range(max(2, p.half)), name="read_line")
        at = Signal(range(max(2, p.size[1] * p.words)), name="read_at")  # column * words
        half, inside, skip, taken = Signal(name="read_half"), Signal(), Signal(), Signal()
        m.d.comb += [inside.eq(self._inside(band, row)), skip.eq(go & ~inside), taken.eq(go & inside)]
        word_end = count_up(m, word, p.words, taken)
        again_end = count_up(m, again, p.repeat[1], taken & word_end)
        pixel_end = Signal()
        m.d.comb += pixel_end.eq(taken & word_end & again_end)
        column_end = count_up(m, column, p.size[1], pixel_end)
        twice_end = count_up(m, twice, p.repeat[0], pixel_end & column_end)
        line_end, done = Signal(), Signal()
        m.d.comb += line_end.eq((pixel_end & column_end & twice_end) | skip)
        row_end = count_up(m, row, p.block[0], line_end)
        m.d.comb += done.eq(line_end & row_end)
        count_up(m, band, p.grid[0], done)
        with m.If(pixel_end):
            m.d.sync += at.eq(Mux(column_end, 0, at + p.words))
        with m.If(line_end):
            m.d.sync += line.eq(Mux(row_end, 0, line + p.pitch))
        m.d.sync += half.eq(half ^ done)
        with m.If(enable):
            m.d.sync += self.o.valid.eq(taken)
        return done, line + at + word + p.crop[1] * p.words + Mux(half, p.half, 0)

    def _inside(self, band: Value, row: Value) -> Value:
        """Return whether line ``band * block + row - crop`` of the output exists."""
        p = self.p
        first, beyond = p.crop[0], p.crop[0] + p.size[0]
        after = (band > first // p.block[0]) | ((band == first // p.block[0]) & (row >= first % p.block[0]))
        before = (band < beyond // p.block[0]) | ((band == beyond // p.block[0]) & (row < beyond % p.block[0]))
        return Cat(after if first else 1, before if beyond < p.grid[0] * p.block[0] else 1).all()


@parameters_of.register
def _(stage: ResizeStage, around: Surroundings) -> RasterParameters:
    side = stage.sources[0].shape[1:]
    return RasterParameters(side, (1, 1), (0, 0), side, stage.factor, around.words[0], around.lanes, around.bits)


component_of.register(RasterParameters, RasterBuffer)
