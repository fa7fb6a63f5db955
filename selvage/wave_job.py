"""``make wave``: a small layer with waves, and how to open them."""

import numpy as np

from examples.layer import EXAMPLE
from hw.parameters import TileParameters
from mapping.dense import place_dense
from selvage.exits import leave
from selvage.files import alone_in
from selvage.model_file import draw_input, input_format, load_model, to_maps
from selvage.run import check_simulator
from selvage.waves import save_file, write_save_file
from spec.chip import load_chip
from tb.cache import build_folder
from tb.simulate import simulate_tile

OUT = build_folder("waves")


def main() -> int:
    """Simulate the first tile of the example layer on ``tiny``; write an FST and a GTKWave save file."""
    check_simulator("icarus")
    model, chip = load_model(str(EXAMPLE)), load_chip("tiny")
    x = draw_input(model, chip, seed=0)
    placement = place_dense(model.layer, model.weights, chip, input_format=input_format(model, chip, x))
    p = TileParameters(placement, placement.tiles[0])
    fst = OUT / f"{model.layer.name}_tile0.fst"
    with alone_in(OUT):
        save_file(fst).unlink(missing_ok=True)
        result = simulate_tile(p, np.asarray(to_maps(model, x)), waves=fst)
        save = write_save_file(p, fst, result.cycles)
    print(f"{fst}: {result.cycles} cycles of the first tile of {EXAMPLE.name} on chip {chip.name}")
    print(f"open it with: gtkwave {save}")
    return 0


if __name__ == "__main__":
    leave(main)
