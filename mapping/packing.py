"""Pieces of a layer's weight matrix into arrays."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mapping.placement import Array, Block, Integers
from spec.chip import Chip


def split_even(count: int, parts: int) -> list[NDArray[np.int64]]:
    """``range(count)`` in ``parts`` runs that differ by at most one: the busiest array has least to do."""
    return np.array_split(np.arange(count), parts)


@dataclass(frozen=True, eq=False)
class Piece:
    """A block before it has a place: at most an array high and wide."""

    shelf: tuple[int, ...]  # sorts the arrays; pieces of one shelf stand on the same columns (folding)
    offsets: Integers  # (rows, 2) pixel of each row
    channels: Integers  # (rows,) channel of each row
    outputs: Integers  # (weights,) output ids
    weights: Integers  # (rows, weights)


@dataclass(eq=False)
class LogicalArray:
    """Places in an array, before the weights are split by sign."""

    pieces: list[Piece] = field(default_factory=list)
    corners: list[tuple[int, int]] = field(default_factory=list)  # first row and column of each piece

    def put(self, piece: Piece, row: int, column: int) -> None:
        self.pieces.append(piece)
        self.corners.append((row, column))

    def bind(self, pixels: dict, first: int, channels: int, chip: Chip) -> list[Array]:
        """The arrays of each polarity, their rows bound to a tile's window."""
        blocks = []
        cells = [np.zeros((chip.rows, chip.columns), np.uint8) for _ in range(chip.polarities)]
        for piece, (row, column) in zip(self.pieces, self.corners, strict=True):
            pixel = np.array([pixels[y, x] for y, x in piece.offsets.tolist()])
            window = pixel * channels + piece.channels - first
            blocks.append(Block(row, column, window, piece.outputs))
            for stored, values in zip(cells, stored_weights(piece.weights, chip), strict=True):
                digits = slices_of(values, chip)
                stored[row : row + digits.shape[0], column : column + digits.shape[1]] = digits
        return [Array(tuple(blocks), polarity, stored) for polarity, stored in zip((1, -1), cells, strict=False)]


def stored_weights(weights: Integers, chip: Chip) -> list[Integers]:
    """What the array of each polarity stores: magnitudes (P, N), or one offset value."""
    if chip.polarities == 2:
        return [np.maximum(weights, 0), np.maximum(-weights, 0)]
    return [weights + chip.weight_offset]


def slices_of(values: Integers, chip: Chip) -> NDArray[np.uint8]:
    """(rows, n) values not below 0 as (rows, n * slices) cells, least significant slice first."""
    shifts = np.arange(chip.slices) * chip.cell_bits
    digits = (values[:, :, None] >> shifts) & (2**chip.cell_bits - 1)
    return digits.reshape(values.shape[0], -1).astype(np.uint8)


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
        height = sum(piece.weights.shape[0] for piece in shelf)
        width = max(piece.weights.shape[1] for piece in shelf) * chip.slices
        if not arrays or not share or row + height > chip.rows or column + width > chip.columns:
            arrays.append(LogicalArray())
            row = column = 0
        for piece in shelf:
            arrays[-1].put(piece, row, column)
            row += piece.weights.shape[0]
        column += -(-width // chip.ou_cols) * chip.ou_cols
    return arrays
