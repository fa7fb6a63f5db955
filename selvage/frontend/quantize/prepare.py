"""Float models made ready for onnxruntime's quantiser.

Operators are of one age, and each node has a name and constants of its own.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process

from selvage.base.errors import InputError
from selvage.frontend.layer_file import one_line
from selvage.frontend.onnx.names import Names
from selvage.frontend.onnx.read import graphs, inner_graphs, is_operator, title_of
from selvage.frontend.quantize.names import name_nodes

OPSET = 13
"""The first whose DequantizeLinear takes a scale for each channel; older models are converted."""
ROUNDING = ("Conv", "Gemm", "MatMul", "Add", "Mul")
"""Operators on codes that round their result to a range of its own; others keep that of their input."""
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def converted(proto: ModelProto, path: str) -> ModelProto:
    """Return the model with operators of `OPSET` at least. `InputError` names one that has no newer form."""
    versions = [entry.version for entry in proto.opset_import if entry.domain == ""]
    if not versions:
        proto.opset_import.append(helper.make_opsetid("", OPSET))  # for the quantiser's own operators
        return proto
    if versions[0] >= OPSET:
        return proto
    try:
        return onnx.version_converter.convert_version(proto, OPSET)
    except Exception as error:  # onnx raises what comes to hand
        stuck = _unconvertible(proto)
        where = f"{title_of(stuck)} ({stuck.op_type}) of " if stuck else ""
        raise InputError(
            f"model {path!r}: {where}opset {versions[0]} cannot be converted to {OPSET}, which eight-bit weights need; "
            f"export the model with opset {OPSET} or newer (onnx: {one_line(error)})"
        ) from None


def _unconvertible(proto: ModelProto) -> NodeProto | None:
    """Return the first node that cannot be converted even alone."""
    try:
        inferred = onnx.shape_inference.infer_shapes(proto).graph
    except Exception:  # as above; what follows needs no shapes
        inferred = proto.graph
    known = {info.name: info for info in (*inferred.input, *inferred.value_info, *inferred.output)}
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        names = [name for name in dict.fromkeys(node.input) if name]
        inputs = [known.get(name, onnx.ValueInfoProto(name=name)) for name in names if name not in constants]
        outputs = [known.get(name, onnx.ValueInfoProto(name=name)) for name in node.output if name]
        graph = helper.make_graph([node], "one", inputs, outputs, [constants[n] for n in names if n in constants])
        alone = helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)
        try:
            onnx.version_converter.convert_version(alone, OPSET)
        except Exception:  # as above
            return node
    return None


def prepared(plain: Path, folder: Path) -> ModelProto:
    """Return the model in the file ``plain`` as onnxruntime optimises it, with the shapes of its tensors."""
    file = folder / "prepared.onnx"
    quant_pre_process(plain, file, skip_symbolic_shape=True)  # with it, sympy is needed, and files may be left
    graph = (model := onnx.load(file)).graph
    for node in graph.node:
        while node.input and not node.input[-1]:
            node.input.pop()  # what is left out at the end need not be said, and the quantiser takes it for a tensor
    name_nodes(graph)  # those that the preparation makes of HardSwish and its like have no names
    own_constants(graph)
    plain_dense(graph)
    part_sums(graph)
    return model


def plain_dense(graph: GraphProto) -> None:
    """Multiply alpha and beta of dense layers into their constants, and give their biases a number for each output.

    The quantiser (onnxruntime 1.32) forgets beta, and alpha of operators on codes, and takes a bias to be a list.
    In place; each constant has one reader.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if not is_operator(node, "Gemm") or node.input[1] not in tensors:
            continue
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        weights = numpy_helper.to_array(tensors[node.input[1]])
        factors = {1: ("alpha", weights)}
        if len(node.input) > 2 and node.input[2] in tensors:
            bias, outputs = (
                numpy_helper.to_array(tensors[node.input[2]]),
                weights.shape[1 - attributes.get("transB", 0)],
            )
            if bias.size == 1 or bias.shape == (1, outputs):
                bias = np.broadcast_to(bias.reshape(-1), (outputs,))
            factors[2] = ("beta", bias)
        for position, (name, array) in factors.items():
            scaled = np.asarray(array * array.dtype.type(attributes.get(name, 1.0)))
            tensors[node.input[position]].CopyFrom(numpy_helper.from_array(scaled, node.input[position]))
        folded = [name for name, _ in factors.values()]
        left = [item for item in node.attribute if item.name not in folded]
        del node.attribute[:]
        node.attribute.extend(left)


def part_sums(graph: GraphProto) -> None:
    """Part dense layers from the maps that onnxruntime's preparation has them add, in place.

    A bias that is no constant with a number for each output has no place in a layer on crossbars.
    """
    lists, names = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 1}, Names(graph)
    nodes = []
    for node in graph.node:
        nodes.append(node)
        plain = all(attribute.name != "beta" or attribute.f == 1 for attribute in node.attribute)
        if node.op_type == "Gemm" and plain and len(node.input) > 2 and node.input[2] not in ("", *lists):
            added, whole = node.input.pop(), node.output[0]
            node.output[0] = names.fresh(f"{whole}/product")
            sum_name = names.fresh(f"{node.name}/sum")
            nodes.append(helper.make_node("Add", [node.output[0], added], [whole], name=sum_name))
    del graph.node[:]
    graph.node.extend(nodes)


def own_activations(graph: GraphProto, *, codes: bool) -> list[NodeProto]:
    """Return the Relu and Clip nodes that the quantiser must leave alone; ``codes``: it makes operators on codes.

    The quantiser (onnxruntime 1.32) gives what such a node reads the range of what it makes, and drops the node. That
    is right of a range around 0 only, where nothing else reads the tensor, and where the node before rounds to that
    range.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node.op_type for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(_inner_names(graph))
    readers.update(info.name for info in graph.output)
    found = []
    for node in graph.node:
        if is_operator(node, "Relu", "Clip"):
            rounds = not codes or makers.get(node.input[0]) in ROUNDING
            limits = [constants.get(name) for name in node.input[1:3] if name]
            around = all(limit is not None for limit in limits) and _around_zero(node, constants)
            if readers[node.input[0]] != 1 or not rounds or not around:
                found.append(node)
    return found


def _around_zero(node: NodeProto, constants: dict[str, TensorProto]) -> bool:
    """Return whether 0 is between the constant limits of a Clip; of a Relu it is."""
    low, high = (
        float(numpy_helper.to_array(constants[node.input[place]]).item())
        if place < len(node.input) and node.input[place]
        else 0.0
        for place in (1, 2)
    )
    return low <= 0 <= high


def _inner_names(graph: GraphProto) -> set[str]:
    """Return the names of the tensors that the bodies of nodes read and give out."""
    bodies = [inner for node in graph.node for body in inner_graphs(node) for inner in graphs(body)]
    given = {info.name for body in bodies for info in body.output}
    return given | {name for body in bodies for node in body.node for name in node.input}


def own_constants(graph: GraphProto) -> None:
    """Give every reader of a float initializer one of its own, in place.

    The quantiser gives each initializer one scale and one zero point, those of its first reader, and each bias the
    scales of the first layer that adds it. What the bodies of nodes read, or the graph gives out, is no reader's own.
    """
    names = Names(graph)
    tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type in FLOATS}
    readers = Counter({*_inner_names(graph), *(info.name for info in graph.output)})
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name not in tensors:
                continue
            readers[name] += 1
            if readers[name] > 1:
                copy = graph.initializer.add()
                copy.CopyFrom(tensors[name])
                copy.name = node.input[position] = names.fresh(name)
