"""Patterns and planes together: kernels reordered by what they keep, each bit plane in arrays of its own."""

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.layer import InputFormat, Layer
from selvage.golden.sme import quantise, squeezed
from selvage.mapping.counts import positive_blocks, table_bits
from selvage.mapping.packing import LogicalArray, Piece, cut_tiles
from selvage.mapping.pattern import PatternBlock, check_pattern, pattern_blocks, place_pattern, shelves
from selvage.mapping.placement import Integers, Placement
from selvage.mapping.rows import RowSet, kernel_view, row_sets, taps_by_phase
from selvage.mapping.schedule import choose, sweep_of, taps_of
from selvage.mapping.schemes import Request, Scheme
from selvage.mapping.sme_parameters import SmeParameters


def place_pattern_planes(
    layer: Layer,
    weights: Integers,
    chip: Chip,
    *,
    input_format: InputFormat,
    parameters: SmeParameters,
    schedule: str = "auto",
    dynamic: bool = False,
) -> tuple[Placement, Integers]:
    """Map pruned ``weights`` by patterns, and the patterns' blocks by planes; also the weights it stands for.

    A block is squeezed as `mapping.sme` squeezes a column block: its rows share a shift. Row lists and
    sorted rows (`SmeParameters.compact`, ``sort``) mean nothing here: rows are the pattern's. `InputError`
    as of `place_pattern` and `place_sme`.
    """
    schedule = choose(layer, schedule)
    check_pattern(chip, schedule, slices=1)
    parameters.check(chip)
    codes = quantise(weights, chip.weight_bits, parameters.significant_bits)
    sweep, taps = sweep_of(layer, schedule), taps_of(layer, schedule)
    groups = [row_sets(layer, codes, taps, sweep, group) for group in range(layer.groups)]
    sets = [rows for group in groups for rows in group]
    blocks = pattern_blocks(sets, chip)
    squeezes = {id(block): _squeezed(sets[block.rows], block, chip, parameters) for block in blocks}
    arrays: list[LogicalArray] = []
    for polarity in (1, -1):
        for plane in reversed(range(chip.slices)):
            arrays += _plane(sets, blocks, squeezes, polarity, plane, chip)
    if not arrays:  # a layer has outputs, be its weights all zero
        arrays = _plane(sets, blocks[:1], squeezes, 1, 0, chip, keep=True)
    tiles = cut_tiles([[array] for array in arrays], chip)
    effective = np.zeros_like(codes)
    phases = [members for _, members in sorted(taps_by_phase(taps, sweep).items())]
    for block in blocks:
        group, phase = divmod(block.rows, len(phases))
        kernel, (squeezed, shifts) = kernel_view(layer, effective)[group], squeezes[id(block)]
        for tap, row in zip(block.taps, squeezed << shifts[:, None], strict=True):
            kernel[phases[phase][tap].kernel][block.channel, block.columns] = row
    placement = Placement(layer, chip, input_format, schedule, "pattern", 1, 0, sweep, tuple(tiles), dynamic)
    return placement, effective


def _squeezed(rows: RowSet, block: PatternBlock, chip: Chip, parameters: SmeParameters) -> tuple[NDArray, Integers]:
    """Return codes (h, n) and shifts (h,) of a block."""
    matrix = rows.weights[block.taps[:, None], block.channel, block.columns]
    return squeezed(matrix, chip.weight_bits, parameters.squeeze, truncate=parameters.truncate)


def _plane(
    sets: list[RowSet],
    blocks: list[PatternBlock],
    squeezes: dict[int, tuple[NDArray, Integers]],
    polarity: int,
    plane: int,
    chip: Chip,
    *,
    keep: bool = False,
) -> list[LogicalArray]:
    """Return the arrays of the blocks that hold something in a plane; with ``keep`` of all blocks."""
    bits = plane * chip.cell_bits
    digits = {
        id(block): np.maximum(squeezes[id(block)][0] * polarity, 0) >> bits & 2**chip.cell_bits - 1 for block in blocks
    }
    arrays: dict[int, LogicalArray] = {}
    for place in shelves([block for block in blocks if keep or digits[id(block)].any()], 1, chip):
        block, rows = place.block, sets[place.block.rows]
        chosen = np.searchsorted(block.columns, place.columns)
        piece = Piece(
            shelf=(),
            offsets=np.array(rows.taps)[block.taps],
            channels=np.full(len(block.taps), rows.first + block.channel),
            outputs=rows.outputs[place.columns],
            cells={polarity: digits[id(block)][:, chosen].astype(np.uint8)},
            shifts=squeezes[id(block)][1],
            significances=(bits,),
        )
        arrays.setdefault(place.array, LogicalArray()).put(piece, place.row, place.column)
    return list(arrays.values())


class Pattern(Scheme):
    """The positions that kernels keep; with planes, each plane by patterns."""

    name, order, sparse, planes = "pattern", 1, True, True

    def place(self, request: Request) -> tuple[Placement, Integers]:
        """Return the placement by patterns, or of planes by patterns with the weights that they stand for."""
        keys = {"input_format": request.input_format, "schedule": request.schedule, "dynamic": request.dynamic}
        if request.sme is None:
            return place_pattern(request.layer, request.weights, request.chip, **keys), request.weights
        placement, effective = place_pattern_planes(
            request.layer, request.weights, request.chip, parameters=request.sme, **keys
        )
        return placement, effective.astype(np.int64)

    def index_bits(self, placement: Placement) -> int:
        """Count an output id for each kernel, and mask, channel and number of kernels for each block.

        P and N arrays share them.
        """
        output, mask = table_bits(placement.layer)
        return sum(len(block.outputs) * output + mask for block in positive_blocks(placement))
