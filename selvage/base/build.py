"""Where what is built lies: Verilog, compiled simulations, what benchmarks make."""

import os
from pathlib import Path

VARIABLE = "SELVAGE_BUILD"
"""Variable of the environment that names the folder of all that is built."""
ROOT = Path("build")


def build_folder(name: str) -> Path:
    """Return folder ``name`` of what is built, in the one that the environment names or in ``build``."""
    return Path(os.environ.get(VARIABLE) or ROOT) / name
