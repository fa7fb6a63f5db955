"""Reading and writing pins at a falling edge, where the simulator is at rest."""

from typing import Any

from cocotb.types import LogicArray
from cocotb.handle import Immediate


def get(handle: Any) -> int:
    """Value of a pin as an unsigned integer; an X or Z is an error."""
    return int(handle.value)


def put(handle: Any, value: int) -> None:
    """Drive a pin at once."""
    handle.set(Immediate(value))
