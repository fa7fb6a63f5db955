"""The reader of models: the ONNX files that it refuses, by message."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from selvage.base.errors import InputError
from selvage.compiler.model_file import load_model, read_input
from tb.models.onnx_models import (
    Constants,
    constant,
    numbers,
    onnx_model,
    save,
    with_constant,
    write,
)
from tb.models.single_layers import check, refused, refused_model

# Integer operators

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


@pytest.mark.parametrize("value", [dict(value_string="text"), dict(value_strings=["a", "b"])])
def test_constant_of_text_refused(tmp_path: Path, value: dict) -> None:
    path = with_constant(tmp_path, "MatMul", [1, 3], {}, 1, **value)
    refused("node 'n': weight 'k' must be an initializer or the tensor of a Constant", load_model, path)


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
    (
        dict(output_shape=[7, 6]),
        "node 'n': output_shape = (7, 6) leaves (1, 0) behind what the kernel reaches, and must leave less than",
    ),
    (dict(output_shape=[1, 4, 4]), "output_shape = (1, 4, 4) must hold 2 values"),
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
    refused("cannot be read: it is a directory", load_model, str(tmp_path))
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
    refused(
        "'w.bin' of shape (3, 4) takes 48 bytes: 48 from 0 on are named, and the file has 20", load_model, str(file)
    )
    data.unlink()
    refused("its external data 'w.bin' is not there: ", load_model, str(file))
    model = onnx.load(file, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../w.bin"
    onnx.save(model, file)
    refused("'../w.bin' must lie in the folder of the file that names it, or below", load_model, str(file))
