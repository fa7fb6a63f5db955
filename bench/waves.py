"""What waves cost: time beside the same run without them, bytes for OU reads, and the time to explain steps.

``python -m bench.waves`` prints JSON.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import Figure, emit, figures, positive
from selvage.base.chip import Chip, load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.commands.exits import leave
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.rtlsim.installed import check_simulator
from selvage.rtlsim.simulate import Image, TileResult, build_tile, run_tile
from selvage.rtlsim.waves.described import describe, load_description
from selvage.rtlsim.waves.file import WaveFile
from selvage.rtlsim.waves.story import Story
from selvage.rtlsim.waves.window import Window

READS, MEGABYTES, RATIO = 100_000, 2.0, 2.0
STEPS, SECONDS = 10_000, 5.0


def one_array(layer: Layer, chip: Chip, seed: int = 1) -> tuple[TileParameters, np.ndarray]:
    """A tile of a single array, half of its activations zero."""
    rng = np.random.default_rng(seed)
    chip = chip.model_copy(update={"encoding": "offset"})
    weights, numbers = rng.integers(-127, 128, layer.weight_shape), InputFormat(raw_bits=8, raw_signed=False)
    placed = place_dense(layer, weights, chip, input_format=numbers)
    assert placed.crossbars == 1, "the layer fits an array"
    x = np.maximum(rng.integers(-255, 256, (1, layer.channels, layer.height, layer.width)), 0)
    return TileParameters(placed, placed.tiles[0]), x


def timed(p: TileParameters, image: Image, x: np.ndarray, waves: Window | None) -> tuple[TileResult, float]:
    started = time.perf_counter()
    result = run_tile(p, image, x, waves=waves)
    return result, time.perf_counter() - started


def cost(repeat: int, folder: Path) -> dict[str, Any]:
    """Runs with waves and without by turns: the medians' ratio, and the file's bytes for `READS` reads."""
    plain, x = one_array(
        Layer(op="conv", channels=14, outputs=16, height=11, width=11, kernel=(3, 3)), load_chip("ou9x8")
    )
    shown = TileParameters(plain.placement, plain.tile, probes=True)
    images = {False: build_tile(plain), True: build_tile(shown)}
    fst, seconds, reads = folder / "reads.fst", {False: [], True: []}, 0
    for _ in range(repeat):
        for waves in (False, True):
            p = shown if waves else plain
            result, took = timed(p, images[waves], x, Window(fst) if waves else None)
            seconds[waves].append(took)
            reads = sum(result.reads)
    size = fst.stat().st_size
    medians = {waves: float(np.median(own)) for waves, own in seconds.items()}
    return {
        "reads": reads,
        "bytes": size,
        "megabytes_for_reads": size * READS / reads / 1e6,
        "seconds_without": medians[False],
        "seconds_with": medians[True],
        "ratio": medians[True] / medians[False],
    }


def explaining(folder: Path) -> dict[str, Any]:
    """Waves of `STEPS` steps, told from the file on."""
    side = round(STEPS**0.5)
    p, x = one_array(
        Layer(op="conv", channels=3, outputs=4, height=side, width=side, kernel=(1, 1)), load_chip("ou9x8")
    )
    p, fst = TileParameters(p.placement, p.tile, probes=True), folder / "steps.fst"
    run_tile(p, build_tile(p), x, waves=Window(fst))
    describe(p, Window(fst), 0, 1)
    started = time.perf_counter()
    steps = list(Story(WaveFile(fst), load_description(fst)))
    return {"steps": len(steps), "seconds": time.perf_counter() - started, "bytes": fst.stat().st_size}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.waves", description=__doc__)
    parser.add_argument("--repeat", type=positive, default=3)
    a = parser.parse_args(argv)
    check_simulator("icarus")
    with tempfile.TemporaryDirectory() as folder:
        costs, told = cost(a.repeat, Path(folder)), explaining(Path(folder))
    targets = [
        Figure("time with waves over without", round(costs["ratio"], 3), "<=", RATIO),
        Figure(
            f"megabytes for {READS:,} OU reads of one array", round(costs["megabytes_for_reads"], 3), "<=", MEGABYTES
        ),
        Figure("OU reads measured", costs["reads"], ">=", READS),
        Figure(f"seconds to explain {told['steps']:,} steps", round(told["seconds"], 2), "<=", SECONDS),
        Figure("steps explained", told["steps"], ">=", STEPS),
    ]
    figures("Waves", targets)
    emit({"benchmark": "waves", "cost": costs, "explained": told, "targets": [own.as_dict() for own in targets]})
    return 0 if all(own.met for own in targets) else 1


if __name__ == "__main__":
    leave(main)
