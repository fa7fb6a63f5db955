"""What a quantised network computes, in integers."""

import math
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import reduce, singledispatch

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from selvage.base.graph import (
    Add,
    Concat,
    Graph,
    Integers,
    Loop,
    Matrix,
    Multiply,
    Node,
    Pool,
    Reorder,
    Reshape,
    Resize,
    Sequence,
    State,
    Steps,
    Table,
    Tensor,
)
from selvage.base.requantization import Requantization
from selvage.golden.layer import evaluate
from selvage.golden.requantize import (
    code_bounds,
    dequantise,
    exact,
    finished,
    integer_factors,
    quantise,
    requantization,
    requantize,
    steps_of,
)

Maps = Mapping[str, Integers]
Sums = Callable[[Matrix, Integers], Integers]
Late = Callable[[dict[str, Integers]], None]


def run(graph: Graph, inputs: Maps, sums: Sums | None = None, late: Late | None = None) -> dict[str, Integers]:
    """Return the quantised values (N, C, H, W) of every tensor, of those of ``inputs``.

    ``sums`` computes in another way the sums of a layer, without the bias, of codes less their zero point. ``late``
    adds inputs that are made of other tensors, as soon as those are there. ValueError: a shape is not the tensor's.
    """
    tensors = graph.tensors
    found = {tensor.name: inputs[tensor.name] for tensor in graph.inputs if tensor.name in inputs or not late}
    for name, codes in found.items():
        if codes.ndim != 4 or codes.shape[1:] != tensors[name].shape:
            raise ValueError(f"{name} must be (N, {', '.join(map(str, tensors[name].shape))}), not {codes.shape}")
    for node in graph.nodes:
        if late:
            late(found)
        loop = next((loop for loop in graph.loops if node.name in loop.nodes), None)
        if loop and node.output.name not in found:
            found |= run_loop(graph, loop, found, sums)
        elif not loop:
            found[node.output.name] = _evaluated(node, tensors, found, sums)
    if late:
        late(found)
    return found


def _evaluated(node: Node, tensors: dict[str, Tensor], found: Maps, sums: Sums | None) -> Integers:
    sources, codes = [tensors[name] for name in node.inputs], [found[name] for name in node.inputs]
    if sums and isinstance(node, Matrix):
        return of_sums(node, sources[0], sums(node, codes[0] - sources[0].format.zero_point))
    return evaluate_node(node, sources, codes)


def run_loop(graph: Graph, loop: Loop, found: Maps, sums: Sums | None = None) -> dict[str, Integers]:
    """Return the quantised values (N * steps, C, H, W) of every tensor that a loop makes, image by image.

    ``found`` has those of all that it reads from before it.
    """
    tensors, nodes = graph.tensors, [node for node in graph.nodes if node.name in loop.nodes]
    outside = {name for node in nodes for name in node.inputs} - {node.output.name for node in nodes}
    given = {name: found[name].reshape(-1, loop.steps, *tensors[name].shape) for name in outside}
    images = len(next(iter(given.values())))
    made: list[dict[str, Integers]] = []
    for step in range(loop.steps):
        now = {name: codes[:, step] for name, codes in given.items()}
        for node in nodes:
            if not isinstance(node, State):
                now[node.output.name] = _evaluated(node, tensors, now, sums)
            elif step:
                now[node.output.name] = made[-1][node.inputs[0]]
            else:
                now[node.output.name] = np.broadcast_to(node.initial[:, None, None], (images, *node.output.shape))
        made.append(now)
    names = (node.output.name for node in nodes)
    return {name: np.stack([now[name] for now in made], axis=1).reshape(-1, *tensors[name].shape) for name in names}


@singledispatch
def evaluate_node(node: Node, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    """Return the output (N, C, H, W) of one node, of the ``codes`` of its input ``tensors``.

    Each kind of node is registered (`functools.singledispatch`). TypeError: nobody knows this kind.
    """
    raise TypeError(f"node {node.name!r} is of no known kind")


@evaluate_node.register
def _(node: Matrix, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    return of_sums(node, tensors[0], evaluate(node.layer, codes[0] - tensors[0].format.zero_point, node.weights))


@evaluate_node.register
def _(node: Pool, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    if node.kind == "max":
        return _windows(node, codes[0], tensors[0].format.raw_range[0]).max(axis=(-2, -1))
    sums = _windows(node, codes[0] - tensors[0].format.zero_point, 0).sum(axis=(-2, -1))
    return requantize(sums, mean_requantization(node, tensors[0]))


@evaluate_node.register
def _(node: Table, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    return node.entries[codes[0] - tensors[0].format.raw_range[0]]


@evaluate_node.register
def _(node: Add, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    return add(node, tensors, codes)


@evaluate_node.register
def _(node: Multiply, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    values = [own - tensor.format.zero_point for own, tensor in zip(codes, tensors, strict=True)]
    return requantize(values[0] * values[1], product_requantization(node, tensors))


@evaluate_node.register
def _(node: Concat, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    parts = zip(tensors, codes, strict=True)
    return np.concatenate([moved(values, tensor, node.output) for tensor, values in parts], axis=1)


@evaluate_node.register
def _(node: Resize, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    return codes[0].repeat(node.factor[0], axis=2).repeat(node.factor[1], axis=3)


@evaluate_node.register
def _(node: Reorder, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    return reordered(node, codes[0])


@evaluate_node.register
def _(node: Reshape, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    channels, height, width = node.output.shape
    flowing = codes[0].transpose(0, 2, 3, 1).reshape(-1, height, width, channels)
    return flowing.transpose(0, 3, 1, 2)


@evaluate_node.register
def _(node: Steps, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    channels = tensors[0].shape[0]
    return codes[0].transpose(0, 3, 1, 2).reshape(-1, channels, 1, 1)


@evaluate_node.register
def _(node: Sequence, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    channels, _, steps = node.output.shape
    return codes[0].reshape(-1, steps, channels, 1).transpose(0, 2, 3, 1)


@evaluate_node.register
def _(node: State, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    steps = codes[0].reshape(-1, node.steps, *node.output.shape)
    first = np.broadcast_to(node.initial[:, None, None], (len(steps), 1, *node.output.shape))
    return np.concatenate([first, steps[:, :-1]], axis=1).reshape(codes[0].shape)


def reordered(node: Reorder, codes: Integers) -> Integers:
    """Return ``codes`` (N, C, H, W) in the order of ``node``."""
    numbers = node.numbers
    flowing = codes.transpose(0, 2, 3, 1).reshape(len(codes), -1)
    return np.where(numbers < 0, node.fill, flowing[:, numbers])


def of_sums(node: Matrix, source: Tensor, sums: Integers) -> Integers:
    """Return the output of a layer, of its sums (N, M, OH, OW) without the bias."""
    if node.raw:
        return sums + (node.bias if node.bias.ndim == 3 else node.bias[:, None, None])
    return requantize(sums, matrix_requantization(node, source))


def matrix_requantization(node: Matrix, source: Tensor) -> Requantization:
    """Return the requantisation of the sums of a layer on crossbars."""
    step = steps_of(source.scale, node.output)
    scales, place = np.unique(node.weight_scale.reshape(-1), return_inverse=True)
    ratios = [step * exact(scale) for scale in scales]
    return requantization(
        [ratios[k] for k in place],
        node.output,
        largest=largest_sum(node, source),
        bias=node.bias.reshape(-1).tolist(),
        activation=node.activation,
        zero_first=node.zero_first,
    )


def largest_sum(node: Matrix, source: Tensor) -> int:
    """Return the magnitude that no sum of a layer exceeds, bias included."""
    low, high = (bound - source.format.zero_point for bound in source.format.raw_range)
    weights = np.abs(node.weights, dtype=np.int64)  # of eight bits too, in which 128 has no place
    outputs = 0 if node.layer.op == "conv" else 1
    sums = weights.sum(axis=tuple(axis for axis in range(weights.ndim) if axis != outputs))
    return int(sums.max(initial=0)) * max(abs(low), abs(high)) + int(np.abs(node.bias).max(initial=0))


def mean_requantization(node: Pool, source: Tensor) -> Requantization:
    """Return the requantisation of the sums of a window, whose mean is meant."""
    area, (low, high) = node.kernel[0] * node.kernel[1], source.format.raw_range
    zero = source.format.zero_point
    step = steps_of(source.scale, node.output)
    ratios = [step / area]
    if node.counts:
        each = [step / (rows * columns) for rows in node.counts[0] for columns in node.counts[1]]
        ratios = each[:1] if len(set(each)) == 1 else each * node.output.shape[0]
    largest = area * max(abs(low - zero), abs(high - zero))
    settings = {"activation": node.activation, "zero_first": node.zero_first}
    return requantization(ratios, node.output, largest=largest, **settings)


def moved(codes: Integers, source: Tensor, to: Tensor) -> Integers:
    """Return the same real values in the format of ``to``, in float32 as onnxruntime's QLinearConcat has them."""
    return codes if (source.scale, source.format) == (to.scale, to.format) else quantise(dequantise(codes, source), to)


def sum_factors(node: Add, tensors: list[Tensor]) -> tuple[tuple[int, ...], Requantization]:
    """Return the factors of the maps, and the requantisation of the sum of their products.

    The requantisation has the factor 1. ValueError: the activation has a slope below 0.
    """
    if node.activation.bends:
        raise ValueError(f"node {node.name!r}: a sum of maps has no slope below 0")
    coefficients = node.coefficients or (Fraction(1),) * len(tensors)
    ratios = [steps_of(tensor.scale, node.output) * own for tensor, own in zip(tensors, coefficients, strict=True)]
    largest = max(abs(bound - t.format.zero_point) for t in tensors for bound in t.format.raw_range)
    factors, shift, tie_bits = integer_factors(ratios, largest, terms=len(tensors))
    low, high = code_bounds(node.output, node.activation)
    zero = node.output.format.zero_point
    return factors, Requantization((1,), shift, zero, low, high, zero_first=node.zero_first, tie_bits=tie_bits)


def add(node: Add, tensors: list[Tensor], codes: list[Integers]) -> Integers:
    """Return the sum of maps, requantised."""
    factors, r = sum_factors(node, tensors)
    parts = zip(tensors, codes, factors, strict=True)
    products = [(values - tensor.format.zero_point) * factor for tensor, values, factor in parts]
    return finished(reduce(operator.add, products), r)


def product_requantization(node: Multiply, tensors: list[Tensor]) -> Requantization:
    """Return the requantisation of products of the codes of two maps, less their zero points."""
    ratio = steps_of(tensors[0].scale, node.output) * exact(np.float32(tensors[1].scale))
    largest = math.prod(max(abs(b - t.format.zero_point) for b in t.format.raw_range) for t in tensors)
    settings = {"activation": node.activation, "zero_first": node.zero_first}
    return requantization([ratio], node.output, largest=largest, **settings)


def _windows(node: Pool, codes: Integers, outside: int) -> Integers:
    """Return every window, (N, C, OH, OW, KH, KW); ``outside`` is the value of all that is not in the map."""
    top, left, bottom, right = node.pads
    padded = np.pad(codes, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=outside)
    windows = sliding_window_view(padded, node.extent, axis=(2, 3))
    windows = windows[:, :, :: node.stride[0], :: node.stride[1]]
    return windows[..., :: node.dilation[0], :: node.dilation[1]]
