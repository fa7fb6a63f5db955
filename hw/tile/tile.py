"""A tile: arrays that share an input buffer, and everything between its streams and their pins."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.credits import STEPS, StepCredits
from selvage.hw.lib.shared import Library, Shared
from selvage.hw.lib.tables import lookup, total
from selvage.hw.tile.accumulator import Accumulator
from selvage.hw.tile.buffer import InputBuffer
from selvage.hw.tile.counters import COUNTER_BITS, EVENTS, EventCounters, counters_of
from selvage.hw.tile.engine import ArrayEngine
from selvage.hw.tile.output import OutputStage, OverlapAdd, output_layout
from selvage.hw.tile.pair import Pair
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.probes import probes_of, show
from selvage.hw.tile.splice import Splice
from selvage.hw.tile.streams import crossbar_signature, move_layout, move_value
from selvage.mapping.drain import lanes_used


class Tile(wiring.Component):
    """A tile: activations in, raw accumulators out.

    Streams words of activations (`hw.tile.buffer.InputBuffer`) into the arrays' engines and beats of sums
    (`hw.tile.output.output_layout`) out; images follow each other without a signal between them.
    Engines, accumulators and the input buffer are modules of ``library``, each emitted once; of one of its own,
    their names begin with ``prefix``.

    Members
    -------
    i : activations
    o : outputs
    crossbar_k : pins of macro k
    fetched, reads, conversions, pending, issued : with ``counters``: words accepted; OU reads of all arrays;
        columns converted in them, lanes beyond a block left out;
        cycles in which some array has an OU left to read; cycles in which some array reads one
    rows, cells and so on : with ``events`` (`hw.tile.counters.EventCounters`)
    probe_load and so on : with ``probes`` (`hw.tile.probes`)
    """

    i: stream.Interface
    o: stream.Interface
    fetched: Signal
    reads: Signal
    conversions: Signal
    pending: Signal
    issued: Signal

    def __init__(self, parameters: TileParameters, *, prefix: str = "", library: Library | None = None) -> None:
        self.p = p = parameters
        self.library = library or Library(prefix)
        self.buffer = self.library.instance(InputBuffer, p.buffer, "input_buffer")
        self.engines = [self.library.instance(ArrayEngine, engine, "array_engine") for engine in p.engines]
        self.accumulators = [
            self.library.instance(Accumulator, accumulator, "accumulator") for accumulator in p.accumulators
        ]
        self.splice = Splice(p, self.library)
        self.pairs = [
            self.library.instance(Pair, engine, "pair") if len(arrays) > 1 else None
            for engine, arrays in zip(p.engines, p.tile.read_together, strict=True)
        ]
        crossbars = {f"crossbar_{k}": Out(crossbar_signature(macro)) for k, macro in enumerate(p.macros)}
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(p.buffer.format.raw_bits, p.buffer.lanes))),
                "o": Out(stream.Signature(output_layout(p))),
                **crossbars,
                **{name: Out(COUNTER_BITS) for name in counters_of(p)},
                **{name: Out(layout) for name, layout in probes_of(p).items()},
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect input buffer, engines, accumulators, splice and output stage."""
        m = Module()
        m.submodules.input_buffer = buffer = self.buffer
        m.submodules.splice = splice = self.splice
        m.submodules.output_stage = output = OutputStage(self.p)
        wiring.connect(m, wiring.flipped(self.i), buffer.i)
        moves = self._moves(m)
        for k, (engine, accumulator) in enumerate(zip(self.engines, self.accumulators, strict=True)):
            m.submodules[f"engine_{k}"], m.submodules[f"accumulator_{k}"] = engine, accumulator
            self._array(m, k, engine, accumulator, splice)
            m.d.sync += engine.move.eq(moves[k])
        m.submodules.rows_free = free = StepCredits(len(self.engines), STEPS)
        m.d.comb += [
            free.given.eq(Cat(engine.releases for engine in self.engines)),
            free.taken.eq(buffer.begins),
            buffer.hold.eq(~free.ready),
            splice.ended.eq(Cat(accumulator.ended for accumulator in self.accumulators)),
        ]
        beats = splice.o
        if self.p.placement.sweep.overlap:
            m.submodules.overlap_add = overlap = OverlapAdd(self.p)
            wiring.connect(m, splice.o, overlap.i)
            beats = overlap.o
        wiring.connect(m, beats, output.i)
        wiring.connect(m, output.o, wiring.flipped(self.o))
        if self.p.counters:
            self._count(m)
        if self.p.events:
            self._count_events(m)
        if self.p.probes:
            show(m, self)
        return m

    def _array(self, m: Module, k: int, engine: Shared, accumulator: Shared, splice: Splice) -> None:
        """Connect engine, macros and accumulator of reader ``k``."""
        wiring.connect(m, engine.tag, accumulator.tag)
        crossbars = [getattr(self, f"crossbar_{index}") for index in self.p.tile.read_together[k]]
        pair = self.pairs[k]
        if pair is None:
            wiring.connect(m, engine.crossbar.request, wiring.flipped(crossbars[0].request))
            wiring.connect(m, wiring.flipped(crossbars[0].codes), accumulator.codes)
        else:
            m.submodules[f"pair_{k}"] = pair
            wiring.connect(m, engine.crossbar.request, pair.request)
            wiring.connect(m, pair.codes, accumulator.codes)
            for index, crossbar in enumerate(crossbars):
                wiring.connect(m, getattr(pair, f"crossbar_{index}"), wiring.flipped(crossbar))
        m.d.comb += [
            engine.load.valid.eq(self.buffer.load.valid),
            engine.load.last.eq(self.buffer.load.last),
            engine.load.data.eq(self.buffer.load.data),
            engine.load.nonzero.eq(self.buffer.load.nonzero),
            engine.drained.eq(accumulator.freed),
            accumulator.go.eq(splice.go[k]),
            getattr(splice, f"sums_{k}").eq(accumulator.sums),
        ]

    def _moves(self, m: Module) -> list[Value]:
        """Return the load plan's move of each reader in the buffer's next cycle; a table for all that move alike."""
        tables: dict[tuple, Value] = {}
        found = []
        load = self.p.load
        for engine, plan in zip(self.p.engines, load.moves, strict=True):
            width = move_layout(engine).size
            table = width, *(move_value(engine, move, load.kind_at(cycle)) for cycle, move in enumerate(plan))
            if table not in tables:
                tables[table] = Signal(width, name=f"moves_{len(tables)}")
                m.d.comb += tables[table].eq(lookup(table[1:], self.buffer.index, width=width))
            found.append(tables[table])
        return found

    def _count(self, m: Module) -> None:
        requests = [getattr(self, f"crossbar_{k}").request for k in range(len(self.p.macros))]
        taken = Signal(len(requests))
        # A tag and its request are one read; the tag names the block's column group.
        converted = []
        used = lanes_used(self.p.placement, self.p.tile, self.p.drain)
        for engine, lanes, pair in zip(self.engines, used, self.p.tile.read_together, strict=True):
            converted.append(
                Mux(decides(engine), lookup([len(pair) * count for count in lanes], engine.tag.payload.slot), 0)
            )
        left = Cat(engine.left for engine in self.engines)
        m.d.comb += taken.eq(Cat(request.valid & request.ready for request in requests))
        m.d.sync += [
            self.fetched.eq(self.fetched + (self.i.valid & self.i.ready)),
            self.reads.eq(self.reads + total(list(taken))),
            self.conversions.eq(self.conversions + total(converted)),
            self.pending.eq(self.pending + left.any()),
            self.issued.eq(self.issued + taken.any()),
        ]

    def _count_events(self, m: Module) -> None:
        m.submodules.events = events = EventCounters(self.p)
        m.d.comb += [events.loads.eq(self.buffer.load.valid), events.leaves.eq(self.o.valid & self.o.ready)]
        m.d.comb += [getattr(self, name).eq(getattr(events, name)) for name in EVENTS]
        for k, engine in enumerate(self.engines):
            m.d.comb += [
                getattr(events, f"tag_{k}").eq(decides(engine)),
                getattr(events, f"slot_{k}").eq(engine.tag.payload.slot),
                getattr(events, f"written_{k}").eq(Mux(engine.load.valid, engine.move.rows, 0)),
                getattr(events, f"picked_{k}").eq(engine.picked),
                getattr(events, f"drained_{k}").eq(self.splice.go[k]),
            ]
        for k in range(len(self.p.macros)):
            request = getattr(self, f"crossbar_{k}").request
            m.d.comb += [
                getattr(events, f"request_{k}").eq(request.valid & request.ready),
                getattr(events, f"lines_{k}").eq(request.payload.wordlines),
            ]


def decides(engine: Shared) -> Value:
    """Return whether an engine decides a read."""
    return engine.tag.valid & engine.tag.ready & ~engine.tag.payload.none
