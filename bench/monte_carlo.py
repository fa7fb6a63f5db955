"""Monte Carlo of the digits classifier: runs with crossbars drawn anew, over 500 held-out digits.

Each run draws all cells of all layers (lognormal, sigma 10 %), converters with an offset, and computes every digit
through every OU read. Wall-clock seconds of 100 runs in two processes, placing and starting included. And each layer
alone, one thread: processor seconds of a noisy layer, its cells drawn, over an ideal one that reads as it does, plane
by plane with an ADC (``adc``), and over one that needs no reads, where the ADC is lossless (``lossless``: sums of codes
are sums of products).
"""

import argparse
import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from bench.report import Figure, emit, figures, positive, table
from examples.digits.network import CLASSIFIER, held_out
from selvage.base.chip import load_chip
from selvage.base.noise import Cells, Converters, Noise
from selvage.commands.exits import leave
from selvage.compiler.accuracy import Accuracy, Question, ask
from selvage.compiler.compile_network import compile_network
from selvage.compiler.options import Options
from selvage.golden.graph import run as evaluate
from selvage.mapping.placement import Placement
from selvage.sim.devices import Devices
from selvage.sim.machine import run

NOISE = Noise(cells=Cells(spread=0.1), adc=Converters(offset=0.1))
IMAGES, SECONDS, TIMES = 500, 120.0, 3.0
IDEAL = Noise()


def question(images: int) -> Question:
    """The classifier on ou9x8, its digits and their classes."""
    digits, labels = held_out()
    options = Options(noise=NOISE)
    compiled = compile_network(str(CLASSIFIER), load_chip("ou9x8"), digits[:1], options, lambda: None)
    inputs = compiled.imported.enter(digits[:images])
    return Question(compiled, inputs, labels[:images].astype(np.int64))


def seconds(placed: Placement, codes: np.ndarray, devices: Devices | None) -> float:
    """Processor seconds of a layer; drawn when they are first read."""
    started = time.process_time()
    run(placed, codes, devices)
    return time.process_time() - started


def layers(asked: Question, runs: int) -> list[dict[str, Any]]:
    """Times of each layer, the least of several runs that alternate."""
    graph, found = asked.compiled.graph, []
    codes = asked.compiled.imported.enter(held_out()[0][:IMAGES])
    maps = evaluate(graph, codes)
    for node in graph.matrices:
        placed = asked.compiled.placements[node.name]
        taken = maps[node.inputs[0]] - placed.format.zero_point
        ways = {"noisy": NOISE, "adc": IDEAL, "lossless": None}
        timed = {name: [] for name in ways}
        for _ in range(runs):
            for name, noise in ways.items():
                timed[name].append(seconds(placed, taken, Devices(placed, noise) if noise else None))
        least = {name: min(own) for name, own in timed.items()}
        found.append({"layer": node.name, **least})
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.monte_carlo", description=__doc__)
    parser.add_argument("--runs", type=positive, default=100)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--images", type=positive, default=IMAGES)
    a = parser.parse_args(argv)
    with threadpool_limits(1):
        started = time.monotonic()
        asked = question(a.images)
        counted = ask(asked, NOISE, a.runs, a.workers)
        elapsed = time.monotonic() - started
        content = Accuracy(counted, len(asked.labels), asked.right(None)).report()
        lines = layers(asked, 3)
    sums = {name: sum(line[name] for line in lines) for name in ("noisy", "adc", "lossless")}
    targets = [
        Figure(f"{a.runs} runs over {a.images} digits, {a.workers} processes: seconds", elapsed, "<=", SECONDS),
        Figure("noisy layers over ideal ones with an ADC in every read", sums["noisy"] / sums["adc"], "<=", TIMES),
        Figure("noisy layers over lossless ones", sums["noisy"] / sums["lossless"], "<=", TIMES),
    ]
    names = ("layer", "noisy", "adc", "lossless")
    table(f"{a.images} digits, processor seconds", names, [[line[name] for name in names] for line in lines])
    figures("Monte Carlo", targets)
    emit(
        {
            "benchmark": "monte_carlo",
            "accuracy": content,
            "layers": lines,
            "targets": [own.as_dict() for own in targets],
        }
    )
    return 0


if __name__ == "__main__":
    leave(main)
