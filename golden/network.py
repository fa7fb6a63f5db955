"""What a quantised network computes, in integers."""

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from golden.dense import Integers
from golden.layer import evaluate
from golden.requantize import code_bounds, finished, integer_factors, requantization, requantize
from spec.graph import Add, Concat, Graph, Matrix, Node, Pool, Resize, Table, Tensor
from spec.requantization import Requantization

Maps = Mapping[str, Integers]


def run(graph: Graph, inputs: Maps) -> dict[str, NDArray[np.int64]]:
    """Codes (N, C, H, W) of every tensor, those of ``inputs`` given. ValueError: a shape is not the tensor's."""
    tensors = graph.tensors
    found = {tensor.name: inputs[tensor.name] for tensor in graph.inputs}
    for name, codes in found.items():
        if codes.ndim != 4 or codes.shape[1:] != tensors[name].shape:
            raise ValueError(f"{name} must be (N, {', '.join(map(str, tensors[name].shape))}), not {codes.shape}")
    for node in graph.nodes:
        found[node.output.name] = evaluate_node(
            node, [tensors[name] for name in node.inputs], [found[name] for name in node.inputs]
        )
    return found


def evaluate_node(node: Node, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    """Output codes (N, C, H, W) of one node, of the ``codes`` of its input ``tensors``."""
    match node:
        case Matrix():
            return of_sums(
                node, tensors[0], evaluate(node.layer, codes[0] - tensors[0].format.zero_point, node.weights)
            )
        case Pool(kind="max"):
            return _windows(node, codes[0], tensors[0].format.raw_range[0]).max(axis=(-2, -1))
        case Pool():
            sums = _windows(node, codes[0] - tensors[0].format.zero_point, 0).sum(axis=(-2, -1))
            return requantize(sums, mean_requantization(node, tensors[0]))
        case Table():
            return node.entries[codes[0] - tensors[0].format.raw_range[0]]
        case Add():
            return add(node, tensors, codes)
        case Concat():
            parts = zip(tensors, codes, strict=True)
            return np.concatenate([moved(own, tensor, node.output) for tensor, own in parts], axis=1)
        case Resize():
            return codes[0].repeat(node.factor[0], axis=2).repeat(node.factor[1], axis=3)
    raise TypeError(f"node {node.name!r} is of no known kind")


def of_sums(node: Matrix, source: Tensor, sums: Integers) -> Integers:
    """Output codes of a layer's sums (N, M, OH, OW), without its bias yet."""
    if node.raw:
        return sums + (node.bias if node.bias.ndim == 3 else node.bias[:, None, None])
    return requantize(sums, matrix_requantization(node, source))


def matrix_requantization(node: Matrix, source: Tensor) -> Requantization:
    """Of the sums of a layer on crossbars."""
    unit = np.float32(source.scale) * node.weight_scale.astype(np.float32).reshape(-1)
    return requantization(unit, node.output, bias=node.bias.reshape(-1).tolist(), activation=node.activation)


def mean_requantization(node: Pool, source: Tensor) -> Requantization:
    """Of the sums of a window, whose mean is meant.

    onnxruntime adds the zero point before it rounds, but where the window is the whole map.
    """
    unit = np.float32(source.scale) / np.float32(node.kernel[0] * node.kernel[1])
    return requantization(np.array([unit]), node.output, zero_first=node.kernel != source.shape[1:])


def copy_requantization(source: Tensor, to: Tensor) -> Requantization:
    """Of the codes of ``source``, zero point subtracted, to those of ``to``."""
    return requantization(np.array([source.scale], np.float32), to)


def moved(codes: Integers, source: Tensor, to: Tensor) -> Integers:
    """The same real values as codes of ``to``."""
    return requantize(codes - source.format.zero_point, copy_requantization(source, to))


def sum_factors(node: Add, tensors: list[Tensor]) -> tuple[tuple[int, ...], Requantization]:
    """Factors of the two maps, and what becomes of the sum of their products (itself with the factor 1)."""
    factors, shift = integer_factors([float(np.float32(t.scale) / np.float32(node.output.scale)) for t in tensors])
    low, high = code_bounds(node.output, node.activation)
    if node.activation.slope != 1:
        raise ValueError(f"node {node.name!r}: a sum of maps has no slope below 0")
    return factors, Requantization((1,), shift, node.output.format.zero_point, low, high, zero_first=True)


def add(node: Add, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    """The sum of two maps."""
    factors, r = sum_factors(node, tensors)
    parts = zip(tensors, codes, factors, strict=True)
    total = sum((own - tensor.format.zero_point) * factor for tensor, own, factor in parts)
    return finished(total, r)


def _windows(node: Pool, codes: Integers, outside: int) -> Integers:
    """Every window, (N, C, OH, OW, KH, KW); ``outside`` of the map one value."""
    top, left, bottom, right = node.pads
    padded = np.pad(codes, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=outside)
    windows = sliding_window_view(padded, node.kernel, axis=(2, 3))
    return windows[:, :, :: node.stride[0], :: node.stride[1]]
