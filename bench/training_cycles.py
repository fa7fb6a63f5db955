"""The controller of training through RTL: logical cycles and buffers of many schedules against the published formulas.

Points are drawn from a seed: layers up to 8 of each network, batches up to 128, every schedule, overlapped where it can
be. Each is generated and runs in Icarus Verilog (or Verilator). Exits with 1 on any difference.
"""

import argparse
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from bench.report import Figure, emit, figures, positive, table
from selvage.commands.exits import leave
from selvage.mapping.training import OVERLAPPED, SCHEDULES, training_schedule
from selvage.rtlsim.training import run_controller
from selvage.sim.training import closed_form, training_cycles

HOW = [(schedule, False) for schedule in SCHEDULES] + [(schedule, True) for schedule in OVERLAPPED]
WHOLE, STEADY = 2, 4  # iterations


@dataclass(frozen=True)
class Point:
    """Layers, batch and schedule; 0 layers of a generator for one network."""

    generator: int
    discriminator: int
    batch: int
    schedule: str
    overlap: bool


@dataclass(frozen=True)
class Counted:
    """What RTL counted of a point."""

    cycles: int
    formula: int
    as_model: bool
    within: bool  # every buffer
    full: int  # buffers that reached their size
    could: int  # buffers that as many samples are there for


def points(count: int, seed: int) -> list[Point]:
    """All ways in turn, with sizes drawn; every eleventh point has one network."""
    rng, found = random.Random(seed), []
    for index in range(count):
        schedule, overlap = HOW[index % len(HOW)]
        generator = rng.randint(1, 8)
        if index % 11 == 10:
            schedule, overlap, generator = rng.choice(SCHEDULES[:2]), False, 0
        batch = rng.choice([rng.randint(1, 12), rng.randint(1, 128), 2 ** rng.randint(0, 7)])
        found.append(Point(generator, rng.randint(1, 8), batch, schedule, overlap))
    return found


def count(point: Point, simulator: str = "icarus") -> Counted:
    sizes = point.generator, point.discriminator, point.batch, point.schedule
    own = training_schedule(*sizes, overlap=point.overlap)
    iterations = STEADY if point.overlap else WHOLE
    run, model = run_controller(own, iterations, simulator=simulator), training_cycles(own, iterations)
    pairs = [(most, buffer.depth) for most, buffer in zip(run.reached, own.buffers, strict=True)]
    expected = [buffer for buffer in own.buffers if own.pipelined and point.batch >= buffer.depth]
    return Counted(
        cycles=run.steady,
        formula=closed_form(*sizes, overlap=point.overlap),
        as_model=(run.ends[-1], run.steady, run.reached) == (model.whole, model.steady, model.reached),
        within=all(most <= depth for most, depth in pairs),
        full=sum(most == depth for (most, depth), buffer in zip(pairs, own.buffers, strict=True) if buffer in expected),
        could=len(expected),
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.training_cycles", description=__doc__)
    parser.add_argument("--points", type=positive, default=320)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=positive, default=2)
    parser.add_argument("--simulator", choices=("icarus", "verilator"), default="icarus")
    a = parser.parse_args(argv)
    drawn = points(a.points, a.seed)
    with ProcessPoolExecutor(a.jobs) as pool:
        found = list(pool.map(count, drawn, [a.simulator] * len(drawn), chunksize=4))
    pairs = list(zip(drawn, found, strict=True))
    wrong = [(p, c) for p, c in pairs if c.cycles != c.formula or not (c.as_model and c.within)]
    rows = [
        [f"{schedule}{', overlapped' * overlap}", str(len(own)), str(sum(c.cycles == c.formula for c in own))]
        for schedule, overlap in HOW
        for own in [[c for p, c in pairs if (p.schedule, p.overlap) == (schedule, overlap)]]
    ]
    table("Points of each schedule", ("schedule", "points", "RTL = formula"), rows)
    for point, counted in wrong:
        print(point, counted)
    own = [
        Figure("points", len(drawn), ">=", 300),
        Figure("logical cycles that differ from their formula", sum(c.cycles != c.formula for c in found), "==", 0),
        Figure("points that differ from the cycle model", sum(not c.as_model for c in found), "==", 0),
        Figure("points with a buffer beyond its size", sum(not c.within for c in found), "==", 0),
        Figure("buffers below their size with samples enough", sum(c.could - c.full for c in found), "==", 0),
    ]
    figures("Training, logical cycles in RTL", own)
    emit({"benchmark": "training_cycles", "targets": [figure.as_dict() for figure in own]})
    return 0 if all(figure.met for figure in own) else 1


if __name__ == "__main__":
    leave(main)
