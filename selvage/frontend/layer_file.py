"""The model that a run takes, and reading it from a layer TOML with an .npz."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from selvage.base.chip import one_sentence, read_toml
from selvage.base.errors import InputError
from selvage.base.layer import LARGEST, Layer
from selvage.base.limits import check_layer
from selvage.base.reading import beside
from selvage.base.text import value
from selvage.frontend.numpy_files import one_line, read_npz

__all__ = ["LayerFile", "Model", "check_kind", "first_index", "integers", "load_layer", "one_line", "read_npz"]

EXACT = 2**53
"""Floats beyond this no longer hold every integer."""
LARGEST_BIAS = 2**62
"""Sums stay far below it, so that both together stay within int64."""


@dataclass(frozen=True, eq=False)
class Model:
    """One layer with its integers, scale 1.

    ``weights`` have the shape ``layer.weight_shape`` with their zero point subtracted, ``bias`` is
    (M,). ``dtype`` is uint8 or int8 when the model says that its input is; ``None`` for wider types,
    whose number format follows from the data. ``input_shape`` is ONNX's, ``None`` where it is free.
    """

    layer: Layer
    weights: NDArray[np.int64]
    bias: NDArray[np.int64] | None
    zero_point: int
    dtype: np.dtype | None
    input_shape: tuple[int | None, ...]

    def __post_init__(self) -> None:
        """Raise `InputError` for a bias so large that sums added to it could leave 64 bits."""
        if self.bias is not None:
            fits = (self.bias >= -LARGEST_BIAS) & (self.bias <= LARGEST_BIAS)
            _all(fits, self.bias, f"layer {self.layer.name!r}: its bias", "its magnitude must be at most 2**62")


class LayerFile(Layer):
    """Keys of a layer TOML: those of `Layer`, the weights, the format of the activations."""

    weights: str
    zero_point: Annotated[int, Field(ge=-LARGEST, le=LARGEST)] = 0
    dtype: Literal["uint8", "int8"] | None = None


def first_index(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the index of the first true element of ``mask``, which has one."""
    return tuple(int(i) for i in np.unravel_index(mask.argmax(), mask.shape))


def check_kind(dtype: np.dtype, what: str) -> None:
    """Raise `InputError` for a type that is none of numbers."""
    if dtype.kind not in "iuf":
        raise InputError(f"{what} holds {value(str(dtype))[1:-1]}, and integers are needed")


def integers(array: NDArray, what: str) -> NDArray[np.int64]:
    """Return ``array`` as integers, in its shape.

    `InputError`: an element is no integer, or is not exact.
    """
    check_kind(array.dtype, what)
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # signalling NaNs, refused next
            wide = array.astype(np.result_type(array, np.float64))
        _all(np.isfinite(wide), array, what, "every value must be finite")
        _all(np.rint(wide) == wide, array, what, "every value must be an integer")
        _all(abs(wide) <= EXACT, array, what, "floats are exact integers up to 2**53 only")
    if array.dtype == np.uint64:
        _all(array <= np.iinfo(np.int64).max, array, what, "every value must be below 2**63")
    return array.astype(np.int64)


def _all(good: NDArray[np.bool_], array: NDArray, what: str, rule: str) -> None:
    """Raise `InputError` with the first element of ``array`` that is not ``good``, unless all are."""
    if not good.all():
        index = first_index(~good)
        raise InputError(f"{what} holds {array[index]} at {list(index)}, and {rule}")


def load_layer(path: str) -> Model:
    """Return the model that the layer TOML ``path`` and the .npz it names describe."""
    what = f"layer {value(Path(path).stem)}"
    content = {"name": Path(path).stem, **read_toml(Path(path), "layer")}
    content = {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in content.items()}
    try:
        file = LayerFile.model_validate(content, strict=True)
    except ValidationError as error:
        raise InputError(one_sentence(error, what)) from None
    layer = Layer(**file.model_dump(exclude={"weights", "zero_point", "dtype"}))
    dtype = None if file.dtype is None else np.dtype(file.dtype)
    if dtype is not None and not np.iinfo(dtype).min <= file.zero_point <= np.iinfo(dtype).max:
        raise InputError(f"{what}: zero_point = {value(file.zero_point)} does not fit dtype = {file.dtype!r}")
    check_layer(layer, what)
    weights_title = f"weights {value(file.weights)}"
    weights, bias = _read_weights(beside(Path(path).parent, file.weights, weights_title), layer, weights_title)
    sides = () if layer.op == "dense" else (layer.height, layer.width)
    return Model(layer, weights, bias, file.zero_point, dtype, (None, layer.channels, *sides))


def _read_weights(path: Path, layer: Layer, what: str) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return the weights of an .npz, of shape ``layer.weight_shape``, and its bias (M,), or ``None``."""
    arrays = read_npz(path, what)
    for name in arrays:
        if name not in ("w", "b"):
            raise InputError(f"{what} has an unknown array {value(name)}: 'w' and 'b' are read")
    if "w" not in arrays:
        raise InputError(f"{what} lacks the array 'w'")
    for name, shape in (("w", layer.weight_shape), ("b", (layer.outputs,))):
        if name not in arrays:
            continue
        header = arrays.header(name)
        if header.shape != shape:
            raise InputError(f"{what}: {name!r} has shape {value(header.shape)}, and the layer takes {shape}")
        check_kind(header.dtype, f"{what}: {name!r}")
    weights = integers(arrays["w"], f"{what}: 'w'")
    return weights, integers(arrays["b"], f"{what}: 'b'") if "b" in arrays else None
