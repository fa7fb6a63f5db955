"""Iterations of a GAN's training through RTL tiles, under every schedule, against the golden loop and the cycle model.

The GAN of ``examples/digits_gan/train.toml``, three layers a network, batch 4: an iteration of each schedule, two where
they overlap. Weights must be golden's bit for bit, and the clock cycles of every logical cycle the model's. Then, with
batches of 16, what the pipeline gains beside what it could by the same times of the stages. Exits with 1 on any
difference.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.report import Figure, emit, figures, table
from selvage.commands.exits import leave
from selvage.compiler.training import Session
from selvage.frontend.training_file import load_training
from selvage.hw.training.chip_parameters import ChipParameters
from selvage.mapping.training import OVERLAPPED
from selvage.rtlsim.training_chip import build_chip, run_chip
from selvage.sim.training import timeline
from selvage.sim.training_chip import ChipCycles

FILE = Path(__file__).parents[1] / "examples" / "digits_gan" / "train.toml"
WAYS = [(schedule, False) for schedule in ("none", "pipeline", "sp", "cs", "sp+cs")]
WAYS += [(schedule, True) for schedule in OVERLAPPED]
SLOW = 600  # seconds on two cores


@dataclass(frozen=True)
class Ran:
    """What a run showed, beside golden and model; ``alone``: clock cycles of its stages without the controller's."""

    schedule: str
    overlap: bool
    simulator: str
    seconds: float
    logical: int
    clocks: int
    model: int
    alone: int
    exact: bool


def ran(schedule: str, overlap: bool, batch: int, simulator: str, iterations: int) -> Ran:
    """Run iterations through RTL and through the models."""
    began = time.perf_counter()
    file = load_training(str(FILE))
    file = replace(file, entry=file.entry.model_copy(update={"batch": batch}))
    session = Session(file, schedule, overlap, 1)
    state, ways, states = session.first, [], []
    batches = [session.batch(k) for k in range(iterations)]
    for own in batches:
        state, way = session.followed(state, own)
        ways.append(way)
        states.append(state)
    model = ChipCycles(session.plan).cycles(ways)
    p = ChipParameters(session.plan, stochastic=file.entry.rounding == "stochastic")
    first = session.first
    run = run_chip(
        p,
        build_chip(p, simulator=simulator),
        {"G": first.generator, "D": first.discriminator},
        np.concatenate([own.images for own in batches]),
        noise=np.concatenate([way for own in batches for way in own.noise]),
        seeds=dict(zip("GD", first.random, strict=True)),
        iterations=iterations,
    )
    exact = run.cycles == model
    for k, own in enumerate(states):
        for name, found in run.weights.items():
            exact &= all(np.array_equal(a, b) for a, b in zip(found[k], own.of(name), strict=True))
    # In each logical cycle the controller takes one cycle to begin it, and one to let the stages work.
    alone = run.clocks - 2 * len(run.cycles)
    last = max(cycle for own in timeline(session.schedule, iterations).updated for cycle in own)
    seconds = time.perf_counter() - began
    return Ran(schedule, overlap, simulator, seconds, last, run.clocks, sum(model), alone, exact)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.training_chip", description=__doc__)
    parser.add_argument("--simulator", choices=("icarus", "verilator"), default="verilator", help="of all but one")
    parser.add_argument("--no-batch-16", action="store_true", help="leave the longer runs out")
    a = parser.parse_args(argv)
    began = time.perf_counter()
    jobs = [("sp+cs", False, 4, "icarus", 1)]
    jobs += [(s, o, 4, a.simulator, 1 + o) for s, o in WAYS if (s, o) != ("sp+cs", False)]
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(ran, *zip(*jobs, strict=True)))
    seconds = time.perf_counter() - began
    columns = ("schedule", "overlapped", "simulator", "seconds", "logical cycles", "clock cycles", "model", "exact")
    rows = [(r.schedule, r.overlap, r.simulator, r.seconds, r.logical, r.clocks, r.model, r.exact) for r in found]
    table("Iterations through RTL, batch 4", columns, rows)
    told = [
        Figure("schedules that are exact", sum(r.exact for r in found), "==", len(jobs)),
        Figure("seconds of all", seconds, "<=", SLOW),
        Figure("seconds of one under Icarus", found[0].seconds, "<=", SLOW / 2),
    ]
    content = {"runs": [vars(r) for r in found]}
    if not a.no_batch_16:
        with ProcessPoolExecutor(2) as pool:
            single, piped = pool.map(ran, ("none", "pipeline"), (False,) * 2, (16,) * 2, ("verilator",) * 2, (1,) * 2)
        gain, could = single.clocks / piped.clocks, single.alone / piped.alone
        added = max((r.clocks - r.alone) / r.alone for r in (*found, single, piped))
        content["batch_16"] = [vars(single), vars(piped)]
        told += [
            Figure("exact, batch 16", single.exact + piped.exact, "==", 2),
            Figure("pipelined over not, of what the stages' times allow", gain / could, ">=", 0.95),
            Figure("share that the controller adds", added, "<=", 0.02),
        ]
        table(
            "Batch 16",
            ("schedule", "logical cycles", "clock cycles", "model"),
            [(r.schedule, r.logical, r.clocks, r.model) for r in (single, piped)],
        )
        content["gain"] = {"clock_cycles": gain, "logical_cycles": single.logical / piped.logical}
    figures("Training chip", told)
    emit({**content, "figures": [own.as_dict() for own in told]})
    return 0 if all(own.met for own in told) else 1


if __name__ == "__main__":
    leave(main)
