"""The user's text in what is printed: nothing in it can steer a terminal, break a line or fill a page."""

import unicodedata

LONGEST = 200
"""Characters of one value that messages show."""
WIDEST = 256
"""Bits of an integer that messages write out; Python itself refuses to beyond some 14,000."""
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode's categories of characters that act on a terminal or show nothing; Cs cannot even be encoded."""


def visible(text: str) -> str:
    r"""Return ``text`` with every control character, line ends too, as an escape such as ``\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in UNSEEN else letter
        for letter in text
    )


def value(content: object) -> str:
    """Return ``repr`` of what a file holds, shortened.

    An integer that is too long is told by its bits, a container by its kind, for their text can be as long as the file,
    or as deep as it is nested.
    """
    if isinstance(content, list | tuple | dict):
        items = content if isinstance(content, list | tuple) else ()
        if (
            (items or content == ())
            and len(items) <= 8
            and all(isinstance(item, str | int | float | None) for item in items)
        ):
            return shortened(f"[{', '.join(map(value, items))}]" if isinstance(content, list) else _tuple(tuple(items)))
        return f"a {'table' if isinstance(content, dict) else 'list'} of {len(content):,}"
    if isinstance(content, int) and content.bit_length() > WIDEST:
        return f"an integer of {content.bit_length():,} bits"
    return shortened(repr(content))


def _tuple(items: tuple) -> str:
    return f"({', '.join(map(value, items))}{',' if len(items) == 1 else ''})"


def shortened(text: str) -> str:
    """Return ``text``, its middle left out when it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"


def number(count: int) -> str:
    """Return a count as a person reads it."""
    return f"{count:,}" if count.bit_length() <= WIDEST else f"2**{count.bit_length() - 1} and more"


def count_of(count: int, noun: str) -> str:
    """Return a number of things in words: ``1 step``, ``1,024 steps``."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def free_name(stem: str, taken: set[str]) -> str:
    """Return ``stem``, or with as many dots behind as no other name has; add it to ``taken``."""
    while stem in taken:
        stem += "."
    taken.add(stem)
    return stem
