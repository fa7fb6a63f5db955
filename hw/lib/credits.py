"""How many steps every array of a tile has ready for what they all do together."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

STEPS = 2  # in flight at most: rows and sums have two banks


class StepCredits(wiring.Component):
    """Credit counters of all arrays: steps that were given and not taken yet; all arrays take a step at once.

    It stands beside the one that takes, so that what the arrays say crosses the chip from register to register.

    Members
    -------
    given : an array has one step more, from the next cycle on
    taken : of every array one step, only while ``ready``
    there : of the arrays, which have one
    ready : all, from a register
    """

    given: Signal
    taken: Signal
    there: Signal
    ready: Signal

    def __init__(self, arrays: int, init: int) -> None:
        self.init = init
        ready = Out(1, init=int(init > 0))  # pyright: ignore[reportCallIssue]  # stubs lack it
        super().__init__({"given": In(arrays), "taken": In(1), "there": Out(arrays), "ready": ready})

    def elaborate(self, platform: object) -> Module:
        """Build two bits of credit for each array, and whether all have one."""
        m = Module()
        there, kept, left = [], [], []
        for k, given in enumerate(self.given):
            # Whether there is one step, and whether there are two; ``given`` and ``taken`` come late, from afar.
            one = Signal(init=self.init > 0, name=f"one_{k}")
            two = Signal(init=self.init > 1, name=f"two_{k}")
            there.append(one)
            kept.append(one | given)
            left.append(two | given)
            m.d.sync += [
                one.eq(Mux(self.taken, left[k], kept[k])),
                two.eq(Mux(self.taken, two & given, two | (one & given))),
            ]
        m.d.comb += self.there.eq(Cat(there))
        m.d.sync += self.ready.eq(Mux(self.taken, Cat(left).all(), Cat(kept).all()))
        return m
