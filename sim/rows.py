"""The blocks of tiles that are driven alike, what their cells spell, and what reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.placement import Array, Block, Placement, Tile, band_columns
from selvage.sim.devices import EXACT, NoisyCrossbar

Integers = NDArray[np.int64]
_WEIGHTS: WeakKeyDictionary[Array, dict] = WeakKeyDictionary()
_PEAKS: WeakKeyDictionary[Array, dict] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Member:
    """A block of one array, and what reads it; None: an ideal crossbar."""

    array: Array
    block: Block
    crossbar: NoisyCrossbar | None


@dataclass(frozen=True, eq=False)
class Rows:
    """Blocks of a tile that are driven alike: by the same window indices, shifts and planes."""

    placement: Placement
    planes: int
    members: tuple[Member, ...]

    @property
    def block(self) -> Block:
        """The first."""
        return self.members[0].block

    @cached_property
    def outputs(self) -> list[Integers]:
        """Different lists of outputs of the members."""
        found = {member.block.outputs.tobytes(): member.block.outputs for member in self.members}
        return list(found.values())

    @cached_property
    def spans(self) -> dict[bytes, slice]:
        """Where each of `outputs` stands when all are side by side."""
        found, first = {}, 0
        for own in self.outputs:
            found[own.tobytes()] = slice(first, first + len(own))
            first += len(own)
        return found

    @property
    def width(self) -> int:
        """Outputs side by side."""
        return sum(map(len, self.outputs))

    @cached_property
    def uniform(self) -> bool:
        """Whether all members are one band of as many slices, whose sums are exact in float32."""
        chip, first = self.placement.chip, self.members[0].array.slices
        alike = all(len(own.block.significances) == 1 and own.array.slices == first for own in self.members)
        return alike and max(2**chip.adc_bits, chip.rows * 2**chip.cell_bits) << first * chip.cell_bits <= EXACT

    @cached_property
    def halves(self) -> bool:
        """Whether members are P arrays of all outputs, then N arrays of the same."""
        half = len(self.outputs)
        first, second = self.members[:half], self.members[half:]
        same = [own.block.outputs.tobytes() for own in first] == [own.block.outputs.tobytes() for own in second]
        signs = all(own.array.polarity > 0 for own in first) and all(own.array.polarity < 0 for own in second)
        return same and signs and not any(any(own.block.significances) for own in self.members)

    @cached_property
    def side_by_side(self) -> NDArray[np.float32] | None:
        """Levels of all members, (rows, bit lines), where a code is no more than a rounded sum of them; else None."""
        crossbars = [member.crossbar for member in self.members if member.crossbar]
        if not self.uniform or not all(own.sums_of(self.placement.group_rows) for own in crossbars):
            return None
        parts = []
        for member, crossbar in zip(self.members, crossbars, strict=True):
            parts.append(crossbar.single[lines_of(member.array, member.block, self.placement)])
        return np.concatenate(parts, axis=1)

    @cached_property
    def groups(self) -> list[slice]:
        """Rows of the block that are read together, or of formed OUs all that they are formed of."""
        each = self.placement.group_rows
        return [slice(first, min(first + each, self.block.rows)) for first in range(0, self.block.rows, each)]

    def signs(self) -> Integers:
        """Return what each input plane counts."""
        found = 2 ** np.arange(self.planes, dtype=np.int64)
        if self.placement.format.signed:
            found[-1] *= -1
        return found


def rows_of(placement: Placement, tiles: Sequence[Tile], crossbars: Sequence[NoisyCrossbar] | None) -> list[Rows]:
    """Return the blocks of tiles with the same window, those that are driven alike together."""
    found: dict[tuple, list[Member]] = {}
    arrays = [array for tile in tiles for array in tile.arrays]
    for array, crossbar in zip(arrays, crossbars or [None] * len(arrays), strict=True):
        for block in array.blocks:
            key = placement.planes(array), block.window.tobytes(), block.shifts.tobytes()
            found.setdefault(key, []).append(Member(array, block, crossbar))
    positive_first = {key: sorted(own, key=lambda member: -member.array.polarity) for key, own in found.items()}
    return [Rows(placement, key[0], tuple(members)) for key, members in positive_first.items()]


def spliced(array: Array, block: Block, values: NDArray, placement: Placement) -> NDArray:
    """Return ``values`` (n, columns of the block from its first) added over slices and bands, (n, outputs).

    They are whole numbers, and stay in float32 where that is exact.
    """
    chip, found = placement.chip, None
    highest = max(2**chip.adc_bits, chip.rows * 2**chip.cell_bits)
    if highest << array.slices * chip.cell_bits + max(block.significances) + 1 > EXACT:
        values = values.astype(np.float64, copy=False)
    scale = (2.0 ** (np.arange(array.slices) * chip.cell_bits)).astype(values.dtype)
    for columns, significance in zip(band_columns(array, block, chip), block.significances, strict=True):
        own = values[:, columns.start - block.column : columns.stop - block.column]
        own = own if array.slices == 1 else own.reshape(len(values), len(block.outputs), array.slices) @ scale
        own = own * values.dtype.type(2.0**significance) if significance else own
        found = own if found is None else found + own
    assert found is not None, "a block has a band"
    return found


def lines_of(array: Array, block: Block, placement: Placement) -> tuple[slice, slice]:
    """Return the word lines of a block, and its bit lines from the first of its first band to the last of its last."""
    bands = band_columns(array, block, placement.chip)
    return slice(block.row, block.row + block.rows), slice(bands[0].start, bands[-1].stop)


def driven_of(block: Block, windows: Integers) -> Integers:
    """Return what each row of a block is driven with in each step of ``windows`` (steps, entries), (rows, steps)."""
    driven = windows.T[block.window]
    return driven << block.shifts[:, None] if block.shifts.any() else driven


def weights_of(array: Array, block: Block, placement: Placement) -> NDArray[np.float64]:
    """Return what the cells of a block spell, (outputs, rows), kept as long as the array is."""
    known = _WEIGHTS.setdefault(array, {})
    if id(block) not in known:
        cells = array.cells[lines_of(array, block, placement)]
        known[id(block)] = np.ascontiguousarray(spliced(array, block, cells.astype(np.float64), placement).T)
    return known[id(block)]


def peaks_of(array: Array, block: Block, placement: Placement) -> tuple[Integers, int]:
    """Return what the fullest column of each row group of a block holds, and its highest cell, at least 1.

    Kept as long as the array is.
    """
    known, key = _PEAKS.setdefault(array, {}), (id(block), placement.group_rows)
    if key not in known:
        cells = array.cells[lines_of(array, block, placement)]
        sums = np.add.reduceat(cells, range(0, block.rows, placement.group_rows), axis=0, dtype=np.int64)
        known[key] = sums.max(axis=1), max(1, int(cells.max()))
    return known[key]
