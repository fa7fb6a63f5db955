"""Small quantised graphs of the operators that networks have between their layers: moves, products, sums, means."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from bench.onnx_models import Build
from tb.models.onnx_graphs import UNIT, S, entered, layer

Make = Callable[[Build], None]


@dataclass(frozen=True)
class Operators:
    """A graph, and the kinds of its nodes once it is imported."""

    make: Make
    kinds: tuple[str, ...]


def ints(build: Build, *values: int) -> str:
    return build.constant(list(values), np.int64)


def seen(build: Build, x: str, scale: float = UNIT, zero: int = 128) -> str:
    """``x`` quantised as it was."""
    return build.through(x, scale, zero)


def conv(build: Build, x: str, shape: tuple[int, ...], *, rank: int = 4, **given: Any) -> None:
    """A convolution that ends the graph."""
    build.output(build.through(layer(build, x, "Conv", shape, name="last", **given), S, 99), rank=rank)


def dense(build: Build, x: str, shape: tuple[int, int]) -> None:
    build.output(build.through(layer(build, x, "MatMul", shape, name="dense"), S, 99), rank=2)


def nhwc_entry(build: Build) -> None:
    """Images channels last, as Keras has them."""
    conv(build, seen(build, build.add("Transpose", entered(build, (5, 6, 3)), perm=(0, 3, 1, 2))), (4, 3, 3, 3))


def nhwc_flatten(build: Build) -> None:
    """A map turned before it is flattened: only the order of the weights."""
    x = build.through(layer(build, entered(build), "Conv", (4, 3, 3, 3)), S, 99)
    x = seen(build, build.add("Transpose", x, perm=(0, 2, 3, 1)), S, 99)
    dense(build, build.add("Flatten", x), (64, 5))


def nhwc_bias(build: Build) -> None:
    """A bias and an activation on channels that stand last."""
    x = build.add("Transpose", layer(build, entered(build), "Conv", (4, 3, 3, 3)), perm=(0, 2, 3, 1))
    x = build.add("Relu", build.add("Add", x, build.constant([0.5, -1, 2, 0], np.float32)))
    x = build.add("Transpose", build.through(x, S, 9), perm=(0, 3, 1, 2))
    conv(build, seen(build, x, S, 9), (2, 4, 1, 1))


def turned(build: Build) -> None:
    conv(build, seen(build, build.add("Transpose", entered(build, (3, 4, 6)), perm=(0, 1, 3, 2))), (4, 3, 1, 1))


def other_lines(build: Build) -> None:
    """The same pixels in lines of another length: words flow in the same order."""
    x = build.through(layer(build, entered(build, (3, 4, 6)), "Conv", (3, 3, 1, 1), name="first"), S, 99)
    conv(build, build.add("Reshape", x, ints(build, 0, 3, 3, 8)), (4, 3, 3, 3))


def any_order(build: Build) -> None:
    """Numbers that no sum of lines, columns and channels orders."""
    x = build.through(layer(build, entered(build, (3, 4, 6)), "Conv", (3, 3, 1, 1), name="first"), S, 99)
    conv(build, build.add("Reshape", x, ints(build, 0, 4, 3, 6)), (4, 4, 3, 3))


def shuffled(build: Build) -> None:
    """ShuffleNet: channels dealt to two groups, then halves of them."""
    x = build.through(layer(build, entered(build), "Conv", (8, 3, 3, 3), name="first"), S, 99)
    x = build.add("Transpose", build.add("Reshape", x, ints(build, -1, 2, 4, 4, 4)), perm=(0, 2, 1, 3, 4))
    x = build.add("Reshape", x, ints(build, -1, 8, 4, 4))
    build.nodes.append(helper.make_node("Split", [x, ints(build, 4, 4)], ["left", "right"], name="split", axis=1))
    left, right = "left", "right"
    right = build.through(layer(build, right, "Conv", (4, 4, 1, 1), name="second"), S, 99)
    build.output(build.through(build.add("Concat", left, right, axis=1), S, 99))


def cropped(build: Build) -> None:
    x = entered(build, (3, 7, 6))
    conv(build, build.add("Slice", x, ints(build, 1, 2), ints(build, -1, 6), ints(build, 2, 3)), (4, 3, 2, 2))


def strided(build: Build) -> None:
    """Focus: every other pixel, four times, beside each other."""
    x = build.through(build.add("Relu", entered(build, (2, 6, 8))), S, 3)
    parts = [
        build.add("Slice", x, ints(build, y, c), ints(build, 99, 99), ints(build, 2, 3), ints(build, 2, 2))
        for y, c in ((0, 0), (1, 0), (0, 1), (1, 1))
    ]
    conv(build, build.through(build.add("Concat", *parts, axis=1), S, 3), (4, 8, 1, 1))


def padded(build: Build) -> None:
    """Zeros around a map are pads of the layer behind."""
    x = build.add("Pad", entered(build, (3, 4, 5)), ints(build, 0, 0, 1, 2, 0, 0, 2, 0), mode="constant")
    conv(build, seen(build, x), (4, 3, 3, 3))


def padded_else(build: Build) -> None:
    """Another number around a map, before a pool."""
    value = build.constant(5 * UNIT, np.float32)
    x = build.add("Pad", entered(build, (3, 4, 5)), ints(build, 0, 0, 1, 1, 0, 0, 1, 1), value, mode="constant")
    build.output(build.through(build.add("AveragePool", seen(build, x), kernel_shape=(2, 2)), S, 99))


def padding(mode: str) -> Make:
    def make(build: Build) -> None:
        x = build.add("Pad", entered(build, (3, 4, 5)), ints(build, 0, 0, 2, 1, 0, 0, 1, 2), mode=mode)
        conv(build, seen(build, x), (4, 3, 3, 3))

    return make


def depth_to_space(build: Build) -> None:
    """ESPCN: the sub-pixel layer, its channels in PyTorch's order."""
    x = build.through(layer(build, entered(build, (3, 4, 5)), "Conv", (8, 3, 1, 1)), S, 99)
    build.output(seen(build, build.add("DepthToSpace", x, blocksize=2, mode="CRD"), S, 99))


def space_to_depth(build: Build) -> None:
    x = build.add("SpaceToDepth", entered(build, (2, 4, 6)), blocksize=2)
    conv(build, seen(build, x), (4, 8, 1, 1))


def excited(build: Build) -> None:
    """Squeeze-and-excitation: a map times a vector made of its means."""
    x = build.through(layer(build, entered(build, (3, 5, 5)), "Conv", (4, 3, 3, 3), name="first"), S, 99)
    mean = build.through(build.add("GlobalAveragePool", x), S, 99)
    gate = build.through(layer(build, mean, "Conv", (4, 4, 1, 1), name="gate"), S, 128)
    gate = build.through(build.add("HardSigmoid", gate), 1 / 255, 0)
    build.output(build.through(build.add("Mul", x, gate), S, 99))


def product(build: Build) -> None:
    build.output(build.through(build.add("Mul", *two_maps(build)), 1.5 * S, 100))


def two_maps(build: Build) -> tuple[str, str]:
    x = entered(build)
    return x, build.through(layer(build, x, "Conv", (3, 3, 1, 1), name="first"), S, 99)


def difference(build: Build) -> None:
    build.output(build.through(build.add("Sub", *two_maps(build)), S, 100))


def several(operator: str) -> Make:
    def make(build: Build) -> None:
        x, y = two_maps(build)
        build.output(build.through(build.add(operator, x, y, seen(build, build.add("Neg", x), S, 77)), S, 100))

    return make


def spread_sum(build: Build) -> None:
    """A vector added to every pixel."""
    x, _ = two_maps(build)
    side = build.through(build.input("side", ("N", 3, 1, 1)), UNIT, 128)
    build.output(build.through(build.add("Add", x, side), S, 100))


def outer(build: Build) -> None:
    """A vector times itself as a column: both are spread."""
    x = entered(build, (6,))
    column, flat = build.add("Unsqueeze", x, ints(build, 2)), build.add("Unsqueeze", x, ints(build, 1))
    build.output(build.through(build.add("Mul", column, flat), S, 100), rank=3)


def prelu(build: Build) -> None:
    slopes = build.constant([[[0.25]], [[-0.5]], [[0.1]], [[1.5]]], np.float32)
    x = build.add("PRelu", layer(build, entered(build), "Conv", (4, 3, 3, 3)), slopes)
    build.output(build.through(x, S, 99))


def prelu_alone(build: Build) -> None:
    slopes = build.constant([[[0.25]], [[0.5]], [[0.1]]], np.float32)
    build.output(build.through(build.add("PRelu", entered(build), slopes), S, 99))


def rows(build: Build) -> None:
    """A dense layer on each of several rows, twice."""
    x = entered(build, (5, 6))
    bias = build.constant(np.arange(8) * 900 * UNIT * 0.0103, np.float32)  # whole units of a sum
    x = build.add("Add", layer(build, x, "MatMul", (6, 8), name="first"), bias)
    x = build.through(build.add("Relu", x), S, 9)
    build.output(build.through(layer(build, x, "MatMul", (8, 3), name="second"), S, 99), rank=3)


def rows_of_a_map(build: Build) -> None:
    """Channels last, a dense layer on each pixel, and the mean of all of them."""
    x = build.add("Transpose", entered(build, (3, 4, 5)), perm=(0, 2, 3, 1))
    x = build.through(layer(build, seen(build, x), "MatMul", (3, 6)), S, 99)
    mean = build.add("ReduceMean", x, ints(build, 1, 2), keepdims=0)
    build.output(build.through(mean, 0.0317, 99), rank=2)


def mean_of_rows(build: Build) -> None:
    x, _ = two_maps(build)
    build.output(build.through(build.add("ReduceMean", x, ints(build, 2), keepdims=1), S, 99))


def sum_of_maps(build: Build) -> None:
    x, _ = two_maps(build)
    total = build.add("ReduceSum", x, ints(build, 2, 3), keepdims=0)
    build.output(build.through(total, 15 * S, 99), rank=2)


def joined_rows(build: Build) -> None:
    """Maps joined along their lines."""
    x = entered(build)
    y = seen(build, layer(build, x, "Conv", (3, 3, 1, 1), name="first"))
    conv(build, seen(build, build.add("Concat", x, y, axis=2)), (4, 3, 3, 3))


def linear(factor: int) -> Make:
    def make(build: Build) -> None:
        x = build.through(layer(build, entered(build, (3, 4, 5)), "Conv", (4, 3, 1, 1)), S, 99)
        sizes = build.constant([1, 1, factor, factor], np.float32)
        x = build.add("Resize", x, "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")
        build.output(build.through(x, 0.0971, 99))  # of the same scale, float32 breaks one half in two

    return make


def pooled(operator: str, **given: Any) -> Make:
    def make(build: Build) -> None:
        x = build.through(layer(build, entered(build, (3, 7, 8)), "Conv", (4, 3, 1, 1)), S, 99)
        x = build.add(operator, x, **given)
        scale = (S, 99) if operator == "MaxPool" else (0.0771, 99)
        build.output(build.through(x, *scale))
        if operator == "AveragePool" and "dilations" in given:
            # What one QuantizeLinear alone reads, onnxruntime gives to a kernel that knows no dilations.
            build.output(build.through(x, 0.0889, 99))

    return make


def softmax(build: Build) -> None:
    """The host between two layers."""
    x = build.through(layer(build, entered(build), "Conv", (4, 3, 3, 3), name="first"), S, 99)
    conv(build, build.through(build.add("Softmax", x, name="soft", axis=1), 1 / 256, 0), (3, 4, 1, 1))


def attention(build: Build) -> None:
    """One head: three dense layers on rows, and the products of what they make on the host."""
    x = entered(build, (5, 6))
    key, query, value = (
        build.through(layer(build, x, "MatMul", (6, 6), name=name), S, 128) for name in ("key", "query", "value")
    )
    turned = build.add("Transpose", key, perm=(0, 2, 1))
    scores = build.through(build.add("MatMul", query, turned, name="scores"), 4 * S, 128)
    weights = build.through(build.add("Softmax", scores, name="soft"), 1 / 256, 0)
    mixed = build.through(build.add("MatMul", weights, value, name="mixed"), S, 128)
    made = build.through(layer(build, mixed, "MatMul", (6, 6), name="project"), UNIT, 128)
    build.output(build.through(build.add("Add", x, made), S, 128), rank=3)


def looped(build: Build, direction: int = 0) -> tuple[str, str]:
    """A recurrent layer of five steps: codes of h and c, h = tanh(W [x, h]) * c, c = 0.47 (c + h); final h, all h."""
    x = build.quantised(build.input("x", (1, 5, 6)), UNIT, 128)
    x = build.add("Transpose", x, perm=(1, 0, 2))
    body = Build(prefix="body_")
    x_t, h, c = (body.real(name, *how) for name, how in (("x_t", (UNIT, 128)), ("h", (UNIT, 120)), ("c", (S, 7))))
    both = body.through(body.add("Concat", x_t, h, axis=1), UNIT, 128)
    made = body.through(layer(body, both, "MatMul", (10, 4)), S, 99)
    made = body.through(body.add("Tanh", made), 1 / 128, 128)
    new_h = body.quantised(body.add("Mul", made, c), UNIT, 120)
    half = body.add("Mul", body.add("Add", c, body.real(new_h, UNIT, 120)), body.constant(0.47, np.float32))
    new_c = body.quantised(half, S, 7)
    names = (("h", (1, 4)), ("c", (1, 4)), ("x_t", (1, 6)))
    infos = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name, shape in names]
    body.nodes.append(helper.make_node("Identity", [new_h], ["y"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, (1, 4)) for name in (new_h, new_c, "y")]
    graph = helper.make_graph(body.nodes, "body", infos, ends, body.constants)
    first = [build.constant(np.full((1, 4), code), np.uint8) for code in (120, 40)]
    given = {"num_scan_inputs": 1, "scan_input_directions": [direction], "scan_output_directions": [direction]}
    build.nodes.append(
        helper.make_node("Scan", [*first, x], ["last", "last_c", "all"], name="loop", body=graph, **given)
    )
    return build.real("last", UNIT, 120), build.real("all", UNIT, 120)


def recurrent(build: Build) -> None:
    """All steps, from the last to the first, and a dense layer on each."""
    rows = build.add("Transpose", looped(build, 1)[1], perm=(1, 0, 2))
    build.output(build.through(layer(build, rows, "MatMul", (4, 3), name="dense"), S, 99), rank=3)


def last_state(build: Build) -> None:
    build.output(build.through(layer(build, looped(build)[0], "MatMul", (4, 3), name="dense"), S, 99), rank=2)


LOOP = ("Steps", "State", "State", "Concat", "Matrix", "Table", "Multiply", "Add", "Sequence", "Matrix")
GRAPHS: dict[str, Operators] = {
    "nhwc entry": Operators(nhwc_entry, ("Matrix",)),
    "nhwc flatten": Operators(nhwc_flatten, ("Matrix", "Matrix")),
    "nhwc bias": Operators(nhwc_bias, ("Matrix", "Matrix")),
    "turned": Operators(turned, ("Matrix",)),
    "other lines": Operators(other_lines, ("Matrix", "Reshape", "Matrix")),
    "any order": Operators(any_order, ("Matrix", "Reorder", "Reshape", "Matrix")),
    "shuffle": Operators(shuffled, ("Matrix", "Reorder", "Matrix", "Reorder", "Concat")),
    "crop": Operators(cropped, ("Matrix",)),
    "focus": Operators(strided, ("Table", "Reorder", "Reorder", "Reorder", "Reorder", "Concat", "Matrix")),
    "pad": Operators(padded, ("Matrix",)),
    "pad with a number": Operators(padded_else, ("Pool",)),
    "reflect": Operators(padding("reflect"), ("Matrix",)),
    "edge": Operators(padding("edge"), ("Matrix",)),
    "depth to space": Operators(depth_to_space, ("Matrix",)),
    "space to depth": Operators(space_to_depth, ("Matrix",)),
    "squeeze and excite": Operators(excited, ("Matrix", "Pool", "Matrix", "Table", "Reorder", "Multiply")),
    "product": Operators(product, ("Matrix", "Multiply")),
    "difference": Operators(difference, ("Matrix", "Add")),
    "sum": Operators(several("Sum"), ("Matrix", "Table", "Add")),
    "mean": Operators(several("Mean"), ("Matrix", "Table", "Add")),
    "vector sum": Operators(spread_sum, ("Add",)),
    "outer": Operators(outer, ("Multiply",)),
    "slope a channel": Operators(prelu, ("Matrix",)),
    "slope a channel alone": Operators(prelu_alone, ("Matrix",)),
    "rows": Operators(rows, ("Matrix", "Matrix")),
    "rows of a map": Operators(rows_of_a_map, ("Matrix", "Pool")),
    "mean of rows": Operators(mean_of_rows, ("Pool",)),
    "linear by two": Operators(linear(2), ("Matrix", "Reorder", "Matrix")),
    "linear by three": Operators(linear(3), ("Matrix", "Reorder", "Matrix")),
    "pool ceil": Operators(pooled("MaxPool", kernel_shape=(3, 3), strides=(2, 2), ceil_mode=1), ("Matrix", "Pool")),
    "pool dilated": Operators(pooled("MaxPool", kernel_shape=(2, 3), dilations=(3, 2)), ("Matrix", "Pool")),
    "mean ceil": Operators(pooled("AveragePool", kernel_shape=(3, 3), strides=(2, 2), ceil_mode=1), ("Matrix", "Pool")),
    "mean without pads": Operators(
        pooled("AveragePool", kernel_shape=(3, 3), pads=(1, 1, 1, 1), count_include_pad=0), ("Matrix", "Pool")
    ),
    "mean ceil with pads": Operators(
        pooled("AveragePool", kernel_shape=(3, 2), strides=(2, 2), pads=(1, 1, 1, 1), ceil_mode=1, count_include_pad=1),
        ("Matrix", "Pool"),
    ),
    "mean dilated": Operators(pooled("AveragePool", kernel_shape=(2, 2), dilations=(2, 3)), ("Matrix", "Pool", "Pool")),
    "sum of maps": Operators(sum_of_maps, ("Pool",)),
    "softmax": Operators(softmax, ("Matrix", "Matrix")),
    "attention": Operators(attention, ("Reorder", "Matrix", "Matrix", "Matrix", "Matrix", "Reorder", "Add")),
    "loop": Operators(recurrent, LOOP),
    "last state": Operators(last_state, (*LOOP[:-1], "Reorder", "Matrix")),
    "joined rows": Operators(joined_rows, ("Matrix", "Reorder", "Reorder", "Concat", "Reorder", "Matrix")),
}
