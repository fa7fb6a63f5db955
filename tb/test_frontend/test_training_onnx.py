"""Networks of a training file from ONNX: their layers and start values, as onnxruntime computes them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from selvage.base.errors import InputError
from selvage.frontend.training_file import load_training
from selvage.golden.layer import evaluate

FILE = 'batch = 2\ndata = "data.npz"\n[generator]\nrate = 3\nnoise = 3\nonnx = "g.onnx"\n[discriminator]\nrate = 3\n'
FILE += 'onnx = "d.onnx"\n'


def model(nodes: list, weights: dict[str, np.ndarray], shape: list, path: Path) -> None:
    constants = [numpy_helper.from_array(own, name) for name, own in weights.items()]
    entering = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    leaving = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    leaving = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n"] + [None] * 3)
    if nodes[-1].op_type in ("Gemm", "MatMul"):
        leaving = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n", None])
    graph = helper.make_graph(nodes, "g", [entering], [leaving], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def integers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float32)


def networks(place: Path, *, bias: bool = False, norm: bool = False) -> None:
    """A generator of a dense layer that makes a map, and a discriminator of one that takes a map."""
    make = helper.make_node
    shape = np.array([-1, 2, 2, 2], np.int64)
    model(
        [
            make("Gemm", ["x", "w1"], ["a"], transB=1),
            make("Reshape", ["a", "shape"], ["b"]),
            make("LeakyRelu", ["b"], ["c"], alpha=0.5),
            make("ConvTranspose", ["c", "w2"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1]),
        ],
        {"w1": integers(1, 8, 3), "shape": shape, "w2": integers(2, 2, 1, 4, 4)},
        ["n", 3],
        place / "g.onnx",
    )
    nodes = [make("Conv", ["x", "w1", *(["bias"] if bias else [])], ["a"], strides=[2, 2], pads=[1, 1, 1, 1])]
    nodes += [make("BatchNormalization", ["a", "one", "zero", "zero", "one"], ["n"])] if norm else []
    nodes += [make("Flatten", ["n" if norm else "a"], ["b"]), make("MatMul", ["b", "w2"], ["y"])]
    extra = {"one": np.ones(3, np.float32), "zero": np.zeros(3, np.float32)} if norm else {}
    extra |= {"bias": np.ones(3, np.float32)} if bias else {}
    model(nodes, {"w1": integers(3, 3, 1, 4, 4), "w2": integers(4, 12, 1), **extra}, ["n", 1, 4, 4], place / "d.onnx")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", images=np.random.default_rng(1).random((70, 1, 4, 4)))
    (tmp_path / "gan.toml").write_text(FILE)
    networks(tmp_path)
    return tmp_path


def test_layers_and_values_are_onnxruntimes(place: Path) -> None:
    file = load_training(str(place / "gan.toml"))
    assert [[(layer.op, leak) for layer, leak in file.layers[name]] for name in "GD"] == [
        [("conv_transpose", 1), ("conv_transpose", None)],
        [("conv", None), ("conv", None)],
    ]
    for name, path, x in (("G", "g.onnx", integers(5, 6, 3)), ("D", "d.onnx", integers(6, 6, 1, 4, 4))):
        (wanted,) = onnxruntime.InferenceSession(place / path).run(None, {"x": x})
        maps: np.ndarray = x.reshape(len(x), -1, *(x.shape[2:] or (1, 1))).astype(np.int64) * 2
        for (layer, leak), values in zip(file.layers[name], file.start[name], strict=True):
            maps = evaluate(layer, maps, values.astype(np.int64))
            maps = np.where(maps < 0, maps // 2**leak, maps) if leak else maps  # twice the input: halves are whole
        np.testing.assert_array_equal(maps.ravel(), 2 * wanted.ravel())
    found, weights = file.networks(1)
    for name in "GD":
        for own, values in zip(weights[name], file.start[name], strict=True):
            np.testing.assert_allclose(own / abs(own).max(), values / abs(values).max(), atol=0.02)
        assert len(found[name].layers) == 2


@pytest.mark.parametrize(
    ("how", "text", "says"),
    [
        ({"bias": True}, FILE, "has a bias, and layers that are trained have none"),
        ({"norm": True}, FILE, "normalises, which couples samples or codes"),
        ({}, FILE.replace("noise = 3", "noise = 4"), "has weights (3, 8), and takes (4, 2, 2, 2)"),
        ({}, FILE.replace('"d.onnx"', '"none.onnx"'), "none.onnx"),
        ({}, FILE.replace('onnx = "d.onnx"\n', ""), "discriminator needs the key 'layers', or 'onnx'"),
    ],
)
def test_bad_models(how: dict, text: str, says: str, place: Path) -> None:
    networks(place, **how)
    (place / "gan.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_training(str(place / "gan.toml"))
    assert says in str(caught.value)
