"""Pins the golden model to ONNX: its own test vectors, its reference evaluator and onnxruntime.

The two evaluators cover each other's gaps. The reference one is wrong for a transposed convolution
in groups unless each group has one input and one output channel; both refuse an output padding of
the stride or more, which ONNX allows below the dilation. There the transposed convolution is checked
as what it is by definition: the transpose of the matrix of onnxruntime's convolution.
"""

import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase
from onnx.reference import ReferenceEvaluator

from selvage.base.layer import Layer
from selvage.golden.conv import conv2d, conv_transpose2d
from selvage.golden.dense import dense
from selvage.golden.layer import evaluate

Array = NDArray[Any]

thorough = settings(derandomize=True, deadline=None, max_examples=300)
seeds = st.integers(0, 2**32 - 1)
batches = st.integers(1, 3)


# Random layers


@st.composite
def layers(draw: st.DrawFn, op: str) -> Layer:
    """Any geometry with a small map: all of its numbers differ between the axes."""

    def pair(least: int, most: int) -> tuple[int, int]:
        return draw(st.integers(least, most)), draw(st.integers(least, most))

    groups = draw(st.integers(1, 3))
    shape: dict[str, Any] = dict(kernel=pair(1, 4), stride=pair(1, 5), dilation=pair(1, 3), groups=groups)
    extent = [(k - 1) * d + 1 for k, d in zip(shape["kernel"], shape["dilation"], strict=True)]
    size, pads, output_padding = [], [], (0, 0)
    if op == "conv":
        for span in extent:
            before, after = pair(0, 4)
            pads.append((before, after))
            least = max(1, span - before - after)
            size.append(draw(st.integers(least, least + 6)))
    else:
        output_padding = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(shape["stride"], shape["dilation"], strict=True)
        )
        for axis, span in enumerate(extent):
            size.append(draw(st.integers(1, 4)))
            spare = (size[axis] - 1) * shape["stride"][axis] + span + output_padding[axis] - 1
            before = draw(st.integers(0, min(4, spare)))
            pads.append((before, draw(st.integers(0, min(4, spare - before)))))
    return Layer(
        op=op,
        channels=groups * draw(st.integers(1, 3)),
        outputs=groups * draw(st.integers(1, 3)),
        height=size[0],
        width=size[1],
        pads=(pads[0][0], pads[1][0], pads[0][1], pads[1][1]),
        output_padding=output_padding,
        **shape,
    )


def operands(layer: Layer, batch: int, seed: int) -> tuple[Array, Array]:
    """Codes of 8 bits: float32 then holds every sum that a layer of ``layers`` can make."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (batch, layer.channels, layer.height, layer.width), dtype=np.int16)
    return x, rng.integers(-128, 128, layer.weight_shape, dtype=np.int8)


# What the golden model is compared with


def model(op: str, x: Array, w: Array, **attributes: Any) -> ModelProto:
    """One node of type ``op``."""
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in (("x", x), ("w", w))
    ]
    result = TensorProto.FLOAT if x.dtype == np.float32 else TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"], **attributes)],
        op,
        inputs,
        [helper.make_tensor_value_info("y", result, None)],
    )
    # A fixed pair of versions, for onnxruntime knows those of onnx only some months later.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def attributes_of(layer: Layer) -> dict[str, Any]:
    found = dict(strides=layer.stride, pads=layer.pads, dilations=layer.dilation, group=layer.groups)
    if layer.op == "conv_transpose":
        found["output_padding"] = layer.output_padding
    return found


def exact(y: Array) -> NDArray[np.int64]:
    assert np.array_equal(y, np.rint(y))
    assert np.abs(y).max(initial=0) < 2**24, "float32 may have rounded"
    return y.astype(np.int64)


def by_onnxruntime(op: str, x: Array, w: Array, **attributes: Any) -> NDArray[np.int64]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model(op, x, w, **attributes).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return exact(session.run(None, {"x": x, "w": w})[0])


def by_reference(op: str, x: Array, w: Array, **attributes: Any) -> NDArray[np.int64]:
    return exact(ReferenceEvaluator(model(op, x, w, **attributes)).run(None, {"x": x, "w": w})[0])


def by_transposed_matrix(layer: Layer, x: Array, w: Array) -> NDArray[np.int64]:
    """Transposed convolution of ``x`` from onnxruntime's convolution of every unit map."""
    shape = layer.outputs, *layer.output_size
    units = np.eye(np.prod(shape), dtype=np.float32).reshape(-1, *shape)
    attributes = attributes_of(layer)
    del attributes["output_padding"]
    matrix = by_onnxruntime("Conv", units, w.astype(np.float32), **attributes)
    # An output padding of the stride or more lets the kernel take more steps than x has rows.
    matrix = matrix[..., : layer.height, : layer.width]
    return np.einsum("nchw,kchw->nk", x.astype(np.int64), matrix).reshape(-1, *shape)


def assert_same(layer: Layer, got: Array, want: Array) -> None:
    assert got.dtype == np.int64
    assert got.shape == want.shape
    assert got.shape[1:] == (layer.outputs, *layer.output_size)
    np.testing.assert_array_equal(got, want)


# Random layers against ONNX


@thorough
@given(layers("conv"), batches, seeds)
@example(Layer(op="conv", channels=1, outputs=1), 1, 0)
@example(Layer(op="conv", channels=4, outputs=4, height=5, width=3, kernel=(3, 2), groups=4), 2, 1)
@example(Layer(op="conv", channels=3, outputs=2, height=8, width=9, kernel=(2, 1), stride=(5, 3)), 1, 2)
@example(Layer(op="conv", channels=2, outputs=3, kernel=(3, 4), pads=(2, 0, 1, 5), dilation=(1, 1)), 3, 3)
def test_conv(layer: Layer, batch: int, seed: int) -> None:
    x, w = operands(layer, batch, seed)
    got = evaluate(layer, x, w)
    floats = x.astype(np.float32), w.astype(np.float32)
    assert_same(layer, got, by_onnxruntime("Conv", *floats, **attributes_of(layer)))
    assert_same(layer, got, by_reference("Conv", *floats, **attributes_of(layer)))


@thorough
@given(layers("conv_transpose"), batches, seeds)
@example(Layer(op="conv_transpose", channels=1, outputs=1), 1, 0)
@example(
    Layer(
        op="conv_transpose",
        channels=4,
        outputs=6,
        height=3,
        width=2,
        kernel=(4, 3),
        stride=(2, 1),
        pads=(1, 0, 0, 2),
        output_padding=(1, 0),
        groups=2,
    ),
    2,
    1,
)
@example(
    Layer(
        op="conv_transpose",
        channels=2,
        outputs=4,
        height=2,
        width=3,
        kernel=(2, 3),
        output_padding=(2, 1),
        dilation=(3, 2),
        groups=2,
    ),
    1,
    2,
)
@example(
    Layer(op="conv_transpose", channels=2, outputs=1, height=2, kernel=(2, 1), stride=(5, 4)),
    3,
    3,
)
def test_conv_transpose(layer: Layer, batch: int, seed: int) -> None:
    x, w = operands(layer, batch, seed)
    got = evaluate(layer, x, w)
    assert_same(layer, got, by_transposed_matrix(layer, x, w))
    if any(extra >= step for extra, step in zip(layer.output_padding, layer.stride, strict=True)):
        return
    floats = x.astype(np.float32), w.astype(np.float32)
    assert_same(layer, got, by_onnxruntime("ConvTranspose", *floats, **attributes_of(layer)))
    if layer.groups == 1 or layer.groups == layer.channels == layer.outputs:
        assert_same(layer, got, by_reference("ConvTranspose", *floats, **attributes_of(layer)))


@thorough
@given(st.integers(1, 40), st.integers(1, 40), batches, seeds)
def test_dense(channels: int, outputs: int, batch: int, seed: int) -> None:
    layer = Layer(op="dense", channels=channels, outputs=outputs)
    x, w = operands(layer, batch, seed)
    codes = x[:, :, 0, 0].astype(np.int8), w
    for oracle in (by_onnxruntime, by_reference):
        want = oracle("MatMulInteger", *codes)
        np.testing.assert_array_equal(dense(*codes), want, strict=True)
        assert_same(layer, evaluate(layer, x, w), want[:, :, None, None])


@thorough
@given(layers("conv_transpose"), batches, seeds)
def test_adjoint(layer: Layer, batch: int, seed: int) -> None:
    """``<conv_transpose(x, w), g> == <x, conv(g, w)>``, with the full range of 16 bits."""
    rng = np.random.default_rng(seed)

    def codes(*shape: int) -> Array:
        return rng.integers(-(2**15), 2**15, shape)

    x, w = codes(batch, layer.channels, layer.height, layer.width), codes(*layer.weight_shape)
    g = codes(batch, layer.outputs, *layer.output_size)
    same = dict(stride=layer.stride, pads=layer.pads, dilation=layer.dilation, groups=layer.groups)
    scattered = conv_transpose2d(x, w, output_padding=layer.output_padding, **same)
    gathered = conv2d(g, w, **same)[..., : layer.height, : layer.width]
    assert (scattered * g).sum() == (x * gathered).sum()


# ONNX's own vectors


def shipped(op: str) -> list[TestCase]:
    """ONNX's node tests of ``op`` on maps of one or two dimensions, with explicit padding."""
    with warnings.catch_warnings():
        # Computes the vectors of all operators, and some overflow on purpose.
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    found = []
    for case in cases:
        node = case.model.graph.node[0]
        names = {attribute.name for attribute in node.attribute}
        # auto_pad and output_shape are other ways to write pads, which the golden model leaves to its caller.
        if node.op_type == op and case.data_sets[0][0][0].ndim <= 4 and not names & {"auto_pad", "output_shape"}:
            found.append(case)
    return found


def codes_of(case: TestCase) -> tuple[Array, Array]:
    """Operands of ``case`` as integers, their zero points subtracted."""
    x, w, *zero_points = (exact(a) for a in case.data_sets[0][0])
    x_zero, w_zero = (*zero_points, 0, 0)[:2]
    if np.ndim(w_zero) == 1 and w.ndim == 4:
        w_zero = w_zero.reshape(-1, 1, 1, 1)
    return x - x_zero, w - w_zero


def geometry_of(case: TestCase) -> dict[str, Any]:
    """Arguments of the golden function, a one-dimensional map being one row."""
    names = {"strides": "stride", "dilations": "dilation", "group": "groups"}
    attributes = {
        names.get(a.name, a.name): helper.get_attribute_value(a)
        for a in case.model.graph.node[0].attribute
        if a.name != "kernel_shape"
    }
    if case.data_sets[0][0][0].ndim == 3:
        for name, value in attributes.items():
            if name == "pads":
                attributes[name] = 0, value[0], 0, value[1]
            elif name != "groups":
                attributes[name] = int(name != "output_padding"), value[0]
    return attributes


@pytest.mark.parametrize(
    ("op", "golden", "count"),
    [
        ("Conv", conv2d, 5),
        ("ConvInteger", conv2d, 2),
        ("ConvTranspose", conv_transpose2d, 7),
        ("MatMulInteger", dense, 1),
    ],
)
def test_shipped_vectors(op: str, golden: Any, count: int) -> None:
    cases = shipped(op)
    assert len(cases) >= count
    for case in cases:
        (x, w), want = codes_of(case), exact(case.data_sets[0][1][0])
        if x.ndim == 3:
            x, w, want = x[:, :, None], w[:, :, None], want[:, :, None]
        np.testing.assert_array_equal(golden(x, w, **geometry_of(case)), want, err_msg=case.name, strict=True)


# Sums beyond float64, against Python's integers


@pytest.mark.parametrize(("x_bits", "w_bits"), [(20, 20), (25, 25), (26, 25), (30, 30), (58, 2)])
def test_wide_sums(x_bits: int, w_bits: int) -> None:
    rng = np.random.default_rng(x_bits)
    x = 2**x_bits - rng.integers(1, 4, (2, 4, 1, 2))
    w = 2**w_bits - rng.integers(1, 4, (3, 4, 1, 2))
    want = [
        [sum(a * b for a, b in zip(row, column, strict=True)) for column in w.reshape(3, 8).tolist()]
        for row in x.reshape(2, 8).tolist()
    ]
    np.testing.assert_array_equal(dense(x.reshape(2, 8), w.reshape(3, 8).T), want)
    np.testing.assert_array_equal(conv2d(x, w)[:, :, 0, 0], want)
    # The middle column of three, where all products meet; scattering needs the kernel turned round.
    turned = w[..., ::-1].swapaxes(0, 1)
    np.testing.assert_array_equal(conv_transpose2d(x, turned)[:, :, 0, 1], want)


@pytest.mark.parametrize("call", [dense, conv2d, conv_transpose2d])
def test_refuses_to_wrap(call: Any) -> None:
    shape = (1, 1) if call is dense else (1, 1, 1, 1)
    assert call(np.full(shape, -(2**62)), np.full(shape, 1)).item() == -(2**62)
    with pytest.raises(OverflowError, match=r"a sum of 1 products could reach 9223372036854775808, beyond"):
        call(np.full(shape, -(2**62)), np.full(shape, 2))
    with pytest.raises(OverflowError, match=r"beyond int64"):
        call(np.full(shape, 2**64 - 1, np.uint64), np.full(shape, 1))
