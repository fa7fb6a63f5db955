"""ONNX's own evaluation of some nodes, with the operators that its reference lacks or has wrong."""

import math
from collections.abc import Sequence

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, OperatorSetIdProto, ValueInfoProto, helper, numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_conv_transpose import ConvTranspose as ConvTranspose_1
from onnx.reference.ops.op_dequantize_linear import DequantizeLinear_19

from selvage.base.errors import InputError
from selvage.frontend.layer_file import one_line
from selvage.frontend.onnx.bodies import reads
from selvage.frontend.onnx.read import title_of

Opsets = Sequence[OperatorSetIdProto]


class DequantizeLinear(DequantizeLinear_19):
    """DequantizeLinear of opsets below 19 too, for which ONNX's reference has none."""

    op_domain = ""

    def _run(
        self, x: NDArray, x_scale: NDArray, x_zero_point: NDArray | None = None, axis: int = 1, **newer: object
    ) -> tuple[NDArray]:
        return super()._run(x, x_scale, x_zero_point, axis)


class QuantizeLinear(OpRun):
    """QuantizeLinear of what is not finite too: ONNX's reference casts infinities to whatever code comes of them.

    What is no number becomes the lowest code, as in onnxruntime on x86-64.
    """

    op_domain = ""

    def _run(self, x: NDArray, scale: NDArray, zero: NDArray | None = None, axis: int = 1, **newer: object) -> tuple:
        made = newer.get("output_dtype")
        kind = tensor_dtype_to_np_dtype(made) if made and isinstance(made, int) else np.dtype(np.uint8)
        kind = kind if zero is None else zero.dtype
        spread = [1] * x.ndim
        if np.size(scale) > 1:
            spread[axis] = -1
        numbers = ml_dtypes.iinfo(kind)
        base = 0 if zero is None else zero.astype(np.float64).reshape(spread if np.size(zero) > 1 else ())
        steps = np.rint(x.astype(np.float32) / np.float32(scale).reshape(spread if np.size(scale) > 1 else ()))
        codes = np.clip(np.nan_to_num(steps.astype(np.float64), nan=-np.inf) + base, numbers.min, numbers.max)
        return (codes.astype(np.int64).astype(kind),)


class Resize(OpRun):
    """Resize of opset 10, whose inputs are a map and its factors: ONNX's reference knows only the later forms.

    Which pixel is nearest ONNX leaves open there. onnxruntime takes the one at or before the place where an output
    pixel lies, but along an axis that shrinks the one at or behind it.
    """

    op_domain = ""

    def _run(self, x: NDArray, scales: NDArray, mode: str = "nearest", **newer: object) -> tuple[NDArray]:
        if mode != "nearest":
            later = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode)
            later.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            run = evaluator([later], ["x", "scales"], ["y"], {}, [helper.make_opsetid("", 11)])
            (y,) = run.run(None, {"x": x, "scales": scales})
            return (np.asarray(y),)
        for axis, scale in enumerate(scales.astype(np.float32)):
            places = np.arange(int(np.float32(x.shape[axis]) * scale), dtype=np.float32) / scale
            nearest = np.ceil(places) if scale < 1 else np.floor(places)
            x = x.take(np.minimum(nearest.astype(np.int64), x.shape[axis] - 1), axis=axis)
        return (x,)


class ConvTranspose(ConvTranspose_1):
    """ConvTranspose group by group: ONNX's reference mixes groups up that have several channels."""

    op_domain = ""

    def _run(self, *arrays: NDArray | None, group: int = 1, **given: object) -> tuple[NDArray]:
        # Channels are the second axis of a map, and the first of weights and bias.
        cut = [[None] * group if a is None else np.split(a, group, axis=0 if k else 1) for k, a in enumerate(arrays)]
        made = [super(ConvTranspose, self)._run(*part, group=1, **given)[0] for part in zip(*cut, strict=True)]
        return (np.concatenate(made, axis=1),)


# The opset from which on ONNX's reference has the operator as it should be.
FIRST = {DequantizeLinear: 19, QuantizeLinear: math.inf, Resize: 11, ConvTranspose: math.inf}


def evaluator(
    nodes: Sequence[NodeProto],
    inputs: Sequence[str],
    outputs: Sequence[str],
    constants: dict[str, NDArray],
    opsets: Opsets,
) -> ReferenceEvaluator:
    """Return an evaluator of ``nodes`` in their order. `InputError`: an operator has no reference."""
    graph = helper.make_graph(
        nodes,
        "part",
        [ValueInfoProto(name=name) for name in inputs],
        [ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    versions = [item.version for item in opsets if item.domain in ("", "ai.onnx")]
    older = [operator for operator, first in FIRST.items() if any(version < first for version in versions)]
    try:
        return ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets), new_ops=older)
    except Exception as error:  # onnx raises what comes to hand
        raise InputError(f"{title_of(nodes[0])}: it cannot be evaluated: {one_line(error)}") from None


def evaluate(node: NodeProto, arrays: Sequence[NDArray], opsets: Opsets) -> list[NDArray]:
    """Return the outputs that a node names, for arrays of what it `reads`. `InputError`: it cannot be evaluated."""
    feeds = dict(zip(reads(node), arrays, strict=True))
    run = evaluator([node], list(feeds), [name for name in node.output if name], {}, opsets)
    try:
        with np.errstate(all="ignore"):
            return [np.asarray(value) for value in run.run(None, feeds)]
    except Exception as error:  # as above
        raise InputError(f"{title_of(node)}: it cannot be evaluated: {one_line(error)}") from None
