"""All benchmarks: one JSON object of every figure beside its target, and a table of them on stderr.

``python -m bench [--quick]`` also writes ``build/bench.json``. Speeds depend on the machine: they are
reported beside their targets, and only the exact figures decide the exit status.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from bench import (
    networks,
    plain_speed,
    random_draws,
    red_layers,
    requantize,
    sme,
    sparse,
    speed,
    trained,
)
from bench.report import Figure, emit, figures
from examples.red_layers import RED_LAYERS
from selvage.commands.exits import leave

RESULT = Path("build") / "bench.json"
DRAWS = 320


def draws(count: int, jobs: int) -> dict[str, Any]:
    """Random draws under Icarus."""
    options = random_draws.Options(seed=1, simulator="icarus", stalls=False)
    return random_draws.summary(random_draws.run(range(count), options, jobs), options)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small layers")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    a = parser.parse_args(argv)
    names, chips = list(RED_LAYERS), list(red_layers.CHIPS)
    results = [
        red_layers.summary(names, chips, [1, 2], quick=a.quick, simulator="auto", jobs=a.jobs),
        draws(a.draws, a.jobs),
        sme.summary(),
        sparse.summary(),
        networks.summary(),
        requantize.summary(),
        *([] if a.quick else [trained.summary(), trained.one_digit()]),
        speed.summary(speed.available()),
        plain_speed.summary(speed.available()),
    ]
    content = {
        "quick": a.quick,
        "figures": [{"benchmark": own["benchmark"], **figure} for own in results for figure in own["targets"]],
        "results": results,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(content, indent=2) + "\n")
    keys = ("name", "value", "relation", "target")
    figures("All figures", [Figure(*(figure[key] for key in keys)) for figure in content["figures"]])
    emit(content)
    exact = [f["met"] for f in content["figures"] if not any(word in f["name"] for word in ("a second", "seconds of"))]
    return 0 if all(exact) else 1


if __name__ == "__main__":
    leave(main)
