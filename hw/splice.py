"""The splice: what the arrays of a bank hold of a weight, added up to whole outputs."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.accumulator import sums_layout
from hw.credits import StepCredits
from hw.parameters import TileParameters
from hw.streams import second_register
from hw.tables import adder_tree, levels, lookup
from mapping.drain import Bank, DrainPlan


def beat_layout(p: TileParameters) -> data.StructLayout:
    """One beat of all banks: bank by bank its whole weights' outputs, and which of them exist."""
    values = len(p.drain.banks) * p.weights
    return data.StructLayout({"values": data.ArrayLayout(signed(p.output_width), values), "keep": values})


def splice_latency(p: TileParameters) -> int:
    """Cycles from a beat's slots to its outputs."""
    return 3 + levels(arrays_deep(p)) + levels(lanes_deep(p))


def arrays_deep(p: TileParameters) -> int:
    """Most arrays that add up in one output."""
    return max(len(bank.arrays) for bank in p.drain.banks)


def lanes_deep(p: TileParameters) -> int:
    """Lanes that add up in one output: those of its slices, or all where slices begin on any lane."""
    slices, lanes = p.tile.slices, p.chip.ou_cols
    return lanes if p.tile.scattered or lanes % slices else slices


def beats_layout(p: TileParameters) -> data.ArrayLayout:
    """Numbers of the beats in a pipeline of `splice_latency` stages."""
    return data.ArrayLayout(max(1, (p.drain.length - 1).bit_length()), splice_latency(p))


class BankSum(wiring.Component):
    """Sum over the arrays of one bank, then over the slices of a weight: two trees of adders, a level a cycle.

    Arrays that hold different planes enter the first sum at their block's significance. One beat a cycle; see
    `splice_latency`.

    Members
    -------
    sums : of each array of the bank, at the slots of beat ``beats[2]``, two cycles before
    beats : of this cycle and the ``splice_latency`` - 1 before it
    enable : the pipeline moves
    values : outputs; complete at the last beat of a weight
    """

    def __init__(self, parameters: TileParameters, bank: Bank) -> None:
        self.p, self.bank = parameters, bank
        self.length = parameters.drain.length
        self.depth = levels(arrays_deep(parameters)), levels(lanes_deep(parameters))
        sums = {f"sums_{k}": In(sums_layout(parameters.accumulators[index])) for k, index in enumerate(bank.arrays)}
        super().__init__(
            {
                **sums,
                "beats": In(beats_layout(parameters)),
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
        over_arrays, over_lanes = self.depth
        count = p.chip.ou_cols + bool(p.placement.weight_offset)
        lanes = [self._over_arrays(m, k) for k in range(count)]
        turned = self._turn(m, lanes[: p.chip.ou_cols], self.beats[2 + over_arrays])
        end = self.beats[2 + over_arrays + over_lanes]
        reference = Const(0)
        if p.placement.weight_offset:
            kept = adder_tree(m, [lanes[-1]], self.enable, over_lanes)
            # Once for every block that holds the weights, be its slices in several slots or not.
            starts = lookup(self._table(lambda b: int(b.slice == 0)), end)
            reference = Mux(starts, kept * p.placement.weight_offset, 0)
        whole = all(beat.first and beat.last for beat in self.bank.beats)
        first = Const(1) if whole else lookup(self._table(lambda b: int(b.first), 1), end)
        for weight, value in enumerate(self.values):
            before = -reference if whole else Mux(first, 0, value) - reference
            with m.If(self.enable):
                m.d.sync += value.eq(before + self._spliced(m, turned, weight))
        return m

    def _significances(self, k: int) -> list[int]:
        """Of array ``k`` of the bank, beat by beat."""
        return self._table(lambda b: b.significances[k] or 0)

    def _over_arrays(self, m: Module, lane: int) -> Value:
        """Sum of one lane over the bank's arrays, those with a part in the beat, by polarity."""
        parts = []
        for k, index in enumerate(self.bank.arrays):
            sums = getattr(self, f"sums_{k}")
            takes_part = lookup(self._table(lambda b, k=k: int(b.slots[k] is not None)), self.beats[2])
            part = sums[lane] if isinstance(takes_part, Const) and takes_part.value else Mux(takes_part, sums[lane], 0)
            part = self._at_significance(part, k)
            parts.append(part if self.p.tile.readers[index].polarity > 0 else -part)
        return adder_tree(m, parts, self.enable, self.depth[0])

    def _turn(self, m: Module, lanes: list[Value], beat: Value) -> list[Value]:
        """Lanes in order of columns: turned where a weight does not begin on lane 0."""
        amounts = sorted(set(self._table(lambda b: b.rotation)))
        if amounts == [0]:
            return lanes
        rotation = lookup(self._table(lambda b: b.rotation), beat)
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
        return part << lookup(self._significances(k), self.beats[2])

    def _spliced(self, m: Module, lanes: list[Value], weight: int) -> Value:
        """Sum over the slices of a weight that lie in one slot; of a part of them, where they do not fit.

        Scattered, every lane has a share of the output, at the slice that the lane always holds.
        """
        p, bits, (over_arrays, over_lanes) = self.p, self.p.chip.cell_bits, self.depth
        slices = p.tile.slices
        if p.tile.scattered:
            parts = [lane.shift_left(k % slices * bits) for k, lane in enumerate(lanes)]
            return adder_tree(m, parts, self.enable, over_lanes)
        if p.chip.ou_cols % slices == 0:
            own = lanes[weight * slices : (weight + 1) * slices]
            return adder_tree(m, [lane.shift_left(k * bits) for k, lane in enumerate(own)], self.enable, over_lanes)
        columns = lookup(self._table(lambda b: b.columns), self.beats[2 + over_arrays])
        shifts = self._table(lambda b: b.slice * bits)
        parts = [Mux(columns > k, lane, 0).shift_left(k * bits) for k, lane in enumerate(lanes)]
        return adder_tree(m, parts, self.enable, over_lanes) << lookup(shifts, self.beats[2 + over_arrays + over_lanes])


class Splice(wiring.Component):
    """Drains the accumulators of a tile, all banks side by side, once every array has finished a step.

    A beat is at the output `splice_latency` cycles after its slots are read; one beat a cycle, across steps. A beat
    that is not taken waits in a register of its own, so that whether the pipeline moves is known from a register.

    Members
    -------
    slot_k, sums_k : of array k's accumulator; sums come two cycles after their slot
    ended : an array has finished a step, from the next cycle on
    advance : slots are read in this cycle; else sums stay
    drained : those of the step's last beat
    freed : a step's sums have been read, two cycles before
    o : whole outputs in the order of the drain plan
    """

    def __init__(self, parameters: TileParameters) -> None:
        self.p = p = parameters
        members: dict[str, object] = {}
        for k, own in enumerate(p.accumulators):
            members[f"slot_{k}"] = Out(own.slot_bits)
            members[f"sums_{k}"] = In(sums_layout(own))
        pulses = {"ended": In(len(p.accumulators)), **dict.fromkeys(("advance", "drained", "freed"), Out(1))}
        super().__init__({**members, **pulses, "o": Out(stream.Signature(beat_layout(p)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, length = self.p, self.p.drain.length
        m.submodules.steps = steps = StepCredits(len(p.accumulators), 0)
        beats = Signal(beats_layout(p))
        late = Signal.like(beats)  # a cycle later
        beat = Signal.like(late[0])
        busy = Signal(splice_latency(p))
        enable = Signal()
        go = Signal()
        end = Signal()
        ends = Signal()
        m.d.comb += [
            go.eq(steps.ready & enable),
            end.eq(beat == length - 1),
            steps.given.eq(self.ended),
            steps.taken.eq(self.drained),
            self.drained.eq(go & end),
            self.advance.eq(enable),
            beats.as_value().eq(Cat(beat, late.as_value())),
        ]
        m.d.sync += self.freed.eq(ends & enable)
        with m.If(go):
            m.d.sync += beat.eq(Mux(end, 0, beat + 1))
        with m.If(enable):
            m.d.sync += [busy.eq(Cat(go, busy)), late.eq(beats), ends.eq(self.drained)]
        values, keep = self._banks(m, beats, late[-1], enable)
        whole = lookup(_leaving(p.drain), late[-1])
        moves, valid, beat_out = second_register(m, busy[-1] & whole, Cat(values, keep), self.o.ready)
        m.d.comb += [enable.eq(moves), self.o.valid.eq(valid), self.o.payload.as_value().eq(beat_out)]
        return m

    def _banks(self, m: Module, beats: data.View, last: Value, enable: Value) -> tuple[Value, Value]:
        """Outputs of all banks, and which of them beat ``last`` has."""
        p, length, values = self.p, self.p.drain.length, []
        keep = []
        for index, bank in enumerate(p.drain.banks):
            m.submodules[f"bank_{index}"] = total = BankSum(p, bank)
            m.d.comb += [total.beats.eq(beats), total.enable.eq(enable)]
            for k, array in enumerate(bank.arrays):
                slots = [b.slots[k] or 0 for b in bank.beats] + [0] * (length - len(bank.beats))
                m.d.comb += getattr(self, f"slot_{array}").eq(lookup(slots, beats[0]))
                m.d.comb += getattr(total, f"sums_{k}").eq(getattr(self, f"sums_{array}"))
            values.append(total.values.as_value())
            masks = [(2 ** len(b.outputs) - 1) * b.last for b in bank.beats] + [0] * (length - len(bank.beats))
            keep.append(lookup(masks, last, width=p.weights))
        return Cat(values), Cat(keep)


def _leaving(plan: DrainPlan) -> list[int]:
    """Beats in which some bank completes a weight."""
    return [int(any(bank.beats[k].last for bank in plan.banks if k < len(bank.beats))) for k in range(plan.length)]
