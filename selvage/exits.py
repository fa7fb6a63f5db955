"""How a command ends."""

import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from spec.errors import InputError
from spec.working import temporary
from tb.simulate import SimulationError


def leave(job: Callable[[], int | None]) -> NoReturn:
    """Exit with what ``job`` returns: 0 match, 1 mismatch; with 2 on bad input, said in one line."""
    # Of gateware that was begun when a job ended early, Amaranth would tell each component.
    warnings.filterwarnings("ignore", message=".*created but never used")
    try:
        with temporary():
            sys.exit(job())
    except InputError as error:
        print(f"selvage: {error}", file=sys.stderr)
        sys.exit(2)
    except SimulationError as error:
        print(f"selvage: {error}", file=sys.stderr)
        sys.exit(1)
