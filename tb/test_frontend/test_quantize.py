"""Quantisation of float ONNX files: near the float network, zeros kept, the same bytes twice, bad input refused."""

import hashlib
import itertools
import logging
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from bench.quantize_models import SIDES, classifier, convolution, network, normal, quantised, refused, run, save
from selvage.base.errors import InputError
from selvage.frontend.options import shape_of
from selvage.frontend.quantize.quantize import ACTIVATIONS, FORMS, METHODS, QuantizeOptions, quantize_file

ROOT = Path(__file__).parents[2]


def weights_of(model: ModelProto, name: str) -> tuple[NDArray, NDArray, NDArray]:
    """Integers, scales and zero points of quantised weights."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return tuple(tensors[f"{name}_{part}"] for part in ("quantized", "scale", "zero_point"))


EVERY = list(itertools.product(FORMS, (True, False), ACTIVATIONS, METHODS))


@pytest.mark.parametrize(("form", "per_channel", "activations", "method"), EVERY)
def test_near_the_float_network(tmp_path: Path, form: str, per_channel: bool, activations: str, method: str) -> None:
    """Outputs, the summary of their distances, and weights, of which zeros stay zero."""
    model, images = classifier(), normal(70, 3, 8, 8, seed=2)
    options = QuantizeOptions(form, per_channel, activations, method)
    found, summary = quantised(tmp_path, model, images, **vars(options))
    want = run(model, images).astype(np.float64)
    error = np.abs(run(found, images, exact=form == "qdq" or activations == "uint8") - want)
    assert summary["not_measured"] is None
    assert summary["sqnr_db"] == pytest.approx(10 * np.log10((want**2).sum() / (error**2).sum()), abs=0.1)
    assert summary["distance"] == pytest.approx(error.max(), rel=0.05)
    assert summary["mean_distance"] == pytest.approx(error.mean(), rel=0.05)
    assert summary["sqnr_db"] > 30
    assert summary["operators"] == {"Conv": 2, "Flatten": 1, "Gemm": 1, "MaxPool": 1} and not summary["in_float"]
    assert summary["images"] == 70 and summary["bytes"] < summary["bytes_float"] == len(model.SerializeToString())
    for tensor in (tensor for tensor in model.graph.initializer if tensor.name[0] == "w"):
        float_weights = numpy_helper.to_array(tensor)
        integers, scale, zero_point = weights_of(found, tensor.name)
        assert integers.dtype == np.int8 and not zero_point.any()
        assert scale.size == (len(float_weights) if per_channel else 1)
        assert not integers[float_weights == 0].any() and abs(integers).max() == 127
        steps = scale.reshape(-1, *[1] * (float_weights.ndim - 1)) if per_channel else scale
        assert (abs(integers * steps - float_weights) <= 0.5001 * steps).all()
    kinds = {tensor.data_type for tensor in found.graph.initializer if tensor.name.startswith("x_zero_point")}
    assert kinds == {TensorProto.UINT8 if activations == "uint8" else TensorProto.INT8}
    operators = {node.op_type for node in found.graph.node}
    assert operators >= ({"Conv", "Gemm"} if form == "qdq" else {"QLinearConv", "QGemm"})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("opset", [7, 11, 13, 22])
def test_folded_normalisation_and_residual(tmp_path: Path, form: str, opset: int) -> None:
    """Old operators too; what stays in float is told."""
    constants = {"w": normal(8, 3, 3, 3), "v": normal(8, 8, 1, 1)}
    constants |= {name: 0.5 + np.random.default_rng(3).random(8, np.float32) for name in ("s", "b", "m", "d")}
    constants["w"][2] = 0
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["a", *"sbmd"], ["n"]),
        helper.make_node("Conv", ["n", "v"], ["c"]),
        helper.make_node("Add", ["n", "c"], ["e"]),
        helper.make_node("Exp", ["e"], ["y"]),
    ]
    model = network(nodes, constants, opset=opset)
    found, summary = quantised(tmp_path, model, normal(5, 3, 8, 8, scale=0.1), form=form)
    assert summary["operators"] == {"Add": 1, "Conv": 2} and summary["in_float"] == {"Exp": 1}
    assert summary["sqnr_db"] > 25
    assert next(entry.version for entry in found.opset_import if not entry.domain) == max(opset, 13)
    stored = [numpy_helper.to_array(tensor) for tensor in found.graph.initializer if list(tensor.dims) == [8, 3, 3, 3]]
    assert len(stored) == 1 and stored[0].any() and not stored[0][2].any()


@pytest.mark.parametrize("form", FORMS)
def test_classes_are_compared(tmp_path: Path, form: str) -> None:
    """Of a network whose outputs are integers; what stands between eight bits in float is in float."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("ConvTranspose", ["b", "v"], ["c"]),
        helper.make_node("ArgMax", ["c"], ["y"], axis=1),
    ]
    model = network(nodes, {"w": normal(4, 3, 3, 3), "v": normal(4, 4, 3, 3)})
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    images = normal(40, 3, 8, 8)
    found, summary = quantised(tmp_path, model, images, form=form)
    same = (run(model, images) == run(found, images)).mean()
    assert summary["agreement"] == pytest.approx(same) and same > 0.9
    assert summary["distance"] is summary["mean_distance"] is summary["sqnr_db"] is None
    assert summary["in_float"]["Tanh"] == 1 and summary["operators"]["Conv"] == 1
    assert ("ConvTranspose" in summary["operators"]) == (form == "qdq") != ("ConvTranspose" in summary["in_float"])


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_other_floats_are_cast(tmp_path: Path, dtype: Any) -> None:
    images = normal(4, 3, 8, 8).astype(np.float16)
    same = quantised(tmp_path, classifier(), images.astype(np.float32))[0]
    assert quantised(tmp_path, classifier(), images.astype(dtype))[0] == same


def test_dense_network(tmp_path: Path) -> None:
    """(N, C) inputs; no error at all has no decibels."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="n")]
    model = network(nodes, {"w": normal(12, 5)}, ["N", 12], rank=2)
    assert quantised(tmp_path, model, normal(9, 12))[1]["sqnr_db"] > 30
    assert quantised(tmp_path, model, normal(9, 12, scale=0))[1] | {"bytes": 0} == {
        **{"operators": {"MatMul": 1}, "in_float": {}, "images": 9, "bytes": 0},
        **{"bytes_float": len(model.SerializeToString()), "distance": 0, "mean_distance": 0, "sqnr_db": None},
        **{"agreement": None, "recurrent_in_float": {}, "per_tensor": [], "sqnr_output": None, "not_measured": None},
    }


@pytest.mark.parametrize("sides", [["N", 3, "h", "w"], [2, 3, "s", "s"], [None, None, None, None]])
def test_free_sides_are_fixed(tmp_path: Path, sides: list) -> None:
    """All but the batch."""
    found, _ = quantised(tmp_path, classifier(sides), normal(4, 3, 8, 8), shape=shape_of("2,3,8,8"))
    first, *others = found.graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_value for side in others] == [3, 8, 8]
    assert first.dim_value == (2 if sides[0] == 2 else 0)


def test_batches_do_not_matter_to_the_range(tmp_path: Path) -> None:
    """Fixed to 1, or free: the same scales. The largest value need not be in the first batch."""
    images = normal(70, 3, 8, 8)
    images[:40] *= 1e-6
    one, free = (quantised(tmp_path, classifier([batch, *SIDES[1:]]), images)[0] for batch in (1, "N"))
    assert one.graph.node == free.graph.node
    for first, second in zip(one.graph.initializer, free.graph.initializer, strict=True):
        np.testing.assert_allclose(numpy_helper.to_array(first), numpy_helper.to_array(second), rtol=1e-5)
    for method in ("entropy", "percentile"):
        assert quantised(tmp_path, classifier(), images, method=method)[1]["sqnr_db"] > 25


def test_same_bytes_in_any_process(tmp_path: Path) -> None:
    source, calibration, out = save(tmp_path, classifier(), normal(40, 3, 8, 8))
    code = f"""if True:
        from pathlib import Path
        from selvage.frontend.quantize.quantize import FORMS, METHODS, QuantizeOptions, quantize_file
        for form in FORMS:
            for method in METHODS:
                for again in ("", "again"):
                    out = Path({str(out)!r} + form + method + again)
                    quantize_file({source!r}, {calibration!r}, out, QuantizeOptions(form=form, method=method))
    """
    hashes = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        written = sorted(tmp_path.glob("q.onnx*"))
        hashes.append([(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in written])
    assert hashes[0] == hashes[1] and len(hashes[0]) == 12
    assert [digest for _, digest in hashes[0][::2]] == [digest for _, digest in hashes[0][1::2]]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_said_or_left(
    tmp_path: Path, method: str, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the terminal, in the working folder, in the temporary one, among the handlers of logging."""
    work, temporary, files = (tmp_path / name for name in ("work", "temporary", "files"))
    for folder in (work, temporary, files):
        folder.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = logging.root.handlers[:], logging.root.manager.disable
    quantised(files, classifier(opset=9), normal(70, 3, 8, 8), method=method)
    unknown = helper.make_node("Unknown", ["x"], ["y"], domain="nowhere")
    model = network([unknown], {})
    model.opset_import.append(helper.make_opsetid("nowhere", 1))
    with pytest.raises(InputError, match=r"cannot be run by onnxruntime.*: node 'y' \(Unknown\): "):
        quantize_file(*save(files, model, normal(4, 3, 8, 8)), QuantizeOptions(method=method))
    assert tuple(capfd.readouterr()) == ("", "")
    assert not list(work.iterdir()) and not list(temporary.iterdir())
    assert (logging.root.handlers, logging.root.manager.disable) == before


def test_in_place(tmp_path: Path) -> None:
    source, calibration, out = save(tmp_path, classifier(), normal(4, 3, 8, 8))
    quantize_file(source, calibration, out, QuantizeOptions())
    quantize_file(source, calibration, Path(source), QuantizeOptions())
    assert Path(source).read_bytes() == out.read_bytes()


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(form="tflite"), "--form 'tflite' is none of qdq, qoperator"),
        (dict(activations="int4"), "--activations 'int4' is none of uint8, int8"),
        (dict(method="best"), "--method 'best' is none of minmax, entropy, percentile"),
        (dict(shape=(1, 3, 0, 8)), "--shape '1,3,0,8' must hold integers of 1 .. 2147483647, batch first"),
        (dict(shape=(1, 3, 8, 2**31)), "--shape '1,3,8,2147483648' must hold integers"),
        (dict(shape=(1, 3, 8)), "--shape '1,3,8' has 3 sides, and model .* input 'x' has 4"),
        (dict(shape=(1, 3, 9, 8)), "--shape '1,3,9,8' has 9 on axis 2, and model .* input 'x' has 8 there"),
        (dict(min_sqnr=float("nan")), "--min-sqnr nan must be a number of decibels"),
    ],
)
def test_options_refused(tmp_path: Path, options: dict, message: str) -> None:
    refused(message, tmp_path, classifier(), **options)


@pytest.mark.parametrize("text", ["", "1,3,x", "1,,3", "1.5,3"])
def test_shape_text_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--shape {re.escape(repr(text))} must hold integers"):
        shape_of(text)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (normal(3, 8, 8), r"has rank 3, shape \(3, 8, 8\), and input 'x' takes \(N, 3, 8, 8\)"),
        (normal(4, 1, 8, 8), r"has shape \(4, 1, 8, 8\): axis 1 has 1, and input 'x' takes \(N, 3, 8, 8\)"),
        (normal(0, 3, 8, 8), r"has shape \(0, 3, 8, 8\), and must not be empty"),
        (np.zeros((4, 3, 8, 8), np.uint8), "holds uint8, and must hold floats, scaled as the images that the model"),
        (np.zeros((4, 3, 8, 8), np.complex64), "holds complex64, and must hold floats"),
        (np.full((4, 3, 8, 8), np.nan), r"holds nan at \[0, 0, 0, 0\], and every value must be finite in float32"),
        (np.full((4, 3, 8, 8), -np.inf, np.float32), r"holds -inf at \[0, 0, 0, 0\], and every value"),
        (np.full((4, 3, 8, 8), 1e300), r"holds 1e\+300 at \[0, 0, 0, 0\], and every value must be finite in float32"),
        (b"", "is not an .npy array of numbers"),
        (b"PK\x03\x04" + bytes(40), "is not an .npy array of numbers"),
    ],
)
def test_images_refused(tmp_path: Path, images: Any, message: str) -> None:
    refused(f"^calibration '.*images.npy' {message}", tmp_path, classifier(), images)


def test_images_that_do_not_fill_batches_refused(tmp_path: Path) -> None:
    message = r"has 4 images, and input 'x' takes \(3, 3, 8, 8\): a multiple of 3 is needed"
    refused(message, tmp_path, classifier([3, 3, 8, 8]))


W = normal(4, 3, 3, 3)
QUANTISE = helper.make_node("QuantizeLinear", ["x", "s"], ["y"], name="q")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (classifier().SerializeToString()[:-5], "is not an ONNX file, or is cut short"),
        (b"garbage", "is not an ONNX file, or is cut short"),
        (network([], {}), "holds no operator, and so nothing to quantise"),
        (network([convolution()], {}), "is not valid ONNX: .*'w'"),
        (
            network([convolution(op="ConvInteger")], {"w": np.ones((4, 3, 3, 3), np.int8)}),
            r"is quantised already \(node 'n': ConvInteger\), and must be a float model",
        ),
        (network([QUANTISE], {"s": np.float32(1)}), r"is quantised already \(node 'q': QuantizeLinear\)"),
        (
            network([convolution()], {"w": W}, inputs=("x", "z")),
            "has 2 inputs .'x', 'z'., and calibration .* must be .* .npz",
        ),
        (network([convolution("v", "w")], {"w": W, "v": W}, inputs=()), "has no input, and so nothing to calibrate"),
        (
            network([convolution()], {"w": W.astype(np.float16)}, kind=TensorProto.FLOAT16),
            "input 'x' is float16, and must be float",
        ),
        (network([helper.make_node("Relu", ["x"], ["y"])], {}, [3], rank=1), "input 'x' has rank 1, and must have"),
        (
            network([convolution()], {"w": W}, ["N", 3, "height", 8]),
            r"input 'x' leaves axis 2 \('height'\) free, and --shape must fix it, batch first",
        ),
        (network([convolution()], {"w": W}, ["N", 3, 8, None]), "input 'x' leaves axis 3 free, and --shape must"),
        (
            network([convolution()], {"w": np.where(W.max() == W, np.inf, W)}),
            r"'w' holds inf at \[\d, \d, \d, \d\], and every weight must be finite",
        ),
        (network([convolution("x", op="Exp")], {}), "holds no operator that onnxruntime quantises as qdq: Exp"),
        (
            network([helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Log", ["a"], ["y"])], {"w": W}),
            "has float outputs 'y' that are not finite on the images of '.*images.npy'",
        ),
        (
            network([convolution()], {"w": normal(4, 5, 3, 3)}),
            r"cannot be run by onnxruntime.*: node 'n' \(Conv\): ",
        ),
    ],
)
def test_model_refused(tmp_path: Path, model: Any, message: str) -> None:
    refused(message, tmp_path, model)


def test_external_data_missing_refused(tmp_path: Path) -> None:
    model = classifier()
    onnx.save(model, tmp_path / "x.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    refused("its external data 'weights.bin' is not there: ", tmp_path, (tmp_path / "x.onnx").read_bytes())


def test_files_refused(tmp_path: Path) -> None:
    source, calibration, out = save(tmp_path, classifier(), normal(4, 3, 8, 8))
    (tmp_path / "file").touch()
    for files, message in (
        (("none.onnx", calibration, out), "model 'none.onnx' cannot be read: No such file or directory"),
        ((str(tmp_path), calibration, out), "cannot be read: it is a directory"),
        ((source, "none.npy", out), "calibration 'none.npy' cannot be read: No such file or directory"),
        ((source, str(tmp_path), out), "cannot be read: it is a directory"),
        ((source, calibration, tmp_path), "is a directory"),
        ((source, calibration, tmp_path / "none" / "q.onnx"), "cannot be written: folder .*none does not exist"),
        ((source, calibration, tmp_path / "file" / "q.onnx"), "cannot be written"),
        ((source, calibration, Path("/proc/q.onnx")), "cannot be written"),
        ((source, calibration, Path(calibration)), "--out and --calibration are both"),
    ):
        with pytest.raises(InputError, match=message):
            quantize_file(*files, QuantizeOptions())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "float.onnx", "images.npy"]
