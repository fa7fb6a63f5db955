"""Bit-sliced weights: each plane of few significant bits in arrays of its own, the top ones squeezed out.

After Liu et al., arXiv 2103.01705; the arithmetic is `golden.sme`. A plane is one cell of a weight:
one bit, or ``cell_bits``. Planes that hold nothing have no array.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.layer import InputFormat, Layer
from selvage.golden.sme import quantise, squeezed
from selvage.mapping.packing import LogicalArray, Piece, cut_tiles, split_even
from selvage.mapping.placement import Integers, Placement
from selvage.mapping.rows import RowSet, kernel_view, row_sets, taps_by_phase
from selvage.mapping.schedule import choose, sweep_of, taps_of
from selvage.mapping.schemes import Request, Scheme
from selvage.mapping.sme_parameters import SmeParameters

LEAST_GAIN = 0.05  # of the arrays: less is not worth other weights


def worth(planes: int, dense: int) -> bool:
    """Return whether `auto` takes planes: they change weights, so they must save some arrays for it."""
    return planes <= (1 - LEAST_GAIN) * dense


@dataclass(frozen=True, eq=False)
class _Plane:
    """What one array keeps of a plane: ``rows`` of its column block, in order."""

    plane: int
    chunk: int  # of rows
    rows: Integers


@dataclass(frozen=True, eq=False)
class _ColumnBlock:
    """At most an array's columns of a row set, squeezed, and the arrays that hold it."""

    rows: RowSet
    codes: NDArray  # (rows, n) after the squeeze
    shifts: Integers  # (rows,)
    arrays: list[tuple[int, list[_Plane]]]  # polarity, planes side by side

    @property
    def effective(self) -> NDArray:
        """The weights that are computed with."""
        return self.codes << self.shifts[:, None]


def place_sme(
    layer: Layer,
    weights: Integers,
    chip: Chip,
    *,
    input_format: InputFormat,
    schedule: str = "auto",
    parameters: SmeParameters,
    dynamic: bool = False,
) -> tuple[Placement, Integers]:
    """Map ``weights`` (integers that ``chip`` can store) by planes; returns also the weights this stands for.

    Raises `InputError` for parameters that the chip, or a schedule that the layer cannot have.
    """
    schedule = choose(layer, schedule)
    parameters.check(chip, schedule)
    codes = quantise(weights, chip.weight_bits, parameters.significant_bits)
    blocks, effective = _blocks(layer, codes, chip, schedule, parameters)
    groups: dict[tuple, list[LogicalArray]] = {}
    for order, block in enumerate(blocks):
        for polarity, planes in block.arrays:
            # Planes of the same rows in the same tile: one window, one sum.
            groups.setdefault((order, planes[0].chunk), []).append(_array(block, polarity, planes, chip, parameters))
    tiles = cut_tiles(list(groups.values()), chip)
    return Placement(
        layer, chip, input_format, schedule, "sme", 1, 0, sweep_of(layer, schedule), tuple(tiles), dynamic
    ), effective


def sme_crossbars(
    layer: Layer, codes: NDArray, chip: Chip, parameters: SmeParameters, schedule: str = "auto"
) -> tuple[int, NDArray]:
    """Return the arrays that `place_sme` would take for quantised ``codes``, without cells; effective weights."""
    blocks, effective = _blocks(layer, codes, chip, choose(layer, schedule), parameters)
    return sum(len(block.arrays) for block in blocks), effective


def _blocks(
    layer: Layer, codes: NDArray, chip: Chip, schedule: str, parameters: SmeParameters
) -> tuple[list[_ColumnBlock], NDArray]:
    """Return all column blocks, and the weights that they stand for."""
    taps, sweep, effective = taps_of(layer, schedule), sweep_of(layer, schedule), np.zeros_like(codes)
    kernel, phases = kernel_view(layer, effective), sorted(taps_by_phase(taps, sweep).items())
    blocks = []
    for groups in _joined_groups(layer, chip, len(taps)):
        parts = [row_sets(layer, codes, taps, sweep, group) for group in groups]
        for index, (_, phase_taps) in enumerate(phases):
            rows = _diagonal([part[index] for part in parts])
            for block in _column_blocks(rows, chip, parameters):
                blocks.append(block)
                _put_back(kernel, block, [tap.kernel for tap in phase_taps], groups)
    if not any(block.arrays for block in blocks):  # a layer has outputs, be its weights all zero
        blocks[0].arrays.append((1, [_Plane(0, 0, np.arange(min(blocks[0].rows.rows, chip.rows)))]))
    return blocks, effective


def _joined_groups(layer: Layer, chip: Chip, taps: int) -> list[range]:
    """Return groups of channels that share an array along its diagonal."""
    rows, columns = taps * layer.channels // layer.groups, layer.outputs // layer.groups
    many = max(1, min(chip.rows // rows, chip.columns // columns))
    return [range(first, min(first + many, layer.groups)) for first in range(0, layer.groups, many)]


def _diagonal(parts: list[RowSet]) -> RowSet:
    """Return the row sets of neighbouring groups as one, zeros between them."""
    if len(parts) == 1:
        return parts[0]
    t, c, n = parts[0].weights.shape
    weights = np.zeros((t, c * len(parts), n * len(parts)), parts[0].weights.dtype)
    for k, part in enumerate(parts):
        weights[:, k * c : (k + 1) * c, k * n : (k + 1) * n] = part.weights
    return RowSet(parts[0].taps, np.concatenate([part.outputs for part in parts]), weights, parts[0].first)


def _put_back(kernel: NDArray, block: _ColumnBlock, taps: list[tuple[int, int]], groups: range) -> None:
    """Put a block's effective weights to their places in ``kernel`` (`mapping.rows.kernel_view`)."""
    c, m = kernel.shape[3:]
    values = block.effective.reshape(len(taps), len(groups) * c, -1)
    group, output = np.divmod(block.rows.outputs % (len(kernel) * m), m)
    for k, member in enumerate(groups):
        columns = np.flatnonzero(group == member)
        for tap, part in zip(taps, values[:, k * c : (k + 1) * c, columns], strict=True):
            kernel[member][tap][:, output[columns]] = part


def _column_blocks(rows: RowSet, chip: Chip, parameters: SmeParameters) -> Iterator[_ColumnBlock]:
    """Return a row set cut to the width of an array, columns of zeros left out, each part squeezed."""
    some = rows.weights.any(axis=(0, 1))
    columns = np.flatnonzero(some) if some.any() else np.zeros(1, np.int64)
    for first in range(0, len(columns), chip.columns):
        part = rows.chosen(columns[first : first + chip.columns])
        matrix = part.weights.reshape(part.rows, -1)
        codes, shifts = squeezed(matrix, chip.weight_bits, parameters.squeeze, truncate=parameters.truncate)
        natural = part.order(chip.lanes)[0]
        order = natural[np.argsort(shifts[natural], kind="stable")] if parameters.sort else natural
        arrays = [
            (polarity, planes)
            for polarity in (1, -1)
            for planes in _side_by_side(
                _planes(np.maximum(codes * polarity, 0), order, chip, parameters), part, chip, parameters
            )
        ]
        yield _ColumnBlock(part, codes, shifts, arrays)


def _planes(magnitudes: NDArray, order: Integers, chip: Chip, parameters: SmeParameters) -> list[_Plane]:
    """Return planes of one polarity that hold something, chunk of rows by chunk, the most significant first."""
    used = np.bitwise_or.reduce(magnitudes, axis=1)
    digit = 2**chip.cell_bits - 1
    found = []
    for plane in reversed(range(chip.slices)):
        some = (used[order] >> plane * chip.cell_bits & digit) != 0
        rows = order[some] if parameters.compact else order
        for chunk, part in enumerate(split_even(len(rows), -(-len(rows) // chip.rows)) if len(rows) else []):
            if parameters.compact or some[part].any():
                found.append(_Plane(plane, chunk, rows[part]))
    return sorted(found, key=lambda plane: (plane.chunk, -plane.plane))


def _wide(block: RowSet, chip: Chip) -> int:
    """Return the columns of a band."""
    return -(-len(block.outputs) // chip.ou_cols) * chip.ou_cols


def _side_by_side(planes: list[_Plane], rows: RowSet, chip: Chip, parameters: SmeParameters) -> list[list[_Plane]]:
    """Return planes that share an array: narrow blocks of the same rows, or of any where each has its own list."""
    many = max(1, chip.columns // _wide(rows, chip))
    chunks = [list(chunk) for _, chunk in groupby(planes, key=lambda plane: plane.chunk)]
    if _whole_weights(rows, chip, parameters):
        return chunks
    parts = [planes] if parameters.compact else chunks
    return [part[first : first + many] for part in parts for first in range(0, len(part), many)]


def _whole_weights(rows: RowSet, chip: Chip, parameters: SmeParameters) -> int:
    """Return the slices of a weight where a column block is so narrow that an OU reads several planes; else 0.

    Fewer columns than an OU has: a band for each plane would leave lanes idle.
    """
    slices = chip.slices - parameters.squeeze // chip.cell_bits
    narrow = len(rows.outputs) < chip.ou_cols and len(rows.outputs) * slices <= chip.columns
    return slices if narrow and not parameters.compact and slices > 1 else 0


def _array(
    block: _ColumnBlock, polarity: int, planes: list[_Plane], chip: Chip, parameters: SmeParameters
) -> LogicalArray:
    """Return the array of some planes; rows of one shift in a block of their own when sorted."""
    whole = _whole_weights(block.rows, chip, parameters)
    array = LogicalArray(slices=whole or 1)
    together = [planes] if not parameters.compact else [[plane] for plane in planes]
    for index, beside in enumerate(together):  # planes on the same rows
        rows, row = beside[0].rows, 0
        shifts = block.shifts[rows]
        for part in np.split(rows, np.flatnonzero(np.diff(shifts)) + 1) if parameters.sort else [rows]:
            bits = [0] if whole else [plane.plane * chip.cell_bits for plane in beside]
            piece = _piece(block, polarity, part, bits, whole, chip, sort=parameters.sort)
            array.put(piece, row, index * _wide(block.rows, chip))
            row += piece.rows
    return array


def _piece(
    block: _ColumnBlock, polarity: int, rows: Integers, bits: list[int], whole: int, chip: Chip, *, sort: bool
) -> Piece:
    """Return some rows of a column block: a band for each plane that begins at ``bits``, or ``whole`` slices."""
    tap, channel = np.divmod(rows, block.rows.weights.shape[1])
    magnitudes, digit = np.maximum(block.codes[rows] * polarity, 0), 2**chip.cell_bits - 1
    if whole:
        cells = (magnitudes[:, :, None] >> np.arange(whole) * chip.cell_bits & digit).reshape(len(rows), -1)
    else:
        cells = np.zeros((len(rows), len(bits) * _wide(block.rows, chip)), np.int64)
        for band, low in enumerate(bits):
            first = band * _wide(block.rows, chip)
            cells[:, first : first + magnitudes.shape[1]] = magnitudes >> low & digit
        cells = cells[:, : (len(bits) - 1) * _wide(block.rows, chip) + magnitudes.shape[1]]
    shift = int(block.shifts[rows[0]]) if sort else 0
    return Piece(
        shelf=(),
        offsets=np.array(block.rows.taps)[tap],
        channels=block.rows.first + channel,
        outputs=block.rows.outputs,
        cells={polarity: cells.astype(np.uint8)},
        shifts=None if sort else block.shifts[rows],
        significances=tuple(bit + shift for bit in bits),
    )


class Sme(Scheme):
    """Bit planes, squeezed; what is computed with are other weights."""

    name, order, exact, planes = "sme", 3, False, True

    def check(self, chip: Chip, sme: SmeParameters | None) -> None:
        """Raise `InputError` for planes that the chip cannot have."""
        (sme or SmeParameters()).check(chip)

    def place(self, request: Request) -> tuple[Placement, Integers]:
        """Return the placement by planes, and the weights that they stand for."""
        placement, effective = place_sme(
            request.layer,
            request.weights,
            request.chip,
            input_format=request.input_format,
            schedule=request.schedule,
            parameters=request.sme or SmeParameters(),
            dynamic=request.dynamic,
        )
        return placement, effective.astype(np.int64)
