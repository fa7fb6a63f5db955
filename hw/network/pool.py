"""Pooling: the largest or the mean of each window, on the input buffer of the tiles."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.base.layer import InputFormat
from selvage.base.requantization import Requantization
from selvage.hw.lib.loadable import Constants, TableInterface, table_signature
from selvage.hw.lib.tables import count_up
from selvage.hw.network.components import Surroundings, component_of, parameters_of
from selvage.hw.network.maps import codes_layout
from selvage.hw.network.requantizer import Requantizer, RequantizerParameters, TablesOfRequantizer
from selvage.hw.tile.buffer import InputBuffer
from selvage.hw.tile.parameters import BufferParameters
from selvage.mapping.schedule import Sweep
from selvage.mapping.stages import PoolStage

READ_TO_WORD = 8  # cycles from a load's last word to its result in the queue, at most


@dataclass(frozen=True)
class PoolParameters(TablesOfRequantizer):
    """Parameters of a `Pool`: windows of ``kernel`` pixels on a map of ``size``.

    A mean is of whole windows, pads counted as zeros.
    """

    kind: Literal["max", "average"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int]  # top, left
    size: tuple[int, int]
    output: tuple[int, int]
    channels: int
    lanes: int
    source: InputFormat
    bits: int
    requantization: Requantization | None  # of a mean
    constants: Constants = "fixed"
    dilation: tuple[int, int] = (1, 1)

    @cached_property
    def requantizer(self) -> RequantizerParameters | None:
        """Parameters of the requantisation of a mean; None of a maximum."""
        if not self.requantization:
            return None
        settings = (self.width, self.lanes, self.channels, self.bits)
        return RequantizerParameters(self.requantization, *settings, self.constants)

    @property
    def words(self) -> int:
        """Words of a pixel."""
        return self.channels // self.lanes

    @property
    def taps(self) -> int:
        """Pixels of a window."""
        return self.kernel[0] * self.kernel[1]

    @cached_property
    def buffer(self) -> BufferParameters:
        """Parameters of the input buffer, which reads word by word all pixels of the window.

        Outside of the map is the smallest value, or for a mean zero.
        """
        low = self.source.raw_range[0]
        zero = low if self.kind == "max" else self.source.zero_point
        numbers = InputFormat(raw_bits=self.source.raw_bits, raw_signed=self.source.raw_signed, zero_point=zero)
        reads = tuple(
            (row * self.dilation[0] - self.pads[0], column * self.dilation[1] - self.pads[1], word)
            for word in range(self.words)
            for row in range(self.kernel[0])
            for column in range(self.kernel[1])
        )
        sweep = Sweep(size=self.size, output=self.output, steps=self.output, stride=self.stride)
        return BufferParameters(sweep, numbers, self.lanes, self.words, reads)

    @property
    def width(self) -> int:
        """Bits of a signed sum, or of a maximum."""
        return self.buffer.format.bits + 1 + (self.taps - 1).bit_length()

    @property
    def queue(self) -> int:
        """Words that wait to leave: a step is loaded without a pause."""
        return 2 * self.words + READ_TO_WORD

    @property
    def buffer_bits(self) -> int:
        """Bits of the lines of the map and of the queue."""
        return self.lanes * (self.buffer.depth * self.buffer.format.bits + self.queue * self.width)


class Pool(wiring.Component):
    """A maximum or mean of each window.

    Each output word takes as many cycles as its window has pixels; the next window loads meanwhile.
    """

    i: stream.Interface
    o: stream.Interface
    table: TableInterface

    def __init__(self, parameters: PoolParameters) -> None:
        self.p = p = parameters
        members = {
            "i": In(stream.Signature(codes_layout(p.source.raw_bits, p.lanes))),
            "o": Out(stream.Signature(codes_layout(p.bits, p.lanes))),
        }
        super().__init__(members | ({"table": In(table_signature(len(p.table)))} if p.table else {}))

    def elaborate(self, platform: object) -> Module:
        """Connect input buffer, reduction, queue and, for a mean, requantisation."""
        m = Module()
        p = self.p
        m.submodules.input_buffer = buffer = InputBuffer(p.buffer)
        wiring.connect(m, wiring.flipped(self.i), buffer.i)
        reduced, whole = self._reduce(m, buffer)
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=len(reduced), depth=p.queue)
        level = queue.level  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it
        m.d.comb += [
            queue.w_data.eq(reduced),
            queue.w_en.eq(whole),
            buffer.hold.eq(level + p.words + READ_TO_WORD > p.queue),
        ]
        queue_words = self.o
        if p.requantizer:
            m.submodules.requantizer = requantizer = Requantizer(p.requantizer)
            if p.table:
                wiring.connect(m, wiring.flipped(self.table), requantizer.table)
            wiring.connect(m, requantizer.o, wiring.flipped(self.o))
            queue_words = requantizer.i
        m.d.comb += [
            queue_words.valid.eq(queue.r_rdy),
            queue.r_en.eq(queue_words.ready),
            queue_words.payload.as_value().eq(queue.r_data),
        ]
        return m

    def _reduce(self, m: Module, buffer: InputBuffer) -> tuple[Value, Value]:
        """Return the results of a word's window, and whether they are whole.

        A word of the window is there a cycle after it is announced.
        """
        p = self.p
        tap = Signal(range(max(2, p.taps)))
        here, first, last = Signal(), Signal(), Signal()
        end = count_up(m, tap, p.taps, buffer.load.valid)
        m.d.sync += [here.eq(buffer.load.valid), first.eq(tap == 0), last.eq(buffer.load.valid & end)]
        whole = Signal()
        m.d.sync += whole.eq(last)
        results = []
        for lane in range(p.lanes):
            code = buffer.load.data[lane]
            value = Signal(signed(p.width), name=f"value_{lane}")
            result = Signal(signed(p.width), name=f"result_{lane}")
            m.d.comb += value.eq(code.as_signed() if buffer.p.format.signed else code)
            more = result + value if p.kind == "average" else Mux(value > result, value, result)
            with m.If(here):
                m.d.sync += result.eq(Mux(first, value, more))
            low = buffer.p.format.zero_point
            results.append(result if p.kind == "average" else (result + low)[: p.bits])
        return Cat(results), whole


@parameters_of.register
def _(stage: PoolStage, around: Surroundings) -> PoolParameters:
    (source,), node = stage.sources, stage.node
    sides = {"size": source.shape[1:], "output": stage.output.shape[1:], "channels": source.shape[0]}
    window = {"kind": node.kind, "kernel": node.kernel, "stride": node.stride, "pads": node.pads[:2]}
    words = {"lanes": around.lanes, "source": source.format, "bits": around.bits}
    how = {"requantization": stage.requantization, "constants": around.constants, "dilation": node.dilation}
    return PoolParameters(**window, **sides, **words, **how)


component_of.register(PoolParameters, Pool)
