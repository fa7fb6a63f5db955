"""Every network of the gallery through RTL: codes against the golden model, cycles, and how far onnxruntime is.

``python -m bench.gallery [NAME ...] [--jobs N]`` prints JSON; with ``--count`` by the models alone, with ``--markdown``
the table of ``docs/gallery.md`` too. The networks are ``examples/gallery/quantised/``, made by
``examples/gallery/build.py`` and ``selvage quantize``. ``--full FOLDER``: the time of ``selvage model`` on the networks
there, such as those of full size.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import selvage
from bench.command import run_command
from bench.report import Figure, emit, figures
from selvage.base.chip import load_chip
from selvage.commands.exits import leave
from selvage.compiler.doctor import examine
from selvage.frontend.onnx.graph import Imported, load_graph
from selvage.golden.graph import run
from selvage.rtlsim.installed import check_simulator

FOLDER = Path(__file__).parents[1] / "examples" / "gallery" / "quantised"
SECONDS = 20  # of `selvage model` on a network of full size
COMPARED = 8  # images against onnxruntime


def drawn(imported: Imported, images: int) -> dict[str, NDArray]:
    """Images like those of the calibration: noise of several strengths, between -1 and 1."""
    random, found = np.random.default_rng(7), {}
    for name, (_, shape) in imported.inputs.items():
        strength = random.uniform(0.3, 2, (images, *(1,) * (len(shape) - 1)))
        found[name] = np.tanh(random.standard_normal((images, *shape[1:])) * strength).astype(np.float32)
    return found


def compared(path: Path) -> dict[str, Any]:
    """How far the golden network and the host are from onnxruntime: at its default level, and as the model is written.

    Shares of the outputs that are equal, and the SQNR at the default level.
    """
    imported = load_graph(str(path))
    feeds = drawn(imported, COMPARED)
    ours = imported.leave(run(imported.graph, imported.enter(feeds), late=imported.add_hosted))
    levels = {"equal": "ORT_ENABLE_ALL", "equal_as_written": "ORT_DISABLE_ALL"}
    theirs = {name: by_onnxruntime(path, feeds, level) for name, level in levels.items()}
    flat = np.concatenate([ours[name].reshape(-1) for name in theirs["equal"]])
    found = {name: np.concatenate([own.reshape(-1) for own in values.values()]) for name, values in theirs.items()}
    noise, signal = float(((flat - found["equal"]) ** 2).sum()), float((found["equal"] ** 2).sum())
    shares = {name: float(np.isclose(flat, own, rtol=1e-4, atol=1e-5).mean()) for name, own in found.items()}
    return shares | {"sqnr_db": None if not noise else 10 * float(np.log10(signal / noise))}


def by_onnxruntime(path: Path, feeds: dict[str, NDArray], level: str) -> dict[str, NDArray]:
    """The model's outputs image by image."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    names = [info.name for info in session.get_outputs()]
    made = [session.run(names, {name: own[k : k + 1] for name, own in feeds.items()}) for k in range(COMPARED)]
    return {name: np.stack(own) for name, own in zip(names, zip(*made, strict=True), strict=True)}


def one(name: str, *, count: bool) -> dict[str, Any]:
    """One network: in a process of its own where RTL runs, for that takes both memory and time."""
    path = FOLDER / f"{name}.onnx"
    found: dict[str, Any] = {"name": name, **compared(path)}
    found["nodes"] = examine(str(path), load_chip("ou9x8")).counts
    started = time.perf_counter()
    compiled = selvage.compile(path, "ou9x8", simulator="verilator")
    counted = compiled.count()
    found |= {"crossbars": counted["crossbars"], "cuts": sum("is cut here" in own["why"] for own in counted["host"])}
    found["model_seconds"] = time.perf_counter() - started
    if count:
        return found
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "report.json"
        words = ["sim", str(path), "--pipeline", "--simulator", "verilator", "--json", str(log), "--build", folder]
        done = subprocess.run([sys.executable, "-m", "selvage", *words], capture_output=True, text=True, check=False)
        if not log.exists():
            return found | {"match": False, "fault": done.stderr.strip()[-300:]}
        report = json.loads(log.read_text())
    flow = report["pipeline"]
    return found | {
        "match": report["match"],
        "fault": report["fault"],
        "cycles": flow["latency"],
        "cycles_model": flow["latency_model"],
    }


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gallery", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--count", action="store_true", help="without RTL")
    parser.add_argument("--markdown", action="store_true", help="a table on the standard error")
    parser.add_argument("--full", type=Path, help="a folder of networks that are counted by a process each")
    return parser.parse_args(words)


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """The table of the page."""
    rows = [
        "| network | crossbars | layers | in gateware | latency, cycles | RTL | onnxruntime |",
        "|---|---|---|---|---|---|---|",
    ]
    for own in found:
        nodes = own["nodes"]
        whole = "" if not own["cuts"] else f", the host {own['cuts']} times between"
        verdict = f"exact{whole}" if own.get("match") else "-" if "match" not in own else "differs"
        cycles = f"{own['cycles']:,}" if own.get("match") else "-"
        equal = max(own["equal"], own["equal_as_written"])
        counts = (own["crossbars"], nodes.get("crossbars", 0), nodes.get("gateware", 0))
        rows.append(f"| `{own['name']}` | {' | '.join(map(str, counts))} | {cycles} | {verdict} | {equal:.2%} |")
    return "\n".join(rows)


def timed(folder: Path) -> int:
    """Processor time of `selvage model` on every network of a folder."""
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for path in sorted(folder.glob("*.onnx")):
            used = run_command(["--limits", "8", "model", str(path)], Path(temporary) / "log.txt")
            found[path.stem] = {"seconds": used.seconds, "wall_seconds": used.wall_seconds, "megabytes": used.megabytes}
    slow = [name for name, own in found.items() if own["seconds"] > SECONDS]
    targets = [Figure(f"networks beyond {SECONDS} seconds", len(slow), "==", 0)]
    figures("Full size", targets)
    emit({"benchmark": "gallery full", "networks": found, "targets": [own.as_dict() for own in targets]})
    return 0 if not slow else 1


def main(words: Sequence[str] = ()) -> int:
    asked = parsed(words)
    if asked.full:
        return timed(asked.full)
    if not asked.count:
        check_simulator("verilator")
    names = asked.names or sorted(path.stem for path in FOLDER.glob("*.onnx"))
    with ThreadPoolExecutor(asked.jobs) as pool:
        found = list(pool.map(lambda name: one(name, count=asked.count), names))
    targets = []
    if not asked.count:
        whole = [own for own in found if own["match"] and not own["cuts"]]
        targets = [
            Figure("networks whole through RTL, codes exact", len(whole), ">=", min(22, len(names))),
            Figure(
                "networks in RTL that match, host parts between layers",
                sum(o["match"] for o in found),
                "==",
                len(found),
            ),
            Figure(
                "networks whose cycles are the model's",
                sum(own["match"] and own["cycles"] == own["cycles_model"] for own in found),
                "==",
                len(found),
            ),
        ]
    figures("Gallery", targets)
    if asked.markdown:
        sys.stderr.write(f"{markdown(found)}\n")
    emit({"benchmark": "gallery", "networks": found, "targets": [own.as_dict() for own in targets]})
    return 0 if all(own.met for own in targets) else 1


if __name__ == "__main__":
    leave(lambda: main(sys.argv[1:]))
