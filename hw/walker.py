"""The walker: one OU read a cycle, of the input planes and column groups of a row group."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.parameters import EngineParameters
from hw.streams import request_layout, tag_layout
from hw.tables import encode, first_set, fit, lookup, lowest_set


def group_layout(p: EngineParameters) -> data.StructLayout:
    """A row group on its way from the look-ahead to the walker: its input planes, one after the other."""
    return data.StructLayout({"planes": p.group_rows * p.planes, "group": p.group_bits, "last": 1, "none": 1})


class Walker(wiring.Component):
    """Walks input planes and column groups of a row group: one OU read a cycle.

    Planes in which no row drives are left out (with ``skip``); which plane is next is known while
    the present one is walked, so leaving out costs no cycle. With ``dynamic`` a plane is read in OUs of
    the rows that drive, from the lowest on, be they adjacent or not. A step may begin only when the
    accumulators have a bank for it: two steps at most are begun and not ``drained``.

    Members
    -------
    i : row groups
    request : to the macro, registered
    tag : what the accumulator must know of the read, one for each request, one cycle before it
    left : the row group has reads left
    releases : the step's last read leaves
    drained : a step's sums have left the accumulators
    """

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
        m = Module()
        p, tag = self.p, self.tag
        item = Signal(group_layout(p), reset_less=True)
        have = Signal()
        planes = Signal(p.planes)
        column = Signal(range(max(2, max(g.column_groups for g in p.groups))))
        plane = Signal(p.planes)
        rest = Signal(p.planes)
        fresh = Signal(init=1)
        begun = Signal(2)
        fire = Signal()
        done = Signal()
        over = Signal()
        index = Signal(range(max(2, p.planes)))
        standing = Signal(p.group_rows)
        driven = Signal(p.group_rows)
        more = Signal()
        columns_end = column == lookup([g.column_groups - 1 for g in p.groups], item.group)
        m.d.comb += [
            plane.eq(lowest_set(planes)),
            rest.eq(Mux(more, planes, planes & ~plane)),
            tag.valid.eq(have & (~self.request.valid | self.request.ready) & ~(fresh & (begun == 2))),
            fire.eq(tag.valid & tag.ready),
            done.eq(fire & (item.none | (columns_end & (rest == 0)))),
            self.i.ready.eq(~have | done),
            self.releases.eq(done & item.last),
            self.left.eq(have & ~item.none),
            over.eq(item.last & (item.none | (columns_end & (rest == 0)))),
            index.eq(encode(plane)),
            standing.eq(item.planes.word_select(index, p.group_rows)),
            tag.payload.as_value().eq(self._tag(item, column, index, driven, over)),
        ]
        m.d.sync += begun.eq(begun + (fire & fresh) - self.drained)
        with m.If(fire):
            m.d.sync += [column.eq(column + 1), fresh.eq(over)]
            with m.If(columns_end | item.none):
                m.d.sync += [column.eq(0), planes.eq(rest)]
        self._form(m, standing, driven, more, fire & columns_end)
        with m.If(self.i.ready):
            m.d.sync += [have.eq(self.i.valid), item.eq(self.i.payload), planes.eq(self._planes(self.i.payload))]
        self._drive(m, item, column, driven, fire)
        return m

    def _form(self, m: Module, standing: Value, driven: Value, more: Value, step: Value) -> None:
        """The rows of the next OU: all of the group, or with ``dynamic`` the next that drive in this plane."""
        p = self.p
        if not p.dynamic or p.group_rows <= p.ou_rows:
            m.d.comb += driven.eq(standing)
            return
        taken = Signal(p.group_rows)
        left = Signal(p.group_rows)
        m.d.comb += [
            left.eq(standing & ~taken),
            driven.eq(first_set(m, left, p.ou_rows)),
            more.eq((left & ~driven).any()),
        ]
        with m.If(step):
            m.d.sync += taken.eq(Mux(more, taken | driven, 0))

    def _tag(self, item: data.View, column: Value, plane: Value, driven: Value, over: Value) -> Value:
        layout = tag_layout(self.p.slots_used, self.p.planes, self.p.driven_bits)
        count = sum((bit for bit in driven), start=Const(0)) if self.p.driven_bits else Const(0, 0)
        return Cat(
            fit(lookup(self.p.slots, item.group) + column, layout["slot"].width),
            plane,
            fit(count, self.p.driven_bits),
            over,
            item.none,
        )

    def _planes(self, group: data.View) -> Value:
        """Input planes in which some row of the group drives."""
        p = self.p
        if not p.skip:
            return Const(2**p.planes - 1, p.planes)
        return Cat(group.planes.word_select(plane, p.group_rows).any() for plane in range(p.planes))

    def _drive(self, m: Module, item: data.View, column: Value, driven: Value, fire: Value) -> None:
        """The request's registers."""
        p, request = self.p, self.request
        # Payloads are assigned whole: a vector driven piece by piece, Icarus resolves bit by bit.
        payload = Signal(request_layout(p).size, reset_less=True)
        m.d.comb += request.payload.as_value().eq(payload)
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.If(fire & ~item.none):
            first = lookup([g.first_column_group for g in p.groups], item.group)
            m.d.sync += [
                request.valid.eq(1),
                payload.eq(Cat(self._spread(driven, item.group), fit(first + column, p.column_group_bits))),
            ]

    def _spread(self, driven: Value, group: Value) -> Value:
        """The OU's rows on the array's word lines: a decoder, no shifter.

        Groups on different word lines make one vector; groups of blocks that stand on the same ones
        (beside each other) are ORed.
        """
        layers: list[list[tuple[int, int, int]]] = []
        for index, rows in sorted(enumerate(self.p.groups), key=lambda pair: pair[1].row):
            layer = next((own for own in layers if own[-1][0] + own[-1][1] <= rows.row), None)
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
