"""Shift-and-add over input planes and row groups: sums of codes per ADC lane and slot."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import count_ahead, fit, lookup
from selvage.hw.tile.parameters import AccumulatorParameters
from selvage.hw.tile.streams import Queue, tag_layout


def sums_layout(p: AccumulatorParameters) -> data.ArrayLayout:
    """Return the layout of an entry: a sum for each lane, then that of the reference where there is one."""
    return data.ArrayLayout(signed(p.width), p.lanes + bool(p.driven_bits))


def codes_layout(p: AccumulatorParameters) -> data.ArrayLayout:
    """Return the layout of the ADC codes of one read.

    Of a differential pair: codes of the P array, then codes of the N array, which are subtracted.
    """
    return data.ArrayLayout(p.code_bits, p.lanes * (1 + p.paired))


def together(p: AccumulatorParameters) -> list[range]:
    """Return the runs of neighbouring lanes whose slots are always the same: they share a memory."""
    starts = [
        lane for lane in range(p.lanes) if lane == 0 or any(slots[lane] != slots[lane - 1] for slots in p.addresses)
    ]
    return [range(first, last) for first, last in zip(starts, [*starts[1:], p.lanes], strict=True)]


def memories(p: AccumulatorParameters) -> list[int]:
    """Return for each slot or position that a read names in how many memories it adds to a word."""
    if not p.addresses:
        return [1] * p.slots
    return [sum(slots[lanes[0]] is not None for lanes in together(p)) for slots in p.addresses]


class Accumulator(wiring.Component):
    """The accumulator of one array: adds its ADC codes, shifted by bit-plane, while the last step is read out.

    One memory word holds a slot's sums of all lanes, so any order of columns is free of conflicts. A
    code is in its sum four cycles after it is accepted; one read a cycle. The first code of a slot in
    a step replaces what is stored, so nothing is ever cleared. Scattered, lanes have slots of their own,
    and a memory each: a read's codes go to any outputs without a conflict. With ``driven_bits`` one more sum
    is kept: of the driven word lines, which undoes offset-encoded weights.

    Members
    -------
    tag : of each read, in order (`hw.tile.streams.tag_layout`)
    codes : of the macro
    go : the slot of the next beat of the oldest finished step is read
    sums : of that slot, a cycle later; nothing where the array has no part in the beat
    freed : the last one was read in the cycle before
    ended : the step's last code will be in its sum in the next cycle
    """

    tag: stream.Interface
    codes: stream.Interface
    go: Signal
    sums: data.View
    freed: Signal
    ended: Signal

    def __init__(self, parameters: AccumulatorParameters) -> None:
        self.p = p = parameters
        self.tag_layout = tag = tag_layout(p.positions, p.planes, p.driven_bits)
        super().__init__(
            {
                "tag": In(stream.Signature(tag)),
                "codes": In(stream.Signature(codes_layout(p))),
                "go": In(1),
                "sums": Out(sums_layout(p)),
                "freed": Out(1),
                "ended": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the tag register, the shifter and the sums."""
        m = Module()
        p = self.p
        taken = Signal()
        there, tag = self._tags(m, taken)
        m.d.comb += [
            self.codes.ready.eq(there & ~tag.none),
            taken.eq(there & (tag.none | self.codes.valid)),
        ]
        parts = list(self.codes.payload)
        if p.driven_bits:
            parts.append(tag.driven)
        codes = [Signal.like(part, name=f"code_{k}", reset_less=True) for k, part in enumerate(parts)]
        here = Signal(self.tag_layout, reset_less=True)
        adds, ends = Signal(), Signal()
        bank = Signal()  # that is added to
        m.d.sync += [adds.eq(taken & ~tag.none), ends.eq(taken & tag.last), here.eq(tag)]
        m.d.sync += [code.eq(part) for code, part in zip(codes, parts, strict=True)]
        shifted = self._shifted(m, codes, here.plane)
        shifts = Signal()  # the step's last code
        m.d.sync += [bank.eq(bank ^ ends), shifts.eq(ends), self.ended.eq(shifts)]
        m.d.comb += self.sums.as_value().eq(Cat(*self._sum(m, shifted, here, tag, adds, bank)))
        return m

    def _tags(self, m: Module, taken: Value) -> tuple[Signal, data.View]:
        """Return whether there is a tag, and the oldest one, in a register."""
        m.submodules.tags = tags = Queue(self.tag_layout, self.p.latency + 2)
        wiring.connect(m, wiring.flipped(self.tag), tags.i)
        there, tag = Signal(), Signal(self.tag_layout, reset_less=True)
        m.d.comb += tags.o.ready.eq(~there | taken)
        with m.If(tags.o.ready):
            m.d.sync += [there.eq(tags.o.valid), tag.eq(tags.o.payload)]
        return there, tag

    def _shifted(self, m: Module, codes: list[Value], plane: Value) -> data.View:
        """Return the codes at their input plane, two cycles later; the top plane of signed inputs subtracts."""
        p = self.p
        late = Signal.like(plane)
        m.d.sync += late.eq(plane)
        subtracts = (plane == p.planes - 1) if p.signed else Const(0)
        if p.paired:
            values = [
                self._difference(*pair, subtracts) for pair in zip(codes[: p.lanes], codes[p.lanes :], strict=True)
            ]
        else:
            values = [Mux(subtracts, -code, code) if p.signed else code for code in codes]
        moved = []
        for k, value in enumerate(values):
            registered = Signal(value.shape(), name=f"late_{k}", reset_less=True)
            m.d.sync += registered.eq(value)
            moved.append(fit(registered << late, p.width))
        shifted = Signal(sums_layout(p), reset_less=True)
        # Vectors are assigned whole: driven piece by piece, Icarus resolves them bit by bit.
        m.d.sync += shifted.as_value().eq(Cat(moved))
        return shifted

    def _difference(self, first: Value, second: Value, turned: Value) -> Value:
        """Return the difference of two codes, negated when ``turned``."""
        if self.p.signed:
            first, second = Mux(turned, second, first), Mux(turned, first, second)
        return (first - second)[: self.p.code_bits + 1].as_signed()

    def _sum(
        self, m: Module, shifted: data.View, tag: data.View, following: data.View, adds: Value, bank: Value
    ) -> list[Value]:
        """Return the sums that the memories show; each group of scattered lanes has its own memories.

        ``following`` is the next cycle's tag.
        """
        p = self.p
        m.submodules.drained = drained = SlotCounter(p)
        m.d.comb += [drained.go.eq(self.go), self.freed.eq(drained.freed)]
        found = []
        groups = together(p) if p.addresses else [range(len(shifted))]
        for index, lanes in enumerate(groups):
            m.submodules[f"sums_{index}"] = sums = SlotSums(p, len(lanes))
            slot, used, mark = tag.slot[: p.slot_bits], Const(1), Signal(p.slots, name=f"mark_{index}")
            if p.addresses:
                table = [slots[lanes[0]] for slots in p.addresses]
                slot = lookup([slot or 0 for slot in table], tag.slot, width=p.slot_bits)
                used = lookup([int(slot is not None) for slot in table], tag.slot)
                m.d.comb += mark.eq(1 << slot)
            else:
                m.d.sync += mark.eq(1 << following.slot)
            m.d.comb += [
                sums.add.eq(adds & used),
                sums.add_slot.eq(slot),
                sums.add_mark.eq(mark),
                sums.add_bank.eq(bank),
                sums.values.eq(Cat(shifted[lane] for lane in lanes)),
                sums.go.eq(self.go),
                sums.next_slot.eq(drained.next_slot),
                sums.next_bank.eq(drained.next_bank),
            ]
            found.append(sums.sums)
        return found


class SlotSums(wiring.Component):
    """Two memories of sums, a word a slot: one is added to, the other is read by the splice.

    A slot is looked up in one cycle, read in the next, added to and written in the third; one a cycle. Neither
    memory is added to and read by the splice at once, so each has one port to read.

    Members
    -------
    add, add_slot, add_bank : values are to be added to a slot
    add_mark : its bit among those of all
    values : two cycles later
    go : the splice reads a slot
    next_slot, next_bank : which one in the next cycle
    sums : a cycle later
    """

    add: Signal
    add_slot: Signal
    add_mark: Signal
    add_bank: Signal
    values: Signal
    go: Signal
    next_slot: Signal
    next_bank: Signal
    sums: Signal

    def __init__(self, parameters: AccumulatorParameters, lanes: int) -> None:
        self.p, self.lanes = parameters, lanes
        bits = lanes * parameters.width
        super().__init__(
            {
                "add": In(1),
                "add_slot": In(parameters.slot_bits),
                "add_mark": In(parameters.slots),
                "add_bank": In(1),
                "values": In(bits),
                "go": In(1),
                "next_slot": In(parameters.slot_bits),
                "next_bank": In(1),
                "sums": Out(bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the two memories, the adder and the valid bits."""
        m = Module()
        p, bits, width = self.p, self.lanes * self.p.width, self.p.width
        place, there = Cat(self.add_slot, self.add_bank), Signal(p.slot_bits + 1)
        fresh = Signal()
        again = Signal()
        reads = Signal()
        stored = Signal(bits, reset_less=True)
        found = Signal(bits, reset_less=True)
        after = Signal(bits)
        banks = [self._bank(m, bank, there, reads, after) for bank in range(2)]
        bank = Signal()
        known, real = self._touched(m, bank)
        parts = [value.word_select(lane, width) for lane in range(self.lanes) for value in (stored, self.values)]
        m.d.comb += [
            after.eq(Cat((a + b)[:width] for a, b in zip(parts[::2], parts[1::2], strict=True))),
            self.sums.eq(found),
        ]
        m.d.sync += [
            bank.eq(self.next_bank),
            there.eq(place),
            reads.eq(self.add),
            fresh.eq(~known),
            # A slot that is added to in the next cycle is not in the memory when it is read.
            again.eq(reads & (place == there)),
            # With the zero outermost it is a reset of the registers, which needs no logic.
            stored.eq(Mux(fresh, 0, Mux(again, after, Mux(there[-1], banks[1], banks[0])))),
            # Kept without `go`, or the words that are added to would move the splice's adders.
            found.eq(Mux(real, Mux(self.go, Mux(bank, banks[1], banks[0]), found), 0)),
        ]
        return m

    def _bank(self, m: Module, bank: int, there: Value, adds: Value, after: Value) -> Value:
        """Return what one memory holds at the entry that is added to, or else at the one that the splice reads.

        ``after`` is written at ``there`` a cycle after it was read.
        """
        p = self.p
        m.submodules[f"sums_{bank}"] = memory = Memory(shape=len(after), depth=2**p.slot_bits, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        at = Signal(p.slot_bits, name=f"at_{bank}")
        m.d.comb += [read.addr.eq(at), write.data.eq(after)]
        m.d.sync += [
            at.eq(Mux(self.add & (self.add_bank == bank), self.add_slot, self.next_slot)),
            write.addr.eq(there[:-1]),
            write.en.eq(adds & (there[-1] == bank)),
        ]
        return read.data

    def _touched(self, m: Module, read: Value) -> tuple[Value, Value]:
        """Return whether the entry written, and the one read of bank ``read``, were already written in this step.

        Others are stale and read as 0.

        Of each bank a bit for each beat, which leaves a cycle after the beat does: the next one is always among the
        lowest three, and when all have left, none is set.
        """
        p, added, following = self.p, [], []
        for bank in range(2):
            touched = Signal(len(p.beats), name=f"touched_{bank}")
            mark = Mux(self.add & (self.add_bank == bank), self.add_mark, 0)
            marks = Cat(Const(0) if slot is None else mark[slot] for slot in p.beats)
            # `go` has come far: its bit leaves a cycle later. Until then nothing is added to a bank that is read.
            goes, leaves = self.go & (read == bank), Signal(name=f"leaves_{bank}")
            m.d.sync += [leaves.eq(goes), touched.eq(Mux(leaves, touched[1:], touched | marks))]
            added.append(Cat(touched[p.beats.index(slot)] for slot in range(p.slots)))
            lowest = Cat(touched, Const(0, 2))
            following.append(Mux(goes, Mux(leaves, lowest[2], lowest[1]), Mux(leaves, lowest[1], lowest[0])))
        known = (self.add_mark & Mux(self.add_bank, added[1], added[0])).any()
        # It selects every bit of the sums, so it is in a register.
        real = Signal()
        m.d.sync += real.eq(Mux(self.next_bank, following[1], following[0]))
        return known, real


class SlotCounter(wiring.Component):
    """The slots of an array in the order in which they are drained, one for each beat.

    Each array has its own: one for all would drive the memories of every array across the chip, and synthesis merges
    equal registers, but not counters, which depend on themselves.

    Members
    -------
    go : a slot is read in this cycle, that of the next beat from the next one on
    next_slot, next_bank : to be read in the next cycle
    freed : the other bank's last slot was read in the cycle before
    """

    go: Signal
    next_slot: Signal
    next_bank: Signal
    freed: Signal

    def __init__(self, parameters: AccumulatorParameters) -> None:
        self.slots = [slot or 0 for slot in parameters.beats]
        slot = Out(parameters.slot_bits)
        super().__init__({"go": In(1), "next_slot": slot, "next_bank": Out(1), "freed": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Build the counter of beats and the table of their slots."""
        m = Module()
        following, last = count_ahead(m, "beat", len(self.slots), self.go)
        slot = Signal.like(self.next_slot, init=self.slots[0])
        bank = Signal()
        m.d.comb += [
            self.next_slot.eq(Mux(self.go, lookup(self.slots, following), slot)),
            self.next_bank.eq(bank ^ (self.go & last)),
        ]
        m.d.sync += [slot.eq(self.next_slot), bank.eq(self.next_bank)]
        m.d.sync += self.freed.eq(self.go & last)
        return m
