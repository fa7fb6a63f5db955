"""``make wave``: a small layer with waves, and how to open them."""

import numpy as np

from examples.layer import EXAMPLE
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.base.files import alone_in
from selvage.commands.exits import leave
from selvage.compiler.model_file import draw_input, input_format, load_model, to_maps
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.rtlsim.installed import check_simulator
from selvage.rtlsim.simulate import simulate_tile
from selvage.rtlsim.waves.described import describe
from selvage.rtlsim.waves.viewers import command_file, save_file
from selvage.rtlsim.waves.window import Window

OUT = build_folder("waves")


def main() -> int:
    """Simulate the first tile of the example layer on ``tiny``; write an FST and a GTKWave save file."""
    check_simulator("icarus")
    model, chip = load_model(str(EXAMPLE)), load_chip("tiny")
    x = draw_input(model, chip, seed=0)
    placement = place_dense(model.layer, model.weights, chip, input_format=input_format(model, chip, x))
    p = TileParameters(placement, placement.tiles[0], probes=True)
    fst = OUT / f"{model.layer.name}_tile0.fst"
    with alone_in(OUT):
        save_file(fst).unlink(missing_ok=True)
        result = simulate_tile(p, np.asarray(to_maps(model, x)), waves=Window(fst))
        save = describe(p, Window(fst), 0, len(x))
    print(f"{fst}: {result.cycles} cycles of the first tile of {EXAMPLE.name} on chip {chip.name}")
    print(f"open it with: gtkwave {save}, or surfer --command-file {command_file(fst)}")
    print(f"read it as words with: selvage explain {fst}")
    return 0


if __name__ == "__main__":
    leave(main)
