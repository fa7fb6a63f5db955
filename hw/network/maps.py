"""Small stages between layers: they pass words of codes on, each pixel's channels in order."""

from dataclasses import dataclass
from functools import reduce
from operator import add, and_

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from selvage.base.layer import InputFormat
from selvage.base.requantization import Requantization
from selvage.hw.lib.loadable import (
    Constants,
    TableField,
    TableInterface,
    check_constants,
    loaded_registers,
    table_signature,
    table_word,
)
from selvage.hw.lib.tables import count_up
from selvage.hw.network.components import Surroundings, component_of, parameters_of
from selvage.hw.network.requantizer import distance_of_ties, loaded_settings, round_and_clip
from selvage.mapping.stages import AddStage, ConcatStage, ReshapeStage, TableStage


def codes_layout(bits: int, lanes: int) -> data.ArrayLayout:
    """Return the layout of a word of quantised values as they come: two's complement where they are signed."""
    return data.ArrayLayout(bits, lanes)


def less_zero_point(code: Value, numbers: InputFormat, zero_point: Value | None = None) -> Value:
    """Return a quantised value less its zero point, signed.

    The zero point is that of ``numbers`` unless one is given.
    """
    zero = numbers.zero_point if zero_point is None else zero_point
    return (code.as_signed() if numbers.raw_signed else code) - zero


@dataclass(frozen=True)
class PackerParameters:
    """Parameters of a `Packer`: it takes ``own`` channels from ``first`` on.

    Words have ``lanes`` of a pixel's ``channels`` where they come, and ``packed`` of the channels taken where they
    leave.
    """

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
    """A width converter that gives a tile only its channels, as many a word as its input buffer has lanes.

    One narrow word a cycle; a wide word leaves the cycle after its last part came.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, parameters: PackerParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(codes_layout(p.bits, p.lanes))),
                "o": Out(stream.Signature(codes_layout(p.bits, p.packed))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the counters of words and parts, and the register of the wide word."""
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
    """Parameters of a `CodeTable`: an entry for each value of ``source``, the smallest first."""

    entries: tuple[int, ...]
    source: InputFormat
    bits: int
    lanes: int
    constants: Constants = "fixed"

    def __post_init__(self) -> None:
        check_constants(self.constants)

    @property
    def stored(self) -> list[int]:
        """Entries as they lie in a memory: addressed by the code's bits, so codes below 0 come last."""
        half = 2 ** (self.source.raw_bits - 1) if self.source.raw_signed else 0
        return [entry % 2**self.bits for entry in (*self.entries[half:], *self.entries[:half])]

    @property
    def table(self) -> tuple[int, ...]:
        """All words that are loaded."""
        return tuple(map(table_word, self.stored)) if self.constants == "loaded" else ()

    @property
    def table_fields(self) -> tuple[TableField, ...]:
        """Where the loaded words lie."""
        return (TableField("entries", 0, count=len(self.entries)),)


class CodeTable(wiring.Component):
    """A table that replaces each value by its entry: a memory a lane. One cycle, a word a cycle.

    Loaded ones are written by ``table``, all lanes at once, a word a cycle.
    """

    i: stream.Interface
    o: stream.Interface
    table: TableInterface

    def __init__(self, parameters: TableParameters) -> None:
        self.p = p = parameters
        members = {
            "i": In(stream.Signature(codes_layout(p.source.raw_bits, p.lanes))),
            "o": Out(stream.Signature(codes_layout(p.bits, p.lanes))),
        }
        super().__init__(members | ({"table": In(table_signature(len(p.table)))} if p.table else {}))

    def elaborate(self, platform: object) -> Module:
        """Build the memories, and their write ports where they are loaded."""
        m = Module()
        p = self.p
        enable = Signal()
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), self.i.ready.eq(enable)]
        with m.If(enable):
            m.d.sync += self.o.valid.eq(self.i.valid)
        codes = []
        for lane in range(p.lanes):
            m.submodules[f"table_{lane}"] = table = Memory(shape=p.bits, depth=len(p.stored), init=p.stored)
            if p.table:
                write = table.write_port()
                m.d.comb += [write.en.eq(self.table.write), write.addr.eq(self.table.address)]
                m.d.comb += write.data.eq(self.table.data)
            read = table.read_port()
            m.d.comb += [read.en.eq(enable), read.addr.eq(self.i.payload[lane])]
            codes.append(read.data)
        m.d.comb += self.o.payload.as_value().eq(Cat(codes))
        return m


FACTOR_BITS = 31  # of a loaded factor, which has no sign


@dataclass(frozen=True)
class AddParameters:
    """Parameters of `AddMaps`: the factor and the format of each map, and the rounding of the sum."""

    factors: tuple[int, ...]
    sources: tuple[InputFormat, ...]
    requantization: Requantization
    bits: int
    lanes: int
    constants: Constants = "fixed"

    def __post_init__(self) -> None:
        check_constants(self.constants)

    @property
    def registers(self) -> dict[str, tuple[ShapeLike, int]]:
        """Shape and first value of what is loaded, in the order of its words."""
        found = loaded_settings(self.requantization, self.bits)
        for k, (factor, source) in enumerate(zip(self.factors, self.sources, strict=True)):
            found[f"factor_{k}"] = (unsigned(FACTOR_BITS), abs(factor))
            found[f"zero_point_{k}"] = (signed(source.raw_bits + 1), source.zero_point)
        return found

    @property
    def table(self) -> tuple[int, ...]:
        """All words that are loaded."""
        values = [table_word(value) for _, value in self.registers.values()]
        return tuple(values) if self.constants == "loaded" else ()

    @property
    def table_fields(self) -> tuple[TableField, ...]:
        """Where the loaded words lie."""
        return tuple(TableField(name, k) for k, name in enumerate(self.registers))


class AddMaps(wiring.Component):
    """The sum of maps, or a difference, as codes of another. Four cycles, a word a cycle.

    ``table`` writes loaded factors, zero points and what belongs to their sum, a word a cycle.
    """

    o: stream.Interface
    table: TableInterface

    latency = 4

    def __init__(self, parameters: AddParameters) -> None:
        self.p = p = parameters
        inputs = {
            f"i_{k}": In(stream.Signature(codes_layout(numbers.raw_bits, p.lanes)))
            for k, numbers in enumerate(p.sources)
        }
        table = {"table": In(table_signature(len(p.table)))} if p.table else {}
        super().__init__({**inputs, "o": Out(stream.Signature(codes_layout(p.bits, p.lanes))), **table})

    def elaborate(self, platform: object) -> Module:
        """Build products, sums and rounding, a register behind each."""
        m = Module()
        p = self.p
        inputs: list[stream.Interface] = [getattr(self, f"i_{k}") for k in range(len(p.sources))]
        loaded = loaded_registers(m, self.table, p.registers) if p.table else {}
        enable, go = Signal(), Signal()
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), go.eq(reduce(and_, [enable, *(i.valid for i in inputs)]))]
        m.d.comb += [i.ready.eq(go) for i in inputs]
        valid = [Signal(name=f"valid_{k}") for k in range(self.latency - 1)]
        with m.If(enable):
            m.d.sync += [after.eq(before) for before, after in zip([go, *valid], [*valid, self.o.valid], strict=True)]
        sums = []
        for lane in range(p.lanes):
            parts = []
            for k, (i, numbers, factor) in enumerate(zip(inputs, p.sources, p.factors, strict=True)):
                value = less_zero_point(i.payload[lane], numbers, loaded.get(f"zero_point_{k}"))
                width = FACTOR_BITS if loaded else factor.bit_length()
                product = Signal(signed(len(value) + width + 1), name=f"product_{k}_{lane}")
                with m.If(enable):
                    m.d.sync += product.eq(value * loaded.get(f"factor_{k}", abs(factor)))
                parts.append(-product if factor < 0 else product)
            width = max(map(len, parts)) + (len(parts) - 1).bit_length()
            total = Signal(signed(width), name=f"total_{lane}")
            with m.If(enable):
                m.d.sync += total.eq(reduce(add, parts) + (distance_of_ties(loaded) if loaded else 0))
            sums.append(total)
        codes = round_and_clip(m, enable, sums, loaded or p.requantization, p.bits)
        m.d.comb += self.o.payload.as_value().eq(Cat(codes))
        return m


@dataclass(frozen=True)
class ConcatParameters:
    """Parameters of `ConcatMaps`: the words of a pixel of each map, in order."""

    words: tuple[int, ...]
    bits: int
    lanes: int


class ConcatMaps(wiring.Component):
    """The words of each map, pixel by pixel, one map after the other. No cycle.

    Members
    -------
    i_k : words of map k; of a single one ``i``, which passes as it is
    o : words of all
    """

    o: stream.Interface

    def __init__(self, parameters: ConcatParameters) -> None:
        self.p = p = parameters
        layout = codes_layout(p.bits, p.lanes)
        count = len(p.words)
        self.names = ["i"] if count == 1 else [f"i_{k}" for k in range(count)]
        inputs = {name: In(stream.Signature(layout)) for name in self.names}
        super().__init__({**inputs, "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        """Build the counter of words and the selection of a map by it."""
        m = Module()
        p = self.p
        word = Signal(range(max(2, sum(p.words))))
        count_up(m, word, sum(p.words), self.o.valid & self.o.ready)
        first = 0
        for name, count in zip(self.names, p.words, strict=True):
            i = getattr(self, name)
            with m.If((word >= first) & (word < first + count)):
                m.d.comb += [
                    self.o.valid.eq(i.valid),
                    i.ready.eq(self.o.ready),
                    self.o.payload.eq(i.payload),
                ]
            first += count
        return m


@parameters_of.register
def _(stage: TableStage, around: Surroundings) -> TableParameters:
    return TableParameters(stage.entries, around.formats[0], around.bits, around.lanes, around.constants)


@parameters_of.register
def _(stage: AddStage, around: Surroundings) -> AddParameters:
    how = (stage.factors, around.formats, stage.requantization)
    return AddParameters(*how, around.bits, around.lanes, around.constants)


@parameters_of.register(ConcatStage)
@parameters_of.register(ReshapeStage)
def _(stage: ConcatStage | ReshapeStage, around: Surroundings) -> ConcatParameters:
    return ConcatParameters(around.words, around.bits, around.lanes)


component_of.register(TableParameters, CodeTable)
component_of.register(AddParameters, AddMaps)
component_of.register(ConcatParameters, ConcatMaps)
