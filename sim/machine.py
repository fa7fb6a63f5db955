"""What a placement computes, through its crossbars, and what it reads to do so. No clock here."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.placement import Array, Block, Placement, Tile, column_groups
from selvage.sim.devices import Devices
from selvage.sim.reads import tile_sums

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


def run(placement: Placement, codes: Integers, devices: Devices | None = None, *, skip: bool = True) -> Integers:
    """Return outputs (N, M, OH, OW) of activations (N, C, H, W), zero point subtracted, through the crossbars.

    ``devices``: crossbars that are not ideal. With them it matters that OUs that drive nothing are not read (``skip``).
    """
    return run_counted(placement, codes, devices, skip=skip)[0]


def run_counted(
    placement: Placement, codes: Integers, devices: Devices | None = None, *, skip: bool = True
) -> tuple[Integers, int]:
    """Return the outputs as `run`, and in how many conversions for them the ADC of ideal crossbars cuts a sum."""
    y = np.zeros((codes.shape[0], placement.layer.outputs, *placement.sweep.output), np.int64)
    together: dict[tuple, list[int]] = {}  # tiles with the same window
    for index, tile in enumerate(placement.tiles):
        together.setdefault((tile.first_channel, tile.channels, tile.offsets), []).append(index)
    return y, sum(_add_tiles(placement, indices, codes, y, devices, skip) for indices in together.values())


def tile_outputs(
    placement: Placement, tile: Tile, codes: Integers, devices: Devices | None = None, *, skip: bool = True
) -> Integers:
    """Return one tile's share of the outputs (N, M, OH, OW)."""
    y = np.zeros((codes.shape[0], placement.layer.outputs, *placement.sweep.output), np.int64)
    index = next(k for k, own in enumerate(placement.tiles) if own is tile)
    _add_tiles(placement, [index], codes, y, devices, skip)
    return y


def _add_tiles(
    placement: Placement, indices: list[int], codes: Integers, y: Integers, devices: Devices | None, skip: bool
) -> int:
    """Add the share of tiles with the same window to the outputs ``y``; return how many conversions the ADC cuts."""
    tiles = [placement.tiles[index] for index in indices]
    crossbars = None
    if devices:
        crossbars = [devices.crossbar(index, k) for index in indices for k in range(len(placement.tiles[index].arrays))]
    windows, count = step_windows(placement, tiles[0], codes), 0
    for outputs, sums, cut in tile_sums(placement, tiles, windows, crossbars, skip=skip):
        count += cut
        scatter(placement, y, outputs, sums)
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
