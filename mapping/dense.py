"""The dense mapping: all weights stored, their bits side by side, on the layer's schedule."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapping.packing import Piece, cut_tiles, pack_arrays, slices_of, split_even, stored_weights, weight_offset
from mapping.placement import Integers, Placement, Tile
from mapping.schedule import Tap, choose, sweep_of, taps_of
from spec.chip import Chip
from spec.errors import InputError
from spec.layer import InputFormat, Layer


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows whose currents may add, and the weights that stand on them.

    ``taps`` (t,) pixel offsets; ``outputs`` (n,) output ids; ``weights`` (t, c, n) of the group's
    channels, which begin at channel ``first``.
    """

    taps: tuple[tuple[int, int], ...]
    outputs: Integers
    weights: Integers
    first: int

    def columns(self, chosen: NDArray[np.int64]) -> "_Rows":
        return _Rows(self.taps, self.outputs[chosen], self.weights[:, :, chosen], self.first)


def place_dense(
    layer: Layer,
    weights: Integers,
    chip: Chip,
    *,
    input_format: InputFormat,
    schedule: str = "auto",
    fold: int = 1,
) -> Placement:
    """Map ``weights`` (``layer.weight_shape``, integers that ``chip`` can store) on ``chip``.

    ``fold`` sub-crossbars of different phases share the rows of one array (RED only): ``fold`` times
    the reads, ``1/fold`` of the column circuits. Raises `InputError` for a schedule or fold that the
    layer cannot have.
    """
    schedule = choose(layer, schedule)
    sweep = sweep_of(layer, schedule)
    _check_fold(fold, schedule, len(sweep.phases), chip)
    taps = taps_of(layer, schedule)
    kernel, offset = _kernel(layer, weights), weight_offset(weights, chip)
    row_sets = [_row_sets(layer, kernel, taps, sweep.phases, schedule, group) for group in range(layer.groups)]
    tiles: list[Tile] = []
    if layer.groups > 1 and _fits_one_array(layer, taps, schedule, chip):
        pieces = [piece for rows in row_sets for piece in _pieces(rows, chip, fold, offset)]
        tiles = cut_tiles(pack_arrays(pieces, chip, share=True), chip)
    else:
        for rows in row_sets:
            for part in _column_parts(rows, chip, len(taps) if sweep.overlap else 0):
                tiles += cut_tiles(pack_arrays(_pieces(part, chip, fold, offset), chip, share=False), chip)
    return Placement(layer, chip, input_format, schedule, "dense", fold, chip.slices, offset, sweep, tuple(tiles))


def _check_fold(fold: int, schedule: str, phases: int, chip: Chip) -> None:
    if fold < 1 or fold > phases:
        raise InputError(f"fold {fold} is outside 1 .. {phases}, the phases of the {schedule} schedule")
    if fold > 1 and schedule != "red":
        raise InputError(f"fold {fold} needs the red schedule, not {schedule}")
    if fold > chip.rows:
        raise InputError(f"fold {fold} is more than the {chip.rows} rows of an array of {chip.name}")


def _kernel(layer: Layer, weights: Integers) -> Integers:
    """Weights as (groups, KH, KW, C per group, M per group)."""
    c, m, g = layer.channels // layer.groups, layer.outputs // layer.groups, layer.groups
    if layer.op == "dense":
        return weights.reshape(1, 1, 1, c, m)
    if layer.op == "conv_transpose":
        return weights.reshape(g, c, m, *layer.kernel).transpose(0, 3, 4, 1, 2)
    return weights.reshape(g, m, c, *layer.kernel).transpose(0, 3, 4, 2, 1)


def _row_sets(
    layer: Layer,
    kernel: Integers,
    taps: list[Tap],
    phases: tuple[tuple[int, int], ...],
    schedule: str,
    group: int,
) -> list[_Rows]:
    """Of one group of channels: a set of rows per phase; padding-free, one for all its taps."""
    c, m = kernel.shape[3:]
    outputs = group * m + np.arange(m)
    by_phase: dict[int, list[Tap]] = {}
    for tap in taps:
        by_phase.setdefault(phases.index(tap.phase), []).append(tap)
    values = {
        phase: np.stack([kernel[group, tap.kernel[0], tap.kernel[1]] for tap in own]) for phase, own in by_phase.items()
    }
    if schedule == "padding-free":
        ids = np.concatenate([phase * layer.outputs + outputs for phase in by_phase])
        return [_Rows(((0, 0),), ids, np.concatenate([values[p] for p in by_phase], axis=2), group * c)]
    return [
        _Rows(tuple(tap.offset for tap in own), phase * layer.outputs + outputs, values[phase], group * c)
        for phase, own in sorted(by_phase.items())
    ]


def _fits_one_array(layer: Layer, taps: list[Tap], schedule: str, chip: Chip) -> bool:
    """Whether all rows and columns of one group fit an array, so that groups can share it."""
    rows = (1 if schedule == "padding-free" else len(taps)) * (layer.channels // layer.groups)
    columns = (len(taps) if schedule == "padding-free" else 1) * (layer.outputs // layer.groups)
    return rows <= chip.rows and columns <= chip.columns // chip.slices


def _chunks(rows: _Rows, chip: Chip, fold: int) -> int:
    """Arrays that the rows need, one above the other."""
    return -(-len(rows.taps) * rows.weights.shape[1] // (chip.rows // fold))


def _column_parts(rows: list[_Rows], chip: Chip, overlap: int) -> Iterator[list[_Rows]]:
    """The columns that the same tiles hold: as many blocks as fit beside all rows, at least one.

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
        yield [r.columns(chosen) for r in rows]


def _parts_by_output(rows: _Rows, taps: int, each: int, width: int) -> Iterator[list[_Rows]]:
    """Padding-free: ``each`` blocks of at most ``width`` columns; a block holds channels with all taps.

    Where a block cannot hold all taps of a channel, a channel takes several blocks. Columns stay in
    order of taps.
    """
    channels = len(rows.outputs) // taps
    index = np.arange(len(rows.outputs)).reshape(taps, channels)
    many = max(1, width // taps)
    blocks = [index[:, own].ravel() for own in split_even(channels, -(-channels // many))]
    if taps > width:
        blocks = [part for block in blocks for part in np.array_split(block, -(-taps // width))]
    for first in range(0, len(blocks), each):
        yield [rows.columns(block) for block in blocks[first : first + each]]


def _pieces(part: list[_Rows], chip: Chip, fold: int, offset: int) -> list[Piece]:
    """Rows cut to the height of an array, columns to its width, both evenly.

    Rows are in order of channel words, then taps, then channels: neighbouring arrays, and so a tile,
    need few channels of many pixels, in whole words of the input buffer.
    """
    pieces = []
    for order, rows in enumerate(part):
        t, c, n = rows.weights.shape
        channel, tap = np.tile(np.arange(c), t), np.repeat(np.arange(t), c)
        by_word = np.lexsort((channel, tap, channel // chip.lanes))
        offsets, channel = np.array(rows.taps)[tap[by_word]], channel[by_word]
        matrix = rows.weights.reshape(t * c, n)[by_word]
        width = chip.columns // chip.slices
        for column, chosen in enumerate(split_even(n, -(-n // width))):
            for chunk, own in enumerate(split_even(t * c, _chunks(rows, chip, fold))):
                word = int(channel[own[0]]) // chip.lanes
                stored = stored_weights(matrix[np.ix_(own, chosen)], chip, offset)
                pieces.append(
                    Piece(
                        shelf=(rows.first, word, column, order // fold, chunk),
                        offsets=offsets[own],
                        channels=rows.first + channel[own],
                        outputs=rows.outputs[chosen],
                        cells={sign: slices_of(values, chip) for sign, values in stored.items()},
                    )
                )
    return pieces
