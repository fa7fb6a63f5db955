"""One node of an ONNX graph: its attributes, constants and inputs, checked as they are asked for."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, numpy_helper

from selvage.base.errors import InputError
from selvage.frontend.layer_file import one_line
from selvage.frontend.onnx.read import title_of

BYTES: dict[int, np.dtype] = {TensorProto.UINT8: np.dtype(np.uint8), TensorProto.INT8: np.dtype(np.int8)}
WIDER = (
    *(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16),
    *(TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
    *(TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
)


@dataclass(frozen=True)
class Operator:
    """One node, the constants it may read (``None``: of no use here) and the inputs of the graph."""

    node: NodeProto
    constants: dict[str, TensorProto | None]
    inputs: dict[str, TypeProto]

    @classmethod
    def of(cls, graph: GraphProto, node: NodeProto) -> Self:
        """Return ``node`` of ``graph``. `InputError`: its result is not the graph's."""
        constants: dict[str, TensorProto | None] = {tensor.name: tensor for tensor in graph.initializer}
        for other in graph.node:
            if other is not node:
                constants[other.output[0]] = _constant(other)
        operator = cls(node, constants, {info.name: info.type for info in graph.input})
        if node.output[0] not in [info.name for info in graph.output]:
            raise operator.error(f"its output {node.output[0]!r} must be an output of the graph")
        return operator

    @property
    def zero_pointed(self) -> bool:
        """Whether zero points are among the inputs."""
        return self.node.op_type in ("ConvInteger", "MatMulInteger")

    def error(self, message: str) -> InputError:
        """Return an error that names the node."""
        return InputError(f"{title_of(self.node)}: {message}")

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute: an int, a float, a str, or a tuple of ints."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                if attribute.type == AttributeProto.STRING:
                    return value.decode(errors="replace")
                return tuple(value) if attribute.type == AttributeProto.INTS else value
        return default

    def per_axis(self, name: str, default: tuple[int, ...], low: int = 1) -> tuple[int, ...]:
        """Return an attribute of ints. `InputError`: not as many as in ``default``, or one is below ``low``."""
        value = self.attribute(name, default)
        if len(value) != len(default):
            raise self.error(f"{name} = {value} must hold {len(default)} values")
        if min(value) < low:
            raise self.error(f"{name} = {value} must hold values of at least {low}")
        return value

    def has(self, position: int) -> bool:
        """Return whether the node has an input at ``position``."""
        return position < len(self.node.input) and self.node.input[position] != ""

    def title(self, position: int, what: str) -> str:
        """Return how messages call an input of the node."""
        return f"{title_of(self.node)}: {what} {self.node.input[position]!r}"

    def constant(self, position: int, what: str) -> NDArray:
        """Return a constant input as stored. `InputError`: it is none, or holds no numbers."""
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
        """Return uint8 or int8, or ``None`` for a wider type."""
        kind = self._input().elem_type
        if self.zero_pointed and kind not in BYTES:
            raise InputError(f"{self.title(0, 'input')} holds {_type_name(kind)}, and must be uint8 or int8")
        if kind not in (*BYTES, *WIDER):
            raise InputError(f"{self.title(0, 'input')} holds {_type_name(kind)}, and integers or floats are needed")
        return BYTES.get(kind)

    def input_shape(self) -> tuple[int | None, ...]:
        """Return the shape of the activations, ``None`` in place of free dimensions."""
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
    """Return ONNX's name of an element type."""
    return TensorProto.DataType.Name(kind).lower() if kind in TensorProto.DataType.values() else f"type {kind}"


def _constant(node: NodeProto) -> TensorProto | None:
    """Return the value of a Constant node; ``None``: it is sparse or text."""
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
