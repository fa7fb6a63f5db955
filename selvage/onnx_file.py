"""Reading a model from an ONNX file of one operator."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, numpy_helper
from pydantic import ValidationError

from selvage.layer_file import Model, integers, one_line
from selvage.onnx_read import complete, is_operator, read_proto, title_of
from spec.chip import one_sentence
from spec.errors import InputError
from spec.layer import Layer
from spec.limits import check_layer

CONVOLUTIONS = ("Conv", "ConvTranspose", "ConvInteger")
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger")
BYTES = {TensorProto.UINT8: np.dtype(np.uint8), TensorProto.INT8: np.dtype(np.int8)}
WIDER = (
    *(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16),
    *(TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
    *(TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
)
AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def load_onnx(path: str, shape: tuple[int, ...] | None) -> Model:
    """The model in the ONNX file ``path``; ``shape`` of the input fills in its free dimensions."""
    proto = read_proto(path)
    node = _only_node(proto.graph, path)
    complete(proto, path)
    operator = Operator.of(proto.graph, node)
    return _convolution(operator, shape) if node.op_type in CONVOLUTIONS else _dense(operator)


def _only_node(graph: GraphProto, path: str) -> NodeProto:
    """The one node that is no Constant; `InputError` when it is missing, unsupported or has company."""
    nodes = [node for node in graph.node if not is_operator(node, "Constant")]
    if not nodes:
        raise InputError(f"model {path!r} holds no operator, and must hold one of {', '.join(OPERATORS)}")
    chosen = next((node for node in nodes if is_operator(node, *OPERATORS)), nodes[0])
    if not is_operator(chosen, *OPERATORS):
        kind = f"{chosen.domain}.{chosen.op_type}" if chosen.domain else chosen.op_type
        raise InputError(f"{title_of(chosen)}: operator {kind!r} is not supported ({', '.join(OPERATORS)})")
    for node in nodes:
        if node is not chosen:
            raise InputError(
                f"{title_of(node)}: operator {node.op_type!r} stands beside {title_of(chosen)}, "
                f"and a model must hold exactly one node besides Constants"
            )
    return chosen


@dataclass(frozen=True)
class Operator:
    """One node, the constants it may read (``None``: of no use here) and the inputs of the graph."""

    node: NodeProto
    constants: dict[str, TensorProto | None]
    inputs: dict[str, TypeProto]

    @classmethod
    def of(cls, graph: GraphProto, node: NodeProto) -> Self:
        """``node`` of ``graph``; `InputError` when its result is not the graph's."""
        constants = {tensor.name: tensor for tensor in graph.initializer}
        for other in graph.node:
            if other is not node:
                constants[other.output[0]] = _constant(other)
        operator = cls(node, constants, {info.name: info.type for info in graph.input})
        if node.output[0] not in [info.name for info in graph.output]:
            raise operator.error(f"its output {node.output[0]!r} must be an output of the graph")
        return operator

    @property
    def zero_pointed(self) -> bool:
        return self.node.op_type in ("ConvInteger", "MatMulInteger")

    def error(self, message: str) -> InputError:
        return InputError(f"{title_of(self.node)}: {message}")

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute: an int, a float, a str, or a tuple of ints."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                if attribute.type == AttributeProto.STRING:
                    return value.decode(errors="replace")
                return tuple(value) if attribute.type == AttributeProto.INTS else value
        return default

    def per_axis(self, name: str, default: tuple[int, ...], low: int = 1) -> tuple[int, ...]:
        """An attribute of ints, as many as ``default`` has, none below ``low``."""
        value = self.attribute(name, default)
        if len(value) != len(default):
            raise self.error(f"{name} = {value} must hold {len(default)} values")
        if min(value) < low:
            raise self.error(f"{name} = {value} must hold values of at least {low}")
        return value

    def has(self, position: int) -> bool:
        return position < len(self.node.input) and self.node.input[position] != ""

    def title(self, position: int, what: str) -> str:
        """How messages call an input of the node."""
        return f"{title_of(self.node)}: {what} {self.node.input[position]!r}"

    def constant(self, position: int, what: str) -> NDArray:
        """A constant input, as stored; `InputError` when it is none or holds no numbers."""
        title = self.title(position, what)
        value = self.constants.get(self.node.input[position])
        if value is None:
            raise InputError(f"{title} must be an initializer or the tensor of a Constant")
        if value.data_type not in (*BYTES, *WIDER):
            raise InputError(f"{title} holds {_type_name(value.data_type)}, and integers or floats are needed")
        try:
            array = numpy_helper.to_array(value)
        except ValueError as error:
            raise InputError(f"{title} cannot be read: {one_line(error)}") from None
        return array.astype(np.float32) if value.data_type == TensorProto.BFLOAT16 else array

    def input_type(self) -> np.dtype | None:
        """uint8 or int8, or ``None`` for a wider type."""
        kind = self._input().elem_type
        if self.zero_pointed and kind not in BYTES:
            raise InputError(f"{self.title(0, 'input')} holds {_type_name(kind)}, and must be uint8 or int8")
        if kind not in (*BYTES, *WIDER):
            raise InputError(f"{self.title(0, 'input')} holds {_type_name(kind)}, and integers or floats are needed")
        return BYTES.get(kind)

    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the activations, ``None`` in place of free dimensions."""
        dims = self._input().shape.dim
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
        if any(side is not None and side < 1 for side in shape):
            raise InputError(f"{self.title(0, 'input')} has shape {shape}, and sides must be at least 1")
        return shape

    def _input(self) -> TypeProto.Tensor:
        name = self.node.input[0]
        if name in self.constants or name not in self.inputs:
            raise InputError(f"{self.title(0, 'input')} must be an input of the graph, and no constant")
        if not self.inputs[name].HasField("tensor_type"):
            raise InputError(f"{self.title(0, 'input')} must be a tensor")
        return self.inputs[name].tensor_type


def _type_name(kind: int) -> str:
    """ONNX's name of an element type."""
    return TensorProto.DataType.Name(kind).lower() if kind in TensorProto.DataType.values() else f"type {kind}"


def _constant(node: NodeProto) -> TensorProto | None:
    """The value of a Constant node, unless it is sparse or text."""
    attribute = node.attribute[0] if node.attribute else AttributeProto()
    value = onnx.helper.get_attribute_value(attribute) if node.attribute else None
    match attribute.type:
        case AttributeProto.TENSOR:
            return value
        case AttributeProto.INT | AttributeProto.INTS:
            return numpy_helper.from_array(np.array(value, dtype=np.int64))
        case AttributeProto.FLOAT | AttributeProto.FLOATS:
            return numpy_helper.from_array(np.array(value, dtype=np.float32))
    return None


def _convolution(operator: Operator, given: tuple[int, ...] | None) -> Model:
    """The model of Conv, ConvTranspose or ConvInteger; 1-D ones become maps of height 1."""
    stored = _stored_weights(operator)
    if stored.ndim not in (3, 4):
        raise InputError(
            f"{operator.title(1, 'weight')} has rank {stored.ndim}, "
            f"and 1-D and 2-D convolutions are supported (rank 3 and 4)"
        )
    group = operator.attribute("group", 1)
    if group < 1:
        raise operator.error(f"group = {group} must be at least 1")
    transposed = operator.node.op_type == "ConvTranspose"
    inner, outer = stored.shape[0], stored.shape[1] * group
    channels, outputs = (inner, outer) if transposed else (outer, inner)
    shape = _with_channels(operator, stored, channels, axis=1)
    sides = _sides(operator, shape, given)
    layer = _layer(
        operator,
        op="conv_transpose" if transposed else "conv",
        channels=channels,
        outputs=outputs,
        groups=group,
        **_geometry(operator, sides, stored.shape[2:]),
    )
    weights = _less_zero_point(operator, stored, (outputs, *(1,) * (stored.ndim - 1)))
    return Model(
        layer=layer,
        weights=weights.reshape(layer.weight_shape),
        bias=_bias(operator, [(outputs,)], outputs),
        zero_point=_zero_point(operator),
        dtype=operator.input_type(),
        input_shape=(*shape[:2], *sides),
    )


def _dense(operator: Operator) -> Model:
    """The model of Gemm, MatMul or MatMulInteger."""
    stored = _stored_weights(operator)
    if stored.ndim != 2:
        raise InputError(f"{operator.title(1, 'weight')} has rank {stored.ndim}, and must have rank 2")
    gemm = operator.node.op_type == "Gemm"
    for name, value in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)) if gemm else ():
        found = operator.attribute(name, value)
        if found != value and (name != "beta" or operator.has(2)):
            raise operator.error(f"{name} = {found} is not supported, and must be {value:g}")
    turned = operator.attribute("transB", 0) != 0
    channels, outputs = stored.shape[::-1] if turned else stored.shape
    weights = _less_zero_point(operator, stored, (1, outputs))
    shape = _with_channels(operator, stored, channels, axis=-1)
    return Model(
        layer=_layer(operator, op="dense", channels=channels, outputs=outputs),
        weights=weights.T if turned else weights,
        bias=_bias(operator, [(), (1,), (1, 1), (outputs,), (1, outputs)], outputs),
        zero_point=_zero_point(operator),
        dtype=operator.input_type(),
        input_shape=shape,
    )


def _stored_weights(operator: Operator) -> NDArray:
    """The weights as stored, zero point and all."""
    weights = operator.constant(1, "weight")
    if operator.zero_pointed and weights.dtype not in BYTES.values():
        raise InputError(f"{operator.title(1, 'weight')} holds {weights.dtype}, and must be uint8 or int8")
    return weights


def _less_zero_point(operator: Operator, stored: NDArray, spread: tuple[int, ...]) -> NDArray[np.int64]:
    """The weights less their zero point, of which there is one, or as many as ``spread`` is to hold."""
    weights = integers(stored, operator.title(1, "weight"))
    if not (operator.zero_pointed and operator.has(3)):
        return weights
    zero, title = operator.constant(3, "zero point"), operator.title(3, "zero point")
    if zero.dtype != stored.dtype:
        raise InputError(f"{title} holds {zero.dtype}, and must hold {stored.dtype} as the weights do")
    outputs = max(spread)
    if zero.size == 1:
        return weights - int(zero.item())
    if zero.size != outputs or zero.shape[-1] != outputs:
        raise InputError(f"{title} has shape {zero.shape}, and must hold 1 or {outputs} values, one an output")
    return weights - zero.astype(np.int64).reshape(spread)


def _zero_point(operator: Operator) -> int:
    """Zero point of the activations."""
    if not (operator.zero_pointed and operator.has(2)):
        return 0
    zero, title = operator.constant(2, "zero point"), operator.title(2, "zero point")
    if zero.size != 1:
        raise InputError(f"{title} has shape {zero.shape}, and must be one value for all activations")
    if zero.dtype != operator.input_type():
        raise InputError(f"{title} holds {zero.dtype}, and must hold {operator.input_type()} as the input does")
    return int(zero.item())


def _bias(operator: Operator, shapes: list[tuple[int, ...]], outputs: int) -> NDArray[np.int64] | None:
    """Bias of ``outputs`` values, given in one of ``shapes``."""
    if operator.zero_pointed or not operator.has(2):
        return None
    stored, title = operator.constant(2, "bias"), operator.title(2, "bias")
    if stored.shape not in shapes:
        raise InputError(f"{title} has shape {stored.shape}, and must have shape {shapes[-1]} or spread to it")
    return np.broadcast_to(integers(stored, title).reshape(-1), (outputs,)).copy()


def _with_channels(operator: Operator, stored: NDArray, channels: int, axis: int) -> tuple[int | None, ...]:
    """Shape of the input, whose ``axis`` is of ``channels``."""
    shape = operator.input_shape()
    batched = operator.node.op_type.startswith("MatMul")
    if not shape or (not batched and len(shape) != stored.ndim):
        rule = f"weights of shape {stored.shape} take rank {'1 or more' if batched else stored.ndim}"
        raise InputError(f"{operator.title(0, 'input')} has rank {len(shape)}, and {rule}")
    if shape[axis] not in (None, channels):
        raise InputError(
            f"{operator.title(0, 'input')} has {shape[axis]} channels, "
            f"and weights of shape {stored.shape} take {channels}"
        )
    axis %= len(shape)
    return (*shape[:axis], channels, *shape[axis + 1 :])


def _sides(operator: Operator, shape: tuple[int | None, ...], given: tuple[int, ...] | None) -> tuple[int, ...]:
    """Spatial sides of the input of ``shape``, the free ones from the ``given`` shape."""
    known = tuple(side for side in shape[2:] if side is not None)
    if len(known) == len(shape) - 2:
        return known
    title = operator.title(0, "input")
    if given is None:
        raise InputError(f"{title} has shape {shape}, and --input must be given to settle its free sides")
    if len(given) != len(shape):
        raise InputError(f"{title} has rank {len(shape)}, and --input has rank {len(given)}")
    return tuple(other if side is None else side for side, other in zip(shape[2:], given[2:], strict=True))


def _geometry(operator: Operator, sides: tuple[int, ...], kernel: tuple[int, ...]) -> dict[str, Any]:
    """Keys of a `Layer` from the attributes, which have one value an axis, begin and end for pads."""
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    stride = operator.per_axis("strides", ones)
    dilation = operator.per_axis("dilations", ones)
    output_padding = operator.per_axis("output_padding", zeros, low=0)
    if operator.per_axis("kernel_shape", kernel) != kernel:
        raise operator.error(
            f"kernel_shape = {operator.attribute('kernel_shape', kernel)} disagrees with weights of {kernel}"
        )
    extent = tuple((k - 1) * d + 1 + p for k, d, p in zip(kernel, dilation, output_padding, strict=True))
    pads = _pads(operator, sides, stride, extent)
    begin, end = pads[: len(kernel)], pads[len(kernel) :]
    return {
        "height": sides[0] if len(sides) == 2 else 1,
        "width": sides[-1],
        "kernel": _pair(kernel, 1),
        "stride": _pair(stride, 1),
        "dilation": _pair(dilation, 1),
        "output_padding": _pair(output_padding, 0),
        "pads": (*_pair(begin, 0), *_pair(end, 0)),
    }


def _pair(values: tuple[int, ...], fill: int) -> tuple[int, ...]:
    """Values of the two axes; ``fill`` for the height of a 1-D convolution."""
    return (fill,) * (2 - len(values)) + values


def _pads(
    operator: Operator, sides: tuple[int, ...], stride: tuple[int, ...], extent: tuple[int, ...]
) -> tuple[int, ...]:
    """Pads, all begins first: as given, or what auto_pad or output_shape asks for.

    ``extent`` is what the dilated kernel spans, output padding included.
    """
    pads = operator.per_axis("pads", (0,) * 2 * len(sides), low=0)
    auto = operator.attribute("auto_pad", "NOTSET")
    if auto not in AUTO_PADS:
        raise operator.error(f"auto_pad = {auto!r} is not one of {', '.join(AUTO_PADS)}")
    if auto != "NOTSET" and any(pads):
        raise operator.error(f"auto_pad = {auto!r} excludes pads = {pads}")
    axes = list(zip(sides, stride, extent, strict=True))
    if operator.attribute("output_shape", None) is not None:
        totals = _cropped(operator, axes, operator.per_axis("output_shape", sides))
    elif not auto.startswith("SAME"):
        return pads
    elif operator.node.op_type == "ConvTranspose":
        totals = _cropped(operator, axes, tuple(side * step for side, step, _ in axes))
    else:
        totals = [max((-(-side // step) - 1) * step + span - side, 0) for side, step, span in axes]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (*small, *large) if auto == "SAME_UPPER" else (*large, *small)


def _cropped(operator: Operator, axes: list[tuple[int, int, int]], target: tuple[int, ...]) -> list[int]:
    """Begin and end pads together, an axis, that leave ``target`` of a transposed convolution."""
    full = tuple((side - 1) * step + span for side, step, span in axes)
    totals = [whole - part for whole, part in zip(full, target, strict=True)]
    if min(totals) < 0:
        raise operator.error(f"an output of {target} is asked for, and pads = 0 give no more than {full}")
    return totals


def _layer(operator: Operator, **geometry: Any) -> Layer:
    """The layer of the node; `InputError` when its geometry does not fit together."""
    try:
        layer = Layer(name=operator.node.name or operator.node.output[0], **geometry)
    except ValidationError as error:
        raise InputError(one_sentence(error, title_of(operator.node))) from None
    check_layer(layer, title_of(operator.node))
    return layer
