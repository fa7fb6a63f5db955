"""``make wave``: a small layer with waves, and how to open them."""

from pathlib import Path

import numpy as np

from examples.layer import EXAMPLE
from hw.parameters import TileParameters
from mapping.dense import place_dense
from selvage.exits import leave
from selvage.model_file import draw_input, input_format, load_model, to_maps
from selvage.run import check_simulator
from selvage.waves import write_save_file
from spec.chip import load_chip
from tb.simulate import simulate_tile

OUT = Path("build") / "waves"


def main() -> int:
    """Simulate the first tile of the example layer on ``tiny``; write an FST and a GTKWave save file."""
    check_simulator("icarus")
    model, chip = load_model(str(EXAMPLE)), load_chip("tiny")
    x = draw_input(model, chip, seed=0)
    placement = place_dense(model.layer, model.weights, chip, input_format=input_format(model, chip, x))
    p = TileParameters(placement, placement.tiles[0])
    OUT.mkdir(parents=True, exist_ok=True)
    fst = OUT / f"{model.layer.name}_tile0.fst"
    result = simulate_tile(p, np.asarray(to_maps(model, x)), waves=fst)
    save = write_save_file(p, fst)
    print(f"{fst}: {result.cycles} cycles of the first tile of {EXAMPLE.name} on chip {chip.name}")
    print(f"open it with: gtkwave {save}")
    return 0


if __name__ == "__main__":
    leave(main)
