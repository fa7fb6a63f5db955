"""Shift-and-add over input planes and row groups: sums of codes per ADC lane and slot."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.parameters import AccumulatorParameters
from hw.streams import tag_layout
from hw.tables import fit, lookup


def sums_layout(p: AccumulatorParameters) -> data.ArrayLayout:
    """A slot's sums: one a lane, then the reference when there is one."""
    return data.ArrayLayout(signed(p.width), p.lanes + bool(p.driven_bits))


def codes_layout(p: AccumulatorParameters) -> data.ArrayLayout:
    """Codes of one read, or differences of those of two arrays."""
    return data.ArrayLayout(signed(p.code_bits) if p.differences else p.code_bits, p.lanes)


class Accumulator(wiring.Component):
    """Adds the codes of one array, shifted by their input plane, for this step while the last drains.

    One memory word holds a slot's sums of all lanes, so any order of columns is free of conflicts. A
    code is in its sum two cycles after it is accepted; one read a cycle. The first code of a slot in
    a step replaces what is stored, so nothing is ever cleared. Scattered, lanes have slots of their own,
    and a memory each: a read's codes go to any outputs without a conflict. With ``driven_bits`` one more sum
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
        self.tag_layout = tag = tag_layout(p.positions, p.planes, p.driven_bits)
        super().__init__(
            {
                "tag": In(stream.Signature(tag)),
                "codes": In(stream.Signature(codes_layout(p))),
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
        """Which step's sums are written and drained; the sums themselves."""
        p = self.p
        bank = Signal()
        drain_bank = Signal()
        finished = Signal(2)
        end = valid & tag.last
        m.d.sync += [
            bank.eq(bank ^ end),
            drain_bank.eq(drain_bank ^ self.drained),
            finished.eq(finished + end - self.drained),
        ]
        m.d.comb += self.complete.eq(finished != 0)
        add = valid & ~tag.none
        if not p.addresses:
            slot = tag.slot[: p.slot_bits]
            lanes = range(len(shifted))
            m.d.comb += self.sums.as_value().eq(self._sum(m, lanes, "", shifted, slot, add, bank, drain_bank))
            return
        parts = []
        for lanes in self._together():
            table = [own[lanes[0]] for own in p.addresses]
            slot = lookup([own or 0 for own in table], tag.slot, width=p.slot_bits)
            used = lookup([int(own is not None) for own in table], tag.slot)
            parts.append(self._sum(m, lanes, f"_{lanes[0]}", shifted, slot, add & used, bank, drain_bank))
        m.d.comb += self.sums.as_value().eq(Cat(*parts))

    def _together(self) -> list[range]:
        """Neighbouring lanes whose slots are always the same: they share a memory."""
        p = self.p
        starts = [
            lane for lane in range(p.lanes) if lane == 0 or any(own[lane] != own[lane - 1] for own in p.addresses)
        ]
        return [range(first, last) for first, last in zip(starts, [*starts[1:], p.lanes], strict=True)]

    def _sum(
        self,
        m: Module,
        lanes: range,
        name: str,
        shifted: data.View,
        slot: Value,
        add: Value,
        bank: Value,
        drain_bank: Value,
    ) -> Value:
        """A memory word of some lanes: this step's is added to, the last one's is read by the splice."""
        p = self.p
        width = len(lanes) * p.width
        m.submodules[f"sums{name}"] = memory = Memory(shape=width, depth=2 * 2**p.slot_bits, init=[])
        write, old, out = memory.write_port(), memory.read_port(domain="comb"), memory.read_port(domain="comb")
        touched = [Signal(p.slots, name=f"touched{name}_{k}") for k in range(2)]
        kept = Mux(bank, touched[1], touched[0]).bit_select(slot, 1)
        drained_of = Mux(drain_bank, touched[1], touched[0])
        before = data.View(data.ArrayLayout(signed(p.width), len(lanes)), old.data)
        after = [Signal(signed(p.width + 1), name=f"after_{lane}") for lane in lanes]
        for new, stored, lane in zip(after, before, lanes, strict=True):
            m.d.comb += new.eq(stored + shifted[lane])
        fresh = Cat(shifted[lane] for lane in lanes)
        m.d.comb += [
            old.addr.eq(Cat(slot, bank)),
            write.addr.eq(Cat(slot, bank)),
            write.data.eq(Mux(kept, Cat(new[: p.width] for new in after), fresh)),
            write.en.eq(add),
            out.addr.eq(Cat(self.slot, drain_bank)),
        ]
        mark = Mux(add, 1 << slot, 0)
        for k in range(2):
            gone = self.drained & (drain_bank == k)
            m.d.sync += touched[k].eq(Mux(gone, 0, touched[k] | Mux(bank == k, mark, 0)))
        return Mux(drained_of.bit_select(self.slot, 1), out.data, 0)
