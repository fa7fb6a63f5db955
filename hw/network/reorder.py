"""Words of a map in another order, from a memory that holds what is needed later."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import count_up, lookup
from selvage.hw.network.components import Surroundings, component_of, parameters_of
from selvage.hw.network.maps import codes_layout
from selvage.mapping.reorder import ReorderPlan
from selvage.mapping.stages import ReorderStage


@dataclass(frozen=True)
class ReorderParameters:
    """Parameters of a `ReorderBuffer`: the order, and ``fill``, the code of what no word of the source is."""

    plan: ReorderPlan
    fill: int
    lanes: int
    bits: int

    @property
    def buffer_bits(self) -> int:
        """Bits of the memory."""
        return self.plan.depth * self.lanes * self.bits


class ReorderBuffer(wiring.Component):
    """A memory that is written word by word, in turn, and read in the order of a plan. A word a cycle.

    A word leaves a cycle after it was read: at the earliest in the cycle after the one that it is, or of ``fill`` the
    first of its part, was taken. The last word of a part also waits for the rest of the part. A word is taken when the
    one that it takes the place of is in no line that is still to be read.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, parameters: ReorderParameters) -> None:
        self.p = p = parameters
        word = stream.Signature(codes_layout(p.bits, p.lanes))
        super().__init__({"i": In(word), "o": Out(word)})

    def elaborate(self, platform: object) -> Module:
        """Build the memory, the count of words that came, and what reads by the addresses."""
        m = Module()
        p, plan = self.p, self.p.plan
        m.submodules.held = held = Memory(shape=p.bits * p.lanes, depth=plan.depth, init=[])
        write, read = held.write_port(), held.read_port()
        enable, go, put = Signal(), Signal(), Signal()
        number, slot, none, line_end, part_end, valid = self._addresses(m, go)
        came = Signal(range(plan.words + plan.depth + 1))  # words of the part that is read, and behind it
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            go.eq(enable & valid & (came > number) & (~part_end | (came >= plan.words))),
            put.eq(self.i.valid & self.i.ready),
        ]
        m.d.sync += came.eq(came + put - Mux(go & part_end, plan.words, 0))
        dropped = (came >= plan.used) & (came < plan.words) if plan.used < plan.words else Const(0)
        self._room(m, came, dropped, go & line_end)
        place = Signal(range(plan.depth))
        m.d.sync += place.eq(place + put)
        filled = Signal()
        with m.If(enable):
            m.d.sync += [self.o.valid.eq(go), filled.eq(none)]
        m.d.comb += [
            write.en.eq(put & ~dropped),
            write.addr.eq(place),
            write.data.eq(self.i.payload.as_value()),
            read.en.eq(enable),
            read.addr.eq(slot),
            self.o.payload.as_value().eq(Mux(filled, Const(p.fill % 2**p.bits, p.bits).replicate(p.lanes), read.data)),
        ]
        return m

    def _room(self, m: Module, came: Value, dropped: Value, line_read: Value) -> None:
        """Take words up to those that may be overwritten: as the next line says, from the cycle after one was read."""
        plan, depth = self.p.plan, self.p.plan.depth
        limits = [free + depth for free in plan.free[:-1]]
        following = Signal(range(max(2, len(limits))), init=1 % len(limits))
        count_up(m, following, len(limits), line_read)
        limit = Signal(range(max(limits) + 1), init=limits[0])
        with m.If(line_read):
            m.d.sync += limit.eq(lookup(limits, following))
        m.d.comb += self.i.ready.eq((came < limit) | dropped)

    def _addresses(self, m: Module, go: Value) -> tuple[Value, ...]:
        """Return the word to read, its place, whether it is none, ends of line and part, and whether all is valid.

        Two registers behind the counters, which run ahead: the next word's are there in the cycle after one was read.
        """
        plan = self.p.plan
        valid = Signal(2)
        step = ~valid[1] | go
        axes = {"channel": plan.channels, "column": plan.columns, "row": plan.rows}
        addends, ends = [], []
        end: Value = step
        for name, own in axes.items():
            counter = Signal(range(max(2, len(own))), name=name)
            addends.append(self._addend(m, step, end, counter, own))
            end = end & count_up(m, counter, len(own), end)
            ends.append(end)
        base, before = Signal(range(plan.depth)), Signal(range(plan.depth))  # where the part begins
        early, late = Signal(2), Signal(2)  # whether a line, and the part, ends
        number, slot, none = Signal(range(plan.words)), Signal(range(plan.depth)), Signal()
        total, outside = sum(value for value, _ in addends), Cat(own for _, own in addends).any()
        with m.If(step):
            m.d.sync += [valid.eq(Cat(1, valid[0])), before.eq(base), early.eq(Cat(*ends[1:])), late.eq(early)]
            m.d.sync += [number.eq(Mux(outside, 0, total)), slot.eq(total + before), none.eq(outside)]
        with m.If(ends[-1]):
            m.d.sync += base.eq(base + plan.words)
        return number, slot, none, late[0], late[1], valid[1]

    @staticmethod
    def _addend(m: Module, step: Value, counts: Value, counter: Signal, words: Sequence[int]) -> tuple[Value, Value]:
        """Return a register with the present one of ``words``, and one that says whether it is none.

        Equal steps from word to word are added, not looked up.
        """
        found = [max(word, 0) for word in words]
        value = Signal(range(max(found) + 1), name=f"{counter.name}_word")
        none = Signal(name=f"{counter.name}_none")
        steps = {after - before for before, after in pairwise(words)}
        if len(steps) == 1 and steps != {0} and min(words) >= 0:
            (each,) = steps
            ahead = Signal(range(max(found) + 1), init=words[0], name=f"{counter.name}_next")
            with m.If(counts):
                m.d.sync += ahead.eq(Mux(counter == len(words) - 1, words[0], ahead + each))
            with m.If(step):
                m.d.sync += value.eq(ahead)
            return value, none
        with m.If(step):
            m.d.sync += [value.eq(lookup(found, counter)), none.eq(lookup([word < 0 for word in words], counter))]
        return value, none


@parameters_of.register
def _(stage: ReorderStage, around: Surroundings) -> ReorderParameters:
    return ReorderParameters(stage.plan(around.lanes), stage.node.fill, around.lanes, around.bits)


component_of.register(ReorderParameters, ReorderBuffer)
