"""Pattern pruning of the convolutions in an ONNX file, whose other contents stay as they are."""

from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from selvage.base.errors import InputError
from selvage.base.files import check_writable, write_whole
from selvage.frontend.layer_file import first_index, one_line
from selvage.frontend.onnx.read import complete, is_operator, name_of, read_proto, title_of
from selvage.golden.pattern import Masks, prune

WEIGHTS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Input that holds the weights, by operator."""
ZERO_POINTS = {"ConvInteger": 3, "QLinearConv": 5, "DequantizeLinear": 2}
"""Input that holds the zero point of the weights, by operator."""
NO_NUMBERS = (
    *(TensorProto.UNDEFINED, TensorProto.STRING, TensorProto.BOOL),
    *(TensorProto.COMPLEX64, TensorProto.COMPLEX128),
)
DATA = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


@dataclass(frozen=True)
class PrunedNode:
    """What pruning left of the ``weights`` of one node, ``kept``, and of its ``kernels``.

    ``patterns`` is the number of different patterns among the kernels that are not ``deleted``.
    """

    name: str
    weights: int
    kept: int
    kernels: int
    deleted: int
    patterns: int


def prune_file(model: str, out: Path, *, patterns: int, kernel_sparsity: float, entries: int = 4) -> list[PrunedNode]:
    """Write the ONNX file ``model`` with the weights of its convolutions pruned to ``out``, which may be the same file.

    Each Conv, ConvInteger, QLinearConv and ConvTranspose is pruned on its own by `golden.pattern.prune`:
    by its weights with the zero point subtracted, scales left aside. Weights that go become the zero
    point, the others stay as stored. Weights that several nodes share are pruned once, for the first of
    them, the only one that is returned. External data is brought in. `InputError`: the file cannot be read,
    pruned or written; nothing is written then.
    """
    check_writable(out)
    proto = read_proto(model)
    complete(proto, model, as_it_is=True)
    pruned, largest = [], 1
    for weights in _found(proto, model):
        try:
            masks = prune(weights.kernels(), patterns, kernel_sparsity, entries)[1]
        except ValueError as error:
            raise InputError(f"{title_of(weights.node)}: {error}") from None
        weights.keep(masks)
        largest = max(largest, masks[0, 0].size)
        pruned.append(_counted(weights.node, masks))
    if 1 < largest < entries:
        raise InputError(f"entries = {entries} is more than the {largest} weights of the largest kernel of {model!r}")
    write_whole(out, proto.SerializeToString())
    return pruned


def _counted(node: NodeProto, masks: Masks) -> PrunedNode:
    flat = masks.reshape(-1, masks[0, 0].size)
    kept = flat[flat.any(1)]
    return PrunedNode(
        name=name_of(node),
        weights=masks.size,
        kept=int(masks.sum()),
        kernels=len(flat),
        deleted=len(flat) - len(kept),
        patterns=len(np.unique(kept, axis=0)),
    )


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


@dataclass(frozen=True)
class _Scope:
    """Constants, and DequantizeLinear nodes by their outputs, that the nodes of a graph can name."""

    constants: ChainMap[str, TensorProto | None]
    dequantisers: ChainMap[str, NodeProto]

    def inside(self, graph: GraphProto | FunctionProto) -> Self:
        """Return the scope of a graph in this one."""
        constants: dict[str, TensorProto | None] = {tensor.name: tensor for tensor in getattr(graph, "initializer", ())}
        dequantisers: dict[str, NodeProto] = {}
        for node in graph.node:
            if is_operator(node, "DequantizeLinear"):
                dequantisers[node.output[0]] = node
            elif is_operator(node, "Constant"):
                constants[node.output[0]] = next(
                    (value.t for value in node.attribute if value.type == AttributeProto.TENSOR), None
                )
        return type(self)(self.constants.new_child(constants), self.dequantisers.new_child(dequantisers))

    def stored(self, name: str) -> tuple[TensorProto | None, NodeProto | None]:
        """Return the constant ``name``, or the one that a DequantizeLinear makes it of, and that node."""
        behind = self.dequantisers.get(name)
        return self.constants.get(behind.input[0] if behind else name), behind


def _graphs(graph: GraphProto | FunctionProto, outer: _Scope) -> Iterator[tuple[GraphProto | FunctionProto, _Scope]]:
    """Yield a graph and those in the attributes of its nodes, each with its scope."""
    scope = outer.inside(graph)
    yield graph, scope
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                yield from _graphs(inner, scope)


@dataclass(frozen=True, eq=False)
class _Weights:
    """The stored ``values`` of a convolution's weights in their ``tensor``, and the ``zero`` of each."""

    node: NodeProto
    tensor: TensorProto
    values: NDArray[Any]
    zero: NDArray[Any]

    def kernels(self) -> NDArray[np.float64]:
        """Return the weights (M, C, KH, KW) less the zero point, by a power of two so small that squares are finite."""
        real = self.values.astype(np.float64) - self.zero.astype(np.float64)
        real = np.ldexp(real, -np.frexp(np.abs(real).max(initial=0))[1])
        real = real if real.ndim == 4 else np.expand_dims(real, 2)
        return real.swapaxes(0, 1) if self._transposed else real

    def keep(self, masks: Masks) -> None:
        """Store the zero point for weights outside ``masks``, (M, C, KH, KW)."""
        kept = (masks.swapaxes(0, 1) if self._transposed else masks).reshape(self.values.shape)
        for name in DATA:
            self.tensor.ClearField(name)
        self.tensor.raw_data = numpy_helper.from_array(np.where(kept, self.values, self.zero)).raw_data

    @property
    def _transposed(self) -> bool:
        return self.node.op_type == "ConvTranspose"


def _found(proto: ModelProto, path: str) -> list[_Weights]:
    """Return the weights of all convolutions, shared ones once. `InputError`: one cannot be pruned."""
    found: dict[int, _Weights] = {}
    others: dict[int, str] = {}
    empty = _Scope(ChainMap(), ChainMap())
    scopes = [pair for graph in (proto.graph, *proto.functions) for pair in _graphs(graph, empty)]
    for graph, scope in scopes:
        for node in graph.node:
            place = WEIGHTS[node.op_type] if is_operator(node, *WEIGHTS) else None
            if place is not None:
                weights = _weights(node, node.input[place], scope)
                first = found.setdefault(id(weights.tensor), weights)
                if not np.array_equal(first.zero, weights.zero):
                    raise InputError(
                        f"{title_of(node)}: weight {node.input[place]!r} is shared with {title_of(first.node)}, "
                        f"and must have the same zero point in both"
                    )
            for position, name in enumerate(node.input):
                if position != place and not (position == 0 and is_operator(node, "DequantizeLinear")):
                    others[id(scope.stored(name)[0])] = f"read by {title_of(node)} ({node.op_type})"
        for output in graph.output:
            name = output if isinstance(output, str) else output.name
            others[id(scope.stored(name)[0])] = f"the output {name!r} of the graph"
    if not found:
        raise InputError(f"model {path!r} holds no convolution, and must hold one of {', '.join(WEIGHTS)}")
    for key, weights in found.items():
        if key in others:
            raise InputError(
                f"{title_of(weights.node)}: weight {weights.tensor.name!r} is {others[key]} as well, "
                f"and weights to prune must serve convolutions only"
            )
    return list(found.values())


def _weights(node: NodeProto, name: str, scope: _Scope) -> _Weights:
    """Return the weights that ``node`` reads as ``name``."""
    title = f"{title_of(node)}: weight {name!r}"
    tensor, behind = scope.stored(name)
    if tensor is None:
        raise InputError(
            f"{title} must be an initializer or the tensor of a Constant, or a DequantizeLinear of one, to be pruned"
        )
    values = _array(tensor, title)
    if values.ndim not in (3, 4):
        raise InputError(f"{title} has rank {values.ndim}, and 1-D and 2-D convolutions are pruned (rank 3 and 4)")
    finite = np.isfinite(values.astype(np.float64))
    if not finite.all():
        index = first_index(~finite)
        raise InputError(f"{title} holds {values[index]} at {list(index)}, and every weight must be finite")
    return _Weights(node, tensor, values, _zero(behind or node, values, scope, title))


def _zero(node: NodeProto, values: NDArray[Any], scope: _Scope, title: str) -> NDArray[Any]:
    """Return what stands for 0 in each of the ``values`` that ``node`` reads, of their shape and type."""
    place = ZERO_POINTS.get(node.op_type)
    if place is None or len(node.input) <= place or not node.input[place]:
        return np.zeros(values.shape, values.dtype)
    title = f"{title}: its zero point {node.input[place]!r}"
    tensor = scope.constants.get(node.input[place])
    if tensor is None:
        raise InputError(f"{title} must be an initializer or the tensor of a Constant")
    zero = _array(tensor, title)
    if zero.dtype != values.dtype:
        raise InputError(f"{title} holds {zero.dtype}, and must hold {values.dtype} as the weights do")
    if zero.size == 1:
        return np.broadcast_to(zero.reshape(()), values.shape)
    axis, block = 0, 0
    if node.op_type == "DequantizeLinear":
        axis, block = _attribute(node, "axis", 1), _attribute(node, "block_size", 0)
    if not -values.ndim <= axis < values.ndim:
        raise InputError(f"{title} has axis = {axis}, and the weights have rank {values.ndim}")
    side = values.shape[axis]
    if block > 0 and zero.ndim == values.ndim:
        zero = np.repeat(zero, block, axis).take(range(min(side, block * zero.shape[axis])), axis)
    elif zero.shape == (side,):
        spread = [1] * values.ndim
        spread[axis] = side
        zero = np.broadcast_to(zero.reshape(spread), values.shape)
    if zero.shape != values.shape:
        raise InputError(
            f"{title} has shape {tuple(tensor.dims)}, and must hold 1 value, or {side}, one for each along axis {axis}"
        )
    return zero


def _array(tensor: TensorProto, title: str) -> NDArray[Any]:
    """Return the numbers in a tensor."""
    if tensor.data_type in NO_NUMBERS:
        kind = TensorProto.DataType.Name(tensor.data_type).lower()
        raise InputError(f"{title} holds {kind}, and integers or floats are needed")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{title} cannot be read: {one_line(error)}") from None
