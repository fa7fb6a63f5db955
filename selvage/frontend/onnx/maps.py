"""Operators without weights in a quantised ONNX graph: pools, enlargement, joining, adding, functions of one code."""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from selvage.base.graph import LINEAR, Integers, Shape, Tensor
from selvage.frontend.onnx import nodes as nodes_of
from selvage.frontend.onnx.affine import Affine
from selvage.frontend.onnx.codes import CODE_TYPES, Recoded, codes_of, is_codes
from selvage.frontend.onnx.evaluate import evaluate
from selvage.frontend.onnx.joins import Joined, Plus, Product
from selvage.frontend.onnx.nodes import error
from selvage.frontend.onnx.pools import PoolReader
from selvage.frontend.onnx.read import name_of, title_of
from selvage.frontend.onnx.reader import Value, Values, handles, small
from selvage.frontend.onnx.values import (
    Constant,
    Function,
    Head,
    Host,
    Map,
    Pending,
    Sums,
    Weights,
    codes_behind,
    roots,
    values_of,
)
from selvage.frontend.onnx.views import View, Viewed, viewed

ELEMENTWISE = (
    *("Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Gelu", "Mish", "Swish", "Clip"),
    *("Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign", "Erf", "Exp", "Log", "Sqrt"),
    *("Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Reciprocal", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh"),
    *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mod", "Sum", "Mean"),
)
KERNELS = {"Add": "QLinearAdd", "Mul": "QLinearMul"}


class MapReader(PoolReader):
    """What each operator makes of the values that it reads: one method for each kind of operator."""

    @handles("Concat")
    def concatenation(self, node: NodeProto, inputs: Values) -> Value:
        """Read Concat along channels; of vectors too, where the maps behind them are of one size."""
        rank = len(self.onnx_shape(node.output[0], node))
        axis = nodes_of.operator_of(node).attribute("axis", 1) % rank
        if not all(isinstance(value, Map | Pending) for value in inputs):
            return Host(node, "is supported for maps only")
        maps = [self.settled(node, value) for value in inputs]
        sources, view = self.side_by_side(node, maps, axis)
        shape = (sum(tensor.shape[0] for tensor in sources), *sources[0].shape[1:])
        joined = Joined(node, name_of(node), shape, node.output[0], sources)
        if all(value.real for value in maps):
            return viewed(joined, view)
        to = self.without_scale(joined)
        if to is None:
            raise error(node, "it joins codes of different scales")
        self.views[to.name] = view
        return Map(self.emitted((joined.start,), joined, to), real=False, view=view)

    def side_by_side(self, node: NodeProto, maps: list[Map], axis: int) -> tuple[tuple[Tensor, ...], View | None]:
        """Return maps whose channels, one map's after the other's, are a result joined along ``axis``; and its view."""
        plain = axis == 1 and all(value.view is None for value in maps)
        if plain and len({value.tensor.shape[1:] for value in maps}) == 1:
            shapes = [self.onnx_shape(name, node) for name in node.input]
            if all(
                len(own) == 2 or nodes_of.map_shape(node, own) == v.tensor.shape
                for own, v in zip(shapes, maps, strict=True)
            ):
                return tuple(value.tensor for value in maps), None
        seen = [self.as_seen(node, value, k) for k, value in enumerate(maps)]
        axis -= self.onnx_shape(node.output[0], node)[:1] == (self.static.batch,)
        if axis < 0:
            raise error(node, "it joins images")
        first = [np.moveaxis(numbers, axis, 0) for numbers in seen]
        sides = self.sides_of(first, maps)
        pairs = zip(maps, first, strict=True)
        sources = tuple(self.in_order(node, value, own, (len(own), *sides)) for value, own in pairs)
        count = sum(map(len, first))
        numbers = np.moveaxis(np.arange(count * math.prod(sides)).reshape(count, *first[0].shape[1:]), 0, axis)
        whole = self.of_all_images(numbers).reshape(self.onnx_shape(node.output[0], node))
        return sources, None if axis == 0 else View(whole, 0, node)

    @staticmethod
    def sides_of(numbers: list[Integers], maps: list[Map]) -> tuple[int, int]:
        """Return rows and columns of maps with these ``numbers``, channels first: those that a map has already."""
        rest = numbers[0].shape[1:]
        for own, value in zip(numbers, maps, strict=True):
            if value.tensor.shape[0] == len(own) and math.prod(value.tensor.shape[1:]) == math.prod(rest):
                return value.tensor.shape[1], value.tensor.shape[2]
        return (math.prod(rest[:-1]), rest[-1]) if rest else (1, 1)

    @handles(*ELEMENTWISE)
    def elementwise(self, node: NodeProto, inputs: Values) -> Value:
        """Read an activation, a function of one code, a sum or product of maps, or a normalisation by constants."""
        changing = [value for value in inputs if isinstance(value, Map | Pending)]
        if not changing or any(isinstance(value, Head) for value in inputs):
            return Host(node, "mixes the model's floats with what is quantised")
        if (same := self.same_view(changing)) is not None:
            if len(changing) == 1 and isinstance(changing[0], Map) and same.numbers.size < changing[0].tensor.numbers:
                whole = [self.as_own_map(node, value, k) for k, value in enumerate(inputs)]
                return self.one_order(node, whole, self.onnx_shape(node.output[0], node))
            plain = self.without_view(node, inputs, same)
            if plain is None:
                return Host(node, "is supported with one constant a channel only")
            shape = (self.static.batch, *shape_of(plain[inputs.index(changing[0])]))
            return self.with_view_again(node, self.one_order(node, plain, shape), same)
        return self.one_order(node, inputs, self.onnx_shape(node.output[0], node))

    def one_order(self, node: NodeProto, inputs: Values, shape: tuple[int, ...]) -> Value:
        """Return what a node makes of values that are all in the order of their maps, or each in its own.

        Constants spread to ``shape``.
        """
        changing = [value for value in inputs if isinstance(value, Map | Pending)]
        fixed = [value.array if isinstance(value, Constant | Weights) else None for value in inputs]
        if any(is_codes(value) for value in changing):
            return self.recoded(node, inputs)
        first = changing[0]
        if len(changing) == 1 and inputs[0] is first:
            behind = nodes_of.activation(node, fixed[1:], shape)
            if behind is not None and isinstance(first, Map) and not all(map(small, fixed[1:])):
                ones = np.ones(first.tensor.shape[0])
                same = self.scaled(node, first, ones, 0 * ones)
                return (same.activated(behind) if isinstance(same, Pending) else None) or Host(node, "bends no map")
            if behind is not None and isinstance(first, Pending) and not isinstance(first, Function):
                done = first.activated(behind)
                if done is not None:
                    return done
        if all(small(array) for array in fixed) and all(isinstance(value, Map | Function) for value in changing):
            function = self.function(node, inputs)
            if function is not None:
                return function
        if len(inputs) == 2 and len(changing) == 1 and node.op_type in ("Add", "Sub", "Mul", "Div"):
            return self.with_constant(node, inputs, first, shape)
        if node.op_type in JOINING and len(changing) == len(inputs):
            return self.joined(node, inputs)
        if all(isinstance(value, Map | Function) for value in changing):
            return Host(node, "is no function of one code, and has no gateware")
        last = next(value for value in changing if isinstance(value, Pending) and not isinstance(value, Function))
        return Host(node, f"reads the result of {title_of(last.origin)}, behind which no QuantizeLinear stands")

    @staticmethod
    def same_view(values: list[Map | Pending]) -> View | None:
        """Return the view that all values have; ``None``: they have none, or several."""
        views = [value.view if isinstance(value, Map | Viewed) else None for value in values]
        first = views[0]
        if first is None or any(own is None or not np.array_equal(own.numbers, first.numbers) for own in views):
            return None
        return first

    def without_view(self, node: NodeProto, inputs: Values, view: View) -> Values | None:
        """Return values in the order of their maps, constants in it too; ``None``: those differ within a channel."""
        found: Values = []
        sizes = [shape_of(value) for value in inputs if isinstance(value, Map | Pending)]
        for value in inputs:
            if isinstance(value, Map):
                value = replace(value, view=None)
            elif isinstance(value, Viewed):
                value = value.before
            elif isinstance(value, Constant | Weights) and not small(value.array):
                numbers = self.per_image(view.numbers, math.prod(sizes[0]))
                made = self.onnx_shape(node.output[0], node)
                if numbers is None or not self.is_all(numbers, math.prod(sizes[0])):
                    return None
                spread, whole = np.empty(numbers.size, value.array.dtype), np.broadcast_to(value.array, made)
                whole = whole[0] if made[:1] == (self.static.batch,) else whole
                spread[numbers.reshape(-1)] = whole.reshape(-1)
                by_channel = spread.reshape(sizes[0])
                if (by_channel != by_channel[:, :1, :1]).any():
                    return None
                value = Constant(by_channel[:, :1, :1])
            found.append(value)
        return found

    def with_view_again(self, node: NodeProto, value: Value, view: View) -> Value:
        """Return a result, made in the order of its map, as ONNX sees it."""
        if isinstance(value, Map):
            return replace(value, view=view)
        return viewed(value, view) if isinstance(value, Pending) else value

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

    def with_constant(self, node: NodeProto, inputs: Values, value: Map | Pending, shape: tuple[int, ...]) -> Value:
        """Read a sum, difference, product or quotient of a map and one constant a channel."""
        first = inputs[1] is value
        other = inputs[0 if first else 1]
        constant = self.constant(node, other, "operand")
        kernel = self.kernel(node, KERNELS.get(node.op_type, ""), inputs)
        if kernel and isinstance(other, Weights):
            constant = other.exact
        if not self.keeps_shape(node, inputs):
            return Host(node, "spreads a map over a constant")
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
        if isinstance(value, Plus) and value.activation == LINEAR and not shift.any() and (factor == factor[0]).all():
            own = value.coefficients or (Fraction(1),) * len(value.sources)
            return replace(value, coefficients=tuple(Fraction(factor[0]) * each for each in own), kernel="")
        source = self.settled(node, value).tensor
        if source.shape[0] != len(factor):
            raise error(node, f"it has {len(factor)} channels, and reads a map of {source.shape}")
        result = (node, name_of(node), source.shape, node.output[0], source)
        return Affine(*result, factor, shift, kernel=kernel)

    def joined(self, node: NodeProto, inputs: Values) -> Value:
        """Read a sum, difference, mean or product of maps, spread to one shape as ONNX does it."""
        if len(inputs) == 1:
            return self.passed(node, inputs[0])
        if node.op_type == "Mul" and len(inputs) != 2:
            return Host(node, "multiplies more than two maps")
        maps = [self.settled(node, value) for value in inputs]
        tensors, view = self.aligned(node, maps)
        kernel = self.kernel(node, KERNELS.get(node.op_type, ""), inputs)
        result = (node, name_of(node), tensors[0].shape, node.output[0])
        if node.op_type == "Mul":
            return viewed(Product(*result, (tensors[0], tensors[1]), kernel=kernel), view)
        return viewed(
            Plus(*result, tuple(tensors), coefficients=JOINING[node.op_type](len(tensors)), kernel=kernel), view
        )


JOINING: dict[str, Callable[[int], tuple[Fraction, ...]]] = {  # coefficients of so many maps
    "Add": lambda count: (),
    "Sum": lambda count: (),
    "Mul": lambda count: (),
    "Sub": lambda count: (Fraction(1), Fraction(-1)),
    "Mean": lambda count: (Fraction(1, count),) * count,
}


def shape_of(value: Value | None) -> Shape:
    """Return (C, H, W) of a map or a pending result."""
    if isinstance(value, Map):
        return value.tensor.shape
    assert isinstance(value, Pending)
    return value.shape
