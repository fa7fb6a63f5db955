"""Resize of maps by whole factors: pixels repeated, or a layer of fixed weights between neighbours."""

import math

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from selvage.base.graph import Tensor
from selvage.base.layer import Layer
from selvage.frontend.onnx.evaluate import evaluate
from selvage.frontend.onnx.moves import MoveReader
from selvage.frontend.onnx.nodes import error, operator_of
from selvage.frontend.onnx.read import name_of
from selvage.frontend.onnx.values import Map, Shape3, Sums

WIDEST = 255  # the largest weight of eight bits in differential encoding
NEAR = 1e-4  # of the range: float32 of the evaluator


class ResizeReader(MoveReader):
    """What Resize is, tried on maps: of any mode and rule whose results these are."""

    def resized(self, node: NodeProto, images: NDArray[np.float32]) -> NDArray:
        """Return what ONNX makes of some images."""
        others = [name for name in node.input[1:] if name]
        if any(name not in self.static.constants for name in others):
            raise error(node, "its scales and sizes must be constant")
        fixed = map(self.static.constants.__getitem__, others)
        return evaluate(node, [images, *fixed], self.static.opsets)[0]

    def why_no_resize(self, node: NodeProto) -> str:
        """Return why a Resize is neither nearest nor linear neighbours by whole factors."""
        operator = operator_of(node)
        how = operator.attribute("mode", "nearest"), operator.attribute("coordinate_transformation_mode", "half_pixel")
        words = "is supported for nearest or linear neighbours (half_pixel) by whole factors only"
        return f"{words}, and has mode = {how[0]!r} with {how[1]!r}"

    def factors(self, node: NodeProto, size: Shape3) -> tuple[int, int] | None:
        """Return how much longer each side becomes; ``None``: not a whole number of times."""
        shape = self.shape_made(node)
        if shape[0] != size[0] or any(b % a for a, b in zip(size[1:], shape[1:], strict=True)):
            return None
        return shape[1] // size[1], shape[2] // size[2]

    def enlargement(self, node: NodeProto, size: Shape3) -> tuple[int, int] | None:
        """Return the factors of a Resize that repeats pixels, tried on a map whose pixels differ; ``None``: none."""
        factor, read = self.factors(node, size), self.onnx_shape(node.input[0], node)
        ramp = np.arange(math.prod(read), dtype=np.float32).reshape(read)
        found = self.resized(node, ramp)
        if factor is None:
            return None
        pixels = ramp.reshape(-1, *size).repeat(factor[0], axis=2).repeat(factor[1], axis=3)
        return factor if found.size == pixels.size and (found.reshape(pixels.shape) == pixels).all() else None

    def linear(self, node: NodeProto, size: Shape3, value: Map) -> Sums | None:
        """Return the layer that a linear Resize is, whose edges go on beyond the map; ``None``: it is another Resize.

        Between the centres of pixels all weights are whole parts of twice the factor (of the factor, where it is odd).
        """
        factor, read = self.factors(node, size), self.onnx_shape(node.input[0], node)
        if factor is None:
            return None
        rows, columns = (between(own) for own in factor)
        images = np.random.default_rng(0).standard_normal(read).astype(np.float32)
        if int(rows.max()) * int(columns.max()) > WIDEST:
            return None  # more than a weight of eight bits holds
        maps, weights = images.reshape(-1, *size).astype(np.float64), np.outer(rows, columns)
        for axis, (own, count) in enumerate(zip((rows, columns), factor, strict=True)):
            maps = spread(maps, own / own.sum() * count, count, 2 + axis)
        found = self.resized(node, images)
        if found.size != maps.size or np.abs(found.reshape(maps.shape) - maps).max() > NEAR:
            return None
        tensor = value.tensor
        edges = np.pad(np.arange(tensor.numbers).reshape(size), ((0, 0), (1, 1), (1, 1)), mode="edge")
        wider = self.in_order(node, value, edges, (size[0], size[1] + 2, size[2] + 2))
        return self.between_pixels(node, wider, factor, weights)

    def between_pixels(self, node: NodeProto, source: Tensor, factor: tuple[int, int], weights: NDArray) -> Sums:
        """Return a depthwise transposed convolution of a map with a line more on each side, which are cut off."""
        channels, height, width = source.shape
        top, left = ((3 * own - own % 2) // 2 for own in factor)
        geometry = {"height": height, "width": width, "kernel": weights.shape, "stride": factor}
        geometry |= {"channels": channels, "outputs": channels, "groups": channels, "pads": (top, left, top, left)}
        layer = Layer(name=name_of(node), op="conv_transpose", **geometry)
        codes = np.broadcast_to(weights, layer.weight_shape).astype(np.int64)
        scale = np.full(channels, factor[0] * factor[1] / weights.sum())
        shape = (channels, *layer.output_size)
        return Sums(node, name_of(node), shape, node.output[0], source, layer, codes, np.zeros(channels), scale)


def between(factor: int) -> NDArray[np.int64]:
    """Return the weights of neighbours by distance, in whole numbers: of pixels ``factor`` apart."""
    half = np.arange(1, 2 * factor, 2) if factor % 2 == 0 else np.arange(1, factor + 1)
    return np.concatenate([half, half[::-1][factor % 2 :]])


def spread(maps: NDArray, kernel: NDArray, factor: int, axis: int) -> NDArray:
    """Return maps ``factor`` times as long along an axis, each pixel spread by ``kernel``, edges gone on beyond."""
    maps = np.moveaxis(maps, axis, -1)
    wider = np.concatenate([maps[..., :1], maps, maps[..., -1:]], axis=-1)
    made = np.zeros((*maps.shape[:-1], (wider.shape[-1] - 1) * factor + len(kernel)))
    for tap, weight in enumerate(kernel):
        made[..., tap : tap + (wider.shape[-1] - 1) * factor + 1 : factor] += weight * wider
    crop = (3 * factor - factor % 2) // 2
    return np.moveaxis(made[..., crop:-crop], -1, axis)
