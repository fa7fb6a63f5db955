"""`Placement`: what every mapping yields and every consumer reads (the hinge of the house)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.base.text import count_of
from selvage.mapping.schedule import Sweep

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Block:
    """A rectangle of an array, never shared by an operation unit.

    Its columns are *bands*, one for each of ``significances``, each beginning on lane 0. A band has
    ``slices`` neighbouring cells for every weight, the least significant first. A single band no wider
    than an OU may begin on any lane (a multiple of ``slices``) if it ends in the same column group.
    """

    row: int  # first word line
    column: int  # first bit line
    window: Integers  # (rows,) window index driven on each row
    shifts: Integers  # (rows,) places by which each row's input is shifted up
    outputs: Integers  # (weights,) output id of each weight
    significances: tuple[int, ...]  # by band: of a weight's first slice, in bits

    @property
    def rows(self) -> int:
        """Rows of the block."""
        return len(self.window)

    def alike(self, other: "Block") -> bool:
        """Return whether both stand in the same place, for the same inputs and outputs."""
        same = (self.row, self.column, self.significances) == (other.row, other.column, other.significances)
        lists = ((self.window, other.window), (self.shifts, other.shifts), (self.outputs, other.outputs))
        return same and all(a is b or np.array_equal(a, b) for a, b in lists)


@dataclass(frozen=True, eq=False)
class Array:
    """One crossbar: what its cells hold and which rectangles of it are in use."""

    blocks: tuple[Block, ...]
    polarity: int  # +1 or -1: how its codes enter the sum
    # Of each block its cells, (rows, columns), each below 2**cell_bits: what is programmed, no part of the hardware.
    stored: tuple[ArrayLike, ...] = field(metadata={"hardware": False})
    size: tuple[int, int]  # rows and columns
    slices: int  # cells of one weight side by side in a band
    paired: bool = False  # of a reader: the array after it is read with it, and its codes subtracted

    @cached_property
    def cells(self) -> NDArray[np.uint8]:
        """(rows, columns), made when they are asked for: what is only counted has none in memory."""
        whole = np.zeros(self.size, np.uint8)
        for block, stored in zip(self.blocks, self.stored, strict=True):
            cells = np.asarray(stored)
            whole[block.row : block.row + cells.shape[0], block.column : block.column + cells.shape[1]] = cells
        return whole

    @property
    def shift(self) -> int:
        """The largest shift of a row's input."""
        return max(int(block.shifts.max()) for block in self.blocks)

    def alike(self, other: "Array") -> bool:
        """Return whether both take the same inputs to the same outputs."""
        if self.slices != other.slices or len(self.blocks) != len(other.blocks):
            return False
        return all(first.alike(block) for first, block in zip(self.blocks, other.blocks, strict=True))


@dataclass(frozen=True)
class RowGroup:
    """The word lines that OUs are formed of: ``count`` rows of ``block`` from word line ``row``."""

    block: int
    row: int
    count: int
    column_groups: int  # reads that walk the block's bands
    first_column_group: int  # of the array
    shifts: tuple[int, ...]  # of each row's input


@dataclass(frozen=True, eq=False)
class Tile:
    """Arrays that share an input buffer, and the part of the window they need.

    Window index = pixel * channels + channel, the channel counted from ``first_channel``.
    """

    first_channel: int
    channels: int
    offsets: tuple[tuple[int, int], ...]  # per pixel: rows, columns from the step's base
    arrays: tuple[Array, ...]
    ou_cols: int  # bit lines of a column group

    @property
    def slices(self) -> int:
        """Slices of a weight, the same in all its arrays."""
        return self.arrays[0].slices

    @cached_property
    def read_together(self) -> tuple[tuple[int, ...], ...]:
        """Arrays that one engine reads: a P and an N array that differ in their cells alone, else one by itself."""
        found: list[tuple[int, ...]] = []
        for index, array in enumerate(self.arrays):
            before = self.arrays[index - 1]
            if index and found[-1] == (index - 1,) and array.polarity == -before.polarity and array.alike(before):
                found[-1] = (index - 1, index)
            else:
                found.append((index,))
        return tuple(found)

    @cached_property
    def readers(self) -> tuple[Array, ...]:
        """What the engines read: the first array of each of `read_together`, ``paired`` where there is another."""
        return tuple(replace(self.arrays[pair[0]], paired=len(pair) > 1) for pair in self.read_together)

    def likeness(self, outputs: int) -> tuple:
        """Return the equivalence key of a tile, in a layer with so many ``outputs``.

        Tiles of equal keys differ only in their cells, their first channel and which channels of the output they hold.
        """
        if outputs not in self._likeness:
            first, digest = self.arrays[0].blocks[0].outputs[0], blake2b(digest_size=16)
            for array in self.arrays:
                digest.update(f"{array.polarity} {len(array.blocks)}".encode())
                for block in array.blocks:
                    digest.update(repr((block.row, block.column, block.significances, block.rows)).encode())
                    phases, ids = block.outputs // outputs, block.outputs - first
                    for numbers in (block.window, block.shifts, phases, ids):
                        digest.update(numbers.tobytes())
            parts = self.channels, self.offsets, self.slices, self.ou_cols
            self._likeness[outputs] = *parts, digest.digest()
        return self._likeness[outputs]

    @cached_property
    def _likeness(self) -> dict[int, tuple]:
        return {}

    @cached_property
    def scattered(self) -> bool:
        """Whether sums meet by output, not by column (indexed accumulation).

        Then an output stands in blocks beside different others, or a block does not begin on lane 0.
        """
        blocks = [block for array in self.arrays for block in array.blocks]
        neighbours = {tuple(block.outputs.tolist()) for block in blocks}
        overlap = len({output for ids in neighbours for output in ids}) < sum(map(len, neighbours))
        return overlap or any(block.column % self.ou_cols for block in blocks)


@dataclass(frozen=True, eq=False)
class Placement:
    """A layer on a chip: tiles whose outputs add."""

    layer: Layer
    chip: Chip
    format: InputFormat
    schedule: str  # conv, dense, red, zero-padding, zero-padding-paper or padding-free
    mapping: str
    fold: int
    weight_offset: int  # added to every weight before it is stored (offset encoding)
    sweep: Sweep
    tiles: tuple[Tile, ...]  # of one copy
    dynamic: bool = False  # OUs are formed of the rows that drive, adjacent or not (SRE)
    copies: int = 1  # how often the tiles stand on the chip, each with a share of the steps

    @cached_property
    def shares(self) -> tuple["Placement", ...]:
        """Each copy: the same tiles, the steps that it computes (`Sweep.computed`)."""
        if self.copies == 1:
            return (self,)
        sweeps = (replace(self.sweep, first=copy, every=self.copies) for copy in range(self.copies))
        return tuple(replace(self, copies=1, sweep=sweep) for sweep in sweeps)

    @cached_property
    def standing(self) -> tuple[tuple["Placement", Tile], ...]:
        """Every tile on the chip with its share of the steps: copy by copy, each tile by tile."""
        return tuple((share, tile) for share in self.shares for tile in self.tiles)

    def copied(self, copies: int) -> "Placement":
        """Return the layer standing ``copies`` times.

        Raises `InputError`: more than it has steps, or a schedule or passes that rule copies out.
        """
        if copies == self.copies:
            return self
        steps, name = self.sweep.count, self.layer.name
        if copies < 1:
            raise InputError(f"{copies} copies of layer {name!r} are fewer than one")
        if copies > steps:
            raise InputError(f"{copies} copies of layer {name!r} are more than its {count_of(steps, 'step')}")
        if self.sweep.overlap or max(self.sweep.insert) > 1:
            raise InputError(
                f"{copies} copies of layer {name!r} need another schedule than {self.schedule}, such as red"
            )
        if len(self.passes) > 1:
            raise InputError(
                f"{copies} copies of layer {name!r} have no room: one takes {len(self.passes)} passes with tiles = "
                f"{self.chip.tiles} on chip {self.chip.name}"
            )
        return replace(self, copies=copies)

    @cached_property
    def group_rows(self) -> int:
        """Most word lines of a row group: an OU's, or with ``dynamic`` those of the highest block."""
        if not self.dynamic:
            return self.chip.ou_rows
        return max(block.rows for tile in self.tiles for array in tile.arrays for block in array.blocks)

    @cached_property
    def steps(self) -> int:
        """Vector reads of the layer for one image: positions of the counters, times the fold."""
        return self.sweep.count * self.fold

    @cached_property
    def passes(self) -> list[tuple[Tile, ...]]:
        """Tiles that the chip holds at a time; the host adds the sums of several."""
        return in_passes(self.tiles, self.chip)

    def likeness(self, tile: Tile) -> tuple:
        """Return `Tile.likeness` of one of its tiles."""
        return tile.likeness(self.layer.outputs)

    def planes(self, array: Array) -> int:
        """Return the input planes of a read of ``array``: the bits of a value, shifted."""
        return self.format.bits + array.shift

    @property
    def crossbars(self) -> int:
        """Arrays of all tiles of all copies."""
        return self.copies * sum(len(tile.arrays) for tile in self.tiles)


def in_passes(tiles: Sequence[Any], chip: Chip) -> list[tuple[Any, ...]]:
    """Return ``tiles`` of a layer, or one thing of each, in order, as many at a time as ``chip`` has."""
    each = chip.tiles or len(tiles)
    return [tuple(tiles[first : first + each]) for first in range(0, len(tiles), each)]


def row_groups(array: Array, placement: Placement) -> tuple[RowGroup, ...]:
    """Return the array's row groups in the order they are walked: block by block, ``group_rows`` rows each."""
    chip, groups, each = placement.chip, [], placement.group_rows
    for index, block in enumerate(array.blocks):
        columns = column_groups(array, block, chip)
        for row in range(0, block.rows, each):
            groups.append(
                RowGroup(
                    block=index,
                    row=block.row + row,
                    count=min(each, block.rows - row),
                    column_groups=columns,
                    first_column_group=block.column // chip.ou_cols,
                    shifts=tuple(block.shifts[row : row + each].tolist()),
                )
            )
    return tuple(groups)


def band_groups(array: Array, block: Block, chip: Chip) -> int:
    """Return the column groups of one band."""
    return -(-len(block.outputs) * array.slices // chip.ou_cols)


def column_groups(array: Array, block: Block, chip: Chip) -> int:
    """Return the column groups of all bands."""
    return len(block.significances) * band_groups(array, block, chip)


def band_columns(array: Array, block: Block, chip: Chip) -> list[slice]:
    """Return the bit lines of the weights of each band, without what its last column group has beyond them."""
    wide, count = band_groups(array, block, chip) * chip.ou_cols, len(block.outputs) * array.slices
    starts = (block.column + band * wide for band in range(len(block.significances)))
    return [slice(start, start + count) for start in starts]


def first_rows(placement: Placement, tile: Tile, rows: int) -> Placement:
    """Return the first ``rows`` rows of steps alone, on the input rows that ``tile`` needs for them."""
    sweep = placement.sweep
    reach = (rows - 1) * sweep.stride[0] + max(offset[0] for offset in tile.offsets)
    height = min(sweep.size[0], reach // sweep.insert[0] + 1)
    part = replace(
        sweep,
        size=(height, sweep.size[1]),
        steps=(rows, sweep.steps[1]),
        output=(rows * sweep.block[0], sweep.output[1]),
    )
    return replace(placement, sweep=part)
