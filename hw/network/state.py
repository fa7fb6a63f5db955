"""What a loop remembers from one step to the next: the state of a recurrent layer."""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import count_up, lookup
from selvage.hw.network.components import Surroundings, component_of, parameters_of
from selvage.hw.network.maps import codes_layout
from selvage.mapping.stages import StateStage


@dataclass(frozen=True)
class StateParameters:
    """Parameters of a `LoopState`: codes that a loop of ``steps`` begins with, channel by channel."""

    initial: tuple[int, ...]
    steps: int
    lanes: int
    bits: int

    @property
    def words(self) -> list[int]:
        """The codes as words."""
        codes = [code % 2**self.bits for code in self.initial]
        return [
            sum(code << self.bits * lane for lane, code in enumerate(codes[first : first + self.lanes]))
            for first in range(0, len(codes), self.lanes)
        ]


class LoopState(wiring.Component):
    """What a step is given of the one before: first constants, then what comes back, which of the last step is dropped.

    What comes back passes in no cycle, while the step that takes it has room. After the last step's has come, the loop
    begins again for the next image.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, parameters: StateParameters) -> None:
        self.p = p = parameters
        word = stream.Signature(codes_layout(p.bits, p.lanes))
        super().__init__({"i": In(word), "o": Out(word)})

    def elaborate(self, platform: object) -> Module:
        """Build the counters of words and steps; in the step behind the last words are dropped."""
        m = Module()
        p, count = self.p, len(self.p.words)
        word, step = Signal(range(max(2, count))), Signal(range(p.steps + 1))
        first, last, moves = Signal(), Signal(), Signal()
        end = count_up(m, word, count, moves)
        count_up(m, step, p.steps + 1, moves & end)
        given = lookup(p.words, word, width=p.bits * p.lanes)
        m.d.comb += [
            first.eq(step == 0),
            last.eq(step == p.steps),
            self.o.valid.eq(first | (self.i.valid & ~last)),
            self.o.payload.as_value().eq(Mux(first, given, self.i.payload.as_value())),
            self.i.ready.eq(last | (self.o.ready & ~first)),
            moves.eq(Mux(last, self.i.valid, self.o.valid & self.o.ready)),
        ]
        return m


@parameters_of.register
def _(stage: StateStage, around: Surroundings) -> StateParameters:
    return StateParameters(stage.initial, stage.steps, around.lanes, around.bits)


component_of.register(StateParameters, LoopState)
