"""Constant tables and small shared pieces of gateware."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike

LONGEST = 2**15  # bits of a constant: Icarus reads no word of 16 384 digits


def bits_for(values: Sequence[int]) -> int:
    """Return how many unsigned bits hold every value; at least one."""
    return max(1, max(values).bit_length())


def lookup(values: Sequence[int], index: ValueLike, *, width: int | None = None) -> Value:
    """Return ``values[index]`` as one selection of a constant vector; a constant where all values are equal.

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
        return Cat(lookup(part, index, width=bits) for part, bits in parts)
    table = sum(value << stride * k for k, value in enumerate(values))
    return Const(table, stride * len(values)).word_select(index, stride)[:width]


def signed_lookup(values: Sequence[int], index: ValueLike) -> Value:
    """Return what `lookup` does, of values of either sign."""
    width = max(max(v, -v - 1).bit_length() for v in values) + 1
    return lookup([v % 2**width for v in values], index, width=width).as_signed()


def fit(value: Value, width: int) -> Value:
    """Return a value as exactly ``width`` bits; a signed one is extended by its sign."""
    above = max(0, width - len(value))
    return Cat(value, value[-1].replicate(above) if value.shape().signed else Const(0, above))[:width]


def shifted(value: Value, places: int) -> Value:
    """Return a signed value over ``2**places``, halves to even."""
    if not places:
        return value
    odd = value[places] if places < len(value) else value[-1]
    return (value + (2 ** (places - 1) - 1) + odd) >> places


def clipped(value: Value, low: int, high: int) -> Value:
    """Return a value, or the bound that it is beyond."""
    return Mux(value > high, high, Mux(value < low, low, value))


def lowest_set(bits: Value) -> Value:
    """Return one-hot the lowest bit that is set, or 0.

    There is no chain of carries: for few bits a tree is faster.
    """
    return Cat(bits[k] & ~bits[:k].any() if k else bits[0] for k in range(len(bits)))


def lowest_index(bits: Value) -> Value:
    """Return the index of the lowest bit that is set, found in fours of fours; undefined where none is set."""
    if len(bits) == 1:
        return Const(0, 1)
    if len(bits) == 2:
        return ~bits[0]
    if len(bits) <= 4:
        return Cat(~bits[0] & (bits[1] | ~bits[2]), ~bits[0] & ~bits[1])
    fours = [bits[k : k + 4] for k in range(0, len(bits), 4)]
    high = lowest_index(Cat(four.any() for four in fours))
    low = Cat(fit(lowest_index(four), 2) for four in fours).word_select(high, 2)
    return Cat(low, high)[: (len(bits) - 1).bit_length()]


def at_most(count: int, bits: Value) -> Value:
    """Return whether no more than ``count`` bits are set; ``count`` is 1 or 2.

    The set bits of every four are counted, up to one more than ``count``, then those of two fours, and so on, so that
    each count is a table of four bits. ValueError: another ``count``.
    """
    if count not in (1, 2):
        raise ValueError(f"count must be 1 or 2, not {count}")
    most = count + 1
    sums = [
        lookup([min(most, set_bits.bit_count()) for set_bits in range(2 ** len(four))], four, width=2)
        for four in (bits[k : k + 4] for k in range(0, len(bits), 4))
    ]
    both = [min(most, (pair & 3) + (pair >> 2)) for pair in range(16)]
    while len(sums) > 1:
        pairs = zip(sums[::2], sums[1::2], strict=False)
        sums = [lookup(both, Cat(pair), width=2) for pair in pairs] + sums[len(sums) // 2 * 2 :]
    return sums[0] != most


def first_set(m: Module, bits: Value, count: int) -> tuple[Value, Value]:
    """Return a mask of the lowest ``count`` bits that are set, or of all of them, and whether there are more.

    How many are set below every four bits comes from a tree of sums, so no path goes through all bits one by one.
    """
    fours = [bits[k : k + 4] for k in range(0, len(bits), 4)]
    below = sums_below(m, [total(list(four)) for four in fours])
    chosen = []
    for four, before in zip(fours, below, strict=False):
        room = [before < count - taken if taken < count else Const(0) for taken in range(4)]
        for k, bit in enumerate(four):
            # Which of them it is among the four is a table of those below it.
            ranks = [mask.bit_count() for mask in range(2**k)]
            chosen.append(bit & Cat(room[rank] for rank in ranks).bit_select(four[:k], 1))
    return Cat(chosen), below[-1] > count


def sums_below(m: Module, terms: Sequence[Value]) -> list[Value]:
    """Return for each term the sum of those before it, and at the end the sum of all.

    The adders are a tree, whose depth is the logarithm of the count.
    """
    if len(terms) == 1:
        return [Const(0, 1), terms[0]]
    half = len(terms) // 2
    low, high = sums_below(m, terms[:half]), sums_below(m, terms[half:])
    # Named, or each sum would write out all sums that it is made of.
    found = [Signal(len(term + low[-1]), name=f"below_{len(terms)}") for term in high]
    m.d.comb += [signal.eq(low[-1] + term) for signal, term in zip(found, high, strict=True)]
    return [*low[:-1], *found]


def levels(count: int) -> int:
    """Return the levels of a binary tree with ``count`` leaves."""
    return (count - 1).bit_length()


def total(terms: Sequence[Value]) -> Value:
    """Return the sum of one or more terms as a tree of adders, no sum wider than it must be."""
    if len(terms) <= 1:
        return terms[0]
    half = len(terms) // 2
    return total(terms[:half]) + total(terms[half:])


def adder_tree(m: Module, terms: Sequence[Value], depth: int) -> Value:
    """Return the sum of ``terms``, ``depth`` cycles later: a register behind each level of adders."""
    for _ in range(depth):
        sums = [first + other for first, other in zip(terms[::2], terms[1::2], strict=False)]
        sums += terms[len(sums) * 2 :]
        terms = [Signal(value.shape(), name="partial", reset_less=True) for value in sums]
        m.d.sync += [register.eq(value) for register, value in zip(terms, sums, strict=True)]
    return total(terms)


def count_up(m: Module, counter: Signal, limit: int, enable: ValueLike) -> Value:
    """Let ``counter`` run 0 .. limit-1 and start again; returns whether it is at its last value."""
    at_end = Signal(name=f"{counter.name}_end")
    m.d.comb += at_end.eq(counter == limit - 1)
    with m.If(enable):
        m.d.sync += counter.eq(counter + 1)
        with m.If(at_end):
            m.d.sync += counter.eq(0)
    return at_end


def count_ahead(m: Module, name: str, limit: int, enable: ValueLike) -> tuple[Signal, Signal]:
    """Build a counter 0 .. ``limit`` - 1 that wraps; return its next value, and whether it is at its last.

    The count itself does not exist: the first signal is one ahead of it, the second is a register.
    """
    ahead = Signal(range(max(2, limit)), init=1 % limit, name=f"after_{name}")
    last = Signal(init=limit == 1, name=f"{name}_last")
    end = count_up(m, ahead, limit, enable)
    with m.If(enable):
        m.d.sync += last.eq(end)
    return ahead, last
