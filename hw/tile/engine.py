"""The array engine: row registers, the OU scheduler, and the reads of one crossbar."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import at_most, fit, lookup, lowest_index, lowest_set
from selvage.hw.tile.parameters import EngineParameters
from selvage.hw.tile.rows import RowRegisters
from selvage.hw.tile.streams import (
    LoadInterface,
    Relay,
    RequestInterface,
    load_signature,
    move_layout,
    request_layout,
    second_register,
    tag_layout,
)
from selvage.hw.tile.walker import Walker, first_plane, group_layout


def pick_layout(p: EngineParameters) -> data.StructLayout:
    """Return the layout of a picked row group: its number, its bank, last of its step, the step has none."""
    return data.StructLayout({"group": p.group_bits, "bank": 1, "last": 1, "none": 1})


def engine_probe(p: EngineParameters) -> data.StructLayout:
    """Return the layout of what an engine shows for waves.

    ``state`` is {an OU of the row group in hand is left, a request is at the pins}. A step is taken (``takes``) with
    the row groups that are ``pending``. A row group is picked (``picks``, {valid, ready}) and its ``values`` read; it
    leaves the group reader (``forms``, likewise) as ``formed``.
    """
    picked = {
        "state": 2,
        "takes": 1,
        "pending": len(p.groups),
        "picks": 2,
        "pick": pick_layout(p),
        "values": p.group_rows * p.input_bits,
    }
    return data.StructLayout({**picked, "forms": 2, "formed": group_layout(p)})


class Lookahead(wiring.Component):
    """The next-group arbiter: picks the next row group with an active row while others are walked.

    One group a cycle, registered, across the border between two steps. A step with nothing to drive
    yields one item with ``none`` set.

    Members
    -------
    o : see `pick_layout`
    pending, loaded, taken : of the `RowRegisters`
    left : a group is not picked yet
    """

    o: stream.Interface
    pending: Signal
    loaded: Signal
    taken: Signal
    left: Signal

    def __init__(self, parameters: EngineParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "o": Out(stream.Signature(pick_layout(p))),
                "pending": In(len(p.groups)),
                "loaded": In(1),
                "taken": Out(1),
                "left": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the register of pending groups and the choice of the lowest."""
        m = Module()
        rest = Signal(len(self.p.groups))  # the group to be picked, and those behind it
        busy = Signal()
        none = Signal()
        bank = Signal()
        last = Signal(init=1)  # there are none behind it, or no group is in hand: the next one is the first of a step
        step = Signal()
        m.submodules.picks = picks = Relay(pick_layout(self.p))
        o = picks.i
        # Which group comes next is known early, whether it comes is not.
        m.d.comb += [
            step.eq(~busy | o.ready),
            self.taken.eq(step & last & self.loaded),
            self.left.eq((busy & ~none) | (self.o.valid & ~self.o.payload.none)),
            o.valid.eq(busy),
            o.payload.as_value().eq(Cat(fit(lowest_index(rest), self.p.group_bits), bank, last, none)),
        ]
        wiring.connect(m, picks.o, wiring.flipped(self.o))
        with m.If(step):
            m.d.sync += [busy.eq(~last | self.loaded), bank.eq(bank ^ (busy & last))]
            m.d.sync += rest.eq(Mux(last, self.pending, rest & ~lowest_set(rest)))
            m.d.sync += last.eq(Mux(last, ~self.loaded | at_most(1, self.pending), at_most(2, rest)))
            with m.If(last):
                m.d.sync += none.eq(self.pending == 0)
        return m


class GroupReader(wiring.Component):
    """Reader of a row group: shifts its values by their rows' shifts and finds the planes with an active row.

    Three cycles, one group a cycle: read, planes, the first of them.

    Members
    -------
    i : picked groups
    o : see `hw.tile.walker.group_layout`
    group, bank, values : of the `RowRegisters`
    left : a group is on its way
    """

    i: stream.Interface
    o: stream.Interface
    group: Signal
    bank: Signal
    values: Signal
    left: Signal

    def __init__(self, parameters: EngineParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(pick_layout(p))),
                "o": Out(stream.Signature(group_layout(p))),
                "group": Out(p.group_bits),
                "bank": Out(1),
                "values": In(p.group_rows * p.input_bits),
                "left": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the three stages of the pipeline."""
        m = Module()
        p, i, o = self.p, self.i, self.o
        item = Signal(group_layout(p).size, reset_less=True)
        valid = Signal()
        # However far the walker's answer has to go, it goes no further.
        moves, waits, out = second_register(m, valid, item, o.ready)
        there, formed, fills = self._planes(m, moves)
        # No room for the next group: all places but the last are taken (``full``), and that too (``waits``).
        full = Signal()
        m.d.sync += full.eq(fills)
        m.d.comb += [
            i.ready.eq(~(full & waits)),
            self.group.eq(i.payload.group),
            self.bank.eq(i.payload.bank),
            o.valid.eq(valid | waits),
            o.payload.as_value().eq(out),
        ]
        plane, others, only = first_plane(formed.some)
        columns = lookup([group.column_groups - 1 for group in p.groups], formed.pick.group)
        fields = (
            plane,
            others,
            only,
            formed.pick.group,
            columns,
            formed.pick.last,
            formed.pick.none,
        )
        widths = [field.width for _, field in group_layout(p)][1:]
        with m.If(moves):
            m.d.sync += valid.eq(there)
            m.d.sync += item.eq(Cat(formed.planes, *(fit(field, w) for field, w in zip(fields, widths, strict=True))))
        return m

    def _planes(self, m: Module, moves: Value) -> tuple[Signal, data.View, Value]:
        """Return a group's planes in a register, and whether all places but the last will be taken next.

        The register is a valid bit and a view: the planes, in which of them a row drives, and the group.
        """
        p, o = self.p, self.o
        layout = data.StructLayout(
            {"planes": p.group_rows * p.planes, "some": p.planes, "pick": pick_layout(p)},
        )
        formed = Signal(layout, reset_less=True)
        valid = Signal()
        ready = Signal()
        m.d.comb += ready.eq(~valid | moves)
        there, codes, here = self._read(m)
        # Bits of a row, not of the word: Amaranth works out what a bit is taken from once for each bit.
        rows = self._shifted(codes, here.group)
        planes = [Cat(row[plane] for row in rows) for plane in range(p.planes)]
        some = Cat(plane.any() for plane in planes) if p.skip else Const(2**p.planes - 1, p.planes)
        with m.If(ready):
            m.d.sync += [valid.eq(there), formed.eq(Cat(*planes, some, here))]
        m.d.comb += self.left.eq((there & ~here.none) | (valid & ~formed.pick.none) | (o.valid & ~o.payload.none))
        fills = (~moves | valid) & (~ready | there) & (~self.i.ready | self.i.valid)
        return valid, formed, fills

    def _read(self, m: Module) -> tuple[Signal, list[Value], data.View]:
        """Return a group in a register: whether there is one, its values row by row, and what it was picked as."""
        p, layout = self.p, pick_layout(self.p)
        codes = p.group_rows * p.input_bits
        word = Signal(codes + layout.size, reset_less=True)
        there = Signal()
        with m.If(self.i.ready):
            m.d.sync += [there.eq(self.i.valid), word.eq(Cat(self.values, self.i.payload))]
        rows = [word.word_select(row, p.input_bits) for row in range(p.group_rows)]
        return there, rows, data.View(layout, word[codes:])

    def _shifted(self, codes: list[Value], group: Value) -> list[Value]:
        """Return each row's value moved up by the row's shift: its input enters that many planes later."""
        p = self.p
        if p.planes == p.input_bits:
            return codes
        found = []
        for row, code in enumerate(codes):
            code = code.as_signed() if p.signed else code
            shifts = [group.shifts[row] if row < group.count else 0 for group in p.groups]
            chosen: Value = fit(code.shift_left(shifts[0]), p.planes)
            for amount in sorted(set(shifts) - {shifts[0]}):
                here = lookup([int(s == amount) for s in shifts], group)
                chosen = Mux(here, fit(code.shift_left(amount), p.planes), chosen)
            found.append(chosen)
        return found


class ArrayEngine(wiring.Component):
    """The OU scheduler of one array: loads rows, skips what is zero, reads one OU a cycle.

    The first read of a step is at the pins twelve cycles after the last ``load.valid`` of its load, when nothing
    else holds it; from then on one read a cycle, across steps, as long as the macro accepts it. A step
    without reads takes one cycle.

    Members
    -------
    load, move : see `RowRegisters`
    releases : the oldest step loaded no longer needs its row bank, since the cycle before; at most two are loaded
    crossbar : requests to the macro
    tag, drained : see `Walker`
    left : an OU read of a loaded step is left
    picked : with ``events``: a row group is read from the row registers
    probe : with ``probes``: see `engine_probe`
    """

    load: LoadInterface
    move: data.View
    picked: Signal
    probe: data.View
    releases: Signal
    crossbar: RequestInterface
    tag: stream.Interface
    left: Signal
    drained: Signal

    def __init__(self, parameters: EngineParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "load": In(load_signature(p.lanes, p.input_bits)),
                "move": In(move_layout(p)),
                "releases": Out(1),
                "crossbar": Out(wiring.Signature({"request": Out(stream.Signature(request_layout(p)))})),
                "tag": Out(stream.Signature(tag_layout(p.slots_used, p.planes, p.driven_bits))),
                "left": Out(1),
                "drained": In(1),
                **({"picked": Out(1)} if p.events else {}),
                **({"probe": Out(engine_probe(p))} if p.probes else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect row registers, arbiter, group reader and walker."""
        m = Module()
        m.submodules.rows = rows = RowRegisters(self.p)
        m.submodules.lookahead = ahead = Lookahead(self.p)
        m.submodules.reader = reader = GroupReader(self.p)
        m.submodules.walker = walker = Walker(self.p)
        wiring.connect(m, ahead.o, reader.i)
        wiring.connect(m, reader.o, walker.i)
        wiring.connect(m, wiring.flipped(self.load), rows.load)
        wiring.connect(m, walker.request, wiring.flipped(self.crossbar.request))
        wiring.connect(m, walker.tag, wiring.flipped(self.tag))
        m.d.comb += [
            rows.move.eq(self.move),
            ahead.pending.eq(rows.pending),
            ahead.loaded.eq(rows.loaded),
            rows.taken.eq(ahead.taken),
            rows.group.eq(reader.group),
            rows.bank.eq(reader.bank),
            reader.values.eq(rows.values),
            self.releases.eq(walker.releases),
            walker.drained.eq(self.drained),
            self.left.eq(walker.left | reader.left | ahead.left | (rows.loaded & rows.pending.any())),
        ]
        if self.p.events:
            m.d.comb += self.picked.eq(ahead.o.valid & ahead.o.ready & ~ahead.o.payload.none)
        if self.p.probes:
            walks = [walker.request.valid, walker.left]
            picked = [ahead.o.ready, ahead.o.valid, ahead.o.payload.as_value(), rows.values]
            formed = [reader.o.ready, reader.o.valid, reader.o.payload.as_value()]
            m.d.comb += self.probe.eq(Cat(*walks, ahead.taken, rows.pending, *picked, *formed))
        return m
