"""Layer files and their weights, and the inputs and weights that a layer takes on a chip."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from selvage.base.chip import Chip, load_chip
from selvage.base.layer import InputFormat
from selvage.compiler.model_file import (
    Model,
    check_weights,
    draw_input,
    input_format,
    input_shape,
    load_model,
    read_input,
)
from tb.models.onnx_models import numbers, runtime, save, write
from tb.models.single_layers import refused, run


def chip(**changes: Any) -> Chip:
    return Chip(**load_chip("tiny").model_dump() | changes)


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
