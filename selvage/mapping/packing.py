"""Pieces of a layer's weight matrix into arrays, and arrays into tiles."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import DTypeLike, NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.mapping.placement import Array, Block, Integers, Tile


@lru_cache
def split_even(count: int, parts: int) -> tuple[NDArray[np.int64], ...]:
    """Return ``range(count)`` in ``parts`` runs that differ by at most one: the busiest array has least to do."""
    return tuple(np.array_split(np.arange(count), parts))


@dataclass(frozen=True, eq=False)
class Piece:
    """A block before it has a place: at most an array high and wide."""

    shelf: tuple[int, ...]  # sorts the arrays; pieces of one shelf stand on the same columns (folding)
    offsets: Integers  # (rows, 2) pixel of each row
    channels: Integers  # (rows,) channel of each row
    outputs: Integers  # (weights,) output ids
    cells: dict[int, "NDArray[np.uint8] | DenseCells"]  # (rows, columns) by polarity: one for each array
    shifts: Integers | None = None  # (rows,) of each row's input; None: no shift
    significances: tuple[int, ...] = (0,)  # by band

    @property
    def rows(self) -> int:
        """Rows of the block."""
        return len(self.offsets)

    @property
    def columns(self) -> int:
        """Columns of the block."""
        return next(iter(self.cells.values())).shape[1]


@dataclass(eq=False)
class LogicalArray:
    """Places in an array, or in one for each polarity."""

    pieces: list[Piece] = field(default_factory=list)
    corners: list[tuple[int, int]] = field(default_factory=list)  # first row and column of each piece
    slices: int = 1

    def put(self, piece: Piece, row: int, column: int) -> None:
        """Place a piece with its first row and column at ``row`` and ``column``."""
        self.pieces.append(piece)
        self.corners.append((row, column))

    @property
    def polarities(self) -> list[int]:
        """Polarities of the pieces, +1 first."""
        return sorted({polarity for piece in self.pieces for polarity in piece.cells}, reverse=True)

    def bind(self, pixels: list[Integers], first: int, channels: int, chip: Chip) -> list[Array]:
        """Return the array of each polarity, its rows bound to a tile's window; ``pixels`` are of each piece's rows."""
        blocks = []
        for piece, pixel, (row, column) in zip(self.pieces, pixels, self.corners, strict=True):
            shifts = np.zeros(piece.rows, np.int64) if piece.shifts is None else piece.shifts
            window = pixel * channels + piece.channels - first
            blocks.append(Block(row, column, window, shifts, piece.outputs, piece.significances))
        return [self._array(polarity, blocks, chip) for polarity in self.polarities]

    def _array(self, polarity: int, blocks: list[Block], chip: Chip) -> Array:
        held = [(piece, block) for piece, block in zip(self.pieces, blocks, strict=True) if polarity in piece.cells]
        stored = tuple(piece.cells[polarity] for piece, _ in held)
        return Array(tuple(block for _, block in held), polarity, stored, (chip.rows, chip.columns), self.slices)


def check_signs_apart(mapping: str, chip: Chip, schedule: str, *, why: str = "") -> None:
    """Raise `InputError` where zero cells cannot be left out: with offset encoding, or padding-free."""
    if chip.encoding != "differential":
        raise InputError(
            f"mapping {mapping} needs encoding = 'differential', and chip {chip.name} has {chip.encoding!r}{why}"
        )
    if schedule == "padding-free":
        raise InputError(f"mapping {mapping} needs the red or zero-padding schedule, not padding-free")


def weight_offset(weights: Integers, chip: Chip) -> int:
    """Return what is added to every weight of a layer before it is stored: 0 unless the encoding is offset.

    ``2**(weight_bits - 1)`` where that serves, else what brings the smallest weight to 0. Raises
    `InputError` when largest less smallest weight needs more than ``weight_bits``, or a weight does
    with its sign apart.
    """
    low, high = int(weights.min()), int(weights.max())
    usual, top = chip.weight_offset, 2**chip.weight_bits - 1
    if not usual or (low + usual >= 0 and high + usual <= top):
        return usual
    if low < -top or high > top:
        value = low if low < -top else high
        raise InputError(
            f"weight {value} is outside {-top} .. {top} of weight_bits = {chip.weight_bits} on chip {chip.name}"
        )
    if high - low > top:
        raise InputError(
            f"weights from {low} to {high} differ by more than {top}, the most that offset encoding "
            f"with weight_bits = {chip.weight_bits} holds on chip {chip.name}"
        )
    return -low


def stored_weights(weights: Integers, chip: Chip, offset: int) -> dict[int, Integers]:
    """Return by polarity what the array stores: magnitudes (P, N), or one offset value."""
    if chip.polarities == 2:
        return {1: np.maximum(weights, 0), -1: np.maximum(-weights, 0)}
    return {1: weights + offset}


def slices_of(values: Integers, chip: Chip) -> NDArray[np.uint8]:
    """Return cells (rows, n * slices) of values (rows, n) not below 0, least significant slice first."""
    shifts = np.arange(chip.slices) * chip.cell_bits
    digits = (values[:, :, None] >> shifts) & (2**chip.cell_bits - 1)
    return digits.reshape(values.shape[0], -1).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class DenseCells:
    """Cells of some ``rows`` and ``columns`` of a weight matrix, which NumPy makes when it needs them as an array."""

    matrix: NDArray
    rows: Integers
    columns: Integers
    polarity: int
    offset: int
    chip: Chip

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return len(self.rows), len(self.columns) * self.chip.slices

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray:
        weights = self.matrix[np.ix_(self.rows, self.columns)].astype(np.int64)
        stored = stored_weights(weights, self.chip, self.offset)[self.polarity]
        return slices_of(stored, self.chip).astype(dtype or np.uint8)


def pack_arrays(pieces: list[Piece], chip: Chip, *, share: bool) -> list[LogicalArray]:
    """Give each piece a place.

    Arrays come in the order of the shelves. Pieces of one shelf are stacked on the same columns. With
    ``share``, shelves follow each other down the diagonal of an array while there is room: small
    groups share it.
    """
    shelves: dict[tuple, list[Piece]] = {}
    for piece in pieces:
        shelves.setdefault(piece.shelf, []).append(piece)
    arrays: list[LogicalArray] = []
    row = column = 0
    for _, shelf in sorted(shelves.items()):
        height, width = sum(piece.rows for piece in shelf), max(piece.columns for piece in shelf)
        if not arrays or not share or row + height > chip.rows or column + width > chip.columns:
            arrays.append(LogicalArray(slices=chip.slices))
            row = column = 0
        for piece in shelf:
            arrays[-1].put(piece, row, column)
            row += piece.rows
        column += -(-width // chip.ou_cols) * chip.ou_cols
    return arrays


def deal_groups(pieces: list[Piece], chip: Chip) -> list[LogicalArray]:
    """Give the pieces of small groups, each group's with the same first entry of their shelves, places in arrays.

    Neighbouring groups stand in different arrays of a tile, one after the other, so that all arrays at once take a word
    of neighbouring channels. Tiles are filled one after the other, a tile's arrays evenly. Their number is a power of
    two where the tile has room, so that words of input and of output fall into whole rounds: the last tile may have
    more arrays than it needs. Where a round of groups does not fit, one group stands behind the other along the
    diagonal instead (`pack_arrays` with ``share``).
    """
    in_order = pack_arrays(pieces, chip, share=True)
    by_group: dict[int, list[Piece]] = {}
    for piece in sorted(pieces, key=lambda piece: piece.shelf):
        by_group.setdefault(piece.shelf[0], []).append(piece)
    groups, total = list(by_group.values()), len(in_order)
    each = max(1, chip.arrays_per_tile // chip.polarities)  # arrays of a tile, pairs of both polarities
    full = each * max(len({piece.shelf[0] for piece in array.pieces}) for array in in_order)
    arrays: list[LogicalArray] = []
    for first in range(0, len(groups), full):
        run = groups[first : first + full]
        many = min(each, 1 << (total - len(arrays) - 1).bit_length())
        for index in range(many):
            packed = pack_arrays([piece for group in run[index::many] for piece in group], chip, share=True)
            if len(packed) > 1:
                return in_order
            arrays += packed
    return arrays


def cut_tiles(groups: list[list[LogicalArray]], chip: Chip) -> list[Tile]:
    """Return tiles of arrays in order, as many as a tile holds, their rows bound to the tile's window.

    A group stays together where a tile can hold it; a logical array always does. Arrays of a tile have
    the same ``slices``.
    """
    tiles: list[list[LogicalArray]] = []
    room = 0
    for group in groups:
        whole = sum(len(array.polarities) for array in group)
        for array in group:
            need = whole if array is group[0] and whole <= chip.arrays_per_tile else len(array.polarities)
            if need > room or tiles[-1][-1].slices != array.slices:
                tiles.append([])
                room = chip.arrays_per_tile
            tiles[-1].append(array)
            room -= len(array.polarities)
    return [_tile(arrays, chip) for arrays in tiles]


def _tile(arrays: list[LogicalArray], chip: Chip) -> Tile:
    pieces = [piece for array in arrays for piece in array.pieces]
    first = min(int(piece.channels.min()) for piece in pieces)
    channels = max(int(piece.channels.max()) for piece in pieces) + 1 - first
    every = np.concatenate([piece.offsets for piece in pieces])
    low, wide = every.min(axis=0), int(np.ptp(every[:, 1])) + 1
    keys, pixel = np.unique((every - low) @ [wide, 1], return_inverse=True)  # in order of rows, then columns
    offsets = (np.stack(np.divmod(keys, wide), axis=1) + low).tolist()
    pixels = iter(np.split(pixel, np.cumsum([piece.rows for piece in pieces])[:-1]))
    bound = [
        crossbar
        for array in arrays
        for crossbar in array.bind([next(pixels) for _ in array.pieces], first, channels, chip)
    ]
    return Tile(first, channels, tuple((y, x) for y, x in offsets), tuple(bound), chip.ou_cols)
