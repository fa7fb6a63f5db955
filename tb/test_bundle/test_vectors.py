"""The self-test's images reach the ends of codes, of windows and of sums; pinned to what the layers' own sums are."""

import numpy as np
import pytest
from numpy.typing import NDArray

from selvage.base.graph import Graph, Matrix, Tensor
from selvage.base.layer import InputFormat, Layer
from selvage.bundle.vectors import selftest_images
from selvage.golden.layer import evaluate
from tb.models.small_networks import SmallNetwork

LAYERS = {
    "conv": Layer(op="conv", channels=4, outputs=3, height=12, width=13, kernel=(3, 2), stride=(2, 1), dilation=(1, 2)),
    "groups": Layer(op="conv", channels=4, outputs=6, height=9, width=8, kernel=(3, 3), pads=(1, 1, 1, 1), groups=2),
    "transposed": Layer(
        op="conv_transpose", channels=3, outputs=2, height=9, width=8, kernel=(4, 3), stride=(2, 2), pads=(1, 0, 1, 1)
    ),
    "dense": Layer(op="dense", channels=20, outputs=2),
}
NUMBERS = {
    "unsigned": InputFormat(raw_bits=8, raw_signed=False),
    "zero point": InputFormat(raw_bits=8, raw_signed=False, zero_point=131),
    "signed": InputFormat(raw_bits=8, raw_signed=True),
}


def graph_of(layer: Layer, numbers: InputFormat) -> Graph:
    weights = np.random.default_rng(2).integers(-9, 10, layer.weight_shape)
    source = Tensor("x", (layer.channels, layer.height, layer.width), 1.0, numbers)
    sums = Tensor("y", (layer.outputs, *layer.output_size), 1.0, InputFormat(raw_bits=32, raw_signed=True))
    ones, zeros = np.ones(layer.outputs, np.float32), np.zeros(layer.outputs, np.int64)
    how = {"weights": weights, "bias": zeros, "weight_scale": ones, "raw": True}
    return Graph("g", (source,), (Matrix(name="l", inputs=("x",), output=sums, layer=layer, **how),), ("y",))


def ends(layer: Layer, weights: NDArray, low: int, high: int) -> tuple[NDArray, NDArray]:
    """Least and largest sum of each output pixel, codes from ``low`` to ``high``: from sums of one-signed weights."""
    ones = np.ones((1, layer.channels, layer.height, layer.width), np.int64)
    up, down = (evaluate(layer, ones, part)[0] for part in (np.maximum(weights, 0), np.minimum(weights, 0)))
    return low * up + high * down, high * up + low * down


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("kind", LAYERS)
def test_sums_reach_their_ends(kind: str, numbers: str) -> None:
    """Of every channel the largest and the least sum that any image can bring about, at one pixel at least."""
    layer, own = LAYERS[kind], NUMBERS[numbers]
    graph = graph_of(layer, own)
    given = np.full((1, layer.channels, layer.height, layer.width), 1, np.int64)
    (images,) = selftest_images(graph, [given])
    assert len(images) >= 3
    assert (images[0] == 1).all()
    assert (images.min(), images.max()) == own.raw_range
    weights = graph.nodes[0].weights
    sums = evaluate(layer, images - own.zero_point, weights)
    low, high = (end - own.zero_point for end in own.raw_range)
    least, largest = ends(layer, weights, low, high)
    # Of a dense layer an image is one window: there are not enough for all channels.
    for channel in [np.argmax(np.abs(weights).sum(axis=0))] if kind == "dense" else range(layer.outputs):
        assert sums[:, channel].max() == largest[channel].max(), channel
        assert sums[:, channel].min() == least[channel].min(), channel
    window = np.ones_like(weights)
    whole = evaluate(layer, np.ones_like(given), window).max()
    for code in {*own.raw_range, own.zero_point}:
        assert evaluate(layer, (images == code).astype(np.int64), window).max() == whole, code


def test_inputs_have_as_many_images_each() -> None:
    n = SmallNetwork.on("tiny", 4, images=1)
    x, y = n.input(2, 30, 30), n.input(2, 1, 1)
    n.leaves(n.layer(x, 2, kernel=(2, 2)), n.table(y))
    given = [n.codes[tensor.name] for tensor in n.graph.inputs]
    images = selftest_images(n.graph, given)
    assert len({len(own) for own in images}) == 1 and len(images[0]) >= 3
    for own, before in zip(images, given, strict=True):
        np.testing.assert_array_equal(own[0], before[0])
