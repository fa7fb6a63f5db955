"""Small stages between layers: they pass words of codes on, each pixel's channels in order."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.requantizer import round_and_clip
from hw.tables import count_up
from spec.layer import InputFormat
from spec.requantization import Requantization


def codes_layout(bits: int, lanes: int) -> data.ArrayLayout:
    """One word of codes as they come: two's complement where they are signed."""
    return data.ArrayLayout(bits, lanes)


def less_zero_point(code: Value, numbers: InputFormat) -> Value:
    """A code without its zero point, signed."""
    return (code.as_signed() if numbers.raw_signed else code) - numbers.zero_point


@dataclass(frozen=True)
class PackerParameters:
    """Of a stream of ``channels`` a pixel, ``lanes`` a word, the ``own`` channels from ``first``, ``packed`` a word."""

    channels: int
    lanes: int
    first: int
    own: int
    packed: int
    bits: int

    @property
    def needed(self) -> bool:
        """Whether words are not what the reader takes already."""
        return (self.lanes, self.own) != (self.packed, self.channels)


class Packer(wiring.Component):
    """Words as a tile takes them: only its channels, as many a word as its input buffer has lanes.

    One narrow word a cycle; a wide word leaves the cycle after its last part came.
    """

    def __init__(self, parameters: PackerParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(codes_layout(p.bits, p.lanes))),
                "o": Out(stream.Signature(codes_layout(p.bits, p.packed))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        word = Signal(range(max(2, p.channels // p.lanes)))
        first, last = p.first // p.lanes, (p.first + p.own) // p.lanes - 1
        parts = p.packed // p.lanes
        part = Signal(range(max(2, parts)))
        take, own, whole = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | self.o.ready),
            take.eq(self.i.valid & self.i.ready),
            own.eq((word >= first) & (word <= last)),
            whole.eq(take & own & ((part == parts - 1) | (word == last))),
        ]
        count_up(m, word, p.channels // p.lanes, take)
        wide = Signal(p.bits * p.packed)
        m.d.comb += self.o.payload.as_value().eq(wide)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(whole)
        with m.If(take & own):
            m.d.sync += part.eq(Mux(whole, 0, part + 1))
            size = p.bits * p.lanes
            new = [Mux(part == k, self.i.payload.as_value(), wide[k * size : (k + 1) * size]) for k in range(parts)]
            m.d.sync += wide.eq(Cat(new))
        return m


@dataclass(frozen=True)
class TableParameters:
    """A code for each code of ``source``, in order of codes."""

    entries: tuple[int, ...]
    source: InputFormat
    bits: int
    lanes: int


class CodeTable(wiring.Component):
    """Each code becomes its entry: a memory a lane. One cycle, a word a cycle."""

    def __init__(self, parameters: TableParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(codes_layout(p.source.raw_bits, p.lanes))),
                "o": Out(stream.Signature(codes_layout(p.bits, p.lanes))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        enable = Signal()
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), self.i.ready.eq(enable)]
        with m.If(enable):
            m.d.sync += self.o.valid.eq(self.i.valid)
        half = 2 ** (p.source.raw_bits - 1) if p.source.raw_signed else 0
        # Addressed by the code's bits: codes below 0 come last.
        entries = [entry % 2**p.bits for entry in (*p.entries[half:], *p.entries[:half])]
        codes = []
        for lane in range(p.lanes):
            m.submodules[f"table_{lane}"] = table = Memory(shape=p.bits, depth=len(entries), init=entries)
            read = table.read_port()
            m.d.comb += [read.en.eq(enable), read.addr.eq(self.i.payload[lane])]
            codes.append(read.data)
        m.d.comb += self.o.payload.as_value().eq(Cat(codes))
        return m


@dataclass(frozen=True)
class AddParameters:
    """Two maps, each times its factor; the sum's rounding."""

    factors: tuple[int, int]
    sources: tuple[InputFormat, InputFormat]
    requantization: Requantization
    bits: int
    lanes: int


class AddMaps(wiring.Component):
    """The sum of two maps as codes of a third. Four cycles, a word a cycle."""

    latency = 4

    def __init__(self, parameters: AddParameters) -> None:
        self.p = p = parameters
        inputs = {
            f"i_{k}": In(stream.Signature(codes_layout(numbers.raw_bits, p.lanes)))
            for k, numbers in enumerate(p.sources)
        }
        super().__init__({**inputs, "o": Out(stream.Signature(codes_layout(p.bits, p.lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        inputs = [self.i_0, self.i_1]
        enable, go = Signal(), Signal()
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), go.eq(enable & self.i_0.valid & self.i_1.valid)]
        m.d.comb += [i.ready.eq(go) for i in inputs]
        valid = [Signal(name=f"valid_{k}") for k in range(self.latency - 1)]
        with m.If(enable):
            m.d.sync += [after.eq(before) for before, after in zip([go, *valid], [*valid, self.o.valid], strict=True)]
        sums = []
        for lane in range(p.lanes):
            parts = []
            for k, (i, numbers, factor) in enumerate(zip(inputs, p.sources, p.factors, strict=True)):
                value = less_zero_point(i.payload[lane], numbers)
                product = Signal(signed(len(value) + factor.bit_length() + 1), name=f"product_{k}_{lane}")
                with m.If(enable):
                    m.d.sync += product.eq(value * factor)
                parts.append(product)
            total = Signal(signed(max(map(len, parts)) + 1), name=f"total_{lane}")
            with m.If(enable):
                m.d.sync += total.eq(parts[0] + parts[1])
            sums.append(total)
        m.d.comb += self.o.payload.as_value().eq(Cat(round_and_clip(m, enable, sums, p.requantization, p.bits)))
        return m


@dataclass(frozen=True)
class ConcatParameters:
    """Words of a pixel of each map, in order."""

    words: tuple[int, ...]
    bits: int
    lanes: int


class ConcatMaps(wiring.Component):
    """Pixel by pixel the words of each map, one map after the other. No cycle."""

    def __init__(self, parameters: ConcatParameters) -> None:
        self.p = p = parameters
        layout = codes_layout(p.bits, p.lanes)
        inputs = {f"i_{k}": In(stream.Signature(layout)) for k in range(len(p.words))}
        super().__init__({**inputs, "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        word = Signal(range(max(2, sum(p.words))))
        count_up(m, word, sum(p.words), self.o.valid & self.o.ready)
        first = 0
        for k, count in enumerate(p.words):
            i = getattr(self, f"i_{k}")
            with m.If((word >= first) & (word < first + count)):
                m.d.comb += [
                    self.o.valid.eq(i.valid),
                    i.ready.eq(self.o.ready),
                    self.o.payload.eq(i.payload),
                ]
            first += count
        return m
