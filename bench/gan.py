"""Training of two networks in fixed point: the golden loop on scikit-learn's digits, for each format and rounding.

A generator and a discriminator, without biases, learn two thirds of the digits (`examples.digits.network.known`) by
plain gradient descent, alternating, a batch of 32. The discriminator has a logit for each class: whether an image is
real and of that class. Noise is one of 40 codes, a constant 1, and 3 normal values; the last digit of a code's number
is the class it stands for. Samples are made with the running average of the generator's weights, rounded to their
codes. The digits classifier (`examples.digits.network`) puts them into classes; sure are those with a probability of
0.9 and more. The same loop in float32 is the measure of the formats. A missed target is told. At these learning rates
more iterations are not better: of 2000 the loop in float32 is worse than of 1000.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.report import Figure, emit, figures, positive, table
from examples.digits.network import CLASSIFIER, known, load, logits
from selvage.base.layer import Layer
from selvage.commands.exits import leave
from selvage.golden.calibration import Scale, calibrated, weight_codes
from selvage.golden.conv import taps
from selvage.golden.fixed_point import code_range
from selvage.golden.training import Codes, ErrorUnit, Formats, Gan, State, TrainedNetwork, Weights

Floats = NDArray[np.float32]

BATCH, SAMPLES, CLASSES = 32, 1000, 10
CODES, NORMALS = 40, 3
NOISE = CODES + 1 + NORMALS
NOISE_POINT, IMAGE_POINT = 6, 7  # bits behind the point of noise and of images, -1 .. 1
RATES = {"G": 8, "D": 7}  # learning rates on the sum of a batch: 2**-8 and 2**-7
AVERAGED = 9  # the running average takes 2**-9 of the weights of each iteration
RECALIBRATED = 250  # iterations between calibrations
STRIDED = {"kernel": (4, 4), "stride": (2, 2), "pads": (1, 1, 1, 1)}
GENERATOR = (
    (Layer(name="g1", op="dense", channels=NOISE, outputs=256), 0),
    (Layer(name="g2", op="conv_transpose", channels=64, outputs=32, height=2, width=2, **STRIDED), 0),
    (Layer(name="g3", op="conv_transpose", channels=32, outputs=1, height=4, width=4, **STRIDED), None),
)
DISCRIMINATOR = (
    (Layer(name="d1", op="conv", channels=1, outputs=64, height=8, width=8, **STRIDED), 3),
    (Layer(name="d2", op="conv", channels=64, outputs=64, height=4, width=4, **STRIDED), 2),
    (Layer(name="d3", op="dense", channels=256, outputs=CLASSES), None),
)
LAYERS = {"G": GENERATOR, "D": DISCRIMINATOR}
FANS = {"G": (3, 64 * 4, 4 * 32 * 4), "D": (16, 16 * 64, 4 * 256)}
HEADROOM = {"G": (2, 1, 1), "D": (1, 1, 1)}  # bits of each layer's weights, for their growth
UNIT = ErrorUnit(logit_bits=8, fraction=4, error_bits=8, offset=3)
REAL = 115  # the label of real images: 0.9
HOW = [(bits, stochastic) for bits in (8, 16) for stochastic in (False, True)]
SURE, SHARE, SPREAD, BEHIND, PACE = 0.9, 0.8, 9, 0.1, 100
Layers = Sequence[tuple[Layer, int | None]]


class Source:
    """Batches of images and of noise, each with their classes, in codes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        images, self.labels = known()
        self.images = np.clip(np.rint((2 * images - 1) * 2**IMAGE_POINT), *code_range(IMAGE_POINT + 1)).astype(np.int64)

    def real(self) -> tuple[Codes, Codes]:
        chosen = self.rng.integers(0, len(self.images), BATCH)
        return self.images[chosen], self.labels[chosen]

    def noise(self, count: int = BATCH) -> tuple[Codes, Codes]:
        one = 2**NOISE_POINT
        code = self.rng.integers(0, CODES, count)
        values = np.clip(np.rint(self.rng.normal(0, one / 2, (count, NORMALS))), *code_range(NOISE_POINT + 2))
        vectors = np.hstack([np.eye(CODES)[code] * one, np.full((count, 1), one), values])
        return vectors.astype(np.int64)[:, :, None, None], code % CLASSES


@dataclass(frozen=True)
class FloatUnit:
    """`UNIT` in float32; labels are still codes up to `one`."""

    one: int = UNIT.one

    def error(self, logits: Floats, labels: Floats) -> Floats:
        return (1 / (1 + np.exp(UNIT.offset - logits)) - labels / self.one).astype(np.float32)


@dataclass(frozen=True)
class FloatNetwork:
    """`TrainedNetwork` in float32; ``rate`` is the learning rate."""

    layers: Layers
    rate: float
    gated: bool = False

    def forward(self, weights: Sequence[Floats], x: Floats) -> list[Floats]:
        maps = [x]
        for (layer, leak), w in zip(self.layers, weights, strict=True):
            maps[-1] = maps[-1].reshape(len(x), layer.channels, layer.height, layer.width)
            sums = applied(layer, maps[-1], w)
            maps.append(sums if leak is None else np.where(sums < 0, sums * slope(leak), sums))
        return [*maps[:-1], np.clip(maps[-1], -1, 1) if self.gated else maps[-1]]

    def errors(self, weights: Sequence[Floats], maps: Sequence[Floats], error: Floats) -> list[Floats]:
        if self.gated:
            leaving = maps[-1]
            error = np.where(((leaving == -1) & (error > 0)) | ((leaving == 1) & (error < 0)), 0, error)
        found: list[Floats] = []
        for index in reversed(range(len(self.layers))):
            layer, leak = self.layers[index]
            shape = len(error), layer.outputs, *layer.output_size
            error, leaving = error.reshape(shape), maps[index + 1].reshape(shape)
            found.append(error if leak is None else np.where(leaving > 0, error, error * slope(leak)))
            error = adjoint(layer, found[-1], weights[index])
        return [error, *reversed(found)]

    def gradients(self, maps: Sequence[Floats], errors: Sequence[Floats]) -> tuple[Floats, ...]:
        own = zip(self.layers, maps, errors[1:], strict=False)
        return tuple(weight_gradient(layer, entered, error) for (layer, _), entered, error in own)

    def updated(
        self, weights: Sequence[Floats], gradients: Sequence[Floats], random: None = None, *, further: int = 0
    ) -> tuple[Floats, ...]:
        return tuple(w - np.float32(self.rate) * gradient for w, gradient in zip(weights, gradients, strict=True))


def slope(leak: int) -> np.float32:
    return np.float32(2.0**-leak if leak else 0)


def columns(layer: Layer, large: Floats, small: Sequence[int]) -> Floats:
    """What each tap of the kernel touches of the larger map, C x taps of N x rows x columns of the smaller."""
    channels, (top, left, bottom, right) = large.shape[1], layer.pads
    padded = np.pad(large, ((0, 0), (0, 0), (top, bottom), (left, right)))
    seen = [padded[:, :, down, across] for _, _, down, across in taps(layer.kernel, layer.stride, (1, 1), small)]
    return np.stack(seen, 2).transpose(1, 2, 0, 3, 4).reshape(channels * len(seen), -1)


def gathered(layer: Layer, large: Floats, w: Floats, small: Sequence[int]) -> Floats:
    """A convolution; ``w`` is M x C x taps, ``small`` the size of what leaves."""
    sums = w.reshape(len(w), -1) @ columns(layer, large, small)
    return sums.reshape(len(w), len(large), *small).swapaxes(0, 1)


def scattered(layer: Layer, small: Floats, w: Floats, large: Sequence[int]) -> Floats:
    """Its adjoint; ``large`` is the size of what leaves."""
    n, channels, *size = small.shape
    top, left, bottom, right = layer.pads
    found = np.zeros((n, w.shape[1], large[0] + top + bottom, large[1] + left + right), np.float32)
    parts = w.reshape(channels, -1).T @ small.swapaxes(0, 1).reshape(channels, -1)
    parts = parts.reshape(w.shape[1], -1, n, *size).swapaxes(0, 2)
    for index, (_, _, down, across) in enumerate(taps(layer.kernel, layer.stride, (1, 1), size)):
        found[:, :, down, across] += parts[:, index]
    return found[:, :, top : top + large[0], left : left + large[1]]


def applied(layer: Layer, x: Floats, w: Floats) -> Floats:
    match layer.op:
        case "dense":
            return (x[:, :, 0, 0] @ w)[:, :, None, None]
        case "conv":
            return gathered(layer, x, w, layer.output_size)
        case _:
            return scattered(layer, x, w, layer.output_size)


def adjoint(layer: Layer, error: Floats, w: Floats) -> Floats:
    match layer.op:
        case "dense":
            return (error[:, :, 0, 0] @ w.T)[:, :, None, None]
        case "conv":
            return scattered(layer, error, w, (layer.height, layer.width))
        case _:
            return gathered(layer, error, w, (layer.height, layer.width))


def weight_gradient(layer: Layer, x: Floats, error: Floats) -> Floats:
    if layer.op == "dense":
        return x[:, :, 0, 0].T @ error[:, :, 0, 0]
    large, small = (x, error) if layer.op == "conv" else (error, x)
    flat = small.swapaxes(0, 1).reshape(small.shape[1], -1)
    return (flat @ columns(layer, large, small.shape[2:]).T).reshape(layer.weight_shape)


@dataclass(frozen=True, eq=False)
class Held:
    """Weights of both networks in codes, and their bits behind the point."""

    weights: dict[str, Weights]
    points: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, values: dict[str, list[Floats]], bits: int) -> "Held":
        weights, points = {}, {}
        for name, own in values.items():
            finer = (bits - 8) // 2  # of bits beyond 8 half are left too, for updates are never shifted up
            pairs = [
                weight_codes([value], bits, spare + finer) for value, spare in zip(own, HEADROOM[name], strict=True)
            ]
            weights[name] = tuple(codes for (codes,), _ in pairs)
            points[name] = tuple(point for _, (point,) in pairs)
        return cls(weights, points)


def start(seed: int) -> dict[str, list[Floats]]:
    """Random weights of both networks."""
    rng, found = np.random.default_rng(seed), {}
    for name, layers in LAYERS.items():
        own = zip(layers, FANS[name], strict=True)
        found[name] = [
            rng.normal(0, (2 / fan) ** 0.5, layer.weight_shape).astype(np.float32) for (layer, _), fan in own
        ]
    return found


def labelled(classes: Codes, label: int) -> Codes:
    return (np.eye(CLASSES, dtype=np.int64)[classes] * label)[:, :, None, None]


def scaled_gan(held: Held, bits: int, source: Source) -> Gan:
    """Both networks with the scales that a batch of real and of made images needs."""
    formats = Formats(weights=bits)
    real, (vectors, wanted) = source.real(), source.noise()

    def scaled(
        name: str, x: tuple[Codes, int], error: tuple[Codes, int], last: int, gate: int | None = None
    ) -> tuple[TrainedNetwork, Scale]:
        how = {"formats": formats, "rate": RATES[name], "last": last, "gate": gate}
        return calibrated(LAYERS[name], held.weights[name], held.points[name], *x, *error, **how)

    noise, at_ends = (vectors, NOISE_POINT), formats.activations
    none = np.zeros((BATCH, 1, 8, 8), np.int64), 2 * UNIT.error_bits
    generator, _ = scaled("G", noise, none, IMAGE_POINT, at_ends)
    made = generator.forward(held.weights["G"], vectors)[-1]
    x = np.concatenate([real[0], made, made])
    labels = np.concatenate([labelled(real[1], REAL), labelled(wanted, 0), labelled(wanted, UNIT.one)])
    images, error_point = (x, IMAGE_POINT), UNIT.error_bits - 1
    discriminator, _ = scaled("D", images, (np.zeros_like(labels), error_point), UNIT.fraction)
    error = UNIT.error(discriminator.forward(held.weights["D"], x)[-1], labels)
    discriminator, scale = scaled("D", images, (error, error_point), UNIT.fraction)
    maps = discriminator.forward(held.weights["D"], x)
    back = discriminator.errors(held.weights["D"], maps, error)[0][-BATCH:]
    generator, _ = scaled("G", noise, (back, scale.errors[0]), IMAGE_POINT, at_ends)
    return Gan(generator, discriminator, UNIT, REAL)


@dataclass(frozen=True)
class Result:
    """Of the samples: the share that is sure, and how many classes those have; and iterations a minute."""

    share: float
    classes: int
    pace: float


def judged(images: NDArray, pace: float) -> Result:
    """What the classifier says of images of -1 .. 1."""
    scores = logits(load(CLASSIFIER), images / 2 + 0.5)
    chances = np.exp(scores - scores.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    sure = chances.max(1) >= SURE
    return Result(float(sure.mean()), len(np.unique(chances.argmax(1)[sure])), pace)


def followed(average: list[NDArray] | None, weights: Sequence[NDArray], iteration: int) -> list[NDArray]:
    """The running average; of the first iterations it is their mean."""
    if average is None:
        return [w.astype(np.float64) for w in weights]
    part = max(2.0**-AVERAGED, 1 / iteration)
    return [a + (w - a) * part for a, w in zip(average, weights, strict=True)]


def train(bits: int, stochastic: bool, iterations: int, seed: int) -> Result:
    """The golden loop."""
    held, source, others = Held.of(start(seed), bits), Source(seed), Source(seed + 1)
    random = (2 * seed + 1, 2 * seed + 2) if stochastic else (0, 0)
    state, average = State(held.weights["G"], held.weights["D"], random), None
    gan = scaled_gan(held, bits, others)
    began = time.process_time()
    while state.iteration < iterations:
        if state.iteration and state.iteration % RECALIBRATED == 0:
            gan = scaled_gan(replace(held, weights={"G": state.generator, "D": state.discriminator}), bits, others)
        (real, classes), (first, _), (second, wanted) = source.real(), source.noise(), source.noise()
        state = gan.iterate(state, real, (first, second), (classes, wanted))
        average = followed(average, state.generator, state.iteration)
    pace = iterations / (time.process_time() - began) * 60
    weights = tuple(np.rint(w).astype(np.int64) for w in average or state.generator)
    vectors, _ = Source(seed + 2).noise(SAMPLES)
    return judged(gan.generator.forward(weights, vectors)[-1] * 2.0**-IMAGE_POINT, pace)


def train_float(iterations: int, seed: int) -> Result:
    """The same loop in float32."""
    source, values = Source(seed), start(seed)
    generator = FloatNetwork(GENERATOR, 2.0 ** -RATES["G"], gated=True)
    gan = Gan(generator, FloatNetwork(DISCRIMINATOR, 2.0 ** -RATES["D"]), FloatUnit(), REAL)
    state, average = State(tuple(values["G"]), tuple(values["D"])), None
    began = time.process_time()
    while state.iteration < iterations:
        (real, classes), *noise = source.real(), source.noise(), source.noise()
        vectors = [real_numbers(codes, NOISE_POINT) for codes, _ in noise]
        state = gan.iterate(state, real_numbers(real, IMAGE_POINT), vectors, (classes, noise[1][1]))
        average = followed(average, state.generator, state.iteration)
    pace = iterations / (time.process_time() - began) * 60
    vectors = real_numbers(Source(seed + 2).noise(SAMPLES)[0], NOISE_POINT)
    weights = [w.astype(np.float32) for w in average or state.generator]
    return judged(generator.forward(weights, vectors)[-1], pace)


def real_numbers(codes: Codes, point: int) -> Floats:
    return (codes * 2.0**-point).astype(np.float32)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gan", description=__doc__)
    parser.add_argument("--iterations", type=positive, default=1000)
    parser.add_argument("--seed", type=positive, default=1)
    parser.add_argument("--float", action="store_true", help="the loop in float32 alone")
    a = parser.parse_args(argv)
    twin = train_float(a.iterations, a.seed)
    rows, found = [["float32", f"{twin.share:.3f}", twin.classes, f"{twin.pace:,.0f}"]], []
    for bits, stochastic in [] if a.float else HOW:
        own = train(bits, stochastic, a.iterations, a.seed)
        name = f"{bits}-bit weights, {'stochastic' if stochastic else 'nearest'}"
        rows.append([name, f"{own.share:.3f}", own.classes, f"{own.pace:,.0f}"])
        found += [
            Figure(f"{name}: sure samples", own.share, ">=", SHARE),
            Figure(f"{name}: sure samples, fewer than in float32", twin.share - own.share, "<=", BEHIND),
            Figure(f"{name}: classes", own.classes, ">=", SPREAD),
            Figure(f"{name}: iterations a minute, batch {BATCH}", own.pace, ">=", PACE),
        ]
    table("Generator and discriminator in fixed point", ("formats", "sure", "classes", "iterations a minute"), rows)
    figures("Training of two networks in fixed point", found)
    emit(
        {
            "benchmark": "gan",
            "float": {"share": twin.share, "classes": twin.classes, "pace": twin.pace},
            "targets": [figure.as_dict() for figure in found],
        }
    )
    return 0


if __name__ == "__main__":
    leave(main)
