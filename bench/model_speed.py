"""`selvage model` of large quantised networks: seconds of one core, memory, cycles.

The files are those of `bench.large_networks`, ONNX, 224 x 224. Each is a fresh process of the command, interpreter and
imports included, tied to one core; it draws one image. Seconds are those of the core, user and system.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from bench.command import run_command
from bench.large_networks import write
from bench.report import Figure, console, emit, figures, table

BUILD = Path("build") / "model_speed"
SECONDS = {"resnet50": 15, "densenet121": 40}
MEGABYTES = {"resnet50": 600}


def measure(name: str, chip: str, build: Path = BUILD) -> dict[str, Any]:
    """One run of the command on one core. `RuntimeError` when it fails: its last words."""
    path = write(name, build)
    report = build / f"{name}.json"
    words = ["model", str(path), "--chip", chip, "--json", str(report)]
    pinned = [taskset, "-c", str(min(os.sched_getaffinity(0)))] if (taskset := shutil.which("taskset")) else []
    one_core = {key: "1" for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    used = run_command(words, build / f"{name}.txt", before=pinned, environment=one_core)
    content = json.loads(report.read_text())
    return {
        "network": name,
        "chip": chip,
        "nodes": len(content["nodes"]),
        "seconds": round(used.seconds, 2),
        "wall_seconds": round(used.wall_seconds, 2),
        "megabytes": round(used.megabytes, 1),
        "cycles": content["cycles"],
        "reads": content["reads"],
    }


def summary(names: list[str] | None = None, chip: str = "ou9x8") -> dict[str, Any]:
    """Everything measured: what is printed as JSON."""
    runs = [measure(name, chip) for name in names or SECONDS]
    columns = ("network", "chip", "nodes", "seconds", "wall_seconds", "megabytes", "cycles", "reads")
    table("selvage model of ONNX files", columns, [[own[name] for name in columns] for own in runs])
    found = [Figure(f"{o['network']}: seconds of one core", o["seconds"], "<=", SECONDS[o["network"]]) for o in runs]
    found += [
        Figure(f"{own['network']}: megabytes", own["megabytes"], "<=", MEGABYTES[own["network"]])
        for own in runs
        if own["network"] in MEGABYTES
    ]
    figures("Speed of the cycle model", found)
    return {"benchmark": "model_speed", "runs": runs, "targets": [own.as_dict() for own in found]}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.model_speed", description=__doc__)
    parser.add_argument("--network", choices=tuple(SECONDS), action="append", help="these alone")
    parser.add_argument("--chip", default="ou9x8", help="a ready chip, or a TOML file")
    a = parser.parse_args(argv)
    try:
        content = summary(a.network, a.chip)
    except RuntimeError as error:
        console.print(str(error), markup=False)
        return 2
    emit(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
