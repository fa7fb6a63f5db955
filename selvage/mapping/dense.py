"""The dense mapping: all weights stored, their bits side by side, on the layer's schedule."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.mapping.packing import DenseCells, Piece, cut_tiles, deal_groups, pack_arrays, split_even, weight_offset
from selvage.mapping.placement import Integers, Placement, Tile
from selvage.mapping.rows import RowSet, row_sets
from selvage.mapping.schedule import Tap, choose, sweep_of, taps_of
from selvage.mapping.schemes import Request, Scheme

_Part = list[tuple[RowSet, Integers]]  # row sets, and which of their columns


def place_dense(
    layer: Layer,
    weights: Integers,
    chip: Chip,
    *,
    input_format: InputFormat,
    schedule: str = "auto",
    fold: int = 1,
    dynamic: bool = False,
) -> Placement:
    """Map ``weights`` (``layer.weight_shape``, integers that ``chip`` can store) on ``chip``.

    ``fold`` sub-crossbars of different phases share the rows of one array (RED only): ``fold`` times
    the reads, ``1/fold`` of the column circuits. ``dynamic``: see `mapping.placement.Placement`. Raises
    `InputError` for a schedule or fold that the layer cannot have.
    """
    placement, _ = _placed(layer, weights, chip, input_format, schedule, fold, dynamic, alike=False)
    return placement


def dense_kinds(
    layer: Layer,
    chip: Chip,
    *,
    input_format: InputFormat,
    schedule: str = "auto",
    fold: int = 1,
    dynamic: bool = False,
) -> tuple[Placement, list[int]]:
    """Return the tiles of `place_dense` that differ in more than which output channels they hold, without cells.

    For counting without weights: a `Placement` with one tile of each kind, and of every tile of the whole, in order,
    which of them it is. Tiles of a kind have the same structure, window and rows, so the same reads and cycles.
    """
    nothing = np.broadcast_to(np.int16(0), layer.weight_shape)
    return _placed(layer, nothing, chip, input_format, schedule, fold, dynamic, alike=True)


def _placed(
    layer: Layer,
    weights: NDArray,
    chip: Chip,
    input_format: InputFormat,
    schedule: str,
    fold: int,
    dynamic: bool,
    *,
    alike: bool,
) -> tuple[Placement, list[int]]:
    """Return the placement, and which of its tiles each tile is; with ``alike`` one tile for all equal ones."""
    schedule = choose(layer, schedule)
    sweep = sweep_of(layer, schedule)
    _check_fold(fold, schedule, len(sweep.phases), chip)
    taps = taps_of(layer, schedule)
    offset = weight_offset(weights, chip)
    sets = [row_sets(layer, weights, taps, sweep, group) for group in range(layer.groups)]
    tiles: list[Tile] = []
    order: list[int] = []
    if layer.groups > 1 and _fits_one_array(layer, taps, schedule, chip):
        pieces = [piece for rows in sets for piece in _pieces(rows, chip, fold, offset)]
        tiles = cut_tiles([[array] for array in deal_groups(pieces, chip)], chip)
        order = list(range(len(tiles)))
    else:
        for rows in sets:
            known: dict[object, range] = {}  # tiles of a part
            for index, part in enumerate(_column_parts(rows, chip, len(taps) if sweep.overlap else 0)):
                key = _likeness(part, layer.outputs) if alike else index
                if key not in known:
                    chosen = [r.chosen(columns) for r, columns in part]
                    arrays = pack_arrays(_pieces(chosen, chip, fold, offset), chip, share=False)
                    first = len(tiles)
                    tiles += cut_tiles([[array] for array in arrays], chip)
                    known[key] = range(first, len(tiles))
                order += known[key]
    return Placement(layer, chip, input_format, schedule, "dense", fold, offset, sweep, tuple(tiles), dynamic), order


def _likeness(part: _Part, outputs: int) -> tuple:
    """Return what the tiles of a part have of its output ids: phases, and which channels are equal or follow."""
    ids = np.concatenate([rows.outputs[columns] for rows, columns in part])
    rank = np.unique(ids % outputs, return_inverse=True)[1]
    return tuple(len(columns) for _, columns in part), (ids // outputs).tobytes(), rank.tobytes()


def _check_fold(fold: int, schedule: str, phases: int, chip: Chip) -> None:
    if fold < 1 or fold > phases:
        raise InputError(f"fold {fold} is outside 1 .. {phases}, the phases of the {schedule} schedule")
    if fold > 1 and schedule != "red":
        raise InputError(f"fold {fold} needs the red schedule, not {schedule}")
    if fold > chip.rows:
        raise InputError(f"fold {fold} is more than the {chip.rows} rows of an array of {chip.name}")


def _fits_one_array(layer: Layer, taps: list[Tap], schedule: str, chip: Chip) -> bool:
    """Return whether all rows and columns of one group fit an array, so that groups can share it."""
    rows = (1 if schedule == "padding-free" else len(taps)) * (layer.channels // layer.groups)
    columns = (len(taps) if schedule == "padding-free" else 1) * (layer.outputs // layer.groups)
    return rows <= chip.rows and columns <= chip.columns // chip.slices


def _chunks(rows: RowSet, chip: Chip, fold: int) -> int:
    """Return the arrays that the rows need, one above the other."""
    return -(-rows.rows // (chip.rows // fold))


def _column_parts(rows: list[RowSet], chip: Chip, overlap: int) -> Iterator[_Part]:
    """Return the columns that the same tiles hold: as many blocks as fit beside all rows, at least one.

    ``overlap`` is the number of taps whose columns stand side by side (padding-free), or 0.
    """
    chunks = sum(_chunks(r, chip, 1) for r in rows)
    each = max(1, chip.arrays_per_tile // chip.polarities // chunks)
    width = chip.columns // chip.slices
    if overlap:
        yield from _parts_by_output(rows[0], overlap, each, width)
        return
    outputs = len(rows[0].outputs)
    blocks = split_even(outputs, -(-outputs // width))
    for first in range(0, len(blocks), each):
        chosen = np.concatenate(blocks[first : first + each])
        yield [(r, chosen) for r in rows]


def _parts_by_output(rows: RowSet, taps: int, each: int, width: int) -> Iterator[_Part]:
    """Return ``each`` blocks of at most ``width`` columns for padding-free: a block's channels have all taps.

    Where a block cannot hold all taps of a channel, a channel takes several blocks. Columns stay in
    order of taps.
    """
    channels = len(rows.outputs) // taps
    index = np.arange(len(rows.outputs)).reshape(taps, channels)
    many = max(1, width // taps)
    blocks = [index[:, part].ravel() for part in split_even(channels, -(-channels // many))]
    if taps > width:
        blocks = [part for block in blocks for part in np.array_split(block, -(-taps // width))]
    for first in range(0, len(blocks), each):
        yield [(rows, block) for block in blocks[first : first + each]]


def _pieces(part: list[RowSet], chip: Chip, fold: int, offset: int) -> list[Piece]:
    """Return rows cut to the height of an array and columns to its width, both evenly."""
    pieces, signs = [], (1, -1)[: chip.polarities]
    for order, rows in enumerate(part):
        n = len(rows.outputs)
        by_word, offsets, channel = rows.order(chip.lanes)
        # As narrow as every weight of the chip allows: the matrix stays as long as its cells may be asked for.
        narrow = rows.weights.astype(np.int16 if chip.weight_bits < 16 else np.int32, copy=False)
        matrix = narrow.reshape(-1, n)[by_word]
        width = chip.columns // chip.slices
        for column, chosen in enumerate(split_even(n, -(-n // width))):
            for chunk, in_chunk in enumerate(split_even(rows.rows, _chunks(rows, chip, fold))):
                word = (int(channel[in_chunk[0]]) - rows.first) // chip.lanes
                pieces.append(
                    Piece(
                        shelf=(rows.first, word, column, order // fold, chunk),
                        offsets=offsets[in_chunk],
                        channels=channel[in_chunk],
                        outputs=rows.outputs[chosen],
                        cells={sign: DenseCells(matrix, in_chunk, chosen, sign, offset, chip) for sign in signs},
                    )
                )
    return pieces


def dense_crossbars(layer: Layer, chip: Chip, *, bits: int, cell_bits: int = 1, polarities: int = 2) -> int:
    """Return how many arrays of ``chip`` a layer takes when all its weights, of ``bits``, are stored.

    ``polarities * ceil(C*K*K / rows) * ceil(M * slices / columns)``; groups whose rows fit an array
    share one along its diagonal. What is compared with, in any precision: `place_dense` makes the
    arrays that the chip's own precision needs.
    """
    rows, outputs = layer.kernel[0] * layer.kernel[1] * layer.channels // layer.groups, layer.outputs // layer.groups
    joined = min(layer.groups, max(1, chip.rows // rows)) if layer.groups > 1 else 1
    columns = -(-joined * outputs * -(-bits // cell_bits) // chip.columns)
    return polarities * -(-layer.groups // joined) * -(-joined * rows // chip.rows) * columns


class Dense(Scheme):
    """All weights, zeros too, where the layer has them."""

    name, order, every_schedule = "dense", 0, True

    def place(self, request: Request) -> tuple[Placement, Integers]:
        """Return the dense placement, and the weights as they are."""
        keys = {"input_format": request.input_format, "schedule": request.schedule, "dynamic": request.dynamic}
        return place_dense(request.layer, request.weights, request.chip, **keys), request.weights
