"""What a feature costs in logic: cells that Yosys makes of a tile's modules, with it and without.

The tile of a convolution on the chip ou9x8 with two arrays, P and N: dense; by planes; squeezed. What is off costs
nothing: the engine, the accumulator and the splice of a dense tile must have the cells they had (`BEFORE`) when P and N
came to share them. Before planes existed each array had an engine of 3419 cells (the same gateware, whose Verilog named
more; Yosys' choices follow names), an accumulator of 13848, and the splice 1727.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import Figure, emit, figures, table
from hw.parameters import TileParameters
from hw.tile import Tile
from hw.verilog import convert
from mapping.dense import place_dense
from mapping.placement import Placement
from mapping.sme import SmeParameters, place_sme
from spec.chip import load_chip
from spec.layer import InputFormat, Layer

LAYER = Layer(name="cells", op="conv", channels=8, outputs=16, height=6, width=6, kernel=(3, 3), pads=(1, 1, 1, 1))
FORMAT = InputFormat(raw_bits=8, raw_signed=False)
BEFORE = {"array_engine": 3421, "accumulator": 13774, "splice": 810}  # Yosys 0.23
SCRIPT = """
read_verilog {file}
hierarchy -top {top}
synth -top {top} -flatten
tee -o {out} stat -json
"""


def placements() -> dict[str, Placement]:
    """By name: the same layer, dense and by planes."""
    chip = load_chip("ou9x8").model_copy(update={"arrays_per_tile": 2})
    weights = np.random.default_rng(1).integers(-255, 256, LAYER.weight_shape)
    found = {"dense": place_dense(LAYER, weights, chip, input_format=FORMAT)}
    for squeeze in (0, 3):
        for sort in (False, True):
            name = f"planes, squeeze {squeeze}" + (", sorted" if sort else "")
            parameters = SmeParameters(3, squeeze, sort=sort)
            found[name], _ = place_sme(LAYER, weights, chip, input_format=FORMAT, parameters=parameters)
    return found


def cells(text: str, top: str) -> int:
    """Cells of module ``top`` after `synth`, everything below it included."""
    with tempfile.TemporaryDirectory() as where:
        file, out = Path(where) / "tile.v", Path(where) / "stat.json"
        file.write_text(text)
        script = SCRIPT.format(file=file, top=top, out=out)
        subprocess.run(["yosys", "-q", "-p", script], check=True, capture_output=True)
        content = out.read_text()
        return json.loads(content[content.index("{") :])["design"]["num_cells"]


def measure(placed: Placement) -> dict[str, int]:
    """Cells of the first array's engine and accumulator, and of the tile's splice."""
    tile = Tile(TileParameters(placed, placed.tiles[0], counters=False))
    text = convert(tile, "tile", tile.library.components)
    tops = {"array_engine": "array_engine_0", "accumulator": "accumulator_0", "splice": "tile.splice"}
    return {name: cells(text, f"\\{top}") for name, top in tops.items()}


def summary() -> dict[str, Any]:
    """Cells of every placement's modules, the dense ones beside what they were."""
    found = {name: measure(placed) for name, placed in placements().items()}
    targets = [
        Figure(f"cells of a dense tile's {name}", count, "==", BEFORE[name]) for name, count in found["dense"].items()
    ]
    table("Cells", ("mapping", *BEFORE), [(name, *own.values()) for name, own in found.items()])
    figures("Cells", targets)
    return {"benchmark": "cells", "cells": found, "targets": [own.as_dict() for own in targets]}


def main(argv: list[str] | None = None) -> int:
    argparse.ArgumentParser(prog="python -m bench.cells", description=__doc__).parse_args(argv)
    if shutil.which("yosys") is None:
        print("selvage: Yosys is not installed: install the package yosys (apt-get install yosys)", file=sys.stderr)
        return 2
    content = summary()
    emit(content)
    return 0 if all(own["met"] for own in content["targets"]) else 1


if __name__ == "__main__":
    sys.exit(main())
