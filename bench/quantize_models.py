"""Float models that tests quantise, and what they do with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from selvage.base.errors import InputError
from selvage.frontend.quantize.quantize import QuantizeOptions, quantize_file

SIDES = ("N", 3, 8, 8)


def network(
    nodes: Sequence[NodeProto],
    constants: dict[str, NDArray],
    sides: Sequence[int | str | None] = SIDES,
    kind: int = TensorProto.FLOAT,
    inputs: Sequence[str] = ("x",),
    rank: int = 4,
    opset: int = 21,
) -> ModelProto:
    """A model of ``nodes`` that makes y of x."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, sides) for name in inputs],
        [helper.make_tensor_value_info("y", kind, [f"y{axis}" for axis in range(rank)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def normal(*shape: int, scale: float = 1, seed: int = 1) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def classifier(sides: Sequence[int | str | None] = SIDES, opset: int = 21) -> ModelProto:
    """Two convolutions, the second with pruned weights, and a dense layer."""
    constants = {"w1": normal(8, 3, 3, 3), "b1": normal(8, scale=0.1), "w2": normal(16, 8, 3, 3, scale=0.2)}
    constants |= {"w3": normal(10, 64, scale=0.2), "b3": normal(10)}
    constants["w2"][:, ::2, 1:] = 0
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="conv1", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="relu1"),
        helper.make_node("MaxPool", ["b"], ["c"], name="pool1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "w2"], ["d"], name="conv2"),
        helper.make_node("Relu", ["d"], ["e"], name="relu2"),
        helper.make_node("Flatten", ["e"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="dense", transB=1),
    ]
    return network(nodes, constants, sides, rank=2, opset=opset)


def convolution(*inputs: str, op: str = "Conv", name: str = "n") -> NodeProto:
    return helper.make_node(op, inputs or ("x", "w"), ["y"], name=name)


def save(folder: Path, model: ModelProto | bytes, images: NDArray | bytes) -> tuple[str, str, Path]:
    """Both files, and where the quantised model goes."""
    source, calibration = folder / "float.onnx", folder / "images.npy"
    source.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    calibration.write_bytes(images) if isinstance(images, bytes) else np.save(calibration, images)
    return str(source), str(calibration), folder / "q.onnx"


def quantised(folder: Path, model: ModelProto, images: NDArray, **options: Any) -> tuple[ModelProto, dict]:
    source, calibration, out = save(folder, model, images)
    summary = quantize_file(source, calibration, out, QuantizeOptions(**options))
    assert sorted(path.name for path in folder.iterdir()) == ["float.onnx", "images.npy", "q.onnx"]
    assert summary["bytes"] == out.stat().st_size
    onnx.checker.check_model(out)
    return onnx.load(out), summary


def run(model: ModelProto, x: NDArray | dict[str, NDArray], exact: bool = True) -> NDArray:
    """The first output for the input x, or for inputs by name.

    ``exact``: by sums of products that do not saturate, which not every network can have.
    """
    settings = onnxruntime.SessionOptions()
    if exact:
        settings.add_session_config_entry("session.x64quantprecision", "1")
    else:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, ["CPUExecutionProvider"])
    return session.run(None, x if isinstance(x, dict) else {"x": x})[0]


def refused(message: str, folder: Path, model: Any, images: Any = None, **options: Any) -> None:
    """A one-line `InputError` that ``message`` finds, and no file more than before."""
    files = save(folder, model, normal(4, 3, 8, 8) if images is None else images)
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError, match=message) as caught:
        quantize_file(*files, QuantizeOptions(**options))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert sorted(folder.rglob("*")) == before
