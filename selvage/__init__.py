"""Periphery of ReRAM compute-in-memory accelerators: placed, counted, simulated and written as Verilog."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selvage.api import CompiledModel, compile, load_chip

__version__ = "0.1.0"
__all__ = ["CompiledModel", "__version__", "compile", "load_chip"]


def __getattr__(name: str) -> Any:
    """Load the interface when something of it is asked for: it brings in Amaranth, ONNX and the simulators' runner."""
    if name not in __all__:
        raise AttributeError(f"module 'selvage' has no attribute {name!r}")
    from selvage import api

    return getattr(api, name)
