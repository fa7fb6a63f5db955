"""The reader of models: what it accepts against ONNX evaluators, what it refuses by message."""

import re
import zipfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from golden.layer import evaluate
from selvage.model_file import (
    Model,
    check_weights,
    draw_input,
    from_maps,
    input_format,
    input_shape,
    load_model,
    read_input,
    to_maps,
)
from spec.chip import Chip, load_chip
from spec.errors import InputError
from spec.layer import InputFormat

Constants = dict[str, NDArray | None]


def onnx_model(
    op: str,
    shape: Sequence[int | str | None],
    constants: Constants,
    kind: int = TensorProto.FLOAT,
    more: Sequence[NodeProto] = (),
    name: str = "n",
    **attributes: Any,
) -> ModelProto:
    """A model of one node ``op`` that reads x and then ``constants``, of which ``None`` is left out."""
    names = [key if value is not None else "" for key, value in constants.items()]
    node = helper.make_node(op, ["x", *names], ["y"], name=name, **attributes)
    out = TensorProto.INT32 if op.endswith("Integer") else kind
    rank = max(len(shape), 1)
    graph = helper.make_graph(
        [*more, node],
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", out, [f"y{axis}" for axis in range(rank)])],
        [numpy_helper.from_array(value, key) for key, value in constants.items() if value is not None],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def write(path: Path, *args: Any, **kwargs: Any) -> str:
    """Path of a file of `onnx_model`."""
    file = path / "model.onnx"
    onnx.save(onnx_model(*args, **kwargs), file)
    return str(file)


def numbers(*shape: int, seed: int = 1, low: int = -9, high: int = 9, dtype: Any = np.float32) -> NDArray:
    return np.random.default_rng(seed).integers(low, high, size=shape, endpoint=True).astype(dtype)


def save(path: Path, array: NDArray) -> str:
    file = path / "x.npy"
    np.save(file, array)
    return str(file)


def refused(message: str, call: Any, *args: Any) -> None:
    """``call(*args)`` must raise a one-line `InputError` that holds ``message``."""
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        call(*args)
    assert "\n" not in str(caught.value)


def refused_model(message: str, path: Path, *args: Any, **kwargs: Any) -> None:
    refused(message, load_model, write(path, *args, **kwargs))


def run(model: Model, x: NDArray[np.int64]) -> NDArray[np.int64]:
    """Golden output for ``x``, both in ONNX's layout."""
    y = evaluate(model.layer, to_maps(model, x) - model.zero_point, model.weights)
    if model.bias is not None:
        assert model.bias.shape == (model.layer.outputs,) and model.bias.dtype == np.int64
        y = y + model.bias[:, None, None]
    return from_maps(model, y, x.shape)


def runtime(path: str, x: NDArray) -> NDArray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def reference(path: str, x: NDArray) -> NDArray:
    return ReferenceEvaluator(path).run(None, {"x": x})[0]


def check(path: str, x: NDArray, evaluator: Any = runtime) -> Model:
    """The model in ``path`` must compute what ``evaluator`` does; it is returned."""
    given = Path(path).with_name("x.npy")
    np.save(given, x)
    model = load_model(path, input_shape(str(given)))
    assert model.weights.dtype == np.int64 and model.weights.shape == model.layer.weight_shape
    y, expected = run(model, read_input(model, str(given))), evaluator(path, x)
    assert y.shape == expected.shape
    assert np.array_equal(y, expected)
    return model


def chip(**changes: Any) -> Chip:
    return Chip(**load_chip("tiny").model_dump() | changes)


# Convolutions that are accepted

CONV = [
    dict(),
    dict(strides=[2, 1]),
    dict(strides=[1, 3], pads=[1, 0, 2, 3]),
    dict(dilations=[2, 1], pads=[2, 1, 0, 1]),
    dict(auto_pad="VALID", strides=[2, 2]),
    dict(auto_pad="NOTSET", pads=[1, 1, 1, 1], kernel_shape=[3, 2]),
    dict(auto_pad="SAME_UPPER", pads=[0, 0, 0, 0]),
    *(dict(auto_pad=auto, strides=[s, t]) for auto, s, t in product(["SAME_UPPER", "SAME_LOWER"], [1, 2, 4], [1, 3])),
]


@pytest.mark.parametrize("attributes", CONV, ids=str)
def test_conv(tmp_path: Path, attributes: dict) -> None:
    evaluator = reference if attributes.get("auto_pad") and "pads" in attributes else runtime
    path = write(tmp_path, "Conv", ["N", 3, 6, 7], {"w": numbers(4, 3, 3, 2)}, **attributes)
    model = check(path, numbers(2, 3, 6, 7), evaluator)
    assert model.layer.name == "n" and model.input_shape == (None, 3, 6, 7)
    assert model.bias is None and model.zero_point == 0 and model.dtype is None


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER"])
def test_conv_same_dilated(tmp_path: Path, auto: str) -> None:
    constants = {"w": numbers(2, 3, 3, 2)}
    path = write(tmp_path, "Conv", [1, 3, 6, 7], constants, auto_pad=auto, dilations=[2, 3], strides=[1, 2])
    check(path, numbers(1, 3, 6, 7), reference)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv_groups_and_bias(tmp_path: Path, groups: int) -> None:
    constants = {"w": numbers(8, 4 // groups, 2, 3), "b": numbers(8, seed=2)}
    path = write(tmp_path, "Conv", [2, 4, 5, 6], constants, group=groups)
    assert check(path, numbers(2, 4, 5, 6)).layer.groups == groups


@pytest.mark.parametrize("attributes", [dict(), dict(strides=[2], pads=[2, 1]), dict(auto_pad="SAME_LOWER")])
def test_conv_1d(tmp_path: Path, attributes: dict) -> None:
    path = write(tmp_path, "Conv", [2, 3, 9], {"w": numbers(4, 3, 4), "b": numbers(4)}, **attributes)
    model = check(path, numbers(2, 3, 9))
    assert (model.layer.height, model.layer.kernel, model.input_shape) == (1, (1, 4), (2, 3, 9))


TRANSPOSE = [
    dict(),
    dict(strides=[2, 3], pads=[1, 0, 2, 1]),
    dict(strides=[2, 3], output_padding=[1, 2]),
    dict(dilations=[2, 1], auto_pad="VALID"),
    dict(strides=[3, 2], output_shape=[13, 9]),
    dict(strides=[3, 2], output_shape=[13, 9], auto_pad="SAME_UPPER"),
    dict(strides=[3, 2], output_shape=[13, 9], auto_pad="SAME_LOWER"),
    dict(strides=[3, 2], output_shape=[13, 8], pads=[7, 7, 7, 7], kernel_shape=[4, 3]),
    dict(strides=[2, 2], output_shape=[8, 8], output_padding=[1, 0]),
    *(dict(auto_pad=auto, strides=[s, t]) for auto, s, t in product(["SAME_UPPER", "SAME_LOWER"], [1, 2], [1, 3])),
]


@pytest.mark.parametrize("attributes", TRANSPOSE, ids=str)
def test_conv_transpose(tmp_path: Path, attributes: dict) -> None:
    constants = {"w": numbers(3, 2, 4, 3), "b": numbers(2)}
    path = write(tmp_path, "ConvTranspose", [2, 3, 4, 4], constants, **attributes)
    assert check(path, numbers(2, 3, 4, 4)).layer.op == "conv_transpose"


def test_conv_transpose_groups(tmp_path: Path) -> None:
    constants = {"w": numbers(4, 3, 3, 3)}
    path = write(tmp_path, "ConvTranspose", [1, 4, 4, 5], constants, group=2, strides=[2, 2])
    assert check(path, numbers(1, 4, 4, 5)).layer.outputs == 6


def test_conv_transpose_1d(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "ConvTranspose",
        [1, 2, 5],
        {"w": numbers(2, 3, 4)},
        strides=[3],
        pads=[1, 0],
        output_padding=[2],
    )
    layer = check(path, numbers(1, 2, 5)).layer
    assert (layer.stride, layer.pads, layer.output_padding) == ((1, 3), (0, 1, 0, 0), (0, 2))


def test_free_sides_come_from_the_input(tmp_path: Path) -> None:
    path = write(tmp_path, "Conv", ["N", "C", "H", 7], {"w": numbers(4, 3, 3, 2)})
    model = check(path, numbers(2, 3, 6, 7))
    assert model.input_shape == (None, 3, 6, 7)
    assert load_model(path, (2, 3, 5, 9)).input_shape == (None, 3, 5, 7)
    refused("node 'n': input 'x' has shape (None, 3, None, 7), and --input must be given", load_model, path)
    refused("has rank 4, and --input has rank 3", load_model, path, (3, 6, 7))


def test_node_without_a_name_goes_by_its_output(tmp_path: Path) -> None:
    path = write(tmp_path, "Conv", [1, 3, 6, 7], {"w": numbers(4, 3, 3, 2)}, name="")
    assert load_model(path).layer.name == "y"
    refused_model("node 'y': ", tmp_path, "Conv", [1, 2, 6, 7], {"w": numbers(4, 3, 3, 2)}, name="")


# Integer operators


@pytest.mark.parametrize("auto", ["NOTSET", "SAME_UPPER"])
def test_conv_integer(tmp_path: Path, auto: str) -> None:
    x = numbers(2, 3, 6, 5, low=0, high=255, dtype=np.uint8)
    w = numbers(4, 3, 3, 2, low=0, high=255, dtype=np.uint8)
    constants = {"w": w, "xz": np.uint8(131), "wz": np.array([120], dtype=np.uint8)}
    pads = dict(pads=[1, 0, 2, 1]) if auto == "NOTSET" else {}
    model = check(write(tmp_path, "ConvInteger", x.shape, constants, TensorProto.UINT8, auto_pad=auto, **pads), x)
    assert (model.zero_point, model.dtype) == (131, np.uint8)
    assert np.array_equal(model.weights, w.astype(int) - 120)


def test_conv_integer_zero_point_per_output(tmp_path: Path) -> None:
    x = numbers(1, 3, 6, 5, low=-128, high=127, dtype=np.int8)
    w = numbers(4, 3, 2, 2, low=-128, high=127, dtype=np.int8)
    zero = np.array([-7, 0, 100, -128], dtype=np.int8)
    path = write(tmp_path, "ConvInteger", x.shape, {"w": w, "xz": None, "wz": zero}, TensorProto.INT8)
    model = load_model(path)
    assert (model.zero_point, model.dtype) == (0, np.int8)
    wide = w.astype(np.float32) - zero.reshape(4, 1, 1, 1)
    (tmp_path / "float").mkdir()
    path = write(tmp_path / "float", "Conv", x.shape, {"w": wide})
    assert np.array_equal(run(model, x.astype(np.int64)), runtime(path, x.astype(np.float32)))


@pytest.mark.parametrize("zero", [None, np.uint8(9), np.array([1, 2, 250, 0], np.uint8)], ids=str)
def test_matmul_integer(tmp_path: Path, zero: NDArray | None) -> None:
    a = numbers(2, 5, 3, low=0, high=255, dtype=np.uint8)
    b = numbers(3, 4, low=0, high=255, dtype=np.uint8)
    constants = {"b": b, "az": np.array([200], np.uint8), "bz": zero}
    model = check(write(tmp_path, "MatMulInteger", a.shape, constants, TensorProto.UINT8), a)
    assert model.layer.op == "dense" and model.zero_point == 200


def test_matmul_integer_signed(tmp_path: Path) -> None:
    a, b = numbers(5, 3, dtype=np.int8), numbers(3, 4, dtype=np.int8)
    constants = {"b": b, "az": np.int8(-3)}
    model = check(write(tmp_path, "MatMulInteger", ["N", 3], constants, TensorProto.INT8), a, reference)
    assert (model.zero_point, model.dtype) == (-3, np.int8)


INTEGER = [
    (dict(xz=np.array([1, 2], np.uint8)), "'xz' has shape (2,), and must be one value"),
    (dict(xz=np.int8(1)), "'xz' holds int8, and must hold uint8 as the input does"),
    (dict(xz=None, wz=np.uint8(1)), "'wz' holds uint8, and must hold int8 as the weights do"),
    (dict(xz=None, wz=np.array([1, 2], np.int8)), "'wz' has shape (2,), and must hold 1 or 4 values"),
    (dict(xz=None, wz=np.ones((4, 1), np.int8)), "'wz' has shape (4, 1), and must hold 1 or 4 values"),
]


@pytest.mark.parametrize(("constants", "message"), INTEGER)
@pytest.mark.parametrize("op", ["ConvInteger", "MatMulInteger"])
def test_zero_points_refused(tmp_path: Path, op: str, constants: Constants, message: str) -> None:
    w, shape = (numbers(4, 3, 2, 2), [1, 3, 5, 5]) if op == "ConvInteger" else (numbers(3, 4), [2, 3])
    constants = {"w": w.astype(np.int8), **constants}
    refused_model(f"node 'n': zero point {message}", tmp_path, op, shape, constants, TensorProto.UINT8)


def test_integer_operators_take_bytes(tmp_path: Path) -> None:
    w = numbers(3, 4)
    message = "node 'n': weight 'w' holds float32, and must be uint8 or int8"
    refused_model(message, tmp_path, "MatMulInteger", [2, 3], {"w": w}, TensorProto.UINT8)
    message = "node 'n': input 'x' holds int32, and must be uint8 or int8"
    refused_model(message, tmp_path, "MatMulInteger", [2, 3], {"w": w.astype(np.int8)}, TensorProto.INT32)


# Dense layers


@pytest.mark.parametrize("bias", [None, (), (1,), (1, 1), (4,), (1, 4)], ids=str)
@pytest.mark.parametrize("turned", [0, 1])
def test_gemm(tmp_path: Path, bias: tuple | None, turned: int) -> None:
    b = numbers(3, 4)
    constants = {"b": b.T.copy() if turned else b, **({} if bias is None else {"c": numbers(*bias)})}
    model = check(write(tmp_path, "Gemm", ["N", 3], constants, transB=turned), numbers(5, 3))
    assert np.array_equal(model.weights, b) and model.input_shape == (None, 3)
    assert (model.bias is None) == (bias is None)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (2, 1, 2, 3)], ids=str)
def test_matmul(tmp_path: Path, shape: tuple) -> None:
    free = [None] * len(shape)
    for given in (list(shape), free):
        model = check(write(tmp_path, "MatMul", given, {"b": numbers(3, 4)}), numbers(*shape))
        assert model.input_shape == (*given[:-1], 3)
        assert to_maps(model, numbers(*shape)).shape == (np.prod(shape) // 3, 3, 1, 1)


def test_gemm_refused(tmp_path: Path) -> None:
    constants = {"b": numbers(3, 4), "c": numbers(4)}
    for name, value, needed in (("alpha", 0.5, 1), ("beta", 2.0, 1), ("transA", 1, 0)):
        message = f"node 'n': {name} = {value} is not supported, and must be {needed}"
        refused_model(message, tmp_path, "Gemm", [5, 3], constants, **{name: value})
    load_model(write(tmp_path, "Gemm", [5, 3], {"b": numbers(3, 4)}, beta=2.0))
    for shape in ((5, 4), (3,), (5, 1)):
        message = f"node 'n': bias 'c' has shape {shape}, and must have shape (1, 4) or spread to it"
        refused_model(message, tmp_path, "Gemm", [5, 3], {"b": numbers(3, 4), "c": numbers(*shape)})
    message = "input 'x' has rank 3, and weights of shape (3, 4) take rank 2"
    refused_model(message, tmp_path, "Gemm", [1, 5, 3], constants)


def test_matmul_refused(tmp_path: Path) -> None:
    message = "node 'n': weight 'b' has rank 3, and must have rank 2"
    refused_model(message, tmp_path, "MatMul", [5, 3], {"b": numbers(1, 3, 4)})
    message = "input 'x' has rank 0, and weights of shape (3, 4) take rank 1 or more"
    refused_model(message, tmp_path, "MatMul", [], {"b": numbers(3, 4)})
    message = "input 'x' has 2 channels, and weights of shape (3, 4) take 3"
    refused_model(message, tmp_path, "MatMul", [5, 2], {"b": numbers(3, 4)})
    graph = onnx_model("MatMul", [3, 4], {"b": numbers(5, 3)})
    graph.graph.node[0].input[:] = ["b", "x"]
    onnx.save(graph, tmp_path / "m.onnx")
    message = "node 'n': weight 'x' must be an initializer or the tensor of a Constant"
    refused(message, load_model, str(tmp_path / "m.onnx"))


# Where the numbers may stand, and what they may be


def constant(**attributes: Any) -> NodeProto:
    return helper.make_node("Constant", [], ["k"], name="k", **attributes)


def with_constant(path: Path, op: str, shape: list, constants: Constants, position: int, **value: Any) -> str:
    """Path of a model whose input ``position`` is a Constant node of ``value``."""
    model = onnx_model(op, shape, constants, more=[constant(**value)])
    model.graph.node[1].input.insert(position, "k")
    onnx.save(model, path / "model.onnx")
    return str(path / "model.onnx")


def test_weights_of_a_constant(tmp_path: Path) -> None:
    w = numbers(4, 3, 3, 2)
    path = with_constant(tmp_path, "Conv", [1, 3, 6, 7], {}, 1, value=numpy_helper.from_array(w))
    check(path, numbers(1, 3, 6, 7))


def test_bias_of_a_constant(tmp_path: Path) -> None:
    floats = helper.make_attribute("value_floats", [1.0, -2.0, 3.0, 4.0]).floats
    path = with_constant(tmp_path, "Conv", [1, 3, 6, 7], {"w": numbers(4, 3, 3, 2)}, 2, value_floats=floats)
    check(path, numbers(1, 3, 6, 7))
    path = with_constant(tmp_path, "Gemm", [1, 3], {"w": numbers(3, 4)}, 2, value_int=-5)
    assert np.array_equal(load_model(path).bias, [-5] * 4)


@pytest.mark.parametrize("value", [dict(value_string="text"), dict(value_strings=["a", "b"])])
def test_constant_of_text_refused(tmp_path: Path, value: dict) -> None:
    path = with_constant(tmp_path, "MatMul", [1, 3], {}, 1, **value)
    refused("node 'n': weight 'k' must be an initializer or the tensor of a Constant", load_model, path)


TYPES = [np.float16, np.float64, np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64]


@pytest.mark.parametrize("dtype", TYPES)
def test_types_of_numbers(tmp_path: Path, dtype: Any) -> None:
    b = numbers(3, 4, low=0, high=100).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = load_model(write(tmp_path, "MatMul", [2, 3], {"b": b}, kind))
    assert np.array_equal(model.weights, b)
    assert model.dtype == (np.dtype(dtype) if np.dtype(dtype).itemsize == 1 else None)


def test_bfloat16(tmp_path: Path) -> None:
    model = onnx_model("MatMul", [2, 3], {}, TensorProto.BFLOAT16)
    model.graph.node[0].input.append("b")
    values = np.arange(12).reshape(3, 4) - 6
    model.graph.initializer.append(helper.make_tensor("b", TensorProto.BFLOAT16, (3, 4), values.ravel()))
    onnx.save(model, tmp_path / "m.onnx")
    assert np.array_equal(load_model(str(tmp_path / "m.onnx")).weights, values)


NUMBERS = [
    (0.5, np.float32, "0.5 at [1, 2], and every value must be an integer"),
    (np.nan, np.float32, "nan at [1, 2], and every value must be finite"),
    (-np.inf, np.float16, "-inf at [1, 2], and every value must be finite"),
    (
        2.0**53 + 2,
        np.float64,
        "9007199254740994.0 at [1, 2], and floats are exact integers up to 2**53",
    ),
    (
        -(2.0**60),
        np.float32,
        "-1.152921504606847e+18 at [1, 2], and floats are exact integers up to 2**53 only",
    ),
    (2**63, np.uint64, "9223372036854775808 at [1, 2], and every value must be below 2**63"),
]


@pytest.mark.parametrize(("value", "dtype", "message"), NUMBERS)
def test_no_integer_refused(tmp_path: Path, value: Any, dtype: Any, message: str) -> None:
    bad = numbers(3, 4, low=0).astype(dtype)
    bad[1, 2] = value
    refused_model(f"node 'n': weight 'b' holds {message}", tmp_path, "MatMul", [2, 3], {"b": bad})
    turned = message.replace("[1, 2]", "[2, 1]")
    refused_model(f"weight 'b' holds {turned}", tmp_path, "Gemm", [2, 3], {"b": bad.T.copy()}, transB=1)
    message = message.replace("[1, 2]", "[0, 2]")
    constants = {"b": numbers(3, 4), "c": bad[1:2]}
    refused_model(f"node 'n': bias 'c' holds {message}", tmp_path, "Gemm", [2, 3], constants)
    model = load_model(write(tmp_path, "MatMul", [2, 4], {"b": numbers(4, 3)}))
    refused(f"x.npy' holds {message}", read_input, model, save(tmp_path, bad[1:]))


def test_signalling_nan_refused(tmp_path: Path) -> None:
    bad = np.full((3, 4), 0x7FA00000, np.uint32).view(np.float32)
    refused_model("weight 'b' holds nan at [0, 0]", tmp_path, "MatMul", [2, 3], {"b": bad})


def test_types_refused(tmp_path: Path) -> None:
    message = "node 'n': weight 'b' holds bool, and integers or floats are needed"
    refused_model(message, tmp_path, "MatMul", [2, 3], {"b": np.ones((3, 4), bool)})
    message = "node 'n': input 'x' holds string, and integers or floats are needed"
    refused_model(message, tmp_path, "MatMul", [2, 3], {"b": numbers(3, 4)}, TensorProto.STRING)


# Models that are refused

GEOMETRY = [
    (dict(pads=[1, 1]), "node 'n': pads = (1, 1) must hold 4 values"),
    (dict(pads=[0, -1, 0, 0]), "node 'n': pads = (0, -1, 0, 0) must hold values of at least 0"),
    (dict(strides=[0, 1]), "node 'n': strides = (0, 1) must hold values of at least 1"),
    (dict(dilations=[1, 2, 3]), "node 'n': dilations = (1, 2, 3) must hold 2 values"),
    (dict(kernel_shape=[2, 2]), "node 'n': kernel_shape = (2, 2) disagrees with weights of (3, 2)"),
    (
        dict(auto_pad="SAME"),
        "node 'n': auto_pad = 'SAME' is not one of NOTSET, VALID, SAME_UPPER, SAME_LOWER",
    ),
    (dict(auto_pad="VALID", pads=[1, 0, 0, 0]), "node 'n': auto_pad = 'VALID' excludes pads = (1, 0, 0, 0)"),
    (dict(group=0), "node 'n': group = 0 must be at least 1"),
    (dict(group=2), "node 'n': input 'x' has 3 channels, and weights of shape (3, 3, 3, 2) take 6"),
    (dict(dilations=[4, 1]), "node 'n': the output would be 0 x 6"),
    (dict(strides=1.5), "is not valid ONNX: Mismatched attribute type in 'n : strides'"),
    (dict(colour=1), "is not valid ONNX: Unrecognized attribute: colour for operator Conv"),
]


@pytest.mark.parametrize(("attributes", "message"), GEOMETRY)
def test_conv_refused(tmp_path: Path, attributes: dict, message: str) -> None:
    refused_model(message, tmp_path, "Conv", [1, 3, 6, 7], {"w": numbers(3, 3, 3, 2)}, **attributes)


TRANSPOSED = [
    (dict(output_shape=[7, 6]), "an output of (7, 6) is asked for, and pads = 0 give no more than (6, 6)"),
    (dict(output_shape=[1, 4, 4]), "output_shape = (1, 4, 4) must hold 2 values"),
    (dict(auto_pad="SAME_UPPER", strides=[4, 4]), "an output of (16, 16) is asked for"),
    (
        dict(output_padding=[1, 0]),
        "node 'n': output_padding[0] = 1 must be below the stride or the dilation, 1",
    ),
    (dict(group=2), "node 'n': channels = 3 is not a multiple of groups = 2"),
    (dict(pads=[3, 0, 3, 0]), "node 'n': the output would be 0 x 6"),
]


@pytest.mark.parametrize(("attributes", "message"), TRANSPOSED)
def test_conv_transpose_refused(tmp_path: Path, attributes: dict, message: str) -> None:
    constants = {"w": numbers(3, 2, 3, 3)}
    refused_model(message, tmp_path, "ConvTranspose", [1, 3, 4, 4], constants, **attributes)


def test_shapes_refused(tmp_path: Path) -> None:
    message = "node 'n': weight 'w' has rank 5, and 1-D and 2-D convolutions are supported"
    refused_model(message, tmp_path, "Conv", [1, 3, 4, 4, 4], {"w": numbers(2, 3, 1, 1, 1)})
    message = "node 'n': input 'x' has rank 3, and weights of shape (4, 3, 3, 2) take rank 4"
    refused_model(message, tmp_path, "Conv", [1, 3, 4], {"w": numbers(4, 3, 3, 2)})
    message = "node 'n': input 'x' has shape (1, 3, 0, 4), and sides must be at least 1"
    refused_model(message, tmp_path, "Conv", [1, 3, 0, 4], {"w": numbers(4, 3, 3, 2)})
    message = "node 'n': bias 'b' has shape (3,), and must have shape (4,)"
    refused_model(message, tmp_path, "Conv", [1, 3, 4, 4], {"w": numbers(4, 3, 3, 2), "b": numbers(3)})
    message = "node 'n': outputs = 0: Input should be greater than or equal to 1"
    refused_model(message, tmp_path, "MatMul", [1, 3], {"w": numbers(3, 0)})


def test_operators_refused(tmp_path: Path) -> None:
    message = "node 'foo': operator 'Relu' is not supported (Conv, ConvTranspose, Gemm, "
    refused_model(message, tmp_path, "Relu", [1, 3], {}, name="foo")
    model = onnx_model("Conv", [1, 3, 6, 7], {"w": numbers(4, 3, 3, 2)})
    model.graph.node[0].domain = "com.example"
    onnx.save(model, tmp_path / "m.onnx")
    refused("node 'n': operator 'com.example.Conv' is not supported", load_model, str(tmp_path / "m.onnx"))


def test_foreign_constant_refused(tmp_path: Path) -> None:
    model = onnx_model("Conv", [1, 3, 6, 7], {"w": numbers(4, 3, 3, 2)}, more=[constant(value_int=1)])
    model.graph.node[0].domain = "com.example"
    onnx.save(model, tmp_path / "m.onnx")
    message = "node 'k': operator 'Constant' stands beside node 'n'"
    refused(message, load_model, str(tmp_path / "m.onnx"))


@pytest.mark.parametrize("first", [False, True])
def test_company_refused(tmp_path: Path, first: bool) -> None:
    model = onnx_model("MatMul", [1, 3], {"w": numbers(3, 4)})
    relu = helper.make_node("Relu", ["x" if first else "y"], ["z"], name="act")
    model.graph.node.insert(0 if first else 1, relu)
    onnx.save(model, tmp_path / "m.onnx")
    message = "node 'act': operator 'Relu' stands beside node 'n', and a model must hold exactly one node"
    refused(message, load_model, str(tmp_path / "m.onnx"))


def test_graphs_refused(tmp_path: Path) -> None:
    file, make = tmp_path / "m.onnx", lambda: onnx_model("MatMul", [1, 3], {"w": numbers(3, 4)})
    empty, loose, held = make(), make(), make()
    del empty.graph.node[:]
    del loose.graph.initializer[:]
    held.graph.initializer.append(numpy_helper.from_array(numbers(1, 3), "x"))
    for model, message in (
        (empty, "holds no operator, and must hold one of Conv, "),
        (
            loose,
            "is not valid ONNX: Nodes in a graph must be topologically sorted, however input 'w' of node: ",
        ),
        (held, "node 'n': input 'x' must be an input of the graph, and no constant"),
    ):
        onnx.save(model, file)
        refused(message, load_model, str(file))
    loose.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 4]))
    onnx.save(loose, file)
    refused("node 'n': weight 'w' must be an initializer or the tensor", load_model, str(file))


def test_output_must_be_the_result(tmp_path: Path) -> None:
    path = with_constant(tmp_path, "MatMul", [1, 3], {}, 1, value=numpy_helper.from_array(numbers(3, 4)))
    model = onnx.load(path)
    model.graph.output[0].name = "k"
    onnx.save(model, path)
    refused("node 'n': its output 'y' must be an output of the graph", load_model, path)


def test_sequence_refused(tmp_path: Path) -> None:
    model = onnx_model("MatMul", [1, 3], {"w": numbers(3, 4)})
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1, 3])
    model.graph.input[0].CopyFrom(sequence)
    onnx.save(model, tmp_path / "m.onnx")
    refused("node 'n': input 'x' must be a tensor", load_model, str(tmp_path / "m.onnx"))


def test_broken_files_refused(tmp_path: Path) -> None:
    good = Path(write(tmp_path, "MatMul", [1, 3], {"w": numbers(3, 4)})).read_bytes()
    file = tmp_path / "broken.onnx"
    refused("cannot be read: No such file or directory", load_model, str(file))
    refused("cannot be read: Is a directory", load_model, str(tmp_path))
    for content, message in (
        (good[:-5], "is not an ONNX file, or is cut short"),
        (b"garbage", "is not an ONNX file, or is cut short"),
        (b"", "holds no operator"),
    ):
        file.write_bytes(content)
        refused(message, load_model, str(file))


def test_any_broken_bytes_refused(tmp_path: Path) -> None:
    """Cut or altered anywhere, a file is read or refused, never more than that."""
    pads = dict(pads=[1, 1, 1, 1], auto_pad="NOTSET")
    good = Path(write(tmp_path, "Conv", ["N", 3, 6, 7], {"w": numbers(1, 3, 1, 2)}, **pads)).read_bytes()
    rng, file = np.random.default_rng(7), tmp_path / "broken.onnx"
    count = 0
    for position in range(len(good)):
        altered = bytes([*good[:position], int(rng.integers(256)), *good[position + 1 :]])
        for content in (good[:position], altered):
            file.write_bytes(content)
            try:
                load_model(str(file))
            except InputError as error:
                assert "\n" not in str(error)
                count += 1
    assert count > len(good)


def test_external_data(tmp_path: Path) -> None:
    model = onnx_model("MatMul", [2, 3], {"w": numbers(3, 4)})
    file, data = tmp_path / "m.onnx", tmp_path / "w.bin"
    onnx.save(model, file, save_as_external_data=True, location="w.bin", size_threshold=0)
    check(str(file), numbers(2, 3))
    data.write_bytes(data.read_bytes()[:20])
    refused("is not valid ONNX: ", load_model, str(file))
    data.unlink()
    refused("is not valid ONNX: ", load_model, str(file))
    model = onnx.load(file, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../w.bin"
    onnx.save(model, file)
    refused("is not valid ONNX: ", load_model, str(file))


# Layer files

LAYER = """
op = "conv"
channels = 3
outputs = 4
height = 6
width = 7
kernel = [3, 2]
pads = [1, 0, 2, 1]
weights = "w.npz"
"""


def layer_file(path: Path, text: str = LAYER, **arrays: NDArray) -> str:
    """Path of a layer TOML of ``text`` beside an .npz of ``arrays``."""
    np.savez(path / "w.npz", **(arrays or {"w": numbers(4, 3, 3, 2)}))
    (path / "net.toml").write_text(text)
    return str(path / "net.toml")


def test_layer_file(tmp_path: Path) -> None:
    w, b, x = numbers(4, 3, 3, 2), numbers(4, dtype=np.int16), numbers(2, 3, 6, 7)
    model = load_model(layer_file(tmp_path, w=w, b=b))
    assert model.layer.name == "net" and model.input_shape == (None, 3, 6, 7)
    assert (model.zero_point, model.dtype) == (0, None)
    path = write(tmp_path, "Conv", x.shape, {"w": w, "b": b.astype(np.float32)}, pads=[1, 0, 2, 1])
    assert np.array_equal(run(model, read_input(model, save(tmp_path, x))), runtime(path, x))


def test_layer_file_dense(tmp_path: Path) -> None:
    text = 'op = "dense"\nname = "fc"\nchannels = 3\noutputs = 4\nweights = "w.npz"\n'
    text += 'zero_point = -3\ndtype = "int8"\n'
    model = load_model(layer_file(tmp_path, text, w=numbers(3, 4)))
    assert (model.layer.name, model.zero_point, model.dtype) == ("fc", -3, np.int8)
    assert model.bias is None and model.input_shape == (None, 3)
    x = read_input(model, save(tmp_path, numbers(5, 3)))
    assert np.array_equal(run(model, x), (x + 3) @ model.weights)


LAYER_TEXT = [
    (LAYER + "colour = 1\n", "layer 'net' has an unknown key 'colour'"),
    (LAYER.replace("channels = 3", ""), "layer 'net' lacks the key 'channels'"),
    (LAYER.replace('weights = "w.npz"', ""), "layer 'net' lacks the key 'weights'"),
    (LAYER.replace('"conv"', '"pool"'), "layer 'net': op = 'pool': Input should be 'conv', "),
    (
        LAYER.replace("channels = 3", "channels = 3.0"),
        "layer 'net': channels = 3.0: Input should be a valid integer",
    ),
    (
        LAYER.replace("[3, 2]", "[3, 0]"),
        "layer 'net': kernel.1 = 0: Input should be greater than or equal to 1",
    ),
    (LAYER.replace("[3, 2]", "[30, 2]"), "layer 'net': the output would be 0 x 7"),
    (LAYER + 'dtype = "int16"\n', "layer 'net': dtype = 'int16': Input should be 'uint8' or 'int8'"),
    (
        LAYER + 'zero_point = -1\ndtype = "uint8"\n',
        "layer 'net': zero_point = -1 does not fit dtype = 'uint8'",
    ),
    (LAYER.replace("w.npz", "none.npz"), "weights 'none.npz' cannot be read: No such file or directory"),
    (LAYER.replace("w.npz", "net.toml"), "weights 'net.toml' is not an .npz file: File is not a zip file"),
    (LAYER.replace("w.npz", "a\\nb"), "weights 'a\\nb' cannot be read: No such file or directory"),
    ("op =", "net.toml is not TOML"),
]


@pytest.mark.parametrize(("text", "message"), LAYER_TEXT)
def test_layer_file_refused(tmp_path: Path, text: str, message: str) -> None:
    refused(message, load_model, layer_file(tmp_path, text))


good, bias = numbers(4, 3, 3, 2), numbers(4)
ARRAYS = [
    (dict(b=bias), "weights 'w.npz' lacks the array 'w'"),
    (dict(w=good, c=bias), "weights 'w.npz' has an unknown array 'c': 'w' and 'b' are read"),
    (dict(w=good[1:]), "weights 'w.npz': 'w' has shape (3, 3, 3, 2), and the layer takes (4, 3, 3, 2)"),
    (dict(w=good, b=bias[1:]), "weights 'w.npz': 'b' has shape (3,), and the layer takes (4,)"),
    (dict(w=good / 2), "weights 'w.npz': 'w' holds "),
    (dict(w=good, b=bias * np.nan), "weights 'w.npz': 'b' holds nan at [0], and every value must be finite"),
    (dict(w=good > 0), "weights 'w.npz': 'w' holds bool, and integers are needed"),
    (dict(w=good.astype(object)), "weights 'w.npz' holds an array that cannot be read: Object arrays"),
]


@pytest.mark.parametrize(("arrays", "message"), ARRAYS)
def test_weights_file_refused(tmp_path: Path, arrays: dict, message: str) -> None:
    refused(message, load_model, layer_file(tmp_path, **arrays))


def test_missing_layer_file_refused(tmp_path: Path) -> None:
    refused("none.toml cannot be read: No such file", load_model, str(tmp_path / "none.toml"))


def test_broken_weights_file_refused(tmp_path: Path) -> None:
    path, file = layer_file(tmp_path), tmp_path / "w.npz"
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    refused("weights 'w.npz' is not an .npz file: Bad CRC-32", load_model, path)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("w.npy", b"nothing")
    refused("weights 'w.npz' holds an array that cannot be read", load_model, path)


# Inputs


def conv(path: Path, kind: int = TensorProto.FLOAT, batch: int | None = None) -> Model:
    return load_model(write(path, "Conv", [batch, 3, 6, 7], {"w": numbers(4, 3, 3, 2)}, kind))


INPUTS = [
    ((3, 6, 7), "has rank 3, shape (3, 6, 7), and 'n' takes (N, 3, 6, 7)"),
    ((1, 4, 6, 7), "has shape (1, 4, 6, 7): axis 1 has 4, and 'n' takes (N, 3, 6, 7)"),
    ((1, 3, 7, 7), "has shape (1, 3, 7, 7): axis 2 has 7, and 'n' takes (N, 3, 6, 7)"),
    ((1, 3, 6, 8), "has shape (1, 3, 6, 8): axis 3 has 8, and 'n' takes (N, 3, 6, 7)"),
    ((0, 3, 6, 7), "has shape (0, 3, 6, 7), and must not be empty"),
]


@pytest.mark.parametrize(("shape", "message"), INPUTS)
def test_input_shape_refused(tmp_path: Path, shape: tuple, message: str) -> None:
    refused(message, read_input, conv(tmp_path), save(tmp_path, np.zeros(shape)))


def test_input_batch_refused(tmp_path: Path) -> None:
    model = conv(tmp_path, batch=2)
    message = "has shape (1, 3, 6, 7): axis 0 has 1, and 'n' takes (2, 3, 6, 7)"
    refused(message, read_input, model, save(tmp_path, np.zeros((1, 3, 6, 7))))


def test_input_files_refused(tmp_path: Path) -> None:
    model, file = conv(tmp_path), tmp_path / "x.npy"
    refused("cannot be read: No such file or directory", read_input, model, str(file))
    np.save(file, np.full((1, 3, 6, 7), None))
    refused("is not an .npy array of numbers", read_input, model, str(file))
    np.save(file, np.zeros((1, 3, 6, 7), complex))
    refused("holds complex128, and integers are needed", read_input, model, str(file))
    np.save(file, np.zeros((1, 3, 6, 7)))
    for content in (b"", b"text", file.read_bytes()[:90], file.read_bytes()[:-1]):
        file.write_bytes(content)
        refused("is not an .npy array of numbers", read_input, model, str(file))
        refused("is not an .npy array of numbers", input_shape, str(file))
    np.savez(file.with_suffix(".npz"), np.zeros((1, 3, 6, 7)))
    refused("is not an .npy array of numbers", read_input, model, str(file.with_suffix(".npz")))


@pytest.mark.parametrize("dtype", [">f4", "<i8", "u1", "f2"])
def test_input_types(tmp_path: Path, dtype: str) -> None:
    x = numbers(2, 3, 6, 7, low=0, high=99).astype(dtype)
    found = read_input(conv(tmp_path), save(tmp_path, np.asfortranarray(x)))
    assert type(found) is np.ndarray and found.dtype == np.int64
    assert np.array_equal(found, x)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [(TensorProto.FLOAT, 0, 15), (TensorProto.UINT8, 0, 255), (TensorProto.INT8, -128, 127)],
)
def test_draw_input(tmp_path: Path, kind: int, low: int, high: int) -> None:
    model = load_model(write(tmp_path, "MatMul", [None, 5000, 3], {"b": numbers(3, 4)}, kind))
    x = draw_input(model, chip(input_bits=4), 5)
    assert x.shape == (1, 5000, 3) and x.dtype == np.int64
    assert (x.min(), x.max()) == (low, high)
    assert np.array_equal(x, draw_input(model, chip(input_bits=4), 5))
    assert not np.array_equal(x, draw_input(model, chip(input_bits=4), 6))


def test_input_format(tmp_path: Path) -> None:
    x = numbers(1, 3, 6, 7, low=0)
    unsigned, signed = (InputFormat(raw_bits=12, raw_signed=sign) for sign in (False, True))
    model = conv(tmp_path)
    assert input_format(model, chip(input_bits=12, input_signed=False), x.astype(int)) == unsigned
    assert input_format(model, chip(input_bits=12), -x.astype(int)) == signed
    eight = InputFormat(raw_bits=8, raw_signed=False)
    assert input_format(conv(tmp_path, TensorProto.UINT8), chip(input_bits=12), x.astype(int)) == eight
    constants = {"w": numbers(3, 4, dtype=np.int8), "z": np.int8(-5)}
    model = load_model(write(tmp_path, "MatMulInteger", [1, 3], constants, TensorProto.INT8))
    expected = InputFormat(raw_bits=8, raw_signed=True, zero_point=-5)
    assert input_format(model, chip(), np.array([[1, 2, 3]])) == expected


FORMATS = [
    (
        TensorProto.FLOAT,
        {},
        256,
        "the input holds 256 at [0, 1, 2, 3], outside 0 .. 255 of unsigned input_bits = 8",
    ),
    (TensorProto.FLOAT, {}, -129, "holds -129 at [0, 1, 2, 3], outside -128 .. 127 of signed input_bits = 8"),
    (TensorProto.INT8, {}, 128, "the input holds 128 at [0, 1, 2, 3], outside -128 .. 127 of int8"),
    (TensorProto.UINT8, {}, -1, "the input holds -1 at [0, 1, 2, 3], outside 0 .. 255 of uint8"),
    (TensorProto.UINT8, dict(input_bits=7), 0, "the input is uint8, and chip tiny takes input_bits = 7"),
    (
        TensorProto.INT8,
        dict(input_signed=False),
        0,
        "the input is int8, and chip tiny has input_signed = false",
    ),
    (
        TensorProto.FLOAT,
        dict(input_signed=False),
        -2,
        "the input holds -2 at [0, 1, 2, 3], and chip tiny has input_signed = false",
    ),
]


@pytest.mark.parametrize(("kind", "changes", "value", "message"), FORMATS)
def test_input_format_refused(tmp_path: Path, kind: int, changes: dict, value: int, message: str) -> None:
    x = np.zeros((1, 3, 6, 7), np.int64)
    x[0, 1, 2, 3] = value
    refused(message, input_format, conv(tmp_path, kind), chip(**changes), x)


def test_zero_point_outside_the_format_refused(tmp_path: Path) -> None:
    model = load_model(layer_file(tmp_path, LAYER + "zero_point = 300\n"))
    message = "layer 'net': zero point 300 is outside 0 .. 255 of unsigned input_bits = 8"
    refused(message, input_format, model, chip(), np.zeros((1, 3, 6, 7), np.int64))


WEIGHTS = [
    (
        {},
        256,
        "is 256 at [0, 1, 2], outside -255 .. 255 of weight_bits = 8 in differential encoding on chip tiny",
    ),
    ({}, -256, "is -256 at [0, 1, 2], outside -255 .. 255"),
    (dict(weight_signed=False), -1, "is -1 at [0, 1, 2], negative, and chip tiny has weight_signed = false"),
    (dict(weight_signed=False), 256, "is 256 at [0, 1, 2], outside 0 .. 255"),
]


@pytest.mark.parametrize(("changes", "value", "message"), WEIGHTS)
def test_check_weights(tmp_path: Path, changes: dict, value: int, message: str) -> None:
    w = numbers(4, 3, 4, low=0)
    check_weights(load_model(write(tmp_path, "Conv", [1, 3, 9], {"w": w})), chip(**changes))
    w[0, 1, 2] = value
    model = load_model(write(tmp_path, "Conv", [1, 3, 9], {"w": w}))
    message = message.replace("[0, 1, 2]", "[0, 1, 0, 2]")
    refused(f"a weight of layer 'n' {message}", check_weights, model, chip(**changes))


def test_check_weights_offset(tmp_path: Path) -> None:
    """In offset encoding the span must fit, wherever it lies among eight bits and a sign."""
    on, refusals = chip(encoding="offset"), 0
    for low, high, message in (
        (-128, 127, ""),
        (-200, 55, ""),
        (0, 255, ""),
        (-255, 0, ""),
        (-1, 255, "weights from -1 to 255 differ by more than 255, the most that offset encoding"),
        (100, 256, "weight 256 is outside -255 .. 255 of weight_bits = 8"),
        (-300, -200, "weight -300 is outside -255 .. 255 of weight_bits = 8"),
    ):
        w = np.full((4, 3, 1, 4), low, np.float32)
        w[0, 1, 0, 2] = high
        model = load_model(write(tmp_path, "Conv", [1, 3, 1, 9], {"w": w}))
        if message:
            refused(message, check_weights, model, on)
            refusals += 1
        else:
            check_weights(model, on)
    assert refusals == 3
