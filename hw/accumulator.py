"""Shift-and-add over input planes and row groups: sums of codes per ADC lane and slot."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.parameters import AccumulatorParameters
from hw.streams import tag_layout
from hw.tables import fit


def sums_layout(p: AccumulatorParameters) -> data.ArrayLayout:
    """A slot's sums: one a lane, then the reference when there is one."""
    return data.ArrayLayout(signed(p.width), p.lanes + bool(p.driven_bits))


class Accumulator(wiring.Component):
    """Adds the codes of one array, shifted by their input plane, for this step while the last drains.

    One memory word holds a slot's sums of all lanes, so any order of columns is free of conflicts. A
    code is in its sum two cycles after it is accepted; one read a cycle. The first code of a slot in
    a step replaces what is stored, so nothing is ever cleared. With ``driven_bits`` one more sum
    is kept: of the driven word lines, which undoes offset-encoded weights.

    Members
    -------
    tag : of each read, in order (`hw.streams.tag_layout`)
    codes : of the macro
    slot, sums : of the oldest finished step, combinational
    complete : a finished step has not been drained
    drained : the oldest finished step has been drained
    """

    def __init__(self, parameters: AccumulatorParameters) -> None:
        self.p = p = parameters
        self.tag_layout = tag = tag_layout(p.slots, p.planes, p.driven_bits)
        super().__init__(
            {
                "tag": In(stream.Signature(tag)),
                "codes": In(stream.Signature(data.ArrayLayout(p.code_bits, p.lanes))),
                "slot": In(p.slot_bits),
                "sums": Out(sums_layout(p)),
                "complete": Out(1),
                "drained": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        m.submodules.tags = tags = fifo.SyncFIFO(width=self.tag_layout.size, depth=p.latency + 2)
        tag = data.View(self.tag_layout, tags.r_data)
        m.d.comb += [
            tags.w_en.eq(self.tag.valid),
            tags.w_data.eq(self.tag.payload.as_value()),
            self.tag.ready.eq(tags.w_rdy),
            self.codes.ready.eq(tags.r_rdy & ~tag.none),
            tags.r_en.eq(tags.r_rdy & (tag.none | self.codes.valid)),
        ]
        shifted = Signal(sums_layout(p), reset_less=True)
        here = Signal(self.tag_layout, reset_less=True)
        valid = Signal()
        parts = [self.codes.payload[lane] for lane in range(p.lanes)]
        if p.driven_bits:
            parts.append(tag.driven)
        top = tag.plane == p.planes - 1

        def moved(part: Value) -> Value:
            """A code at its input plane; the top plane of signed inputs subtracts."""
            value = fit(part << tag.plane, p.width)
            return Mux(top, -value, value)[: p.width] if p.signed else value

        m.d.sync += [
            valid.eq(tags.r_en),
            here.eq(tag),
            # Vectors are assigned whole: driven piece by piece, Icarus resolves them bit by bit.
            shifted.as_value().eq(Cat(moved(part) for part in parts)),
        ]
        self._accumulate(m, shifted, here, valid)
        return m

    def _accumulate(self, m: Module, shifted: data.View, tag: data.View, valid: Value) -> None:
        p = self.p
        m.submodules.sums = memory = Memory(shape=sums_layout(p).size, depth=2 * 2**p.slot_bits, init=[])
        write, old, out = memory.write_port(), memory.read_port(domain="comb"), memory.read_port(domain="comb")
        bank = Signal()
        drain_bank = Signal()
        finished = Signal(2)
        touched = [Signal(p.slots, name=f"touched_{k}") for k in range(2)]
        slot = tag.slot[: p.slot_bits]
        add = valid & ~tag.none
        kept = Mux(bank, touched[1], touched[0]).bit_select(slot, 1)
        drained_of = Mux(drain_bank, touched[1], touched[0])
        before = data.View(sums_layout(p), old.data)
        after = [Signal(signed(p.width + 1), name=f"after_{k}") for k in range(len(shifted))]
        for new, stored, part in zip(after, before, shifted, strict=True):
            m.d.comb += new.eq(stored + part)
        whole = Cat(new[: p.width] for new in after)
        m.d.comb += [
            old.addr.eq(Cat(slot, bank)),
            write.addr.eq(Cat(slot, bank)),
            write.data.eq(Mux(kept, whole, shifted.as_value())),
            write.en.eq(add),
            out.addr.eq(Cat(self.slot, drain_bank)),
            self.sums.eq(Mux(drained_of.bit_select(self.slot, 1), out.data, 0)),
            self.complete.eq(finished != 0),
        ]
        end = valid & tag.last
        m.d.sync += [
            bank.eq(bank ^ end),
            drain_bank.eq(drain_bank ^ self.drained),
            finished.eq(finished + end - self.drained),
        ]
        mark = Mux(add, 1 << slot, 0)
        for k in range(2):
            gone = self.drained & (drain_bank == k)
            m.d.sync += touched[k].eq(Mux(gone, 0, touched[k] | Mux(bank == k, mark, 0)))
