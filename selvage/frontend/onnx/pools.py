"""Pools and means of maps, and enlargements: what makes each pixel of a window of another map."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto

from selvage.base.graph import Tensor
from selvage.frontend.onnx import nodes as nodes_of
from selvage.frontend.onnx.joins import Mean
from selvage.frontend.onnx.nodes import error
from selvage.frontend.onnx.read import name_of
from selvage.frontend.onnx.reader import Value, Values, handles
from selvage.frontend.onnx.resize import ResizeReader
from selvage.frontend.onnx.values import Followed, Host, Map, Pending, moving_node
from selvage.frontend.onnx.views import Viewed


class PoolReader(ResizeReader):
    """What MaxPool, AveragePool, Resize and the reductions make of a map."""

    @handles("MaxPool", "GlobalMaxPool", "Resize")
    def moved(self, node: NodeProto, inputs: Values) -> Value:
        """Read MaxPool, GlobalMaxPool or Resize: codes stay what they are."""
        value = self.passed(node, inputs[0])
        if isinstance(value, Pending) and not isinstance(value, Viewed) and self.without_scale(value) is None:
            size = value.shape
            if size != self.shape_read(node):
                raise error(node, f"it reads {size} reshaped to {self.shape_read(node)}, and maps keep their shape")
        else:
            value = self.settled(node, value)
            value = replace(value, tensor=self.as_map(node, value), view=None)
            size = value.tensor.shape
        if node.op_type == "Resize":
            factor = self.enlargement(node, size)
            if factor is None:
                linear = self.linear(node, size, value) if isinstance(value, Map) else None
                return linear or Host(node, self.why_no_resize(node))
            geometry = {"factor": factor}
        elif node.op_type == "GlobalMaxPool":
            geometry = {"kind": "max", "kernel": size[1:], "stride": (1, 1)}
        else:
            found = nodes_of.pool_geometry(node, size, self.onnx_shape(node.output[0], node))
            geometry = {"kind": "max", **found}
        shape, name = self.shape_made(node), name_of(node)
        if isinstance(value, Pending):
            return Followed(node, name, shape, node.output[0], value, geometry)
        to = Tensor(node.output[0], shape, value.tensor.scale, value.tensor.format)
        self.add(moving_node(name, value.tensor, to, geometry))
        return Map(to, real=value.real, direct=value.direct)

    @handles("AveragePool", "GlobalAveragePool")
    def mean(self, node: NodeProto, inputs: Values) -> Value:
        """Read AveragePool or GlobalAveragePool."""
        source, name = self.as_map(node, inputs[0]), name_of(node)
        if node.op_type == "AveragePool":
            geometry = nodes_of.pool_geometry(node, source.shape, self.onnx_shape(node.output[0], node))
            whole = geometry["kernel"] == source.shape[1:] and not any(geometry["pads"])
            kernel = "" if whole else self.kernel(node, "QLinearAveragePool", inputs[:1])
            return Mean(node, name, self.shape_made(node), node.output[0], source, **renamed(geometry), kernel=kernel)
        result = (node, name, (source.shape[0], 1, 1), node.output[0], source)
        return Mean(*result, source.shape[1:], (1, 1), (0, 0, 0, 0))

    @handles("ReduceMean", "ReduceSum")
    def reduced(self, node: NodeProto, inputs: Values) -> Value:
        """Read ReduceMean or ReduceSum, of all axes but that of images: what is kept are channels."""
        axes = nodes_of.operator_of(node).attribute("axes", None)
        if len(inputs) > 1 and inputs[1] is not None:
            axes = tuple(self.constant(node, inputs[1], "axes").astype(np.int64).reshape(-1).tolist())
        rank = len(self.onnx_shape(node.input[0], node))
        if not axes:
            return Host(node, "is supported over axes that it names")
        value = self.settled(node, inputs[0])
        numbers = self.as_seen(node, value, 0)
        skipped = rank - numbers.ndim
        axes = sorted(axis % rank - skipped for axis in axes)
        if len(set(axes)) != len(axes):
            raise error(node, "it names an axis twice")
        if not numbers.size:
            raise error(
                node, f"it reduces a tensor of shape {self.onnx_shape(node.input[0], node)}, which holds nothing"
            )
        if axes[0] < 0:
            return Host(node, "takes the mean of several images")
        kept = [axis for axis in range(numbers.ndim) if axis not in axes]
        own = numbers.transpose(*kept, *axes).reshape(math.prod(numbers.shape[axis] for axis in kept), -1)
        size = value.tensor.shape
        if own.shape != (size[0], size[1] * size[2]):
            size = (len(own), 1, own.shape[1])
        source = self.in_order(node, value, own, size)
        result = (node, name_of(node), (size[0], 1, 1), node.output[0], source)
        divisor = ((1,), (1,)) if node.op_type == "ReduceSum" else None
        return Mean(*result, source.shape[1:], (1, 1), (0, 0, 0, 0), counts=divisor)


def renamed(geometry: dict[str, Any]) -> dict[str, Any]:
    """Return keys of a `Pool` as those of a `Mean`."""
    return {"window" if key == "kernel" else key: value for key, value in geometry.items()}
