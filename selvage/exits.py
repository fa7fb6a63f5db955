"""How a command ends."""

import sys
from collections.abc import Callable
from typing import NoReturn

from spec.errors import InputError
from tb.simulate import SimulationError


def leave(job: Callable[[], int | None]) -> NoReturn:
    """Exit with what ``job`` returns: 0 match, 1 mismatch; with 2 on bad input, said in one line."""
    try:
        sys.exit(job())
    except InputError as error:
        print(f"selvage: {error}", file=sys.stderr)
        sys.exit(2)
    except SimulationError as error:
        print(f"selvage: {error}", file=sys.stderr)
        sys.exit(1)
