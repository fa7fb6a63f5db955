"""What goes wrong in writing Verilog."""

MOST_INPUTS = 2**16 - 8
"""Bits of the inputs of a module at most: Amaranth numbers them in 16 bits, and clock and reset are two of them."""


class ModuleTooWide(ValueError):
    """A module has more bits of inputs than can be written. The message is one sentence that says what to do."""


THREAD = "yosys"
"""Name of the thread in which Yosys is at work (`verilog.yosys`), which a command that is stopped looks for."""
