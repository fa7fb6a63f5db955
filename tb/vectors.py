"""Images that a bundle's self-test plays: those given, and such as reach the ends of codes, windows and sums."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mapping.rows import kernel_view
from spec.graph import Graph, Matrix, Tensor
from spec.layer import Layer

Integers = NDArray[np.int64]
Place = tuple[int, int]
AIMS = 256  # windows of an image that are set to reach an end of a sum
FEW = 64  # pixels of a map that is small: its images take little time


def selftest_images(graph: Graph, given: Sequence[Integers]) -> list[Integers]:
    """Codes (N, C, H, W) of each input of ``graph``, N at least 3 and the same for all.

    The first image given (``given[k]`` are those of input k) and, where there is one, the second; one whose windows
    bring the sums of the first layer to their ends; one, or where the map is small some, with whole windows of the
    largest, the smallest and the zero code.
    """
    sides = [[_aimed(graph, tensor), *_even(tensor, _extent(graph, tensor))] for tensor in graph.inputs]
    most = max(map(len, sides))
    return [
        np.stack([own[0], *(images[k % len(images)] for k in range(most)), *own[1:2]])
        for own, images in zip(given, sides, strict=True)
    ]


def _readers(graph: Graph, tensor: Tensor) -> list[Layer]:
    """Layers that take a tensor."""
    return [node.layer for node in graph.nodes if isinstance(node, Matrix) and tensor.name in node.inputs]


def _extent(graph: Graph, tensor: Tensor) -> Place:
    """Pixels of the tensor that a window of any of its readers takes at most."""
    layers = _readers(graph, tensor)
    kernels = [own.extent for own in layers if own.op != "conv_transpose"]
    kernels += [own.kernel for own in layers if own.op == "conv_transpose"]
    kernels += [getattr(node, "kernel", (1, 1)) for node in graph.nodes if tensor.name in node.inputs]
    return max(rows for rows, _ in kernels), max(columns for _, columns in kernels)


def _even(tensor: Tensor, extent: Place) -> list[Integers]:
    """Bands of one code each, high enough for a whole window; images of one code where the map is too low for that."""
    low, high = tensor.format.raw_range
    codes = list(dict.fromkeys((high, int(tensor.format.zero_point), low)))
    height = tensor.shape[1]
    if height < len(codes) * extent[0] or height * tensor.shape[2] <= FEW:
        return [np.full(tensor.shape, code, np.int64) for code in codes]
    image = np.empty(tensor.shape, np.int64)
    for code, rows in zip(codes, np.array_split(np.arange(height), len(codes)), strict=True):
        image[:, rows] = code
    return [image]


def _aimed(graph: Graph, tensor: Tensor) -> Integers:
    """An image with the smallest and the largest code at random, but for windows that make a channel's sum of the
    first layer that reads it as large, or as small, as it can be; the channels in turn, those of the largest weights
    first."""
    low, high = tensor.format.raw_range
    zero = tensor.format.zero_point
    image = np.random.default_rng(len(graph.nodes)).choice([low, high, zero], tensor.shape)
    node = next((n for n in graph.nodes if isinstance(n, Matrix) and tensor.name in n.inputs), None)
    if node is None:
        return image
    layer = node.layer
    kernel = kernel_view(layer, node.weights)  # (groups, KH, KW, C/g, M/g)
    reach = np.abs(kernel).sum(axis=(1, 2, 3)).ravel()
    aims = [(int(m), sign) for m in np.argsort(-reach, kind="stable") for sign in (1, -1)]
    taken = np.zeros(tensor.shape[1:], bool)
    for count, pixels in enumerate(_windows(layer, taken)):
        if count == AIMS:
            break
        channel, sign = aims[count % len(aims)]
        group, own = divmod(channel, layer.outputs // layer.groups)
        first = group * (layer.channels // layer.groups)
        for (y, x), place in pixels.items():
            weights = sign * kernel[group][place][:, own]
            image[first : first + len(weights), y, x] = np.where(weights > 0, high, np.where(weights < 0, low, zero))
    return image


def _windows(layer: Layer, taken: NDArray[np.bool_]) -> Iterator[dict[Place, Place]]:
    """Windows that share no pixel, the whole ones first: kernel position by pixel. ``taken`` are pixels in use."""
    places = [(ky, kx) for ky in range(layer.kernel[0]) for kx in range(layer.kernel[1])]
    whole = max(len(_pixels(layer, places, (oy, ox))) for oy, ox in _corners(layer))
    for least in dict.fromkeys((whole, 1)):
        for oy in range(layer.output_size[0]):
            for ox in range(layer.output_size[1]):
                pixels = _pixels(layer, places, (oy, ox))
                if len(pixels) >= least and not any(taken[pixel] for pixel in pixels):
                    for pixel in pixels:
                        taken[pixel] = True
                    yield pixels


def _corners(layer: Layer) -> list[Place]:
    """Output pixels in the middle, of each phase: their windows are whole where any are."""
    middle = [side // 2 for side in layer.output_size]
    return [
        (min(middle[0] + y, layer.output_size[0] - 1), min(middle[1] + x, layer.output_size[1] - 1))
        for y in range(layer.stride[0])
        for x in range(layer.stride[1])
    ]


def _pixels(layer: Layer, places: Sequence[Place], output: Place) -> dict[Place, Place]:
    """Input pixels that an output pixel needs, and with which kernel position."""
    found = {}
    for place in places:
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
