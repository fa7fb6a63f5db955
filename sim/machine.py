"""What a placement computes, through its crossbars, and what it reads to do so. No clock here."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.placement import Array, Block, Placement, Tile, band_groups, column_groups
from selvage.sim.crossbar import Crossbar

Integers = NDArray[np.int64]


def step_windows(placement: Placement, tile: Tile, codes: Integers, rows: slice = slice(None)) -> Integers:
    """Return the window of each step, (N * steps, pixels * channels), of codes (N, C, H, W); zero outside the map.

    ``rows`` picks rows of steps.
    """
    sweep = placement.sweep
    maps = codes[:, tile.first_channel : tile.first_channel + tile.channels]
    axes = []
    for axis in range(2):
        base = np.arange(sweep.steps[axis])[rows if axis == 0 else slice(None)] * sweep.stride[axis]
        at = base[:, None] + np.array([offset[axis] for offset in tile.offsets])
        index, between = np.divmod(at, sweep.insert[axis])
        inside = (between == 0) & (index >= 0) & (index < sweep.size[axis])
        axes.append((np.clip(index, 0, sweep.size[axis] - 1), inside))
    (lines, rows_inside), (columns, columns_inside) = axes
    # In memory the steps of one window index are neighbours: `ou_reads` takes one index after the other.
    windows = np.zeros((len(tile.offsets), tile.channels, len(codes), len(lines), len(columns)), codes.dtype)
    for pixel, window in enumerate(windows):
        to_rows, to_columns = np.flatnonzero(rows_inside[:, pixel]), np.flatnonzero(columns_inside[:, pixel])
        picked = maps[:, :, lines[to_rows, pixel, None], columns[to_columns, pixel]]
        window[:, :, to_rows[:, None], to_columns] = picked.swapaxes(0, 1)
    return windows.reshape(len(tile.offsets) * tile.channels, -1).T


def window_bands(placement: Placement, tile: Tile, codes: Integers, entries: int = 2**23) -> Iterator[Integers]:
    """Yield `step_windows` image by image, in bands of step rows of about ``entries`` numbers, in order of steps."""
    each = placement.sweep.steps[1] * len(tile.offsets) * tile.channels
    band = max(1, entries // each)
    for image in range(len(codes)):
        for first in range(0, placement.sweep.steps[0], band):
            yield step_windows(placement, tile, codes[image : image + 1], slice(first, first + band))


def ou_reads(placement: Placement, array: Array, windows: Integers, *, skip: bool) -> Integers:
    """Return the OU reads of an array in each step, (steps,)."""
    return group_reads(placement, array, windows, skip=skip)[0]


def group_reads(placement: Placement, array: Array, windows: Integers, *, skip: bool) -> Integers:
    """Return (2, steps): OU reads of an array in each step, and those of the last row group that it reads."""
    bits, each = placement.planes(array), placement.group_rows
    total, last = found = np.zeros((2, len(windows)), np.int64)
    for block in array.blocks:
        columns, groups = column_groups(array, block, placement.chip), -(-block.rows // each)
        if not skip and not placement.dynamic:
            total += bits * groups * columns
            last[:] = bits * columns
            continue
        if groups == 1 and not block.shifts.any() and not placement.dynamic:
            planes = np.bitwise_count(np.bitwise_or.reduce(windows.T[block.window], axis=0) & (2**bits - 1))
            total += planes * np.int64(columns)
            np.copyto(last, planes * np.int64(columns), where=planes != 0)
            continue
        driven = np.zeros((groups * each, len(windows)), windows.dtype)
        driven[: block.rows] = windows.T[block.window]
        if block.shifts.any():
            driven[: block.rows] <<= block.shifts[:, None].astype(driven.dtype)
        if placement.dynamic:
            own = driven[: block.rows].T
            planes = formed_reads(own, bits, placement.chip.ou_rows, skip=skip)[None]
        else:
            ones = np.bitwise_or.reduce(driven.reshape(groups, each, -1), axis=1) & (2**bits - 1)
            planes = np.bitwise_count(ones)
        total += planes.sum(axis=0, dtype=np.int64) * columns
        for own in planes:
            np.copyto(last, own * np.int64(columns), where=own != 0)
    return found


def formed_reads(values: Integers, planes: int, ou_rows: int, *, skip: bool) -> Integers:
    """Return (steps,): OUs that hold the active rows of ``values`` (steps, rows), over all input planes (SRE)."""
    total = np.zeros(len(values), np.int64)
    for plane in range(planes):
        ones = (values >> plane & 1).sum(axis=1, dtype=np.int64)
        total += np.maximum(-(-ones // ou_rows), 0 if skip else 1)
    return total


def array_sums(placement: Placement, array: Array, windows: Integers) -> list[Integers]:
    """Return per block the sums (steps, weights) of an array over its row groups, input planes and slices."""
    chip = placement.chip
    crossbar = Crossbar(array.cells, chip)
    scale = 2 ** (np.arange(array.slices) * chip.cell_bits)
    sums = []
    for block in array.blocks:
        driven = windows[:, block.window] << block.shifts
        whole = np.zeros((len(windows), len(block.outputs)), np.int64)
        for columns, significance in zip(_columns(placement, array, block), block.significances, strict=True):
            if chip.adc_bits >= chip.lossless_adc_bits:
                total = _whole(block, array.cells[:, columns], driven)
            else:
                total = _read_by_read(block, crossbar, columns, driven, placement, placement.planes(array))
            whole += (total.reshape(len(windows), -1, array.slices) * scale).sum(axis=2) << significance
        if placement.weight_offset:
            whole -= placement.weight_offset * driven.sum(axis=1, keepdims=True)
        sums.append(whole * array.polarity)
    return sums


def _whole(block: Block, columns: NDArray[np.uint8], values: Integers) -> Integers:
    """Return all reads of a block at once: where no code can clip, sums of codes are sums of products."""
    cells = columns[block.row : block.row + block.rows]
    # Whole numbers below 2**53 are exact in float64, where the product is a fast one.
    return (values.astype(np.float64) @ cells.astype(np.float64)).astype(np.int64)


def _read_by_read(
    block: Block, crossbar: Crossbar, columns: slice, values: Integers, placement: Placement, planes: int
) -> Integers:
    total = np.zeros((len(values), columns.stop - columns.start), np.int64)
    for plane, wordlines in _driven_lines(block, values, placement, planes):
        codes = crossbar.codes(wordlines)[:, columns] << plane
        total += -codes if placement.format.signed and plane == planes - 1 else codes
    return total


def _driven_lines(
    block: Block, values: Integers, placement: Placement, planes: int
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each read of a block: the plane, and (steps, rows) the word lines that it drives."""
    chip = placement.chip
    for plane in range(planes):
        bits = values >> plane & 1
        # The OU of each driving row: of its place among the rows, or among those that drive.
        place = bits.cumsum(axis=1) - 1 if placement.dynamic else np.arange(block.rows)[None]
        unit = np.where(bits, place // chip.ou_rows, -1)
        for number in range(-(-block.rows // chip.ou_rows)):
            wordlines = np.zeros((len(values), chip.rows), np.int64)
            wordlines[:, block.row : block.row + block.rows] = unit == number
            yield plane, wordlines


def clipped(placement: Placement, codes: Integers) -> int:
    """Return in how many conversions the ADC cuts a sum, of all for the outputs of ``codes`` (N, C, H, W)."""
    chip, total = placement.chip, 0
    for tile in placement.tiles if chip.adc_bits < chip.lossless_adc_bits else ():
        windows = step_windows(placement, tile, codes)
        for array in tile.arrays:
            crossbar = Crossbar(array.cells, chip)
            for block in array.blocks:
                driven = windows[:, block.window] << block.shifts
                for _, wordlines in _driven_lines(block, driven, placement, placement.planes(array)):
                    cut = crossbar.clips(wordlines)
                    total += sum(int(cut[:, columns].sum()) for columns in _columns(placement, array, block))
    return total


def _columns(placement: Placement, array: Array, block: Block) -> list[slice]:
    """Return for each band of a block the columns that hold its weights."""
    wide = band_groups(array, block, placement.chip) * placement.chip.ou_cols
    firsts = (block.column + band * wide for band in range(len(block.significances)))
    return [slice(first, first + len(block.outputs) * array.slices) for first in firsts]


def run(placement: Placement, codes: Integers) -> Integers:
    """Return outputs (N, M, OH, OW) of activations (N, C, H, W), zero point subtracted, through the crossbars."""
    outputs = np.zeros((codes.shape[0], placement.layer.outputs, *placement.sweep.output), np.int64)
    for tile in placement.tiles:
        outputs += tile_outputs(placement, tile, codes)
    return outputs


def tile_outputs(placement: Placement, tile: Tile, codes: Integers) -> Integers:
    """Return one tile's share of the outputs (N, M, OH, OW)."""
    y = np.zeros((codes.shape[0], placement.layer.outputs, *placement.sweep.output), np.int64)
    windows = step_windows(placement, tile, codes)
    for array in tile.arrays:
        for block, sums in zip(array.blocks, array_sums(placement, array, windows), strict=True):
            scatter(placement, y, block.outputs, sums)
    return y


def scatter(placement: Placement, y: Integers, outputs: Integers, sums: Integers) -> None:
    """Add (N * steps, outputs) step by step to the pixels of ``y`` that the output ids name."""
    sweep, m = placement.sweep, placement.layer.outputs
    maps = sums.reshape(y.shape[0], *sweep.steps, -1)
    for phase in np.unique(outputs // m):
        chosen = np.flatnonzero(outputs // m == phase)
        at = []
        for axis in range(2):
            positions = np.arange(sweep.steps[axis]) * sweep.block[axis] + sweep.phases[phase][axis]
            positions -= sweep.crop[axis]
            inside = np.flatnonzero((positions >= 0) & (positions < sweep.output[axis]))
            at.append((inside, positions[inside]))
        (rows, to_rows), (columns, to_columns) = at
        part = maps[:, rows[:, None], columns][..., chosen].transpose(0, 3, 1, 2)
        y[np.ix_(np.arange(y.shape[0]), outputs[chosen] % m, to_rows, to_columns)] += part
