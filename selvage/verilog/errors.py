"""What goes wrong in writing Verilog."""


class ModuleTooWide(ValueError):
    """A module has more bits of inputs than can be written. The message is one sentence that says what to do."""


THREAD = "yosys"
"""Name of the thread in which Yosys is at work (`verilog.yosys`), which a command that is stopped looks for."""
