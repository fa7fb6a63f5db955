"""The programmer of cells, and its images."""

from dataclasses import asdict
from zlib import crc32

import pytest

from selvage.hw.shell.programming import Programmer, ProgrammingParameters, cell_image, table_image
from selvage.verilog.convert import convert
from tb.benches.bench_run import run_bench

CASES = {
    "one_cell": ProgrammingParameters(macros=1, rows=1, columns=1, cell_bits=1, kept=2, tables=1),
    "words": ProgrammingParameters(macros=2, rows=5, columns=37, cell_bits=2, kept=4, tables=37, design=0xFEDCBA98),
    "exact": ProgrammingParameters(macros=3, rows=4, columns=8, cell_bits=4, kept=8, tables=8, design=1),
}


@pytest.mark.parametrize("name", CASES)
def test_programmer(name: str) -> None:
    p = CASES[name]
    text = convert(Programmer(p), "dut")
    assert run_bench(f"programming_{name}", {"dut.v": text}, "dut", "tb.benches.programming_bench", asdict(p)) == 8


def test_image() -> None:
    """By hand: two rows of three two-bit cells."""
    p = ProgrammingParameters(macros=1, rows=2, columns=3, cell_bits=2)
    words = cell_image(p, [[[1, 2, 3], [0, 0, 1]]])
    assert words[:-1] == [0x43564C53, 0x01020001, 0x00030002, 0b111001, 0b010000]
    assert words[-1] == crc32(b"SLVC\x01\x00\x02\x01\x02\x00\x03\x00\x39\x00\x00\x00\x10\x00\x00\x00")


def test_table_image() -> None:
    """By hand: two words."""
    p = ProgrammingParameters(macros=1, rows=2, columns=3, cell_bits=2, tables=2, design=0x01020304)
    words = table_image(p, [5, 2**32 - 1])
    assert words[:-1] == [0x54564C53, 0x01000002, 0x01020304, 5, 0xFFFFFFFF]
    assert words[-1] == crc32(b"SLVT\x02\x00\x00\x01\x04\x03\x02\x01\x05\x00\x00\x00\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="2 words of tables, not 1"):
        table_image(p, [5])


@pytest.mark.parametrize(
    ("macros", "message"),
    [
        ([], "1 macros, not 0"),
        ([[[0, 0]]], "2 rows of 2 cells"),
        ([[[0, 0, 0], [0, 0]]], "2 rows of 2 cells"),
        ([[[0, 0], [0, 2]]], "from 0 to 1"),
    ],
)
def test_image_refuses(macros: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cell_image(ProgrammingParameters(macros=1, rows=2, columns=2, cell_bits=1), macros)


@pytest.mark.parametrize(
    ("name", "value"), [("macros", 0), ("rows", 2**16), ("cell_bits", 9), ("kept", 1), ("tables", 2**24)]
)
def test_parameters_refuse(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        ProgrammingParameters(**{"macros": 1, "rows": 2, "columns": 2, "cell_bits": 1, name: value})
