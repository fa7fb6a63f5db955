"""Backward products as layers: the gradients of golden, by other layers, by crossbars, and in RTL."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvage.base.chip import load_chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.golden.gradients import data_gradient, weight_gradient
from selvage.golden.layer import evaluate
from selvage.mapping.backward import (
    data_gradient_layer,
    data_gradient_weights,
    weight_gradient_layer,
    weight_gradient_of,
    weight_gradient_operands,
)
from selvage.mapping.dense import place_dense
from selvage.sim.machine import run
from tb.models.strategies import layers
from tb.models.tile_check import NARROW, check

INT8 = InputFormat(raw_bits=8, raw_signed=True)
CODES = InputFormat(raw_bits=4, raw_signed=True)
SIDES = {"height": 4, "width": 4}
TRAINED = {
    "up": Layer(op="conv_transpose", channels=3, outputs=2, kernel=(4, 4), stride=(2, 2), pads=(1,) * 4, **SIDES),
    "up odd": Layer(
        op="conv_transpose", channels=2, outputs=2, kernel=(5, 3), stride=(2, 2), pads=(2, 1, 2, 1),
        output_padding=(1, 1), **SIDES
    ),
    "down": Layer(op="conv", channels=2, outputs=3, kernel=(4, 4), stride=(2, 2), pads=(1,) * 4, height=6, width=7),
    "down uneven": Layer(op="conv", channels=2, outputs=2, kernel=(3, 2), stride=(3, 2), height=8, width=5),
    "dense": Layer(op="dense", channels=5, outputs=3),
}  # fmt: skip


def operands(layer: Layer, seed: int, low: int = -128, high: int = 128) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sample of what enters, weights, and errors of what leaves."""
    rng = np.random.default_rng(seed)
    shapes = (1, layer.channels, layer.height, layer.width), layer.weight_shape, (1, layer.outputs, *layer.output_size)
    x, w, dy = (rng.integers(low, high, shape) for shape in shapes)
    return x, w, dy


@settings(max_examples=150, deadline=None)
@given(layers(), st.integers(0, 2**32))
def test_backward_layers_are_the_gradients(layer: Layer, seed: int) -> None:
    x, w, dy = operands(layer, seed)
    try:
        back = data_gradient_layer(layer)
    except InputError:
        assert layer.op == "conv_transpose" and any(np.array(layer.output_padding) >= layer.stride)
    else:
        assert back.output_size == (layer.height, layer.width)
        found = evaluate(back, dy, data_gradient_weights(layer, w))
        np.testing.assert_array_equal(found, data_gradient(layer, dy, w))
    if layer.groups == 1:
        images, stored = weight_gradient_operands(layer, x[0], dy[0])
        found = weight_gradient_of(layer, evaluate(weight_gradient_layer(layer), images, stored))
        np.testing.assert_array_equal(found, weight_gradient(layer, x, dy))


@pytest.mark.parametrize("name", TRAINED)
def test_crossbars_make_the_gradients(name: str) -> None:
    layer, chip = TRAINED[name], load_chip("ou9x8")
    x, w, dy = operands(layer, 1)
    back = data_gradient_layer(layer)
    placed = place_dense(back, data_gradient_weights(layer, w), chip, input_format=INT8)
    assert placed.schedule == {"conv": "red", "conv_transpose": "conv", "dense": "dense"}[layer.op]
    np.testing.assert_array_equal(run(placed, dy), data_gradient(layer, dy, w))
    images, stored = weight_gradient_operands(layer, x[0], dy[0])
    placed = place_dense(weight_gradient_layer(layer), stored, chip, input_format=INT8)
    np.testing.assert_array_equal(weight_gradient_of(layer, run(placed, images)), weight_gradient(layer, x, dy))


@pytest.mark.parametrize("name", ["up", "up odd", "down"])
def test_rtl_makes_the_gradients(name: str) -> None:
    """Outputs of every tile, cycles and reads, by the tile's own check, whose truth is golden's layer."""
    layer = TRAINED[name]
    x, w, dy = operands(layer, 1, -8, 8)
    w = np.clip(w, -7, 7)
    back = place_dense(data_gradient_layer(layer), data_gradient_weights(layer, w), NARROW, input_format=CODES)
    check(back, data_gradient_weights(layer, w), dy)
    images, stored = weight_gradient_operands(layer, np.clip(x[0], -7, 7), np.clip(dy[0], -7, 7))
    check(place_dense(weight_gradient_layer(layer), stored, NARROW, input_format=CODES), stored, images)


def test_what_has_no_backward_layer() -> None:
    grouped = Layer(name="g", op="conv", channels=2, outputs=2, height=3, width=3, groups=2)
    with pytest.raises(InputError, match="layer 'g' has groups"):
        weight_gradient_layer(grouped)
    dilated = Layer(
        name="d",
        op="conv_transpose",
        channels=1,
        outputs=1,
        kernel=(2, 2),
        dilation=(3, 3),
        output_padding=(1, 0),
        **SIDES,
    )
    with pytest.raises(InputError, match="layer 'd' has no data gradient as a layer"):
        data_gradient_layer(dilated)
