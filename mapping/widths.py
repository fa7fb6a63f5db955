"""Accumulator widths, from the ranges that a placement can reach: they never overflow."""

from collections import Counter
from dataclasses import dataclass

from mapping.drain import Bank, DrainPlan
from mapping.placement import Array, Placement, Tile, row_groups
from spec.chip import Chip
from spec.layer import InputFormat


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
        """Of products with a factor not below 0."""
        return Range(self.low * factor, self.high * factor)

    @property
    def width(self) -> int:
        """Bits of a two's complement that holds every value."""
        return max(self.high.bit_length(), (-self.low - 1).bit_length() if self.low else 0) + 1


def input_range(numbers: InputFormat) -> Range:
    """What ``bits`` planes can spell: the top one subtracts when codes are signed."""
    if numbers.signed:
        return Range(-(2 ** (numbers.bits - 1)), 2 ** (numbers.bits - 1) - 1)
    return Range(0, 2**numbers.bits - 1)


def slot_range(array: Array, chip: Chip, numbers: InputFormat, *, reference: bool = False) -> Range:
    """Of one lane's sum over all reads of a step: codes, or with ``reference`` driven word lines."""
    per_outputs: Counter[tuple[int, ...]] = Counter()
    for group in row_groups(array, chip):
        block = array.blocks[group.block]
        code = min(group.count * (2**chip.cell_bits - 1), 2**chip.adc_bits - 1)
        per_outputs[block.column, *block.outputs.tolist()] += group.count if reference else code
    return input_range(numbers).times(max(per_outputs.values()))


def bank_range(placement: Placement, tile: Tile, bank: Bank) -> Range:
    """Of the sum over all arrays of a bank, all slices and, with offset encoding, the reference."""
    chip, numbers = placement.chip, placement.format
    total = Range()
    for index in bank.arrays:
        array = tile.arrays[index]
        spliced = slot_range(array, chip, numbers).times(sum(2 ** (k * chip.cell_bits) for k in range(chip.slices)))
        total += spliced if array.polarity > 0 else -spliced
        if chip.weight_offset:
            total += -slot_range(array, chip, numbers, reference=True).times(chip.weight_offset)
    return total


def output_range(placement: Placement, tile: Tile, plan: DrainPlan) -> Range:
    """Of every output of a tile, over all its banks and, with overlap, over the taps that meet."""
    ranges = [bank_range(placement, tile, bank) for bank in plan.banks]
    widest = Range(min(r.low for r in ranges), max(r.high for r in ranges))
    if not placement.sweep.overlap:
        return widest
    block = placement.sweep.block
    meeting = Counter((y % block[0], x % block[1]) for y, x in placement.sweep.phases)
    return widest.times(max(meeting.values()))
