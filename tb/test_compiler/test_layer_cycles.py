"""Layers whose collector is slower than their tiles: RTL takes the cycles that the layer model predicts."""

import numpy as np
import pytest

from selvage.base.chip import load_chip
from selvage.base.graph import Graph, Matrix, Tensor
from selvage.base.layer import InputFormat, Layer
from selvage.golden.layer import evaluate
from selvage.hw.network.network import NetworkParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.plan_network import plan_network
from selvage.rtlsim.plain import build_network, run_network
from selvage.sim.cycles import tile_cycles
from selvage.sim.layer import layer_cycles

NUMBERS = InputFormat(raw_bits=8, raw_signed=False, zero_point=3)

CASES = {
    "point": ("ou9x8", Layer(op="conv", channels=4, outputs=32, height=6, width=6), 0.97),
    "tiles add": ("tiny", Layer(op="conv", channels=32, outputs=48, height=3, width=3), 0.99),
    "red": (
        "isaac",
        Layer(op="conv_transpose", channels=4, outputs=32, height=4, width=4, kernel=(2, 2), stride=(2, 2)),
        0.9,
    ),
    "padding-free": (
        "ou9x8",
        Layer(op="conv_transpose", channels=3, outputs=13, height=2, width=3, kernel=(4, 4), stride=(3, 3)),
        0.6,
    ),
    "padding-free cropped": (  # several tiles, each with some of the taps; rows of blocks that are flushed
        "tiny",
        Layer(op="conv_transpose", channels=2, outputs=3, height=2, width=3, kernel=(3, 3), pads=(1, 0, 0, 1)),
        0.8,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_slow_collector_is_predicted(name: str) -> None:
    chip_name, layer, zeros = CASES[name]
    chip, rng = load_chip(chip_name), np.random.default_rng(len(name))
    weights = rng.integers(-100, 101, layer.weight_shape)
    x = np.where(rng.random((2, layer.channels, layer.height, layer.width)) < zeros, 3, rng.integers(0, 256))
    source = Tensor("x", x.shape[1:], 1.0, NUMBERS)
    output = Tensor("y", (layer.outputs, *layer.output_size), np.ones(layer.outputs, np.float32), NUMBERS)
    node = Matrix(
        name="layer",
        inputs=("x",),
        output=output,
        layer=layer,
        weights=weights,
        bias=np.zeros(layer.outputs, np.int64),
        weight_scale=np.ones(layer.outputs, np.float32),
        raw=True,
    )
    schedule = "padding-free" if name.startswith("padding-free") else "auto"
    placement = place_dense(layer, weights, chip, input_format=NUMBERS, schedule=schedule)
    plan = plan_network(Graph(name, (source,), (node,), ("y",)), {"layer": placement})
    p = NetworkParameters(plan, direct=True)
    run = run_network(p, build_network(p), [x])
    codes = x - NUMBERS.zero_point
    np.testing.assert_array_equal(run.outputs[0], evaluate(layer, codes, weights))
    words = plan.layers[0].leaving.plan(plan.lanes["y"]).words
    predicted = layer_cycles(placement, placement.tiles, codes, words)
    assert run.tiles == [tile.cycles for tile in predicted]
    alone = [tile_cycles(placement, tile, codes).cycles for tile in placement.tiles]
    assert max(run.tiles) > max(alone), "the collector held nothing up: this case tests nothing"
