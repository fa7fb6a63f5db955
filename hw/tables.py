"""Constant tables and small shared pieces of gateware."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value, ValueLike

LONGEST = 2**15  # bits of a constant: Icarus reads no word of 16 384 digits


def bits_for(values: Sequence[int]) -> int:
    """Unsigned bits that hold every value; at least one."""
    return max(1, max(values).bit_length())


def lookup(values: Sequence[int], index: ValueLike, *, width: int | None = None) -> Value:
    """``values[index]`` as a constant vector and one selection; a constant where all are the same.

    Values are unsigned (give two's complements as their residue). One wide constant with an indexed
    part select costs a simulator one operation; a ``case`` costs one for each entry.
    """
    width = width or bits_for(values)
    if len(set(values)) == 1:
        return Const(values[0], width)
    stride = 1 << (width - 1).bit_length()  # a power of two: the index needs no multiplier
    if stride * len(values) > LONGEST and width > 1:
        low = width // 2
        parts = [([v % 2**low for v in values], low), ([v >> low for v in values], width - low)]
        return Cat(lookup(own, index, width=bits) for own, bits in parts)
    table = sum(value << stride * k for k, value in enumerate(values))
    return Const(table, stride * len(values)).word_select(index, stride)[:width]


def signed_lookup(values: Sequence[int], index: ValueLike) -> Value:
    """`lookup` of values of either sign."""
    width = max(max(v, -v - 1).bit_length() for v in values) + 1
    return lookup([v % 2**width for v in values], index, width=width).as_signed()


def fit(value: Value, width: int) -> Value:
    """A value as exactly ``width`` bits, its sign extended if it has one."""
    above = max(0, width - len(value))
    return Cat(value, value[-1].replicate(above) if value.shape().signed else Const(0, above))[:width]


def lowest_set(bits: Value) -> Value:
    """One-hot: the lowest bit that is set, or 0."""
    return (bits & (~bits + 1))[: len(bits)]


def first_set(m: Module, bits: Value, count: int) -> Value:
    """The lowest ``count`` bits that are set; all of them when there are no more."""
    if count >= len(bits):
        return bits
    rest = bits
    for k in range(count):
        # Named, or each step would write out all steps before it.
        following = Signal(len(bits), name=f"without_{k}")
        m.d.comb += following.eq(rest & (rest - 1))
        rest = following
    return bits & ~rest


def encode(onehot: Value) -> Value:
    """Index of the only set bit of ``onehot``; 0 when there is none."""
    width = max(1, (len(onehot) - 1).bit_length())
    return Cat(
        Cat(onehot[k] for k in range(len(onehot)) if k >> bit & 1).any() if len(onehot) > 1 else Const(0, 1)
        for bit in range(width)
    )


def count_up(m: Module, counter: Signal, limit: int, enable: ValueLike) -> Value:
    """Let ``counter`` run 0 .. limit-1 and start again; returns whether it is at its last value."""
    at_end = Signal(name=f"{counter.name}_end")
    m.d.comb += at_end.eq(counter == limit - 1)
    with m.If(enable):
        m.d.sync += counter.eq(counter + 1)
        with m.If(at_end):
            m.d.sync += counter.eq(0)
    return at_end
