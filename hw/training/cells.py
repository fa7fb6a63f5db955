"""Codes of a memory into cells, and back: row by row, through the crossbars' programming ports.

The rows of a `CellPlan` are walked one after the other. Its tables are memories: a word for each row, and one for each
weight's place on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetSignal, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import lookup
from selvage.hw.network.crossbar_control import CrossbarControl, control_signature
from selvage.hw.training.maps import Reader, address_bits, read_signature
from selvage.mapping.training_cells import CellRow

RETRIES = 3  # writes of a row beyond the first, where it is verified
FAILED_BITS = 16


@dataclass(frozen=True)
class CellPlan:
    """Rows by part; what is walked at a time is a part.

    ``words`` of a memory of codes of ``bits`` are stored as magnitudes of ``stored`` bits in the ``macros`` crossbars
    of ``height`` rows of ``width`` bits.
    """

    parts: tuple[tuple[CellRow, ...], ...]
    words: int
    bits: int
    stored: int
    macros: int
    height: int
    width: int

    @cached_property
    def rows(self) -> list[CellRow]:
        """The rows of all parts."""
        return [row for part in self.parts for row in part]

    @property
    def control(self) -> wiring.Signature:
        """Signature of the control of the crossbars."""
        return control_signature(self.macros, self.height, self.width)

    @property
    def places(self) -> int:
        """Weights that a row has room for."""
        return self.width // self.stored


class RowWalk(wiring.Component):
    """The walk through a part's rows.

    Members
    -------
    begin, part : a part's first row
    row : to the next one
    slot : to the next place on the row
    array, line, last : of the row: its P array, its word line, and whether it ends the part; there from two cycles
        after ``begin``, or after ``row``
    index, there, place, ends : of the place: which code stands there, whether one does, its number, and whether it is
        the row's last; there likewise, and in the cycle after ``slot``
    """

    begin: Signal
    part: Signal
    row: Signal
    slot: Signal
    array: Signal
    line: Signal
    last: Signal
    index: Signal
    there: Signal
    place: Signal
    ends: Signal

    def __init__(self, plan: CellPlan) -> None:
        self.plan = plan
        ins = {"begin": 1, "part": range(max(2, len(plan.parts))), "row": 1, "slot": 1}
        outs = {"array": range(max(2, plan.macros)), "line": range(max(2, plan.height)), "last": 1}
        outs |= {"index": address_bits(plan.words), "there": 1, "place": range(max(2, plan.places)), "ends": 1}
        super().__init__({**{k: In(v) for k, v in ins.items()}, **{k: Out(v) for k, v in outs.items()}})

    def elaborate(self, platform: object) -> Module:
        """Build the two tables and their counters."""
        m = Module()
        plan = self.plan
        rows = [
            {"array": own.array, "line": own.row, "last": int(own is part[-1])} for part in plan.parts for own in part
        ]
        slots = [
            {"index": max(index, 0), "there": int(index >= 0), "place": k, "ends": int(k == len(own.slots) - 1)}
            for own in plan.rows
            for k, index in enumerate(own.slots)
        ]
        row_starts = _starts([len(part) for part in plan.parts])
        slot_starts = _starts([sum(len(own.slots) for own in part) for part in plan.parts])
        self._table(m, "rows", rows, row_starts, self.row)
        self._table(m, "slots", slots, slot_starts, self.slot)
        return m

    def _table(self, m: Module, name: str, entries: list[dict[str, int]], starts: list[int], step: Signal) -> None:
        """Show the entry at a counter, which begins where the part does."""
        layout = data.StructLayout({key: getattr(self, key).shape() for key in entries[0]})
        init: Any = entries  # the stubs want values, not the fields of a layout
        m.submodules[name] = table = memory.Memory(shape=layout, depth=len(entries), init=init)
        read = table.read_port()
        at, following = (Signal(address_bits(len(entries) + 1), name=f"{name}_{k}") for k in ("at", "following"))
        m.d.comb += following.eq(at + step)
        m.d.sync += at.eq(following)
        with m.If(self.begin):
            m.d.sync += at.eq(lookup(starts, self.part))
        m.d.comb += [read.addr.eq(following), read.en.eq(1)]
        m.d.comb += [getattr(self, key).eq(read.data[key]) for key in entries[0]]


def runs(control: CrossbarControl) -> list[Any]:
    """Return what lets crossbars be read at all times, and be reset with the chip."""
    return [control.running.eq(1), control.reset.eq(ResetSignal())]


def _starts(counts: Sequence[int]) -> list[int]:
    """Return where each part begins."""
    return [sum(counts[:k]) for k in range(len(counts))]


class CellWriter(wiring.Component):
    """The writer: it gathers a row's codes and writes their magnitudes into the P and the N array.

    A row of n places takes n + 4 cycles and those of two answers. Where it is verified, each array is read after it is
    written, and written again up to `RETRIES` times while it differs: two cycles more, and those of an answer.

    Members
    -------
    begin, part : a part is written
    busy : from the cycle after ``begin`` until it is
    failed : rows of an array that stayed wrong
    reader : of the memory
    control : of the crossbars
    """

    begin: Signal
    part: Signal
    busy: Signal
    failed: Signal
    reader: Reader
    control: CrossbarControl

    def __init__(self, plan: CellPlan, *, verify: bool) -> None:
        self.plan, self.verify = plan, verify
        super().__init__(
            {
                "begin": In(1),
                "part": In(range(max(2, len(plan.parts)))),
                "busy": Out(1),
                "failed": Out(FAILED_BITS),
                "reader": Out(read_signature(plan.words, plan.bits)),
                "control": Out(plan.control),
            }
        )
        self.negative, self.attempt = Signal(), Signal(range(RETRIES + 1))
        self.sides = [Signal(plan.width, name=name) for name in ("levels_p", "levels_n")]

    def elaborate(self, platform: object) -> Module:
        """Build the states, and the row in hand."""
        m = Module()
        m.submodules.walk = walk = RowWalk(self.plan)
        m.d.comb += [walk.begin.eq(self.begin), walk.part.eq(self.part)]
        self._gather(m, walk)
        with m.FSM() as states:
            m.d.comb += self.busy.eq(~states.ongoing("IDLE"))
            with m.State("IDLE"), m.If(self.begin):
                m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += [self.negative.eq(0), self.attempt.eq(0), *(side.eq(0) for side in self.sides)]
                m.next = "GATHER"
            with m.State("GATHER"):
                m.d.comb += walk.slot.eq(1)
                with m.If(walk.ends):
                    m.next = "GATHERED"
            with m.State("GATHERED"):
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [self.control.go.eq(1), self.control.write.eq(1)]
                m.next = "WRITE ENDS"
            with m.State("WRITE ENDS"):
                m.d.comb += self.control.write.eq(1)
                with m.If(self.control.done):
                    if self.verify:
                        m.next = "READ"
                    else:
                        self._written(m, walk)
            self._verify(m, walk)
        return m

    def _gather(self, m: Module, walk: RowWalk) -> None:
        """Fetch the code of each place, and keep its magnitude on the side of its sign."""
        plan, sides = self.plan, self.sides
        place, comes, there = Signal.like(walk.place), Signal(), Signal()
        code = self.reader.data
        m.d.comb += [self.reader.address.eq(walk.index), self.reader.enable.eq(walk.slot)]
        m.d.sync += [place.eq(walk.place), comes.eq(walk.slot), there.eq(walk.there)]
        with m.If(comes):
            for side, own, magnitude in zip(sides, (code > 0, code < 0), (code, -code), strict=True):
                m.d.sync += side.word_select(place, plan.stored).eq(Mux(there & own, magnitude, 0))
        control = self.control
        m.d.comb += [
            *runs(control),
            control.macro.eq(walk.array + self.negative),
            control.row.eq(walk.line),
            control.levels.eq(Mux(self.negative, sides[1], sides[0])),
        ]

    def _verify(self, m: Module, walk: RowWalk) -> None:
        """Read the row, and write it again while it differs."""
        if not self.verify:
            return
        control, cells = self.control, Signal(self.plan.width)
        with m.State("READ"):
            m.d.comb += control.go.eq(1)
            m.next = "READ ENDS"
        with m.State("READ ENDS"), m.If(control.done):
            m.d.sync += cells.eq(control.cells)
            m.next = "COMPARE"
        with m.State("COMPARE"):
            wrong = Signal()
            m.d.comb += wrong.eq(cells != control.levels)
            m.d.sync += self.attempt.eq(self.attempt + 1)
            with m.If(wrong & (self.attempt != RETRIES)):
                m.next = "WRITE"
            with m.Else():
                m.d.sync += self.failed.eq(self.failed + wrong)
                self._written(m, walk)

    def _written(self, m: Module, walk: RowWalk) -> None:
        """Go on: to the N array, to the next row, or to the end."""
        m.d.sync += [self.negative.eq(1), self.attempt.eq(0)]
        m.next = "WRITE"
        with m.If(self.negative):
            m.d.comb += walk.row.eq(1)
            m.next = "ROW"
            with m.If(walk.last):
                m.next = "IDLE"


class CellReader(wiring.Component):
    """The reader: of each row's P and N array it tells the codes.

    A row of n places takes n + 3 cycles and those of two answers.

    Members
    -------
    begin, part, busy, control : as of `CellWriter`
    write, address, data : a code
    """

    begin: Signal
    part: Signal
    busy: Signal
    write: Signal
    address: Signal
    data: Signal
    control: CrossbarControl

    def __init__(self, plan: CellPlan) -> None:
        self.plan = plan
        super().__init__(
            {
                "begin": In(1),
                "part": In(range(max(2, len(plan.parts)))),
                "busy": Out(1),
                "write": Out(1),
                "address": Out(address_bits(plan.words)),
                "data": Out(signed(plan.bits)),
                "control": Out(plan.control),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the states."""
        m = Module()
        plan, control = self.plan, self.control
        m.submodules.walk = walk = RowWalk(plan)
        negative, cells = Signal(), [Signal(plan.width, name=name) for name in ("positive", "negative")]
        found = [own.word_select(walk.place, plan.stored) for own in cells]
        m.d.comb += [
            walk.begin.eq(self.begin),
            walk.part.eq(self.part),
            *runs(control),
            control.macro.eq(walk.array + negative),
            control.row.eq(walk.line),
            self.address.eq(walk.index),
            self.data.eq(found[0] - found[1]),
        ]
        with m.FSM() as states:
            m.d.comb += self.busy.eq(~states.ongoing("IDLE"))
            with m.State("IDLE"), m.If(self.begin):
                m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += negative.eq(0)
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += control.go.eq(1)
                m.next = "READ ENDS"
            with m.State("READ ENDS"), m.If(control.done):
                m.d.sync += [Cat(cells).eq(Cat(cells[1], control.cells)), negative.eq(1)]
                m.next = "READ"
                with m.If(negative):
                    m.next = "TELL"
            with m.State("TELL"):
                m.d.comb += [walk.slot.eq(1), self.write.eq(walk.there)]
                with m.If(walk.ends):
                    m.d.comb += walk.row.eq(1)
                    m.next = "ROW"
                    with m.If(walk.last):
                        m.next = "IDLE"
        return m
