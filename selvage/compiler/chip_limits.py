"""The limits of a chip: the one place where layers, networks and known shapes are held against them.

Sizes are no limits: what is larger than an array or a tile is cut by the mapping, and what is larger than the chip
runs in passes.
"""

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.graph import Matrix, Tensor
from selvage.base.layer import Layer
from selvage.compiler.options import Options
from selvage.frontend.layer_file import first_index
from selvage.mapping.dense import dense_crossbars
from selvage.mapping.packing import weight_offset
from selvage.mapping.schedule import INSERTING
from selvage.verilog.errors import MOST_INPUTS

FEW_ZEROS = 0.1  # share of the weights below which no mapping of `auto` saves arrays, planes apart


def first_of(array: NDArray, mask: NDArray[np.bool_]) -> str:
    """Name the first element under ``mask``, with its index."""
    index = first_index(mask)
    return f"{array[index]} at {list(index)}"


def check_activations(bits: int, signed: bool, chip: Chip, what: str) -> None:
    """Raise `InputError` when activations of so many ``bits`` do not enter the chip; ``what`` says that they do."""
    if bits > chip.input_bits:
        raise InputError(f"{what}, and chip {chip.name} takes input_bits = {chip.input_bits}")
    if signed and not chip.input_signed:
        raise InputError(f"{what}, and chip {chip.name} has input_signed = false")


def check_weights(weights: NDArray[np.int64], chip: Chip, what: str) -> None:
    """Raise `InputError` when the chip cannot store a weight, which is named with its index; ``what`` has it.

    In offset encoding it is their span that must fit (`mapping.packing.weight_offset`).
    """
    if chip.encoding == "offset":
        weight_offset(weights, chip)
        return
    low, high = chip.weight_range
    outside = (weights < low) | (weights > high)
    if not outside.any():
        return
    weight = f"{what} is {first_of(weights, outside)}"
    if weights[first_index(outside)] < 0:
        check_signs(chip, f"{weight}, negative")
    raise InputError(
        f"{weight}, outside {low} .. {high} of weight_bits = {chip.weight_bits} "
        f"in {chip.encoding} encoding on chip {chip.name}"
    )


def check_matrix(node: Matrix, source: Tensor, chip: Chip) -> None:
    """Raise `InputError` for a layer of a network whose activations or weights the chip does not hold."""
    bits, signed = source.format.raw_bits, source.format.raw_signed
    check_activations(bits, signed, chip, f"its input is {'' if signed else 'u'}int{bits}")
    check_weights(node.weights, chip, "a weight")


def check_collected(layer: Layer, weights: NDArray[np.int64], bits: int, chip: Chip, options: Options) -> None:
    """Raise `InputError` when the sums of a layer's tiles are too wide for the collector that adds them in Verilog.

    That is told from counts, before anything is placed: a tile has at least one sum, which is as wide as a product of
    an activation of ``bits``, and comes with a `valid`. Where a mapping or a schedule may take fewer arrays than the
    dense one's formula, nothing is told here.
    """
    fewer = options.sme or options.mapping not in ("auto", "dense") or layer.groups > 1
    fewer = fewer or (layer.op == "conv_transpose" and options.schedule not in ("red", *INSERTING))
    if fewer or (options.mapping == "auto" and np.count_nonzero(weights) < (1 - FEW_ZEROS) * weights.size):
        return
    polarities = 2 if chip.encoding == "differential" else 1
    arrays = dense_crossbars(layer, chip, bits=chip.weight_bits, cell_bits=chip.cell_bits, polarities=polarities)
    tiles = -(-arrays // chip.arrays_per_tile)
    wide = min(tiles, chip.tiles or tiles) * (bits + chip.weight_bits + 1)
    if wide > MOST_INPUTS:
        raise InputError(
            f"{arrays:,} arrays are {tiles:,} tiles on chip {chip.name}, whose sums are {wide:,} bits or more into one "
            f"collector, and at most {MOST_INPUTS:,} can be written: larger arrays (rows, columns) or more in a tile "
            "(arrays_per_tile) have fewer, and with fewer tiles at a time (tiles) the layer runs in passes"
        )


def check_signs(chip: Chip, what: str) -> None:
    """Raise `InputError` when the chip takes no negative weights; ``what`` says that there are some."""
    if not chip.weight_signed:
        raise InputError(f"{what}, and chip {chip.name} has weight_signed = false")


def clipping(chip: Chip, *, lossless: bool) -> str:
    """Return the warning on a chip whose codes can clip; nothing on another.

    `InputError`: they can, and ``lossless`` is asked for.
    """
    if chip.adc_bits >= chip.lossless_adc_bits:
        return ""
    message = (
        f"chip {chip.name} has adc_bits = {chip.adc_bits}, and its codes can clip: "
        f"{chip.lossless_adc_bits} bits are lossless"
    )
    if lossless:
        raise InputError(f"--lossless: {message}")
    return message
