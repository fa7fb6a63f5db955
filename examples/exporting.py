"""What the training scripts share: nodes of a float ONNX file, and its 8-bit copy by onnxruntime's static quantiser."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

Sides = tuple[str, list[int]]  # name of an input or output, its sides but the batch


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float = 0.99) -> None:
    """Moves the averaged weights a little towards the model's."""
    for mean, value in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


def convolution(name: str, source: str, layer: nn.Conv2d | nn.ConvTranspose2d) -> NodeProto:
    """The node of a convolution or a transposed one."""
    return helper.make_node(
        "ConvTranspose" if layer.transposed else "Conv",
        [source, f"{name}.weight", f"{name}.bias"],
        [f"{name}.sum"],
        name=name,
        kernel_shape=layer.kernel_size,
        strides=layer.stride,
        pads=layer.padding * 2,
        dilations=layer.dilation,
        group=layer.groups,
    )


def relu(name: str) -> NodeProto:
    """The node of the ReLU behind layer ``name``."""
    return helper.make_node("Relu", [f"{name}.sum"], [f"{name}.relu"], name=f"{name}_relu")


def max_pool(name: str, source: str) -> NodeProto:
    """The node of a pooling that halves both sides."""
    return helper.make_node("MaxPool", [source], [name], name=name, kernel_shape=(2, 2), strides=(2, 2))


def save(
    path: Path, name: str, nodes: list[NodeProto], source: Sides, result: Sides, constants: Mapping[str, np.ndarray]
) -> None:
    """Writes a float model of one input and one output, its batch free."""
    ends = [[helper.make_tensor_value_info(end, TensorProto.FLOAT, ["N", *sides])] for end, sides in (source, result)]
    values = [numpy_helper.from_array(np.ascontiguousarray(v), key) for key, v in constants.items()]
    graph = helper.make_graph(nodes, name, *ends, values)
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(file, full_check=True)
    onnx.save(file, path)


class Calibration(CalibrationDataReader):
    """Inputs, batches x images x sides, as the quantiser takes them."""

    def __init__(self, name: str, inputs: np.ndarray) -> None:
        self.name = name
        self.batches: Iterator[np.ndarray] = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {self.name: batch}


def quantise(source: Path, target: Path, calibration: Calibration, *, per_channel: bool) -> None:
    """Writes the 8-bit model, in QuantizeLinear and DequantizeLinear nodes, of a float one."""
    prepared = source.with_name("prepared.onnx")
    quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        calibration,
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )


def outputs(path: Path, inputs: np.ndarray) -> np.ndarray:
    """What onnxruntime makes of a model's one input."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]
