"""Import of unusual but valid forms: old operators, ends of ranges, inputs and outputs with nothing to say."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from bench.onnx_models import Build, outputs, saved
from selvage.base.errors import InputError
from selvage.base.graph import Concat, Matrix, Reshape, Resize
from selvage.compiler.model_file import load_model
from selvage.frontend.onnx.graph import Imported, load_graph
from selvage.golden.graph import run
from tb.models.onnx_graphs import UNIT, S, agreeing, codes, entered, inputs_of, kinds, whole
from tb.models.onnx_hosts import as_written, convolved
from tb.models.onnx_models import numbers, reference, runtime, write

UINT8 = TensorProto.UINT8


def convolution(build: Build, x: str, shape: tuple[int, ...], operator: str = "Conv", **attributes: Any) -> str:
    """Weights of seven bits, which no kernel of onnxruntime saturates."""
    return build.add(operator, x, build.weights(codes(shape) // 2, 0.0173), name="layer", **attributes)


def nearly_all(build: Build, directory: Path) -> Imported:
    """The import, whose outputs are onnxruntime's but for one in a thousand, which float sums round otherwise."""
    imported = load_graph(saved(build.model(), directory))
    feeds = inputs_of(imported)
    (ours,), (theirs,) = whole(imported, feeds).values(), as_written(build.model(), feeds).values()
    assert ours.shape == theirs.shape
    assert (np.abs(ours - theirs) > 1e-5).mean() < 1e-3
    return imported


# Resize


def resized(build: Build, x: str, factors: tuple[float, float], **attributes: Any) -> str:
    scales = build.constant([1, 1, *factors], np.float32)
    roi = [] if build.opset == 10 else [build.constant([], np.float32)] if build.opset < 13 else [""]
    inputs = [*roi, scales]
    return build.add("Resize", x, *inputs, name="resize", **attributes)


@pytest.mark.parametrize("factors", [(2, 2), (3, 1), (1, 4)])
@pytest.mark.parametrize("opset, mode", [(10, {}), (11, {}), (13, {"nearest_mode": "floor"}), (18, {})])
def test_enlargement_in_gateware(factors: tuple[int, int], opset: int, mode: dict, tmp_path: Path) -> None:
    if opset > 10:
        mode = mode | {"coordinate_transformation_mode": "asymmetric" if mode else "half_pixel"}
    build = Build(opset)
    x = build.through(resized(build, entered(build), factors, **mode), UNIT, 128)
    build.output(build.through(convolution(build, x, (4, 3, 3, 3)), S, 99))
    assert kinds(agreeing(build, tmp_path)) == [Resize, Matrix]


@pytest.mark.parametrize("factors", [(0.5, 0.5), (0.4, 1.7), (1.5, 0.9), (2, 3)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_opset_10_on_the_host(factors: tuple[float, float], mode: str, tmp_path: Path) -> None:
    """Nearest is the pixel before a place, or behind it along an axis that shrinks."""
    build = Build(10)
    x = build.through(convolution(build, entered(build, (3, 9, 8)), (3, 3, 3, 3)), S, 99)
    build.output(resized(build, build.add("Neg", x), factors, mode=mode))
    build.output(x)
    imported = load_graph(saved(build.model(), tmp_path))
    feeds = inputs_of(imported)
    ours, theirs = whole(imported, feeds), as_written(build.model(), feeds)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-5)


# Ends of the bias


def exact_codes(sums: NDArray, unit: float, scale: float, zero: int) -> NDArray:
    """By Python's integers and the quotient of two powers of two."""
    quotient = scale / unit
    found = [min(max(round(int(value) / quotient) + zero, 0), 255) for value in sums.reshape(-1)]
    return np.array(found).reshape(sums.shape)


@pytest.mark.parametrize("bias", [2**31 - 1, 2**31 - 2, -(2**31) + 1, -(2**31)])
@pytest.mark.parametrize("constant", ["codes", "floats"])
def test_ends_of_the_bias(bias: int, constant: str, tmp_path: Path) -> None:
    """Beside it a channel whose scale is far larger. onnxruntime's own sums wrap round."""
    build, unit, scales = Build(), 2.0**-12, np.array([2.0**-12, 1.75 * 2.0**8])
    x = build.real(build.input("x", ("N", 1, 2, 2), UINT8), unit)
    stored = [[[[-3]]], [[[5]]]]
    weights = build.weights(np.array(stored, np.int8), scales)
    if constant == "codes":
        own = build.weights(np.array([bias, -7], np.int32), scales * unit)
    elif -bias == 2**31:
        own = build.constant(np.array([bias, -7]) * scales * unit, np.float32)
    else:
        pytest.skip("float32 does not hold it")
    build.output(build.quantised(build.add("Conv", x, weights, own, name="far"), 2.0, 100), UINT8)
    imported = load_graph(saved(build.model(), tmp_path))
    x = np.array([[[[0, 255], [1, 128]]]], np.uint8)
    (found,) = run(imported.graph, imported.enter({"x": x}))[imported.graph.outputs[0]]
    sums = x[0].astype(object)
    np.testing.assert_array_equal(found[:1], exact_codes(-3 * sums + bias, unit * unit, 2.0, 100))
    np.testing.assert_array_equal(found[1:], exact_codes(5 * sums - 7, unit * 1.75 * 2.0**8, 2.0, 100))


@pytest.mark.parametrize("bias", [2.0**31, -(2.0**31) - 2.0**9])
def test_beyond_the_ends_of_the_bias(bias: float, tmp_path: Path) -> None:
    build, unit = Build(), 2.0**-12
    weights = build.weights(np.array([[[[-3]]]], np.int8), unit)
    x = build.real(build.input("x", ("N", 1, 2, 2), UINT8), unit)
    own = build.constant([bias * unit * unit], np.float32)
    build.output(build.quantised(build.add("Conv", x, weights, own, name="far"), 2.0, 100), UINT8)
    with pytest.raises(InputError, match=rf"node 'far': its bias holds {bias:.12g} units of a sum, beyond 32 bits"):
        load_graph(saved(build.model(), tmp_path))


# Transposed convolutions

SIDES = [  # sides of the input, kernel, attributes
    ((3, 2), (2, 2), {"strides": (2, 2), "auto_pad": "SAME_UPPER", "output_padding": (1, 0)}),
    ((3, 2), (3, 3), {"strides": (2, 2), "auto_pad": "SAME_LOWER", "output_padding": (1, 1)}),
    ((2, 4), (3, 3), {"strides": (4, 2), "auto_pad": "SAME_UPPER", "output_padding": (2, 1)}),
    ((2, 4), (3, 1), {"strides": (4, 3), "auto_pad": "SAME_LOWER"}),
    ((3, 3), (3, 3), {"strides": (3, 2), "output_shape": (10, 8)}),
    ((3, 3), (1, 2), {"strides": (2, 3), "output_shape": (6, 9), "auto_pad": "SAME_UPPER"}),
    ((3, 3), (4, 3), {"strides": (2, 3), "output_shape": (5, 11), "auto_pad": "SAME_LOWER", "output_padding": (1, 0)}),
    ((3, 3), (4, 4), {"strides": (2, 2), "output_shape": (6, 6), "pads": (1, 2, 0, 1)}),
    ((4, 3), (2, 2), {"strides": (2, 2), "auto_pad": "VALID", "output_padding": (1, 1)}),
    ((3, 3), (2, 4), {"auto_pad": "SAME_LOWER"}),
    ((3, 3), (4, 2), {"auto_pad": "SAME_UPPER"}),
    ((3, 3), (4, 4), {"strides": (2, 2), "output_shape": (7, 5)}),
    ((3, 3), (4, 4), {"strides": (2, 2), "output_shape": (7, 5), "auto_pad": "SAME_UPPER"}),
    ((4,), (2,), {"strides": (4,), "output_shape": (16,)}),
    ((3,), (3,), {"strides": (5,), "output_shape": (15,), "group": 2}),
    ((3,), (3,), {"strides": (3,), "auto_pad": "SAME_UPPER", "output_padding": (2,)}),
]


@pytest.mark.parametrize("sides, kernel, attributes", SIDES)
def test_transposed_alone(sides: tuple, kernel: tuple, attributes: dict, tmp_path: Path) -> None:
    from selvage.golden.layer import evaluate

    path = write(tmp_path, "ConvTranspose", (2, 2, *sides), {"w": numbers(2, 1, *kernel)}, **attributes)
    model, x = load_model(path), numbers(2, 2, *sides, seed=3)
    theirs = runtime(path, x)
    shape = (2, 2, model.layer.height, model.layer.width)
    ours = evaluate(model.layer, x.astype(np.int64).reshape(shape), model.weights)
    np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs)


@pytest.mark.parametrize("place", ["network", "host"])
@pytest.mark.parametrize("sides, kernel, attributes", SIDES)
def test_transposed_in_a_network(place: str, sides: tuple, kernel: tuple, attributes: dict, tmp_path: Path) -> None:
    build = Build()
    x = entered(build, (2, *sides))
    if place == "network":
        x = convolution(build, x, (2, 2, *kernel), "ConvTranspose", **attributes)
    else:
        x = build.through(build.add("Relu", x), UNIT, 128)
        x = build.add("ConvTranspose", x, build.constant(codes((2, 2, *kernel)), np.float32), **attributes)
    build.output(build.through(x, S if place == "network" else 4.37, 99), rank=2 + len(sides))
    nearly_all(build, tmp_path)


def test_evaluators_differ_where_pads_are_not_written_out(tmp_path: Path) -> None:
    """Why they are: ONNX's own evaluator is not onnxruntime where a kernel is below its stride."""
    constants = {"w": numbers(2, 2, 3, 1)}
    path = write(tmp_path, "ConvTranspose", (1, 2, 2, 4), constants, strides=(4, 3), auto_pad="SAME_LOWER")
    x = numbers(1, 2, 2, 4, seed=3)
    assert runtime(path, x).shape != reference(path, x).shape


# Dense layers from a map to a map


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_dense_from_map_to_map(channels: int, tmp_path: Path) -> None:
    """With a scale and a bias for each output, and an activation, all of which must follow their outputs."""
    build = Build()
    flat = build.add("Flatten", entered(build, (3, 4, 5)))
    size = channels * 3 * 2
    stored = np.random.default_rng(3).integers(-64, 64, (60, size)).astype(np.int8)
    weights = build.weights(stored, np.random.default_rng(4).uniform(0.01, 0.02, size), axis=1)
    bias = build.constant(np.random.default_rng(5).normal(0, 2, size), np.float32)
    x = build.add("LeakyRelu", build.add("Gemm", flat, weights, bias, name="both"), alpha=0.3)
    x = build.add("Reshape", build.through(x, S, 99), build.constant([-1, channels, 3, 2], np.int64))
    build.output(build.through(convolution(build, x, (2, channels, 2, 2)), S, 99))
    assert kinds(nearly_all(build, tmp_path)) == [Matrix, Reshape, Matrix]


def test_dense_from_map_to_map_without_a_scale(tmp_path: Path) -> None:
    """Its sums leave, in ONNX's order."""
    build = Build()
    weights = build.weights(codes((48, 24)) // 2, 0.0173)
    x = build.add("MatMul", build.add("Flatten", entered(build, (3, 4, 4))), weights)
    x = build.add("Reshape", x, build.constant([-1, 4, 3, 2], np.int64))
    build.output(build.add("MaxPool", x, kernel_shape=(2, 2)))
    model, imported = loaded(build, tmp_path)
    feeds = inputs_of(imported)
    (ours,), (theirs,) = whole(imported, feeds).values(), as_written(model, feeds).values()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_concat_of_one(tmp_path: Path) -> None:
    build = Build()
    x = build.through(build.add("Concat", entered(build), axis=1), 2.37 * UNIT, 100)
    build.output(build.through(convolution(build, x, (2, 3, 2, 2)), S, 99))
    assert Concat in kinds(agreeing(build, tmp_path))


# Inputs and outputs


def plain(build: Build) -> None:
    build.output(convolved(build, entered(build)))


def loaded(build: Build, directory: Path) -> tuple[onnx.ModelProto, Imported]:
    model = build.model()
    return model, load_graph(saved(model, directory))


def test_an_output_without_a_shape(tmp_path: Path) -> None:
    build = Build()
    plain(build)
    build.outputs[0].type.tensor_type.ClearField("shape")
    agreeing(build, tmp_path)


SPARE = [(TensorProto.FLOAT, (3,)), (TensorProto.BOOL, ()), (UINT8, ("N", "A", 2, 3, 4))]


@pytest.mark.parametrize("kind, shape", SPARE)
def test_inputs_that_nothing_reads(kind: int, shape: tuple, tmp_path: Path) -> None:
    """Whatever their rank and type; they may be given or left out."""
    build = Build()
    plain(build)
    build.input("spare", shape, kind)
    model, imported = loaded(build, tmp_path)
    feeds = inputs_of(imported)
    assert list(feeds) == ["x"]
    sides = [side if isinstance(side, int) else 24 for side in shape]
    spare = {"spare": np.zeros(sides, onnx.helper.tensor_dtype_to_np_dtype(kind))}
    theirs = outputs(model, feeds | spare)
    for given in (feeds, feeds | spare):
        for name, value in whole(imported, given).items():
            np.testing.assert_allclose(value, theirs[name], atol=1e-5)


def pooled(build: Build, x: str) -> str:
    return build.add("Softmax", build.add("AveragePool", x, kernel_shape=(2, 2)), name="lone")


@pytest.mark.parametrize(
    "make, sentence",
    [
        (pooled, "node 'lone': operator 'Softmax' is not supported, and gateware has no other node"),
    ],
)
def test_networks_of_which_nothing_is_left(make: Any, sentence: str, tmp_path: Path) -> None:
    build = Build()
    build.output(build.through(make(build, entered(build)), S, 99))
    with pytest.raises(InputError, match=sentence):
        load_graph(saved(build.model(), tmp_path))


def test_an_input_as_an_output(tmp_path: Path) -> None:
    build = Build()
    plain(build)
    build.output("x")
    with pytest.raises(InputError, match="output 'x' is an input of the model"):
        load_graph(saved(build.model(), tmp_path))
