"""Every component of a tile alone, against plain functions of the placement."""

import pytest

from tb.benches.components import Case, simulate
from tb.models.component_cases import CASES, parametrize_kinds

SECOND = {
    "address_zeros",
    "buffer_strided",
    "engine_offset",
    "accumulator_offset",
    "splice_offset",
    "output_red",
    "overlap_stride",
}  # one of each component on the second simulator


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize_kinds(metafunc, CASES, SECOND)


def test_component(cases: list[Case], simulator: str) -> None:
    assert simulate(cases, simulator) >= len(cases)
