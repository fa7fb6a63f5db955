"""A few hundred mutated files: each is accepted, or refused in a sentence."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from bench import fuzz
from bench.fuzz_files import FORMATS, mutate
from selvage.base.errors import InputError

SEED, FILES = 12, 60


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_mutated_files_end_in_a_sentence(kind: str) -> None:
    found = fuzz.summary(fuzz.run_cases(kind, SEED, range(FILES)))
    assert found["errors"] == {}
    assert found["files"] == FILES == found["accepted"] + found["refused"]
    assert found["accepted"] and found["refused"] > FILES // 4
    assert found["peak_mb"] < fuzz.MEGABYTES


def test_a_case_is_its_seed_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it is drawn."""
    for kind in FORMATS:
        drawn = []
        for seconds in (1.0e9, 1.5e9):
            monkeypatch.setattr(time, "time", lambda seconds=seconds: seconds)
            drawn.append(mutate(kind, np.random.default_rng([SEED, 3])))
        first, second = drawn
        other = mutate(kind, np.random.default_rng([SEED, 4]))
        assert first == second != other


def _raise(_: Path) -> None:
    raise KeyError("[/a]")


def _refuse(_: Path) -> None:
    raise InputError("no")


def _die(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _take(_: Path) -> None:
    np.ones(2**27)


@pytest.mark.parametrize(
    ("use", "endings", "error"),
    [
        (_raise, ["traceback"] * 3, "KeyError: '[/a]' (_raise; test_fuzz.py"),
        (_die, ["traceback"] * 3, "the process died of signal 9"),
        (_refuse, ["refused"] * 3, ""),
        (lambda _: None, ["accepted"] * 3, ""),
    ],
)
def test_what_the_fuzzer_tells(use: object, endings: list[str], error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fuzz.USES, "npy", use)
    found = fuzz.run_cases("npy", SEED, range(3))
    assert [case.ending for case in found] == endings and [case.number for case in found] == [0, 1, 2]
    assert all(case.error.startswith(error) for case in found)


def test_the_fuzzer_sees_what_memory_a_case_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fuzz.USES, "npy", _take)
    (case,) = fuzz.run_cases("npy", SEED, range(1))
    assert case.megabytes > 2**27 * 8 / 1e6
