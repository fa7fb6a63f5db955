"""The row registers of an array: the inputs of its rows, for this step and the next."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.memory import Memory, WritePort
from amaranth.lib.wiring import Component, In, Out

from selvage.hw.lib.tables import lookup
from selvage.hw.tile.parameters import EngineParameters
from selvage.hw.tile.streams import LoadInterface, load_signature, move_layout


class RowRegisters(Component):
    """The row registers: a word for each row group, in two banks, and which groups have an active row.

    A word of the window is in its rows two cycles after it came; its group's ``pending`` bit says a cycle later that
    one of its values is not zero (with ``skip`` off: always).

    Members
    -------
    load, move : the window's words, and what this array takes of them
    pending, loaded : row groups of a step that is loaded and not ``taken``
    group, bank : of which ``values`` are shown, combinational
    """

    load: LoadInterface
    move: data.View
    pending: Signal
    loaded: Signal
    taken: Signal
    group: Signal
    bank: Signal
    values: Signal

    def __init__(self, parameters: EngineParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "load": In(load_signature(p.lanes, p.input_bits)),
                "move": In(move_layout(p)),
                "pending": Out(len(p.groups)),
                "loaded": Out(1),
                "taken": In(1),
                "group": In(p.group_bits),
                "bank": In(1),
                "values": Out(p.group_rows * p.input_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the memory of rows, its writes and the pending bits."""
        m = Module()
        p = self.p
        m.submodules.rows = rows = Memory(shape=p.group_rows * p.input_bits, depth=2 * 2**p.group_bits, init=[])
        write = rows.write_port(granularity=p.input_bits)
        read = rows.read_port(domain="comb")
        # A block's last group may be lower than an OU, and the step's load may leave rows out that meet inserted
        # zeros: what is stored of such rows is of no meaning.
        written = Signal(p.group_rows)
        kinds = Array(Signal((p.kinds - 1).bit_length(), name=f"kind_{bank}") for bank in range(2))
        shown = Cat(self.group, kinds[self.bank]) if p.kinds > 1 else self.group
        masks = [masks[k] if k < len(p.groups) else 0 for masks in p.written for k in range(2**p.group_bits)]
        m.d.comb += [
            read.addr.eq(Cat(self.group, self.bank)),
            written.eq(lookup(masks, shown, width=p.group_rows)),
            self.values.eq(read.data & Cat(row.replicate(p.input_bits) for row in written)),
        ]
        marked, last = self._write(m, write, kinds)
        m.d.sync += self.pending.eq(Mux(self.taken, 0, self.pending) | marked)
        with m.If(last):
            m.d.sync += self.loaded.eq(1)
        with m.Elif(self.taken):
            m.d.sync += self.loaded.eq(0)
        return m

    def _write(self, m: Module, write: WritePort, kinds: Array) -> tuple[Value, Value]:
        """Bring a word's lanes to their rows; returns the groups to mark and the end of the load, a cycle later.

        With the end a bank's place in ``kinds`` gets the kind of its step.
        """
        p = self.p
        move, late = Signal(move_layout(p)), Signal(move_layout(p))
        valid, last = Signal(2), Signal(3)
        group = Signal(p.group_bits)
        enable = Signal(p.group_rows)
        bank = Signal()
        values = Signal(p.group_rows * p.input_bits, reset_less=True)
        m.d.sync += [
            move.eq(self.move),
            late.eq(move),
            valid.eq(Cat(self.load.valid, valid)),
            last.eq(Cat(self.load.last, last)),
            group.eq(late.group),
            enable.eq(Mux(valid[1], late.rows, 0)),
            bank.eq(bank ^ last[2]),
            values.eq(self._placed(m, move, late)),
        ]
        if p.kinds > 1:
            kind = Signal.like(late.kind)
            m.d.sync += kind.eq(late.kind)
            with m.If(last[2]):
                m.d.sync += kinds[bank].eq(kind)
        m.d.comb += [write.addr.eq(Cat(group, bank)), write.data.eq(values), write.en.eq(enable)]
        groups = len(p.groups)
        if not p.skip:
            return last[2].replicate(groups), last[2]
        marks = Signal(groups)
        nonzero = Signal(2)
        m.d.sync += nonzero.eq(Cat(valid[0] & (self.load.nonzero & move.takes).any(), nonzero))
        m.d.sync += marks.eq(Cat(late.group == k for k in range(groups)))
        return marks & nonzero[1].replicate(groups), last[2]

    def _placed(self, m: Module, move: data.View, late: data.View) -> Value:
        """Return the word's lanes at their rows, a cycle later; ``late`` is ``move`` in that cycle.

        Each row has a selector, or there is a logarithmic rotator with the stages that the load plan uses, half of them
        before the register.
        """
        p, bits = self.p, self.p.input_bits
        half = Signal(p.lanes * bits, reset_less=True)
        if p.gather:
            m.d.sync += half.eq(self.load.data)
            lanes = [half.word_select(lane, bits) for lane in range(p.lanes)]
            return Cat(Array(lanes)[late.lanes[row]] for row in range(p.group_rows))
        stages = [bit for bit in range(len(move.rotation)) if any(amount >> bit & 1 for amount in p.rotations)]
        cut = -(-len(stages) // 2)
        m.d.sync += half.eq(self._turned(m, self.load.data.as_value(), move, stages[:cut]))
        copies = -(-p.group_rows // p.lanes)
        return self._turned(m, half, late, stages[cut:]).replicate(copies)[: p.group_rows * bits]

    def _turned(self, m: Module, word: Value, move: data.View, stages: list[int]) -> Value:
        for bit in stages:
            stage = Signal(len(word), name=f"turned_{bit}")
            m.d.comb += stage.eq(Mux(move.rotation[bit], word.rotate_left(self.p.input_bits << bit), word))
            word = stage
        return word
