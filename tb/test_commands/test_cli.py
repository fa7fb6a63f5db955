"""The command line: what it writes, and how it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tb.models.command_files import CHIP, ROOT, SMALL


def selvage(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run the command in ``cwd``, where its build folder goes; in our home Yosys keeps what takes seconds to make."""
    command = [sys.executable, "-m", "selvage", *map(str, arguments)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(Path.home())}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """A ConvInteger with both zero points, free batch."""
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 256, (3, 2, 2, 3)).astype(np.uint8)
    node = helper.make_node(
        "ConvInteger", ["x", "w", "xz", "wz"], ["y"], name="only", strides=[2, 1], pads=[0, 1, 1, 0]
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 2, 5, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.uint8(117), "xz"),
            numpy_helper.from_array(np.uint8(130), "wz"),
        ],
    )
    path = tmp_path / "conv.onnx"
    graph.output[0].type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension()] * 4))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_sim_of_an_onnx_file_equals_onnxruntime(onnx_file: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(2).integers(0, 256, (2, 2, 5, 4)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    run = selvage(
        "sim", onnx_file, "--chip", "tiny", "--input", "x.npy", "--output", "out/y.npy", "--json", "-", cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    (want,) = onnxruntime.InferenceSession(onnx_file).run(None, {"x": x})
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "y.npy"), want)
    report = json.loads(run.stdout)
    assert report["match"] is True and report["simulator"] == "icarus" and report["seconds"] > 0
    (layer,) = report["layers"]
    keys = {"name", "op", "schedule", "mapping", "steps", "cycles", "cycles_model", "ou_reads", "ou_skipped"}
    assert keys | {"crossbars", "tiles"} <= set(layer)
    assert layer["cycles"] == layer["cycles_model"] == report["cycles"] > 0

    alone = selvage("model", onnx_file, "--chip", "tiny", "--input", "x.npy", "--json", "-", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    (predicted,) = json.loads(alone.stdout)["layers"]
    same = ("cycles", "ou_reads", "ou_skipped", "crossbars", "tiles", "steps")
    assert {key: predicted[key] for key in same} == {key: layer[key] for key in same}


def test_verilog_is_the_same_text_twice_and_icarus_takes_it(tmp_path: Path) -> None:
    for out in ("a", "b"):
        run = selvage("verilog", SMALL, "--chip", "ou9x8", "--schedule", "red", "--out", out, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert {"names.json", "rtl.f", "selftest.f"} <= {path.name for path in files}
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    lint = subprocess.run(
        ["iverilog", "-g2005", "-Wall", "-f", "selftest.f", "-o", "t"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path / "a",
    )
    assert lint.returncode == 0 and not lint.stdout + lint.stderr, lint.stderr
    test = subprocess.run(["vvp", "t"], capture_output=True, text=True, check=True, cwd=tmp_path / "a")
    assert test.stdout.splitlines()[-1] == "PASS"


def test_waves(tmp_path: Path) -> None:
    run = selvage("sim", SMALL, "--chip", "tiny", "--waves", "waves", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    names = {path.name for path in (tmp_path / "waves").iterdir()}
    assert {"small_tile0.fst", "small_tile0.gtkw", "small_tile0.sucl", "small_tile0.json"} <= names
    told = selvage("explain", "waves/small_tile0.fst", "--step", "3", cwd=tmp_path)
    assert told.returncode == 0 and "step 3 (image 0, row 0, column 3)" in told.stdout, told.stderr
    window = ["--tile", "0", "--waves", "waves", "--waves-from", "3", "--waves-steps", "1"]
    run = selvage("sim", SMALL, "--chip", "tiny", *window, cwd=tmp_path)
    assert run.returncode == 0 and "tile 0 of layer 'small', step 3: every component shows" in run.stdout, run.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CHIP + "colour = 3\n", "unknown key 'colour'"),
        (CHIP.replace("rows = 16", "rows = 0", 1), "rows = 0"),
        (CHIP.replace("ou_rows = 4", "ou_rows = 17"), "ou_rows = 17 is more than rows = 16"),
        (CHIP + "weight_bits = 17\n", "weight_bits = 17"),
        (CHIP + 'encoding = "offset"\nweight_signed = false\n', "encoding = 'offset' needs weight_signed = true"),
        (CHIP + "arrays_per_tile = 1\n", "arrays_per_tile = 1 cannot hold"),
        (CHIP.replace("adc_bits = 3\n", ""), "lacks the key 'adc_bits'"),
        (CHIP + "rows == 3\n", "is not TOML"),
        (CHIP + 'ou_rows = "4"\n', "is not TOML"),
        (CHIP.replace("ou_rows = 4", 'ou_rows = "4"'), "ou_rows = '4'"),
    ],
)
def test_bad_chips(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "chip.toml").write_text(text)
    refused(selvage("sim", SMALL, "--chip", "chip.toml", "--output", "y.npy", cwd=tmp_path), says, tmp_path)


def refused(run: subprocess.CompletedProcess, says: str, where: Path) -> None:
    """Exit status 2, one line that says why, and no output file."""
    assert run.returncode == 2, (run.returncode, run.stderr)
    assert says in run.stderr
    assert run.stderr.count("\n") == 1 and "Traceback" not in run.stderr, run.stderr
    assert not list(where.glob("**/*.npy")) and not list(where.glob(".*npy*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--count", "--batch", "0"], "0 samples of a batch are not from 1 to 4096"),
        (["--count", "--generator-layers", "-1"], "-1 generator layers are not from 0 to 64"),
        (["--count", "--discriminator-layers", "65"], "65 discriminator layers are not from 1 to 64"),
        (["--count", "--schedule", "fast"], "--schedule 'fast' is none of none, pipeline, pipeline+rf, sp, cs, sp+cs"),
        (["--count", "--schedule", "sp"], "schedule 'sp' is for two networks, and there is no generator"),
        (["--count", "--overlap"], "--overlap is for two networks"),
        (
            ["--count", "--generator-layers", "2", "--schedule", "none", "--overlap"],
            "--overlap is of the schedules pipeline, sp, cs, sp+cs, not none",
        ),
        (["--count", "--simulator", "vcs"], "--simulator 'vcs' is none of icarus, verilator, none"),
        (["--count", "--json", "."], "is a directory"),
    ],
)
def test_bad_training(arguments: list[str], says: str, tmp_path: Path) -> None:
    refused(selvage("train", *arguments, cwd=tmp_path), says, tmp_path)


def test_training_is_counted(tmp_path: Path) -> None:
    sizes = "--generator-layers", "2", "--discriminator-layers", "3", "--batch", "6"
    for simulator, counted in (("icarus", 19), ("none", None)):
        how = "--schedule", "cs", "--overlap", "--simulator", simulator, "--json", "-"
        run = selvage("train", "--count", *sizes, *how, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        content = json.loads(run.stdout)
        assert content["logical_cycles"] == counted
        assert (
            content["closed_form"] == content["logical_cycles_model"] == max(2 * 6 + 2 * 3 + 1, 6 + 2 * 3 + 2 * 2 + 1)
        )
        assert content["buffers"][0] == {"name": "G_0", "allowed": 11, "reached": 6}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--chip", "nope"], "chip 'nope' is neither a ready chip (isaac, ou9x8, tiny, yu) nor a TOML file"),
        (["--schedule", "red", "--baseline", "paper"], "--baseline paper is of --schedule zero-padding, not red"),
        (["--schedule", "zero-padding", "--baseline", "none"], "--baseline 'none' is neither skipping nor paper"),
        (["--schedule", "zero-padding-paper"], "--schedule 'zero-padding-paper' is none of auto, red, zero-padding"),
        (["--schedule", "blue"], "--schedule 'blue' is none of auto, red, zero-padding, padding-free"),
        (["--mapping", "sparse"], "--mapping 'sparse'"),
        (["--ou-skip", "maybe"], "--ou-skip 'maybe'"),
        (["--simulator", "vcs"], "--simulator 'vcs'"),
        (["--fold", "5"], "fold 5 is outside 1 .. 4"),
        (["--fold", "2", "--schedule", "zero-padding"], "fold 2"),
        (["--input", "missing.npy"], "missing.npy"),
        (["--seed", "-1"], "-1"),
        (["--no-such-option"], "no-such-option"),
        (["--json", "."], "is a directory"),
        (["--json", "y.npy"], "--output and --json are both y.npy"),
        (["--waves", str(SMALL)], "--waves"),
        (["--json", "/proc/report.json"], "cannot be written"),
    ],
)
def test_bad_options(arguments: list[str], says: str, tmp_path: Path) -> None:
    run = selvage("sim", SMALL, "--output", "y.npy", *arguments, cwd=tmp_path)
    assert run.returncode == 2, run.stderr
    assert says in run.stderr and "Traceback" not in run.stderr
    assert not (tmp_path / "y.npy").exists()


def test_a_clipping_adc_warns_and_lossless_refuses(tmp_path: Path) -> None:
    (tmp_path / "chip.toml").write_text(CHIP.replace("adc_bits = 3", "adc_bits = 2"))
    run = selvage("sim", SMALL, "--schedule", "red", "--chip", "chip.toml", "--json", "-", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "warning" in run.stderr and "3 bits are lossless" in run.stderr
    assert json.loads(run.stdout)["layers"][0]["distance"] > 0
    run = selvage("sim", SMALL, "--chip", "chip.toml", "--lossless", "--output", "y.npy", cwd=tmp_path)
    refused(run, "3 bits are lossless", tmp_path)


def test_weights_outside_the_chip(tmp_path: Path) -> None:
    (tmp_path / "chip.toml").write_text(CHIP + "weight_bits = 4\n")
    refused(selvage("sim", SMALL, "--chip", "chip.toml", cwd=tmp_path), "weight_bits = 4", tmp_path)


def test_schema(tmp_path: Path) -> None:
    run = selvage("schema", "chip", cwd=tmp_path)
    assert run.returncode == 0 and "adc_bits" in json.loads(run.stdout)["properties"]


def test_no_simulator_is_one_sentence(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "PATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "selvage", "sim", str(SMALL), "--output", "y.npy"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    refused(run, "install the package iverilog", tmp_path)


def test_the_build_folder_is_named_by_option_or_environment(onnx_file: Path, tmp_path: Path) -> None:
    """What the first run compiled is found by the second; where nothing can be kept it is told before any work."""
    words = ["sim", str(onnx_file), "--chip", "tiny", "--mapping", "dense"]
    assert selvage(*words, "--build", "own", cwd=tmp_path).returncode == 0
    made = sorted((tmp_path / "own").rglob("sim.vvp"))
    before = [path.stat().st_mtime_ns for path in made]
    named = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": str(Path.home()), "SELVAGE_BUILD": "own"}
    command = [sys.executable, "-m", "selvage", *words]
    run = subprocess.run(command, cwd=tmp_path, env=named, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert made == sorted((tmp_path / "own").rglob("sim.vvp")) and made
    assert before == [path.stat().st_mtime_ns for path in made] and not (tmp_path / "build").exists()
    (tmp_path / "file").touch()
    run = selvage(*words, "--build", "file", cwd=tmp_path)
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    assert run.stderr == "selvage: --build file cannot be written: file: Not a directory\n"
