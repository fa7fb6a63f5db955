"""Gradients of products, and the numbers of training."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvage.base.layer import Layer
from selvage.golden.fixed_point import (
    LFSR_BITS,
    lfsr_after,
    random_words,
    saturated,
    shifted,
    shifted_randomly,
)
from selvage.golden.gradients import data_gradient, weight_gradient
from selvage.golden.layer import evaluate
from tb.models.strategies import layers

AUTOGRAD = Path(__file__).with_name("autograd.npz")


@settings(max_examples=150, deadline=None)
@given(layers(), st.integers(0, 2**32))
def test_adjoint_identities(layer: Layer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (2, layer.channels, layer.height, layer.width))
    w = rng.integers(-128, 128, layer.weight_shape)
    dy = rng.integers(-128, 128, (2, layer.outputs, *layer.output_size))
    product = int((dy * evaluate(layer, x, w)).sum())
    assert int((data_gradient(layer, dy, w) * x).sum()) == product
    assert int((weight_gradient(layer, x, dy) * w).sum()) == product


def recorded() -> list[str]:
    with np.load(AUTOGRAD) as file:
        return sorted({name.split("/")[0] for name in file})


@pytest.mark.parametrize("name", recorded())
def test_gradients_are_those_of_autograd(name: str) -> None:
    """PyTorch's gradients of integers in float64, which `tb/models/autograd.py` recorded."""
    with np.load(AUTOGRAD) as file:
        layer = Layer.model_validate_json(str(file[f"{name}/layer"]))
        x, w, dy, y, dx, dw = (file[f"{name}/{key}"].astype(np.int64) for key in ("x", "w", "dy", "y", "dx", "dw"))
    np.testing.assert_array_equal(evaluate(layer, x, w), y)
    np.testing.assert_array_equal(data_gradient(layer, dy, w), dx)
    np.testing.assert_array_equal(weight_gradient(layer, x, dy), dw)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dy": (1, 2, 3, 4)}, r"dy must be \(N, 2, 3, 3\)"),
        ({"x": (1, 3, 4, 4)}, r"x must be \(N, 1, 4, 4\)"),
        ({"x": (2, 1, 4, 4)}, "x has 2 samples, but dy has 1"),
        ({"w": (1, 1, 2, 2)}, r"w must be \(2, 1, 2, 2\)"),
    ],
)
def test_shapes_that_are_refused(change: dict, message: str) -> None:
    layer = Layer(op="conv", channels=1, outputs=2, height=4, width=4, kernel=(2, 2))
    shapes = {"dy": (1, 2, 3, 3), "x": (1, 1, 4, 4), "w": layer.weight_shape} | change
    dy, x, w = (np.ones(shapes[name], np.int64) for name in ("dy", "x", "w"))
    with pytest.raises(ValueError, match=message):
        data_gradient(layer, dy, w)
        weight_gradient(layer, x, dy)
    with pytest.raises(TypeError, match="integer dtype"):
        data_gradient(layer, dy * 1.0, np.ones(layer.weight_shape, np.int64))


@given(st.integers(-(2**50), 2**50), st.integers(0, 40))
def test_shifts_round_halves_to_even(value: int, shift: int) -> None:
    assert int(shifted(np.array([value]), shift)[0]) == round(Fraction(value, 2**shift))


def test_codes_saturate() -> None:
    assert saturated(np.array([-200, -128, 127, 128]), 8).tolist() == [-128, -128, 127, 127]
    with pytest.raises(ValueError, match="shift = -1"):
        shifted(np.array([1]), -1)


def test_the_register_has_the_greatest_period() -> None:
    """Its step, as a matrix over GF(2), has the order 2**32 - 1: not less by any of that number's prime factors."""

    def power(exponent: int) -> list[int]:
        images, found = [lfsr_after(1 << bit, 1) for bit in range(LFSR_BITS)], [1 << bit for bit in range(LFSR_BITS)]
        while exponent:
            if exponent & 1:
                found = [moved(state, images) for state in found]
            images, exponent = [moved(state, images) for state in images], exponent >> 1
        return found

    def moved(state: int, images: list[int]) -> int:
        result = 0
        for bit, image in enumerate(images):
            result ^= image if state >> bit & 1 else 0
        return result

    same = [1 << bit for bit in range(LFSR_BITS)]
    assert power(2**32 - 1) == same
    assert all(power((2**32 - 1) // prime) != same for prime in (3, 5, 17, 257, 65537))


@given(st.integers(1, 2**32 - 1), st.integers(0, 70))
def test_words_are_the_register_every_32_steps(state: int, count: int) -> None:
    words, after = random_words(state, count)
    for word in words.tolist():
        state = lfsr_after(state, 32)
        assert word == state
    assert after == state


def test_chance_rounds_by_what_is_cut_off() -> None:
    words, _ = random_words(1, 200_000)
    for value in (-37, -1, 0, 1, 100, 255):
        found = shifted_randomly(np.full(len(words), value), 8, words)
        assert set(found.tolist()) <= {value >> 8, (value >> 8) + 1}
        assert abs(found.mean() - value / 256) < 0.005
    with pytest.raises(ValueError, match="state = 0"):
        random_words(0, 1)
    with pytest.raises(ValueError, match="shift = 33"):
        shifted_randomly(words, 33, words)
