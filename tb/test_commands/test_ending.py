"""How a command ends, what it prints where, and that the user's text is nothing but text."""

import io
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

from selvage import __version__
from selvage.base.errors import InputError, SimulationError
from selvage.base.text import visible
from selvage.commands import start
from selvage.commands.exits import ending, leave
from selvage.commands.results import check_outputs_apart
from selvage.commands.streams import json_alone, progress, show, warn
from selvage.commands.tables import table_of
from tb.models.command_files import CHIP, SMALL
from tb.models.onnx_models import numbers, onnx_model

Called = Callable[..., tuple[int, str, str]]
HOSTILE = "[/a][red]\x1b[2J\x1b]0;title\x07\x9b1m\u202e\r\n\u2028end"
SHOWN = r"[/a][red]\x1b[2J\x1b]0;title\x07\x9b1m\u202e\r\n\u2028end"


@pytest.fixture
def selvage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Called:
    """The command in this process: exit status, output, errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["selvage", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            start.main()
        out, errors = capsys.readouterr()
        return left.value.code or 0, out, errors

    return call


def process(*arguments: object, where: Path, **options: object) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "selvage", *map(str, arguments)]
    settings = {"cwd": where, "text": True, "check": False, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.run(command, **(settings | options))


# Exit statuses


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


ENDINGS = [
    (InputError("it is wrong"), 2, "it is wrong"),
    (InputError(f"it holds {HOSTILE}"), 2, f"it holds {SHOWN}"),
    (SimulationError("it failed"), 1, "it failed"),
    (KeyboardInterrupt(), 130, "stopped"),
    (caused(ImportError("numpy"), KeyboardInterrupt()), 130, "stopped"),
    (caused(SystemExit(1), BrokenPipeError(32, "Broken pipe")), 141, ""),
    (SystemExit(3), 3, ""),
    (
        OSError(28, "No space left on device", "a\nb"),
        2,
        r"a file cannot be read or written: a\nb: No space left on device",
    ),
    (MemoryError(), 70, "the memory of this machine does not suffice"),
    (
        KeyError("[/a]\n"),
        70,
        "a fault of selvage, not of its input: KeyError: '[/a]\\n' (SELVAGE_TRACEBACK=1 shows where)",
    ),
]


@pytest.mark.parametrize(("error", "status", "sentence"), ENDINGS)
def test_what_is_raised_becomes_a_status_and_a_sentence(
    error: BaseException, status: int, sentence: str, capsys: pytest.CaptureFixture
) -> None:
    def job() -> None:
        raise error

    assert ending(error) == (status, sentence)
    with pytest.raises(SystemExit) as left:
        leave(job)
    assert left.value.code == status
    assert tuple(capsys.readouterr()) == ("", f"selvage: {sentence}\n" if sentence else "")


def test_the_traceback_of_a_fault_is_there_to_be_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("SELVAGE_TRACEBACK", "1")
    with pytest.raises(SystemExit):
        leave(lambda: {}["missing"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("module", "says"), [("typer", "\nselvage: stopped\n"), ("numpy", "selvage: stopped\n")])
def test_ctrl_c_while_modules_are_imported(module: str, says: str, tmp_path: Path) -> None:
    """Before the words of the command line are read, and by the command."""
    interrupted = f"""
import importlib.abc, os, signal, sys
class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
sys.argv = ["selvage", "model", "none.toml"]
from selvage.commands.start import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", interrupted], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", says)


def test_a_full_disk(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("no /dev/full here")
    with full.open("w") as out:
        done = process("model", SMALL, "--chip", "tiny", where=tmp_path, stdout=out)
    assert done.returncode == 2
    assert done.stderr == "selvage: a file cannot be read or written: No space left on device\n"
    done = process("model", SMALL, "--chip", "tiny", "--json", full, where=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "selvage: output /dev/full cannot be written: No space left on device\n",
    )
    assert full.is_char_device()


def test_sim_where_files_cannot_be_written_whole(tmp_path: Path) -> None:
    def smallest() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = process("sim", SMALL, "--chip", "tiny", "--output", "y.npy", where=tmp_path, preexec_fn=smallest)
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.npy"))


def test_version_and_what_is_missing(selvage: Called) -> None:
    assert selvage("--version") == (0, f"selvage {__version__}\n", "")
    status, out, errors = selvage()
    assert status == 2 and not out and errors == "selvage: Missing command. (see selvage --help)\n"
    status, out, _ = selvage("sim", "--help")
    assert status == 0 and "--json" in out and out.isascii()
    status, _, errors = selvage("--limits", "0", "schema")
    assert status == 2 and "--limits" in errors


# What is printed, and where


def test_results_go_to_the_output_and_warnings_to_the_errors(selvage: Called, tmp_path: Path) -> None:
    (tmp_path / "chip.toml").write_text(CHIP.replace("adc_bits = 3", "adc_bits = 2"))
    status, out, errors = selvage("model", SMALL, "--chip", "chip.toml")
    assert status == 0 and "| small |" in out and out.isascii()
    assert errors == "warning: chip chip has adc_bits = 2, and its codes can clip: 3 bits are lossless\n"
    status, alone, told = selvage("model", SMALL, "--chip", "chip.toml", "--json", "-")
    assert json.loads(alone)["layers"][0]["name"] == "small"
    assert told == errors + out
    status, out, errors = selvage("model", SMALL, "--chip", "tiny", "--json", "report.json")
    assert status == 0 and "| small |" in out and not errors
    assert json.loads((tmp_path / "report.json").read_text())["layers"][0]["name"] == "small"


def test_an_output_may_be_a_device(selvage: Called) -> None:
    assert selvage("model", SMALL, "--chip", "tiny", "--json", "/dev/null")[0] == 0
    assert Path("/dev/null").is_char_device()


def test_names_are_no_markup_and_steer_no_terminal(selvage: Called, tmp_path: Path) -> None:
    quoted = json.dumps(HOSTILE)
    np.savez(tmp_path / "w.npz", w=numbers(4, 3))
    text = f'name = {quoted}\nop = "dense"\nchannels = 4\noutputs = 3\nweights = "w.npz"\ndtype = "uint8"\n'
    (tmp_path / "layer.toml").write_text(text)
    (tmp_path / "chip.toml").write_text(f"name = {quoted}\n" + CHIP.replace("adc_bits = 3", "adc_bits = 1"))
    status, out, errors = selvage("model", "layer.toml", "--chip", "chip.toml")
    assert status == 0 and SHOWN in out and f"warning: chip {SHOWN} has adc_bits = 1" in errors
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", out + errors)
    status, out, errors = selvage("model", "layer.toml", "--chip", "chip.toml", "--lossless")
    assert status == 2 and not out and errors.count("\n") == 1 and SHOWN in errors

    model = onnx_model("Conv", [1, 3, 6, 7], {"w": numbers(4, 3, 3, 2)}, name="[/a]\x1b[2J")
    onnx.save(model, tmp_path / "m.onnx")
    status, out, errors = selvage("model", "m.onnx", "--chip", "tiny")
    assert status == 0 and r"[/a]\x1b[2J" in out and "\x1b" not in out + errors
    status, out, errors = selvage("prune", "m.onnx", "--out", "[bold]/[/b].onnx", "--patterns", 2)
    assert status == 0 and r"[/a]\x1b[2J" in out and (tmp_path / "[bold]" / "[/b].onnx").exists()


def test_visible() -> None:
    assert visible("größe [bold] 層") == "größe [bold] 層"
    assert visible(HOSTILE) == SHOWN and visible("\udcff") == r"\udcff"


def test_figures_are_never_cut(capsys: pytest.CaptureFixture) -> None:
    heads = [f"a long head {k}" for k in range(12)]
    row = ["a name of some words", *(f"{10**k * 123_456:,}" for k in range(11))]
    table = table_of("title [/a]", heads, [row])
    show(table)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "a name of some words" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")] == row
    narrow = Console(file=io.StringIO(), width=60, force_terminal=True)
    narrow.print(table, crop=False)
    for figure in row[1:]:
        assert re.search(rf" {figure} ", narrow.file.getvalue())


def test_what_is_no_terminal_gets_no_bar(capsys: pytest.CaptureFixture) -> None:
    with progress() as bar:
        bar.advance(bar.add_task("[/a]\x1b[2J", total=2), 2)
    out, errors = capsys.readouterr()
    assert not out and errors.isascii() and errors.startswith(r"[/a]\x1b[2J 2/2 ") and "\x1b" not in errors


def test_results_move_where_json_is_alone(capsys: pytest.CaptureFixture) -> None:
    json_alone(True)
    try:
        show("a result")
        warn("a warning")
    finally:
        json_alone(False)
    assert tuple(capsys.readouterr()) == ("", "a result\nwarning: a warning\n")


def test_an_output_that_nobody_reads_any_more(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = process("model", SMALL, "--chip", "tiny", where=tmp_path, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    """A report in the place of the model, of what enters or of the chip: refused, and the file stays."""
    read = {what: tmp_path / what for what in ("MODEL", "--input", "--chip")}
    for path in read.values():
        path.write_bytes(b"as it was")
    for what, path in read.items():
        before = path.read_bytes()
        with pytest.raises(InputError, match=f"{what} and --json are both "):
            check_outputs_apart({"--json": path}, read)
        with pytest.raises(InputError, match=f"{what} and --output are both "):
            check_outputs_apart({"--output": tmp_path / "." / path.name, "--json": None}, read)
        assert path.read_bytes() == before
    with pytest.raises(InputError, match="--output and --json are both "):
        check_outputs_apart({"--output": tmp_path / "new", "--json": tmp_path / "new"}, read)
    check_outputs_apart({"--output": tmp_path / "new", "--json": Path("-")}, read)
