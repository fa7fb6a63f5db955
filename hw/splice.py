"""The splice: what the arrays of a bank hold of a weight, added up to whole outputs."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.accumulator import sums_layout
from hw.parameters import TileParameters
from hw.tables import lookup
from mapping.drain import Bank


def beat_layout(p: TileParameters) -> data.StructLayout:
    """One beat of all banks: bank by bank its whole weights' outputs, and which of them exist."""
    values = len(p.drain.banks) * p.weights
    return data.StructLayout({"values": data.ArrayLayout(signed(p.output_width), values), "keep": values})


class BankSum(wiring.Component):
    """Sum over the arrays of one bank, then over the slices of a weight. Two cycles, one beat a cycle.

    Arrays that hold different planes enter the first sum at their block's significance.

    Members
    -------
    sums : of each array of the bank, at the slots of beat ``beat``
    beat : in the first cycle; ``beat_late`` the same a cycle later
    enable : the pipeline moves
    values : outputs; complete at the last beat of a weight
    """

    def __init__(self, parameters: TileParameters, bank: Bank) -> None:
        self.p, self.bank = parameters, bank
        self.length = parameters.drain.length
        self.beat_bits = max(1, (self.length - 1).bit_length())
        sums = {f"sums_{k}": In(sums_layout(parameters.accumulators[index])) for k, index in enumerate(bank.arrays)}
        super().__init__(
            {
                **sums,
                "beat": In(self.beat_bits),
                "beat_late": In(self.beat_bits),
                "enable": In(1),
                "values": Out(data.ArrayLayout(signed(parameters.output_width), parameters.weights)),
            }
        )

    def _table(self, pick: object, default: int = 0) -> list[int]:
        """``pick(beat)`` for every beat of the drain; ``default`` where this bank is done."""
        values = [pick(beat) for beat in self.bank.beats]
        return values + [default] * (self.length - len(values))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.p
        count = p.chip.ou_cols + bool(p.placement.weight_offset)
        width = max(p.accumulators[index].width for index in self.bank.arrays)
        width += max(max(self._significances(k)) for k in range(len(self.bank.arrays)))
        width += len(self.bank.arrays).bit_length()
        lanes = [Signal(signed(width), name=f"lane_{k}") for k in range(count)]
        with m.If(self.enable):
            for k, lane in enumerate(lanes):
                m.d.sync += lane.eq(self._over_arrays(k))
        turned = self._turn(m, lanes[: p.chip.ou_cols])
        reference: Value | int = 0
        if p.placement.weight_offset:
            # Once for every block that holds the weights, be its slices in several slots or not.
            starts = lookup(self._table(lambda b: int(b.slice == 0)), self.beat_late)
            reference = Mux(starts, lanes[-1] * p.placement.weight_offset, 0)
        whole = all(beat.first and beat.last for beat in self.bank.beats)
        first = Const(1) if whole else lookup(self._table(lambda b: int(b.first), 1), self.beat_late)
        for weight, value in enumerate(self.values):
            before = -reference if whole else Mux(first, 0, value) - reference
            with m.If(self.enable):
                m.d.sync += value.eq(before + self._spliced(turned, weight))
        return m

    def _significances(self, k: int) -> list[int]:
        """Of array ``k`` of the bank, beat by beat."""
        return self._table(lambda b: b.significances[k] or 0)

    def _over_arrays(self, lane: int) -> Value:
        """Sum of one lane over the bank's arrays, those with a part in the beat, by polarity."""
        total: Value = Const(0)
        for k, index in enumerate(self.bank.arrays):
            sums = getattr(self, f"sums_{k}")
            takes_part = lookup(self._table(lambda b, k=k: int(b.slots[k] is not None)), self.beat)
            part = sums[lane] if isinstance(takes_part, Const) and takes_part.value else Mux(takes_part, sums[lane], 0)
            part = self._at_significance(part, k)
            total = total + part if self.p.tile.readers[index].polarity > 0 else total - part
        return total

    def _turn(self, m: Module, lanes: list[Signal]) -> list[Value]:
        """Lanes in order of columns: turned where a weight does not begin on lane 0."""
        amounts = sorted(set(self._table(lambda b: b.rotation)))
        if amounts == [0]:
            return lanes
        rotation = lookup(self._table(lambda b: b.rotation), self.beat_late)
        turned = [Signal.like(lane, name=f"turned_{k}") for k, lane in enumerate(lanes)]
        with m.Switch(rotation):
            for amount in amounts:
                with m.Case(amount):
                    m.d.comb += [t.eq(lanes[(k + amount) % len(lanes)]) for k, t in enumerate(turned)]
        return turned

    def _at_significance(self, part: Value, k: int) -> Value:
        """A sum of array ``k`` where its plane stands in a weight; no logic where that never changes."""
        own = {b.significances[k] for b in self.bank.beats} - {None}
        if len(own) == 1:
            return part.shift_left(own.pop())
        return part << lookup(self._significances(k), self.beat)

    def _spliced(self, lanes: list[Value], weight: int) -> Value:
        """Sum over the slices of a weight that lie in one slot; of a part of them, where they do not fit.

        Scattered, every lane has a share of the output, at the slice that the lane always holds.
        """
        p, bits = self.p, self.p.chip.cell_bits
        slices = p.tile.slices
        if p.tile.scattered:
            return sum((lane.shift_left(k % slices * bits) for k, lane in enumerate(lanes)), start=Const(0))
        if p.chip.ou_cols % slices == 0:
            own = lanes[weight * slices : (weight + 1) * slices]
            return sum((lane.shift_left(k * bits) for k, lane in enumerate(own)), start=Const(0))
        columns = lookup(self._table(lambda b: b.columns), self.beat_late)
        shifts = self._table(lambda b: b.slice * bits)
        part = sum((Mux(columns > k, lane, 0).shift_left(k * bits) for k, lane in enumerate(lanes)), start=Const(0))
        return part << lookup(shifts, self.beat_late)


class Splice(wiring.Component):
    """Drains the accumulators of a tile, all banks side by side, once every array has finished a step.

    A beat is at the output two cycles after its slots are read; one beat a cycle, across steps.

    Members
    -------
    slot_k, sums_k, complete_k : of array k's accumulator
    drained : the last slots of a step are read in this cycle
    o : whole outputs in the order of the drain plan
    """

    def __init__(self, parameters: TileParameters) -> None:
        self.p = p = parameters
        members: dict[str, object] = {}
        for k, own in enumerate(p.accumulators):
            members[f"slot_{k}"] = Out(own.slot_bits)
            members[f"sums_{k}"] = In(sums_layout(own))
            members[f"complete_{k}"] = In(1)
        super().__init__({**members, "drained": Out(1), "o": Out(stream.Signature(beat_layout(p)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, length = self.p, self.p.drain.length
        beat_bits = max(1, (length - 1).bit_length())
        beat, late, latest = (Signal(beat_bits, name=name) for name in ("beat", "late", "latest"))
        summed = Signal()
        spliced = Signal()
        enable = Signal()
        go = Signal()
        end = Signal()
        complete = Cat(getattr(self, f"complete_{k}") for k in range(len(p.accumulators))).all()
        whole = [int(any(bank.beats[k].last for bank in p.drain.banks if k < len(bank.beats))) for k in range(length)]
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            go.eq(complete & enable),
            end.eq(beat == length - 1),
            self.drained.eq(go & end),
            self.o.valid.eq(spliced & lookup(whole, latest)),
        ]
        with m.If(go):
            m.d.sync += beat.eq(Mux(end, 0, beat + 1))
        with m.If(enable):
            m.d.sync += [summed.eq(go), spliced.eq(summed), late.eq(beat), latest.eq(late)]
        keep = []
        for index, bank in enumerate(p.drain.banks):
            m.submodules[f"bank_{index}"] = total = BankSum(p, bank)
            m.d.comb += [total.beat.eq(beat), total.beat_late.eq(late), total.enable.eq(enable)]
            for k, array in enumerate(bank.arrays):
                slots = [b.slots[k] or 0 for b in bank.beats] + [0] * (length - len(bank.beats))
                m.d.comb += getattr(self, f"slot_{array}").eq(lookup(slots, beat))
                m.d.comb += getattr(total, f"sums_{k}").eq(getattr(self, f"sums_{array}"))
            for weight in range(p.weights):
                m.d.comb += self.o.payload.values[index * p.weights + weight].eq(total.values[weight])
            masks = [(2 ** len(b.outputs) - 1) * b.last for b in bank.beats] + [0] * (length - len(bank.beats))
            keep.append(lookup(masks, latest, width=p.weights))
        m.d.comb += self.o.payload.keep.eq(Cat(keep))
        return m
