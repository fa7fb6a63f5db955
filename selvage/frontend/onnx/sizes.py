"""What an ONNX file declares, looked at before memory is taken for it: sizes, kinds, files beside it."""

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, external_data_helper

from selvage.base.errors import InputError
from selvage.base.limits import FILE, MAP, NODES, STORED
from selvage.base.reading import beside, open_regular, size_of
from selvage.base.text import value

SUBBYTE = {
    kind
    for name, kind in TensorProto.DataType.items()
    if name.startswith(("UINT4", "INT4", "UINT2", "INT2", "FLOAT4", "FLOAT6"))
}
"""Types of which several numbers share a byte."""


def check_contents(proto: ModelProto, path: str) -> None:
    """Raise `InputError` for contents that cannot be loaded.

    These are a tensor that is too large, of no known type, or not as long as it says; external data that is not beside
    the file; an attribute that refers to a function's outside of one.
    """
    external = 0
    for graph in (proto.graph, *proto.functions):
        for node in _nodes(graph):
            for attribute in node.attribute:
                if attribute.ref_attr_name and graph is proto.graph:
                    raise InputError(
                        f"model {path!r}: {_title(node)} takes its attribute {value(attribute.name)} from "
                        f"{value(attribute.ref_attr_name)} of a function, and stands in none"
                    )
        for tensor in _tensors(graph):
            external += _check_tensor(tensor, path)
    FILE.check(external, f"model {path!r}", "has external data of")
    _check_functions(proto, path)


def check_shapes(shapes: Mapping[str, tuple[int, ...]], stored: Iterable[str] = ()) -> None:
    """Raise `InputError` for a tensor of which one image is too large, unless it is ``stored`` in the file."""
    known = set(stored)
    for name, shape in shapes.items():
        if name not in known:
            MAP.check(prod(shape[1:]), f"tensor {value(name)} of shape {value(shape)}", "holds, an image,")


def check_inferred(proto: ModelProto) -> None:
    """Check all shapes that ONNX can infer as `check_shapes` does; where they do not fit nothing is known."""
    try:
        graph = onnx.shape_inference.infer_shapes(proto).graph
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError):
        return
    stored = {tensor.name for tensor in proto.graph.initializer}
    check_shapes(shapes_of(graph), stored)


def shapes_of(graph: GraphProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor whose sides are all known."""
    found = {}
    for info in (*graph.input, *graph.value_info, *graph.output):
        kind = info.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            found[info.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return found


def check_computed(node: NodeProto, count: int) -> None:
    """Raise `InputError` when constants that are computed, up to those of ``node``, hold too many numbers."""
    MAP.check(count, f"{_title(node)} computes constants: with them the model", "computes")


def _check_tensor(tensor: TensorProto, path: str) -> int:
    """Check one tensor, and return the bytes of its external data."""
    title = f"model {path!r}: tensor {value(tensor.name)}"
    if tensor.data_type not in TensorProto.DataType.values() or not tensor.data_type:
        raise InputError(f"{title} is of the type {tensor.data_type}, which ONNX does not know")
    if min(tensor.dims, default=0) < 0:
        raise InputError(f"{title} has the shape {value(tuple(tensor.dims))}, and sides must be at least 0")
    count = prod(tensor.dims)
    STORED.check(count, title)
    external = external_data_helper.uses_external_data(tensor)
    if tensor.data_type == TensorProto.STRING or tensor.data_type in SUBBYTE:
        needed = None
    else:
        needed = count * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if external:
        return _check_external(tensor, path, title, needed)
    if needed is not None and tensor.HasField("raw_data") and len(tensor.raw_data) != needed:
        raise InputError(
            f"{title} of shape {value(tuple(tensor.dims))} takes {needed:,} bytes, and has {len(tensor.raw_data):,}"
        )
    return 0


def _check_external(tensor: TensorProto, path: str, title: str, needed: int | None) -> int:
    """Return the bytes that the file beside the model gives a tensor.

    `InputError`: they are not as many as are ``needed``, where that is known, or the file cannot give them.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name = entries.get("location", "")
    what = f"{title}: its external data {value(name)}"
    folder = Path(path).parent
    file = beside(folder, name, what)
    if not file.exists():
        raise InputError(f"{what} is not there: {file} should hold it")
    if file.is_file() and file.stat().st_nlink > 1:  # which onnx does not open
        raise InputError(f"{what} has several hard links, and must have one; `cp -r {folder} COPY` makes such a folder")
    try:
        start, length = (int(entries[key]) if key in entries else None for key in ("offset", "length"))
    except ValueError:
        raise InputError(f"{what} must have numbers as offset and length") from None
    with open_regular(file, what) as opened:
        size = size_of(opened)
    start = start or 0
    length = max(0, size - start) if length is None else length
    if not 0 <= start <= size - length or length < 0 or (needed is not None and length != needed):
        takes = "" if needed is None else f"takes {needed:,} bytes: "
        raise InputError(
            f"{what} of shape {value(tuple(tensor.dims))} {takes}{value(length)} from {value(start)} on are named, "
            f"and the file has {size:,}"
        )
    return length


def _check_functions(proto: ModelProto, path: str) -> None:
    """Raise `InputError` when the model is too large with functions in the place of their calls, or calls itself."""
    functions = {_key(function): function for function in proto.functions}
    sizes: dict[tuple[str, str, str], int | None] = {}

    def size(graph: GraphProto | FunctionProto) -> int:
        return sum(called(node) for node in _nodes(graph))

    def called(node: NodeProto) -> int:
        key = _key(node)
        if key not in functions:
            return 1
        if key not in sizes:
            sizes[key] = None  # while it is counted
            sizes[key] = size(functions[key])
        count = sizes[key]
        if count is None:
            raise InputError(f"model {path!r}: function {value(node.op_type)} calls itself")
        return count

    try:
        NODES.check(size(proto.graph), f"model {path!r}")
    except RecursionError:
        raise InputError(f"model {path!r} has functions that call each other too deeply") from None


def _key(part: NodeProto | FunctionProto) -> tuple[str, str, str]:
    """Return what a call names a function by."""
    domain = "" if part.domain == "ai.onnx" else part.domain
    return (domain, part.op_type if isinstance(part, NodeProto) else part.name, part.overload)


def _title(node: NodeProto) -> str:
    return f"node {value(node.name or next(iter(node.output), ''))}"


def _nodes(graph: GraphProto | FunctionProto) -> Iterator[NodeProto]:
    """Yield the nodes of a graph and of the graphs in their attributes."""
    for node in graph.node:
        yield node
        for inner in _inner(node):
            yield from _nodes(inner)


def _inner(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors(graph: GraphProto | FunctionProto) -> Iterator[TensorProto]:
    """Yield the tensors of a graph, of attributes, and of the graphs in these."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from _sparse(sparse)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from _sparse(attribute.sparse_tensor)
            for sparse in attribute.sparse_tensors:
                yield from _sparse(sparse)
        for inner in _inner(node):
            yield from _tensors(inner)


def _sparse(sparse: onnx.SparseTensorProto) -> Iterator[TensorProto]:
    if min(sparse.dims, default=0) < 0:
        raise InputError(f"sparse tensor {value(sparse.values.name)} has a negative side")
    STORED.check(prod(sparse.dims), f"sparse tensor {value(sparse.values.name)}")
    yield sparse.values
    yield sparse.indices
