"""Quantised ONNX graphs with parts that the host computes."""

import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from bench.onnx_models import Build
from tb.models.onnx_graphs import S, codes


def convolved(build: Build, x: str, name: str = "layer", outputs: int = 3) -> str:
    """A quantised layer's result; weights of seven bits, which no kernel of onnxruntime saturates."""
    return build.through(build.add("Conv", x, build.weights(codes((outputs, 3, 1, 1)) // 2, 0.0173), name=name), S, 99)


def as_written(model: ModelProto, feeds: dict[str, NDArray]) -> dict[str, NDArray]:
    """What onnxruntime makes without optimisation.

    With it, it quantises weights that the model leaves in float, where codes stand before and behind the layer.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([value.name for value in run.get_outputs()], run.run(None, feeds), strict=True))
