"""Operators on codes (QLinearConv, QGemm, ...) as float operators between DequantizeLinear and QuantizeLinear.

They mean the same, and so readers know one form only.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

from selvage.base.errors import InputError
from selvage.frontend.onnx.names import Names
from selvage.frontend.onnx.read import MADE_OF, name_of

MICROSOFT = "com.microsoft"
QONNX = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
ONE_INPUT = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
}
TWO_INPUTS = {"QLinearAdd": "Add", "QLinearMul": "Mul"}
INTEGER_SUMS = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}


def normalise(graph: GraphProto) -> None:
    """Rewrite every operator on codes in place.

    Tensors of codes keep their names, operators their nodes'; what is made between them gets names that nothing else in
    the graph has.
    """
    names, nodes, more = Names(graph), [], []
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            stored[node.output[0]] = node.attribute[0].t
    for node in graph.node:
        rewriter = _Rewriter(node, names, stored)
        nodes += rewriter.nodes()
        more += rewriter.more
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(more)


class _Rewriter:
    """The rewriting of one node."""

    def __init__(self, node: NodeProto, names: Names, stored: dict[str, TensorProto]) -> None:
        self.node = node
        self.names = names
        self.stored_before = stored
        self.more: list[TensorProto] = []
        self.name = name_of(node)
        self.made: list[NodeProto] = []

    def nodes(self) -> list[NodeProto]:
        """Return the node itself where it is of no operator on codes, and else the nodes that mean the same.

        Messages call them by the node's name.
        """
        made = self.rewritten()
        for part in made if len(made) > 1 else []:
            part.doc_string = f"{MADE_OF}{self.name}"
        return made

    def rewritten(self) -> list[NodeProto]:
        """Return the nodes that take the place of the node."""
        operator = self.node.op_type
        standard = self.node.domain in ("", "ai.onnx")
        if standard and operator in INTEGER_SUMS:
            return self.integer_sums()
        methods: dict[str, Callable[[], list[NodeProto]]]
        methods = {"QLinearConv": self.convolution, "QLinearMatMul": self.product} if standard else {}
        if self.node.domain == MICROSOFT:
            methods = {"QGemm": self.gemm, "QLinearConcat": self.concatenation}
            methods |= dict.fromkeys(ONE_INPUT, self.one_input) | dict.fromkeys(TWO_INPUTS, self.two_inputs)
            methods |= dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), self.plain)
        if self.node.domain in QONNX and operator == "Quant":
            return self.quant()
        return methods[operator]() if operator in methods else [self.node]

    def quant(self) -> list[NodeProto]:
        """Return QONNX's Quant (x, scale, zero point, bits) as codes of eight bits, cut to fewer, and their worth."""
        node, given = self.node, {item.name: helper.get_attribute_value(item) for item in self.node.attribute}
        bits, zero = (self.constant(position) for position in (3, 2))
        scale = self.constant(1)
        title = f"node {self.name!r}"
        if bits is None or zero is None or scale is None:
            raise InputError(f"{title}: scale, zero point and bits of Quant must be constant")
        signed, narrow = bool(given.get("signed", 1)), bool(given.get("narrow", 0))
        mode = given.get("rounding_mode", b"ROUND")
        mode = mode.decode(errors="replace").upper() if isinstance(mode, bytes) else str(mode)
        width = float(bits.reshape(-1)[0]) if bits.size else 0.0
        fixed = self.constant(0)
        most = 8 if fixed is None else 32
        if bits.size != 1 or width not in range(1, most + 1):
            found = bits.reshape(-1).tolist()
            raise InputError(f"{title}: bits = {found} of Quant must be one whole number from 1 to {most}")
        whole = np.isfinite(zero).all() and (zero == np.rint(zero)).all() and np.unique(zero).size == 1
        if mode not in ("ROUND", "HALF_EVEN") or not whole:
            raise InputError(f"{title}: Quant must round halves to even (ROUND) and have one whole zero point")
        ends = np.iinfo(np.int8 if signed else np.uint8)
        if not (zero.size and scale.size) or not (ends.min <= zero.reshape(-1)[0] <= ends.max):
            found = zero.reshape(-1).tolist() if scale.size else scale.tolist()
            raise InputError(f"{title}: Quant has the zero point or scale {found}, outside {ends.min} .. {ends.max}")
        axes = [axis for axis, side in enumerate(scale.shape) if side > 1]
        if len(axes) > 1:
            raise InputError(f"{title}: Quant has scales of shape {scale.shape}, and must have one, or one a channel")
        if fixed is not None and width > 8:
            return self.stored_quant(fixed, scale, int(width), signed=signed, narrow=narrow)
        kind = np.dtype(np.int8 if signed else np.uint8)
        low = -(2 ** (int(width) - 1)) + narrow if signed else 0
        high = 2 ** (int(width) - 1) - 1 if signed else 2 ** int(width) - 1 - narrow
        own = np.asarray(scale.reshape(-1) if axes else scale.reshape(()), np.float32)
        points = np.full(own.shape, zero.reshape(-1)[0]).astype(kind)
        names = [self.stored(own, "scale"), self.stored(points, "zero_point")]
        axis = axes[0] if axes else None
        codes = self.add("QuantizeLinear", [node.input[0], *names], "codes", axis)
        if width < 8 or narrow:
            ends = [self.stored(np.array(end, kind), "limit") for end in (low, high)]
            codes = self.add("Clip", [codes, *ends], "clipped")
        made = helper.make_node("DequantizeLinear", [codes, *names], [node.output[0]], name=self.name, axis=axis)
        return [*self.made, made]

    def stored_quant(
        self, values: NDArray, scale: NDArray, width: int, *, signed: bool, narrow: bool
    ) -> list[NodeProto]:
        """Return a constant of more than eight bits, such as a bias, as its codes of 32 bits and their worth."""
        if not signed or scale.size not in (1, *values.shape[:1]):
            raise InputError(
                f"node {self.name!r}: a Quant of {width} bits must have a sign, and one scale or one a channel"
            )
        low, high = -(2 ** (width - 1)) + narrow, 2 ** (width - 1) - 1
        spread = scale.reshape(-1, *(1,) * (values.ndim - 1)) if scale.size > 1 else scale.reshape(())
        codes = np.clip(np.rint(values.astype(np.float32) / np.float32(spread)), low, high).astype(np.int64)
        one = np.asarray(scale.reshape(-1) if scale.size > 1 else scale.reshape(()), np.float32)
        names = [self.stored(np.clip(codes, -(2**31), 2**31 - 1).astype(np.int32), "codes"), self.stored(one, "scale")]
        axis = 0 if scale.size > 1 else None
        return [helper.make_node("DequantizeLinear", names, [self.node.output[0]], name=self.name, axis=axis)]

    def constant(self, position: int) -> NDArray | None:
        """Return a constant input's numbers; ``None``: it is none."""
        tensor = self.stored_before.get(self.input(position))
        return None if tensor is None else numpy_helper.to_array(tensor)

    def stored(self, array: NDArray, what: str) -> str:
        """Store a constant, and return its name."""
        name = self.names.fresh(f"{self.name}/{what}")
        self.more.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def input(self, position: int) -> str:
        """Return the name of an input; nothing where it is left out."""
        return self.node.input[position] if position < len(self.node.input) else ""

    def add(self, operator: str, inputs: list[str], what: str, axis: int | None = None) -> str:
        """Make a helper node, and return the name of its output."""
        name = self.names.fresh(f"{self.name}/{what}")
        self.made.append(helper.make_node(operator, inputs, [name], name=name, axis=axis))
        return name

    def real(self, position: int, axis: int = 0) -> str:
        """Return the name of what codes are worth, whose scale and zero point stand behind them at ``position``."""
        inputs = [self.input(position + k) for k in range(3)]
        return self.add("DequantizeLinear", inputs if inputs[2] else inputs[:2], f"input{position}", axis=axis)

    def bias(self, position: int, scales: tuple[int, int]) -> list[str]:
        """Return the name of the bias, its unit the product of the two scales, or nothing."""
        if not self.input(position):
            return []
        unit = self.add("Mul", [self.input(scale) for scale in scales], "bias_scale")
        return [self.add("DequantizeLinear", [self.input(position), unit], "bias", axis=0)]

    def finish(
        self, operator: str, inputs: list[str], scale: int | None, drop: tuple[str, ...] = ()
    ) -> list[NodeProto]:
        """Make the operator, and QuantizeLinear by the scale and zero point at position ``scale``; return all nodes.

        Without a scale there the operator is the last node.
        """
        codes = [] if scale is None or not self.input(scale) else [self.input(scale), self.input(scale + 1)]
        result = self.names.fresh(f"{self.name}/result") if codes else self.node.output[0]
        made = helper.make_node(operator, inputs, [result], name=self.name)
        made.attribute.extend(item for item in self.node.attribute if item.name not in drop)
        self.made.append(made)
        if codes:
            names = [name for name in codes if name]
            name = self.names.fresh(f"{self.name}/QuantizeLinear")
            self.made.append(helper.make_node("QuantizeLinear", [result, *names], self.node.output, name=name))
        return self.made

    def attribute(self, name: str) -> int:
        """Return an integer attribute, 0 where it is not there."""
        found: list[AttributeProto] = [item for item in self.node.attribute if item.name == name]
        return found[0].i if found else 0

    def plain(self) -> list[NodeProto]:
        """Rewrite an operator of ONNX's that is named by another domain."""
        made = NodeProto()
        made.CopyFrom(self.node)
        made.domain = ""
        return [made]

    def convolution(self) -> list[NodeProto]:
        """Rewrite QLinearConv."""
        return self.finish("Conv", [self.real(0), self.real(3), *self.bias(8, (1, 4))], 6)

    def product(self) -> list[NodeProto]:
        """Rewrite QLinearMatMul."""
        return self.finish("MatMul", [self.real(0), self.real(3, axis=1)], 6)

    def gemm(self) -> list[NodeProto]:
        """Rewrite QGemm."""
        weights = self.real(3, axis=0 if self.attribute("transB") else 1)
        return self.finish("Gemm", [self.real(0), weights, *self.bias(6, (1, 4))], 7)

    def one_input(self) -> list[NodeProto]:
        """Rewrite one of `ONE_INPUT`. `InputError`: its channels come last."""
        if self.attribute("channels_last"):
            raise InputError(f"node {self.name!r}: channels_last = 1 is not supported, and must be 0")
        return self.finish(ONE_INPUT[self.node.op_type], [self.real(0)], 3, ("channels_last", "opset"))

    def two_inputs(self) -> list[NodeProto]:
        """Rewrite one of `TWO_INPUTS`."""
        return self.finish(TWO_INPUTS[self.node.op_type], [self.real(0), self.real(3)], 6)

    def concatenation(self) -> list[NodeProto]:
        """Rewrite QLinearConcat."""
        inputs = [self.real(position) for position in range(2, len(self.node.input), 3)]
        return self.finish("Concat", inputs, 0)

    def integer_sums(self) -> list[NodeProto]:
        """Rewrite sums of codes as real values of scale 1, cast to integers."""
        one = self.names.fresh(f"{self.name}/one")
        self.made.append(helper.make_node("Constant", [], [one], name=one, value=helper.make_tensor("", 1, [], [1.0])))
        names = []
        for k in range(2):
            zero = [self.input(2 + k)] if self.input(2 + k) else []
            axis = k if self.node.op_type == "MatMulInteger" else 0
            names.append(self.add("DequantizeLinear", [self.input(k), one, *zero], f"input{k}", axis=axis))
        result, name = (self.names.fresh(f"{self.name}/{what}") for what in ("result", "Cast"))
        made = helper.make_node(INTEGER_SUMS[self.node.op_type], names, [result], name=self.name)
        made.attribute.extend(self.node.attribute)
        cast = helper.make_node("Cast", [result], self.node.output, name=name, to=TensorProto.INT32)
        return [*self.made, made, cast]
