"""Simulation speed of a tile of one array: OU reads a second, a whole process from outside.

A convolution of 3x3, 14 to 16 channels, on a 6x6 map with pads of 1, two images of uniform uint8,
on the chip ou9x8 with one array and unsigned weights. Each run is a fresh Python process, timed from
its start to its end, interpreter and imports included, with the tile compiled before. The figure is
the median of several. It depends on the machine, so a missed target is told and is no failure.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

from bench.report import Figure, console, emit, figures
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.commands.exits import leave
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.rtlsim.installed import verilator_there
from selvage.rtlsim.simulate import build_tile, run_tile
from selvage.sim.cycles import tile_cycles

BUILD = build_folder("speed")
TARGETS = {"icarus": 10_000, "verilator": 25_000}  # OU reads a second
RUNS = 3
FORMAT = InputFormat(raw_bits=8, raw_signed=False)
LAYER = Layer(name="speed", op="conv", channels=14, outputs=16, height=6, width=6, kernel=(3, 3), pads=(1, 1, 1, 1))


def one(simulator: str) -> dict[str, Any]:
    """Build the tile, or find it built, run it once and compare it with golden and the cycle model."""
    chip = load_chip("ou9x8").model_copy(update={"arrays_per_tile": 1, "weight_signed": False})
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 256, LAYER.weight_shape)
    x = rng.integers(0, 256, (2, LAYER.channels, LAYER.height, LAYER.width))
    placed = place_dense(LAYER, weights, chip, input_format=FORMAT)
    parameters = TileParameters(placed, placed.tiles[0])
    started = time.perf_counter()
    image = build_tile(parameters, simulator=simulator, build=BUILD)
    compiled = time.perf_counter() - started
    result = run_tile(parameters, image, x)
    model = tile_cycles(placed, placed.tiles[0], x)
    same = (result.cycles, sum(result.reads)) == (model.cycles, model.reads)
    exact = bool(np.array_equal(result.y, evaluate(LAYER, x, weights)))
    return {
        "reads": sum(result.reads),
        "cycles": result.cycles,
        "compile_seconds": compiled,
        "exact": same and exact and len(placed.tiles) == 1,
    }


def _cpu() -> float:
    """Processor seconds of all processes that ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _process(simulator: str) -> tuple[float, dict[str, Any]]:
    """Seconds of a fresh process, and what it printed, with the processor seconds it took."""
    before = _cpu()
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bench.speed", "--one", simulator], stdout=subprocess.PIPE, check=True, text=True
    )
    seconds = time.perf_counter() - started
    return seconds, json.loads(done.stdout) | {"cpu_seconds": _cpu() - before}


def measure(simulator: str, runs: int = RUNS) -> dict[str, Any]:
    """Compile in a process of its own, then time ``runs`` processes that find the tile compiled."""
    _, first = _process(simulator)
    timed = [_process(simulator) for _ in range(runs)]
    seconds = [whole for whole, _ in timed]
    median = statistics.median(seconds)
    return {
        "simulator": simulator,
        "reads": first["reads"],
        "cycles": first["cycles"],
        "compile_seconds": first["compile_seconds"],  # near 0 when it was compiled before
        "rebuild_seconds": [own["compile_seconds"] for _, own in timed],  # within the timed runs
        "seconds": seconds,
        "cpu_seconds": [own["cpu_seconds"] for _, own in timed],  # far below seconds on a busy machine
        "median_seconds": median,
        "reads_per_second": first["reads"] / median,
        "exact": all(own["exact"] for own in (first, *(own for _, own in timed))),
    }


def summary(simulators: list[str], runs: int = RUNS) -> dict[str, Any]:
    """Everything measured: what is printed as JSON."""
    found, results = [], []
    for simulator in simulators:
        result = measure(simulator, runs)
        results.append(result)
        found.append(Figure(f"{simulator}: OU reads a second", result["reads_per_second"], ">=", TARGETS[simulator]))
    wrong = sum(not result["exact"] for result in results)
    found.append(Figure("runs that differ from golden or the cycle model", wrong, "==", 0))
    figures("Simulation speed", found)
    return {"benchmark": "speed", "runs": results, "targets": [own.as_dict() for own in found]}


def available() -> list[str]:
    """Icarus, and Verilator where its package is installed."""
    return ["icarus", *(["verilator"] if verilator_there() else [])]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__)
    parser.add_argument("--one", choices=tuple(TARGETS), help="one run, as a timed process does it")
    parser.add_argument("--simulator", choices=tuple(TARGETS), help="this one alone")
    parser.add_argument("--runs", type=int, default=RUNS)
    a = parser.parse_args(argv)
    if a.one:
        print(json.dumps(one(a.one)))
        return 0
    if a.simulator == "verilator" and not verilator_there():
        console.print("the verilator package is not installed")
        return 2
    content = summary([a.simulator] if a.simulator else available(), a.runs)
    emit(content)
    return 0 if all(result["exact"] for result in content["runs"]) else 1


if __name__ == "__main__":
    leave(main)
