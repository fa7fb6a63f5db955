"""How many steps every array of a tile has ready for what they all do together."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

STEPS = 2  # in flight at most: rows and sums have two banks


class StepCredits(wiring.Component):
    """Counts, array by array, steps that were given and not taken yet; all arrays take a step at once.

    It stands beside the one that takes, so that what the arrays say crosses the chip from register to register.

    Members
    -------
    given : an array has one step more, from the next cycle on
    taken : of every array one step, only while ``ready``
    ready : every array has one
    """

    def __init__(self, arrays: int, init: int) -> None:
        self.init = init
        super().__init__({"given": In(arrays), "taken": In(1), "ready": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        there = []
        for k, given in enumerate(self.given):
            count = Signal(range(STEPS + 1), init=self.init, name=f"count_{k}")
            left = Signal.like(count, name=f"left_{k}")
            has = Signal(init=self.init > 0, name=f"has_{k}")
            m.d.comb += left.eq(count + given - self.taken)
            m.d.sync += [count.eq(left), has.eq(left != 0)]
            there.append(has)
        m.d.comb += self.ready.eq(Cat(there).all())
        return m
