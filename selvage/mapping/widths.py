"""Accumulator widths, from the ranges that a placement can reach: they never overflow."""

from collections import Counter
from dataclasses import dataclass

from selvage.mapping.drain import Bank, DrainPlan, SlotKey, slot_key
from selvage.mapping.placement import Array, Placement, Tile, row_groups


@dataclass(frozen=True)
class Range:
    """Integers from ``low`` to ``high``, both included; ``low <= 0 <= high``."""

    low: int = 0
    high: int = 0

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def __neg__(self) -> "Range":
        return Range(-self.high, -self.low)

    def times(self, factor: int) -> "Range":
        """Return the range of products with a factor not below 0."""
        return Range(self.low * factor, self.high * factor)

    @property
    def width(self) -> int:
        """Bits of a two's complement that holds every value."""
        return max(self.high.bit_length(), (-self.low - 1).bit_length() if self.low else 0) + 1


def input_range(placement: Placement, array: Array) -> Range:
    """Return what the input planes of an array can spell: the top one subtracts when values are signed."""
    planes = placement.planes(array)
    if placement.format.signed:
        return Range(-(2 ** (planes - 1)), 2 ** (planes - 1) - 1)
    return Range(0, 2**planes - 1)


def _codes(placement: Placement, array: Array, *, reference: bool) -> Counter[SlotKey]:
    """Return the largest sum of a lane's ADC codes of one input plane, in each slot; or of active rows."""
    chip, found = placement.chip, Counter()
    for group in row_groups(array, placement):
        # Formed of any rows, OUs are at most as many as rows.
        most = group.count if placement.dynamic else 1
        code = most * (2**chip.adc_bits - 1)
        if not chip.full_range:  # ideal cells sum to no more than there are
            code = min(code, group.count * (2**chip.cell_bits - 1))
        found[slot_key(array.blocks[group.block])] += group.count if reference else code
    return found


def _output_codes(placement: Placement, array: Array) -> Counter[tuple[int, int]]:
    """Return the largest sum of an output's ADC codes of one input plane and slice, by significance.

    It is over all blocks that hold the output.
    """
    found: Counter[tuple[int, int]] = Counter()
    for (_, outputs, significances), codes in _codes(placement, array, reference=False).items():
        found.update({(significances[0], output): codes for output in outputs})
    return found


def slot_range(placement: Placement, array: Array, *, reference: bool = False, scattered: bool = False) -> Range:
    """Return the range of a lane's sum over all reads of a step: ADC codes, or with ``reference`` active rows."""
    codes = _output_codes(placement, array) if scattered else _codes(placement, array, reference=reference)
    return _of_pair(array, input_range(placement, array).times(max(codes.values())))


def spliced_range(placement: Placement, array: Array, *, scattered: bool = False) -> Range:
    """Return the range of an array's share of an output: all slots and slices at their significance."""
    per_output: Counter[tuple[int, ...]] = Counter()
    if scattered:
        for (significance, output), codes in _output_codes(placement, array).items():
            per_output[output,] += codes << significance
    else:
        for (_, outputs, significances), codes in _codes(placement, array, reference=False).items():
            per_output[outputs] += sum(codes << significance for significance in significances)
    weight = sum(2 ** (k * placement.chip.cell_bits) for k in range(array.slices))
    return _of_pair(array, input_range(placement, array).times(max(per_output.values()) * weight))


def _of_pair(array: Array, reach: Range) -> Range:
    """Return what one array reaches, less what the other of a pair does."""
    return reach + -reach if array.paired else reach


def bank_range(placement: Placement, tile: Tile, bank: Bank) -> Range:
    """Return the range of the sum over all arrays of a bank.

    It has all slices and, with offset encoding, the reference.
    """
    total = Range()
    for index in bank.arrays:
        array = tile.readers[index]
        spliced = spliced_range(placement, array, scattered=tile.scattered)
        total += spliced if array.polarity > 0 else -spliced
        if placement.weight_offset:
            total += -slot_range(placement, array, reference=True).times(placement.weight_offset)
    return total


def output_range(placement: Placement, tile: Tile, plan: DrainPlan) -> Range:
    """Return the range of every output of a tile, over all its banks and, with overlap, the taps that meet."""
    ranges = [bank_range(placement, tile, bank) for bank in plan.banks]
    widest = Range(min(r.low for r in ranges), max(r.high for r in ranges))
    if not placement.sweep.overlap:
        return widest
    block = placement.sweep.block
    meeting = Counter((y % block[0], x % block[1]) for y, x in placement.sweep.phases)
    return widest.times(max(meeting.values()))
