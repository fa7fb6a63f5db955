"""Requantisation: sums to codes by a factor and a shift, rounded, saturated."""

from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.tables import count_up, fit
from spec.requantization import Requantization


@dataclass(frozen=True)
class RequantizerParameters:
    """``width`` bits of a sum, ``lanes`` sums of a word, ``channels`` of a pixel, ``bits`` of a code."""

    requantization: Requantization
    width: int
    lanes: int
    channels: int
    bits: int

    @property
    def pixels(self) -> int:
        """Whose biases and factors differ: those of a map that a dense layer makes, else one for all."""
        r = self.requantization
        return max(len(r.bias) // self.channels, len(r.factors) // self.channels, 1)

    @property
    def words(self) -> int:
        """Of those pixels."""
        return self.pixels * self.channels // self.lanes

    def entries(self) -> list[list[tuple[int, int, int]]]:
        """Bias, factor and factor below 0, by word and lane."""
        r = self.requantization
        columns = [_by_pixel(own, self.channels, self.pixels) for own in (r.bias, r.factors, r.below or r.factors)]
        rows = list(zip(*columns, strict=True))
        return [rows[k : k + self.lanes] for k in range(0, len(rows), self.lanes)]


def _by_pixel(values: tuple[int, ...], channels: int, pixels: int) -> list[int]:
    """Values of all channels, pixel by pixel, of those of all pixels, channel by channel; fewer are of all."""
    if len(values) == 1:
        return list(values) * (channels * pixels)
    if len(values) == channels:
        return list(values) * pixels
    return [values[channel * pixels + pixel] for pixel in range(pixels) for channel in range(channels)]


class Requantizer(wiring.Component):
    """``clip(round((i + bias) * factor / 2**shift) + zero_point, low, high)``, halves to the even number.

    Five cycles, a word a cycle. Biases and factors of a channel lie in a memory, constants where all
    channels have the same.
    """

    latency = 5

    def __init__(self, parameters: RequantizerParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(signed(p.width), p.lanes))),
                "o": Out(stream.Signature(data.ArrayLayout(p.bits, p.lanes))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, r = self.p, self.p.requantization
        enable = Signal()
        m.d.comb += [enable.eq(~self.o.valid | self.o.ready), self.i.ready.eq(enable)]
        valid = [self.i.valid, *(Signal(name=f"valid_{k}") for k in range(self.latency - 1)), self.o.valid]
        with m.If(enable):
            m.d.sync += [after.eq(before) for before, after in pairwise(valid)]
        sums = Signal(data.ArrayLayout(signed(p.width), p.lanes))
        constants = self._constants(m, enable)
        width = max(p.width, r.bias_bits) + 1
        totals = [Signal(signed(width), name=f"total_{k}") for k in range(p.lanes)]
        factors = [Signal(signed(r.factor_bits), name=f"factor_{k}") for k in range(p.lanes)]
        products = [Signal(signed(width + r.factor_bits), name=f"product_{k}") for k in range(p.lanes)]
        with m.If(enable):
            m.d.sync += sums.eq(self.i.payload)
        for lane, (bias, factor, below) in enumerate(constants):
            total = Signal(signed(width), name=f"biased_{lane}")
            m.d.comb += total.eq(sums[lane] + bias)
            with m.If(enable):
                m.d.sync += [
                    totals[lane].eq(total),
                    factors[lane].eq(Mux(total[-1], below, factor) if r.below else factor),
                    products[lane].eq(totals[lane] * factors[lane]),
                ]
        codes = round_and_clip(m, enable, products, r, p.bits)
        m.d.comb += self.o.payload.as_value().eq(Cat(codes))
        return m

    def _constants(self, m: Module, enable: Value) -> list[tuple[Value, Value, Value]]:
        """Bias and factors of each lane, a cycle after their word is at the input."""
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


def round_and_clip(m: Module, enable: Value, products: list[Value], r: Requantization, bits: int) -> list[Value]:
    """Codes of products, two cycles later."""
    codes = []
    for lane, product in enumerate(products):
        whole = Signal(signed(max(2, len(product) - r.shift + 1)), name=f"whole_{lane}")
        code = Signal(bits, name=f"code_{lane}")
        moved = Signal(signed(max(len(whole), bits + 1) + 1), name=f"moved_{lane}")
        if r.shift:
            # Half a unit less its last place, and that place where the quotient is of the other parity.
            half = Signal(signed(max(len(product), r.shift + 1) + 1), name=f"halfway_{lane}")
            odd = fit(product, r.shift + 1)[r.shift] ^ r.halves_to_odd
            m.d.comb += half.eq(product + ((1 << r.shift - 1) - 1) + odd)
            product = (half >> r.shift)[: len(whole)].as_signed()
        m.d.comb += moved.eq(whole + r.zero_point)
        with m.If(enable):
            m.d.sync += [
                whole.eq(product),
                code.eq(Mux(moved < r.low, r.low, Mux(moved > r.high, r.high, moved))),
            ]
        codes.append(code)
    return codes
