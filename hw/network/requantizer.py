"""Requantisation: sums to codes by a factor and a shift, rounded, saturated."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, ShapeLike, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from selvage.base.requantization import Requantization
from selvage.hw.lib.loadable import (
    TABLE_BITS,
    Constants,
    TableField,
    TableInterface,
    check_constants,
    loaded_registers,
    split_table,
    table_signature,
    table_word,
)
from selvage.hw.lib.tables import count_up, fit

SHIFT_BITS = 6  # of a loaded shift
LONGEST_SHIFT = 2**SHIFT_BITS - 1


def loaded_settings(r: Requantization, bits: int) -> dict[str, tuple[ShapeLike, int]]:
    """Return shape and first value of the settings that all channels share, in the order of their words.

    A product has less than 62 bits, so that nothing is left of it behind the longest shift.
    """
    code = signed(bits + 1)
    return {
        "shift": (unsigned(SHIFT_BITS), min(r.shift, LONGEST_SHIFT)),
        "tie_bits": (unsigned(SHIFT_BITS), r.tie_bits),
        "odd": (unsigned(1), int(r.halves_to_odd)),
        "zero_point": (code, r.zero_point),
        "low": (code, r.low),
        "high": (code, r.high),
    }


@dataclass(frozen=True)
class RequantizerParameters:
    """Parameters of a `Requantizer`.

    ``width`` bits of a sum, ``lanes`` sums of a word, ``channels`` of a pixel, ``bits`` of a quantised value.

    ``constants``: loaded, all but the presence of factors below 0 can be changed, and whether channels, or pixels,
    differ.
    """

    requantization: Requantization
    width: int
    lanes: int
    channels: int
    bits: int
    constants: Constants = "fixed"

    def __post_init__(self) -> None:
        check_constants(self.constants)
        if self.constants == "loaded" and self.lanes & (self.lanes - 1):
            raise ValueError(f"lanes = {self.lanes} must be a power of two where constants are loaded")

    @property
    def pixels(self) -> int:
        """Pixels whose biases and factors differ: all of a map that a dense layer makes, else one."""
        r = self.requantization
        return max(len(r.bias) // self.channels, len(r.factors) // self.channels, 1)

    @property
    def words(self) -> int:
        """Words of those pixels."""
        return self.pixels * self.channels // self.lanes

    def entries(self) -> list[list[tuple[int, int, int]]]:
        """Return bias, factor and factor of sums below 0, by word and lane."""
        r = self.requantization
        columns = [
            _by_pixel(column, self.channels, self.pixels) for column in (r.bias, r.factors, r.below or r.factors)
        ]
        rows = list(zip(*columns, strict=True))
        return [rows[k : k + self.lanes] for k in range(0, len(rows), self.lanes)]

    @property
    def bias_bits(self) -> int:
        """Bits of a bias, as it is stored."""
        return TABLE_BITS if self.constants == "loaded" else self.requantization.bias_bits

    @property
    def factor_bits(self) -> int:
        """Bits of a factor, as it is stored."""
        return TABLE_BITS if self.constants == "loaded" else self.requantization.factor_bits

    @cached_property
    def stored(self) -> list[list[tuple[int, ...]]]:
        """The loaded constants by word and lane: bias, factor and, where it is there, factor below 0.

        There is a single entry where all channels have the same by construction.
        """
        r, entries = self.requantization, self.entries()
        if len(r.bias) == len(r.factors) == 1:
            entries = [entries[0][:1]]
        return [[entry if r.below else entry[:2] for entry in word] for word in entries]

    @property
    def step(self) -> int:
        """Addresses of an entry: a power of two, so that an address needs no division."""
        return 4 if self.requantization.below else 2

    @property
    def table(self) -> tuple[int, ...]:
        """All words that are loaded: the settings, then entry by entry."""
        if self.constants == "fixed":
            return ()
        entries = [(*map(table_word, entry), 0)[: self.step] for word in self.stored for entry in word]
        settings = loaded_settings(self.requantization, self.bits).values()
        return (*(table_word(value) for _, value in settings), *(value for entry in entries for value in entry))

    @property
    def table_fields(self) -> tuple[TableField, ...]:
        """Where the loaded words lie: entries pixel by pixel, channel by channel."""
        settings = list(loaded_settings(self.requantization, self.bits))
        count = len(self.stored) * len(self.stored[0])
        names = ("bias", "factor", "below") if self.requantization.below else ("bias", "factor")
        entries = [TableField(field, len(settings) + k, self.step, count) for k, field in enumerate(names)]
        return (*(TableField(field, k) for k, field in enumerate(settings)), *entries)


def _by_pixel(values: tuple[int, ...], channels: int, pixels: int) -> list[int]:
    """Return ``values`` pixel by pixel, each with all its channels.

    They come channel by channel; a single value is for all channels, one a channel for all pixels.
    """
    if len(values) == 1:
        return list(values) * (channels * pixels)
    if len(values) == channels:
        return list(values) * pixels
    return [values[channel * pixels + pixel] for pixel in range(pixels) for channel in range(channels)]


class TablesOfRequantizer:
    """A base of parameters whose only tables are those of their ``requantizer``, which may be None."""

    @cached_property
    def requantizer(self) -> RequantizerParameters | None:
        """Parameters of the requantisation, where there is one."""
        raise NotImplementedError

    @property
    def table(self) -> tuple[int, ...]:
        """All words that are loaded."""
        return self.requantizer.table if self.requantizer else ()

    @property
    def table_fields(self) -> tuple[TableField, ...]:
        """Where the loaded words lie."""
        return self.requantizer.table_fields if self.requantizer else ()


class Requantizer(wiring.Component):
    """A requantisation: ``clip(round((i + bias) * factor / 2**shift) + zero_point, low, high)``.

    Halves are rounded to the even number.

    Five cycles, a word a cycle. Biases and factors of a channel lie in a memory, constants where all
    channels have the same. Loaded ones lie in registers and a memory that ``table`` writes, a word a cycle, there
    in the next; only while no word is inside.
    """

    i: stream.Interface
    o: stream.Interface
    table: TableInterface

    latency = 5

    def __init__(self, parameters: RequantizerParameters) -> None:
        self.p = p = parameters
        members = {
            "i": In(stream.Signature(data.ArrayLayout(signed(p.width), p.lanes))),
            "o": Out(stream.Signature(data.ArrayLayout(p.bits, p.lanes))),
        }
        super().__init__(members | ({"table": In(table_signature(len(p.table)))} if p.table else {}))

    def elaborate(self, platform: object) -> Module:
        """Build the pipeline: bias, factor, rounding, clipping."""
        m = Module()
        p, r = self.p, self.p.requantization
        enable = Signal()
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), self.i.ready.eq(enable)]
        valid = [self.i.valid, *(Signal(name=f"valid_{k}") for k in range(self.latency - 1)), self.o.valid]
        with m.If(enable):
            m.d.sync += [after.eq(before) for before, after in pairwise(valid)]
        sums = Signal(data.ArrayLayout(signed(p.width), p.lanes))
        constants, settings = self._loaded(m, enable) if p.table else (self._constants(m, enable), None)
        width = max(p.width, p.bias_bits) + 1
        totals = [Signal(signed(width), name=f"total_{k}") for k in range(p.lanes)]
        factors = [Signal(signed(p.factor_bits), name=f"factor_{k}") for k in range(p.lanes)]
        products = [Signal(signed(width + p.factor_bits), name=f"product_{k}") for k in range(p.lanes)]
        near = distance_of_ties(settings) if settings else 0
        with m.If(enable):
            m.d.sync += sums.eq(self.i.payload)
        for lane, (bias, factor, below) in enumerate(constants):
            total = Signal(signed(width), name=f"biased_{lane}")
            m.d.comb += total.eq(sums[lane] + bias)
            with m.If(enable):
                m.d.sync += [
                    totals[lane].eq(total),
                    factors[lane].eq(Mux(total[-1], below, factor) if r.below else factor),
                    products[lane].eq(totals[lane] * factors[lane] + near),
                ]
        codes = round_and_clip(m, enable, products, settings or r, p.bits)
        m.d.comb += self.o.payload.as_value().eq(Cat(codes))
        return m

    def _constants(self, m: Module, enable: Value) -> list[tuple[Value, Value, Value]]:
        """Return bias and factors of each lane, a cycle after their word is at the input."""
        p, r = self.p, self.p.requantization
        each = {"bias": signed(r.bias_bits), "factor": signed(r.factor_bits)}
        layout = data.ArrayLayout(
            data.StructLayout({**each, **({"below": each["factor"]} if r.below else {})}), p.lanes
        )
        words = [
            layout.const(
                [
                    dict(zip(("bias", "factor", "below"), e, strict=True))
                    if r.below
                    else {"bias": e[0], "factor": e[1]}
                    for e in word
                ]
            )
            for word in p.entries()
        ]
        values = [word.as_value().value for word in words]
        if len(set(values)) == 1:
            return [
                (Const(b, each["bias"]), Const(f, each["factor"]), Const(n, each["factor"]))
                for b, f, n in p.entries()[0]
            ]
        index = Signal(range(p.words))
        count_up(m, index, p.words, self.i.valid & self.i.ready)
        m.submodules.constants = memory = Memory(shape=layout.size, depth=p.words, init=values)
        read = memory.read_port()
        m.d.comb += [read.addr.eq(index), read.en.eq(enable)]
        view = data.View(layout, read.data)
        return [(v.bias, v.factor, v.below if r.below else v.factor) for v in (view[k] for k in range(p.lanes))]

    def _loaded(self, m: Module, enable: Value) -> tuple[list[tuple[Value, Value, Value]], dict[str, Signal]]:
        """Return what `_constants` does, of the constants that ``table`` writes; and the settings."""
        p = self.p
        fields = loaded_settings(p.requantization, p.bits)
        words, lanes, count = len(p.stored), len(p.stored[0]), len(p.stored[0][0])
        to_settings, entries = split_table(m, self.table, [len(fields), words * lanes * p.step])
        low = (lanes * p.step - 1).bit_length()
        places = [lane * p.step + k for lane in range(lanes) for k in range(count)]
        write = Cat(entries.write & (entries.address[:low] == place) for place in places)
        values = [sum(table_word(v) << TABLE_BITS * k for k, v in enumerate(sum(word, ()))) for word in p.stored]
        if words == 1:
            word = self._register(m, write, entries.data, values[0])
        else:
            word = self._memory(m, enable, write, entries.address[low:], entries.data, values)
        each = [word[k : k + TABLE_BITS].as_signed() for k in range(0, len(word), TABLE_BITS)]
        found = [(entry[0], entry[1], entry[-1]) for entry in (each[k : k + count] for k in range(0, len(each), count))]
        return found * (p.lanes // lanes), loaded_registers(m, to_settings, fields)

    @staticmethod
    def _register(m: Module, write: Value, data: Value, init: int) -> Value:
        """Return the only word of constants, which does not change while sums come."""
        word = Signal(TABLE_BITS * len(write), init=init, reset_less=True, name="constants")
        for k, enable in enumerate(write):
            with m.If(enable):
                m.d.sync += word.word_select(k, TABLE_BITS).eq(data)
        return word

    def _memory(self, m: Module, enable: Value, write: Value, address: Value, data: Value, values: list[int]) -> Value:
        """Return the constants of the sums that came a cycle ago."""
        m.submodules.constants = memory = Memory(shape=TABLE_BITS * len(write), depth=len(values), init=values)
        index = Signal(range(len(values)))
        count_up(m, index, len(values), self.i.valid & self.i.ready)
        read, into = memory.read_port(), memory.write_port(granularity=TABLE_BITS)
        m.d.comb += [
            read.addr.eq(index),
            read.en.eq(enable),
            into.addr.eq(address),
            into.data.eq(data.replicate(len(write))),
            into.en.eq(write),
        ]
        return read.data


def round_and_clip(
    m: Module, enable: Value, products: Sequence[Value], r: Requantization | dict[str, Signal], bits: int
) -> list[Value]:
    """Return the quantised values of products, two cycles later; ``r`` may be loaded (`loaded_settings`)."""
    if isinstance(r, dict):
        return _loaded_codes(m, enable, products, r, bits)
    codes = []
    for lane, product in enumerate(products):
        whole = Signal(signed(max(2, len(product) - r.shift + 1)), name=f"whole_{lane}")
        code = Signal(bits, name=f"code_{lane}")
        moved = Signal(signed(max(len(whole), bits + 1) + 1), name=f"moved_{lane}")
        if r.shift:
            # Half a unit less its last place, and that place where the quotient is of the other parity.
            half = Signal(signed(max(len(product), r.shift + 1) + 1), name=f"halfway_{lane}")
            odd = fit(product, r.shift + 1)[r.shift] ^ r.halves_to_odd
            m.d.comb += half.eq(product + r.halfway + Cat(Const(0, r.tie_bits), odd))
            product = (half >> r.shift)[: len(whole)].as_signed()
        m.d.comb += moved.eq(whole + r.zero_point)
        with m.If(enable):
            m.d.sync += [
                whole.eq(product),
                code.eq(Mux(moved < r.low, r.low, Mux(moved > r.high, r.high, moved))),
            ]
        codes.append(code)
    return codes


def distance_of_ties(settings: dict[str, Signal]) -> Value:
    """Return what is added to a product before `round_and_clip` by loaded settings.

    It brings ties to their place bit.
    """
    return ((1 << settings["tie_bits"]) >> 1)[: LONGEST_SHIFT // 2 + 1]


def _loaded_codes(m: Module, enable: Value, products: Sequence[Value], r: dict[str, Signal], bits: int) -> list[Value]:
    """Return what `round_and_clip` does, by settings that are signals.

    `distance_of_ties` has been added to the products.

    The product is shifted first, so that the carry of rounding runs through what is left of it, in the second cycle.
    """
    codes = []
    below = Signal(LONGEST_SHIFT)  # the places below that of a half, from where ties are told on
    m.d.comb += below.eq((((1 << r["shift"]) - 1) >> 1) & ~((1 << r["tie_bits"]) - 1))
    for lane, product in enumerate(products):
        whole = Signal(signed(len(product)), name=f"whole_{lane}")
        up = Signal(name=f"up_{lane}")  # the step above is nearer, or as near and the one to take
        moved = Signal(signed(len(product) + 2), name=f"moved_{lane}")
        code = Signal(bits, name=f"code_{lane}")
        halves = Signal(signed(len(product) + 1), name=f"halves_{lane}")  # of a step
        m.d.comb += [
            halves.eq(Cat(Const(0, 1), product).as_signed() >> r["shift"]),
            moved.eq(whole + up + r["zero_point"]),
        ]
        more = (fit(product, max(len(product), LONGEST_SHIFT)) & below).any()
        with m.If(enable):
            m.d.sync += [
                whole.eq(halves[1:].as_signed()),
                up.eq(halves[0] & (more | (halves[1] ^ r["odd"]))),
                code.eq(Mux(moved < r["low"], r["low"], Mux(moved > r["high"], r["high"], moved))),
            ]
        codes.append(code)
    return codes
