"""OU reads plane by plane, and with noise of their own in the order in which the hardware makes them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.placement import Array, Placement, column_groups
from selvage.sim.devices import NoisyCrossbar
from selvage.sim.rows import Member, Rows, driven_of, lines_of, spliced

Integers = NDArray[np.int64]
BAND = 2**22  # entries of what is computed at once


def plane_reads(rows: Rows, driven: Integers, fewest: int) -> Iterator[tuple[NDArray[np.intp], NDArray, slice, int]]:
    """Yield reads plane by plane: steps in which ``fewest`` rows or more drive, what they drive, the rows, the plane.

    Of formed OUs the OU of each driving row is that of its place among the rows that drive.
    """
    for group in rows.groups:
        for plane in range(rows.planes):
            bits = (driven[group] >> plane & 1).T
            if not rows.placement.dynamic:
                steps = np.flatnonzero(bits.sum(axis=1) >= fewest)
                if len(steps):
                    yield steps, bits[steps], group, plane
                continue
            unit = np.where(bits, (bits.cumsum(axis=1) - 1) // rows.placement.chip.ou_rows, -1)
            for number in range(max(1, int(unit.max(initial=-1)) + 1)):
                formed = unit == number
                steps = np.flatnonzero(formed.sum(axis=1) >= (fewest if number == 0 else max(1, fewest)))
                if len(steps):
                    yield steps, formed[steps].astype(np.int8), group, plane


@dataclass(frozen=True, eq=False)
class _Read:
    """Reads of one row group, plane and OU, one in each of some steps, in a band of steps."""

    rows: Rows  # a block alone
    index: int  # of the block
    group: slice
    plane: int
    steps: NDArray[np.intp]
    bits: NDArray


def in_order(
    placement: Placement, array: Array, crossbar: NoisyCrossbar, windows: Integers, skip: bool
) -> Iterator[tuple[Integers, Integers, int]]:
    """Yield as `tile_sums` of one array whose reads all have noise of their own.

    The hardware reads step by step, row group by row group, plane by plane, OU by OU, the last column group first.
    """
    planes = placement.planes(array)
    blocks = [Rows(placement, planes, (Member(array, block, crossbar),)) for block in array.blocks]
    crossbar.begin()
    sums = [np.zeros((len(windows), len(block.outputs)), np.int64) for block in array.blocks]
    each = max(1, BAND // max(1, planes * sum(block.rows for block in array.blocks)))
    for first in range(0, len(windows), each):
        band = windows[first : first + each]
        reads = [
            _Read(rows, index, group, plane, steps, bits)
            for index, rows in enumerate(blocks)
            for steps, bits, group, plane in plane_reads(rows, driven_of(rows.block, band), 1 if skip else 0)
        ]
        # By step, then in the order in which they were found: of one step that is the hardware's.
        counts = np.zeros((len(band), len(reads)), np.int64)
        for place, read in enumerate(reads):
            counts[read.steps, place] = column_groups(array, read.rows.block, placement.chip)
        ends = counts.cumsum().reshape(counts.shape) if counts.size else counts
        drawn = crossbar.draw(int(counts.sum()))
        for place, read in enumerate(reads):
            codes = _noisy(crossbar, read, ends[read.steps, place], drawn)
            sums[read.index][first + read.steps] += read.rows.signs()[read.plane] * codes
    for block, own in zip(array.blocks, sums, strict=True):
        if placement.weight_offset:
            ones = driven_of(block, windows).sum(axis=0, dtype=np.int64)[:, None]
            own -= placement.weight_offset * ones
        yield block.outputs, own * array.polarity, 0


def _noisy(crossbar: NoisyCrossbar, read: _Read, ends: Integers, drawn: NDArray) -> Integers:
    """Return (reads, outputs) of codes, each with its own noise: ``ends`` is one behind the last of its draws."""
    placement, (member,) = read.rows.placement, read.rows.members
    chip, array, block = placement.chip, member.array, member.block
    word_lines, columns = lines_of(array, block, placement)
    at = np.arange(columns.start, columns.stop)
    group = at // chip.ou_cols - block.column // chip.ou_cols  # the last one is read first
    noise = drawn[ends[:, None] - 1 - group, at % chip.ou_cols]
    lines = np.arange(word_lines.start, word_lines.stop)[read.group]
    return spliced(array, block, crossbar.codes(read.bits, lines, columns, noise), placement).astype(np.int64)
