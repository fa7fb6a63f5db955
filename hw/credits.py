"""How many steps every array of a tile has ready for what they all do together."""

from amaranth.hdl import Cat, Module, Mux, Signal
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
    more : every array has one more than that
    """

    def __init__(self, arrays: int, init: int) -> None:
        self.init = init
        super().__init__({"given": In(arrays), "taken": In(1), "ready": Out(1), "more": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        there, more = [], []
        for k, given in enumerate(self.given):
            # Whether there is one step, and whether there are two; ``given`` and ``taken`` come late, from afar.
            one = Signal(init=self.init > 0, name=f"one_{k}")
            two = Signal(init=self.init > 1, name=f"two_{k}")
            m.d.sync += [
                one.eq(Mux(self.taken, two | given, one | given)),
                two.eq(Mux(self.taken, two & given, two | (one & given))),
            ]
            there.append(one)
            more.append(two)
        m.d.comb += [self.ready.eq(Cat(there).all()), self.more.eq(Cat(more).all())]
        return m
