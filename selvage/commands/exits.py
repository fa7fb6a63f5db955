"""The end of a command: the one place where what went wrong becomes a sentence and an exit status."""

import contextlib
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import NoReturn, TextIO

from selvage.base.errors import InputError, SimulationError
from selvage.base.text import shortened, visible
from selvage.base.working import temporary
from selvage.commands.statuses import CLOSED, FAULT, INPUT, STOPPED
from selvage.verilog.errors import THREAD, ModuleTooWide

TRACEBACK = "SELVAGE_TRACEBACK"
"""Variable of the environment: when it is set, the traceback of what went wrong is printed."""


def leave(job: Callable[[], int | None]) -> NoReturn:
    """Exit with what ``job`` returns: 0 match, 1 mismatch.

    An error is one line on the standard error, and the status 2 on bad input, 1 when the simulation failed, 70 on a
    fault of ours, 130 when stopped.
    """
    # Of gateware that was begun when a job ended early, Amaranth would tell each component.
    warnings.filterwarnings("ignore", message=".*created but never used")
    sentence = ""
    try:
        with temporary():
            status = job()
        sys.stdout.flush()  # here, where a full disk can still be told
        if status == STOPPED:  # typer's way of telling it
            sentence = "stopped"
    except BaseException as error:
        status, sentence = ending(error)
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        if sentence:
            sys.stderr.write(f"selvage: {sentence}\n")
    for stream in (sys.stdout, sys.stderr):
        _put_away(stream)
    if any(thread.name == THREAD for thread in threading.enumerate()):
        os._exit(status or 0)  # Yosys is still at work, and would complain of an interpreter that ends
    sys.exit(status)


def ending(error: BaseException) -> tuple[int, str]:
    """Return the exit status, and the sentence that says why; none where there is nothing to say."""
    causes = list(_causes(error))
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
        return STOPPED, "stopped"
    if any(isinstance(cause, BrokenPipeError) for cause in causes):  # typer makes a SystemExit of it
        return CLOSED, ""
    match error:
        case SystemExit():
            return error.code if isinstance(error.code, int) else 0 if error.code is None else 1, ""
        case InputError() | ModuleTooWide():
            return INPUT, visible(str(error))
        case SimulationError():
            return 1, visible(str(error))
        case MemoryError():
            return FAULT, "the memory of this machine does not suffice"
        case OSError() if error.strerror:
            place = "" if error.filename is None else f"{visible(str(error.filename))}: "
            return INPUT, f"a file cannot be read or written: {place}{error.strerror}"
    message = visible(shortened(" ".join(str(error).split())))
    return FAULT, f"a fault of selvage, not of its input: {type(error).__name__}: {message} ({TRACEBACK}=1 shows where)"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those it came of: an import that Ctrl-C stops may end as an `ImportError`."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _put_away(stream: TextIO) -> None:
    """Send what Python would still write at its end nowhere, when the stream takes it no more."""
    try:
        stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
