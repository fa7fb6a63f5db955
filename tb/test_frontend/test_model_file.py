"""The reader of models: what it accepts of ONNX files, against ONNX evaluators."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from selvage.compiler.model_file import load_model, to_maps
from tb.models.onnx_models import (
    numbers,
    onnx_model,
    reference,
    runtime,
    with_constant,
    write,
)
from tb.models.single_layers import check, refused, refused_model, run

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


# Where the numbers may stand, and what they may be


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
