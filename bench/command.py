"""A command of selvage in a process of its own, and what it used."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

COMMAND = "import sys; from selvage.commands.start import main; main()"


@dataclass(frozen=True)
class Used:
    """What a run used, interpreter and imports included."""

    seconds: float  # of processor time
    wall_seconds: float
    megabytes: float


def run_command(
    words: Sequence[str], log: Path, *, before: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Used:
    """Run ``selvage WORDS``, started by the command ``before``; what it says goes to ``log``.

    RuntimeError when it fails: its last words.
    """
    started = time.perf_counter()
    with log.open("w") as file:
        child = subprocess.Popen(
            [*before, sys.executable, "-c", COMMAND, *words],
            stdout=file,
            stderr=file,
            env=os.environ | (environment or {}),
        )
        _, status, used = os.wait4(child.pid, 0)
    if status:
        raise RuntimeError(log.read_text()[-500:])
    return Used(used.ru_utime + used.ru_stime, time.perf_counter() - started, used.ru_maxrss / 1024)
