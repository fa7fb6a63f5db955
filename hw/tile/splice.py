"""The splice: what the arrays of a bank hold of a weight, added up to whole outputs."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.credits import StepCredits
from selvage.hw.lib.shared import Library, Shared
from selvage.hw.lib.tables import adder_tree, count_up, levels, lookup
from selvage.hw.tile.accumulator import sums_layout
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.streams import Queue
from selvage.mapping.drain import Bank, DrainBeat, DrainPlan


def beat_layout(p: TileParameters) -> data.StructLayout:
    """Return the layout of a beat of all banks: bank by bank the outputs of its whole weights, and which exist."""
    values = len(p.drain.banks) * p.weights
    return data.StructLayout({"values": data.ArrayLayout(signed(p.output_width), values), "keep": values})


def splice_latency(p: TileParameters) -> int:
    """Return the cycles from the one in which a beat's slots are asked for to its outputs."""
    return 3 + levels(arrays_deep(p)) + levels(lanes_deep(p))


def arrays_deep(p: TileParameters) -> int:
    """Return the most arrays that add up in one output."""
    return max(len(bank.arrays) for bank in p.drain.banks)


def lanes_deep(p: TileParameters) -> int:
    """Return how many lanes add up in one output: its slices, or all where slices begin on any lane."""
    slices, lanes = p.tile.slices, p.chip.ou_cols
    return lanes if p.tile.scattered or lanes % slices else slices


def queue_depth(p: TileParameters) -> int:
    """Return the queue depth for full throughput.

    It is the latency of the pipeline plus 3, as a freed entry is seen one cycle later.
    """
    return splice_latency(p) + 3


def beats_layout(p: TileParameters) -> data.ArrayLayout:
    """Return the layout of the numbers of the beats in a pipeline of `splice_latency` stages."""
    return data.ArrayLayout(max(1, (p.drain.length - 1).bit_length()), splice_latency(p))


class BankSum(wiring.Component):
    """Sum over the arrays of one bank, then over the slices of a weight: two trees of adders, a level a cycle.

    Arrays that hold different planes enter the first sum at their block's significance. One beat a cycle; see
    `splice_latency`.

    Members
    -------
    sums : of each array of the bank, at the slots of beat ``beats[2]``
    beats : of this cycle and the ``splice_latency`` - 1 before it
    adds : a beat's sums are at the last adder, with those before it of the same weight
    values : outputs; complete at the last beat of a weight
    """

    beats: data.View
    adds: Signal
    values: data.View

    def __init__(self, parameters: TileParameters, bank: Bank) -> None:
        self.p, self.bank = parameters, bank
        self.length = parameters.drain.length
        self.depth = levels(arrays_deep(parameters)), levels(lanes_deep(parameters))
        sums = {f"sums_{k}": In(sums_layout(parameters.accumulators[index])) for k, index in enumerate(bank.arrays)}
        super().__init__(
            {
                **sums,
                "beats": In(beats_layout(parameters)),
                "adds": In(1),
                "values": Out(data.ArrayLayout(signed(parameters.output_width), parameters.weights)),
            }
        )

    def _table(self, pick: Callable[[DrainBeat], int], default: int = 0) -> list[int]:
        """Return ``pick(beat)`` for every beat of the drain; ``default`` where this bank is done."""
        values = [pick(beat) for beat in self.bank.beats]
        return values + [default] * (self.length - len(values))

    def elaborate(self, platform: object) -> Module:
        """Build the two adder trees, the rotation of lanes between them, and the sum over slots."""
        m = Module()
        p = self.p
        over_arrays, over_lanes = self.depth
        count = p.chip.ou_cols + bool(p.placement.weight_offset)
        lanes = [self._over_arrays(m, k) for k in range(count)]
        turned = self._turn(m, lanes[: p.chip.ou_cols], self.beats[2 + over_arrays])
        end = self.beats[2 + over_arrays + over_lanes]
        reference = Const(0)
        if p.placement.weight_offset:
            kept = adder_tree(m, [lanes[-1]], over_lanes)
            # Once for every block that holds the weights, be its slices in several slots or not.
            starts = lookup(self._table(lambda b: int(b.slice == 0)), end)
            reference = Mux(starts, kept * p.placement.weight_offset, 0)
        whole = all(beat.first and beat.last for beat in self.bank.beats)
        first = Const(1) if whole else lookup(self._table(lambda b: int(b.first), 1), end)
        for weight in range(p.weights):
            value = self.values[weight]
            before = -reference if whole else Mux(first, 0, value) - reference
            total = before + self._spliced(m, turned, weight)
            m.d.sync += value.eq(total if whole else Mux(self.adds, total, value))
        return m

    def _significances(self, k: int) -> list[int]:
        """Return the significance of array ``k`` of the bank, beat by beat."""
        return self._table(lambda b: b.significances[k] or 0)

    def _over_arrays(self, m: Module, lane: int) -> Value:
        """Return the sum of one lane over the bank's arrays, by polarity.

        Where an array has no part in the beat, its sum is 0.
        """
        parts = []
        for k, index in enumerate(self.bank.arrays):
            sums = getattr(self, f"sums_{k}")
            part = self._at_significance(sums[lane], k)
            parts.append(part if self.p.tile.readers[index].polarity > 0 else -part)
        return adder_tree(m, parts, self.depth[0])

    def _turn(self, m: Module, lanes: Sequence[Value], beat: Value) -> Sequence[Value]:
        """Return the lanes in order of columns, rotated where a weight does not begin on lane 0."""
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
        """Return a sum of array ``k`` at its plane's place in a weight; no logic where that never changes."""
        significances = {significance for b in self.bank.beats if (significance := b.significances[k]) is not None}
        if len(significances) == 1:
            return part.shift_left(significances.pop())
        return part << lookup(self._significances(k), self.beats[2])

    def _spliced(self, m: Module, lanes: Sequence[Value], weight: int) -> Value:
        """Return the sum over the slices of a weight in one slot; of a part of them, where they do not fit.

        Scattered, every lane has a share of the output, at the slice that the lane always holds.
        """
        p, bits, (over_arrays, over_lanes) = self.p, self.p.chip.cell_bits, self.depth
        slices = p.tile.slices
        if p.tile.scattered:
            parts = [lane.shift_left(k % slices * bits) for k, lane in enumerate(lanes)]
            return adder_tree(m, parts, over_lanes)
        if p.chip.ou_cols % slices == 0:
            weight_lanes = lanes[weight * slices : (weight + 1) * slices]
            return adder_tree(m, [lane.shift_left(k * bits) for k, lane in enumerate(weight_lanes)], over_lanes)
        columns = lookup(self._table(lambda b: b.columns), self.beats[2 + over_arrays])
        shifts = self._table(lambda b: b.slice * bits)
        parts = [Mux(columns > k, lane, 0).shift_left(k * bits) for k, lane in enumerate(lanes)]
        return adder_tree(m, parts, over_lanes) << lookup(shifts, self.beats[2 + over_arrays + over_lanes])


class Splice(wiring.Component):
    """The shift-and-add of a tile, all banks side by side: drains the accumulators when every array ended a step.

    Its beats enter a queue `splice_latency` cycles after their slots were asked for and are at the output a cycle
    later; one a cycle, across steps. A slot is asked for when its beat is sure to find room in the queue, so nothing
    on the way there ever waits.

    Members
    -------
    ended : the sums of an array's step can be read from the second cycle on
    go : every array reads its slot of the next beat; registered, all at once
    sums_k : of array k, a cycle later
    o : whole outputs in the order of the drain plan
    """

    ended: Signal
    go: Signal
    o: stream.Interface

    def __init__(self, parameters: TileParameters, library: Library | None = None) -> None:
        self.p = p = parameters
        self.bank_sums = [self._bank_sum(bank, library) for bank in p.drain.banks]
        sums = {f"sums_{k}": In(sums_layout(accumulator)) for k, accumulator in enumerate(p.accumulators)}
        pulses = {"ended": In(len(p.accumulators)), "go": Out(len(p.accumulators))}
        super().__init__({**sums, **pulses, "o": Out(stream.Signature(beat_layout(p)))})

    def elaborate(self, platform: object) -> Module:
        """Build the counter of beats, the banks' sums and the queue behind them."""
        m = Module()
        p, length, latency = self.p, self.p.drain.length, splice_latency(self.p)
        m.submodules.steps = steps = StepCredits(len(p.accumulators), 0)
        m.submodules.queue = queue = Queue(beat_layout(p), queue_depth(p), counted=True)
        beats = Signal(beats_layout(p))
        late = Signal.like(beats)  # a cycle later
        beat = Signal.like(late[0])
        busy = Signal(latency)
        room = Signal(init=1)
        asks = Signal()
        leaving = _leaving(p.drain)
        m.d.comb += [
            asks.eq(steps.ready & room),
            steps.given.eq(self.ended),
            beats.as_value().eq(Cat(beat, late.as_value())),
        ]
        # A register for each array, near to it: all have a step here, but synthesis does not know and merges none.
        m.d.sync += self.go.eq(asks.replicate(len(self.go)) & steps.there)
        end = count_up(m, beat, length, asks)
        m.d.comb += steps.taken.eq(asks & end)
        m.d.sync += [busy.eq(Cat(asks, busy)), late.eq(beats)]
        self._keep_room(m, room, asks & lookup(leaving, beat))
        values, keep = self._banks(m, beats, late[-1], busy[-2])
        m.d.comb += [
            queue.i.valid.eq(busy[-1] & lookup(leaving, late[-1])),
            queue.i.payload.as_value().eq(Cat(values, keep)),
        ]
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        return m

    def _keep_room(self, m: Module, room: Signal, asked: Value) -> None:
        """Keep whether the queue has ``room`` for the beat asked for next.

        There is room while fewer of the beats that leave are on their way than the queue holds.
        """
        depth = queue_depth(self.p)
        count, left = Signal(range(depth + 1)), Signal(range(depth + 1))
        gone = Signal()  # the reader's answer may come from afar
        m.d.comb += left.eq(count + asked - gone)
        m.d.sync += [gone.eq(self.o.valid & self.o.ready), count.eq(left), room.eq(left != depth)]

    def _banks(self, m: Module, beats: data.View, last: Value, sums: Value) -> tuple[Value, Value]:
        """Return the outputs of all banks, and which of them beat ``last`` has.

        ``sums``: a beat's sums are at the last adders.
        """
        p, length, values = self.p, self.p.drain.length, []
        keep = []
        for index, bank in enumerate(p.drain.banks):
            m.submodules[f"bank_{index}"] = total = self.bank_sums[index]
            m.d.comb += [total.beats.eq(beats), total.adds.eq(sums)]
            for k, array in enumerate(bank.arrays):
                m.d.comb += getattr(total, f"sums_{k}").eq(getattr(self, f"sums_{array}"))
            values.append(total.values.as_value())
            masks = [(2 ** len(b.outputs) - 1) * b.last for b in bank.beats] + [0] * (length - len(bank.beats))
            keep.append(lookup(masks, last, width=p.weights))
        return Cat(values), Cat(keep)

    def _bank_sum(self, bank: Bank, library: Library | None) -> BankSum | Shared:
        """Return the sum of a bank; banks that differ in their outputs alone are one module of the library."""
        p = self.p
        if library is None:
            return BankSum(p, bank)
        beats = tuple(replace(beat, outputs=()) for beat in bank.beats)
        arrays = tuple((p.accumulators[index].width, p.tile.readers[index].polarity) for index in bank.arrays)
        depths, sums = (p.drain.length, arrays_deep(p), lanes_deep(p)), (p.output_width, p.weights, p.tile.slices)
        chip = p.chip.ou_cols, p.chip.cell_bits, p.placement.weight_offset, p.driven_bits
        key = (BankSum, arrays, beats, depths, sums, chip, p.tile.scattered)
        return library.shared(key, lambda: BankSum(p, bank), "bank_sum")


def _leaving(plan: DrainPlan) -> list[int]:
    """Return by beat whether some bank completes a weight in it."""
    return [int(any(bank.beats[k].last for bank in plan.banks if k < len(bank.beats))) for k in range(plan.length)]
