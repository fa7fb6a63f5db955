"""LSTM, GRU and RNN in eight bits: near the float layer, as onnxruntime runs the Scan, and to the cycle in RTL."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import selvage
from bench.onnx_models import outputs
from selvage.base.errors import InputError
from selvage.base.graph import State
from selvage.frontend.onnx.graph import load_graph
from selvage.frontend.quantize.quantize import QuantizeOptions, quantize_file
from tb.models.onnx_graphs import whole

STEPS, CHANNELS, HIDDEN = 6, 5, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
LAYERS: dict[str, dict[str, Any]] = {
    "LSTM": {},
    "LSTM both ways": {"direction": "bidirectional"},
    "GRU": {},
    "GRU linear": {"linear_before_reset": 1},
    "GRU backward": {"direction": "reverse", "linear_before_reset": 1},
    "RNN": {},
}


def network(name: str, result: int = 0, **more: Any) -> ModelProto:
    """The layer alone, its whole sequence (0) or last state (1) through a dense layer."""
    operator, random, given = name.split()[0], np.random.default_rng(3), LAYERS[name] | more
    ways, gates = 1 + (given.get("direction") == "bidirectional"), GATES[operator] * HIDDEN
    shapes = {"w": (ways, gates, CHANNELS), "r": (ways, gates, HIDDEN), "b": (ways, 2 * gates), "v": (HIDDEN, 3)}
    stored = [
        numpy_helper.from_array(random.normal(0, 0.7, own).astype(np.float32), key) for key, own in shapes.items()
    ]
    stored.append(numpy_helper.from_array(np.zeros((ways, 1, HIDDEN), np.float32), "zeros"))
    inputs = ["t", "w", "r", "b", "", "zeros", *(["zeros"] if operator == "LSTM" else [])]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], name="turn", perm=(1, 0, 2)),
        helper.make_node(operator, inputs, ["y", "last"], name="layer", hidden_size=HIDDEN, **given),
        helper.make_node("MatMul", [("y", "last")[result], "v"], ["z"], name="dense"),
    ]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, STEPS, CHANNELS])]
    ends.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def quantised(model: ModelProto, directory: Path, **options: Any) -> tuple[str, dict]:
    images = np.random.default_rng(1).standard_normal((12, STEPS, CHANNELS)).astype(np.float32)
    np.save(directory / "images.npy", images)
    onnx.save(model, directory / "float.onnx")
    out = directory / "out.onnx"
    how = QuantizeOptions(min_sqnr=-np.inf, **options)
    return str(out), quantize_file(str(directory / "float.onnx"), str(directory / "images.npy"), out, how)


@pytest.mark.parametrize("activations", ["uint8", "int8"])
@pytest.mark.parametrize("name", LAYERS)
def test_agrees_with_onnxruntime(name: str, activations: str, tmp_path: Path) -> None:
    path, report = quantised(network(name, result=int("both" not in name)), tmp_path, activations=activations)
    assert report["sqnr_db"] > 20, report
    imported = load_graph(path)
    assert any(isinstance(node, State) for node in imported.graph.nodes)
    feeds = {"x": np.load(tmp_path / "images.npy")}
    ours, theirs = whole(imported, feeds), outputs(onnx.load(path), feeds)
    values = ours["z"].reshape(-1), theirs["z"].reshape(-1)
    assert np.isclose(*values, atol=1e-5).mean() > 0.98


@pytest.mark.parametrize("name", ["LSTM", "GRU linear"])
def test_in_rtl(name: str, tmp_path: Path) -> None:
    path, _ = quantised(network(name), tmp_path)
    images = np.load(tmp_path / "images.npy")[:2]
    report = selvage.compile(path, "ou9x8", images=images, build=str(tmp_path / "build")).simulate(pipeline=True)
    assert report["match"], report["fault"]


@pytest.mark.parametrize(
    "name, given, why",
    [
        ("LSTM", {"clip": 3.0}, "has clip = 3, and must have none"),
        ("GRU", {"activations": ["Relu", "Tanh"]}, "has the activations Relu, Tanh, and must have Sigmoid, Tanh"),
        ("LSTM", {"input_forget": 1}, "has input_forget = 1, and must have 0"),
    ],
)
def test_what_is_left_in_float(name: str, given: dict[str, Any], why: str, tmp_path: Path) -> None:
    """It stays as it is, on the host, which says why."""
    try:
        path, report = quantised(network(name, **given), tmp_path)
    except InputError as error:
        assert "cannot be run by onnxruntime" in str(error)  # which has no kernel for some of them
        return
    assert report["recurrent_in_float"] == {"layer": why}
    imported = load_graph(path)
    (host,) = [node for node in imported.host if node.name == "layer"]
    assert host.why.endswith(why) and not imported.graph.loops


def test_a_free_batch_becomes_one_image(tmp_path: Path) -> None:
    """The loop's states are of one image, and the written model says so; it is measured."""
    model = network("LSTM")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    path, report = quantised(model, tmp_path)
    assert report["not_measured"] is None and report["sqnr_db"] > 20
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_several_images_at_once_stay_in_float(tmp_path: Path) -> None:
    model = network("GRU")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    for tensor in model.graph.initializer:
        if tensor.name == "zeros":
            tensor.CopyFrom(numpy_helper.from_array(np.zeros((1, 2, HIDDEN), np.float32), "zeros"))
    _, report = quantised(model, tmp_path)
    assert "several images at once" in report["recurrent_in_float"]["layer"]


def test_onnxruntime_is_the_same_at_both_levels(tmp_path: Path) -> None:
    path, _ = quantised(network("LSTM"), tmp_path)
    found = []
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        run = onnxruntime.InferenceSession(path, options)
        found.append(run.run(None, {"x": np.load(tmp_path / "images.npy")[:1]})[0])
    np.testing.assert_allclose(*found, atol=1e-5)
