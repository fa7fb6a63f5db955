"""What every reader of ONNX files needs: the model whole and up to date, and how messages call its nodes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError, EncodeError
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto
from onnx.external_data_helper import load_external_data_for_model

from selvage.base.errors import InputError
from selvage.base.limits import FILE
from selvage.base.reading import read_regular
from selvage.frontend.layer_file import one_line
from selvage.frontend.onnx.sizes import check_contents

MADE_OF = "selvage: made of "
"""Begins the doc_string of a node that takes the place of a part of a node of the user's, whose name follows."""
NAMELESS = ("", "?", "-1", "none", "unk", "unknown")
"""What exporters write, in any case, for a side that they know nothing of: names of no symbol."""
SAYS_OPSETS = 3
"""The first IR version whose models say the versions of their operators, which are 1 before."""
FREE_OF_INPUTS = 4
"""The first IR version whose initializers need not stand among the inputs."""


def read_proto(path: str) -> ModelProto:
    """Return the model as it is in the file. `InputError`: there is none."""
    content = read_regular(path, f"model {path!r}", FILE)
    try:
        return ModelProto.FromString(content)
    except DecodeError:
        raise InputError(f"model {path!r} is not an ONNX file, or is cut short") from None


def complete(proto: ModelProto, path: str, *, as_it_is: bool = False) -> None:
    """Bring in weights kept in other files and let ONNX check the model, its container renewed unless ``as_it_is``."""
    check_contents(proto, path)
    try:
        load_external_data_for_model(proto, str(Path(path).parent))
        if not as_it_is:
            renew(proto)
        onnx.checker.check_model(proto)
    except OSError as error:
        raise InputError(f"model {path!r}: its external data cannot be read: {one_line(error)}") from None
    except TypeError:  # what onnx raises for a location that is not UTF-8
        raise InputError(f"model {path!r}: its external data must have a file name in UTF-8") from None
    except EncodeError:
        raise InputError(f"model {path!r} is beyond 2 GB, the most that one ONNX file holds") from None
    except (onnx.checker.ValidationError, ValueError) as error:
        for what, infos in (("input", proto.graph.input), ("output", proto.graph.output)):
            for info in _shapeless(infos):
                raise InputError(f"model {path!r}: {what} {info.name!r} has no shape, and must have one") from None
        raise InputError(f"model {path!r} is not valid ONNX: {one_line(error)}") from None


def renew(proto: ModelProto) -> None:
    """Write what older containers say otherwise as new ones do, in place; the operators stay as they are.

    Initializers leave the inputs, where IR versions 1 to 3 list them; ONNX's own domain has one name; sides whose
    names mark what is unknown have none, each an unknown of its own; outputs without a shape get the one that follows.
    """
    _one_domain(proto)
    if proto.ir_version < FREE_OF_INPUTS:
        proto.ir_version = max(FREE_OF_INPUTS, onnx.helper.find_min_ir_version_for(proto.opset_import, True))
    constants = {tensor.name for tensor in proto.graph.initializer}
    constants |= {tensor.values.name for tensor in proto.graph.sparse_initializer}
    inputs = [info for info in proto.graph.input if info.name not in constants]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    for graph in graphs(proto.graph):
        for info in (*graph.input, *graph.output, *graph.value_info):
            for side in info.type.tensor_type.shape.dim if info.type.HasField("tensor_type") else ():
                if side.HasField("dim_param") and str(side.dim_param).strip().casefold() in NAMELESS:
                    side.ClearField("dim_param")
    outputs = list(_shapeless(proto.graph.output))
    known = {info.name: info for info in _inferred(proto).output} if outputs else {}
    for info in outputs:
        if known[info.name].type.tensor_type.HasField("shape"):
            info.CopyFrom(known[info.name])


def _shapeless(infos: Iterable[ValueInfoProto]) -> Iterator[ValueInfoProto]:
    """Yield those that are tensors of a type, and do not say their rank."""
    for info in infos:
        if info.type.tensor_type.elem_type and not info.type.tensor_type.HasField("shape"):
            yield info


def _inferred(proto: ModelProto) -> GraphProto:
    """Return the graph with all shapes that ONNX finds."""
    try:
        return onnx.shape_inference.infer_shapes(proto).graph
    except Exception:  # onnx raises what comes to hand, and the checker says what is wrong
        return proto.graph


def _one_domain(proto: ModelProto) -> None:
    """Call ONNX's own operators by one of the two names of their domain, and name their version where none is."""
    holders: list[GraphProto | FunctionProto] = [*graphs(proto.graph), *proto.functions]
    for node in (node for holder in holders for node in holder.node):
        if node.domain == "ai.onnx":
            node.domain = ""
    for holder in (proto, *proto.functions):
        others = [entry for entry in holder.opset_import if entry.domain not in ("", "ai.onnx")]
        versions = [entry.version for entry in holder.opset_import if entry.domain in ("", "ai.onnx")]
        if not versions and isinstance(holder, ModelProto) and holder.ir_version < SAYS_OPSETS:
            versions = [1]
        del holder.opset_import[:]
        holder.opset_import.extend([*(onnx.helper.make_opsetid("", version) for version in versions[:1]), *others])


def inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the bodies of a node: of If, Loop, Scan and the like."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and the bodies in it, at every depth."""
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from graphs(inner)


def without_functions(proto: ModelProto, path: str) -> ModelProto:
    """Return the model with what its functions say in the place of each call."""
    try:
        return onnx.inliner.inline_local_functions(proto)
    except Exception as error:  # onnx raises what comes to hand
        raise InputError(f"model {path!r} calls a function as none of its own can be: {one_line(error)}") from None


def is_operator(node: NodeProto, *operators: str) -> bool:
    """Return whether ``node`` is one of ONNX's own ``operators``."""
    return node.domain in ("", "ai.onnx") and node.op_type in operators


def name_of(node: NodeProto) -> str:
    """Return a node's name, or else its output's; of a node that was made of the user's, that of the user's."""
    if node.doc_string.startswith(MADE_OF):
        return node.doc_string.removeprefix(MADE_OF)
    return node.name or next(iter(node.output), "")


def title_of(node: NodeProto) -> str:
    """Return how messages call a node."""
    return f"node {name_of(node)!r}"
