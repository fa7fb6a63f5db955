"""Performance counters at a tile's face, and behind a parameter one for each kind of event that costs energy."""

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import lookup, total
from selvage.hw.tile.accumulator import memories
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.drain import lanes_used

COUNTER_BITS = 48
COUNTERS = ("fetched", "reads", "conversions", "pending", "issued")
EVENTS = (
    "rows",
    "cells",
    "shift_adds",
    "sums_added",
    "sums_drained",
    "buffer_reads",
    "rows_written",
    "groups_read",
    "beats",
)
WAITING = 8  # reads of which the tag has been told and the request has not, at most; a power of two


def counters_of(p: TileParameters) -> tuple[str, ...]:
    """Return the names of the counters of a tile."""
    return (COUNTERS if p.counters else ()) + (EVENTS if p.events else ())


class EventCounters(wiring.Component):
    """Counters of events (`sim.events.Events` has what each means), a cycle after what they count.

    Members
    -------
    tag_k, slot_k : reader k decides a read; the slot or position that it names
    written_k : rows of reader k that the load writes
    picked_k : a row group of reader k is read from its row registers
    drained_k : its sums are asked for a slot
    request_k, lines_k : macro k takes a request; its word lines
    loads : a word is read from the input buffer
    leaves : a beat leaves the tile
    rows, cells, ... : the counters, of `EVENTS`
    """

    loads: Signal
    leaves: Signal

    def __init__(self, parameters: TileParameters) -> None:
        self.p = p = parameters
        members = {"loads": In(1), "leaves": In(1), **{name: Out(COUNTER_BITS) for name in EVENTS}}
        for k, engine in enumerate(p.engines):
            slot = max(1, (engine.slots_used - 1).bit_length())
            members |= {f"tag_{k}": In(1), f"slot_{k}": In(slot), f"written_{k}": In(engine.group_rows)}
            members |= {f"picked_{k}": In(1), f"drained_{k}": In(1)}
        for k, macro in enumerate(p.macros):
            members |= {f"request_{k}": In(1), f"lines_{k}": In(macro.rows)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Build the sums of a cycle and the counters."""
        m = Module()
        readers, adds, words, used = range(len(self.p.engines)), [], [], []
        converted = lanes_used(self.p.placement, self.p.tile, self.p.drain)
        for k, (accumulator, lanes) in enumerate(zip(self.p.accumulators, converted, strict=True)):
            tag, slot = self._of("tag", k), self._of("slot", k)
            used.append(lookup(list(lanes), slot))
            more = bool(accumulator.driven_bits)
            adds.append(Mux(tag, lookup([count + more for count in lanes], slot), 0))
            words.append(Mux(tag, lookup(memories(accumulator), slot), 0))
        rows, cells = self._macros(m, used)
        sums = {
            "rows": rows,
            "cells": cells,
            "shift_adds": adds,
            "sums_added": words,
            "sums_drained": [self._of("drained", k) for k in readers],
            "buffer_reads": [self.loads],
            "rows_written": [total(list(self._of("written", k))) for k in readers],
            "groups_read": [self._of("picked", k) for k in readers],
            "beats": [self.leaves],
        }
        for name in EVENTS:
            counter = getattr(self, name)
            m.d.sync += counter.eq(counter + total(sums[name]))
        return m

    def _of(self, name: str, k: int) -> Signal:
        return getattr(self, f"{name}_{k}")

    def _macros(self, m: Module, used: list[Value]) -> tuple[list[Value], list[Value]]:
        """Return for each macro the word lines that a request drives, and the cells of converted columns on them.

        The columns are known with the tag, some cycles before the request: they wait in order.
        """
        rows, cells = [], []
        for reader, arrays in enumerate(self.p.tile.read_together):
            tag = self._of("tag", reader)
            place = Signal(range(WAITING), name=f"place_{reader}")
            waiting = Array(Signal.like(used[reader], name=f"columns_{reader}_{k}") for k in range(WAITING))
            m.d.sync += place.eq(place + tag)
            with m.If(tag):
                m.d.sync += waiting[place].eq(used[reader])
            for k in arrays:
                request, oldest = self._of("request", k), Signal(range(WAITING), name=f"oldest_{k}")
                m.d.sync += oldest.eq(oldest + request)
                driven = Mux(request, total(list(self._of("lines", k))), 0)
                rows.append(driven)
                cells.append(driven * waiting[oldest])
        return rows, cells
