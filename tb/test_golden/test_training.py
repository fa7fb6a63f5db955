"""Training in fixed point: one network, two networks, and their scales."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.datasets import load_digits

from selvage.base.errors import InputError
from selvage.base.layer import Layer
from selvage.golden.calibration import calibrated, weight_codes
from selvage.golden.layer import evaluate
from selvage.golden.training import (
    ErrorUnit,
    Formats,
    Gan,
    Random,
    State,
    TrainedLayer,
    TrainedNetwork,
    Weights,
    train_step,
)

UNIT = ErrorUnit(logit_bits=8, fraction=4, error_bits=8)


def small(seed: int, *, up: bool) -> tuple[TrainedNetwork, Weights]:
    """Of noise to images of 4 x 4, or of those to a logit."""
    rng = np.random.default_rng(seed)
    layers = (
        [
            Layer(name="dense", op="dense", channels=5, outputs=12),
            Layer(
                name="up", op="conv_transpose", channels=3, outputs=1, height=2, width=2, kernel=(4, 4), stride=(2, 2),
                pads=(1, 1, 1, 1),
            ),
        ]
        if up
        else [
            Layer(name="down", op="conv", channels=1, outputs=3, height=4, width=4, kernel=(4, 4), stride=(2, 2),
                  pads=(1, 1, 1, 1)),
            Layer(name="dense", op="dense", channels=12, outputs=1),
        ]
    )  # fmt: skip
    leaks = (0, None) if up else (3, None)
    shifts = (6, 6) if up else (7, 9)
    found = tuple(TrainedLayer(own, shift, 5, 6, leak) for own, shift, leak in zip(layers, shifts, leaks, strict=True))
    return TrainedNetwork(found), tuple(rng.integers(-60, 60, layer.weight_shape) for layer in layers)


def test_a_dense_layer_by_hand() -> None:
    """Two inputs, one output: 3 * 10 - 2 * 4 = 22, a quarter of it is 5.5, to even 6; and so on backward."""
    layer = TrainedLayer(Layer(op="dense", channels=2, outputs=1), 2, 1, 3, leak=1)
    network, weights = TrainedNetwork((layer,)), (np.array([[3], [-2]]),)
    maps = network.forward(weights, np.array([[10, 4], [-9, 5]]).reshape(2, 2, 1, 1))
    assert maps[-1].ravel().tolist() == [6, -5]  # -37 / 8 = -4.625
    errors = network.errors(weights, maps, np.array([7, 7]).reshape(2, 1, 1, 1))
    gradients = network.gradients(maps, errors)
    assert errors[0].ravel().tolist() == [10, -7, 6, -4]  # 7 and, below 0, 3.5, to even 4: halves of 21, -14, 12, -8
    assert gradients[0].ravel().tolist() == [7 * 10 + 4 * -9, 7 * 4 + 4 * 5]
    # 34 / 8 = 4.25 and 48 / 8 = 6
    assert network.updated(weights, gradients)[0].ravel().tolist() == [-1, -8]


def test_the_error_is_the_sigmoid_less_the_label() -> None:
    logits = np.array([-128, -16, 0, 16, 127])
    assert UNIT.error(logits, np.zeros(5, np.int64)).tolist() == [0, 34, 64, 94, 127]
    assert UNIT.error(logits, np.full(5, UNIT.one)).tolist() == [-128, -94, -64, -34, 0]


def test_the_offset_is_taken_from_logits() -> None:
    unit = ErrorUnit(logit_bits=8, fraction=4, error_bits=8, offset=3)
    assert unit.error(np.array([48, 64]), np.zeros(2, np.int64)).tolist() == [64, 94]


def test_a_gate_drops_what_pushes_further() -> None:
    layer = TrainedLayer(Layer(op="dense", channels=1, outputs=5), 0, 0, 0, gate=8)
    leaving, error = np.array([[-128, -128, 127, 127, 126]]), np.array([[3, -3, 3, -3, -3]])
    assert layer.error_of_sums(error, leaving).ravel().tolist() == [0, -3, 3, 0, -3]


def test_a_label_for_the_logit_of_the_class() -> None:
    (generator, g), layer = small(1, up=True), Layer(name="dense", op="dense", channels=16, outputs=3)
    rng = np.random.default_rng(4)
    discriminator = TrainedNetwork((TrainedLayer(layer, 8, 5, 6),))
    state = State(g, (rng.integers(-60, 60, layer.weight_shape),))
    real, noise = rng.integers(-128, 128, (2, 1, 4, 4)), [rng.integers(-128, 128, (2, 5, 1, 1)) for _ in range(2)]
    gan = Gan(generator, discriminator, UNIT, 100)
    _, ways = gan.followed(state, real, noise, (np.array([2, 0]), np.array([1, 1])))
    for name, label, hot in (("R", 100, [(0, 2), (1, 0)]), ("F", 0, []), ("G", UNIT.one, [(0, 1), (1, 1)])):
        judged = ways[name].judged[-1]
        labels = np.zeros_like(judged)
        for at in hot:
            labels[at] = label
        assert np.array_equal(ways[name].errors[-1], UNIT.error(judged, labels))


def both(descent: str, state: State, seed: int = 3) -> State:
    rng = np.random.default_rng(seed)
    (generator, _), (discriminator, _) = small(1, up=True), small(2, up=False)
    gan = Gan(generator, discriminator, UNIT, UNIT.one, descent)
    real = rng.integers(-128, 128, (4, 1, 4, 4))
    noise = [rng.integers(-128, 128, (4, 5, 1, 1)) for _ in range(2)]
    return gan.iterate(state, real, noise)


def start(random: tuple[int, int] = (0, 0)) -> State:
    return State(small(1, up=True)[1], small(2, up=False)[1], random)


def same(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_descents_differ_in_the_generator_alone() -> None:
    alternating, simultaneous = both("alternating", start()), both("simultaneous", start())
    assert same(alternating.discriminator, simultaneous.discriminator)
    assert not same(alternating.generator, simultaneous.generator)
    assert not same(alternating.discriminator, start().discriminator)
    assert alternating.iteration == 1


@pytest.mark.parametrize("descent", ["alternating", "simultaneous"])
def test_an_iteration_by_single_samples(descent: str) -> None:
    """What the hardware does: gradients of one sample after the other, then the update."""
    rng = np.random.default_rng(3)
    (generator, g), (discriminator, d) = small(1, up=True), small(2, up=False)
    real = rng.integers(-128, 128, (4, 1, 4, 4))
    noise = [rng.integers(-128, 128, (4, 5, 1, 1)) for _ in range(2)]
    total = [np.zeros(w.shape, np.int64) for w in d]
    for label, images in ((UNIT.one, real), (0, generator.forward(g, noise[0])[-1])):
        for image in images:
            maps = discriminator.forward(d, image[None])
            error = UNIT.error(maps[-1], np.full_like(maps[-1], label))
            found = discriminator.gradients(maps, discriminator.errors(d, maps, error))
            for own, gradient in zip(total, found, strict=True):
                own += gradient
    after = discriminator.updated(d, tuple(total))
    through, vectors = (after, noise[1]) if descent == "alternating" else (d, noise[0])
    total = [np.zeros(w.shape, np.int64) for w in g]
    for vector in vectors:
        made = generator.forward(g, vector[None])
        maps = discriminator.forward(through, made[-1])
        error = UNIT.error(maps[-1], np.full_like(maps[-1], UNIT.one))
        error = discriminator.errors(through, maps, error)[0]
        found = generator.gradients(made, generator.errors(g, made, error))
        for own, gradient in zip(total, found, strict=True):
            own += gradient
    state = both(descent, start())
    assert same(state.discriminator, after)
    assert same(state.generator, generator.updated(g, tuple(total)))


def test_chance_is_repeatable_and_goes_on() -> None:
    first = both("alternating", start((1, 2)))
    assert same(first.generator, both("alternating", start((1, 2))).generator)
    assert not same(first.generator, both("alternating", start((9, 2))).generator)
    assert first.random not in ((1, 2), (0, 0))


def test_weights_stay_in_their_cells() -> None:
    layer = TrainedLayer(Layer(op="dense", channels=1, outputs=2), 0, 0, 0)
    network = TrainedNetwork((layer,), Formats(weights=4))
    assert network.updated((np.array([[5, -5]]),), (np.array([[-90, 90]]),))[0].tolist() == [[7, -7]]


def digits(points: int) -> tuple[TrainedNetwork, Weights, np.ndarray, np.ndarray]:
    """A small classifier, its scales set by the first digits; codes of images and labels."""
    images, labels = load_digits(return_X_y=True)
    codes = np.rint(images * 7.9).astype(np.int64).reshape(-1, 1, 8, 8)[:points]
    layers = [
        (Layer(name="down", op="conv", channels=1, outputs=8, height=8, width=8, kernel=(4, 4), stride=(2, 2),
               pads=(1, 1, 1, 1)), 0),
        (Layer(name="dense", op="dense", channels=128, outputs=10), None),
    ]  # fmt: skip
    rng = np.random.default_rng(1)
    values = [
        rng.normal(0, (2 / fan) ** 0.5, layer.weight_shape) for (layer, _), fan in zip(layers, (16, 128), strict=True)
    ]
    weights, at = weight_codes(values, 8, 1)
    wanted = np.eye(10, dtype=np.int64)[labels[:points]] * UNIT.one
    error = UNIT.error(np.zeros((32, 10, 1, 1), np.int64), wanted[:32].reshape(32, 10, 1, 1))
    network, _ = calibrated(
        layers, weights, at, codes[:32], 7, error, 7, formats=Formats(), rate=7, headroom=(2, 1), last=4
    )
    return network, weights, codes, wanted


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_classifier_learns(stochastic: bool) -> None:
    network, weights, codes, wanted = digits(1400)
    random = Random(1) if stochastic else None
    for _ in range(3):
        for first in range(0, 1152, 32):
            batch = slice(first, first + 32)
            weights, _ = train_step(network, UNIT, weights, codes[batch], wanted[batch], random)
    logits = network.forward(weights, codes[1152:])[-1].reshape(-1, 10)
    assert (logits.argmax(1) == wanted[1152:].argmax(1)).mean() > 0.85


def test_a_learning_rate_that_no_shift_has() -> None:
    layer = Layer(name="l", op="dense", channels=2, outputs=2)
    weights, x = (np.ones((2, 2), np.int64),), np.full((1, 2, 1, 1), 100)
    with pytest.raises(InputError, match=r"layer 'l' would need a shift below 0: a learning rate of 2\*\*--30"):
        calibrated([(layer, None)], weights, (6,), x, 7, x, 7, formats=Formats(), rate=-30)


def test_a_frozen_normalisation_is_that_of_its_batch() -> None:
    """Channels of very different sums leave with the same spread; errors go back over each channel's deviation."""
    rng = np.random.default_rng(1)
    layers = [
        (Layer(name="a", op="conv", channels=2, outputs=3, height=4, width=4, kernel=(3, 3), pads=(1,) * 4), None),
        (Layer(name="b", op="dense", channels=48, outputs=2), None),
    ]
    x = rng.integers(-100, 101, (64, 2, 4, 4))
    weights = (
        rng.integers(-60, 61, (3, 2, 3, 3)) * np.array([1, 2, 2])[:, None, None, None],
        rng.integers(-9, 9, (48, 2)),
    )
    error = rng.integers(-90, 91, (64, 2, 1, 1))
    how_fast = 4
    how = {"formats": Formats(16, 16, 8), "rate": how_fast, "frozen": [0]}
    network, scale = calibrated(layers, weights, (7, 7), x, 7, error, 12, **how)
    sums = evaluate(layers[0][0], x, weights[0])
    deviation = sums.std(axis=(0, 2, 3))
    normal = (sums - sums.mean(axis=(0, 2, 3))[:, None, None]) / deviation[:, None, None]
    leaving = network.forward(weights, x)[1]
    assert deviation.max() > 1.5 * deviation.min()
    np.testing.assert_allclose(leaving.reshape(normal.shape) / 2.0 ** scale.activations[1], normal, atol=0.05)
    how = network.layers[0].normalization
    assert how and how.places == 8
    codes = rng.integers(-3000, 3000, (64, 3, 4, 4))
    back = network.layers[0].error_of_sums(codes, leaving)
    ratio = (back / np.where(codes == 0, 1, codes)).reshape(64, 3, -1)
    each = np.median(ratio, axis=(0, 2)) * deviation
    np.testing.assert_allclose(each / each[0], 1, atol=0.03)
    # A step along the weight gradient lowers the loss whose gradient the error is, by as much as it says.
    errors = network.errors(weights, network.forward(weights, x), error)
    gradient = network.gradients([x, leaving], errors)[0]
    real = gradient * 2.0 ** -(network.layers[0].update_shift + 7 - how_fast)

    def loss(w: np.ndarray) -> float:
        found = evaluate(layers[0][0], x, w)
        made = (found - sums.mean(axis=(0, 2, 3))[:, None, None]) / deviation[:, None, None]
        logits = made.reshape(64, 48) @ (weights[1] / 2.0**7)
        return float((logits * error.reshape(64, 2) / 2.0**12).sum())

    step = rng.integers(-2, 3, weights[0].shape)
    expected = float((real * step / 2.0**7).sum())
    assert abs(loss(weights[0] + step) - loss(weights[0]) - expected) < 0.1 * abs(expected) + 0.05
