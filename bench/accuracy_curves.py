"""Accuracy of a trained network against OU height, ADC bits and spread: the picture that says why there are OUs.

The digits classifier on held-out digits, crossbars drawn anew in each run, means with 95 % intervals (bootstrap over
runs). Cells spread (lognormal), the lowest level conducts a hundredth of the highest. A converter's error goes with its
range: an OU of more rows needs an ADC of more bits, whose codes lie closer, so the same share of the range is more
codes. Spread alone hardly depends on the height: it averages out. Then remedies: what spare columns gain with stuck
cells, and calibration with converters that are off. ``--out`` writes plots.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from bench.report import Figure, console, emit, figures, positive, table
from examples.digits.network import CLASSIFIER, held_out
from selvage.base.chip import Chip, load_chip
from selvage.base.files import alone_in
from selvage.base.noise import Cells, Converters, Noise, Remedies
from selvage.commands.exits import leave
from selvage.compiler.accuracy import Question, ask, mean_interval
from selvage.compiler.compile_network import compile_network
from selvage.compiler.options import Options
from selvage.papers.plots import write_plots
from selvage.papers.rows import Plot

HEIGHTS = (3, 9, 18, 36, 72, 128)
SPREADS = (0.0, 0.1, 0.2, 0.4, 0.6)
BITS = (1, 2, 3, 4)
SHARES = (0.005, 0.01, 0.02)  # sigma of a converter's offset in its range
TALL, LOW = 128, 9
LEVELS = 100.0  # highest conductance over the lowest


@dataclass(frozen=True)
class Point:
    """Mean accuracy, in per cent, and between what it is."""

    curve: str
    x: float
    mean: float
    low: float
    high: float


def chip_of(rows: int, bits: int | None = None) -> Chip:
    """ou9x8 with OUs of so many rows, and its lossless ADC, or one of ``bits``."""
    own = load_chip("ou9x8").model_copy(update={"ou_rows": rows})
    return own.model_copy(update={"adc_bits": bits or math.ceil(math.log2(rows + 1))})


def question(chip: Chip, images: int) -> Question:
    """The classifier on a chip."""
    digits, labels = held_out()
    options = Options(noise=Noise(), mapping="dense")
    compiled = compile_network(str(CLASSIFIER), chip, digits[:1], options, lambda: None)
    return Question(compiled, compiled.imported.enter(digits[:images]), labels[:images].astype(np.int64))


def point(curve: str, x: float, chip: Chip, noise: Noise, how: argparse.Namespace) -> Point:
    """Runs of one point."""
    found = ask(question(chip, how.images), noise, how.runs, how.workers)
    mean, low, high = (100 * value for value in mean_interval(np.array(found) / how.images))
    console.print(f"{curve}, {x:g}: {mean:.1f} % ({low:.1f} to {high:.1f})", markup=False)
    return Point(curve, x, mean, low, high)


def curves(how: argparse.Namespace) -> dict[str, list[Point]]:
    """All points, by picture."""

    def cells(spread: float) -> Noise:
        return Noise(cells=Cells(spread=spread, on_off=LEVELS))

    def converters(share: float, chip: Chip) -> Noise:
        return Noise(cells=Cells(spread=0.1, on_off=LEVELS), adc=Converters(offset=share * 2**chip.adc_bits))

    heights = [
        point(f"offsets of {share:.1%} of the range", rows, chip_of(rows), converters(share, chip_of(rows)), how)
        for share in SHARES
        for rows in HEIGHTS
    ]
    spreads = [
        point(f"OU of {rows} rows", spread, chip_of(rows), cells(spread), how)
        for rows in (LOW, 36, TALL)
        for spread in SPREADS
    ]
    bits = [
        point(f"OU of {rows} rows", count, chip_of(rows, count), cells(0.05), how)
        for rows in (LOW, 36)
        for count in BITS
    ]
    return {"height": heights, "spread": spreads, "bits": bits}


def remedies(how: argparse.Namespace) -> list[Point]:
    """Faults with and without what mends them."""
    chip = chip_of(LOW)
    stuck = Cells(stuck_on=0.01, stuck_off=0.02)
    found = [
        point(
            "stuck cells, spare columns", spare, chip, Noise(cells=stuck, remedies=Remedies(spare_columns=spare)), how
        )
        for spare in (0, 8, 32)
    ]
    off = Converters(offset=0.4, gain=0.05)
    for trimmed in (False, True):
        noise = Noise(adc=off, remedies=Remedies(calibration=trimmed))
        found.append(point("converters off, calibration", float(trimmed), chip, noise, how))
    return found


TITLES = {
    "height": ("Accuracy against OU height, lossless ADC, spread 0.1", "rows of an OU"),
    "spread": ("Accuracy against spread, lossless ADC", "sigma of a cell"),
    "bits": ("Accuracy against ADC bits, spread 0.05", "bits"),
}


def plots(found: dict[str, list[Point]]) -> list[Plot]:
    """The pictures."""
    drawn = []
    for name, points in found.items():
        series: dict[str, list[tuple[float | str, float]]] = {}
        ranges: dict[str, list[tuple[float, float]]] = {}
        for own in points:
            series.setdefault(own.curve, []).append((own.x, own.mean))
            ranges.setdefault(own.curve, []).append((own.low, own.high))
        title, x = TITLES[name]
        drawn.append(Plot(f"accuracy_{name}", title, x, "% right", series, ranges=ranges))
    return drawn


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy_curves", description=__doc__)
    parser.add_argument("--runs", type=positive, default=10)
    parser.add_argument("--images", type=positive, default=200)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--out", type=Path, help="folder of plots")
    how = parser.parse_args(argv)
    with threadpool_limits(1):
        found, mended = curves(how), remedies(how)
    by = {(own.curve, own.x): own.mean for points in found.values() for own in points}
    one = f"offsets of {SHARES[1]:.1%} of the range"
    spared = {own.x: own.mean for own in mended if own.curve.startswith("stuck")}
    trimmed = {own.x: own.mean for own in mended if own.curve.startswith("converters")}
    targets = [
        Figure(
            "offsets of 1 %: points that an OU of 9 rows is above one of 128", by[one, LOW] - by[one, TALL], ">=", 0
        ),
        Figure("stuck cells: points that 32 spare columns gain", spared[32] - spared[0], ">=", 0),
        Figure("converters off: points that calibration gains", trimmed[1] - trimmed[0], ">=", 0),
    ]
    rows = [(name, own.curve, own.x, own.mean, own.low, own.high) for name, points in found.items() for own in points]
    rows += [("remedies", own.curve, own.x, own.mean, own.low, own.high) for own in mended]
    table("Accuracy, %", ("picture", "curve", "x", "mean", "from", "to"), rows)
    figures("Why OUs", targets)
    if how.out:
        with alone_in(how.out):
            write_plots(plots(found), how.out)
    points: list[dict[str, Any]] = [
        dict(zip(("picture", "curve", "x", "mean", "low", "high"), row, strict=True)) for row in rows
    ]
    emit({"benchmark": "accuracy_curves", "points": points, "targets": [own.as_dict() for own in targets]})
    return 0 if all(own.met for own in targets) else 1


if __name__ == "__main__":
    leave(main)
