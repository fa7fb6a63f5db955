"""All tiles of the six layers of RED at their published size through RTL: every output against golden.

Each tile is simulated in plain Verilog by Verilator, no Python in the loop: RED, and with the zeros inserted. Its
cycles and reads are compared with the cycle model, the sum of all tiles with golden. FCN_Deconv2 has 568 rows of
outputs; with the zeros inserted those of the first and the last input lines are run: all phases, all four borders.
``make sim-full``, or ``python -m bench.full``. Exits with 1 on any difference; a missed time is told and is no failure.
"""

import argparse
import os
import resource
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NoReturn

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.full_parts import Outcome, Outputs, Part, judge, kinds, simulate, truths
from bench.layers import READS
from bench.report import Figure, console, emit, figures, positive, table
from examples.red_layers import RED_LAYERS
from selvage.base.build import build_folder
from selvage.base.errors import InputError
from selvage.base.processes import end_with_parent
from selvage.commands.exits import leave
from selvage.rtlsim.installed import check_simulator

BUILD = build_folder("full")
CHIPS = ("ou9x8", "isaac")
SCHEDULES = ("red", "zero-padding")
SAMPLED = {("FCN_Deconv2", "zero-padding"): ((0, 4), (66, 70))}  # input lines
MINUTES = 30  # for all of it, on two cores
HEADS = ("layer", "schedule", "part", "steps", "tiles", "kinds", "cycles", "slowest", "reads")
HEADS_LATE = ("outputs", "compile_seconds", "run_seconds", "exact")


def parts(names: Sequence[str], schedules: Sequence[str], chip: str) -> list[Part]:
    """What is to be run."""
    return [
        Part(RED_LAYERS[name], chip, schedule, lines)
        for name in names
        for schedule in schedules
        for lines in SAMPLED.get((name, schedule), (None,))
    ]


def run(todo: Sequence[Part], jobs: int, simulator: str, build: Path = BUILD) -> list[dict[str, Any]]:
    """All parts, kind of tile by kind of tile, ``jobs`` at a time; their lines in the order of ``todo``."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        ProcessPoolExecutor(jobs, initializer=end_with_parent) as pool,
        Progress(*columns, console=console) as progress,
    ):
        try:
            # The longest first, so that no core is left alone with it at the end.
            order = sorted(todo, key=lambda part: -_weight(part))
            split = dict(zip(order, pool.map(kinds, order), strict=True))
            bar = progress.add_task("tiles", total=sum(len(own) for found in split.values() for own in found))
            judged: dict[Part, Future] = {}
            for part, tiles, ended in _simulated(pool, split, simulator, build):
                progress.advance(bar, tiles)
                if ended:
                    judged[part] = pool.submit(_judge, part, *ended)
                    judged[part].add_done_callback(_tell)
            return [judged[part].result() for part in todo]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _simulated(
    pool: ProcessPoolExecutor, split: dict[Part, list[tuple[int, ...]]], simulator: str, build: Path
) -> Iterator[tuple[Part, int, tuple[Outputs, list[Outcome]] | None]]:
    """Each kind of tile that ends: its part, its tiles; of a part's last also all outputs added and all outcomes."""
    runs = {pool.submit(simulate, part, own, simulator, build): part for part, found in split.items() for own in found}
    sums: dict[Part, Outputs] = {}
    outcomes: dict[Part, list[Outcome]] = {part: [] for part in split}
    for finished in as_completed(runs):
        part = runs.pop(finished)  # a layer's outputs are large: they are kept once
        y, outcome = finished.result()
        sums[part] = sums[part] + y if part in sums else y
        outcomes[part].append(outcome)
        whole = len(outcomes[part]) == len(split[part])
        yield part, outcome.tiles, (sums.pop(part), outcomes[part]) if whole else None


def _tell(found: Future) -> None:
    """A verdict as soon as it is there: what stays of a run that is stopped."""
    if not found.cancelled() and found.exception() is None:
        console.print(told(found.result()), markup=False, highlight=False)


def told(line: dict[str, Any]) -> str:
    """A part's verdict in a line."""
    verdict = "exact" if line["exact"] and not line["differences"] else "DIFFERENT"
    where = f"{line['layer']} {line['schedule']}, {line['part']}"
    return f"{where}: {verdict}, {line['tiles']} tiles, {line['outputs']:,} outputs, {line['reads']:,} reads"


def _judge(part: Part, y: Outputs, outcomes: list[Outcome]) -> dict[str, Any]:
    return judge(part, y, outcomes, *truths(part))


def _weight(part: Part) -> int:
    """About how long a part takes."""
    layer = part.layer
    return READS[layer.name].red * layer.channels * layer.outputs * layer.kernel[0] * layer.kernel[1]


def summary(names: Sequence[str], schedules: Sequence[str], chip: str, jobs: int, simulator: str) -> dict[str, Any]:
    """Everything run: what is printed as JSON."""
    started, before = time.monotonic(), _cpu()
    lines = run(parts(names, schedules, chip), jobs, simulator)
    minutes = (time.monotonic() - started) / 60
    for line in lines:
        for text in filter(None, [line["first"], *line["differences"]]):
            console.print(f"{line['layer']} {line['schedule']} {line['part']}: {text}", markup=False)
    heads = (*HEADS, *HEADS_LATE)
    model = [not line["differences"] for line in lines]
    rows = [[*(line[head] for head in heads), same] for line, same in zip(lines, model, strict=True)]
    table(f"Whole layers on {chip}, {simulator}, {jobs} processes", (*heads, "model"), rows)
    console.print(
        "cycles: of all tiles, one after the other; model: cycles, reads and words of every tile are predicted"
    )
    found = [
        Figure("outputs that differ from golden", sum(line["wrong"] for line in lines), "==", 0),
        Figure("parts that are not exact", sum(not line["exact"] for line in lines), "==", 0),
        Figure("counts that differ from the cycle model", sum(len(line["differences"]) for line in lines), "==", 0),
    ]
    if len(names) == len(RED_LAYERS) and len(schedules) == len(SCHEDULES):
        found.append(Figure("minutes", round(minutes, 2), "<=", MINUTES))
    figures("Whole layers", found)
    return {
        "benchmark": "full",
        "simulator": simulator,
        "jobs": jobs,
        "minutes": round(minutes, 2),
        "cpu_minutes": round(
            (_cpu() - before) / 60, 2
        ),  # of all processes: over ``jobs`` on a machine with no other work
        "parts": lines,
        "targets": [own.as_dict() for own in found],
    }


def _cpu() -> float:
    """Processor seconds of all processes that ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Arguments(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Arguments(prog="python -m bench.full", description=__doc__)
    parser.add_argument("--layers", nargs="+", choices=tuple(RED_LAYERS), default=list(RED_LAYERS), metavar="LAYER")
    parser.add_argument("--schedule", choices=SCHEDULES, help="this one alone")
    parser.add_argument("--chip", choices=CHIPS, default=CHIPS[0])
    parser.add_argument("--jobs", type=positive, default=os.cpu_count(), help="processes")
    parser.add_argument("--simulator", choices=("icarus", "verilator"), default="verilator")
    found = parser.parse_args(argv)
    check_simulator(found.simulator)
    if found.simulator == "verilator" and shutil.which("g++") is None:
        raise InputError("Verilator needs a C++ compiler: install the package g++ (apt-get install g++)")
    return found


def main(argv: list[str] | None = None) -> int:
    a = arguments(argv)
    names = list(dict.fromkeys(a.layers))
    content = summary(names, [a.schedule] if a.schedule else SCHEDULES, a.chip, a.jobs, a.simulator)
    emit(content)
    return 0 if all(line["exact"] and not line["differences"] for line in content["parts"]) else 1


if __name__ == "__main__":
    leave(main)
