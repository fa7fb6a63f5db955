"""The walker: one OU read a cycle, of the input planes and column groups of a row group."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import at_most, first_set, fit, lookup, lowest_index, lowest_set, total
from selvage.hw.tile.parameters import EngineParameters
from selvage.hw.tile.streams import Relay, request_layout, tag_layout


def group_layout(p: EngineParameters) -> data.StructLayout:
    """Return the layout of a row group on its way to the walker."""
    return data.StructLayout(
        {
            "planes": p.group_rows * p.planes,  # input bit-planes, one after the other
            "plane": range(max(2, p.planes)),  # lowest plane with an active row
            "rest": p.planes,  # mask of the other planes with one
            "only": 1,  # there are no others
            "group": p.group_bits,
            "column_last": range(max(2, max(g.column_groups for g in p.groups))),  # number of the last column group
            "last": 1,  # of its step
            "none": 1,  # the step has no reads
        }
    )


def first_plane(planes: Value) -> tuple[Value, Value, Value]:
    """Return the first of the planes with an active row, the others, and whether there are no others."""
    return lowest_index(planes), planes & ~lowest_set(planes), at_most(1, planes)


class ReadCounter(wiring.Component):
    """The reads of a row group: column groups, the last one first, in each input plane with an active row.

    All that is said of the present read is in registers, so that leaving out a plane costs no cycle.

    Members
    -------
    first, others, only, column_last, none : of a row group, see `group_layout`
    step : go on to the next read, as one of these says, which are known earlier:
    load : to the first of the row group
    again : in the same plane
    plane, column : of the present read
    ends : it is the plane's last column group
    final : and no other plane is left
    """

    first: Signal
    others: Signal
    only: Signal
    column_last: Signal
    none: Signal
    step: Signal
    load: Signal
    again: Signal
    plane: Signal
    column: Signal
    ends: Signal
    final: Signal

    def __init__(self, p: EngineParameters) -> None:
        self.planes = p.planes
        column = range(max(2, max(g.column_groups for g in p.groups)))
        super().__init__(
            {
                "first": In(range(max(2, p.planes))),
                "others": In(p.planes),
                "only": In(1),
                "column_last": In(column),
                "none": In(1),
                "step": In(1),
                "load": In(1),
                "again": In(1),
                "plane": Out(range(max(2, p.planes))),
                "column": Out(column),
                "ends": Out(1),
                "final": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the registers of the present read."""
        m = Module()
        rest = Signal(self.planes)
        last = Signal()  # no plane is left behind the present one
        column_last = Signal.like(self.column)
        one = Signal()  # column group in all
        plane, others, only = first_plane(rest)
        with m.If(self.step):
            with m.If(self.load):
                m.d.sync += [self.plane.eq(self.first), rest.eq(self.others), last.eq(self.only)]
                m.d.sync += [self.column.eq(self.column_last), column_last.eq(self.column_last)]
                m.d.sync += [one.eq(self.column_last == 0), self.ends.eq(self.column_last == 0)]
                m.d.sync += self.final.eq(self.none | ((self.column_last == 0) & self.only))
            with m.Elif(self.ends):
                m.d.sync += [self.column.eq(column_last), self.ends.eq(one)]
                m.d.sync += self.final.eq(one & Mux(self.again, last, only))
                with m.If(~self.again):
                    m.d.sync += [self.plane.eq(plane), rest.eq(others), last.eq(only)]
            with m.Else():
                ends = self.column == 1
                m.d.sync += [self.column.eq(self.column - 1), self.ends.eq(ends), self.final.eq(ends & last)]
        return m


class Walker(wiring.Component):
    """The walker of input planes and column groups of a row group: one OU read a cycle.

    Planes in which no row drives are left out (with ``skip``). With ``dynamic`` a plane is read in OUs of
    the rows that drive, from the lowest on, be they adjacent or not. A step may begin only when the
    accumulators have a bank for it: two steps at most are begun and not ``drained``.

    Members
    -------
    i : row groups
    request : to the macro, registered; word lines are formed in the cycle before
    tag : what the accumulator must know of the read, one for each request, two cycles before it
    left : the row group has reads left
    releases : the step's last row group was taken in the cycle before
    drained : a step's sums have left the accumulators
    """

    i: stream.Interface
    request: stream.Interface
    tag: stream.Interface
    left: Signal
    releases: Signal
    drained: Signal

    def __init__(self, parameters: EngineParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(group_layout(p))),
                "request": Out(stream.Signature(request_layout(p))),
                "tag": Out(stream.Signature(tag_layout(p.slots_used, p.planes, p.driven_bits))),
                "left": Out(1),
                "releases": Out(1),
                "drained": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the register of the row group, the choice of the next read, and its tag and request."""
        m = Module()
        p, tag = self.p, self.tag
        m.submodules.reads = reads = ReadCounter(p)
        item = Signal(group_layout(p), reset_less=True)
        have = Signal()
        free = Signal(init=1)
        fire = Signal()
        over = Signal()
        driven = Signal(p.group_rows)
        more = Signal()
        can = Signal()  # a read leaves, if there is one
        moves = self._drive(m, item, reads.column, driven, fire)
        m.d.comb += [
            tag.valid.eq(have & moves & free),
            can.eq(moves & free & tag.ready),
            fire.eq(have & can),
            over.eq(reads.final & ~more),
            self.i.ready.eq(~have | (can & over)),
            self.left.eq(have & ~item.none),
            *(getattr(reads, name).eq(self.i.payload[name]) for name in ("only", "column_last", "none")),
            reads.first.eq(self.i.payload.plane),
            reads.others.eq(self.i.payload.rest),
            reads.load.eq(~have | over),
            reads.step.eq(~have | can),
            reads.again.eq(more),
            tag.payload.as_value().eq(self._tag(item, reads, driven, over & item.last)),
        ]
        self._admit(m, free, fire, over & item.last)
        self._form(m, self._standing(item, reads.plane), driven, more, fire & reads.ends)
        m.d.sync += self.releases.eq(self.i.ready & (self.i.valid & self.i.payload.last))
        with m.If(self.i.ready):
            m.d.sync += [have.eq(self.i.valid), item.eq(self.i.payload)]
        return m

    def _admit(self, m: Module, free: Signal, fire: Value, over: Value) -> None:
        """Keep whether the next read may leave: its step has begun, or the accumulators have a bank for it."""
        begun, begun_next = Signal(2), Signal(2)
        fresh, fresh_next = Signal(init=1), Signal()
        m.d.comb += [
            begun_next.eq(begun + (fire & fresh) - self.drained),
            fresh_next.eq(Mux(fire, over, fresh)),
        ]
        m.d.sync += [begun.eq(begun_next), fresh.eq(fresh_next), free.eq(~fresh_next | (begun_next != 2))]

    def _standing(self, item: data.View, plane: Value) -> Value:
        """Return the active rows of a plane.

        A stride of a power of two is a part select, others a shifter.
        """
        rows = self.p.group_rows
        gap = (1 << (rows - 1).bit_length()) - rows
        words = [Cat(item.planes.word_select(k, rows), Const(0, gap)) for k in range(self.p.planes)]
        return Cat(words).word_select(plane, rows + gap)[:rows]

    def _form(self, m: Module, standing: Value, driven: Value, more: Value, step: Value) -> None:
        """Form the rows of the next OU: all of the group, or with ``dynamic`` the next active ones of this plane."""
        p = self.p
        if not p.dynamic or p.group_rows <= p.ou_rows:
            m.d.comb += driven.eq(standing)
            return
        taken = Signal(p.group_rows)
        left = Signal(p.group_rows)
        chosen, others = first_set(m, left, p.ou_rows)
        m.d.comb += [left.eq(standing & ~taken), driven.eq(chosen), more.eq(others)]
        with m.If(step):
            m.d.sync += taken.eq(Mux(more, taken | driven, 0))

    def _tag(self, item: data.View, reads: ReadCounter, driven: Value, over: Value) -> Value:
        layout = tag_layout(self.p.slots_used, self.p.planes, self.p.driven_bits)
        count = total(list(driven)) if self.p.driven_bits else Const(0, 0)
        return Cat(
            fit(lookup(self.p.slots, item.group) + reads.column, layout["slot"].width),
            reads.plane,
            fit(count, self.p.driven_bits),
            over,
            item.none,
        )

    def _drive(self, m: Module, item: data.View, column: Value, driven: Value, fire: Value) -> Value:
        """Put the decided read in a register, then on its word lines; return whether there is room for the next.

        The macro's answer may have far to go, and goes no further than this register.
        """
        p, request = self.p, self.request
        layout = data.StructLayout({"rows": p.group_rows, "group": p.group_bits, "column": p.column_group_bits})
        m.submodules.decided = decided = Relay(layout)
        first = lookup([g.first_column_group for g in p.groups], item.group)
        read = decided.o.payload
        # Payloads are assigned whole: a vector driven piece by piece, Icarus resolves bit by bit.
        payload = Signal(request_layout(p).size, reset_less=True)
        m.d.comb += [
            decided.i.valid.eq(fire & ~item.none),
            decided.i.payload.as_value().eq(Cat(driven, item.group, fit(first + column, p.column_group_bits))),
            decided.o.ready.eq(~request.valid | request.ready),
            request.payload.as_value().eq(payload),
        ]
        with m.If(decided.o.ready):
            m.d.sync += request.valid.eq(decided.o.valid)
            with m.If(decided.o.valid):
                m.d.sync += payload.eq(Cat(self._spread(read.rows, read.group), read.column))
        return decided.i.ready

    def _spread(self, driven: Value, group: Value) -> Value:
        """Return the OU's rows on the array's word lines, those of its group.

        Groups on different word lines make one vector; groups of blocks that stand on the same ones
        (beside each other) are ORed.
        """
        layers: list[list[tuple[int, int, int]]] = []
        for index, rows in sorted(enumerate(self.p.groups), key=lambda pair: pair[1].row):
            layer = next((lines for lines in layers if lines[-1][0] + lines[-1][1] <= rows.row), None)
            if layer is None:
                layers.append(layer := [])
            layer.append((rows.row, rows.count, index))
        total: Value = Const(0, self.p.rows)
        for layer in layers:
            lines, enable, at = [], [], 0
            for row, count, index in layer:
                gap = Const(0, row - at)
                lines += [gap, driven[:count]]
                enable += [gap, (group == index).replicate(count)]
                at = row + count
            total = total | (Cat(lines) & Cat(enable))
        return total[: self.p.rows]
