"""Reading a model from an ONNX file of one operator."""

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto

from selvage.base.errors import InputError
from selvage.frontend.layer_file import Model, integers
from selvage.frontend.onnx.geometry import geometry, layer_of
from selvage.frontend.onnx.operator import BYTES, Operator
from selvage.frontend.onnx.read import complete, is_operator, read_proto, title_of

CONVOLUTIONS = ("Conv", "ConvTranspose", "ConvInteger")
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger")


def load_onnx(path: str, shape: tuple[int, ...] | None) -> Model:
    """Return the model in the ONNX file ``path``; ``shape`` of the input fills in its free dimensions."""
    proto = read_proto(path)
    node = _only_node(proto.graph, path)
    complete(proto, path)
    operator = Operator.of(proto.graph, node)
    return _convolution(operator, shape) if node.op_type in CONVOLUTIONS else _dense(operator)


def _only_node(graph: GraphProto, path: str) -> NodeProto:
    """Return the one node that is no Constant. `InputError`: it is missing, unsupported or has company."""
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


def _convolution(operator: Operator, given: tuple[int, ...] | None) -> Model:
    """Return the model of Conv, ConvTranspose or ConvInteger; 1-D ones become maps of height 1."""
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
    layer = layer_of(
        operator,
        op="conv_transpose" if transposed else "conv",
        channels=channels,
        outputs=outputs,
        groups=group,
        **geometry(operator, sides, stored.shape[2:]),
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
    """Return the model of Gemm, MatMul or MatMulInteger."""
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
        layer=layer_of(operator, op="dense", channels=channels, outputs=outputs),
        weights=weights.T if turned else weights,
        bias=_bias(operator, [(), (1,), (1, 1), (outputs,), (1, outputs)], outputs),
        zero_point=_zero_point(operator),
        dtype=operator.input_type(),
        input_shape=shape,
    )


def _stored_weights(operator: Operator) -> NDArray:
    """Return the weights as stored, zero point and all."""
    weights = operator.constant(1, "weight")
    if operator.zero_pointed and weights.dtype not in BYTES.values():
        raise InputError(f"{operator.title(1, 'weight')} holds {weights.dtype}, and must be uint8 or int8")
    return weights


def _less_zero_point(operator: Operator, stored: NDArray, spread: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the weights less their zero point, of which there is one, or as many as ``spread`` is to hold."""
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
    """Return the zero point of the activations."""
    if not (operator.zero_pointed and operator.has(2)):
        return 0
    zero, title = operator.constant(2, "zero point"), operator.title(2, "zero point")
    if zero.size != 1:
        raise InputError(f"{title} has shape {zero.shape}, and must be one value for all activations")
    if zero.dtype != operator.input_type():
        raise InputError(f"{title} holds {zero.dtype}, and must hold {operator.input_type()} as the input does")
    return int(zero.item())


def _bias(operator: Operator, shapes: list[tuple[int, ...]], outputs: int) -> NDArray[np.int64] | None:
    """Return the bias of ``outputs`` values, given in one of ``shapes``; ``None``: there is none."""
    if operator.zero_pointed or not operator.has(2):
        return None
    stored, title = operator.constant(2, "bias"), operator.title(2, "bias")
    if stored.shape not in shapes:
        raise InputError(f"{title} has shape {stored.shape}, and must have shape {shapes[-1]} or spread to it")
    return np.broadcast_to(integers(stored, title).reshape(-1), (outputs,)).copy()


def _with_channels(operator: Operator, stored: NDArray, channels: int, axis: int) -> tuple[int | None, ...]:
    """Return the shape of the input, whose ``axis`` is of ``channels``."""
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
    """Return the spatial sides of the input of ``shape``, the free ones from the ``given`` shape."""
    known = tuple(side for side in shape[2:] if side is not None)
    if len(known) == len(shape) - 2:
        return known
    title = operator.title(0, "input")
    if given is None:
        raise InputError(f"{title} has shape {shape}, and --input must be given to settle its free sides")
    if len(given) != len(shape):
        raise InputError(f"{title} has rank {len(shape)}, and --input has rank {len(given)}")
    return tuple(other if side is None else side for side, other in zip(shape[2:], given[2:], strict=True))
