"""Images that a bundle's self-test plays: those given, and such as reach the ends of codes, windows and sums."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selvage.base.graph import Graph, Matrix, Tensor
from selvage.base.layer import Layer
from selvage.golden.layer import evaluate
from selvage.mapping.rows import kernel_view

Integers = NDArray[np.int64]
Place = tuple[int, int]
Aim = tuple[int, int]
AIMS = 256  # windows that are set to reach an end of a sum
MOST, SMALL = 3, 1024  # images for them, of maps of as many pixels at most
FEW = 64  # pixels of a map that is small: its images take little time


def selftest_images(graph: Graph, given: Sequence[Integers]) -> list[Integers]:
    """Return codes (N, C, H, W) of each input of ``graph``, N at least 3 and the same for all.

    The first image given (``given[k]`` are those of input k) and, where there is one, the second; some, of a large map
    one, whose windows bring the sums of the first layer to their ends; one, or where the map is small some, with whole
    windows of the largest, the smallest and the zero code.
    """
    sides = [[*_aimed(graph, tensor), *_even(tensor, _extent(graph, tensor))] for tensor in graph.inputs]
    most = max(map(len, sides))
    return [
        np.stack([codes[0], *(images[k % len(images)] for k in range(most)), *codes[1:2]])
        for codes, images in zip(given, sides, strict=True)
    ]


def _readers(graph: Graph, tensor: Tensor) -> list[Layer]:
    """Return the layers that take a tensor."""
    return [node.layer for node in graph.nodes if isinstance(node, Matrix) and tensor.name in node.inputs]


def _extent(graph: Graph, tensor: Tensor) -> Place:
    """Return the rows and columns of the tensor that a window of any of its readers takes at most."""
    layers = _readers(graph, tensor)
    kernels = [layer.extent for layer in layers if layer.op != "conv_transpose"]
    kernels += [layer.kernel for layer in layers if layer.op == "conv_transpose"]
    kernels += [getattr(node, "kernel", (1, 1)) for node in graph.nodes if tensor.name in node.inputs]
    return max(rows for rows, _ in kernels), max(columns for _, columns in kernels)


def _even(tensor: Tensor, extent: Place) -> list[Integers]:
    """Return an image of bands of one code each, or images of one code where the map is too low for that.

    A band is high enough for a window of ``extent``.
    """
    low, high = tensor.format.raw_range
    codes = list(dict.fromkeys((high, int(tensor.format.zero_point), low)))
    height = tensor.shape[1]
    if height < len(codes) * extent[0] or height * tensor.shape[2] <= FEW:
        return [np.full(tensor.shape, code, np.int64) for code in codes]
    image = np.empty(tensor.shape, np.int64)
    for code, rows in zip(codes, np.array_split(np.arange(height), len(codes)), strict=True):
        image[:, rows] = code
    return [image]


def _aimed(graph: Graph, tensor: Tensor) -> list[Integers]:
    """Return images with the smallest, the largest and the zero code at random, but for some windows.

    These make a channel's sum of the first layer that reads them as large, or as small, as it can be; the channels in
    turn, those of the largest weights first.
    """
    low, high = tensor.format.raw_range
    zero = tensor.format.zero_point
    rng = np.random.default_rng(len(graph.nodes))
    node = next((n for n in graph.nodes if isinstance(n, Matrix) and tensor.name in n.inputs), None)
    if node is None:
        return [rng.choice([low, high, zero], tensor.shape)]
    layer = node.layer
    # Of each output pixel what positive and what negative weights its window has.
    ones = np.ones((1, *tensor.shape), np.int64)
    up, down = (evaluate(layer, ones, part)[0] for part in (np.maximum(node.weights, 0), np.minimum(node.weights, 0)))
    largest = {1: (high - zero) * up + (low - zero) * down, -1: (zero - low) * up + (zero - high) * down}
    reach = (up - down).max(axis=(1, 2))
    aims = [(int(m), sign) for m in np.argsort(-reach, kind="stable") for sign in (1, -1)][:AIMS]
    images: list[Integers] = []
    while aims and len(images) < (MOST if tensor.shape[1] * tensor.shape[2] <= SMALL else 1):
        image = rng.choice([low, high, zero], tensor.shape)
        aims = _aim(node, aims, largest, image, (low, zero, high))
        images.append(image)
    return images


def _aim(
    node: Matrix, aims: list[Aim], largest: dict[int, Integers], image: Integers, codes: tuple[int, int, int]
) -> list[Aim]:
    """Set windows of ``image`` for as many of ``aims`` (channel, sign) as have room, and return those that have none.

    ``largest`` (M, OH, OW) by sign; ``codes``: smallest, zero, largest.
    """
    layer, (low, zero, high) = node.layer, codes
    kernel = kernel_view(layer, node.weights)  # (groups, KH, KW, C/g, M/g)
    one = layer.model_copy(update={"channels": 1, "outputs": 1, "groups": 1, "op": _map_op(layer)})
    window = np.ones(one.weight_shape, np.int64)
    taken = np.zeros((layer.groups, 1, 1, layer.height, layer.width), np.int64)
    left = []
    for channel, sign in aims:
        group, column = divmod(channel, layer.outputs // layer.groups)
        free = evaluate(one, taken[group], window)[0, 0] == 0
        best = largest[sign][channel]
        places = np.argwhere(free & (best == best.max()))
        if not len(places):
            left.append((channel, sign))
            continue
        first = group * (layer.channels // layer.groups)
        for (y, x), place in _pixels(layer, (int(places[0][0]), int(places[0][1]))).items():
            weights = sign * kernel[group][place][:, column]
            image[first : first + len(weights), y, x] = np.where(weights > 0, high, np.where(weights < 0, low, zero))
            taken[group, 0, 0, y, x] = 1
    return left


def _map_op(layer: Layer) -> str:
    """Return the operator of a layer on maps: a dense layer is a convolution of a map of one pixel."""
    return "conv" if layer.op == "dense" else layer.op


def _pixels(layer: Layer, output: Place) -> dict[Place, Place]:
    """Return the input pixels that an output pixel needs, and with which kernel position."""
    found = {}
    for place in np.ndindex(*layer.kernel):
        at = []
        for axis, side in enumerate((layer.height, layer.width)):
            lag, stride = place[axis] * layer.dilation[axis] - layer.pads[axis], layer.stride[axis]
            if layer.op == "conv_transpose":
                pixel, rest = divmod(output[axis] - lag, stride)
            else:
                pixel, rest = output[axis] * stride + lag, 0
            at.append(pixel if not rest and 0 <= pixel < side else None)
        if None not in at:
            found[at[0], at[1]] = place
    return found
