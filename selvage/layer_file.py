"""The model that a run takes, and reading it from a layer TOML with an .npz."""

import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from spec.chip import one_sentence, read_toml
from spec.errors import InputError
from spec.layer import Layer

EXACT = 2**53
"""Floats beyond this no longer hold every integer."""
LARGEST_BIAS = 2**62
"""Sums stay far below it, so that both together stay within int64."""
UNREADABLE = (ValueError, TypeError, SyntaxError, EOFError, OverflowError, MemoryError, tokenize.TokenError)
"""What NumPy raises at a file that holds no array, or one of Python objects."""


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
        """`InputError`: a bias is so large that sums added to it could leave 64 bits."""
        if self.bias is not None:
            fits = (self.bias >= -LARGEST_BIAS) & (self.bias <= LARGEST_BIAS)
            _all(fits, self.bias, f"layer {self.layer.name!r}: its bias", "its magnitude must be at most 2**62")


class LayerFile(Layer):
    """Keys of a layer TOML: those of `Layer`, the weights, the format of the activations."""

    weights: str
    zero_point: int = 0
    dtype: Literal["uint8", "int8"] | None = None


def first_index(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """Index of the first true element of ``mask``, which has one."""
    return tuple(int(i) for i in np.unravel_index(mask.argmax(), mask.shape))


def integers(array: NDArray, what: str) -> NDArray[np.int64]:
    """``array`` as integers, same shape; `InputError` when an element is none or is not exact."""
    kind = array.dtype.kind
    if kind not in "iuf":
        raise InputError(f"{what} holds {array.dtype}, and integers are needed")
    if kind == "f":
        with np.errstate(invalid="ignore"):  # signalling NaNs, refused next
            wide = array.astype(np.result_type(array, np.float64))
        _all(np.isfinite(wide), array, what, "every value must be finite")
        _all(np.rint(wide) == wide, array, what, "every value must be an integer")
        _all(abs(wide) <= EXACT, array, what, "floats are exact integers up to 2**53 only")
    if array.dtype == np.uint64:
        _all(array <= np.iinfo(np.int64).max, array, what, "every value must be below 2**63")
    return array.astype(np.int64)


def _all(good: NDArray[np.bool_], array: NDArray, what: str, rule: str) -> None:
    """`InputError` that names the first element of ``array`` that is not ``good``."""
    if not good.all():
        index = first_index(~good)
        raise InputError(f"{what} holds {array[index]} at {list(index)}, and {rule}")


def load_layer(path: str) -> Model:
    """The model that the layer TOML ``path`` and the .npz it names describe."""
    what = f"layer {Path(path).stem!r}"
    content = {"name": Path(path).stem, **read_toml(Path(path), "layer")}
    content = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
    try:
        file = LayerFile.model_validate(content, strict=True)
    except ValidationError as error:
        raise InputError(one_sentence(error, what)) from None
    layer = Layer(**file.model_dump(exclude={"weights", "zero_point", "dtype"}))
    dtype = None if file.dtype is None else np.dtype(file.dtype)
    if dtype is not None and not np.iinfo(dtype).min <= file.zero_point <= np.iinfo(dtype).max:
        raise InputError(f"{what}: zero_point = {file.zero_point} does not fit dtype = {file.dtype!r}")
    weights, bias = _read_weights(Path(path).parent / file.weights, layer, f"weights {file.weights!r}")
    sides = () if layer.op == "dense" else (layer.height, layer.width)
    return Model(layer, weights, bias, file.zero_point, dtype, (None, layer.channels, *sides))


def _read_weights(path: Path, layer: Layer, what: str) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Weights of shape ``layer.weight_shape`` and bias (M,), or ``None``, of an .npz."""
    arrays = read_npz(path, what)
    for name in arrays:
        if name not in ("w", "b"):
            raise InputError(f"{what} has an unknown array {name!r}: 'w' and 'b' are read")
    if "w" not in arrays:
        raise InputError(f"{what} lacks the array 'w'")
    for name, shape in (("w", layer.weight_shape), ("b", (layer.outputs,))):
        if name in arrays and arrays[name].shape != shape:
            raise InputError(f"{what}: {name!r} has shape {arrays[name].shape}, and the layer takes {shape}")
    weights = integers(arrays["w"], f"{what}: 'w'")
    return weights, integers(arrays["b"], f"{what}: 'b'") if "b" in arrays else None


def read_npz(path: Path, what: str) -> dict[str, NDArray]:
    """Arrays of an .npz; `InputError` when it is none or holds Python objects."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _member(archive, name) for name in archive.namelist()}
    except OSError as error:
        raise InputError(f"{what} cannot be read: {error.strerror or error}") from None
    except (*UNREADABLE, zlib.error) as error:
        raise InputError(f"{what} holds an array that cannot be read: {one_line(error)}") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{what} is not an .npz file: {one_line(error)}") from None


def _member(archive: zipfile.ZipFile, name: str) -> NDArray:
    """One array of an .npz."""
    with archive.open(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def one_line(error: Exception) -> str:
    """The message of ``error`` on one line, shortened, or its name when it has none."""
    text = " ".join(str(error).split("\n\n==>")[0].split()).rstrip(".")
    return (text if len(text) <= 200 else f"{text[:200]} ...") or type(error).__name__
