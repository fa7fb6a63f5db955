"""Float models made ready for onnxruntime's quantiser: operators of one age, each node with a name and constants of
its own."""

from collections import Counter
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnxruntime.quantization.shape_inference import quant_pre_process

from selvage.layer_file import one_line
from selvage.onnx_names import Names, graphs, inner_graphs
from selvage.onnx_read import title_of
from spec.errors import InputError

OPSET = 13
"""The first whose DequantizeLinear takes a scale for each channel; older models are converted."""
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def converted(proto: ModelProto, path: str) -> ModelProto:
    """The model with operators of `OPSET` at least. `InputError` names one that has no newer form."""
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
    """The first node that cannot be converted even alone."""
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
    """The model in the file ``plain`` as onnxruntime optimises it, with the shapes of its tensors."""
    file = folder / "prepared.onnx"
    quant_pre_process(plain, file, skip_symbolic_shape=True)  # with it, sympy is needed, and files may be left
    model = onnx.load(file)
    part_sums(model.graph)
    own_constants(model.graph)
    return model


def part_sums(graph: GraphProto) -> None:
    """Part dense layers from the maps that onnxruntime's preparation has them add, in place.

    A bias that is no constant has no place in a layer on crossbars.
    """
    constants, names = {tensor.name for tensor in graph.initializer}, Names(graph)
    nodes = []
    for node in graph.node:
        nodes.append(node)
        plain = all(attribute.name != "beta" or attribute.f == 1 for attribute in node.attribute)
        if node.op_type == "Gemm" and plain and len(node.input) > 2 and node.input[2] not in ("", *constants):
            added, whole = node.input.pop(), node.output[0]
            node.output[0] = names.fresh(f"{whole}/product")
            sum_name = names.fresh(f"{node.name}/sum")
            nodes.append(helper.make_node("Add", [node.output[0], added], [whole], name=sum_name))
    _replace(graph.node, nodes)


def own_constants(graph: GraphProto) -> None:
    """Give every reader of a float initializer one of its own, in place.

    The quantiser gives each initializer one scale and one zero point, those of its first reader, and each bias the
    scales of the first layer that adds it. What the bodies of nodes read, or the graph gives out, stays as it is.
    """
    names = Names(graph)
    tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type in FLOATS}
    inner = {
        name
        for node in graph.node
        for body in inner_graphs(node)
        for own in graphs(body)
        for name in (*(info.name for info in own.output), *(name for node in own.node for name in node.input))
    }
    readers = Counter(name for name in {*inner, *(info.name for info in graph.output)} if name in tensors)
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name not in tensors:
                continue
            readers[name] += 1
            if readers[name] > 1:
                copy = graph.initializer.add()
                copy.CopyFrom(tensors[name])
                copy.name = node.input[position] = names.fresh(name)


def _replace(field: object, content: list[NodeProto]) -> None:
    """Put ``content`` in place of what a repeated field holds."""
    del field[:]
    field.extend(content)
