"""What is said of a quantised network: a poor one is warned of or refused, one that cannot be measured is written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper
from onnxruntime import InferenceSession

from bench.quantize_models import classifier, network, normal, quantised, refused, run, save
from selvage.base.errors import InputError
from selvage.frontend.onnx.file import load_onnx
from selvage.frontend.onnx.graph import load_graph
from selvage.frontend.quantize import measure as quantize_measure
from selvage.frontend.quantize.quantize import QuantizeOptions, quantize_file

IMAGES = normal(8, 3, 8, 8)


def drowned(offset: float) -> ModelProto:
    """A small signal on a large offset that is taken off again; the sum in between is coarse."""
    constants = {"w": normal(4, 3, 3, 3, scale=0.2), "up": np.float32(offset), "down": np.float32(-offset)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "up"], ["b"]),
        helper.make_node("Add", ["b", "down"], ["y"]),
    ]
    return network(nodes, constants, [1, 3, 8, 8])


def decibels(model: ModelProto, found: ModelProto) -> float:
    want, got = (np.concatenate([run(own, IMAGES[k : k + 1]) for k in range(len(IMAGES))]) for own in (model, found))
    return float(10 * np.log10((want.astype(np.float64) ** 2).sum() / ((want - got).astype(np.float64) ** 2).sum()))


def test_below_the_least(tmp_path: Path) -> None:
    """Nothing is written unless asked for; what is said is what the file does."""
    model = drowned(2000)
    refused(
        r"output 'y' has an SQNR of -\d+\.\d dB on the images of .*, below --min-sqnr 0; a lower",
        tmp_path,
        model,
        IMAGES,
    )
    found, summary = quantised(tmp_path, model, IMAGES, min_sqnr=-np.inf)
    assert summary["sqnr_output"] == "y" and summary["sqnr_db"] < 0
    assert decibels(model, found) == pytest.approx(summary["sqnr_db"], abs=0.1)
    (tmp_path / "q.onnx").unlink()
    refused("below --min-sqnr 60;", tmp_path, classifier(), IMAGES, min_sqnr=60)


def test_the_worst_output_counts(tmp_path: Path) -> None:
    """A large output that is right does not hide a small one that is wrong."""
    model = drowned(2000)
    model.graph.node.append(helper.make_node("Mul", ["a", "k"], ["large"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1e5), "k"))
    model.graph.output.append(helper.make_tensor_value_info("large", 1, [1, 4, 6, 6]))
    refused("output 'y' has an SQNR of -", tmp_path, model, IMAGES)


def test_that_is_not_finite(tmp_path: Path) -> None:
    """Where the float network is: a small number behind a logarithm is 0 in eight bits."""
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Add", ["a", "e"], ["b"])]
    nodes += [helper.make_node("Log", ["b"], ["y"])]
    model = network(nodes, {"e": np.float32(1e-4)}, [1, 3, 8, 8])
    refused("output 'y' has an SQNR of -inf dB", tmp_path, model, IMAGES)
    summary = quantised(tmp_path, model, IMAGES, min_sqnr=-np.inf)[1]
    assert summary["sqnr_db"] is summary["distance"] is None and summary["sqnr_output"] == "y"
    done = command(tmp_path, model, "--min-sqnr", "-inf")
    assert done.returncode == 0
    assert "warning: output 'y' of the quantised network is not finite" in " ".join(done.stderr.split())


def command(folder: Path, model: ModelProto, *options: str) -> subprocess.CompletedProcess[str]:
    source, calibration, out = save(folder, model, IMAGES)
    words = [
        sys.executable,
        "-m",
        "selvage",
        "quantize",
        source,
        "--calibration",
        calibration,
        "--out",
        str(out),
        *options,
    ]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_command_warns(tmp_path: Path) -> None:
    done = command(tmp_path, drowned(300), "--json", str(tmp_path / "report.json"))
    assert done.returncode == 0 and 0 < json.loads((tmp_path / "report.json").read_text())["sqnr_db"] < 10
    assert "warning: the SQNR of output 'y' is below 10 dB" in " ".join((done.stdout + done.stderr).split())
    done = command(tmp_path, drowned(2000))
    assert done.returncode == 2 and "below --min-sqnr 0" in done.stderr


def fails(model: bytes) -> InferenceSession:
    raise RuntimeError("Failed to find kernel (node:'dense')")


def test_a_failed_measurement_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is the same, and the summary says why there are no figures."""
    want, _ = quantised(tmp_path, classifier(), IMAGES)
    monkeypatch.setattr("selvage.frontend.quantize.measure.WAYS", (fails,))
    got, summary = quantised(tmp_path, classifier(), IMAGES)
    assert got == want
    figures = ("distance", "mean_distance", "sqnr_db", "sqnr_output", "agreement")
    assert [summary[key] for key in figures] == [None] * 5
    assert (
        summary["not_measured"]
        == "onnxruntime cannot run it: node 'dense' (Gemm): Failed to find kernel (node:'dense')"
    )


def test_measured_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first way fails, and the figures are as near."""
    want = quantised(tmp_path, classifier(), IMAGES)[1]
    monkeypatch.setattr(quantize_measure, "WAYS", (fails, *quantize_measure.WAYS[1:]))
    got = quantised(tmp_path, classifier(), IMAGES)[1]
    assert got["not_measured"] is None and got["sqnr_db"] == pytest.approx(want["sqnr_db"], abs=2)


# Several inputs


def two(sides: tuple[int | str, ...] = ("N", 3, "h", "w")) -> ModelProto:
    nodes = [helper.make_node("Conv", [name, f"w{name}"], [f"a{name}"], pads=[1] * 4) for name in "xz"]
    nodes += [helper.make_node("Add", ["ax", "az"], ["y"])]
    return network(nodes, {"wx": normal(4, 3, 3, 3), "wz": normal(4, 3, 3, 3, seed=2)}, sides, inputs=("x", "z"))


def calibrated(folder: Path, model: ModelProto, **arrays: np.ndarray) -> dict:
    source, _, out = save(folder, model, IMAGES)
    np.savez(folder / "images.npz", **arrays)
    return quantize_file(source, str(folder / "images.npz"), out, QuantizeOptions())


def test_an_array_for_each_input(tmp_path: Path) -> None:
    """By name; they settle free sides."""
    feeds = {"z": normal(5, 3, 6, 10, seed=7), "x": normal(5, 3, 6, 10)}
    summary = calibrated(tmp_path, two(), **feeds)
    assert summary["images"] == 5 and summary["operators"] == {"Add": 1, "Conv": 2}
    found = onnx.load(tmp_path / "q.onnx")
    sides = [[side.dim_value for side in info.type.tensor_type.shape.dim] for info in found.graph.input]
    assert sides == [[0, 3, 6, 10]] * 2
    want, got = (run(model, feeds) for model in (two(), found))
    assert abs(want - got).max() < 0.05 * np.ptp(want)
    assert calibrated(tmp_path, classifier(), x=IMAGES)["sqnr_db"] > 30  # an .npz of one array is as good


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES}, "holds the arrays 'x', and the inputs of model .* are 'x', 'z'"),
        ({"x": IMAGES, "z": IMAGES, "u": IMAGES}, "holds the arrays 'x', 'z', 'u', and the inputs"),
        ({"x": IMAGES, "z": IMAGES[:4]}, "holds 8 for 'x', 4 for 'z', and must hold equally many images"),
        ({"x": IMAGES, "z": IMAGES[..., :7]}, "array 'z' of .* shape '8,3,8,7' has 7 on axis 3, and .* has 8 there"),
        ({"x": IMAGES, "z": IMAGES.astype(int)}, "array 'z', holds int64, and must hold floats"),
        ({"x": IMAGES, "z": IMAGES * np.nan}, "array 'z', holds nan at "),
    ],
)
def test_arrays_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        calibrated(tmp_path, two(), **arrays)
    assert not (tmp_path / "q.onnx").exists()


# Weights in other files


def beside(folder: Path) -> Path:
    """A model of one layer with its weights in a file beside it."""
    folder.mkdir()
    model = network([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": normal(4, 3, 3, 3).round()}, [1, 3, 8, 8])
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    return folder / "m.onnx"


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (
            lambda data, to: data.symlink_to(to),
            "'w.bin' is reached by a link, .*`cp -rL {} COPY` makes a folder",
        ),
        (lambda data, to: data.hardlink_to(to), "'w.bin' has several hard links, .*; `cp -r {} COPY` makes"),
        (lambda data, to: to.unlink(), "'w.bin' is not there: .*w.bin should hold it"),
    ],
)
def test_weights_behind_links(tmp_path: Path, link: object, message: str) -> None:
    """Each reader says what is so, and the copy that it tells of can be read."""
    path = beside(tmp_path / "model")
    np.save(tmp_path / "images.npy", IMAGES)
    (path.parent / "w.bin").rename(tmp_path / "blob")
    link(path.parent / "w.bin", tmp_path / "blob")
    out = tmp_path / "q.onnx"
    readers = (
        lambda own: load_onnx(own, None),
        lambda own: load_graph(own),
        lambda own: quantize_file(own, str(tmp_path / "images.npy"), out, QuantizeOptions()),
    )
    for reader in readers:
        with pytest.raises(InputError, match=message.format(path.parent)):
            reader(str(path))
    if (tmp_path / "blob").exists():
        subprocess.run(["cp", "-rL", path.parent, tmp_path / "COPY"], check=True)
        assert load_onnx(str(tmp_path / "COPY" / "m.onnx"), None).weights.shape == (4, 3, 3, 3)
        readers[2](str(tmp_path / "COPY" / "m.onnx"))
        assert out.exists()
