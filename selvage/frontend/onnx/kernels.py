"""Which of onnxruntime's kernels computes an operator, and on which side of rounding it adds the zero point.

With an odd zero point a half goes to the even code where the zero point is added first, and to the even number of
steps, an odd code, where it is added last. As onnxruntime 1.32 does it on x86-64, at every level of optimisation:

| kernel | zero point | source in onnxruntime |
|---|---|---|
| QLinearAdd, QLinearMul | first | mlas/lib/qladd.cpp, qlmul.cpp |
| QLinearAveragePool | first; of whole maps without pads, for which it has another kernel, last | qlinear_pool.cc |
| QLinearGlobalAveragePool | last | mlas/lib/qlgavgpool.cpp |
| QLinearConv, QGemm, QLinearMatMul | last | mlas/lib/quantize.cpp (MlasRequantizeOutput) |
| QuantizeLinear | last | mlas/lib/quantize.cpp (MlasQuantizeLinear) |
| QLinearConcat, QLinearSigmoid, QLinearLeakyRelu | last | qlinear_lookup_table.cc, by MlasQuantizeLinear |

An operator between DequantizeLinear and QuantizeLinear becomes such a kernel at onnxruntime's default level, which is
followed here, if all that it reads comes from DequantizeLinear (`Map.direct`), its result is read by one
QuantizeLinear alone, and all codes are of one type. Identity and Dropout are taken out, and operators that only move
numbers (`MOVING`) may stand between where the codes are uint8, not where they are int8. A Relu or Clip behind the
operator is taken out where it cuts nothing of the codes' range. Everywhere else the operator computes in float and
QuantizeLinear rounds: zero point last. So it does behind every operator with optimisation off.
`tb/test_frontend/test_rounding.py` holds each of this against onnxruntime.
"""

from collections import Counter

import numpy as np
from onnx import NodeProto

from selvage.base.graph import Activation, Tensor
from selvage.frontend.onnx.bodies import reads
from selvage.frontend.onnx.read import is_operator
from selvage.frontend.onnx.static import Static

ZERO_POINT_FIRST = ("QLinearAdd", "QLinearMul", "QLinearAveragePool")
LEFT_OUT = ("Identity", "Dropout")
MOVING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")
MOVING_MAXIMA = 12  # the opset from which on MaxPool is one of them


class Kernels:
    """The results of a graph that a kernel could take over."""

    def __init__(self, static: Static) -> None:
        readers = Counter(name for node in static.graph.node for name in reads(node))
        readers.update(static.outputs)
        self.readers = readers
        self.opset = next((item.version for item in static.opsets if item.domain in ("", "ai.onnx")), 1)

    def alone(self, node: NodeProto) -> bool:
        """Return whether one node, and no more, reads a node's result."""
        return self.readers[node.output[0]] == 1

    def moves(self, node: NodeProto, codes: Tensor) -> bool:
        """Return whether a node may stand between an operator and the nodes that make or read such ``codes``."""
        if is_operator(node, *LEFT_OUT):
            return True
        moving = is_operator(node, *MOVING) or (is_operator(node, "MaxPool") and self.opset >= MOVING_MAXIMA)
        return moving and not codes.format.raw_signed


def zero_point_first(kernel: str, sources: tuple[Tensor, ...], to: Tensor, activation: Activation) -> bool:
    """Return whether ``kernel``, if it is one, adds the zero point of ``to`` before it rounds."""
    types = {tensor.format.raw_signed for tensor in (*sources, to)}
    return kernel in ZERO_POINT_FIRST and len(types) == 1 and not cuts(activation, to)


def cuts(activation: Activation, to: Tensor) -> bool:
    """Return whether an activation changes values that codes of ``to`` have."""
    scale, zero = np.float32(to.scale), to.format.zero_point
    low, high = (np.float32(code - zero) * scale for code in to.format.raw_range)
    return activation.bends or bool(activation.low > low or activation.high < high)
