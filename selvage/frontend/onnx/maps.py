"""Operators without weights in a quantised ONNX graph: pools, enlargement, joining, adding, functions of one code."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from selvage.base.graph import LINEAR, Tensor
from selvage.frontend.onnx import nodes as nodes_of
from selvage.frontend.onnx.affine import Affine
from selvage.frontend.onnx.codes import CODE_TYPES, Recoded, codes_of, is_codes
from selvage.frontend.onnx.evaluate import evaluate
from selvage.frontend.onnx.nodes import error
from selvage.frontend.onnx.read import name_of, title_of
from selvage.frontend.onnx.reader import Reader, Value, Values, handles, small
from selvage.frontend.onnx.static import SHAPING
from selvage.frontend.onnx.values import (
    Constant,
    Followed,
    Function,
    Head,
    Host,
    Joined,
    Map,
    Mean,
    Pending,
    Plus,
    Shape3,
    Sums,
    Weights,
    codes_behind,
    moving_node,
    roots,
    values_of,
)

ELEMENTWISE = (
    *("Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Gelu", "Mish", "Swish", "Clip"),
    *("Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign", "Erf", "Exp", "Log", "Sqrt"),
    *("Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Reciprocal", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh"),
    *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mod"),
)
KERNELS = {"Add": "QLinearAdd", "Mul": "QLinearMul"}


class MapReader(Reader):
    """What each operator makes of the values that it reads: one method for each kind of operator."""

    @handles("MaxPool", "GlobalMaxPool", "Resize")
    def moved(self, node: NodeProto, inputs: Values) -> Value:
        """Read MaxPool, GlobalMaxPool or Resize: codes stay what they are."""
        value = self.passed(node, inputs[0])
        if isinstance(value, Pending) and self.without_scale(value) is None:
            size = value.shape
        else:
            value = self.settled(node, value)
            size = value.tensor.shape
        if size != self.shape_read(node):
            raise error(node, f"it reads {size} reshaped to {self.shape_read(node)}, and maps keep their shape")
        if node.op_type == "Resize":
            factor = self.enlargement(node, size)
            if factor is None:
                return Host(node, "is supported for nearest neighbours by whole factors only")
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

    def enlargement(self, node: NodeProto, size: Shape3) -> tuple[int, int] | None:
        """Return the factors of Resize, tried on a map whose pixels all differ; ``None``: it is of another kind."""
        read, shape = self.onnx_shape(node.input[0], node), self.shape_made(node)
        if shape[0] != size[0] or any(b % a for a, b in zip(size[1:], shape[1:], strict=True)):
            return None
        factor = shape[1] // size[1], shape[2] // size[2]
        ramp = np.arange(math.prod(read), dtype=np.float32).reshape(read)
        others = [name for name in node.input[1:] if name]
        if any(name not in self.static.constants for name in others):
            raise error(node, "its scales and sizes must be constant")
        found = evaluate(node, [ramp, *map(self.static.constants.__getitem__, others)], self.static.opsets)[0]
        pixels = ramp.reshape(-1, *size).repeat(factor[0], axis=2).repeat(factor[1], axis=3)
        return factor if found.size == pixels.size and (found.reshape(pixels.shape) == pixels).all() else None

    @handles("AveragePool", "GlobalAveragePool", "ReduceMean")
    def mean(self, node: NodeProto, inputs: Values) -> Value:
        """Read AveragePool, GlobalAveragePool, or ReduceMean of whole maps."""
        if node.op_type == "ReduceMean" and not self.of_whole_maps(node, inputs):
            return Host(node, "is supported as the mean of whole maps only")
        source, name = self.as_map(node, inputs[0]), name_of(node)
        if node.op_type == "AveragePool":
            geometry = nodes_of.pool_geometry(node, source.shape, self.onnx_shape(node.output[0], node))
            window, stride, pads = geometry["kernel"], geometry["stride"], geometry["pads"]
            whole = window == source.shape[1:] and not any(pads)
            kernel = "" if whole else self.kernel(node, "QLinearAveragePool", inputs[:1])
            result = (node, name, self.shape_made(node), node.output[0], source)
            return Mean(*result, window, stride, pads, kernel=kernel)
        result = (node, name, (source.shape[0], 1, 1), node.output[0], source)
        return Mean(*result, source.shape[1:], (1, 1), (0, 0, 0, 0))

    def of_whole_maps(self, node: NodeProto, inputs: Values) -> bool:
        """Return whether ReduceMean takes all axes but those of images and channels."""
        axes = nodes_of.operator_of(node).attribute("axes", None)
        if len(inputs) > 1 and inputs[1] is not None:
            axes = tuple(self.constant(node, inputs[1], "axes").astype(np.int64).reshape(-1).tolist())
        rank = len(self.onnx_shape(node.input[0], node))
        return rank > 2 and axes is not None and sorted(axis % rank for axis in axes) == list(range(2, rank))

    @handles("Concat")
    def concatenation(self, node: NodeProto, inputs: Values) -> Value:
        """Read Concat along channels; of vectors too, where the maps behind them are of one size."""
        rank = len(self.onnx_shape(node.output[0], node))
        if nodes_of.operator_of(node).attribute("axis", 1) % rank != 1:
            return Host(node, "is supported along channels only")
        if not all(isinstance(value, Map | Pending) for value in inputs):
            return Host(node, "is supported for maps only")
        maps = [self.settled(node, value) for value in inputs]
        sources = tuple(value.tensor for value in maps)
        for name, tensor in zip(node.input, sources, strict=True):
            seen = nodes_of.map_shape(node, self.onnx_shape(name, node))
            if rank > 2 and tensor.shape != seen:
                raise error(node, f"it reads {tensor.shape} reshaped to {seen}, and maps keep their shape")
            if tensor.shape[1:] != sources[0].shape[1:]:
                raise error(node, f"it reads maps of {sources[0].shape} and {tensor.shape}, of different sizes")
        shape = (sum(tensor.shape[0] for tensor in sources), *sources[0].shape[1:])
        joined = Joined(node, name_of(node), shape, node.output[0], sources)
        if all(value.real for value in maps):
            return joined
        to = self.without_scale(joined)
        if to is None:
            raise error(node, "it joins codes of different scales")
        return Map(self.emitted((joined.start,), joined, to), real=False)

    @handles(*(name for name in SHAPING if name != "Transpose"))
    def reshaped(self, node: NodeProto, inputs: Values) -> Value:
        """Return the same value for another shape of the same order."""
        if self.onnx_shape(node.output[0], node)[:1] != (self.static.batch,):
            return Host(node, "moves numbers from one image to another")
        if node.op_type == "Dropout" and len(inputs) > 2 and self.constant(node, inputs[2], "training_mode").any():
            return Host(node, "drops values at random (training_mode)")
        return self.passed(node, inputs[0])

    @handles("Transpose")
    def transposed(self, node: NodeProto, inputs: Values) -> Value:
        """Return the same value where only axes of one element move."""
        read = self.onnx_shape(node.input[0], node)
        order = nodes_of.operator_of(node).attribute("perm", tuple(reversed(range(len(read)))))
        long = [axis for axis in order if axis == 0 or read[axis] > 1]
        if order[0] or long != sorted(long):
            return Host(node, "turns maps, which is not supported")
        return self.passed(node, inputs[0])

    @handles(*ELEMENTWISE)
    def elementwise(self, node: NodeProto, inputs: Values) -> Value:
        """Read an activation, a function of one code, a sum, or a normalisation by constants."""
        changing = [value for value in inputs if isinstance(value, Map | Pending)]
        fixed = [value.array if isinstance(value, Constant | Weights) else None for value in inputs]
        if not changing or any(isinstance(value, Head) for value in inputs):
            return Host(node, "mixes the model's floats with what is quantised")
        if any(is_codes(value) for value in changing):
            return self.recoded(node, inputs)
        if len(changing) == 1 and isinstance(changing[0], Pending) and not isinstance(changing[0], Function):
            behind = nodes_of.activation(node, fixed[1:])
            done = changing[0].activated(behind) if behind is not None else None
            if done is not None:
                return done
        if all(small(array) for array in fixed) and all(isinstance(value, Map | Function) for value in changing):
            function = self.function(node, inputs)
            if function is not None:
                return function
        if len(inputs) == 2 and len(changing) == 1 and node.op_type in ("Add", "Sub", "Mul", "Div"):
            return self.with_constant(node, inputs, changing[0])
        if node.op_type == "Add" and len(changing) == 2:
            return self.sum(node, inputs)
        if all(isinstance(value, Map | Function) for value in changing):
            return Host(node, "is no function of one code, and has no gateware")
        last = next(value for value in changing if isinstance(value, Pending) and not isinstance(value, Function))
        return Host(node, f"reads the result of {title_of(last.origin)}, behind which no QuantizeLinear stands")

    def recoded(self, node: NodeProto, inputs: Values) -> Value:
        """Read a function of one code that works on codes."""
        changing = [value for value in inputs if isinstance(value, Map | Pending)]
        fixed = [value for value in inputs if isinstance(value, Constant | Weights)]
        sources = {tensor.name: tensor for tensor, _ in (codes_of(value) for value in changing if is_codes(value))}
        one = all(is_codes(value) for value in changing) and len(sources) == 1 and self.keeps_shape(node, inputs)
        if not one or not all(small(value.array) for value in fixed):
            return Host(node, "works on codes, and is no function of one code")
        (source,) = sources.values()
        arrays = [
            value.array.reshape(()) if isinstance(value, Constant | Weights) else codes_of(value)[1]
            for value in inputs
            if is_codes(value) or isinstance(value, Constant | Weights)
        ]
        values = evaluate(node, arrays, self.static.opsets)[0]
        result = (node, name_of(node), source.shape, node.output[0], source, node.op_type)
        if values.dtype in CODE_TYPES:
            return Recoded(*result, values)
        if values.dtype == np.float32:
            return Function(*result, values)
        return Host(node, f"makes {values.dtype} of codes, and uint8 and int8 are supported")

    @handles("Cast")
    def cast(self, node: NodeProto, inputs: Values) -> Value:
        """Return the same value where it has the type already; of codes a function, which may wrap round."""
        value, types = inputs[0], self.static.types
        kind = types.get(node.output[0])
        if value is not None and kind and kind == types.get(node.input[0]):
            return value
        if is_codes(value):
            return self.recoded(node, inputs[:1])
        return Host(node, "changes the type of real numbers")

    def function(self, node: NodeProto, inputs: Values) -> Function | None:
        """Return a node as a function of one code; ``None``: it reads more than one tensor."""
        changing = [value for value in inputs if isinstance(value, Map | Function)]
        paths = [roots(value, self.tables) for value in changing]
        common = [name for name in paths[0] if all(name in path for path in paths)]
        if not common or any(isinstance(value, Map) and not value.real for value in changing):
            return None
        if not self.keeps_shape(node, inputs):
            return None
        root = self.tensors[common[0]]
        arrays = []
        for value in inputs:
            if isinstance(value, Constant | Weights):
                arrays.append(value.array.reshape(()))
            elif isinstance(value, Map | Function):
                arrays.append(values_of(value, root, self.tables))
        values = evaluate(node, arrays, self.static.opsets)[0].astype(np.float32)
        if np.isnan(values).any():
            raise error(node, f"operator {node.op_type!r} makes of some code what is no number")
        function = Function(node, name_of(node), root.shape, node.output[0], root, node.op_type, values)
        kernel = self.kernel(node, KERNELS.get(node.op_type, ""), inputs)
        return self.by_kernel(function, kernel, inputs) if kernel else function

    def by_kernel(self, function: Function, kernel: str, inputs: Values) -> Function:
        """Return the function of a sum or a product with values that are not rounded to float32."""
        exact = [
            value.exact.reshape(())
            if isinstance(value, Weights)
            else (codes_behind(value, function.source, self.tables) - value.tensor.format.zero_point)
            * float(np.float32(value.tensor.scale))
            for value in inputs
            if isinstance(value, Weights | Map)
        ]
        values = exact[0] + exact[1] if kernel == "QLinearAdd" else exact[0] * exact[1]
        operands = tuple(value.tensor for value in inputs if isinstance(value, Map))
        return replace(function, exact=values, operands=operands, kernel=kernel)

    def keeps_shape(self, node: NodeProto, inputs: Values) -> bool:
        """Return whether all maps that a node reads have the shape of its result: nothing is spread but constants."""
        made = self.onnx_shape(node.output[0], node)
        pairs = zip(node.input, inputs, strict=True)
        return all(self.onnx_shape(name, node) == made for name, value in pairs if isinstance(value, Map | Pending))

    def with_constant(self, node: NodeProto, inputs: Values, value: Map | Pending) -> Value:
        """Read a sum, difference, product or quotient of a map and one constant a channel."""
        first = inputs[1] is value
        other = inputs[0 if first else 1]
        constant = self.constant(node, other, "operand")
        kernel = self.kernel(node, KERNELS.get(node.op_type, ""), inputs)
        if kernel and isinstance(other, Weights):
            constant = other.exact
        if not self.keeps_shape(node, inputs):
            return Host(node, "spreads a map over a constant")
        shape = self.onnx_shape(node.output[0], node)
        found = nodes_of.affine(node, constant, shape, nodes_of.map_shape(node, shape)[0], first)
        if found is None:
            return Host(node, "is supported with one constant a channel only")
        return self.scaled(node, value, *found, kernel)

    def scaled(self, node: NodeProto, value: Value | None, factor: NDArray, shift: NDArray, kernel: str = "") -> Value:
        """Return ``factor`` times a value and ``shift`` more, (C,): folded into the layer before, or as a layer."""
        if isinstance(value, Sums) and value.activation == LINEAR and value.layer.outputs % len(factor) == 0:
            pixels = value.layer.outputs // len(factor)  # more than one: of a dense layer that makes a map
            folded = value.scaled(factor.repeat(pixels), shift.repeat(pixels))
            return replace(folded, start=node.output[0])
        if isinstance(value, Affine) and value.activation == LINEAR:
            return replace(value, factor=value.factor * factor, shift=value.shift * factor + shift, kernel="")
        source = self.settled(node, value).tensor
        if source.shape[0] != len(factor):
            raise error(node, f"it has {len(factor)} channels, and reads a map of {source.shape}")
        result = (node, name_of(node), source.shape, node.output[0], source)
        return Affine(*result, factor, shift, kernel=kernel)

    def sum(self, node: NodeProto, inputs: Values) -> Value:
        """Read Add of two maps of one shape."""
        shapes = [self.onnx_shape(name, node) for name in node.input]
        if shapes[0] != shapes[1]:
            return Host(node, f"adds tensors of different shapes, {shapes[0]} and {shapes[1]}")
        a, b = (self.settled(node, value).tensor for value in inputs)
        if a.shape != b.shape:
            raise error(node, f"it adds maps of {a.shape} and {b.shape}, reshaped to one shape")
        kernel = self.kernel(node, "QLinearAdd", inputs)
        return Plus(node, name_of(node), a.shape, node.output[0], (a, b), kernel=kernel)
