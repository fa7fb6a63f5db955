"""Training in fixed point: the golden loop on scikit-learn's digits, for each weight format and rounding.

A classifier of two convolutions and a dense layer, without biases, learns two thirds of the digits
(`examples.digits.network.known`) by plain gradient descent: a learning rate of 2**-7 on the sum of a batch of 32. Its
share of right answers is that of the last third. A missed target is told.
"""

import argparse
import time

import numpy as np

from bench.report import Figure, emit, figures, positive, table
from examples.digits.network import held_out, known
from selvage.base.layer import Layer
from selvage.commands.exits import leave
from selvage.golden.calibration import calibrated, weight_codes
from selvage.golden.training import ErrorUnit, Formats, Random, TrainedNetwork, Weights, train_step

BATCH = 32
RATE = 7
POINT = 7  # bits behind the point of image codes
PADS = (1, 1, 1, 1)
LAYERS = (
    (Layer(name="conv", op="conv", channels=1, outputs=16, height=8, width=8, kernel=(3, 3), pads=PADS), 0),
    (
        Layer(
            name="down", op="conv", channels=16, outputs=32, height=8, width=8, kernel=(4, 4), stride=(2, 2), pads=PADS
        ),
        0,
    ),
    (Layer(name="dense", op="dense", channels=512, outputs=10), None),
)
UNIT = ErrorUnit(logit_bits=8, fraction=4, error_bits=8)
HOW = [(bits, stochastic) for bits in (8, 16) for stochastic in (False, True)]
ACCURACY, PACE = 0.97, 100


def codes(images: np.ndarray) -> np.ndarray:
    """Images of 0 .. 1 as signed codes."""
    return np.clip(np.rint(images * 2**POINT), 0, 2**POINT - 1).astype(np.int64)


def start(x: np.ndarray, wanted: np.ndarray, bits: int, seed: int) -> tuple[TrainedNetwork, Weights]:
    """The network with the scales that its first batch needs, and random weights."""
    rng, values = np.random.default_rng(seed), []
    for layer, _ in LAYERS:
        fan = layer.channels * layer.kernel[0] * layer.kernel[1]
        values.append(rng.normal(0, (2 / fan) ** 0.5, layer.weight_shape))
    weights, points = weight_codes(values, bits, 1)
    error = UNIT.error(np.zeros((BATCH, 10, 1, 1), np.int64), wanted[:BATCH].reshape(BATCH, 10, 1, 1))
    formats = Formats(weights=bits)
    how = {"formats": formats, "rate": RATE, "headroom": (2, 1), "last": UNIT.fraction}
    network, _ = calibrated(LAYERS, weights, points, x[:BATCH], POINT, error, UNIT.error_bits - 1, **how)
    return network, weights


def train(bits: int, stochastic: bool, epochs: int, seed: int) -> tuple[float, float]:
    """Return the share of held-out digits that are right, and iterations a minute."""
    (images, labels), (others, truth) = known(), held_out()
    x, wanted = codes(images), np.eye(10, dtype=np.int64)[labels] * UNIT.one
    network, weights = start(x, wanted, bits, seed)
    random, rng = Random(seed + 1) if stochastic else None, np.random.default_rng(seed)
    began, steps = time.process_time(), 0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for first in range(0, len(x) - BATCH + 1, BATCH):
            batch = order[first : first + BATCH]
            weights, _ = train_step(network, UNIT, weights, x[batch], wanted[batch], random)
            steps += 1
    pace = steps / (time.process_time() - began) * 60
    logits = network.forward(weights, codes(others))[-1].reshape(len(others), 10)
    return float((logits.argmax(1) == truth).mean()), pace


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
    parser.add_argument("--epochs", type=positive, default=20)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args(argv)
    rows, found = [], []
    for bits, stochastic in HOW:
        right, pace = train(bits, stochastic, a.epochs, a.seed)
        name = f"{bits}-bit weights, {'stochastic' if stochastic else 'nearest'}"
        rows.append([name, f"{right:.4f}", f"{pace:,.0f}"])
        found.append(Figure(f"classifier, {name}: held-out digits that are right", right, ">=", ACCURACY))
        found.append(Figure(f"classifier, {name}: iterations a minute, batch {BATCH}", pace, ">=", PACE))
    table("Classifier in fixed point", ("formats", "right", "iterations a minute"), rows)
    figures("Training in fixed point", found)
    emit({"benchmark": "training", "targets": [figure.as_dict() for figure in found]})
    return 0


if __name__ == "__main__":
    leave(main)
