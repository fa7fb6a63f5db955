"""Zero-skipping address generation: which word of the input buffer each cycle of a load reads."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import count_up, lookup, signed_lookup
from selvage.hw.tile.parameters import BufferParameters
from selvage.hw.tile.steps import step_layout

BEGIN_TO_WORD = 3  # cycles from a step's first to its first address


def word_layout(p: BufferParameters) -> data.StructLayout:
    """Return the layout of a word to be read: address, whether inside the map, cycle of the plan, last of the step."""
    return data.StructLayout({"address": p.address_bits, "inside": 1, "index": p.index_bits, "last": 1})


class AddressGenerator(wiring.Component):
    """The address generator: walks the load plan of each step with counters and tables, no divider.

    A step is taken in the first cycle of its plan; one address a cycle, each three cycles after its cycle of the
    plan. ``inside`` is low where the window reaches outside the map or meets an inserted zero: such a word is not
    fetched and not driven.

    Members
    -------
    i : steps, as soon as they may begin
    valid, word : see `word_layout`; cannot be stalled
    """

    i: stream.Interface
    valid: Signal
    word: data.View

    def __init__(self, parameters: BufferParameters) -> None:
        self.p = p = parameters
        super().__init__({"i": In(stream.Signature(step_layout(p))), "valid": Out(1), "word": Out(word_layout(p))})

    @property
    def _reads(self) -> tuple[tuple[int, int, int], ...]:
        """Reads of the plan that there are tables of."""
        return self.p.reads[: self.p.period or None]

    def elaborate(self, platform: object) -> Module:
        """Build the counter of the plan's cycles and the pipeline of the address."""
        m = Module()
        p = self.p
        waits = Signal(init=1)  # for a step
        go = Signal()
        step = Signal(step_layout(p))
        index = Signal(p.index_bits)
        last = Signal()
        valid = Signal(BEGIN_TO_WORD)
        m.d.comb += [self.i.ready.eq(waits), go.eq(~waits | self.i.valid), self.valid.eq(valid[-1])]
        ahead, end = self._count(m, waits, go)
        with m.If(go):
            m.d.sync += waits.eq(end)
        with m.If(self.i.valid & waits):
            m.d.sync += step.eq(self.i.payload)
        m.d.sync += [valid.eq(valid << 1 | go), index.eq(ahead), last.eq(end)]
        self._address(m, *self._place(m, ahead, go, end), step)
        later = Signal(p.index_bits)
        last_later = Signal()
        m.d.sync += [later.eq(index), last_later.eq(last), self.word.index.eq(later), self.word.last.eq(last_later)]
        return m

    def _count(self, m: Module, waits: Signal, go: Value) -> tuple[Value, Value]:
        """Return the cycle of the plan, and whether it is the last of its step: the plan's, or its kind's part's."""
        p = self.p
        count = Signal(p.index_bits)
        if len(p.begins) == 1:
            return count, count_up(m, count, len(p.reads), go)
        step, columns = self.i.payload, p.sweep.insert[1]
        remainders = Cat(step.column_remainder, step.row_remainder)
        across = 2 ** len(step.column_remainder)
        begins = [0] * 2 ** len(remainders)
        for kind, begin in enumerate(p.begins):
            row, column = divmod(kind, columns)
            begins[row * across + column] = begin
        now, end = Signal.like(count), Signal()
        m.d.comb += now.eq(Mux(waits, lookup(begins, remainders, width=p.index_bits), count))
        m.d.comb += end.eq(Cat(now == following - 1 for following in (*p.begins[1:], len(p.reads))).any())
        with m.If(go):
            m.d.sync += count.eq(now + 1)
        return now, end

    def _place(self, m: Module, ahead: Value, go: Value, end: Value) -> tuple[Value, Value]:
        """Return the place in the tables, and how many words further than they say: 0 but in a long regular plan."""
        p = self.p
        if not p.period:
            return ahead, Const(0)
        place, further = Signal(range(max(2, p.period))), Signal(range(p.words))
        turns = count_up(m, place, p.period, go)
        with m.If(go & turns):
            m.d.sync += further.eq(Mux(end, 0, further + 1))
        later = Signal.like(further)
        m.d.sync += later.eq(further)
        return place, later

    def _address(self, m: Module, ahead: Value, further: Value, step: data.View) -> None:
        """Build the pipeline: tables of the plan's cycle, terms of the address, their sum; a register behind each."""
        p, reads = self.p, self._reads
        row, row_carry, row_real = self._position(m, 0, ahead, step.row, step.row_remainder)
        column, column_carry, column_real = self._position(m, 1, ahead, step.column, step.column_remainder)
        lines = [read[0] // p.sweep.insert[0] for read in reads]
        at = self._table(m, "line", [q % p.rows for q in lines], ahead)
        if p.sweep.insert[0] > 1:
            at = Mux(row_carry, self._table(m, "line_below", [(q + 1) % p.rows for q in lines], ahead), at)
        words = [read[1] // p.sweep.insert[1] * p.words + read[2] for read in reads]
        across = self._table(m, "across", words, ahead)
        if p.sweep.insert[1] > 1:
            across = Mux(column_carry, self._table(m, "across_next", [w + p.words for w in words], ahead), across)
        line = Signal(p.address_bits)
        word = Signal(signed(p.address_bits + 2))
        inside = Signal()
        m.d.sync += [
            line.eq(lookup([k * p.pitch for k in range(p.rows)], self._line(m, step.row_base, at))),
            word.eq(step.column_base + across + further),
            inside.eq(row_real & column_real),
            self.word.address.eq(line + word),
            self.word.inside.eq(inside & self._in_map(row, 0) & self._in_map(column, 1)),
        ]

    def _line(self, m: Module, base: Value, at: Value) -> Value:
        """Return the line ``at`` lines below line ``base`` of the ring: of few lines a table, without a carry chain."""
        rows = self.p.rows
        found = Signal(range(max(2, rows)))
        if rows <= 16:
            below = [(a + b) % rows for b in range(rows) for a in range(2 ** len(base))]
            m.d.comb += found.eq(lookup(below, Cat(base, at)))
            return found
        total = Signal(range(2 * rows))
        m.d.comb += [total.eq(base + at), found.eq(Mux(total >= rows, total - rows, total))]
        return found

    def _table(self, m: Module, name: str, values: list[int], ahead: Value) -> Signal:
        """Return the value of the plan's cycle, in a register."""
        found = signed_lookup(values, ahead) if min(values) < 0 else lookup(values, ahead)
        entry = Signal(found.shape(), name=name)
        m.d.sync += entry.eq(found)
        return entry

    def _position(
        self, m: Module, axis: int, ahead: Value, quotient: Value, remainder: Value
    ) -> tuple[Signal, Value, Value]:
        """Return pixel (next cycle), quotient carry, and whether the position is a real pixel, no inserted zero."""
        insert = self.p.sweep.insert[axis]
        name = ("row", "column")[axis]
        offsets = [divmod(read[axis], insert) for read in self._reads]
        pixel = Signal(signed(len(quotient) + 1), name=f"{name}_pixel")
        moved = self._table(m, f"{name}_quotient", [q for q, _ in offsets], ahead)
        if insert == 1:
            m.d.sync += pixel.eq(quotient + moved)
            return pixel, Const(0), Const(1)
        rest = self._table(m, f"{name}_remainder", [r for _, r in offsets], ahead)
        total = Signal(range(2 * insert), name=f"{name}_total")
        m.d.comb += total.eq(remainder + rest)
        m.d.sync += pixel.eq(quotient + moved + (total == insert))
        return pixel, total >= insert, (total == 0) | (total == insert)

    def _in_map(self, pixel: Signal, axis: int) -> Value:
        return ~pixel[-1] & (pixel[:-1] < self.p.sweep.size[axis])
