"""Models to prune, made in a moment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Constants = dict[str, NDArray]


def network(
    nodes: Sequence[NodeProto],
    constants: Constants,
    shape: Sequence[int] = (1, 3, 6, 7),
    kind: int = TensorProto.FLOAT,
    output: int | None = None,
) -> ModelProto:
    """A model of ``nodes`` that makes y of x."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [
            helper.make_tensor_value_info(
                "y", kind if output is None else output, [f"y{axis}" for axis in range(len(shape))]
            )
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def conv(op: str = "Conv", inputs: Sequence[str] = ("x", "w"), name: str = "n", **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs, ["y"], name=name, **attributes)


def dequantised(
    w: NDArray, zero: NDArray | None, op: str = "Conv", shape: Sequence[int] = (1, 3, 6, 7), **attributes: int
) -> ModelProto:
    """A convolution whose weights come through a DequantizeLinear of ``attributes``."""
    inputs, constants = ["w", "s"], {"w": w, "s": np.ones(() if zero is None else zero.shape, np.float32)}
    if zero is not None:
        inputs, constants = [*inputs, "z"], constants | {"z": zero}
    dequantiser = helper.make_node("DequantizeLinear", inputs, ["v"], **attributes)
    return network([dequantiser, conv(op, ["x", "v"])], constants, shape)
