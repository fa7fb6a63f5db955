"""Sparse ReRAM engine: in every column group only the rows that hold something, each with its own row list.

After Yang et al., ISCA 2019. Columns in groups as wide as an OU (or a weight, where that is wider); in
each the rows whose cells are all zero are dropped and the others pushed up. Columns of zeros are dropped.
"""

import numpy as np

from selvage.base.chip import Chip
from selvage.base.layer import InputFormat, Layer
from selvage.mapping.counts import positive_blocks, table_bits
from selvage.mapping.packing import (
    LogicalArray,
    Piece,
    check_signs_apart,
    cut_tiles,
    slices_of,
    split_even,
    stored_weights,
)
from selvage.mapping.placement import Integers, Placement
from selvage.mapping.rows import RowSet, row_sets
from selvage.mapping.schedule import choose, sweep_of, taps_of
from selvage.mapping.schemes import Request, Scheme


def place_sre(
    layer: Layer,
    weights: Integers,
    chip: Chip,
    *,
    input_format: InputFormat,
    schedule: str = "auto",
    dynamic: bool = False,
) -> Placement:
    """Map ``weights`` (integers that ``chip`` can store) by row lists, one for each column group.

    `InputError`: offset encoding, which stores no zero; padding-free.
    """
    schedule = choose(layer, schedule)
    check_signs_apart("sre", chip, schedule)
    sweep, taps = sweep_of(layer, schedule), taps_of(layer, schedule)
    arrays = [
        array
        for group in range(layer.groups)
        for rows in row_sets(layer, weights, taps, sweep, group)
        for array in _arrays(rows, chip, keep=False)
    ]
    if not arrays:  # a layer has outputs, be its weights all zero
        arrays = _arrays(row_sets(layer, weights, taps, sweep, 0)[0], chip, keep=True)[:1]
    tiles = cut_tiles([[array] for array in arrays], chip)
    return Placement(layer, chip, input_format, schedule, "sre", 1, 0, sweep, tuple(tiles), dynamic)


def _arrays(rows: RowSet, chip: Chip, *, keep: bool) -> list[LogicalArray]:
    """Return the arrays of a row set; with ``keep`` one weight of an empty one."""
    some = np.flatnonzero(rows.weights.any(axis=(0, 1)))
    columns = some if len(some) or not keep else np.zeros(1, np.int64)
    each = max(1, chip.ou_cols // chip.slices)  # weights of a column group
    wide = -(-each * chip.slices // chip.ou_cols) * chip.ou_cols
    by_word, offsets, channels = rows.order(chip.lanes)
    matrix = rows.weights.reshape(rows.rows, -1)[by_word]
    across = max(1, chip.columns // wide)  # groups that stand side by side
    arrays: dict[tuple[int, int], LogicalArray] = {}
    for number, first in enumerate(range(0, len(columns), each)):
        chosen = columns[first : first + each]
        held = np.flatnonzero(matrix[:, chosen].any(axis=1))
        held = held if len(held) else np.zeros(1, np.int64)
        for chunk, part in enumerate(split_even(len(held), -(-len(held) // chip.rows))):
            array = arrays.setdefault((number // across, chunk), LogicalArray(slices=chip.slices))
            stored = stored_weights(matrix[np.ix_(held[part], chosen)], chip, 0)
            piece = Piece(
                shelf=(),
                offsets=offsets[held[part]],
                channels=channels[held[part]],
                outputs=rows.outputs[chosen],
                cells={sign: slices_of(values, chip) for sign, values in stored.items()},
            )
            array.put(piece, 0, number % across * wide)
    return list(arrays.values())


class Sre(Scheme):
    """A row list for each column group."""

    name, order, sparse = "sre", 2, True

    def place(self, request: Request) -> tuple[Placement, Integers]:
        """Return the placement by row lists, and the weights as they are."""
        keys = {"input_format": request.input_format, "schedule": request.schedule, "dynamic": request.dynamic}
        return place_sre(request.layer, request.weights, request.chip, **keys), request.weights

    def index_bits(self, placement: Placement) -> int:
        """Count a row for each row of a block, and an output id for each weight. P and N arrays share them."""
        layer = placement.layer
        output, _ = table_bits(layer)
        row = max(1, (layer.kernel[0] * layer.kernel[1] * layer.channels - 1).bit_length())
        return sum(len(block.outputs) * output + block.rows * row for block in positive_blocks(placement))
