"""A part of many cases in which every two values still meet."""

from collections.abc import Hashable, Iterable
from itertools import combinations


def pairs(cases: Iterable[tuple[Hashable, ...]]) -> list[tuple]:
    """Return few of ``cases``, in their order: whatever two values meet in one of all meet in one of these.

    ``cases`` are the whole product of a test's parameters, less what cannot be. Each time the case that joins most
    values that have not met is taken, the first of several.
    """
    meetings = {case: frozenset(combinations(enumerate(case), 2)) for case in cases}
    left, chosen = frozenset().union(*meetings.values()), set()
    while left:
        best = max(meetings, key=lambda case: len(meetings[case] & left))
        chosen.add(best)
        left -= meetings[best]
    return [case for case in meetings if case in chosen]
