"""How often layers are to stand on the chip: what ``--copies`` and ``--arrays`` say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from selvage.base.errors import InputError

USUAL = Fraction(25)  # percent of arrays more, where `auto` is asked without a budget


@dataclass(frozen=True)
class CopiesAsked:
    """``auto``: as the budget allows; else ``every`` layer so often, or those of ``by_layer``, the others once.

    The budget is ``arrays``, or ``percent`` more than one copy of each layer needs; neither: there is none.
    """

    auto: bool = False
    every: int = 1
    by_layer: Mapping[str, int] = field(default_factory=dict)
    arrays: int | None = None
    percent: Fraction | None = None

    def budget(self, once: int) -> int | None:
        """Return the arrays that there may be, where one copy of each layer needs ``once``; None: any number.

        Raises `InputError` for fewer than that.
        """
        if self.arrays is not None and self.arrays < once:
            raise InputError(f"--arrays {self.arrays} is below {once}, which one copy of each layer needs")
        if self.arrays is not None:
            return self.arrays
        percent = USUAL if self.auto and self.percent is None else self.percent
        return None if percent is None else once + int(once * percent / 100)


def copies_asked(copies: str | None, arrays: str | None) -> CopiesAsked | None:
    """Return what both options say; None where neither is given. `InputError`: one is no value of its option."""
    if copies is None and arrays is None:
        return None
    how = {} if copies is None else _copies(copies)
    budget = {} if arrays is None else _arrays(arrays)
    return CopiesAsked(**{"auto": copies is None, **how}, **budget)


def _copies(text: str) -> dict:
    """Return the fields that ``--copies`` sets."""
    if text == "auto":
        return {"auto": True}
    if re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        return {"every": _count(text, text)}
    by_layer: dict[str, int] = {}
    for part in text.split(","):
        name, _, count = part.rpartition("=")
        if not name or not re.fullmatch(r"[+-]?[0-9]{1,9}", count):
            raise InputError(f"--copies {text!r} is neither auto, nor a number, nor layer=number and so on")
        if name in by_layer:
            raise InputError(f"--copies {text!r} names layer {name!r} twice")
        by_layer[name] = _count(count, text)
    return {"by_layer": by_layer}


def _count(digits: str, text: str) -> int:
    count = int(digits)
    if count < 1:
        raise InputError(f"--copies {text} asks for {count} copies, fewer than one")
    return count


def _arrays(text: str) -> dict:
    """Return the fields that ``--arrays`` sets."""
    if re.fullmatch(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?%", text):
        percent = Fraction(text[:-1])
        if percent < 0:
            raise InputError(f"--arrays {text} is a negative percentage: one copy of each layer is the least")
        return {"percent": percent}
    if re.fullmatch(r"[0-9]{1,12}", text):
        return {"arrays": int(text)}
    raise InputError(f"--arrays {text!r} is neither a number of arrays nor a percentage such as +25%")
