"""Commands killed at random moments: is the next run right, and is nothing left of the killed one?

Each command runs in a process group of its own, forked from this process, in which all modules are loaded, so that no
moment falls on their loading. In the folder lies what another run of the command, for another model, has left: its
output and what it compiled. The group is killed (SIGKILL) at a moment of the time that a run takes, and the command is
run again: it must end with 0, its output must have the bytes of an undisturbed run, and folder and temporary folder
must hold the names that they hold after that, and no others. Exits with 1 when one does not.
"""

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import selvage.frontend.quantize.quantize  # noqa: F401  which the command would load
from bench.report import Figure, console, emit, figures, positive
from selvage.base.build import VARIABLE
from selvage.commands import cli
from selvage.commands.exits import leave

COUNT = 200
COMMANDS = ("sim", "verilog", "compile", "quantize")
MODELS = ("first", "second")
TRIES = 20  # for a moment before the end of a run


@dataclass(frozen=True)
class Command:
    """Words after ``selvage``, where {} stands for the model; all that it writes lies in ``out`` or in ``build``."""

    name: str
    words: str

    def of(self, model: str) -> list[str]:
        return [self.name, *self.words.format(model).split()]


CASES = (
    Command("sim", "../{}.toml --chip tiny --mapping dense --output out/y.npy"),
    Command("sim", "../{}_q.onnx --chip tiny --mapping dense --output out/y.npy"),
    Command("verilog", "../{}_q.onnx --chip tiny --mapping dense --out out"),
    Command("compile", "../{}_q.onnx --chip tiny --mapping dense --out out"),
    Command("quantize", "../{}.onnx --calibration ../images.npy --out out/q.onnx --json out/report.json"),
)


@dataclass
class Found:
    """Of one command."""

    kills: int = 0
    seconds: list[float] = field(default_factory=list)  # of whole runs
    moments: list[float] = field(default_factory=list)  # of the kills, in seconds
    wrong: list[str] = field(default_factory=list)


def write_models(where: Path) -> None:
    """Layers, float networks and networks of eight bits, two of each, and images."""
    rng = np.random.default_rng(1)
    np.save(where / "images.npy", rng.normal(0, 1, (4, 1, 3, 3)).astype(np.float32))
    for outputs, name in enumerate(MODELS, 1):
        np.savez(where / f"{name}.npz", w=rng.integers(-9, 10, (outputs, 1, 2, 2)))
        text = f'op = "conv"\nchannels = 1\noutputs = {outputs}\nheight = 3\nwidth = 2\nkernel = [2, 2]\n'
        (where / f"{name}.toml").write_text(f'{text}weights = "{name}.npz"\ndtype = "uint8"\n')
        weights = {
            "v": rng.normal(0, 1, (outputs, 1, 2, 2)).astype(np.float32),
            "w": rng.normal(0, 1, (1, outputs, 1, 1)).astype(np.float32),
        }
        nodes = [helper.make_node("Conv", ["x", "v"], ["a"]), helper.make_node("Conv", ["a", "w"], ["y"])]
        sides = {"x": [None, 1, 3, 3], "y": [None, 1, 2, 2]}
        infos = [[helper.make_tensor_value_info(key, TensorProto.FLOAT, sides[key])] for key in ("x", "y")]
        graph = helper.make_graph(nodes, name, *infos, [numpy_helper.from_array(v, k) for k, v in weights.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, where / f"{name}.onnx")
        words = ["quantize", f"{name}.onnx", "--calibration", "images.npy", "--out", f"{name}_q.onnx"]
        code, said, _ = run(words, where, where / "tmp")
        assert code == 0, said


def start(words: Sequence[str], folder: Path, temporary: Path) -> int:
    """Begin a command in ``folder``; returns its process, which leads a group. What it says goes to ``said.txt`` beside
    the folder."""
    temporary.mkdir(exist_ok=True)
    if pid := os.fork():
        with contextlib.suppress(OSError):  # the child was first
            os.setpgid(pid, pid)
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        said = os.open(_said(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.environ["TMPDIR"], tempfile.tempdir = str(temporary), None
        os.environ.pop(VARIABLE, None)
        sys.argv = ["selvage", *words]
        leave(cli.command)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _said(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}_said.txt")


def run(words: Sequence[str], folder: Path, temporary: Path) -> tuple[int, str, float]:
    """Exit status, last words and seconds of a whole run."""
    started = time.monotonic()
    _, status = os.waitpid(start(words, folder, temporary), 0)
    said = " ".join(_said(folder).read_text(errors="replace").split())[-300:]
    return os.waitstatus_to_exitcode(status), said, time.monotonic() - started


def kill(words: Sequence[str], folder: Path, temporary: Path, moment: float) -> bool:
    """Run a command for ``moment`` seconds and kill its group; whether it had not ended by then."""
    pid = start(words, folder, temporary)
    time.sleep(moment)
    ended, _ = os.waitpid(pid, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if not ended:
        os.waitpid(pid, 0)
    while any(_running(pid)):
        time.sleep(0.01)
    return not ended


def _running(group: int) -> Iterator[int]:
    """Processes of a group that are no zombies."""
    for own in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = own.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state not in "ZX":
                yield int(own.parent.name)


def content(folder: Path) -> dict[str, bytes | None]:
    """All files and folders below a folder by path, with the bytes of the files in ``out``."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = path.read_bytes() if path.is_file() and name.startswith("out/") else None
    return found


def differences(expected: dict[str, bytes | None], found: dict[str, bytes | None], left: Sequence[str]) -> list[str]:
    """Each in a few words: files that are missing, too many, or other ones."""
    told = [f"{name} is missing" for name in expected.keys() - found.keys()]
    told += [f"{name} is left" for name in [*(found.keys() - expected.keys()), *left]]
    return sorted(
        told + [f"{name} has other bytes" for name in expected.keys() & found.keys() if expected[name] != found[name]]
    )


class Trial:
    """One command, its two undisturbed runs, and a folder in which it is killed."""

    def __init__(self, command: Command, where: Path) -> None:
        self.command, self.where = command, where
        self.folder, self.temporary = where / "run", where / "tmp"
        self.found = Found()
        for model in MODELS:
            self._prepare(None)
            self._whole(model)
            shutil.copytree(self.folder, where / model, symlinks=True)
        self.expected = {}
        for model, other in zip(MODELS, reversed(MODELS), strict=True):
            self._prepare(other)
            self._whole(model)
            self.expected[model] = content(self.folder)

    def _prepare(self, model: str | None) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if model:
            shutil.copytree(self.where / model, self.folder, symlinks=True)
        else:
            (self.folder / "out").mkdir(parents=True)

    def _whole(self, model: str) -> None:
        code, said, seconds = run(self.command.of(model), self.folder, self.temporary)
        if code:
            raise RuntimeError(f"an undisturbed {self.command.name} ends with {code}: {said}")
        self.found.seconds.append(seconds)

    def kill(self, number: int, draw: Callable[[], float]) -> None:
        """One kill, at a share of the time of a run that is drawn, and what the next run brings."""
        model, other = MODELS[number % 2], MODELS[1 - number % 2]
        for _ in range(TRIES):
            self._prepare(other)
            moment = draw() * statistics.median(self.found.seconds[-9:])
            if kill(self.command.of(model), self.folder, self.temporary, moment):
                break
        else:
            raise RuntimeError(f"{self.command.name} ended before {TRIES} moments at which it was to be killed")
        self.found.kills += 1
        self.found.moments.append(moment)
        code, said, seconds = run(self.command.of(model), self.folder, self.temporary)
        left = [path.relative_to(self.temporary).as_posix() for path in self.temporary.rglob("*")]
        told = [f"exit {code}: {said}"] if code else []
        told += differences(self.expected[model], content(self.folder), left)
        self.found.seconds.append(seconds)
        for own in self.temporary.iterdir():
            shutil.rmtree(own) if own.is_dir() else own.unlink()
        if told:
            self.found.wrong.append(f"{self.command.name} killed after {moment:.3f} s: {'; '.join(told[:5])}")
            console.print(self.found.wrong[-1], markup=False)


def summary(commands: Sequence[str], count: int, seed: int) -> dict[str, Any]:
    """All kills: what is printed as JSON."""
    rng = np.random.default_rng(seed)
    cases = [case for case in CASES if case.name in commands]
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="kills_") as name:
        where = Path(name).resolve() / "models"
        where.mkdir()
        write_models(where)
        for index, case in enumerate(cases):
            (where / f"case_{index}").mkdir()
            for file in [path for path in where.iterdir() if path.is_file()]:
                shutil.copyfile(file, where / f"case_{index}" / file.name)
            trials.append(Trial(case, where / f"case_{index}"))
        for number in range(count):
            trials[number % len(trials)].kill(number // len(trials), rng.random)
            if number % 10 == 9:
                console.print(f"{number + 1} kills, {sum(len(own.found.wrong) for own in trials)} wrong")
    lines = [
        {
            "command": f"{own.command.name} {own.command.words}",
            "kills": own.found.kills,
            "moments": [round(moment, 3) for moment in own.found.moments],
            "seconds": round(statistics.median(own.found.seconds), 3),
            "wrong": own.found.wrong,
        }
        for own in trials
    ]
    found = [
        Figure("next runs that are not right", sum(len(line["wrong"]) for line in lines), "==", 0),
        Figure("kills", sum(line["kills"] for line in lines), ">=", COUNT),
    ]
    figures("Killed runs", found)
    return {"benchmark": "kills", "seed": seed, "commands": lines, "targets": [own.as_dict() for own in found]}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.kills", description=__doc__)
    parser.add_argument("--count", type=positive, default=COUNT, help="kills, of all commands")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    a = parser.parse_args(argv)
    found = summary(a.command, a.count, a.seed)
    emit(found)
    return 1 if any(line["wrong"] for line in found["commands"]) else 0


if __name__ == "__main__":
    sys.exit(main())
