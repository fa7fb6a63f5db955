"""ONNX files of one node made in a moment, and their outputs by two evaluators."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Constants = dict[str, NDArray | None]


def onnx_model(
    op: str,
    shape: Sequence[int | str | None],
    constants: Constants,
    kind: int = TensorProto.FLOAT,
    more: Sequence[NodeProto] = (),
    name: str = "n",
    **attributes: Any,
) -> ModelProto:
    """A model of one node ``op`` that reads x and then ``constants``, of which ``None`` is left out."""
    names = [key if value is not None else "" for key, value in constants.items()]
    node = helper.make_node(op, ["x", *names], ["y"], name=name, **attributes)
    out = TensorProto.INT32 if op.endswith("Integer") else kind
    rank = max(len(shape), 1)
    graph = helper.make_graph(
        [*more, node],
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", out, [f"y{axis}" for axis in range(rank)])],
        [numpy_helper.from_array(value, key) for key, value in constants.items() if value is not None],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def write(path: Path, *args: Any, **kwargs: Any) -> str:
    """Path of a file of `onnx_model`."""
    file = path / "model.onnx"
    onnx.save(onnx_model(*args, **kwargs), file)
    return str(file)


def constant(**attributes: Any) -> NodeProto:
    return helper.make_node("Constant", [], ["k"], name="k", **attributes)


def with_constant(path: Path, op: str, shape: list, constants: Constants, position: int, **value: Any) -> str:
    """Path of a model whose input ``position`` is a Constant node of ``value``."""
    model = onnx_model(op, shape, constants, more=[constant(**value)])
    model.graph.node[1].input.insert(position, "k")
    onnx.save(model, path / "model.onnx")
    return str(path / "model.onnx")


def numbers(*shape: int, seed: int = 1, low: int = -9, high: int = 9, dtype: Any = np.float32) -> NDArray:
    return np.random.default_rng(seed).integers(low, high, size=shape, endpoint=True).astype(dtype)


def save(path: Path, array: NDArray) -> str:
    file = path / "x.npy"
    np.save(file, array)
    return str(file)


def runtime(path: str, x: NDArray) -> NDArray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def reference(path: str, x: NDArray) -> NDArray:
    return ReferenceEvaluator(path).run(None, {"x": x})[0]
