"""The beginning of the command: the rest is imported here, where it can be stopped."""

import os
import signal
import sys
from typing import NoReturn

from selvage.commands.statuses import STOPPED


def _stop(*_: object) -> NoReturn:
    """End at once: while modules are imported, nothing has been begun that would have to be put away."""
    os.write(2, b"\nselvage: stopped\n")
    os._exit(STOPPED)


def main() -> NoReturn:
    """Run the command and exit: 0 match, 1 mismatch, 2 bad input (one line), 70 a fault of ours, 130 stopped."""
    before = signal.signal(signal.SIGINT, _stop)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        getattr(sys, name).reconfigure(errors="backslashreplace")  # for a terminal that cannot show a name
    from selvage.commands.cli import command
    from selvage.commands.exits import leave

    signal.signal(signal.SIGINT, before)
    leave(command)
