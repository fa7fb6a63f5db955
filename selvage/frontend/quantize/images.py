"""What a float model is calibrated with: images for each of its inputs, whose free sides they or ``--shape`` settle."""

import zipfile
from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto
from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed

from selvage.base.errors import InputError
from selvage.base.reading import open_regular
from selvage.frontend.layer_file import first_index
from selvage.frontend.numpy_files import open_npy, read_npz

BATCH = 32
"""Images run at once where the model leaves the batch free."""

Images = dict[str, NDArray[np.float32]]


class Batches(CalibrationDataReader):
    """The images, ``size`` at a time, by input; as often as they are asked for. ``fixed``: the model has that batch.

    Those with the largest value come first, for the first ones set the width of a histogram's bins.
    """

    def __init__(self, images: Images, size: int, *, fixed: bool) -> None:
        self.images, self.size, self.fixed = images, size, fixed
        self.count = len(next(iter(images.values())))
        starts = range(0, self.count, size)
        parts = [{name: array[start : start + size] for name, array in images.items()} for start in starts]
        self.all = sorted(parts, key=lambda part: -max(np.abs(array).max() for array in part.values()))
        self.set_range(0, len(self.all))

    def one_by_one(self) -> Self:
        """Return the same images in batches of one."""
        return type(self)(self.images, 1, fixed=self.fixed)

    def called(self, names: Mapping[str, str]) -> Self:
        """Return the same batches for inputs of other names."""
        return type(self)({names[name]: array for name, array in self.images.items()}, self.size, fixed=self.fixed)

    def __len__(self) -> int:
        return len(self.all)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Begin again, with some of the batches only."""
        self.rest = iter(self.all[start_index:end_index])

    def get_next(self) -> Images | None:  # pyright: ignore[reportIncompatibleMethodOverride]  # onnxruntime asks for it
        """Return the next batch by input; ``None`` behind the last."""
        return next(self.rest, None)


def read_batches(proto: ModelProto, path: str, calibration: str, shape: tuple[int, ...] | None) -> Batches:
    """Return the images of the file ``calibration`` for the model's inputs, whose sides but the batch become fixed.

    `InputError`: a side is free that neither ``shape`` nor one of several arrays settles, or images do not fit.
    """
    inputs = list(proto.graph.input)
    for info in inputs:
        _check_kind(info, path)
    if not inputs:
        raise InputError(f"model {path!r} has no input, and so nothing to calibrate")
    arrays = _arrays(calibration, inputs, path)
    for info in inputs:
        title = f"model {path!r}: input {info.name!r}"
        given, of = shape, "--shape"
        if shape is None and len(inputs) > 1:
            given, of = arrays[info.name].shape, f"array {info.name!r} of calibration {calibration!r}: shape"
        _fix_shape(proto.graph, info, title, given, of)
    images: Images = {}
    for info in inputs:
        what = f"calibration {calibration!r}" + (f", array {info.name!r}," if len(inputs) > 1 else "")
        images[info.name] = _checked(arrays[info.name], info, what)
    counts = {name: len(array) for name, array in images.items()}
    if len(set(counts.values())) > 1:
        held = ", ".join(f"{count} for {name!r}" for name, count in counts.items())
        raise InputError(f"calibration {calibration!r} holds {held}, and must hold equally many images for each input")
    fixed = {_sides(info)[0]: info.name for info in inputs if _sides(info)[0]}
    if len(fixed) > 1:
        held = ", ".join(f"{batch} of {name!r}" for batch, name in fixed.items())
        raise InputError(f"model {path!r} has the batches {held}, and its inputs must have the same")
    return Batches(images, next(iter(fixed), BATCH), fixed=bool(fixed))


def _check_kind(info: ValueInfoProto, path: str) -> None:
    """Raise `InputError` for an input that is no float tensor with a batch."""
    title = f"model {path!r}: input {info.name!r}"
    kind = info.type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        known = kind and kind in TensorProto.DataType.values()
        held = TensorProto.DataType.Name(kind).lower() if known else "no tensor of a known type"
        raise InputError(f"{title} is {held}, and must be float to be quantised")
    if not info.type.tensor_type.HasField("shape"):
        raise InputError(f"{title} has no shape, and must have a batch and channels at least")
    if len(_sides(info)) < 2:
        raise InputError(f"{title} has rank {len(_sides(info))}, and must have a batch and channels at least")


def _sides(info: ValueInfoProto) -> list[int]:
    """Return the sides of an input, 0 where they are free."""
    return [max(side.dim_value, 0) for side in info.type.tensor_type.shape.dim]


def _words(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))


def _fix_shape(graph: GraphProto, info: ValueInfoProto, title: str, shape: tuple[int, ...] | None, of: str) -> None:
    """Set the free sides of the input but the batch to those of ``shape``, which ``of`` gives."""
    tensor = info.type.tensor_type
    sides = _sides(info)
    if shape is None:
        free = next((axis for axis, side in enumerate(sides) if axis and not side), None)
        if free is not None:
            label = tensor.shape.dim[free].dim_param
            called = f" ({label!r})" if label else ""
            raise InputError(f"{title} leaves axis {free}{called} free, and --shape must fix it, batch first")
        return
    if len(shape) != len(sides):
        raise InputError(f"{of} {_words(shape)!r} has {len(shape)} sides, and {title} has {len(sides)}")
    for axis, (dimension, new) in enumerate(zip(tensor.shape.dim, shape, strict=True)):
        if not axis and of != "--shape":
            continue  # images, not a batch
        if dimension.dim_value > 0 and dimension.dim_value != new:
            raise InputError(
                f"{of} {_words(shape)!r} has {new} on axis {axis}, and {title} has {dimension.dim_value} there"
            )
        if axis:
            if dimension.dim_param:
                make_dim_param_fixed(graph, dimension.dim_param, new)
            dimension.dim_value = new


def _arrays(path: str, inputs: list[ValueInfoProto], model: str) -> dict[str, NDArray]:
    """Return the arrays of a calibration file by the inputs that they are for: those of an .npz, or that of an .npy."""
    title = f"calibration {path!r}"
    names = [info.name for info in inputs]
    with open_regular(path, title) as file:
        packed = zipfile.is_zipfile(file)
    if packed:
        arrays = read_npz(path, title)
        for name in (*names, *arrays):
            if name not in arrays or name not in names:
                held, wanted = (", ".join(map(repr, listed)) or "none" for listed in (arrays, names))
                raise InputError(f"{title} holds the arrays {held}, and the inputs of model {model!r} are {wanted}")
        return dict(arrays)
    array = open_npy(path, title)
    if len(names) > 1:
        raise InputError(
            f"model {model!r} has {len(names)} inputs ({', '.join(map(repr, names))}), "
            f"and {title} must be an .npz with an array for each by name"
        )
    return {names[0]: array}


def _checked(array: NDArray, info: ValueInfoProto, what: str) -> NDArray[np.float32]:
    """Return an array as images for the input, which leaves at most the batch free."""
    sides = _sides(info)
    rule = f"input {info.name!r} takes ({', '.join(str(side or 'N') for side in sides)})"
    if array.dtype.kind != "f":
        raise InputError(
            f"{what} holds {array.dtype}, and must hold floats, scaled as the images that the model was trained on"
        )
    if array.ndim != len(sides):
        raise InputError(f"{what} has rank {array.ndim}, shape {array.shape}, and {rule}")
    if array.size == 0:
        raise InputError(f"{what} has shape {array.shape}, and must not be empty")
    for axis, (side, allowed) in enumerate(zip(array.shape, sides, strict=True)):
        if axis and side != allowed:
            raise InputError(f"{what} has shape {array.shape}: axis {axis} has {side}, and {rule}")
    if sides[0] and len(array) % sides[0]:
        raise InputError(f"{what} has {len(array)} images, and {rule}: a multiple of {sides[0]} is needed")
    with np.errstate(over="ignore", invalid="ignore"):
        images = np.ascontiguousarray(array, np.float32)
    finite = np.isfinite(images)
    if not finite.all():
        index = first_index(~finite)
        raise InputError(f"{what} holds {array[index]} at {list(index)}, and every value must be finite in float32")
    return images
