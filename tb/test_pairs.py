"""The cover of pairs that stands for products of parameters."""

from itertools import combinations, product

import pytest

from tb.models.pairs import pairs

SIDES = {"square": (3, 3, 3, 3), "one long": (10, 2, 3, 2), "two": (4, 5)}


@pytest.mark.parametrize("name", SIDES)
def test_every_two_values_meet(name: str) -> None:
    sides = SIDES[name]
    found = pairs(product(*map(range, sides)))
    for first, second in combinations(range(len(sides)), 2):
        wanted = set(product(range(sides[first]), range(sides[second])))
        assert {(case[first], case[second]) for case in found} == wanted
    longest = sorted(sides)[-2:]
    assert longest[0] * longest[1] <= len(found) <= 2 * longest[0] * longest[1]


def test_only_given_cases_are_taken() -> None:
    """Values that meet in no case are not made to, and equal values of two parameters are two."""
    cases = [case for case in product("ab", "ab", "xy") if case[0] != case[1]]
    found = pairs(cases)
    assert set(found) <= set(cases) and len(found) == 4
