"""An ONNX model made ready for import: checked, one form of quantisation, every shape known, constants folded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from selvage.base.errors import InputError
from selvage.frontend.layer_file import one_line
from selvage.frontend.onnx.bodies import all_nodes, bodies, inlined, reads
from selvage.frontend.onnx.evaluate import evaluate, evaluator
from selvage.frontend.onnx.geometry import make_explicit
from selvage.frontend.onnx.normal import normalise
from selvage.frontend.onnx.operator import Operator
from selvage.frontend.onnx.read import complete, is_operator, read_proto, title_of, without_functions
from selvage.frontend.onnx.sizes import check_computed, check_shapes

OLDEST = 10  # the first with QuantizeLinear
RANDOM = ("RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout")
SHAPING = ("Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout")

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Static:
    """A model without operators on codes, its sizes fixed.

    ``graph`` holds the nodes that remain when constants are folded; ``constants`` their values by name,
    ``shapes`` the shape of each tensor, ``batch`` first, ``types`` ONNX's element types. ``each``: the model can
    only be evaluated in batches of ``batch``, because its shapes say so. ``inputs`` and ``outputs`` are the model's
    own; ``unread`` names inputs of which nothing depends.
    """

    path: str
    graph: GraphProto
    opsets: tuple[onnx.OperatorSetIdProto, ...]
    constants: dict[str, NDArray]
    shapes: dict[str, Shape]
    types: dict[str, int]
    batch: int
    each: bool
    inputs: tuple[ValueInfoProto, ...]
    unread: tuple[str, ...]
    outputs: tuple[str, ...]

    def evaluator(
        self, nodes: Sequence[NodeProto], inputs: Sequence[str], outputs: Sequence[str]
    ) -> ReferenceEvaluator:
        """Return ONNX's evaluator of some nodes. `InputError`: it lacks an operator."""
        used = {name for node in nodes for name in reads(node)} - set(inputs)
        constants = {name: array for name, array in self.constants.items() if name in used}
        return evaluator(nodes, inputs, outputs, constants, self.opsets)


def read_static(path: str, shape: Shape | None) -> Static:
    """Return the model in the ONNX file ``path``; ``shape`` settles free sides of its input."""
    proto = read_proto(path)
    if not proto.graph.node:
        raise InputError(f"model {path!r} holds no operator")
    _check_opset(proto, path)
    _check_order(proto.graph)
    complete(proto, path)
    if proto.functions:
        proto = without_functions(proto, path)
    normalise(proto.graph)
    constant_names = {tensor.name for tensor in proto.graph.initializer}
    outputs = tuple(info.name for info in proto.graph.output)
    used = {name for node in proto.graph.node for name in reads(node)} | set(outputs)
    given = [info for info in proto.graph.input if info.name not in constant_names]
    inputs = [info for info in given if info.name in used]
    free = _settle(inputs, shape)
    shaped = any(is_operator(node, "Shape") for node in all_nodes(proto.graph))
    shapes, types, constants = _fold(proto, path)
    return Static(
        path=path,
        graph=proto.graph,
        opsets=tuple(proto.opset_import),
        constants=constants,
        shapes=shapes,
        types=types,
        batch=inputs[0].type.tensor_type.shape.dim[0].dim_value,
        each=shaped or not free,
        inputs=tuple(inputs),
        unread=tuple(info.name for info in given if info.name not in used),
        outputs=outputs,
    )


def static_of(proto: ModelProto, title: str) -> Static:
    """Return the body of a loop, whose inputs have all their sides, as a model of its own called ``title``."""
    normalise(proto.graph)
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = tuple(info for info in proto.graph.input if info.name not in constants)
    outputs = tuple(info.name for info in proto.graph.output)
    shapes, types, constants = _fold(proto, title)
    opsets = tuple(proto.opset_import)
    return Static(title, proto.graph, opsets, constants, shapes, types, 1, False, inputs, (), outputs)


def _check_opset(proto: ModelProto, path: str) -> None:
    newest = onnx.defs.onnx_opset_version()
    versions = [item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")]
    if versions and not OLDEST <= versions[0] <= newest:
        raise InputError(f"model {path!r} has opset {versions[0]}, and {OLDEST} to {newest} are supported")


def _check_order(graph: GraphProto) -> None:
    """Raise `InputError` when a node reads what one behind it makes."""
    made = {name for node in graph.node for name in node.output if name}
    known: set[str] = set()
    for node in graph.node:
        for name in reads(node):
            if name in made and name not in known:
                raise InputError(
                    f"{title_of(node)}: it reads {name!r} before that is made; the graph must have no cycle"
                )
        known.update(node.output)


def _settle(inputs: list[ValueInfoProto], shape: Shape | None) -> bool:
    """Fix every free side of the inputs in place, the batch at 1, and return whether the batch was free.

    `InputError`: a side is free and ``shape`` does not say it, or says other than the model.
    """
    if not inputs:
        raise InputError("the model has no input that it reads")
    free_batch = True
    for info in inputs:
        title = f"input {info.name!r}"
        if not info.type.HasField("tensor_type") or not info.type.tensor_type.HasField("shape"):
            raise InputError(f"{title} must be a tensor of known rank")
        dims = info.type.tensor_type.shape.dim
        if not 2 <= len(dims) <= 4:
            raise InputError(f"{title} has rank {len(dims)}, and 2 to 4 are supported, the batch first")
        if shape is not None and len(shape) != len(dims):
            raise InputError(f"--shape {','.join(map(str, shape))} has {len(shape)} sides, and {title} has {len(dims)}")
        for axis, dim in enumerate(dims):
            if dim.HasField("dim_value"):
                if axis and shape is not None and shape[axis] != dim.dim_value:
                    raise InputError(f"--shape has {shape[axis]} on axis {axis}, and {title} has {dim.dim_value}")
            elif axis and shape is None:
                name = f" ({dim.dim_param})" if dim.dim_param else ""
                raise InputError(f"{title} has a free side on axis {axis}{name}, and --shape must settle it")
            free_batch &= bool(axis) or not dim.HasField("dim_value")
            if not dim.HasField("dim_value"):
                dim.dim_value = shape[axis] if axis and shape else 1
            if dim.dim_value < 1:
                raise InputError(f"{title} has a side of {dim.dim_value}, and sides must be at least 1")
    if len({info.type.tensor_type.shape.dim[0].dim_value for info in inputs}) > 1:
        raise InputError("the model's inputs have different batches")
    return free_batch


def _fold(proto: ModelProto, path: str) -> tuple[dict[str, Shape], dict[str, int], dict[str, NDArray]]:
    """Return shapes, element types and constants by name; take nodes that only make constants out of ``proto``.

    A DequantizeLinear of a constant, and what only moves its values about, stays: weights need their codes. An If
    of a constant gives way to the branch that it takes.
    """
    inputs = {info.name for info in proto.graph.input}
    outputs = [info for info in proto.graph.output if info.name not in inputs]  # the others are known already
    del proto.graph.output[:]
    proto.graph.output.extend(outputs)
    for info in proto.graph.output:
        info.type.tensor_type.ClearField("shape")
    del proto.graph.value_info[:]
    constants = {tensor.name: _array(tensor) for tensor in proto.graph.initializer}
    shapes: dict[str, Shape] = {}
    types: dict[str, int] = {}
    changed = True
    while changed:
        shapes, types = _inferred(proto, path)
        changed = _fold_once(proto, shapes, constants) | _choose(proto.graph, constants)
        changed |= _settle_transposed(proto.graph, shapes, constants)
    return shapes | {name: array.shape for name, array in constants.items()}, types, constants


def _fold_once(proto: ModelProto, shapes: dict[str, Shape], constants: dict[str, NDArray]) -> bool:
    """Take out every node whose result is known, and return whether there was one."""
    kept: list[NodeProto] = []
    found: dict[str, NDArray] = {}
    made = 0
    for node in proto.graph.node:
        values = _known(node, shapes, constants, proto.opset_import)
        if values is None:
            kept.append(node)
            continue
        made += sum(array.size for array in values)
        check_computed(node, made)
        names = [name for name in node.output if name]
        found |= dict(zip(names, values, strict=True))
        constants |= found
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in found.items())
    return bool(found)


def _choose(graph: GraphProto, constants: dict[str, NDArray]) -> bool:
    """Put the branch that is taken in the place of every If of a constant, and return whether there was one."""
    chosen = [node for node in graph.node if is_operator(node, "If") and node.input[0] in constants]
    if not chosen:
        return False
    stored = len(graph.initializer)
    nodes = []
    for node in graph.node:
        nodes += inlined(graph, node, bool(constants[node.input[0]].any())) if node in chosen else [node]
    del graph.node[:]
    graph.node.extend(nodes)
    normalise(graph)  # of what was in the branch
    constants |= {tensor.name: _array(tensor) for tensor in graph.initializer[stored:]}
    return True


def _settle_transposed(graph: GraphProto, shapes: dict[str, Shape], constants: dict[str, NDArray]) -> bool:
    """Write the pads of transposed convolutions out where their inputs' sides are known; return whether one changed."""
    changed = False
    for node in graph.node:
        if not is_operator(node, "ConvTranspose"):
            continue
        read, kernel = (shapes.get(name, constants[name].shape if name in constants else ()) for name in node.input[:2])
        if len(read) == len(kernel) and len(read) in (3, 4):
            changed |= make_explicit(Operator(node, {}, {}), read[2:], kernel[2:])
    return changed


def _known(
    node: NodeProto,
    shapes: dict[str, Shape],
    constants: dict[str, NDArray],
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> list[NDArray] | None:
    """Return what a node makes; ``None``: it depends on the inputs of the model."""
    inner = (part for body in bodies(node) for part in all_nodes(body))
    if any(part.op_type in RANDOM for part in (node, *inner)):
        return None
    names = reads(node)
    if is_operator(node, "Shape") and names and names[0] in shapes:
        return evaluate(node, [np.zeros(shapes[names[0]], np.bool_)], opsets)
    if not is_operator(node, "Constant") and (not names or is_operator(node, "DequantizeLinear")):
        return None
    if any(name not in constants for name in names):
        return None
    check_computed(node, sum(math.prod(shapes[name]) for name in node.output if name in shapes))
    return evaluate(node, [constants[name] for name in names], opsets)


def _inferred(proto: ModelProto, path: str) -> tuple[dict[str, Shape], dict[str, int]]:
    """Return the shape of each tensor whose sides ONNX can infer, and the element type of each that it knows."""
    try:
        graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError) as error:
        raise InputError(f"model {path!r} has shapes that do not fit: {one_line(error)}") from None
    shapes, types = {}, {}
    for info in (*graph.input, *graph.value_info, *graph.output):
        kind = info.type.tensor_type
        types[info.name] = kind.elem_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[info.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    check_shapes(shapes, (tensor.name for tensor in proto.graph.initializer))
    return shapes, types


def _array(tensor: onnx.TensorProto) -> NDArray:
    """Return a constant's values. `InputError`: it holds other than it says."""
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise InputError(f"initializer {tensor.name!r} cannot be read: {one_line(error)}") from None
