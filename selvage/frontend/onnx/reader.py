"""What is known while an ONNX graph is read: values by name, and the network's nodes so far."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from selvage.base.errors import InputError
from selvage.base.graph import Loop, Matrix, Node, Table, Tensor
from selvage.frontend.onnx.codes import Recoded, is_codes
from selvage.frontend.onnx.hosted import Hosted
from selvage.frontend.onnx.joins import Joined
from selvage.frontend.onnx.kernels import Kernels
from selvage.frontend.onnx.names import Names
from selvage.frontend.onnx.nodes import UNQUANTISED, error, map_shape
from selvage.frontend.onnx.read import is_operator, title_of
from selvage.frontend.onnx.static import Shape, Static
from selvage.frontend.onnx.values import Constant, Followed, Function, Head, Host, Map, Pending, Shape3, Weights
from selvage.frontend.onnx.views import View, Viewed
from selvage.golden.requantize import dequantise, quantise

Value = Constant | Weights | Head | Map | Host | Pending
Values = list[Value | None]
Moved = TypeVar("Moved", bound=Value)

CONVOLUTIONS = ("Conv", "ConvTranspose")
MATRICES = (*CONVOLUTIONS, "Gemm", "MatMul")
POOLS = ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool")
TURNING = ("Transpose", "DepthToSpace", "SpaceToDepth", "Gather", "Pad", "Slice", "Tile", "Expand", "Concat", "Split")
MAPS = (*CONVOLUTIONS, *POOLS, "Resize", "BatchNormalization")  # their first input is a map


Handler = Callable[[Any, NodeProto, Values], Value | list[Value]]  # of an `Importer`
HANDLERS: dict[str, Handler] = {}  # by operator


def handles(*operators: str) -> Callable[[Handler], Handler]:
    """Register what is decorated as what makes of ``operators`` the value of their first result."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(operators, handler))
        return handler

    return register


class NoScale(InputError):
    """A result is read as a map, and has no scale; ``node`` made it."""

    def __init__(self, node: NodeProto, message: str) -> None:
        super().__init__(str(error(node, message)))
        self.node = node


class Reader:
    """``values`` by ONNX's names, ``nodes``, ``inputs``, ``tensors`` and ``notes`` of the network so far."""

    def __init__(self, static: Static) -> None:
        self.static = static
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.order: list[Node | Hosted] = []  # nodes, and the host's steps between them
        self.hosted: dict[str, Hosted] = {}  # by tensor that one makes
        self.loops: list[Loop] = []
        self.node_names: set[str] = set()
        self.notes: dict[str, str] = {}
        self.views: dict[str, View | None] = {}  # how ONNX sees tensors of its names, where it is not their own order
        self.inputs: dict[str, Tensor] = {}
        self.tensors: dict[str, Tensor] = {}
        self.tables: dict[str, Table] = {}
        self.made: dict[object, Tensor] = {}
        self.names = Names(static.graph)
        self.kernels = Kernels(static)
        self.floats: list[InputError] = []  # why layers were left to the host
        self.wanted = wanted_shapes(static)

    @property
    def advice(self) -> str:
        """What to do about floats: nothing is quantised yet, or something was left out."""
        codes = any(is_operator(node, "QuantizeLinear") for node in self.static.graph.node)
        return "quantise it too" if codes or self.inputs else UNQUANTISED

    def settled(self, node: NodeProto, value: Value | None) -> Map:
        """Return the map that a node reads. `NoScale`: the value is none, and can become none."""
        if isinstance(value, Map):
            return value
        if isinstance(value, Viewed):
            found = self.settled(node, value.before)
            self.views[found.tensor.name] = None  # its name may be that before the move or behind it
            return replace(found, view=value.view)
        if isinstance(value, Head):
            raise error(node, f"operator {node.op_type!r} reads floats without a scale; {self.advice}")
        if isinstance(value, Pending) and (same := self.without_scale(value)) is not None:
            return Map(self.emitted((value.start, same.scale, same.format), value, same), real=not is_codes(value))
        if isinstance(value, Recoded):
            raise error(node, f"it reads codes of {title_of(value.origin)}, whose type has not their zero point")
        if isinstance(value, Pending):
            title = f"no QuantizeLinear stands behind operator {value.origin.op_type!r}"
            raise NoScale(value.origin, f"{title}, and {title_of(node)} reads its result; {self.advice}")
        raise error(node, f"operator {node.op_type!r} reads a constant where a map is needed")

    def without_scale(self, value: Pending) -> Tensor | None:
        """Return the tensor of a result whose scale can be that of its source, where no QuantizeLinear says one.

        ``None``: its scale can be no such one.
        """
        if isinstance(value, Recoded):
            return value.tensor()
        if not isinstance(value, Function | Joined):
            return None
        sources = value.sources if isinstance(value, Joined) else (value.source,)
        first = sources[0]
        if any(other.scale != first.scale or other.format != first.format for other in sources):
            return None
        to = Tensor(value.start, value.shape, first.scale, first.format)
        if isinstance(value, Function) and (dequantise(quantise(value.values, to), to) != value.values).any():
            return None
        return to

    def emitted(self, key: object, value: Pending, to: Tensor) -> Tensor:
        """Return the codes of a pending value, made by new nodes, or for the same ``key`` before."""
        if key not in self.made:
            for node in value.nodes(to, self.names.fresh):
                self.add(node)
            self.tell(value, to)
            self.made[key] = to
        return self.made[key]

    def tell(self, value: Pending, to: Tensor) -> None:
        """Keep the note on the layer of ``value``, which was made last, if there is one."""
        layer = next((node for node in reversed(self.nodes) if isinstance(node, Matrix)), None)
        note = value.note(to, layer) if layer else ""
        if layer and note:
            self.notes[layer.name] = note

    def add(self, node: Node) -> None:
        """Add a node. Where another has its name already it is called by that of its tensor."""
        if node.name in self.node_names:
            name = node.output.name
            node = replace(node, name=self.names.fresh(name) if name in self.node_names else name)
        self.node_names.add(node.name)
        self.nodes.append(node)
        self.order.append(node)
        self.tensors[node.output.name] = node.output
        if isinstance(node, Table):
            self.tables[node.output.name] = node

    def kernel(self, node: NodeProto, kernel: str, inputs: Values) -> str:
        """Return ``kernel`` if onnxruntime may run it in place of a node, else nothing."""
        types = {code_type(value) for value in inputs}
        return kernel if self.kernels.alone(node) and len(types) == 1 and None not in types else ""

    def passed(self, node: NodeProto, value: Moved | None) -> Moved:
        """Return the value that a node only moves, without its kernel where onnxruntime has none past the node."""
        if value is None:
            raise error(node, f"operator {node.op_type!r} lacks its first input")
        if isinstance(value, Followed | Viewed):
            return replace(value, before=self.passed(node, value.before))
        if isinstance(value, Map) and value.direct and not self.kernels.moves(node, value.tensor):
            return replace(value, direct=False)
        if isinstance(value, Pending) and value.kernel:
            moves = self.kernels.alone(node) and all(self.kernels.moves(node, tensor) for tensor in value.read)
            return value if moves else replace(value, kernel="")
        return value

    def onnx_shape(self, name: str, node: NodeProto) -> Shape:
        """Return ONNX's shape of a name that a node reads or makes."""
        shape = self.static.shapes.get(name)
        if shape is None:
            raise error(node, f"the shape of {name!r} depends on values that are not constant")
        return shape

    def shape_read(self, node: NodeProto) -> Shape3:
        """Return (C, H, W) of a node's first input as ONNX sees it."""
        return map_shape(node, self.with_images(self.onnx_shape(node.input[0], node)))

    def shape_made(self, node: NodeProto) -> Shape3:
        """Return (C, H, W) of a node's result as ONNX sees it."""
        return map_shape(node, self.with_images(self.onnx_shape(node.output[0], node)))

    def with_images(self, shape: Shape) -> Shape:
        """Return a shape whose first axis is that of images: of a model of one image it may stand anywhere."""
        if shape[:1] == (self.static.batch,) or self.static.batch != 1:
            return shape
        long = shape if len(shape) <= 3 else [side for side in shape if side != 1]
        return (1, *long) if len(long) > 1 else (1, *long, 1)

    def constant(self, node: NodeProto, value: Value | None, what: str) -> NDArray:
        """Return the numbers of a constant input."""
        if not isinstance(value, Constant | Weights):
            raise error(node, f"its {what} must be constant")
        return value.array


def code_type(value: Value | None) -> np.dtype | None:
    """Return the type of the codes whose worth is read; ``None``: no kernel for codes can read them."""
    if isinstance(value, Map) and value.direct and value.tensor.format.raw_bits == 8:
        return np.dtype(np.int8 if value.tensor.format.raw_signed else np.uint8)
    if isinstance(value, Weights) and (value.scale == value.scale.flat[0]).all():
        return value.kind
    return None


def wanted_shapes(static: Static) -> dict[str, Shape3]:
    """Return (C, H, W) in which each tensor is read as a map in the end, for those that are."""
    wanted: dict[str, Shape3] = {}
    for node in reversed(static.graph.node):
        behind = next((wanted[name] for name in node.output if name in wanted), None)
        for position, name in enumerate(node.input):
            shape = static.shapes.get(name)
            if shape is None or name in static.constants or len(shape) < 2 or 0 in shape:
                continue
            as_it_is = len(shape) in (3, 4)
            if as_it_is and is_operator(node, *MAPS) and position == 0:
                wanted[name] = map_shape(node, shape)
            elif as_it_is and is_operator(node, "Concat"):
                wanted.setdefault(name, map_shape(node, shape))
            elif (
                behind
                and not is_operator(node, *MATRICES, *MAPS, *TURNING)
                and math.prod(shape[1:]) == math.prod(behind)
            ):
                wanted.setdefault(name, behind)
    return wanted


def small(array: NDArray | None) -> bool:
    """Return whether a constant is one number, or none."""
    return array is None or np.size(array) == 1
