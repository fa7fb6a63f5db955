"""The array engine: row registers, the OU scheduler, and the reads of one crossbar."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.parameters import EngineParameters
from hw.streams import load_signature, move_layout, request_layout, tag_layout
from hw.tables import encode, fit, lookup, lowest_set
from hw.walker import Walker, group_layout


class RowRegisters(wiring.Component):
    """The inputs of an array's rows, a word for each row group, for this step and the next.

    A group's ``pending`` bit says that one of its values is not zero (with ``skip`` off: always).

    Members
    -------
    load, move : the window's words, and what this array takes of them
    begins : a step's load begins; only while ``free``
    values : of ``group`` in the bank that is read, combinational
    pending, loaded : of the bank that is read
    take : clears the pending bits given; with ``turn`` the other bank is read from then on
    releases : the oldest step no longer needs its bank
    """

    def __init__(self, parameters: EngineParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "load": In(load_signature(p.lanes, p.input_bits)),
                "move": In(move_layout(p)),
                "begins": In(1),
                "free": Out(1),
                "group": In(p.group_bits),
                "values": Out(p.group_rows * p.planes),
                "pending": Out(len(p.groups)),
                "loaded": Out(1),
                "take": In(len(p.groups)),
                "turn": In(1),
                "releases": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        used = Signal(2)
        bank = Signal()
        m.d.sync += used.eq(used + self.begins - self.releases)
        m.d.comb += self.free.eq(used != 2)
        groups = len(p.groups)
        m.submodules.rows = rows = Memory(shape=p.group_rows * p.input_bits, depth=2 * 2**p.group_bits, init=[])
        write = rows.write_port(granularity=p.input_bits)
        read = rows.read_port(domain="comb")
        # Named, for an expression is written out as often as it is used. A block's last group may be
        # lower than an OU: what is stored of its other rows does not exist.
        existing = Signal(p.group_rows)
        codes = Signal(p.group_rows * p.input_bits)
        m.d.comb += [
            read.addr.eq(Cat(self.group, bank)),
            existing.eq(lookup([2**g.count - 1 for g in p.groups], self.group, width=p.group_rows)),
            codes.eq(read.data & Cat(row.replicate(p.input_bits) for row in existing)),
            self.values.eq(self._shifted(codes)),
        ]
        filled, written, last = self._write(m, write)
        flags = [Signal(groups, name=f"pending_{k}") for k in range(2)]
        full = Signal(2)
        for k in range(2):
            keep = Mux(bank == k, ~self.take, Const(2**groups - 1, groups))
            m.d.sync += flags[k].eq((flags[k] & keep) | Mux(filled == k, written, 0))
            with m.If(last & (filled == k)):
                m.d.sync += full[k].eq(1)
            with m.Elif(self.turn & (bank == k)):
                m.d.sync += full[k].eq(0)
        m.d.sync += bank.eq(bank ^ self.turn)
        m.d.comb += [
            self.pending.eq(Mux(bank, flags[1], flags[0])),
            self.loaded.eq(Mux(bank, full[1], full[0])),
        ]
        return m

    def _shifted(self, codes: Value) -> Value:
        """Each row's code, moved up by the row's shift: its input enters that many planes later."""
        p = self.p
        if p.planes == p.input_bits:
            return codes
        found = []
        for row in range(p.group_rows):
            code = codes.word_select(row, p.input_bits)
            code = code.as_signed() if p.signed else code
            shifts = [group.shifts[row] if row < group.count else 0 for group in p.groups]
            chosen: Value = fit(code.shift_left(shifts[0]), p.planes)
            for amount in sorted(set(shifts) - {shifts[0]}):
                chosen = Mux(
                    lookup([int(s == amount) for s in shifts], self.group),
                    fit(code.shift_left(amount), p.planes),
                    chosen,
                )
            found.append(chosen)
        return Cat(*found)

    def _turned(self, m: Module) -> Value:
        """The word's lanes at their rows: a logarithmic rotator, with the stages that the load plan uses."""
        p = self.p
        rotation = Signal(range(max(2, p.lanes)))
        m.d.sync += rotation.eq(self.move.rotation)
        turned: Value = self.load.data.as_value()
        for bit in range(len(rotation)):
            if any(amount >> bit & 1 for amount in p.rotations):
                stage = Signal(p.lanes * p.input_bits, name=f"turned_{bit}")
                m.d.comb += stage.eq(Mux(rotation[bit], turned.rotate_left(p.input_bits << bit), turned))
                turned = stage
        copies = -(-p.group_rows // p.lanes)
        return turned.replicate(copies)[: p.group_rows * p.input_bits]

    def _gathered(self, m: Module) -> Value:
        """The word's lanes at their rows: a selector for each row."""
        p = self.p
        lanes = Signal.like(self.move.lanes)
        m.d.sync += lanes.eq(self.move.lanes)
        word = self.load.data.as_value()
        return Cat(word.word_select(lanes[row], p.input_bits) for row in range(p.group_rows))

    def _write(self, m: Module, write: object) -> tuple[Value, Value, Value]:
        """Bring a word's lanes to their rows; returns the bank, the groups to mark, end of the load."""
        p = self.p
        group = Signal(p.group_bits)
        enable = Signal(p.group_rows)
        last = Signal()
        bank = Signal()
        m.d.sync += [
            group.eq(self.move.group),
            enable.eq(Mux(self.load.valid, self.move.rows, 0)),
            last.eq(self.load.last),
            bank.eq(bank ^ last),
        ]
        values = Signal(p.group_rows * p.input_bits)
        m.d.comb += values.eq(self._gathered(m) if p.gather else self._turned(m))
        written = Signal(len(p.groups))
        if p.skip:
            nonzero = Cat(
                values.word_select(row, p.input_bits).any() & enable[row] for row in range(p.group_rows)
            ).any()
            m.d.comb += written.eq(nonzero << group)
        else:
            m.d.comb += written.eq(last.replicate(len(p.groups)))
        m.d.comb += [
            write.addr.eq(Cat(group, bank)),
            write.data.eq(values),
            write.en.eq(enable),
        ]
        return bank, written, last


class Lookahead(wiring.Component):
    """Finds the next row group with something to drive while the present one is walked.

    One group a cycle, registered, across the border between two steps. A step with nothing to drive
    yields one item with ``none`` set.
    """

    def __init__(self, parameters: EngineParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "o": Out(stream.Signature(group_layout(p))),
                "pending": In(len(p.groups)),
                "loaded": In(1),
                "group": Out(p.group_bits),
                "values": In(p.group_rows * p.planes),
                "take": Out(len(p.groups)),
                "turn": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first = Signal(len(self.p.groups))
        move = Signal()
        last = Signal()
        o = self.o
        item = Signal(group_layout(self.p).size, reset_less=True)
        planes = [self.values[plane :: self.p.planes] for plane in range(self.p.planes)]
        m.d.comb += [
            first.eq(lowest_set(self.pending)),
            move.eq((~o.valid | o.ready) & self.loaded),
            last.eq((self.pending & ~first) == 0),
            self.group.eq(encode(first)),
            self.take.eq(Mux(move, first, 0)),
            self.turn.eq(move & last),
        ]
        with m.If(o.ready):
            m.d.sync += o.valid.eq(0)
        with m.If(move):
            m.d.sync += [o.valid.eq(1), item.eq(Cat(*planes, self.group, last, self.pending == 0))]
        m.d.comb += o.payload.as_value().eq(item)
        return m


class ArrayEngine(wiring.Component):
    """The OU scheduler of one array: loads rows, skips what is zero, reads one OU a cycle.

    The first read of a step leaves five cycles after the last cycle of its load, when nothing else
    holds it; from then on one read a cycle, across steps, as long as the macro accepts it. A step
    without reads takes one cycle.

    Members
    -------
    load, move, begins, free : see `RowRegisters`
    crossbar : requests to the macro
    tag, drained : see `Walker`
    left : an OU read of a loaded step is left
    """

    def __init__(self, parameters: EngineParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "load": In(load_signature(p.lanes, p.input_bits)),
                "move": In(move_layout(p)),
                "begins": In(1),
                "free": Out(1),
                "crossbar": Out(wiring.Signature({"request": Out(stream.Signature(request_layout(p)))})),
                "tag": Out(stream.Signature(tag_layout(p.slots_used, p.planes, p.driven_bits))),
                "left": Out(1),
                "drained": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rows = rows = RowRegisters(self.p)
        m.submodules.lookahead = ahead = Lookahead(self.p)
        m.submodules.walker = walker = Walker(self.p)
        wiring.connect(m, ahead.o, walker.i)
        wiring.connect(m, wiring.flipped(self.load), rows.load)
        wiring.connect(m, walker.request, wiring.flipped(self.crossbar.request))
        wiring.connect(m, walker.tag, wiring.flipped(self.tag))
        m.d.comb += [
            rows.move.eq(self.move),
            rows.begins.eq(self.begins),
            self.free.eq(rows.free),
            rows.group.eq(ahead.group),
            ahead.values.eq(rows.values),
            ahead.pending.eq(rows.pending),
            ahead.loaded.eq(rows.loaded),
            rows.take.eq(ahead.take),
            rows.turn.eq(ahead.turn),
            rows.releases.eq(walker.releases),
            walker.drained.eq(self.drained),
            self.left.eq(walker.left | (ahead.o.valid & ~ahead.o.payload.none) | (rows.loaded & rows.pending.any())),
        ]
        return m
