"""What a placement computes, through its crossbars, and what it reads to do so. No clock here."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.placement import Array, Block, Placement, Tile, band_groups, column_groups

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
    total, last = found = np.zeros((2, len(windows)), np.int64)
    for block, planes in block_planes(placement, array, windows, skip=skip):
        columns = column_groups(array, block, placement.chip)
        total += planes.sum(axis=0, dtype=np.int64) * columns
        for count in planes:
            np.copyto(last, count * np.int64(columns), where=count != 0)
    return found


def block_planes(
    placement: Placement, array: Array, windows: Integers, *, skip: bool
) -> Iterator[tuple[Block, NDArray[Any]]]:
    """Yield each block of an array with (row groups, steps): the OUs that each of its column groups is read in.

    These are the input planes of the row group; of formed OUs, which have one row group a block, all OUs of all planes.
    """
    bits, each = placement.planes(array), placement.group_rows
    for block in array.blocks:
        groups = -(-block.rows // each)
        if not skip and not placement.dynamic:
            yield block, np.broadcast_to(np.int64(bits), (groups, len(windows)))
            continue
        if groups == 1 and not block.shifts.any() and not placement.dynamic:
            yield block, np.bitwise_count(np.bitwise_or.reduce(windows.T[block.window], axis=0) & (2**bits - 1))[None]
            continue
        driven = np.zeros((groups * each, len(windows)), windows.dtype)
        driven[: block.rows] = windows.T[block.window]
        if block.shifts.any():
            driven[: block.rows] <<= block.shifts[:, None].astype(driven.dtype)
        if placement.dynamic:
            yield block, formed_reads(driven[: block.rows].T, bits, placement.chip.ou_rows, skip=skip)[None]
        else:
            ones = np.bitwise_or.reduce(driven.reshape(groups, each, -1), axis=1) & (2**bits - 1)
            yield block, np.bitwise_count(ones)


def formed_reads(values: Integers, planes: int, ou_rows: int, *, skip: bool) -> Integers:
    """Return (steps,): OUs that hold the active rows of ``values`` (steps, rows), over all input planes (SRE)."""
    total = np.zeros(len(values), np.int64)
    for plane in range(planes):
        ones = (values >> plane & 1).sum(axis=1, dtype=np.int64)
        total += np.maximum(-(-ones // ou_rows), 0 if skip else 1)
    return total


def array_sums(placement: Placement, array: Array, windows: Integers) -> tuple[list[Integers], int]:
    """Return per block the sums (steps, weights) of an array over its row groups, input planes and slices.

    The second is the number of conversions that the ADC cuts.
    """
    chip = placement.chip
    scale = 2 ** (np.arange(array.slices) * chip.cell_bits)
    sums, cut = [], 0
    for block in array.blocks:
        driven = windows[:, block.window] << block.shifts
        whole = np.zeros((len(windows), len(block.outputs)), np.int64)
        for columns, significance in zip(_columns(placement, array, block), block.significances, strict=True):
            cells = array.cells[block.row : block.row + block.rows, columns]
            total = _products(driven, cells)
            if chip.adc_bits < chip.lossless_adc_bits:
                cut += _take_excess(total, placement, driven, cells, placement.planes(array))
            whole += (total.reshape(len(windows), -1, array.slices) * scale).sum(axis=2) << significance
        if placement.weight_offset:
            whole -= placement.weight_offset * driven.sum(axis=1, keepdims=True)
        sums.append(whole * array.polarity)
    return sums, cut


def _products(values: Integers, cells: NDArray[np.uint8]) -> Integers:
    """Return all reads of a block at once: where no code clips, sums of codes are sums of products."""
    # Whole numbers below 2**53 are exact in float64, where the product is a fast one.
    return (values.astype(np.float64) @ cells.astype(np.float64)).astype(np.int64)


def _take_excess(total: Integers, placement: Placement, values: Integers, cells: NDArray[np.uint8], planes: int) -> int:
    """Subtract from ``total`` (steps, columns) what the ADC cuts off in the reads of a block; return how many it cuts.

    Most columns of most OUs hold too little for it, and most reads drive too few rows: only what can be cut is summed.
    """
    chip, count = placement.chip, 0
    most = 2**chip.adc_bits - 1
    for rows, columns in _clipping_units(placement, cells, most):
        held = cells[rows, columns].astype(np.float32)
        fewest = most // int(held.max()) + 1  # rows that drive in a read that is cut
        for plane in range(planes):
            bits = values[:, rows] >> plane & 1
            sign = -1 if placement.format.signed and plane == planes - 1 else 1
            for steps, driven in _driven(placement, bits, fewest):
                over = driven.astype(np.float32) @ held - most  # whole numbers far below 2**24
                np.maximum(over, 0, out=over)
                count += int(np.count_nonzero(over))
                total[np.ix_(steps, columns)] -= sign * (over.astype(np.int64) << plane)
    return count


def _clipping_units(
    placement: Placement, cells: NDArray[np.uint8], most: int
) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Yield rows of a block that are read together, and the columns that hold more than ``most`` in a read of them."""
    each = placement.chip.ou_rows
    if placement.dynamic:  # any ``each`` rows of the block
        highest = np.sort(cells, axis=0)[-each:].sum(axis=0, dtype=np.int64)
        units = [(slice(0, len(cells)), highest)]
    else:
        starts = range(0, len(cells), each)
        sums = np.add.reduceat(cells, starts, axis=0, dtype=np.int64)
        units = [(slice(first, first + each), held) for first, held in zip(starts, sums, strict=True)]
    for rows, held in units:
        columns = np.flatnonzero(held > most)
        if len(columns):
            yield rows, columns


def _driven(placement: Placement, bits: Integers, fewest: int) -> Iterator[tuple[NDArray[np.intp], NDArray]]:
    """Yield the steps whose reads drive ``fewest`` rows or more, and (steps, rows) what they drive."""
    if not placement.dynamic:
        steps = np.flatnonzero(bits.sum(axis=1) >= fewest)
        if len(steps):
            yield steps, bits[steps]
        return
    # The OU of each driving row is that of its place among the rows that drive.
    unit = np.where(bits, (bits.cumsum(axis=1) - 1) // placement.chip.ou_rows, -1)
    for number in range(int(unit.max()) + 1):
        driven = unit == number
        steps = np.flatnonzero(driven.sum(axis=1) >= fewest)
        if len(steps):
            yield steps, driven[steps]


def _columns(placement: Placement, array: Array, block: Block) -> list[slice]:
    """Return for each band of a block the columns that hold its weights."""
    wide = band_groups(array, block, placement.chip) * placement.chip.ou_cols
    firsts = (block.column + band * wide for band in range(len(block.significances)))
    return [slice(first, first + len(block.outputs) * array.slices) for first in firsts]


def run(placement: Placement, codes: Integers) -> Integers:
    """Return outputs (N, M, OH, OW) of activations (N, C, H, W), zero point subtracted, through the crossbars."""
    return run_counted(placement, codes)[0]


def run_counted(placement: Placement, codes: Integers) -> tuple[Integers, int]:
    """Return the outputs as `run`, and in how many conversions for them the ADC cuts a sum."""
    outputs = np.zeros((codes.shape[0], placement.layer.outputs, *placement.sweep.output), np.int64)
    return outputs, sum(_add_tile(placement, tile, codes, outputs) for tile in placement.tiles)


def tile_outputs(placement: Placement, tile: Tile, codes: Integers) -> Integers:
    """Return one tile's share of the outputs (N, M, OH, OW)."""
    y = np.zeros((codes.shape[0], placement.layer.outputs, *placement.sweep.output), np.int64)
    _add_tile(placement, tile, codes, y)
    return y


def _add_tile(placement: Placement, tile: Tile, codes: Integers, y: Integers) -> int:
    """Add a tile's share to the outputs ``y``; return how many conversions the ADC cuts."""
    windows, count = step_windows(placement, tile, codes), 0
    for array in tile.arrays:
        found, cut = array_sums(placement, array, windows)
        count += cut
        for block, sums in zip(array.blocks, found, strict=True):
            scatter(placement, y, block.outputs, sums)
    return count


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
