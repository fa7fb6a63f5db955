"""What the operators of a quantised ONNX model are on crossbars: geometry and constants of single nodes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from selvage.base.errors import InputError
from selvage.base.graph import Activation, Tensor
from selvage.base.layer import InputFormat, Layer
from selvage.base.limits import MAP
from selvage.frontend.onnx.geometry import geometry, layer_of, pads_of
from selvage.frontend.onnx.operator import Operator
from selvage.frontend.onnx.read import title_of
from selvage.frontend.onnx.static import Shape
from selvage.frontend.onnx.values import Constant, Shape3, Weights
from selvage.golden.requantize import check_scale

FORMATS = {
    np.dtype(kind): (bits, signed)
    for bits, *kinds in (
        (8, np.uint8, np.int8),
        (16, np.uint16, np.int16),
        (4, ml_dtypes.uint4, ml_dtypes.int4),
        (2, ml_dtypes.uint2, ml_dtypes.int2),
    )
    for signed, kind in enumerate(kinds)
}
UNQUANTISED = "run `selvage quantize` first"
INFINITE = float("inf")
SUMS = InputFormat(raw_bits=32, raw_signed=True)


def error(node: NodeProto, message: str) -> InputError:
    """Return an error that names the node."""
    return InputError(f"{title_of(node)}: {message}")


def operator_of(node: NodeProto) -> Operator:
    """Return the node with its attributes alone, checked as `frontend.onnx.file` does."""
    return Operator(node, {}, {})


def stored(array: NDArray, name: str) -> TensorProto:
    """Return a constant of the graph."""
    return numpy_helper.from_array(array, name)


def map_shape(node: NodeProto, shape: Shape) -> Shape3:
    """Return (C, H, W) of ONNX's shape, the batch first."""
    if min(shape, default=0) < 1:
        raise error(node, f"it has a tensor of shape {shape}, and sides must be at least 1")
    match shape:
        case (_, channels):
            return channels, 1, 1
        case (_, channels, width):
            return channels, 1, width
        case (_, channels, height, width):
            return channels, height, width
    raise error(node, f"it has a tensor of shape {shape}, and rank 2 to 4 are supported, the batch first")


def quantised(node: NodeProto, name: str, shape: Shape3, scale: NDArray, zero: NDArray | None) -> Tensor:
    """Return the tensor that a QuantizeLinear or DequantizeLinear describes.

    `InputError`: it is not of 8 bits, or not of one scale.
    """
    kind = np.dtype(np.uint8) if zero is None else zero.dtype
    if kind not in FORMATS:
        raise error(node, f"{name!r} holds {kind}, and activations must be integers of 2, 4, 8 or 16 bits")
    if scale.size != 1 or (zero is not None and zero.size != 1):
        raise error(node, f"{name!r} has scales of shape {scale.shape}, and activations must have one scale")
    bits, signed = FORMATS[kind]
    numbers = InputFormat(raw_bits=bits, raw_signed=bool(signed), zero_point=0 if zero is None else int(zero.item()))
    tensor = Tensor(name, shape, float(scale.item()), numbers)
    check_all_positive(node, scale)
    check_scale(tensor)
    return tensor


def type_of(numbers: InputFormat) -> np.dtype:
    """Return the type that codes of a format have in ONNX."""
    return next(kind for kind, own in FORMATS.items() if own == (numbers.raw_bits, int(numbers.raw_signed)))


def check_all_positive(node: NodeProto, scale: NDArray) -> None:
    """Raise `InputError` unless all scales are finite and above 0."""
    bad = scale[~(np.isfinite(scale) & (scale > 0))]
    if bad.size:
        raise error(node, f"it has the scale {bad.flat[0]}, and scales must be positive and finite")


def dequantised(node: NodeProto, codes: NDArray, scale: NDArray, zero: NDArray | None, axis: int) -> Weights:
    """Return a constant behind DequantizeLinear, whose scales lie along ``axis``."""
    if codes.dtype not in (*FORMATS, np.dtype(np.int32)):
        raise error(node, f"{node.input[0]!r} holds {codes.dtype}, and constants must be integers of at most 32 bits")
    check_all_positive(node, scale)
    parts = [scale, *([] if zero is None else [zero])]
    for part in parts:
        if part.size != 1 and part.shape != codes.shape[axis : axis + 1]:
            raise error(node, f"its scales have shape {part.shape}, and {node.input[0]!r} has {codes.shape}")
    spread = [
        part.reshape(-1, *(1,) * (codes.ndim - 1 - axis)) if part.size > 1 else part.reshape(()) for part in parts
    ]
    values = codes.astype(np.int64) - (spread[1].astype(np.int64) if zero is not None else 0)
    return Weights(values, np.broadcast_to(spread[0].astype(np.float32), codes.shape), codes.dtype)


def is_quantised(node: NodeProto, value: Any, position: int) -> Weights:
    """Return the weights at ``position``. `InputError`: they are no constant."""
    if not isinstance(value, Weights):
        raise error(node, f"weight {node.input[position]!r} is no constant, and weights must be")
    return value


def convolution(node: NodeProto, source: Tensor, weights: Weights, output: Shape3) -> tuple[Layer, NDArray, NDArray]:
    """Return layer, weights and their scales (M,) of Conv or ConvTranspose.

    `InputError`: the result is not of the shape ``output``, which ONNX gives.
    """
    operator, codes = operator_of(node), weights.codes
    if codes.ndim not in (3, 4):
        raise error(node, f"weight {node.input[1]!r} has rank {codes.ndim}, and must have rank 3 or 4")
    transposed = node.op_type == "ConvTranspose"
    groups = operator.attribute("group", 1)
    taken = codes.shape[0] if transposed else codes.shape[1] * groups
    if taken != source.shape[0]:
        raise error(node, f"it reads {source.shape[0]} channels, and its weights of {codes.shape} take {taken}")
    sides = source.shape[1:] if codes.ndim == 4 else source.shape[2:]
    layer = layer_of(
        operator,
        op="conv_transpose" if transposed else "conv",
        channels=source.shape[0],
        outputs=codes.shape[1] * groups if transposed else codes.shape[0],
        groups=groups,
        **geometry(operator, sides, codes.shape[2:]),
    )
    if (layer.outputs, *layer.output_size) != output:
        raise error(node, f"its result would be {layer.output_size}, and ONNX says {output}")
    scale = weights.scale.reshape(layer.weight_shape)
    flat = scale.swapaxes(0, 1) if transposed else scale
    flat = flat.reshape(flat.shape[0], -1)
    scales = one_scale(node, flat)
    return layer, codes.reshape(layer.weight_shape), np.tile(scales, groups) if transposed else scales


def one_scale(node: NodeProto, scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scales (M,) of rows (M, K). `InputError`: those of a row differ."""
    if (scales != scales[:, :1]).any():
        raise error(node, f"weight {node.input[1]!r} has scales that differ within an output channel")
    return scales[:, 0].copy()


def dense(node: NodeProto, source: Tensor, weights: Weights) -> tuple[Layer, NDArray, NDArray]:
    """Return layer, weights and their scales (M,) of Gemm or MatMul; on a map, a convolution by a kernel as large."""
    codes, operator = weights.codes, operator_of(node)
    outputs = codes.shape[1]
    scale = one_scale(node, weights.scale.T)
    if source.shape[1:] == (1, 1):
        return layer_of(operator, op="dense", channels=source.numbers, outputs=outputs), codes, scale
    size = source.shape[1:]
    sides = {"height": size[0], "width": size[1], "kernel": size}
    layer = layer_of(operator, op="conv", channels=source.shape[0], outputs=outputs, **sides)
    return layer, codes.T.reshape(layer.weight_shape), scale


def dense_rows(node: NodeProto, source: Tensor, weights: Weights) -> tuple[Layer, NDArray, NDArray]:
    """Return layer, weights and their scales (M,) of a MatMul whose rows are the pixels of ``source``: 1x1 kernels."""
    count, outputs = weights.codes.shape
    sides = {"height": source.shape[1], "width": source.shape[2], "kernel": (1, 1)}
    layer = layer_of(operator_of(node), op="conv", channels=count, outputs=outputs, **sides)
    return layer, weights.codes.T.reshape(layer.weight_shape), one_scale(node, weights.scale.T)


def not_turned(node: NodeProto, weights: Weights) -> Weights:
    """Return the weights of Gemm as (K, M)."""
    if operator_of(node).attribute("transB", 0) and weights.codes.ndim == 2:
        return replace(weights, codes=weights.codes.T, scale=weights.scale.T)
    return weights


def check_gemm(node: NodeProto) -> None:
    """Raise `InputError` unless Gemm is a plain product and sum."""
    operator = operator_of(node)
    for name, value in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        found = operator.attribute(name, value)
        if found != value and (name != "beta" or operator.has(2)):
            raise error(node, f"{name} = {found} is not supported, and must be {value:g}")


def bias_in_units(node: NodeProto, value: Weights | Constant, unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a bias (M,) in units of sums; where its scale is the unit, these are its codes."""
    outputs = len(unit)
    array = value.codes if isinstance(value, Weights) else value.array
    if array.size not in (1, outputs) or array.ndim > 2 or array.shape[-1:] not in ((), (1,), (outputs,)):
        raise error(node, f"its bias has shape {array.shape}, and must have shape {(outputs,)} or spread to it")
    flat = np.broadcast_to(array.reshape(-1), (outputs,)).astype(np.float64)
    if isinstance(value, Constant):
        if not np.isfinite(flat).all():
            raise error(node, "its bias holds a value that is not finite")
        with np.errstate(all="ignore"):  # checked when it is rounded
            return flat / unit
    scale = np.broadcast_to(value.scale.reshape(-1), (outputs,)).astype(np.float64)
    with np.errstate(all="ignore"):
        return np.where(np.isclose(scale, unit, rtol=1e-5, atol=0), flat, flat * scale / unit)


def normalisation(node: NodeProto, constants: list[NDArray]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return factor and shift (C,) of BatchNormalization, for its scale, bias, mean and variance."""
    operator = operator_of(node)
    if operator.attribute("training_mode", 0):
        raise error(node, "training_mode = 1 is not supported, and must be 0")
    scale, bias, mean, variance = (array.astype(np.float64) for array in constants)
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + operator.attribute("epsilon", 1e-5))
    if not (np.isfinite(factor).all() and np.isfinite(bias - mean * factor).all()):
        raise error(node, "its constants give a factor that is not finite")
    return factor, bias - mean * factor


def pool_geometry(node: NodeProto, size: Shape3, output: Shape) -> dict[str, Any]:
    """Return keys of a `Pool` from the attributes of MaxPool or AveragePool."""
    operator = operator_of(node)
    if operator.attribute("storage_order", 0) or (len(node.output) > 1 and node.output[1]):
        raise error(node, "its indices are not supported, only its maxima")
    ones = (1,) * (len(output) - 2)
    sides = size[1:] if len(ones) == 2 else size[2:]
    kernel = operator.per_axis("kernel_shape", ones)
    stride = operator.per_axis("strides", ones)
    dilation = operator.per_axis("dilations", ones)
    extent = tuple((taps - 1) * step + 1 for taps, step in zip(kernel, dilation, strict=True))
    pads = pads_of(operator, sides, stride, extent)
    begin, end = list(pads[: len(ones)]), list(pads[len(ones) :])
    for side, before, behind, span in zip(sides, begin, end, extent, strict=True):
        if max(before, behind) >= span:
            raise error(node, f"its pads {before} and {behind} must be below what its window spans, {span}")
        MAP.check(side + before + behind, f"{title_of(node)}: a side with its pads", "has")
    every = operator.attribute("count_include_pad", 0) or not any(pads)
    counts = []
    for axis, (side, windows) in enumerate(zip(sides, output[2:], strict=True)):
        first = np.arange(windows)[:, None] * stride[axis] - begin[axis] + np.arange(kernel[axis]) * dilation[axis]
        low, high = (-begin[axis], side + end[axis]) if every else (0, side)
        counts.append(tuple(((first >= low) & (first < high)).sum(axis=1).tolist()))
        beyond = (windows - 1) * stride[axis] + extent[axis] - begin[axis] - side
        end[axis] = max(end[axis], beyond)  # of windows that ceil_mode adds
    filled, zeros = (1,) * (2 - len(ones)), (0,) * (2 - len(ones))
    geometry = {"kernel": filled + kernel, "stride": filled + stride, "pads": (*zeros, *begin, *zeros, *end)}
    geometry |= {"dilation": filled + dilation}
    uneven = any(set(own) != {taps} for own, taps in zip(counts, kernel, strict=True))
    if node.op_type == "AveragePool" and uneven:
        rows, columns = (((1,),) * (2 - len(ones))) + tuple(counts)
        if 0 in (*rows, *columns):
            raise error(node, "a window lies outside of the map, and has no mean")
        geometry |= {"counts": (rows, columns)}
    return geometry


def activation(node: NodeProto, bounds: Sequence[NDArray | None], shape: Shape) -> Activation | None:
    """Return the activation of Relu, LeakyRelu, PRelu or Clip, ``bounds`` its inputs behind the first.

    ``None``: the operator is another, or has more slopes than channels of ONNX's ``shape``.
    """
    operator = operator_of(node)
    match node.op_type:
        case "Relu":
            return Activation(low=0.0)
        case "LeakyRelu":
            return Activation(slope=float(operator.attribute("alpha", 0.01)))
        case "PRelu" if bounds and bounds[0] is not None:
            slopes = per_channel(node, bounds[0], shape, map_shape(node, shape)[0])
            if slopes is None:
                return None
            return Activation(slope=float(slopes[0]) if (slopes == slopes[0]).all() else tuple(slopes.tolist()))
        case "Clip":
            low, high = [float(b) if b is not None and b.size == 1 else None for b in (*bounds, None, None)][:2]
            low = operator.attribute("min", -INFINITE) if low is None else low
            high = operator.attribute("max", INFINITE) if high is None else high
            return Activation(low=min(low, high), high=high)
    return None


def per_channel(node: NodeProto, array: NDArray, shape: Shape, channels: int) -> NDArray[np.float64] | None:
    """Return the values (C,) of a constant that spreads to ``shape``; ``None``: it has more than one a channel."""
    full = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    if full.size not in (1, channels) or full.shape[1] not in (1, channels) or full.size != full.shape[1]:
        return None
    if not np.isfinite(array).all():
        raise error(node, "its constant holds a value that is not finite")
    return np.broadcast_to(full.reshape(-1), (channels,)).astype(np.float64)


def affine(
    node: NodeProto, array: NDArray, shape: Shape, channels: int, first: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return factor and shift (C,) of Add, Sub, Mul or Div with a constant.

    It is the ``first`` operand or the second. ``None``: it is not of one value a channel, or is divided by a map, or
    a map by 0.
    """
    constant = per_channel(node, array, shape, channels)
    if constant is None:
        return None
    one, zero = np.ones_like(constant), np.zeros_like(constant)
    match node.op_type:
        case "Add":
            return one, constant
        case "Sub":
            return (-one, constant) if first else (one, -constant)
        case "Mul":
            return constant, zero
        case "Div" if not first and constant.all():
            return 1 / constant, zero
    return None
