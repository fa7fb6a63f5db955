"""Reading and writing pins at a falling edge, where the simulator is at rest."""

from typing import Any

from cocotb.handle import Immediate


class UnknownPin(ValueError):
    """A pin is X or Z; the message is its name."""


class OutPin:
    """A pin that the tile drives."""

    def __init__(self, handle: Any) -> None:
        # The public `value` builds a LogicArray, which takes longer than the simulation of a cycle;
        # cocotb is pinned, so its own reader of the bits can be called.
        self._read = handle._handle.get_signal_val_binstr
        self._name = handle._name

    def get(self) -> int:
        """Return the value as an unsigned integer. `UnknownPin`: a bit is X or Z."""
        try:
            return int(self._read(), 2)
        except ValueError:
            raise UnknownPin(self._name) from None

    def bits(self) -> str:
        """Return the bits, the highest first, of 0, 1, x and z."""
        return self._read().lower()


class InPin:
    """A pin that the bench drives."""

    def __init__(self, handle: Any) -> None:
        self._handle, self.shown = handle, -1

    def put(self, value: int) -> None:
        """Drive the pin at once; the value that is there already costs nothing."""
        if value != self.shown:
            self._handle.set(Immediate(value))
            self.shown = value
