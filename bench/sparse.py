"""Sparse kernels: pattern mapping on whole networks, patterns, row lists and formed OUs on a trained one.

The three published operating points on the shapes of VGG16, from actual placements of synthetic pruned
networks, beside the reference's model. Then the pruned digits classifier in RTL on the activations of a
held-out image: of each layer the fastest mapping with formed OUs and skipping, over the dense mapping that
reads everything. Reads by the formulas, from the RTL's counter. Exits with 1 on a missed target.
"""

import argparse
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.report import Figure, emit, figures, table
from examples.digits.network import PRUNED, QuantisedLayer, held_out, load, recorded
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.base.shapes import load_network
from selvage.commands.exits import leave
from selvage.compiler.pruned_network import Pruning, count_pruned
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.pattern import place_pattern
from selvage.mapping.placement import Placement
from selvage.mapping.sre import place_sre
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.cycles import tile_cycles

BUILD = build_folder("sparse")
# Network, patterns, kernel sparsity, weights a kernel; the reference's model: area, energy, speed.
POINTS = [
    ("vgg16-cifar", 10, 0.44, 3.5, (4.59, 2.13, 1.33)),
    ("vgg16-cifar", 14, 0.44, 3.0, (5.36, 2.16, 1.16)),
    ("vgg16-imagenet", 12, 0.38, 3.5, (4.15, 1.92, 1.17)),
]
OFF = 0.05
PACKING, SECONDS, SPEED_UP = 0.9, 5, 4.0


def points() -> tuple[list[tuple[Any, ...]], list[Figure], float]:
    """Ratios of each operating point, how far they are off, and the seconds of the slowest."""
    rows, targets, slowest = [], [], 0.0
    for name, patterns, sparsity, weights, wanted in POINTS:
        started = time.monotonic()
        own = count_pruned(load_network(name), load_chip("yu"), Pruning(patterns, sparsity, weights), slices=1)
        slowest = max(slowest, time.monotonic() - started)
        ratios = own["area_ratio"], own["energy_ratio"], own["speed_ratio"]
        rows.append((name, patterns, *ratios, own["crossbar_ratio"], own["packing"], own["index_bits"]))
        for what, ratio, model in zip(("area", "energy", "speed"), ratios, wanted, strict=True):
            off = abs(ratio / model - 1)
            targets.append(Figure(f"{name}, {patterns} patterns: {what} off the reference's {model}", off, "<=", OFF))
        if (name, patterns) == ("vgg16-cifar", 10):
            targets.append(Figure("vgg16-cifar, 10 patterns: packing of the shelves", own["packing"], ">=", PACKING))
            small = count_pruned(load_network(name), load_chip("ou9x8"), Pruning(patterns, sparsity, weights), slices=1)
            whole = small["crossbar_packing"]
            targets.append(Figure("the same on ou9x8: packing of whole arrays", whole, ">=", PACKING))
    return rows, targets, slowest


def through_rtl(placed: Placement, x: NDArray[np.int64], *, skip: bool) -> tuple[int, int, bool, NDArray, int]:
    """Cycles of the slowest tile, OU reads, whether both are the model's, outputs, conversions."""
    cycles = reads = conversions = 0
    y, exact = np.int64(0), True
    for tile in placed.tiles:
        result = simulate_tile(TileParameters(placed, tile, skip=skip), x, build=BUILD)
        model = tile_cycles(placed, tile, x - placed.format.zero_point, skip=skip)
        exact = exact and (result.cycles, result.counters["reads"]) == (model.cycles, model.reads)
        cycles, reads, y = max(cycles, result.cycles), reads + result.counters["reads"], y + result.y
        conversions += result.counters["conversions"]
    return cycles, reads, exact, y, conversions


def fastest(layer: QuantisedLayer, x: NDArray[np.int64]) -> Placement:
    """Of the mappings with formed OUs, by the cycle model."""
    chip = load_chip("ou9x8")
    ways = [
        place(layer.geometry, layer.weights, chip, input_format=layer.format, dynamic=True)
        for place in (place_dense, place_pattern, place_sre)
    ]
    codes = x - layer.format.zero_point
    return min(ways, key=lambda placed: max(tile_cycles(placed, tile, codes).cycles for tile in placed.tiles))


def digits() -> tuple[list[tuple[Any, ...]], list[Figure]]:
    """The pruned classifier, layer by layer."""
    chip, images = load_chip("ou9x8"), held_out()[0][:1]
    entering, rows, wrong = recorded(PRUNED, images), [], 0
    for layer in load(PRUNED):
        if not isinstance(layer, QuantisedLayer):
            continue
        x = entering[layer.name]
        truth = evaluate(layer.geometry, x - layer.format.zero_point, layer.weights)
        dense = place_dense(layer.geometry, layer.weights, chip, input_format=layer.format)
        chosen = fastest(layer, x)
        base, own = through_rtl(dense, x, skip=False), through_rtl(chosen, x, skip=True)
        wrong += sum(not (exact and np.array_equal(y, truth)) for _, _, exact, y, _ in (base, own))
        rows.append((layer.name, chosen.mapping, dense.crossbars, chosen.crossbars, base[0], own[0], base[1], own[1]))
    cycles, reads = (sum(row[k] for row in rows) / sum(row[k + 1] for row in rows) for k in (4, 6))
    return rows, [
        Figure("pruned classifier: runs that are not exact", wrong, "==", 0),
        Figure("pruned classifier: dense, everything read, over formed OUs, RTL cycles", cycles, ">=", SPEED_UP),
        Figure("pruned classifier: the same, OU reads", reads, ">=", SPEED_UP),
    ]


def formulas(bits: int) -> list[Figure]:
    """Reads and conversions of one layer, dense and by patterns, RTL against the reference's formulas.

    ``bits`` cells a weight; both from the RTL's counters.
    """
    chip = load_chip("ou9x8").model_copy(update={"weight_bits": bits})
    layer = Layer(name="formulas", op="conv", channels=14, outputs=24, height=4, width=4, kernel=(3, 3))
    rng = np.random.default_rng(1)
    masks = np.array([[1, 1, 0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0, 1, 1]]).reshape(2, 3, 3)
    weights = rng.integers(1, 2**bits, layer.weight_shape) * masks[rng.integers(2, size=(24, 14))]
    weights *= (rng.random((24, 14)) < 0.6)[:, :, None, None]
    numbers, x = InputFormat(raw_bits=8, raw_signed=False), rng.integers(0, 256, (1, 14, 4, 4))
    kernels = [  # (channel, pattern): how many kept it
        int((weights[:, channel].astype(bool) == mask.astype(bool)).all(axis=(1, 2)).sum())
        for channel in range(14)
        for mask in masks
    ]
    dense = place_dense(layer, weights, chip, input_format=numbers)
    pattern = place_pattern(layer, weights, chip, input_format=numbers)
    wanted = {
        "dense": (14 * -(-24 * bits // chip.ou_cols), 14 * 24 * bits),
        "pattern": (sum(-(-n * bits // chip.ou_cols) for n in kernels), sum(n * bits for n in kernels)),
    }
    each = 4 * 8 * 2  # steps, input planes, polarities
    found = []
    for name, placed in (("dense", dense), ("pattern", pattern)):
        (_, reads, _, _, lanes), (by_formula, converted) = through_rtl(placed, x, skip=False), wanted[name]
        where = f"{name}, {bits} cells a weight"
        found.append(Figure(f"{where}: RTL reads less the formula's", reads - by_formula * each, "==", 0))
        found.append(Figure(f"{where}: RTL conversions less the formula's", lanes - converted * each, "==", 0))
    return found


def summary() -> dict[str, Any]:
    """All of it."""
    ratios, targets, seconds = points()
    heads = ("network", "patterns", "area", "energy", "speed", "crossbars", "packing", "index bits")
    table("Dense over pattern", heads, ratios)
    rows, own = digits()
    names = ("layer", "mapping", "arrays dense", "arrays", "cycles dense", "cycles", "reads dense", "reads")
    table("Pruned digits classifier, one image, RTL", names, rows)
    targets += [*own, *formulas(8), *formulas(1)]
    speed = [Figure("VGG16 pruned, placed and counted, seconds", seconds, "<=", SECONDS)]
    figures("Sparse kernels", [*targets, *speed])
    return {
        "benchmark": "sparse",
        "points": [dict(zip(heads, row, strict=True)) for row in ratios],
        "classifier": [dict(zip(names, row, strict=True)) for row in rows],
        "targets": [figure.as_dict() for figure in targets],
        "speed": [figure.as_dict() for figure in speed],
    }


def main(argv: list[str] | None = None) -> int:
    argparse.ArgumentParser(prog="python -m bench.sparse", description=__doc__).parse_args(argv)
    content = summary()
    emit(content)
    return 0 if all(own["met"] for own in content["targets"]) else 1


if __name__ == "__main__":
    leave(main)
