"""Faults planted at the face of any component: an output shows something else from some cycle on.

The component itself goes on as if nothing were wrong, as with a fault in its last piece of logic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from selvage.hw.network.collector import Collector
from selvage.hw.network.maps import AddMaps, CodeTable, ConcatMaps, Packer
from selvage.hw.network.pool import Pool
from selvage.hw.network.raster import RasterBuffer
from selvage.hw.network.requantizer import Requantizer
from selvage.hw.tile.accumulator import Accumulator, SlotCounter
from selvage.hw.tile.address import AddressGenerator
from selvage.hw.tile.buffer import Gate, InputBuffer, Writer
from selvage.hw.tile.engine import GroupReader, Lookahead
from selvage.hw.tile.output import OutputStage, OverlapAdd
from selvage.hw.tile.pair import Pair
from selvage.hw.tile.rows import RowRegisters
from selvage.hw.tile.splice import BankSum, Splice
from selvage.hw.tile.steps import StepGenerator
from selvage.hw.tile.walker import ReadCounter, Walker
from tb.models import planted

Change = Callable[[Module, Value], Value]
FROM = 60  # cycles after the reset from which on a fault shows


@dataclass(frozen=True)
class Fault:
    """A fault of ``kind``, and the component that a report must name, in one of its words."""

    name: str
    kind: str
    component: str
    plant: Callable[[pytest.MonkeyPatch], None]
    case: str = "tile"


def at_output(patch: pytest.MonkeyPatch, owner: type, path: str, change: Change) -> None:
    """Output ``path`` of every ``owner`` is what ``change`` makes of it."""
    *steps, last = path.split(".")

    def elaborate(old: Callable, self: Any, platform: object) -> Module:
        holder = self
        for step in steps:
            holder = getattr(holder, step)
        outer = getattr(holder, last)
        if isinstance(outer, data.View):
            inner: Any = Signal(outer.shape(), name=f"inner_{last}")
        else:
            inner = Signal.like(outer, name=f"inner_{last}")
        setattr(holder, last, inner)
        try:
            m = old(self, platform)
        finally:
            setattr(holder, last, outer)
        m.d.comb += Value.cast(outer).eq(change(m, Value.cast(inner)))
        return m

    planted.around(patch, owner, "elaborate", elaborate)


def late(m: Module) -> Signal:
    """High from cycle `FROM` on."""
    count = Signal(range(FROM + 1), name="until_fault")
    active = Signal(name="faulty")
    m.d.sync += count.eq(Mux(count == FROM, count, count + 1))
    m.d.comb += active.eq(count == FROM)
    return active


def flipped(bit: int = 0) -> Change:
    """A bit is turned."""
    return lambda m, value: value ^ (late(m) << bit)


def stuck(level: int) -> Change:
    """All bits stay at a level."""
    return lambda m, value: Mux(late(m), -1 if level else 0, value)[: len(value)]


def late_by_one(m: Module, value: Value) -> Value:
    """What it shows comes a cycle late."""
    before = Signal(len(value), name="before")
    m.d.sync += before.eq(value)
    return Mux(late(m), before, value)


def output(name: str, kind: str, component: str, owner: type, path: str, change: Change, case: str = "tile") -> Fault:
    return Fault(name, kind, component, lambda patch: at_output(patch, owner, path, change), case)


TILE = [
    output("row of the step", "address", "step generator", StepGenerator, "o.payload", flipped(0)),
    output("address of a word", "address", "address generator", AddressGenerator, "word", flipped(0)),
    output(
        "no word is in the map",
        "address",
        "address generator",
        AddressGenerator,
        "word",
        lambda m, v: v & ~(late(m) << (len(v) - 6)),
    ),
    output("place of a written word", "address", "writer", Writer, "address", flipped(0)),
    output("the writer takes no more", "handshake", "writer", Writer, "may_put", stuck(0)),
    output("steps begin too soon", "handshake", "gate", Gate, "o.valid", stuck(1), "early"),
    output("steps begin no more", "handshake", "gate", Gate, "o.valid", stuck(0)),
    output("codes of loaded words", "address", "writer", InputBuffer, "load.data", flipped(1)),
    output("values of a row group", "address", "row registers", RowRegisters, "values", flipped(2)),
    output("pending row groups", "address", "row registers", RowRegisters, "pending", flipped(1)),
    output("steps are never loaded", "handshake", "row registers", RowRegisters, "loaded", stuck(0)),
    output("picked row group", "address", "look-ahead", Lookahead, "o.payload", flipped(0)),
    output("no group is picked", "handshake", "look-ahead", Lookahead, "o.valid", stuck(0)),
    output("planes of a group", "plane", "group reader", GroupReader, "o.payload", flipped(0)),
    output(
        "planes left out", "plane", "group reader", GroupReader, "o.payload", lambda m, v: v ^ (late(m) << (len(v) - 7))
    ),
    output("groups are lost", "handshake", "group reader", GroupReader, "o.valid", stuck(0)),
    output("plane of a read", "plane", "walker", ReadCounter, "plane", flipped(0)),
    output("column group of a read", "slot", "walker", ReadCounter, "column", flipped(0)),
    output("tag of a read", "slot", "walker", Walker, "tag.payload", flipped(0)),
    output("word lines", "mask", "walker", Walker, "request.payload", lambda m, v: v | late(m).replicate(16)),
    output("requests are lost", "handshake", "walker", Walker, "request.valid", stuck(0)),
    output("no reads are decided", "handshake", "walker", Walker, "tag.valid", stuck(0)),
    output(
        "codes of a pair",
        "sign",
        "pair",
        Pair,
        "codes.payload",
        lambda m, v: Mux(late(m), v.rotate_left(len(v) // 2), v),
    ),
    output("codes of a pair are lost", "queue", "pair", Pair, "codes.valid", stuck(0)),
    output("sums that are read", "slot", "accumulator", Accumulator, "sums", flipped(0)),
    output("codes are refused", "handshake", "accumulator", Accumulator, "codes.ready", stuck(0)),
    output("tags are refused", "queue", "accumulator", Accumulator, "tag.ready", stuck(0)),
    output("steps never end", "drain", "accumulator", Accumulator, "ended", stuck(0)),
    output("order of the slots", "drain", "accumulator", SlotCounter, "next_slot", flipped(0)),
    output("sums of a bank", "shift", "splice", BankSum, "values", flipped(1)),
    output("beats of the splice", "drain", "splice", Splice, "o.payload", flipped(0)),
    output("beats are lost", "queue", "splice", Splice, "o.valid", stuck(0)),
    output(
        "which outputs exist",
        "mask",
        "output stage",
        OutputStage,
        "o.payload",
        lambda m, v: v ^ (late(m) << (len(v) - 2)),
    ),
    output("last beat", "mask", "output stage", OutputStage, "o.payload", lambda m, v: v ^ (late(m) << (len(v) - 1))),
    output("outputs are lost", "handshake", "output stage", OutputStage, "o.valid", stuck(0)),
    output("sums of blocks", "address", "overlap adder", OverlapAdd, "o.payload", flipped(1), "overlap"),
    output("blocks are lost", "handshake", "overlap adder", OverlapAdd, "o.valid", stuck(0), "overlap"),
    Fault("dropped plane", "plane", "accumulator", planted.dropped_plane),
    Fault("sign of the top plane", "sign", "accumulator", planted.sign),
    Fault("splice one too much", "shift", "splice", planted.splice),
    Fault("address behind the memory", "address", "address generator", planted.address),
    Fault("codes no more after twenty", "queue", "accumulator", planted.dead_codes),
    Fault("codes left at the macro", "handshake", "accumulator", planted.left_codes),
    Fault("word lines that do not drive", "mask", "walker", planted.many_lines),
]
NETWORK = [
    output("collected sums", "slot", "collector", Collector, "o.payload", flipped(0), "network"),
    output("words of the collector are lost", "queue", "collector", Collector, "o.valid", stuck(0), "network"),
    output("codes of the requantiser", "rounding", "requantizer", Requantizer, "o.payload", flipped(0), "network"),
    output(
        "codes of the requantiser are lost", "handshake", "requantizer", Requantizer, "o.valid", stuck(0), "network"
    ),
    output("raster order", "address", "raster buffer", RasterBuffer, "o.payload", flipped(0), "raster"),
    output("largest of a window", "mask", "pool", Pool, "o.payload", flipped(0), "network"),
    output("windows are lost", "handshake", "pool", Pool, "o.valid", stuck(0), "network"),
    output("sum of two maps", "bias", "sum of maps", AddMaps, "o.payload", flipped(0), "network"),
    output("table of codes", "rounding", "table of codes", CodeTable, "o.payload", flipped(0), "network"),
    output("order of joined maps", "queue", "concatenation", ConcatMaps, "o.payload", flipped(0), "network"),
    output("packed words", "mask", "packer", Packer, "o.payload", flipped(0), "network"),
    Fault("requantiser's lowest bit", "rounding", "requantizer", planted.requantiser, "network"),
]
FAULTS = TILE + NETWORK
