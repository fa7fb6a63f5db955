"""Reading a quantised ONNX graph node by node: what is quantised, and what has weights."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto
from onnx.helper import tensor_dtype_to_np_dtype

from selvage.base.graph import Tensor
from selvage.base.layer import Layer
from selvage.base.registry import load
from selvage.frontend.onnx import nodes as nodes_of
from selvage.frontend.onnx.bodies import captured, reads
from selvage.frontend.onnx.codes import Recoded, is_codes
from selvage.frontend.onnx.evaluate import evaluate
from selvage.frontend.onnx.loops import LoopReader
from selvage.frontend.onnx.nodes import error
from selvage.frontend.onnx.read import is_operator, name_of, title_of
from selvage.frontend.onnx.reader import CONVOLUTIONS, HANDLERS, MATRICES, NoScale, Value, Values, handles
from selvage.frontend.onnx.static import SHAPING, Static
from selvage.frontend.onnx.values import Constant, Function, Head, Host, Map, Pending, Shape3, Sums, Weights
from selvage.frontend.onnx.views import View, Viewed, padding, viewed
from selvage.golden.requantize import all_codes, dequantise


class Importer(LoopReader):
    """The walk over a graph, node by node, which gives every name its value."""

    def __init__(self, static: Static, *, partial: bool = False) -> None:
        super().__init__(static)
        self.partial = partial
        load(__package__)

    def run(self) -> None:
        """Give every name of the graph its value. `InputError`: an operator is in a place where it cannot be."""
        for info in self.static.inputs:
            self.values[info.name] = Head()
        self.values |= {name: Constant(array) for name, array in self.static.constants.items()}
        for node in self.static.graph.node:
            if not node.output:
                raise error(node, f"operator {node.op_type!r} makes nothing")
            for name in reads(node):
                if name not in self.values:
                    raise error(node, f"it reads {name!r}, which is no tensor that the graph makes or stores densely")
            inputs = [self.values[name] if name else None for name in (*node.input, *captured(node))]
            found = self.value(node, inputs)
            values = found if isinstance(found, list) else [found]
            value = values[0]
            why = "is supported for its first result only" if node.op_type in HANDLERS else "is not supported"
            other = value if isinstance(value, Head | Host) else Host(node, why)
            others = {name: other for name in node.output[len(values) :]}
            self.values |= others | dict(zip(node.output, values, strict=False))

    def value(self, node: NodeProto, inputs: Values) -> Value | list[Value]:
        """Return what a node's first result stands for, or all of its results."""
        matrix = is_operator(node, *MATRICES)
        for value in inputs:
            if isinstance(value, Host):
                if is_operator(node, "QuantizeLinear") and value is inputs[0]:
                    return self.cut(node, value, inputs)
                return self.behind_host(node, value, inputs)
        if is_operator(node, "DynamicQuantizeLinear"):
            return Host(node, "takes its scale from each image, and scales must be constant")
        if not is_operator(node, "QuantizeLinear", "DequantizeLinear"):
            if inputs and all(isinstance(value, Head | Constant | None) for value in inputs):
                if matrix:
                    self.left_in_floats(node, inputs)
                return Head()
            if is_operator(node, *SHAPING) and isinstance(inputs[0], Weights):
                return self.shaped_weights(node, inputs[0], [value for value in inputs[1:] if value is not None])
        handler = HANDLERS.get(node.op_type) if is_operator(node, node.op_type) else None
        if handler is None:
            return Host(node, "is not supported")
        try:
            return handler(self, node, inputs)
        except NoScale as missing:
            if matrix:
                raise
            return Host(missing.node, "has no QuantizeLinear behind it")

    def cut(self, node: NodeProto, host: Host, inputs: Values) -> Value:
        """Return what the host quantises between layers: the network is cut there.

        `Host`, as before: it needs the model's input too, or an operator of it is none that is left to the host.
        """
        found = self.between(node)
        if isinstance(found, Host):
            return self.behind_host(node, found, inputs)
        name = node.output[0]
        shape = self.wanted.get(name) or self.shape_made(node)
        return self.add_hosted(node, nodes_of.quantised(node, name, shape, *self.scales(node, inputs)), found)

    def behind_host(self, node: NodeProto, host: Host, inputs: Values) -> Host:
        """Leave a node that reads what ``host`` makes to the host too.

        `InputError`: it has quantised weights, and so is meant for crossbars.
        """
        if is_operator(node, *MATRICES) and any(isinstance(value, Weights) for value in inputs):
            message = f"operator {host.node.op_type!r} {host.why}, and {title_of(node)} behind it has quantised weights"
            if is_operator(host.node, *MATRICES) and host.node.op_type != "MatMul":
                # In onnxruntime's other form a transposed convolution stays in floats.
                form = " --form qdq" if host.node.op_type == "ConvTranspose" else ""
                message = f"{message}; quantise it too, as `selvage quantize{form}` does"
            raise error(host.node, message)
        return host

    def left_in_floats(self, node: NodeProto, inputs: Values) -> str:
        """Return why a layer without quantised weights is the host's, and keep that for a later message."""
        fixed = [name for name, value in zip(node.input[:2], inputs, strict=False) if isinstance(value, Constant)]
        why = "has no constant weights"
        if fixed:
            why = f"has the weight {fixed[0]!r} without a scale, as no DequantizeLinear makes it"
        self.floats.append(error(node, f"operator {node.op_type!r} {why}; {self.advice}"))
        return why

    def scales(self, node: NodeProto, inputs: Values) -> tuple[NDArray, NDArray | None]:
        """Return scale and zero point of a node that quantises or dequantises."""
        operator = nodes_of.operator_of(node)
        if operator.attribute("block_size", 0):
            raise error(node, "blocks of scales (block_size) are not supported")
        scale = self.constant(node, inputs[1], "scale").astype(np.float32)
        if len(inputs) > 2 and inputs[2] is not None:
            return scale, self.constant(node, inputs[2], "zero point")
        kind = operator.attribute("output_dtype", 0) if is_operator(node, "QuantizeLinear") else 0
        if not kind:
            return scale, None
        dtype = tensor_dtype_to_np_dtype(kind)
        if dtype not in nodes_of.FORMATS:
            raise error(node, f"output_dtype = {kind} is {dtype}, and must be an integer of 2, 4, 8 or 16 bits")
        return scale, np.zeros((), dtype)

    @handles("QuantizeLinear")
    def quantise(self, node: NodeProto, inputs: Values) -> Value:
        """Make codes of what is read: here pending results get their nodes."""
        value, name = inputs[0], node.output[0]
        if isinstance(value, Constant | Weights):
            arrays = [self.constant(node, given, "input") for given in inputs if given is not None]
            return Constant(evaluate(node, arrays, self.static.opsets)[0])
        if isinstance(value, Map | Pending):
            shape = value.tensor.shape if isinstance(value, Map) else value.shape
        else:
            shape = self.wanted.get(name) or self.shape_made(node)
        to = nodes_of.quantised(node, name, shape, *self.scales(node, inputs))
        if isinstance(value, Map):
            source = value.tensor
            if (source.scale, source.format) == (to.scale, to.format):
                return Map(source, real=False, view=value.view)
            real = dequantise(all_codes(source.format), source)
            made = Function(node, name_of(node), source.shape, name, source, node.op_type, real)
            value = viewed(made, value.view)
        if isinstance(value, Viewed):
            key = (id(value.before), to.scale, to.format)  # several may be parts of one result
            tensor = self.emitted(key, value, to)
            self.views[tensor.name] = value.view
            return Map(tensor, real=False, view=value.view)
        if isinstance(value, Pending):
            return Map(self.emitted((node.input[0], to.scale, to.format), value, to), real=False)
        self.inputs[name] = self.tensors[name] = to  # made by the host
        return Map(to, real=False)

    @handles("DequantizeLinear")
    def dequantise(self, node: NodeProto, inputs: Values) -> Value:
        """Return what codes are worth."""
        value, name = inputs[0], node.input[0]
        scale, zero = self.scales(node, inputs)
        if isinstance(value, Constant):
            axis = nodes_of.operator_of(node).attribute("axis", 1) % max(value.array.ndim, 1)
            return nodes_of.dequantised(node, value.array, scale, zero, axis)
        if isinstance(value, Head):
            return self.entering(node, scale, zero)
        if isinstance(value, Recoded):
            return self.renamed(node, value, scale, zero)
        if not isinstance(value, Map) or value.real:
            return Host(node, "reads what no QuantizeLinear made")
        if zero is None:
            zero = np.zeros((), nodes_of.type_of(value.tensor.format))
        to = nodes_of.quantised(node, name, value.tensor.shape, scale, zero)
        if (to.scale, to.format) != (value.tensor.scale, value.tensor.format):
            raise error(node, f"it reads {name!r} by another scale or zero point than that was made with")
        return Map(value.tensor, real=True, direct=True, view=value.view)

    def entering(self, node: NodeProto, scale: NDArray, zero: NDArray | None) -> Value:
        """Return what codes are worth that the user gives, or that the host makes of what the user gives."""
        name = node.input[0]
        kind = self.static.types.get(name)
        if not kind:
            return Host(node, "reads codes of a type that ONNX cannot infer")
        if zero is None:
            zero = np.zeros((), tensor_dtype_to_np_dtype(kind))
        shape = self.wanted.get(name) or self.shape_read(node)
        to = nodes_of.quantised(node, name, shape, scale, zero)
        known = self.inputs.setdefault(name, to)
        self.tensors[name] = known
        if (known.scale, known.format) != (to.scale, to.format):
            raise error(node, f"it reads {name!r} by another scale or zero point than a node before it")
        return Map(known, real=True, direct=True)

    def renamed(self, node: NodeProto, value: Recoded, scale: NDArray, zero: NDArray | None) -> Map:
        """Return what codes are worth that a function made of others."""
        name = value.start
        zero = np.zeros((), value.codes.dtype) if zero is None else zero
        to = nodes_of.quantised(node, name, value.shape, scale, zero)
        if value.is_source(to):
            return Map(value.source, real=True, direct=True)
        known = self.tensors.get(name, to)
        if (known.scale, known.format) != (to.scale, to.format):
            raise error(node, f"it reads {name!r} by another scale or zero point than a node before it")
        return Map(self.emitted((name, to.scale, to.format), value, to), real=True, direct=True)

    @handles(*MATRICES)
    def matrix(self, node: NodeProto, inputs: Values) -> Value:
        """Return the sums of Conv, ConvTranspose, Gemm or MatMul."""
        value = inputs[0]
        if node.op_type == "MatMul" and all(isinstance(given, Map | Pending) for given in inputs):
            return Host(node, "multiplies two activations")
        if isinstance(value, Constant) or (len(inputs) > 1 and isinstance(inputs[1], Constant)):
            return Host(node, self.left_in_floats(node, inputs))
        if isinstance(value, Weights):
            raise error(node, f"operator {node.op_type!r} has weights as its first input, and must as its second")
        if is_codes(value):
            raise error(node, f"operator {node.op_type!r} reads codes without a scale")
        source = self.settled(node, value)
        weights = nodes_of.is_quantised(node, inputs[1], 1)
        if not is_operator(node, *CONVOLUTIONS):
            return self.dense(node, inputs, source, weights)
        found = self.convolution(node, source, weights)
        return self.sums(node, inputs, self.shape_made(node), *found)

    def convolution(self, node: NodeProto, value: Map, weights: Weights) -> tuple[Tensor, Layer, NDArray, NDArray]:
        """Return the map that a convolution reads, the layer, and weights and their scales.

        Lines of zeros around a map become pads of the layer.
        """
        shape, around = self.shape_read(node), None
        if node.op_type == "Conv" and value.view and value.view.fill == value.tensor.format.zero_point:
            around = padding(self.as_seen(node, value, 0).reshape(shape), value.tensor.shape)
        tensor = value.tensor if around else self.as_map(node, value)
        read = replace(tensor, shape=shape)
        layer, codes, scale = nodes_of.convolution(node, read, weights, self.shape_made(node))
        if around:
            pads = tuple(own + more for own, more in zip(layer.pads, around, strict=True))
            layer = layer.model_copy(update={"height": tensor.shape[1], "width": tensor.shape[2], "pads": pads})
        return tensor, layer, codes, scale

    def dense(self, node: NodeProto, inputs: Values, value: Map, weights: Weights) -> Value:
        """Return the sums of Gemm or MatMul: of all numbers of an image, or of each of its rows by itself."""
        if node.op_type == "Gemm":
            nodes_of.check_gemm(node)
            weights = nodes_of.not_turned(node, weights)
        if weights.codes.ndim != 2:
            raise error(node, f"weight {node.input[1]!r} has rank {weights.codes.ndim}, and must have rank 2")
        numbers = self.as_seen(node, value, 0)
        count = numbers.shape[-1] if numbers.ndim else 1
        if len(weights.codes) != count:
            raise error(node, f"it reads rows of {count} numbers, and its weights take {len(weights.codes)}")
        if numbers.size > count:
            return self.dense_rows(node, inputs, value, weights, numbers)
        tensor, flat = value.tensor, numbers.reshape(-1)
        if self.is_all(flat, tensor.numbers):
            order = np.argsort(flat)
            weights = replace(weights, codes=weights.codes[order], scale=weights.scale[order])
        else:
            tensor = self.in_order(node, value, flat, (count, 1, 1))
        return self.sums(node, inputs, self.shape_of_dense(node), tensor, *nodes_of.dense(node, tensor, weights))

    def dense_rows(self, node: NodeProto, inputs: Values, value: Map, weights: Weights, numbers: NDArray) -> Value:
        """Return the sums of each row: a 1x1 convolution of the map whose pixels the rows are, in any order."""
        rows, (channels, height, width) = numbers.shape[:-1], value.tensor.shape
        own = np.moveaxis(numbers, -1, 0).reshape(numbers.shape[-1], -1)
        place, count = own[0], math.prod(rows)
        as_it_is = (height * width, channels) == (count, len(own)) and self.is_all(place, count)
        if as_it_is and (own == place + np.arange(channels)[:, None] * count).all():
            tensor = value.tensor
        else:
            place = np.arange(count)
            tensor = self.in_order(node, value, own, (len(own), count // rows[-1], rows[-1]))
        outputs = weights.codes.shape[1]
        shape = (outputs, tensor.shape[1], tensor.shape[2])
        sums = self.sums(node, inputs, shape, tensor, *nodes_of.dense_rows(node, tensor, weights))
        made = np.moveaxis((place + np.arange(outputs)[:, None] * count).reshape(outputs, *rows), 0, -1)
        whole = self.of_all_images(made).reshape(self.onnx_shape(node.output[0], node))
        return viewed(sums, View(whole, 0, node))

    def sums(
        self,
        node: NodeProto,
        inputs: Values,
        shape: Shape3,
        tensor: Tensor,
        layer: Layer,
        codes: NDArray,
        scale: NDArray,
    ) -> Sums:
        """Return the sums of a layer, with its bias where it has one."""
        zeros = np.zeros(layer.outputs)
        sums = Sums(node, name_of(node), shape, node.output[0], tensor, layer, codes, zeros, scale)
        return sums if len(inputs) < 3 or inputs[2] is None else self.with_bias(node, sums, inputs[2])

    def with_bias(self, node: NodeProto, sums: Sums, bias: Value) -> Sums:
        """Return sums with the bias of their layer. `InputError`: it is not constant."""
        if not isinstance(bias, Constant | Weights):
            raise error(node, "its bias must be constant")
        return replace(sums, bias=nodes_of.bias_in_units(node, bias, sums.unit))

    def shape_of_dense(self, node: NodeProto) -> Shape3:
        """Return (C, H, W) in which the result of a dense layer is read as a map."""
        whole = self.onnx_shape(node.output[0], node)
        return self.wanted.get(node.output[0]) or (math.prod(whole[1:]), 1, 1)

    @handles("BatchNormalization")
    def normalisation(self, node: NodeProto, inputs: Values) -> Value:
        """Read BatchNormalization as a factor and a shift."""
        constants = [self.constant(node, value, "constants") for value in inputs[1:5]]
        return self.scaled(node, inputs[0], *nodes_of.normalisation(node, constants))

    def shaped_weights(self, node: NodeProto, weights: Weights, others: list[Value]) -> Weights:
        """Return codes and scales of a constant, both turned or reshaped."""
        rest = [self.constant(node, value, "shape") for value in others]
        codes, scale = (evaluate(node, [part, *rest], self.static.opsets)[0] for part in (weights.codes, weights.scale))
        return Weights(codes.astype(np.int64), scale.astype(np.float32), weights.kind)


def sums_tensor(sums: Sums) -> Tensor:
    """Return the tensor of sums that leave before they are requantised."""
    unit = sums.unit.astype(np.float32)
    shape = (sums.layer.outputs, *sums.layer.output_size)
    return Tensor(sums.start, shape, unit, nodes_of.SUMS)
