"""Where codes of a memory stand in the cells of a placement: what rewrites the cells walks it row by row."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Array, Integers


@dataclass(frozen=True)
class CellRow:
    """A word line of a P array, and the same of the N array behind it.

    ``slots``: of each weight's place on the row, from column 0, the index of its code; -1 where none stands.
    """

    array: int
    row: int
    slots: tuple[int, ...]


def check_pairs(chip: Chip) -> None:
    """Raise `InputError` where a chip has no pairs of P and N arrays."""
    if chip.polarities != 2:
        raise InputError(
            f"training needs encoding = 'differential' and signed weights, and chip {chip.name} has "
            f"encoding = {chip.encoding!r} and weight_signed = {str(chip.weight_signed).lower()}"
        )


def cell_rows(layer: Layer, chip: Chip, numbers: InputFormat, order: Integers) -> tuple[CellRow, ...]:
    """Return the rows of the dense placement of ``layer`` that hold weights, array by array.

    ``order``, of the layer's weight shape: the index of each weight's code in the memory.
    """
    # A placement does not tell which weight a cell belongs to: weights that are single bits of their index do.
    found: Any = 0
    arrays: list[Array] = []
    for bit in range(int(order.max() + 1).bit_length()):
        placed = place_dense(layer, (order + 1) >> bit & 1, chip, input_format=numbers)
        arrays = [array for _, tile in placed.standing for array in tile.arrays]
        found = found + (np.array([array.cells[:, :: chip.slices] for array in arrays], np.int64) << bit)
    indices = np.asarray(found) - 1
    rows = []
    for positive, (array, after) in enumerate(pairwise(arrays)):
        if array.polarity < 0:
            continue
        assert after.polarity < 0 and array.alike(after), "a P array has its N array behind it"
        for row in range(chip.rows):
            own = indices[positive, row, : chip.columns // chip.slices]
            if (own >= 0).any():
                rows.append(CellRow(positive, row, tuple(own[: int(np.flatnonzero(own >= 0)[-1]) + 1].tolist())))
    return tuple(rows)
