"""A bundle's self-test passes, and sees what is wrong: words, offers, hangs; inputs that meet are told."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from selvage.bundle.selftest import SHORTEST, TIMES
from selvage.bundle.verilog_bundle import write_files
from selvage.rtlsim.predicted import image_cycles
from tb.models.bundles import files_of, last_line, run, small
from tb.models.small_networks import SmallNetwork


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("bundle")
    write_files([files_of(small())], where)
    return where


@pytest.mark.parametrize("plusargs", [(), ("+pauses",)])
def test_selftest_passes(bundle: Path, plusargs: tuple[str, ...]) -> None:
    assert last_line(bundle, "selftest.f", *plusargs) == "PASS"


def test_selftest_fails(bundle: Path, tmp_path: Path) -> None:
    """A wrong word is named; the first of two is."""
    where = tmp_path / "wrong"
    shutil.copytree(bundle, where)
    path = where / "selftest" / "expected_0.hex"
    words = path.read_text().split()
    output = json.loads((where / "names.json").read_text())["outputs"][0]
    second = output["words"] + 1
    found = words[second]
    for index in (second, len(words) - 1):
        words[index] = f"{int(words[index], 16) ^ 1:0{len(words[index])}x}"
    path.write_text("\n".join(words) + "\n")
    wrong = words[second]
    verdict = last_line(where, "selftest.f")
    says = f"FAIL first difference: output 0, image 1, word 1: expected {wrong}, found {found}; channel "
    assert verdict.startswith(says), verdict
    # The place of the word's first value, whose lowest bit was turned.
    place = re.fullmatch(r"(\d+), row (\d+), column (\d+): expected (-?\d+), found (-?\d+)", verdict.removeprefix(says))
    assert place, verdict
    channel, row, column, expected, came = map(int, place.groups())
    channels, _, width = output["shape"]
    lanes = output["lanes"]
    assert (row * width + column) * (channels // lanes) + channel // lanes == 1 and channel % lanes == 0
    assert came - expected == (1 if int(found, 16) & 1 else -1)


def test_selftest_of_a_design_that_hangs(bundle: Path, tmp_path: Path) -> None:
    """Codes of a crossbar do not come: who offers, who refuses, after a few times what an image takes."""
    where = tmp_path / "hangs"
    shutil.copytree(bundle, where)
    tile = where / "rtl" / "tile_0.v"
    pins = ".crossbar_0__codes__valid(crossbar_0__codes__valid)", ".crossbar_0__codes__valid(1'b0)"
    assert pins[0] in tile.read_text()
    tile.write_text(tile.read_text().replace(*pins, 1))
    subprocess.run(["iverilog", "-g2005", "-f", "selftest.f", "-o", "t"], cwd=where, check=True, capture_output=True)
    verdict = run(["vvp", "t"], where).strip().split("\n")[-1]
    told = re.fullmatch(r"FAIL first difference: nothing moved in (\d+) cycles, and (\d+) of \d+ words .*", verdict)
    assert told, verdict
    assert int(told[1]) == SHORTEST + TIMES * image_cycles(small().plan)
    assert re.search(r"; i_0 is refused word \d+ of image 0; o_0 is offered nothing; o_1 is offered nothing$", verdict)


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        ("assign o_0__valid = 1'bx;", "FAIL first difference: i_0__ready, o_0__valid, o_1__valid are "),
        ("assign o_0__valid = ticks[0];", "FAIL first difference: output 0, image 0, word 0: "),
        ("assign o_0__valid = 1'b0;", "; o_0 is offered nothing; "),
    ],
    ids=["unknown", "taken back", "nothing"],
)
def test_selftest_sees(bundle: Path, tmp_path: Path, plant: str, says: str) -> None:
    """What a stream must not do."""
    where = tmp_path / "planted"
    shutil.copytree(bundle, where)
    top = where / "rtl" / "network.v"
    text = top.read_text()
    assert text.count(".o_0__valid(o_0__valid)") == 1
    text = text.replace(".o_0__valid(o_0__valid)", ".o_0__valid()", 1)
    ticks = "  reg [3:0] ticks = 0;\n  always @(posedge clk) ticks <= ticks + 1;\n"
    top.write_text(text.replace("endmodule", f"{ticks}  {plant}\nendmodule", 1))
    assert says in last_line(where, "selftest.f", "+pauses")


def test_inputs_that_meet(tmp_path: Path) -> None:
    """Two inputs that are added are named wherever one looks; with one an image ahead, the bench says so."""
    n = SmallNetwork.on("tiny", 4)
    x, y = n.input(2, 8, 3), n.input(2, 8, 3)
    n.leaves(n.add(n.layer(x, 2, kernel=(2, 2), pads=(1, 0, 0, 1)), y), n.table(n.input(1, 2, 2)))
    assert n.plan.fed_together == ((0, 1),)
    write_files([files_of(n)], tmp_path)
    assert json.loads((tmp_path / "names.json").read_text())["together"] == [["i_0", "i_1"]]
    for told in ("README.md", "rtl/network.v"):
        assert "i_0, i_1 meet: feed them side by side" in (tmp_path / told).read_text()
    assert last_line(tmp_path, "selftest.f") == "PASS"
    bench = tmp_path / "selftest" / "selftest.v"
    text = bench.read_text()
    bench.write_text(text.replace("wire rests_1 = ", "wire rests_1 = at_0 < 24 || i_0__valid || "))
    assert text != bench.read_text()
    verdict = last_line(tmp_path, "selftest.f")
    assert re.search(r"; i_0 is refused word \d+ of image 0; i_1 offers nothing; .*; i_0, i_1 meet: feed them", verdict)


def test_inputs_that_do_not_meet(bundle: Path) -> None:
    assert json.loads((bundle / "names.json").read_text())["together"] == []
    assert "side by side" not in (bundle / "README.md").read_text()
