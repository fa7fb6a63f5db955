"""Options that are more than a word."""

from selvage.base.errors import InputError

LARGEST = 2**31 - 1
SHAPE_RULE = f"must hold integers of 1 .. {LARGEST}, batch first, such as 1,3,32,32"


def shape_of(text: str | None) -> tuple[int, ...] | None:
    """Return the sides in a text such as 1,3,32,32, or ``None`` of no text. `InputError`: it is no such text."""
    try:
        shape = None if text is None else tuple(int(side) for side in text.split(","))
    except ValueError:
        shape = (0,)
    if shape is not None and not all(1 <= side <= LARGEST for side in shape):
        raise InputError(f"--shape {text!r} {SHAPE_RULE}")
    return shape
