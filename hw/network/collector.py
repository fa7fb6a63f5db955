"""The collector: beats of a layer's tiles, added up and put in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.shared import Library, Shared
from selvage.hw.lib.tables import count_up, fit, lookup, total
from selvage.mapping.collect import CollectPlan, Gathering


@dataclass(frozen=True)
class StoreParameters:
    """Parameters of a `StepStore`: beats of a step, values of a beat, bits of a value, how beats are gathered."""

    beats: int
    values: int
    width: int
    gathering: Gathering

    @property
    def layout(self) -> data.ArrayLayout:
        """Layout of a beat."""
        return data.ArrayLayout(signed(self.width), self.values)


@dataclass(frozen=True)
class CollectorParameters:
    """Parameters of a `Collector`: where each tile has each word of a step, and the width of its values."""

    plan: CollectPlan
    widths: tuple[int, ...]

    @property
    def sum_width(self) -> int:
        """Bits of a sum over all tiles."""
        return max(self.widths) + (len(self.widths) - 1).bit_length()

    @property
    def bits(self) -> int:
        """Bits of all memories: two steps of every tile of every copy."""
        plan = self.plan
        stored = [-(-beats // how.beats) for beats, how in zip(plan.beats, plan.gatherings, strict=True)]
        values = [many * how.beats for many, how in zip(plan.values, plan.gatherings, strict=True)]
        return plan.copies * store_bits(stored, values, self.widths)


def store_bits(words: Sequence[int], values: Sequence[int], widths: Sequence[int]) -> int:
    """Return the bits that hold two steps of every tile.

    By tile: stored ``words`` of a step, ``values`` of a word, the width of a value.
    """
    return sum((2 << word_bits(count)) * many * width for count, many, width in zip(words, values, widths, strict=True))


def word_bits(words: int) -> int:
    """Return the bits of the number of a stored word of a step."""
    return max(1, (words - 1).bit_length())


class StepStore(wiring.Component):
    """Two steps of one tile's beats: one is read in any order while the other is written.

    Members
    -------
    i : beats of a step, in order; a stored word gathers several
    at : word read from the oldest step, in ``word`` a cycle later if ``enable``
    complete : a step is there
    done : the oldest step has been read
    """

    i: stream.Interface
    at: Signal
    enable: Signal
    word: data.View
    complete: Signal
    done: Signal

    def __init__(self, parameters: StoreParameters) -> None:
        self.p = p = parameters
        self.beats, self.layout, self.gathering = p.beats, p.layout, p.gathering
        self.word_bits = word_bits(-(-p.beats // p.gathering.beats))
        layout = self.layout
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                "at": In(self.word_bits),
                "enable": In(1),
                "word": Out(data.ArrayLayout(layout.elem_shape, layout.length * p.gathering.beats)),
                "complete": Out(1),
                "done": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the memory, its write counter, and the count of whole steps in it."""
        m = Module()
        m.submodules.steps = steps = Memory(shape=self.word.shape().size, depth=2 << self.word_bits, init=[])
        write, read = steps.write_port(), steps.read_port()
        at = Signal(self.word_bits)
        written, taken = Signal(), Signal()  # half of the memory
        count = Signal(2)
        put = Signal()
        whole, gathered = self._gathered(m, put)
        full = whole & count_up(m, at, -(-self.beats // self.gathering.beats), put & whole)
        m.d.sync += [
            count.eq(count + (put & full) - self.done),
            written.eq(written ^ (put & full)),
            taken.eq(taken ^ self.done),
        ]
        m.d.comb += [
            put.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(count != 2),
            self.complete.eq(count != 0),
            write.en.eq(put & whole),
            write.addr.eq(Cat(at, written)),
            write.data.eq(gathered),
            read.en.eq(self.enable),
            read.addr.eq(Cat(self.at, taken)),
            self.word.as_value().eq(read.data),
        ]
        return m

    def _gathered(self, m: Module, put: Value) -> tuple[Value, Value]:
        """Return whether a word is whole with the beat that comes, and the word: earlier beats wait in registers."""
        gather = self.gathering.beats
        if gather == 1:
            return Const(1), self.i.payload.as_value()
        beat, last = Signal(range(self.beats)), (self.beats - 1) % gather
        count_up(m, beat, self.beats, put)
        place, comes = beat[: gather.bit_length() - 1], self.i.payload.as_value()
        held = []
        for k in range(gather - 1):
            waiting = Signal(self.layout.size, name=f"beat_{k}", reset_less=True)
            with m.If(put & (place == k)):
                m.d.sync += waiting.eq(comes)
            # A step may end before its last word has all its beats.
            held.append(Mux(place == k, comes, waiting) if k == last else waiting)
        width = self.layout.size // self.layout.length
        gathered = Cat(
            [*held, comes][k].word_select(value, width) for k, value in self.gathering.order(self.layout.length)
        )
        return (place == gather - 1) | (beat == self.beats - 1), gathered


class Collector(wiring.Component):
    """Sums of the tiles' shares of each output; words leave in raster order of the step's output block.

    A step's first word leaves three cycles after the last beat of it was taken, four where there are copies, or
    follows the word before it: one word a cycle, across steps. Copies have the steps of an image in turn.

    Equal stores are one module of ``library``, where there is one.

    Members
    -------
    i_k : beats of tile k, copy by copy
    o : whole sums
    """

    o: stream.Interface

    def __init__(self, parameters: CollectorParameters, library: Library | None = None) -> None:
        self.p = parameters
        p, plan = parameters, parameters.plan
        stores = zip(plan.beats, plan.values, p.widths, plan.gatherings, strict=True)
        self.kinds = [StoreParameters(*store) for store in stores]
        self.stores = [
            library.instance(StepStore, kind, "store") if library else StepStore(kind)
            for kind in self.kinds * plan.copies
        ]
        inputs = {f"i_{k}": In(stream.Signature(kind.layout)) for k, kind in enumerate(self.kinds * plan.copies)}
        word = data.ArrayLayout(signed(p.sum_width), p.plan.lanes)
        super().__init__({**inputs, "o": Out(stream.Signature(word))})

    def elaborate(self, platform: object) -> Module:
        """Build a `StepStore` for each tile of each copy, the counter of words, and the sum of the tiles' words."""
        m = Module()
        plan = self.p.plan
        index = Signal(range(max(2, plan.words)))
        late = Signal.like(index)
        enable, go, read, done = Signal(), Signal(), Signal(), Signal()
        end = count_up(m, index, plan.words, go)
        turn = self._turn(m, done)
        stores = [self._stores(m, copy, index, enable) for copy in range(plan.copies)]
        complete = [Cat(store.complete for store in copy).all() for copy in stores]
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            go.eq(enable & (complete[0] if plan.copies == 1 else (Cat(complete) & turn).any())),
            done.eq(go & end),
            *(store.done.eq(done & turn[copy]) for copy, tiles in enumerate(stores) for store in tiles),
        ]
        with m.If(enable):
            m.d.sync += [read.eq(go), late.eq(index)]
        read, late, taken = self._taken(m, stores, turn, enable, read, late)
        words = [self._word(k, word, late) for k, word in enumerate(taken)]
        with m.If(enable):
            totals = [total([word[lane] for word in words]) for lane in range(plan.lanes)]
            m.d.sync += self.o.valid.eq(read)
            m.d.sync += self.o.payload.as_value().eq(Cat(fit(value, self.p.sum_width) for value in totals))
        return m

    def _turn(self, m: Module, done: Value) -> Value:
        """Return one-hot the copy that has the next step; an image begins with the first."""
        plan = self.p.plan
        if plan.copies == 1:
            return Const(1, 1)
        step, turn = Signal(range(plan.steps)), Signal(plan.copies, init=1)
        image_end = count_up(m, step, plan.steps, done)
        with m.If(done):
            m.d.sync += turn.eq(Mux(image_end, 1, turn.rotate_left(1)))
        return turn

    def _stores(self, m: Module, copy: int, index: Value, enable: Value) -> list[Shared | StepStore]:
        """Return the store of each tile of a copy, word ``index`` of the step read from it."""
        plan, found = self.p.plan, []
        for k, sources in enumerate(plan.sources):
            number = copy * len(plan.sources) + k
            m.submodules[f"store_{number}"] = store = self.stores[number]
            wiring.connect(m, wiring.flipped(getattr(self, f"i_{number}")), store.i)
            places = [source[0] if source else 0 for source in sources]
            m.d.comb += [store.at.eq(lookup(places, index)), store.enable.eq(enable)]
            found.append(store)
        return found

    def _taken(
        self, m: Module, stores: list[list[Shared | StepStore]], turn: Value, enable: Value, read: Signal, index: Signal
    ) -> tuple[Signal, Signal, list[Value]]:
        """Return whether a word is there, its index, and each tile's stored word: that of the copy whose turn it was.

        It is chosen in a cycle of its own; a single copy takes none.
        """
        if len(stores) == 1:
            return read, index, [store.word.as_value() for store in stores[0]]
        was, there, late = Signal.like(turn), Signal(), Signal.like(index)
        with m.If(enable):
            m.d.sync += [was.eq(turn), there.eq(read), late.eq(index)]
        found = []
        for k, copies in enumerate(zip(*stores, strict=True)):
            words = [store.word.as_value() for store in copies]
            chosen = Signal(len(words[0]), name=f"chosen_{k}", reset_less=True)
            masked = [word & bit.replicate(len(word)) for word, bit in zip(words, was, strict=True)]
            with m.If(enable):
                m.d.sync += chosen.eq(reduce(or_, masked))
            found.append(chosen)
        return there, late, found

    def _word(self, k: int, word: Value, index: Value) -> list[Value]:
        """Return the share of tile ``k``, whose stored word is ``word``, in word ``index``, lane by lane."""
        plan, width = self.p.plan, self.p.widths[k]
        sources = plan.sources[k]
        groups = lookup([source[1] if source else 0 for source in sources], index)
        chosen = word.word_select(groups, plan.lanes * width)
        has = lookup([int(source is not None) for source in sources], index)
        if isinstance(has, Const) and not has.value:
            return [Const(0)] * plan.lanes
        chosen = chosen if isinstance(has, Const) else Mux(has, chosen, 0)
        return [chosen[lane * width : (lane + 1) * width].as_signed() for lane in range(plan.lanes)]
