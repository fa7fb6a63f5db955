"""Random chips, layers and activations through RTL: outputs, cycles and reads must all be exact.

Chips are drawn over the whole range of every key. Each draw's outputs, summed over its tiles, must equal the golden
model, or with an ADC whose codes clip the crossbars; the cycles of each tile must equal the cycle model's, and the
reads at each macro's pins the machine's.
"""

import argparse
import itertools
import shutil
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.report import Figure, console, emit, table
from selvage.base.build import build_folder
from selvage.base.processes import end_with_parent
from selvage.commands.exits import leave
from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.diagnosis import Suspect, first_wrong
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.cycles import tile_cycles
from selvage.sim.machine import ou_reads, step_windows
from tb.models.draws import Draw, seeded

BUILD = build_folder("draws")
COUNT = 300


@dataclass(frozen=True)
class Options:
    """How every draw is run."""

    seed: int
    simulator: str
    stalls: bool  # once more with streams and macros that pause: outputs and reads must be the same


@dataclass(frozen=True)
class Outcome:
    """What came of one draw; ``complaints`` is empty when all was exact."""

    index: int
    description: dict[str, Any]
    complaints: tuple[str, ...]
    simulated: int  # tiles
    cycles: int
    reads: int


PAUSES = {"source": (3, 4), "sink": (4, 3), "macro": (4, 2), "latency": 3}


def check(drawn: Draw, simulator: str, build: Path, stalls: bool) -> Outcome:
    """Every tile of a draw through RTL, compared with the models."""
    y, complaints, cycles, reads, suspects = 0, [], 0, 0, []
    for index, tile in enumerate(drawn.placement.tiles):
        parameters = TileParameters(drawn.placement, tile, skip=drawn.skip)
        result = simulate_tile(parameters, drawn.x, simulator=simulator, build=build)
        suspects.append(Suspect(parameters, index, drawn.x, 1, build, result.y))
        y, cycles, reads = y + result.y, cycles + result.cycles, reads + sum(result.reads)
        complaints += [f"tile {index}: {text}" for text in _differences(drawn, index, result)]
        if stalls:
            paused = simulate_tile(parameters, drawn.x, simulator=simulator, build=build, stalls=PAUSES)
            if not np.array_equal(paused.y, result.y) or paused.reads != result.reads:
                complaints.append(f"tile {index}: other outputs or reads when the streams pause")
    if not np.array_equal(y, wanted := drawn.sums):
        complaints.append(f"outputs: {int((y != wanted).sum())} of {wanted.size} differ from golden")
        complaints.append(str(first_wrong(suspects)))
    return Outcome(drawn.seed[1], drawn.describe(), tuple(complaints), index + 1, cycles, reads)


def _differences(drawn: Draw, index: int, result: Any) -> Iterator[str]:
    """Cycles, reads and counters of one tile against the models."""
    placement, tile = drawn.placement, drawn.placement.tiles[index]
    model = tile_cycles(placement, tile, drawn.codes, skip=drawn.skip)
    windows = step_windows(placement, tile, drawn.codes)
    each = [int(ou_reads(placement, array, windows, skip=drawn.skip).sum()) for array in tile.arrays]
    compared = (
        ("cycles", result.cycles, model.cycles),
        ("reads", result.reads, each),
        ("reads of all arrays", sum(result.reads), model.reads),
        ("counter reads", result.counters["reads"], model.reads),
        ("counter fetched", result.counters["fetched"], model.fetched),
    )
    for name, found, wanted in compared:
        if found != wanted:
            yield f"{name}: RTL {found}, model {wanted}"


def run_one(index: int, options: Options) -> Outcome:
    """Draw and check; whatever goes wrong becomes a complaint, so that the others still run."""
    build = BUILD / f"{options.seed}_{index}"
    description: dict[str, Any] = {"seed": [options.seed, index]}
    try:
        drawn = seeded(options.seed, index)
        description = drawn.describe()
        outcome = check(drawn, options.simulator, build, options.stalls)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return Outcome(index, description, (f"{type(error).__name__} at {where}: {error}",), 0, 0, 0)
    if not outcome.complaints:
        shutil.rmtree(build, ignore_errors=True)
    return outcome


def _outcomes(indices: range, options: Options, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from (run_one(index, options) for index in indices)
        return
    with ProcessPoolExecutor(jobs, initializer=end_with_parent) as pool:
        yield from pool.map(run_one, indices, itertools.repeat(options))


def run(indices: range, options: Options, jobs: int) -> list[Outcome]:
    """All draws, with a progress bar; a failing one is told at once."""
    columns = (TextColumn("draws"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done = []
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("draws", total=len(indices))
        for outcome in _outcomes(indices, options, jobs):
            done.append(outcome)
            progress.advance(task)
            for complaint in outcome.complaints:
                progress.console.print(f"draw {options.seed}:{outcome.index}: {complaint}", markup=False)
    return done


def variety(outcomes: list[Outcome]) -> dict[str, dict[str, int]]:
    """How often each kind of thing was drawn."""
    counts: dict[str, Counter] = {}
    for outcome in outcomes:
        d = outcome.description
        if "layer" not in d:
            continue
        chip, layer = d["chip"], d["layer"]
        weights = chip["encoding"] if chip["weight_signed"] else "unsigned"
        traits = {
            "layer": layer["op"],
            "mapping": d["mapping"],
            "OUs": "dynamic" if d["dynamic"] else "fixed",
            "schedule": d["schedule"] + (" folded" if d["fold"] > 1 else ""),
            "weights": weights,
            "skip": "on" if d["skip"] else "off",
            "inputs": ("signed" if d["format"][1] else "unsigned") + (" with zero point" if d["format"][2] else ""),
            "activations": d["activations"],
            "groups": "several" if layer["groups"] > 1 else "one",
            "tiles": str(d["tiles"]),
            "bits of a weight": "above 8" if chip["weight_bits"] > 8 else "up to 8",
            "bits of an activation": "above 8" if d["format"][0] > 8 else "up to 8",
        }
        for key, value in traits.items():
            counts.setdefault(key, Counter())[value] += 1
    return {key: dict(sorted(count.items())) for key, count in counts.items()}


def summary(outcomes: list[Outcome], options: Options) -> dict[str, Any]:
    """What is printed as JSON."""
    failing = [outcome for outcome in outcomes if outcome.complaints]
    return {
        "benchmark": "random_draws",
        "seed": options.seed,
        "simulator": options.simulator,
        "draws": len(outcomes),
        "exact": len(outcomes) - len(failing),
        "tiles": sum(outcome.simulated for outcome in outcomes),
        "cycles": sum(outcome.cycles for outcome in outcomes),
        "reads": sum(outcome.reads for outcome in outcomes),
        "variety": variety(outcomes),
        "failing": [{"complaints": list(o.complaints), **o.description} for o in failing],
        "targets": [
            Figure("draws that differ", len(failing), "==", 0).as_dict(),
            Figure("random draws", len(outcomes), ">=", COUNT).as_dict(),
        ],
    }


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.random_draws", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="draws")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument("--jobs", type=int, default=1, choices=(1, 2), help="processes")
    parser.add_argument("--simulator", choices=("icarus", "verilator"), default="icarus")
    parser.add_argument("--stalls", action="store_true", help="run each tile again with streams that pause")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    a = arguments(argv)
    options = Options(a.seed, a.simulator, a.stalls)
    content = summary(run(range(a.first, a.first + a.count), options, a.jobs), options)
    rows = [(key, value, n) for key, counts in content["variety"].items() for value, n in counts.items()]
    table(f"{content['exact']} of {content['draws']} draws exact", ("drawn", "", "times"), rows)
    emit(content)
    return 1 if content["failing"] else 0


if __name__ == "__main__":
    leave(main)
