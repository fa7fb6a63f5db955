"""Small functions of gateware, for every value of few bits and some of many."""

import random

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.sim import Simulator

from selvage.hw.lib.tables import at_most, first_set, lowest_index, lowest_set, total


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 9, 16, 17, 22, 40])
def test_bits_of_a_set(width: int) -> None:
    m = Module()
    bits, lowest, place, few, ones = Signal(width), Signal(width), Signal(6), Signal(2), Signal(6)
    assert len(total(list(bits))) <= width.bit_length() + 1
    m.d.comb += [
        lowest.eq(lowest_set(bits)),
        place.eq(lowest_index(bits)),
        few.eq(Cat(at_most(count, bits) for count in (1, 2))),
        ones.eq(total(list(bits))),
    ]

    async def check(context: object) -> None:
        drawn = (random.Random(width).getrandbits(width) << shift for shift in range(width))
        for value in range(2**width) if width < 10 else [*drawn, *(1 << k for k in range(width)), 0]:
            value %= 2**width
            context.set(bits, value)
            assert context.get(lowest) == value & -value
            assert value == 0 or context.get(place) == (value & -value).bit_length() - 1
            assert context.get(ones) == value.bit_count()
            assert context.get(few) == (value.bit_count() <= 1) + 2 * (value.bit_count() <= 2)

    simulator = Simulator(m)
    simulator.add_testbench(check)
    simulator.run()


@pytest.mark.parametrize(("width", "count"), [(1, 1), (3, 1), (4, 3), (9, 2), (10, 9), (40, 1), (126, 9), (128, 128)])
def test_first_of_a_set(width: int, count: int) -> None:
    m = Module()
    bits, lowest, more = Signal(width), Signal(width), Signal()
    chosen, others = first_set(m, bits, count)
    m.d.comb += [lowest.eq(chosen), more.eq(others)]
    drawn = random.Random(width)

    async def check(context: object) -> None:
        few = (sum(1 << drawn.randrange(width) for _ in range(count + k % 3 - 1)) for k in range(100))
        for value in range(2**width) if width <= 10 else [*few, *(drawn.getrandbits(width) for _ in range(50)), -1, 0]:
            value %= 2**width
            rest = value
            for _ in range(min(count, value.bit_count())):
                rest &= rest - 1
            context.set(bits, value)
            assert context.get(lowest) == value & ~rest
            assert context.get(more) == (rest != 0)

    simulator = Simulator(m)
    simulator.add_testbench(check)
    simulator.run()


def test_more_than_two_are_not_counted() -> None:
    with pytest.raises(ValueError, match="3"):
        at_most(3, Signal(8))
