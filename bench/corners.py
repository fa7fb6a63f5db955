"""The corners of layer geometry through RTL, under every schedule: how many are not exact.

Each layer of `tb.models.corners` on the chip `tiny`, random weights and activations, against golden and the
cycle model. Exits with 1 when one is not.
"""

import argparse
from typing import Any

import numpy as np

from bench.report import Figure, emit, figures
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.commands.exits import leave
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.cycles import tile_cycles
from tb.models.corners import CASES, LAYERS

BUILD = build_folder("corners")


def exact(name: str, schedule: str) -> bool:
    """Whether outputs equal golden and cycles the model, in all tiles."""
    chip, layer, rng = load_chip("tiny"), Layer(**LAYERS[name]), np.random.default_rng(len(name))
    weights = rng.integers(-255, 256, layer.weight_shape)
    x = np.maximum(rng.integers(-255, 256, (2, layer.channels, layer.height, layer.width)), 0)
    numbers = InputFormat(raw_bits=8, raw_signed=False)
    placed = place_dense(layer, weights, chip, input_format=numbers, schedule=schedule)
    total, timely = np.int64(0), True
    for tile in placed.tiles:
        result = simulate_tile(TileParameters(placed, tile), x, build=BUILD)
        total, timely = total + result.y, timely and result.cycles == tile_cycles(placed, tile, x).cycles
    return timely and np.array_equal(total, evaluate(layer, x, weights))


def summary() -> dict[str, Any]:
    """Every case."""
    found = {f"{name}, {schedule}": exact(name, schedule) for name, schedule in CASES}
    targets = [
        Figure("corner layers run", len(found), "==", len(CASES)),
        Figure("corner layers that are not exact", sum(not own for own in found.values()), "==", 0),
    ]
    figures("Corners", targets)
    return {"benchmark": "corners", "exact": found, "targets": [own.as_dict() for own in targets]}


def main(argv: list[str] | None = None) -> int:
    argparse.ArgumentParser(prog="python -m bench.corners", description=__doc__).parse_args(argv)
    content = summary()
    emit(content)
    return 0 if all(own["met"] for own in content["targets"]) else 1


if __name__ == "__main__":
    leave(main)
