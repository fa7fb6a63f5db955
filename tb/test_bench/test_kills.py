"""Runs that are killed, a few of the many of `bench.kills`, and that it would see what goes wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.kills import differences

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("command", "count"), [("quantize", 2), ("compile", 1)])
def test_the_run_after_a_killed_one_is_right(command: str, count: int, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-m", "bench.kills", "--count", str(count), "--seed", "3", "--command", command]
    run = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (line,) = json.loads(run.stdout)["commands"]
    assert line["kills"] == count and not line["wrong"]
    # onnxruntime leaves a file of its own, always the same.
    assert {path.name for path in tmp_path.iterdir()} <= {".ses"}


def test_what_is_wrong_is_seen() -> None:
    right = {"out": None, "out/y.npy": b"y", "build": None}
    assert differences(right, dict(right), []) == []
    assert differences(right, right | {"out/y.npy": b"z"}, []) == ["out/y.npy has other bytes"]
    assert differences(right, {"out": None, "build": None}, []) == ["out/y.npy is missing"]
    assert differences(right, right | {"build/work": None}, ["t"]) == ["build/work is left", "t is left"]
