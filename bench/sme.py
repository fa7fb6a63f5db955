"""SME: arrays saved on whole networks, weight error, accuracy of a trained network, conversions.

Ratios are of dense mappings in four precisions to planes, for synthetic weights on the full shapes; each
beside its baseline. Accuracy is of the digits classifier on its held-out digits, its weights of three
significant bits squeezed by x planes, through the behavioural crossbars. Conversions are read from
the RTL's counter. Exits with 1 on a missed target; the speed is told and is no failure.
"""

import argparse
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.report import Figure, emit, figures, table
from examples.digits.network import CLASSIFIER, QuantisedLayer, held_out, load, logits
from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.base.shapes import load_network
from selvage.commands.exits import leave
from selvage.compiler.shapes import Synthetic, count_network
from selvage.golden.sme import full_scale, quantise, sqnr_db
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.placement import Placement
from selvage.mapping.sme import SmeParameters, place_sme
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.machine import run

DENSE = {"resnet50": 25008, "resnet18": 11448, "mobilenet-v2": 5052, "vgg16-cifar": 14648}
SQUEEZES = range(6)
PUBLISHED = {"resnet50": 8.7, "mobilenet-v2": 2.1}
# The reference's ratios over SLC-8: (network, sparsity, squeeze, row lists, ratio).
RATIOS = [
    ("resnet50", 0.0, 0, False, 1.01),
    ("resnet50", 0.0, 0, True, 1.16),
    ("resnet50", 0.0, 2, False, 1.33),
    ("resnet50", 0.0, 2, True, 1.37),
    ("resnet50", 0.0, 3, False, 1.60),
    ("resnet50", 0.0, 3, True, 1.65),
    ("resnet50", 0.0, 4, False, 2.00),
    ("resnet50", 0.0, 4, True, 2.07),
    ("resnet50", 0.9, 4, False, 2.00),
    ("resnet50", 0.9, 4, True, 2.13),
    ("mobilenet-v2", 0.0, 4, False, 1.65),
    ("mobilenet-v2", 0.0, 4, True, 1.70),
]
SIGNIFICANT = 3
RECOMMENDED = 3  # up to here whole networks lose less than 3 dB of their weights
LOSS = 0.3  # points
SECONDS, BYTES = 10, 2e9  # for all of ResNet-50, one core

Key = tuple[str, float, int, bool]  # network, sparsity, squeeze, row lists


def networks() -> dict[Key, dict[str, Any]]:
    """Arrays of every network, sparsity, squeeze, with row lists and without."""
    chip, found = load_chip("ou9x8"), {}
    for name in DENSE:
        layers = load_network(name)
        for sparsity in (0.0, 0.9):
            for squeeze in SQUEEZES:
                for compact in (False, True):
                    parameters = SmeParameters(squeeze=squeeze, compact=compact)
                    counted = count_network(layers, chip, "sme", parameters, Synthetic(sparsity=sparsity))
                    found[name, sparsity, squeeze, compact] = {k: v for k, v in counted.items() if k != "layers"}
    return found


def reached(found: dict[Key, dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Where the published ratios are reached: per baseline the smallest squeeze, and what it costs."""
    rows = []
    for name, goal in PUBLISHED.items():
        for baseline in ("slc8", "slc16", "slc32", "isaac"):
            ways = [
                (key[2], key[1], key[3], own["ratios"][baseline], own["sqnr_db"])
                for key, own in found.items()
                if key[0] == name and own["ratios"][baseline] >= goal
            ]
            x, sparsity, compact, ratio, error = min(ways, default=("not reached", 0.0, False, 0.0, 0.0))
            rows.append((name, goal, baseline, x, sparsity, compact, ratio, error))
    return rows


def scales(layer: QuantisedLayer, *, channels: bool) -> NDArray[np.float64]:
    """Full scale of each output channel or of all of them: (M,) in the place of the weights' axis of outputs."""
    axis = {"conv": 0, "conv_transpose": 1, "dense": 1}[layer.geometry.op]
    by_output = np.moveaxis(layer.weights, axis, 0).reshape(layer.geometry.outputs, -1)
    found = [full_scale(own, 8, SIGNIFICANT) for own in (by_output if channels else [layer.weights] * len(by_output))]
    return np.array(found).reshape([-1 if k == axis else 1 for k in range(layer.weights.ndim)])


def squeezed(layer: QuantisedLayer, squeeze: int, *, channels: bool) -> tuple[Placement, NDArray, NDArray]:
    """A layer of the classifier by planes: its placement, the weights this stands for, their scales."""
    chip, scale = load_chip("ou9x8"), scales(layer, channels=channels)
    words = quantise(layer.weights, chip.weight_bits, SIGNIFICANT, scale)
    parameters = SmeParameters(SIGNIFICANT, squeeze)
    placed, effective = place_sme(layer.geometry, words, chip, input_format=layer.format, parameters=parameters)
    return placed, effective, scale


def accuracy(squeeze: int | None = None, *, channels: bool = True) -> float:
    """Of the classifier on the held-out digits, in per cent: its own weights, or squeezed ones in crossbars."""

    def multiply(layer: QuantisedLayer, codes: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
        placed, _, scale = squeezed(layer, squeeze, channels=channels)
        return run(placed, codes), scale.reshape(1, -1, 1, 1)

    images, labels = held_out()
    steps = load(CLASSIFIER)
    scores = logits(steps, images) if squeeze is None else logits(steps, images, multiply)
    return float((scores.argmax(axis=1) == labels).mean() * 100)


def weight_error(squeeze: int, *, channels: bool = True) -> float:
    """Of all the classifier's weights, in dB."""
    layers = [layer for layer in load(CLASSIFIER) if isinstance(layer, QuantisedLayer)]
    changed = []
    for layer in layers:
        _, effective, scale = squeezed(layer, squeeze, channels=channels)
        changed.append((effective * scale * layer.weight_scale).ravel())
    own = [(layer.weights * layer.weight_scale).ravel() for layer in layers]
    return sqnr_db(np.concatenate(own), np.concatenate(changed))


def conversions() -> list[int]:
    """OU reads of a layer by squeeze, all of them read, from the RTL's counter: every plane in use."""
    chip, layer = load_chip("tiny"), Layer(name="conversions", op="dense", channels=12, outputs=8)
    weights = np.random.default_rng(3).integers(-255, 256, layer.weight_shape)
    weights[:, 0] = np.where(np.arange(12) % 2, 255, -255)  # every row is moved as far as it goes
    weights[0, 1:3] = 255, -255
    x, numbers = np.full((1, 12, 1, 1), 170), InputFormat(raw_bits=8, raw_signed=False)
    found = []
    for squeeze in SQUEEZES:
        parameters = SmeParameters(8, squeeze, truncate=True)
        placed, _ = place_sme(layer, weights, chip, input_format=numbers, parameters=parameters)
        tiles = [TileParameters(placed, tile, skip=False) for tile in placed.tiles]
        found.append(sum(simulate_tile(p, x).counters["reads"] for p in tiles))
    return found


def cost() -> tuple[float, int]:
    """Seconds and bytes of a whole process that counts ResNet-50, one core."""
    started = time.monotonic()
    command = [sys.executable, "-m", "selvage", "model", "shapes:resnet50", "--mapping", "sme", "--squeeze", "3"]
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def measured(found: dict[Key, dict[str, Any]], loss: float, reads: list[int]) -> list[Figure]:
    """Everything that has a target, but the speed."""
    targets = [
        Figure(f"{name}: arrays, dense, SLC-8", found[name, 0.0, 0, False]["crossbars_dense"]["slc8"], "==", count)
        for name, count in DENSE.items()
    ]
    for name, sparsity, squeeze, compact, ratio in RATIOS:
        where = f"{name}{', 90 % pruned' if sparsity else ''}, x = {squeeze}{', row lists' if compact else ''}"
        off = abs(found[name, sparsity, squeeze, compact]["ratios"]["slc8"] / ratio - 1)
        targets.append(Figure(f"{where}: ratio over SLC-8 off the reference's {ratio}", off, "<=", 0.02))
    wrong = sum(n * 64 != reads[0] * (8 - x) * (8 + x) for x, n in enumerate(reads))
    targets.append(Figure("squeezes whose conversions are not (N-x)(B+x)/(N*B)", wrong, "==", 0))
    targets.append(Figure(f"points lost at x = {RECOMMENDED}, the recommended squeeze", loss, "<=", LOSS))
    return targets


def summary() -> dict[str, Any]:
    """All of it."""
    found = networks()
    keys = ("network", "pruned", "x", "row lists")
    rows = [(*key, own["crossbars"], *own["ratios"].values(), own["sqnr_db"]) for key, own in found.items()]
    table("Arrays: dense over planes", (*keys, "arrays", "/slc8", "/slc16", "/slc32", "/isaac", "dB"), rows)
    ways = reached(found)
    heads = ("network", "published", "over", "x", "pruned", "row lists", "ratio", "dB")
    table("Where the published ratios are reached", heads, ways)
    own, lost = accuracy(), []
    for x in range(5):
        for channels in (True, False):
            value, error = accuracy(x, channels=channels), weight_error(x, channels=channels)
            lost.append((x, "channel" if channels else "layer", value, own - value, error))
    names = ("x", "scale of each", "accuracy", "points lost", "weights dB")
    table(f"Digits classifier, 8 bits: {own:.2f} %", names, lost)
    reads = conversions()
    fallen = [(x, n, n / reads[0]) for x, n in enumerate(reads)]
    table("OU reads of one step, RTL", ("x", "reads", "over x = 0"), fallen)
    loss = next(row[3] for row in lost if row[:2] == (RECOMMENDED, "channel"))
    targets = measured(found, loss, reads)
    seconds, memory = cost()
    speed = [
        Figure("ResNet-50, seconds a run", seconds, "<=", SECONDS),
        Figure("ResNet-50, bytes", memory, "<=", BYTES),
    ]
    figures("SME", [*targets, *speed])
    return {
        "benchmark": "sme",
        "networks": [{**dict(zip(keys, key, strict=True)), **own} for key, own in found.items()],
        "reached": [dict(zip(heads, row, strict=True)) for row in ways],
        "accuracy": {"eight_bits": own, "squeezed": [dict(zip(names, row, strict=True)) for row in lost]},
        "reads_by_squeeze": reads,
        "targets": [figure.as_dict() for figure in targets],
        "speed": [figure.as_dict() for figure in speed],
    }


def main(argv: list[str] | None = None) -> int:
    argparse.ArgumentParser(prog="python -m bench.sme", description=__doc__).parse_args(argv)
    content = summary()
    emit(content)
    return 0 if all(own["met"] for own in content["targets"]) else 1


if __name__ == "__main__":
    leave(main)
