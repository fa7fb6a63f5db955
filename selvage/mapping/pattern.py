"""Pattern-pruned kernels on operation units: kernels reordered by the weights that they keep.

After Yu et al., arXiv 2010.06156. For each input channel the kernels that keep the same positions are a
block: a row for each position, ``slices`` columns for each kernel. Deleted kernels are not stored. Blocks
stand on shelves by their height; one that is wider than what is left of a shelf goes on on the next,
cut at a multiple of ``ou_cols``. What is left of a block beyond whole OUs shares a column group with
others of its height: they stand on the same word lines and are read in different cycles.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.mapping.counts import table_bits
from selvage.mapping.packing import LogicalArray, Piece, check_signs_apart, cut_tiles, slices_of, stored_weights
from selvage.mapping.placement import Integers, Placement
from selvage.mapping.rows import RowSet, row_sets
from selvage.mapping.schedule import choose, sweep_of, taps_of


@dataclass(frozen=True, eq=False)
class PatternBlock:
    """Kernels of one input channel that keep the same positions."""

    rows: int  # which row set
    channel: int  # of the row set
    taps: Integers  # (h,) of the row set that are kept
    columns: Integers  # (n,) of the row set


@dataclass(frozen=True, eq=False)
class Placed:
    """A block, or a part of its kernels, at its place."""

    block: PatternBlock
    columns: Integers  # of the row set
    array: int
    row: int
    column: int


@dataclass(frozen=True)
class PatternCounts:
    """Counts of one layer, for one step and one input plane, of one polarity where nothing else is said."""

    reads: int
    conversions: int
    cells: int
    driven: int  # word lines of all reads
    arrays: int
    index_bits: int

    @classmethod
    def of(
        cls, layer: Layer, blocks: list[PatternBlock], places: list[Placed], slices: int, chip: Chip
    ) -> "PatternCounts":
        """Return the counts of an actual placement of ``blocks``."""
        reads = conversions = cells = driven = 0
        for place in places:
            columns, height = len(place.columns) * slices, len(place.block.taps)
            units = -(-columns // chip.ou_cols) * -(-height // chip.ou_rows)
            reads, conversions = reads + units, conversions + columns * -(-height // chip.ou_rows)
            cells, driven = cells + columns * height, driven + -(-columns // chip.ou_cols) * height
        arrays = 1 + max((place.array for place in places), default=-1)
        return cls(reads, conversions, cells, driven, arrays, index_bits(layer, blocks))


def index_bits(layer: Layer, blocks: list[PatternBlock]) -> int:
    """Return the bits of the tables.

    They are an output id for each kernel; mask, channel and number of kernels for each block.
    """
    output, each = table_bits(layer)
    return sum(len(block.columns) * output + each for block in blocks)


def place_pattern(
    layer: Layer,
    weights: Integers,
    chip: Chip,
    *,
    input_format: InputFormat,
    schedule: str = "auto",
    dynamic: bool = False,
) -> Placement:
    """Map ``weights`` (integers that ``chip`` can store, most of them 0) by the positions that they keep.

    `InputError`: offset encoding, which stores no zero; slices that do not divide an OU; padding-free.
    """
    schedule = choose(layer, schedule)
    check_pattern(chip, schedule, slices=chip.slices)
    sweep, taps = sweep_of(layer, schedule), taps_of(layer, schedule)
    sets = [rows for group in range(layer.groups) for rows in row_sets(layer, weights, taps, sweep, group)]
    blocks = pattern_blocks(sets, chip)
    arrays: dict[int, LogicalArray] = {}
    for place in shelves(blocks, chip.slices, chip):
        array = arrays.setdefault(place.array, LogicalArray(slices=chip.slices))
        array.put(_piece(sets[place.block.rows], place, chip), place.row, place.column)
    tiles = cut_tiles([[array] for array in arrays.values()], chip)
    return Placement(layer, chip, input_format, schedule, "pattern", 1, 0, sweep, tuple(tiles), dynamic)


def check_pattern(chip: Chip, schedule: str, *, slices: int) -> None:
    """Raise `InputError` when patterns cannot be mapped with ``slices`` cells of a weight side by side."""
    check_signs_apart("pattern", chip, schedule)
    if chip.ou_cols % slices:
        raise InputError(
            f"mapping pattern needs ou_cols = {chip.ou_cols} to be a multiple of the {slices} cells of a weight"
        )


def _piece(rows: RowSet, place: Placed, chip: Chip) -> Piece:
    block = place.block
    values = rows.weights[block.taps[:, None], block.channel, place.columns]
    return Piece(
        shelf=(),
        offsets=np.array(rows.taps)[block.taps],
        channels=np.full(len(block.taps), rows.first + block.channel),
        outputs=rows.outputs[place.columns],
        cells={sign: slices_of(magnitudes, chip) for sign, magnitudes in stored_weights(values, chip, 0).items()},
    )


def pattern_blocks(sets: list[RowSet], chip: Chip) -> list[PatternBlock]:
    """Return blocks of all row sets: by channel, then pattern.

    A layer of zeros has one block, for it has outputs.
    """
    blocks = []
    for index, rows in enumerate(sets):
        masks = rows.weights != 0
        patterns, number = _covered(masks)
        for channel in range(masks.shape[1]):
            order = np.argsort(number[channel], kind="stable")
            parts = np.split(order, np.flatnonzero(np.diff(number[channel][order])) + 1)
            for columns in parts:
                taps = np.flatnonzero(patterns[number[channel, columns[0]]])
                # A pattern that is higher than an array is several blocks; a deleted kernel is none.
                for first in range(0, len(taps), chip.rows):
                    blocks.append(PatternBlock(index, channel, taps[first : first + chip.rows], columns))
    if not blocks:
        return [PatternBlock(0, 0, np.zeros(1, np.int64), np.zeros(1, np.int64))]
    return blocks


def _covered(masks: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Integers]:
    """Return patterns (u, t) of masks (t, c, n), and the number of each kernel's pattern (c, n).

    A weight that was kept may be zero all the same: a rarer mask joins the most frequent one that
    contains it. Empty masks stay what they are.
    """
    t, c, n = masks.shape
    packed = np.ascontiguousarray(np.packbits(masks.transpose(1, 2, 0).reshape(c * n, t), axis=1))
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, number, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    patterns = masks.transpose(1, 2, 0).reshape(c * n, t)[first]
    target = np.arange(len(patterns))
    for index, mask in enumerate(patterns):
        holds = np.flatnonzero((patterns[:, mask].all(axis=1)) & (counts > counts[index])) if mask.any() else []
        if len(holds):
            target[index] = holds[np.argmax(counts[holds])]
    while (target[target] != target).any():
        target = target[target]
    return patterns, target[number.ravel()].reshape(c, n)


def shelves(blocks: list[PatternBlock], slices: int, chip: Chip) -> Iterator[Placed]:
    """Return a place for every block: whole OUs first, then what is left of each beside others of its height."""
    per_group, groups = chip.ou_cols // slices, chip.columns // chip.ou_cols
    by_height: dict[int, list[PatternBlock]] = {}
    for block in blocks:
        by_height.setdefault(len(block.taps), []).append(block)
    array, shelf, height, group = 0, 0, 0, groups  # the next free column group of the present shelf
    for high in sorted(by_height, reverse=True):
        for unit in _units(by_height[high], slices, per_group):
            columns = 0
            while columns < unit.groups:
                if group == groups:
                    shelf, height, group = shelf + height, high, 0
                    if shelf + high > chip.rows:
                        array, shelf = array + 1, 0
                many = min(unit.groups - columns, groups - group)
                for block, chosen, lane in unit.parts:
                    part = chosen[columns * per_group : (columns + many) * per_group]
                    yield Placed(block, part, array, shelf, group * chip.ou_cols + lane)
                group, columns = group + many, columns + many


@dataclass(frozen=True, eq=False)
class _Unit:
    """What goes on a shelf together: ``groups`` column groups of one block, or parts of several in one."""

    groups: int
    parts: list[tuple[PatternBlock, Integers, int]]  # block, columns of its row set, first lane


def _units(blocks: list[PatternBlock], slices: int, per_group: int) -> Iterator[_Unit]:
    """Return the units of blocks of one height."""
    left: dict[int, list[tuple[PatternBlock, Integers]]] = {}
    for block in blocks:
        whole = len(block.columns) // per_group * per_group
        if whole:
            yield _Unit(whole // per_group, [(block, block.columns[:whole], 0)])
        if whole < len(block.columns):
            left.setdefault(len(block.columns) - whole, []).append((block, block.columns[whole:]))
    while left:
        room, parts = per_group, []
        while fitting := [size for size in left if size <= room]:
            size = max(fitting)
            block, columns = left[size].pop()
            if not left[size]:
                del left[size]
            parts.append((block, columns, (per_group - room) * slices))
            room -= size
        yield _Unit(1, parts)
