"""A network to be trained from an ONNX file: a chain of layers without biases, with their start values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from selvage.base.errors import InputError
from selvage.base.text import value
from selvage.frontend.onnx.read import complete, is_operator, read_proto, title_of

OPERATORS = "Conv, ConvTranspose, Gemm, MatMul, Relu, LeakyRelu, Flatten, Reshape, Identity"
ONES = {"dilations": 1, "group": 1, "alpha": 1.0, "beta": 1.0}
"""Attributes of layers that have this value, or none."""


@dataclass(frozen=True, eq=False)
class StartLayer:
    """A layer with the keys of a training TOML, and its start values as the ONNX node has them; dense: (C, M)."""

    keys: dict[str, Any]
    values: NDArray[np.float64]


def read_chain(path: str) -> list[StartLayer]:
    """Return the layers of an ONNX file, in order. `InputError`: it is no chain of what is trained."""
    proto = read_proto(path)
    complete(proto, path)
    graph = proto.graph
    constants = {own.name: numpy_helper.to_array(own) for own in graph.initializer}
    entering = [own.name for own in graph.input if own.name not in constants]
    if len(entering) != 1 or len(graph.output) != 1:
        raise InputError(
            f"model {path!r} has {len(entering)} inputs and {len(graph.output)} outputs, and needs one each"
        )
    at, found = entering[0], []
    for node in graph.node:
        if is_operator(node, "Constant") and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            continue
        if not node.input or node.input[0] != at:
            raise InputError(f"{title_of(node)} of model {path!r} does not follow the node before: it is no chain")
        _take(node, constants, found)
        at = node.output[0]
    if at != graph.output[0].name or not found:
        raise InputError(f"model {path!r} is no chain of layers from its input to its output")
    return found


def _take(node: NodeProto, constants: dict[str, NDArray], found: list[StartLayer]) -> None:
    """Add a layer, or what follows one."""
    attributes = {own.name: onnx.helper.get_attribute_value(own) for own in node.attribute}
    if is_operator(node, "Conv", "ConvTranspose", "Gemm", "MatMul"):
        found.append(_layer(node, attributes, constants))
    elif is_operator(node, "BatchNormalization", "InstanceNormalization", "LayerNormalization"):
        raise InputError(f"{title_of(node)} normalises, which couples samples or codes: training takes none")
    elif is_operator(node, "Relu", "LeakyRelu"):
        if not found or "slope" in found[-1].keys:
            raise InputError(f"{title_of(node)} does not follow a layer")
        found[-1].keys["slope"] = 0.0 if is_operator(node, "Relu") else float(attributes.get("alpha", 0.01))
    elif is_operator(node, "Reshape"):
        shape = constants.get(node.input[1])
        if shape is None or len(shape) not in (2, 4):
            raise InputError(f"{title_of(node)} needs a constant shape of two or four sides")
        if len(shape) == 4 and found and found[-1].keys["op"] == "dense":
            found[-1].keys["outputs"] = tuple(int(side) for side in shape[1:])
    elif not is_operator(node, "Flatten", "Identity"):
        raise InputError(f"{title_of(node)} is none of what is trained: {OPERATORS}")


def _layer(node: NodeProto, attributes: dict[str, Any], constants: dict[str, NDArray]) -> StartLayer:
    """Return the layer of a node."""
    name = title_of(node)
    weights = constants.get(node.input[1])
    if weights is None or weights.dtype.kind != "f" or not np.isfinite(weights).all():
        raise InputError(f"{name} needs constant, finite floats for its weights")
    bias = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if len(node.input) > 2 and node.input[2] and (bias is None or bias.any()):
        raise InputError(f"{name} has a bias, and layers that are trained have none")
    for key, one in ONES.items():
        if np.any(np.asarray(attributes.get(key, one)) != one):
            raise InputError(f"{name}: {key} = {value(attributes[key])} must be {one:g}")
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or attributes.get("output_shape") or attributes.get("transA"):
        raise InputError(f"{name}: auto_pad, output_shape and transA are not read")
    if is_operator(node, "Gemm", "MatMul"):
        if weights.ndim != 2:
            raise InputError(f"{name} needs weights of two sides, not {weights.shape}")
        weights = weights.T if attributes.get("transB") else weights
        return StartLayer({"op": "dense", "outputs": int(weights.shape[1])}, weights.astype(np.float64))
    if weights.ndim != 4:
        raise InputError(f"{name} needs weights of four sides, not {weights.shape}")
    transposed = is_operator(node, "ConvTranspose")
    keys: dict[str, Any] = {"op": "conv_transpose" if transposed else "conv"}
    keys |= {"outputs": int(weights.shape[1 if transposed else 0]), "kernel": tuple(map(int, weights.shape[2:]))}
    for key, name_there in (("stride", "strides"), ("pads", "pads"), ("output_padding", "output_padding")):
        if name_there in attributes:
            keys[key] = tuple(map(int, attributes[name_there]))
    return StartLayer(keys, weights.astype(np.float64))
