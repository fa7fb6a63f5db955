"""The collector: beats of a layer's tiles, added up and put in order."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import count_up, fit, lookup, total
from selvage.mapping.collect import CollectPlan


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
        """Bits of all memories: two steps of every tile."""
        return store_bits(self.plan.beats, self.plan.values, self.widths)


def store_bits(beats: Sequence[int], values: Sequence[int], widths: Sequence[int]) -> int:
    """Return the bits that hold two steps of every tile.

    By tile: ``beats`` of a step, ``values`` of a beat, the width of a value.
    """
    return sum((2 << beat_bits(count)) * many * width for count, many, width in zip(beats, values, widths, strict=True))


def beat_bits(beats: int) -> int:
    """Return the bits of the number of a beat of a step."""
    return max(1, (beats - 1).bit_length())


class StepStore(wiring.Component):
    """Two steps of one tile's beats: one is read in any order while the other is written.

    Members
    -------
    i : beats of a step, in order
    beat : read from the oldest step, in ``word`` a cycle later if ``enable``
    complete : a step is there
    done : the oldest step has been read
    """

    i: stream.Interface
    beat: Signal
    enable: Signal
    word: data.View
    complete: Signal
    done: Signal

    def __init__(self, beats: int, layout: data.ArrayLayout) -> None:
        self.beats, self.layout = beats, layout
        self.beat_bits = beat_bits(beats)
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                "beat": In(self.beat_bits),
                "enable": In(1),
                "word": Out(layout),
                "complete": Out(1),
                "done": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the memory, its write counter, and the count of whole steps in it."""
        m = Module()
        m.submodules.steps = steps = Memory(shape=self.layout.size, depth=2 << self.beat_bits, init=[])
        write, read = steps.write_port(), steps.read_port()
        at = Signal(self.beat_bits)
        written, taken = Signal(), Signal()  # half of the memory
        count = Signal(2)
        put = Signal()
        full = count_up(m, at, self.beats, put)
        m.d.sync += [
            count.eq(count + (put & full) - self.done),
            written.eq(written ^ (put & full)),
            taken.eq(taken ^ self.done),
        ]
        m.d.comb += [
            put.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(count != 2),
            self.complete.eq(count != 0),
            write.en.eq(put),
            write.addr.eq(Cat(at, written)),
            write.data.eq(self.i.payload.as_value()),
            read.en.eq(self.enable),
            read.addr.eq(Cat(self.beat, taken)),
            self.word.as_value().eq(read.data),
        ]
        return m


class Collector(wiring.Component):
    """Sums of the tiles' shares of each output; words leave in raster order of the step's output block.

    A step's first word leaves three cycles after the last beat of it was taken, or follows the word before it: one
    word a cycle, across steps.

    Members
    -------
    i_k : beats of tile k
    o : whole sums
    """

    o: stream.Interface

    def __init__(self, parameters: CollectorParameters) -> None:
        self.p = p = parameters
        self.layouts = [
            data.ArrayLayout(signed(width), values) for width, values in zip(p.widths, p.plan.values, strict=True)
        ]
        inputs = {f"i_{k}": In(stream.Signature(layout)) for k, layout in enumerate(self.layouts)}
        word = data.ArrayLayout(signed(p.sum_width), p.plan.lanes)
        super().__init__({**inputs, "o": Out(stream.Signature(word))})

    def elaborate(self, platform: object) -> Module:
        """Build a `StepStore` for each tile, the counter of words, and the sum of the tiles' words."""
        m = Module()
        plan = self.p.plan
        index = Signal(range(max(2, plan.words)))
        late = Signal.like(index)
        enable = Signal()
        go = Signal()
        read = Signal()
        stores = []
        end = count_up(m, index, plan.words, go)
        for k, sources in enumerate(plan.sources):
            m.submodules[f"store_{k}"] = store = StepStore(plan.beats[k], self.layouts[k])
            wiring.connect(m, wiring.flipped(getattr(self, f"i_{k}")), store.i)
            beats = [source[0] if source else 0 for source in sources]
            m.d.comb += [
                store.beat.eq(lookup(beats, index)),
                store.enable.eq(enable),
                store.done.eq(go & end),
            ]
            stores.append(store)
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            go.eq(enable & Cat(store.complete for store in stores).all()),
        ]
        words = [self._word(k, store, late) for k, store in enumerate(stores)]
        with m.If(enable):
            totals = [total([word[lane] for word in words]) for lane in range(plan.lanes)]
            m.d.sync += [read.eq(go), late.eq(index), self.o.valid.eq(read)]
            m.d.sync += self.o.payload.as_value().eq(Cat(fit(value, self.p.sum_width) for value in totals))
        return m

    def _word(self, k: int, store: StepStore, index: Value) -> list[Value]:
        """Return the share of tile ``k`` in word ``index``, lane by lane."""
        plan, width = self.p.plan, self.p.widths[k]
        sources = plan.sources[k]
        groups = lookup([source[1] if source else 0 for source in sources], index)
        chosen = store.word.as_value().word_select(groups, plan.lanes * width)
        has = lookup([int(source is not None) for source in sources], index)
        if isinstance(has, Const) and not has.value:
            return [Const(0)] * plan.lanes
        chosen = chosen if isinstance(has, Const) else Mux(has, chosen, 0)
        return [chosen[lane * width : (lane + 1) * width].as_signed() for lane in range(plan.lanes)]
