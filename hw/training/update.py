"""The update unit of a network: it reads the weights of each layer, changes them, and writes every copy.

Layer after layer: the codes are read from the cells of the layer's first copy into a memory; each loses its rounded,
shifted gradient; then all copies, forward and transposed, are written and verified.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import clipped, lookup, shifted
from selvage.hw.network.crossbar_control import CrossbarControl
from selvage.hw.training.cells import FAILED_BITS, CellPlan, CellReader, CellWriter, runs
from selvage.hw.training.maps import MapMemory, address_bits, read_signature

RANDOM_BITS = 32
RANDOM_TAPS = (31, 21, 1, 0)
"""Bits that change when a one leaves the register x^32 + x^22 + x^2 + x + 1 at its low end (Xilinx XAPP 052)."""


@dataclass(frozen=True)
class UpdateParameters:
    """``read`` and ``written``: rows of the first and of all copies, a part for each layer.

    ``words``, ``shifts``: weights of each layer, and places by which their gradients are shifted. ``copies``: how many
    accumulators a layer has. ``stochastic``: rounded by chance, not to the nearest.
    """

    read: CellPlan
    written: CellPlan
    words: tuple[int, ...]
    shifts: tuple[int, ...]
    copies: int
    gradient_bits: int
    stochastic: bool

    @cached_property
    def bits(self) -> int:
        """Bits of a weight's code."""
        return self.read.bits


def random_after(state: Sequence[frozenset[int]], steps: int) -> list[frozenset[int]]:
    """Return of each bit of the random register the bits whose sum it is, so many steps on."""
    bits = list(state)
    for _ in range(steps):
        leaves = bits[0]
        bits = [*bits[1:], frozenset()]
        for tap in RANDOM_TAPS:
            bits[tap] = bits[tap] ^ leaves
    return bits


class Rounding(wiring.Component):
    """What a weight is after its update: itself less its shifted gradient, within its codes. No cycle.

    Members
    -------
    layer : whose shift
    gradient, weight : as they are
    random : 32 bits, for stochastic rounding
    updated : the weight's new code
    """

    layer: Signal
    gradient: Signal
    weight: Signal
    random: Signal
    updated: Signal

    def __init__(self, parameters: UpdateParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "layer": In(range(max(2, len(p.shifts)))),
                "gradient": In(signed(p.gradient_bits)),
                "weight": In(signed(p.bits)),
                "random": In(RANDOM_BITS),
                "updated": Out(signed(p.bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Shift by the layer's places, subtract, clip to magnitudes."""
        m = Module()
        p, most = self.p, 2 ** (self.p.bits - 1) - 1
        step = Signal(signed(p.gradient_bits + 2))
        with m.Switch(self.layer):
            for layer, shift in enumerate(p.shifts):
                with m.Case(layer):
                    m.d.comb += step.eq(self._shifted(shift))
        moved = Signal(signed(p.gradient_bits + 3))
        m.d.comb += [
            moved.eq(self.weight - step),
            self.updated.eq(clipped(moved, -most, most)),
        ]
        return m

    def _shifted(self, shift: int) -> Value:
        """Return the gradient over a power of two, halves to even, or up with the probability of what is cut off."""
        if self.p.stochastic and shift:
            return (self.gradient + self.random[:shift]) >> shift
        return shifted(self.gradient, shift)


class UpdateUnit(wiring.Component):
    """The update unit; its time is in ``docs/training.md``.

    Members
    -------
    begin : an update begins; with ``load`` the weights come from outside, layer by layer
    seed : of the random register, taken with ``load``; not 0
    weights : codes that are loaded
    done : the last update, or load, has ended
    new, code : a weight's code after an update, layer by layer
    failed : rows that stayed wrong
    gradient_l_c : reader of the accumulator c of layer l
    control : of the crossbars of all copies
    """

    begin: Signal
    load: Signal
    seed: Signal
    weights: stream.Interface
    done: Signal
    new: Signal
    code: Signal
    failed: Signal
    control: CrossbarControl

    def __init__(self, parameters: UpdateParameters) -> None:
        self.p = p = parameters
        members = {
            f"gradient_{layer}_{copy}": Out(read_signature(words, p.gradient_bits))
            for layer, words in enumerate(p.words)
            for copy in range(p.copies)
        }
        super().__init__(
            {
                "begin": In(1),
                "load": In(1),
                "seed": In(RANDOM_BITS),
                "weights": In(stream.Signature(data.ArrayLayout(p.bits, 1))),
                "done": Out(1),
                "new": Out(1),
                "code": Out(signed(p.bits)),
                "failed": Out(FAILED_BITS),
                "control": Out(p.written.control),
                **members,
            }
        )
        self.layer, self.loads = Signal(range(max(2, len(p.words)))), Signal()
        self.words = MapMemory(p.read.words, p.bits, 2)
        self.reader, self.writer = CellReader(p.read), CellWriter(p.written, verify=True)

    def elaborate(self, platform: object) -> Module:
        """Build the states of a layer."""
        m = Module()
        m.submodules.words, m.submodules.reader, m.submodules.writer = self.words, self.reader, self.writer
        reader, writer = self.reader, self.writer
        wiring.connect(m, writer.reader, self.words.reader(0))
        m.d.comb += [reader.part.eq(self.layer), writer.part.eq(self.layer), self.failed.eq(writer.failed)]
        for name in ("go", "macro", "row", "levels", "write"):
            own, other = (getattr(part.control, name) for part in (reader, writer))
            m.d.comb += getattr(self.control, name).eq(Mux(reader.busy, own, other))
        m.d.comb += runs(self.control)
        for part in (reader, writer):
            m.d.comb += [part.control.done.eq(self.control.done), part.control.cells.eq(self.control.cells)]
        steps, busy = Signal(), Signal()
        m.d.comb += self.done.eq(~busy)
        ended = self._steps(m, steps)
        with m.FSM() as states:
            m.d.comb += steps.eq(states.ongoing("STEP"))
            with m.State("IDLE"), m.If(self.begin):
                m.d.sync += [busy.eq(1), self.layer.eq(0), self.loads.eq(self.load)]
                m.next = "LAYER"
            with m.State("LAYER"):
                m.d.comb += reader.begin.eq(~self.loads)
                m.next = "READ"
                with m.If(self.loads):
                    m.next = "STEP"
            with m.State("READ"), m.If(~reader.busy):
                m.next = "STEP"
            with m.State("STEP"), m.If(ended):
                m.d.comb += writer.begin.eq(1)
                m.next = "WRITE"
            with m.State("WRITE"), m.If(~writer.busy):
                m.d.sync += self.layer.eq(self.layer + 1)
                m.next = "LAYER"
                with m.If(self.layer == len(self.p.words) - 1):
                    m.d.sync += busy.eq(0)
                    m.next = "IDLE"
        return m

    def _steps(self, m: Module, steps: Signal) -> Value:
        """Update, or load, a weight a cycle while the state is theirs; return whether all of the layer are."""
        p, loads, reader, read = self.p, self.loads, self.reader, self.words.reader(1)
        m.submodules.rounding = rounding = Rounding(p)
        count, at = (Signal(range(max(p.words) + 1), name=name) for name in ("count", "at"))
        fetches, comes, moves = (Signal(name=name) for name in ("fetches", "comes", "moves"))
        places = [Signal(address_bits(max(p.words)), name=f"place_{k}") for k in range(2)]
        weight, gradient = Signal(signed(p.bits)), Signal(signed(p.gradient_bits))
        m.d.comb += [
            count.eq(lookup(p.words, self.layer)),
            self.weights.ready.eq(steps & loads & (at != count)),
            fetches.eq(steps & (at != count) & (~loads | self.weights.valid)),
            read.address.eq(at),
            read.enable.eq(fetches),
        ]
        m.d.sync += [comes.eq(fetches & ~loads), moves.eq(comes), places[0].eq(at), places[1].eq(places[0])]
        m.d.sync += at.eq(Mux(steps, at + fetches, 0))
        m.d.sync += [weight.eq(read.data), gradient.eq(self._gradient(m, at, fetches))]
        loaded = self.weights.payload[0].as_signed()
        m.d.comb += [
            rounding.layer.eq(self.layer),
            rounding.weight.eq(weight),
            rounding.gradient.eq(gradient),
            rounding.random.eq(self._random(m, moves)),
            self.new.eq(moves),
            self.code.eq(rounding.updated),
            self.words.write.eq(reader.write | moves | (fetches & loads)),
            self.words.address.eq(Mux(reader.write, reader.address, Mux(moves, places[1], at))),
            self.words.data.eq(Mux(reader.write, reader.data, Mux(moves, rounding.updated, loaded))),
        ]
        return steps & (at == count) & ~comes & ~moves

    def _gradient(self, m: Module, at: Signal, fetches: Signal) -> Value:
        """Return the summed gradient of the weight that was fetched a cycle ago: of the layer, of all copies."""
        p = self.p
        found = Signal(signed(p.gradient_bits))
        with m.Switch(self.layer):
            for layer in range(len(p.words)):
                readers = [getattr(self, f"gradient_{layer}_{copy}") for copy in range(p.copies)]
                m.d.comb += [own.address.eq(at) for own in readers] + [own.enable.eq(fetches) for own in readers]
                with m.Case(layer):
                    m.d.comb += found.eq(sum((own.data for own in readers[1:]), readers[0].data))
        return found

    def _random(self, m: Module, moves: Signal) -> Value:
        """Return the random register's next word, which a weight takes when it moves."""
        if not self.p.stochastic:
            return Const(0, RANDOM_BITS)
        state = Signal(RANDOM_BITS, init=1)
        terms = random_after([frozenset([bit]) for bit in range(RANDOM_BITS)], RANDOM_BITS)
        following = Cat(Cat(state[bit] for bit in sorted(own)).xor() for own in terms)
        with m.If(moves):
            m.d.sync += state.eq(following)
        with m.If(self.begin & self.load):
            m.d.sync += state.eq(self.seed)
        return following
