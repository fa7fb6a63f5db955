"""The MODEL of a run and its input: files, checks against the chip, and the maps the machine takes.

A model whose tensors hold integers is run as it is, scale 1, be they stored as floats or not.
"""

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat
from selvage.base.limits import IMAGES, MAP
from selvage.base.text import value
from selvage.compiler import chip_limits
from selvage.compiler.chip_limits import first_of
from selvage.frontend.layer_file import Model, check_kind, integers, load_layer
from selvage.frontend.numpy_files import one_line, open_npy
from selvage.frontend.onnx.file import load_onnx

__all__ = [
    "Model",
    "check_weights",
    "draw_input",
    "from_maps",
    "input_format",
    "input_shape",
    "load_model",
    "open_npy",
    "read_input",
    "to_maps",
]


def load_model(path: str, shape: tuple[int, ...] | None = None) -> Model:
    """Return the model in a layer TOML or, with any other suffix, in an ONNX file of one operator.

    ``shape`` of the input (see `input_shape`) settles the sides that an ONNX file leaves free.
    `InputError`: the file cannot be read, holds what is not supported, or leaves a side free.
    """
    return load_layer(path) if Path(path).suffix == ".toml" else load_onnx(path, shape)


def input_shape(path: str) -> tuple[int, ...]:
    """Return the shape of the array in an .npy file, without reading its values."""
    return open_npy(path, f"input {path!r}").shape


def read_input(model: Model, path: str) -> NDArray[np.int64]:
    """Return activations from an .npy file in ONNX's layout: (N, C, H, W), (N, C, L), or (..., C) dense."""
    what = f"input {path!r}"
    return checked_input(model, open_npy(path, what), what)


def checked_input(model: Model, array: NDArray, what: str) -> NDArray[np.int64]:
    """Return an array in ONNX's layout as activations that ``model`` takes. `InputError` names ``what``."""
    expected = tuple("N" if side is None else side for side in model.input_shape)
    rule = f"{model.layer.name!r} takes ({', '.join(map(str, expected))})"
    if array.ndim != len(expected):
        raise InputError(f"{what} has rank {array.ndim}, shape {value(array.shape)}, and {rule}")
    if array.size == 0:
        raise InputError(f"{what} has shape {array.shape}, and must not be empty")
    for axis, (side, allowed) in enumerate(zip(array.shape, model.input_shape, strict=True)):
        if allowed is not None and side != allowed:
            raise InputError(f"{what} has shape {array.shape}: axis {axis} has {side}, and {rule}")
    check_kind(array.dtype, what)
    layer = model.layer
    images = array.size // (layer.channels * layer.height * layer.width)
    IMAGES.check(images * layer.outputs * prod(layer.output_size), what, "asks for outputs of")
    return integers(np.asarray(array), what)


def draw_input(model: Model, chip: Chip, seed: int) -> NDArray[np.int64]:
    """Draw activations in ONNX's layout over the full range of their type; free dimensions are 1.

    Without a type they are unsigned, of ``chip.input_bits``.
    """
    shape = tuple(1 if side is None else side for side in model.input_shape)
    MAP.check(prod(shape), f"layer {model.layer.name!r}", "would be given a drawn input of")
    if model.dtype is None:
        low, high = 0, 2**chip.input_bits - 1
    else:
        low, high = np.iinfo(model.dtype).min, np.iinfo(model.dtype).max
    return np.random.default_rng(seed).integers(low, high, size=shape, endpoint=True)


def input_format(model: Model, chip: Chip, x: NDArray[np.int64]) -> InputFormat:
    """Return the number format of the activations ``x``: that of their type, or unsigned if ``x`` has no negatives.

    `InputError`: the type or a value is too wide for ``chip.input_bits``, or is signed where the
    chip takes no signed activations.
    """
    if model.dtype is None:
        bits, signed = chip.input_bits, bool(x.min() < 0)
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        rule = f"{'signed' if signed else 'unsigned'} input_bits = {bits}"
    else:
        bits, signed = model.dtype.itemsize * 8, model.dtype.kind == "i"
        low, high = int(np.iinfo(model.dtype).min), int(np.iinfo(model.dtype).max)
        rule = f"{model.dtype}"
    value = f"holds {first_of(x, x < 0)}" if signed and model.dtype is None else f"is {model.dtype}"
    chip_limits.check_activations(bits, signed, chip, f"the input {value}")
    outside = (x < low) | (x > high)
    if outside.any():
        raise InputError(f"the input holds {first_of(x, outside)}, outside {low} .. {high} of {rule}")
    try:
        return InputFormat(raw_bits=bits, raw_signed=signed, zero_point=model.zero_point)
    except ValueError as error:
        raise InputError(f"layer {model.layer.name!r}: {one_line(error)} of {rule}") from None


def check_weights(model: Model, chip: Chip) -> None:
    """Raise `InputError` when the chip cannot store a weight, named with its index in ``model.weights``."""
    chip_limits.check_weights(model.weights, chip, f"a weight of layer {model.layer.name!r}")


def to_maps(model: Model, x: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ONNX's layout as maps (N, C, H, W): leading axes of a dense layer become N, a row has the height 1."""
    if model.layer.op == "dense":
        return x.reshape(-1, model.layer.channels, 1, 1)
    return x[:, :, None, :] if x.ndim == 3 else x


def from_maps(model: Model, y_maps: NDArray[np.int64], x_shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return maps (N, M, OH, OW) in ONNX's layout of the output, for an input of ``x_shape`` in ONNX's layout."""
    if model.layer.op == "dense":
        return y_maps.reshape(*x_shape[:-1], model.layer.outputs)
    return y_maps[:, :, 0, :] if len(x_shape) == 3 else y_maps
