"""What import refuses: each in one sentence that names the node and the rule."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bench.onnx_models import Build, saved
from selvage.base.errors import InputError
from selvage.frontend.onnx.graph import Imported, load_graph
from tb.models.onnx_graphs import UNIT, S, codes, entered, layer, normalised

Broken = Callable[[Build], object]


def refused(build: Build, directory: Path, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        load_graph(saved(build.model(), directory))
    assert "\n" not in str(caught.value)


def behind(make: Callable[[Build, str], str], shape: tuple[int, ...] = (4, 3, 1, 1)) -> Broken:
    """A model that has a convolution behind what is made of its input's codes."""

    def broken(build: Build) -> None:
        x = build.through(make(build, entered(build)), S, 99)
        build.output(build.through(layer(build, x, "Conv", shape), S, 99))

    return broken


def ends(make: Callable[[Build, str], str], shape: tuple[int, ...] = (3, 6, 6)) -> Broken:
    """A model that ends with what is made of its input's codes."""
    return lambda build: build.output(build.through(make(build, entered(build, shape)), S, 99))


def dense(**attributes: Any) -> Broken:
    """A Gemm with a bias."""

    def make(build: Build, x: str) -> str:
        return layer(build, x, "Gemm", (7, 7), build.constant(np.ones(7), np.float32), **attributes)

    return ends(make, (7,))


def pool(operator: str, **attributes: Any) -> Broken:
    return ends(lambda build, x: build.add(operator, x, name="pool", **{"kernel_shape": (2, 2), **attributes}))


def resized(build: Build, x: str) -> str:
    scales = build.constant([1, 1, 1.5, 1.5], np.float32)
    return build.add("Resize", x, "", scales, name="resized", mode="nearest")


def twice_unquantised(build: Build, x: str) -> str:
    return layer(build, layer(build, x, "Conv", (3, 3, 1, 1), name="first"), "Conv", (3, 3, 1, 1), name="second")


def float_weights(build: Build, x: str) -> str:
    return build.add("Conv", x, build.constant(np.ones((4, 3, 1, 1)), np.float32), name="float")


def moving_weights(build: Build, x: str) -> str:
    weights = build.through(build.input("w", ("M", 3, 1, 1)), 0.01, 0, np.int8)
    return build.add("Conv", x, weights, name="moving")


def weights_first(build: Build, x: str) -> str:
    return build.add("MatMul", build.weights(codes((6, 6)), 0.01), x, name="turned")


def other_scale(build: Build, x: str) -> str:
    return build.real(build.quantised(x, S, 99), 2 * S, 99)


def bad_scale(scale: float) -> Broken:
    return lambda build: build.output(build.through(build.input("x", ("N", 3, 6, 6)), scale, 0))


def a_scale_a_channel(build: Build) -> None:
    scales = [build.constant([1, 2, 3], np.float32), build.constant([0, 0, 0], np.uint8)]
    build.output(build.add("QuantizeLinear", build.input("x", ("N", 3, 6, 6)), *scales, name="q"), TensorProto.UINT8)


def a_bad_weight_scale(build: Build) -> None:
    weights = build.weights(codes((4, 3, 1, 1)), np.array([1, 1, np.nan, 1]))
    build.output(build.through(build.add("Conv", entered(build), weights), S))


def a_scale_that_varies(build: Build) -> None:
    weights = build.weights(codes((4, 3, 1, 1)), np.array([1, 2, 3]), axis=1)
    build.output(build.through(build.add("Conv", entered(build), weights, name="varied"), S))


def scale_of_input(build: Build) -> None:
    scale, zero = build.input("scale", ("N", 1)), build.constant(0, np.uint8)
    one = build.add("Squeeze", scale)
    build.output(build.add("QuantizeLinear", build.input("x", ("N", 3)), one, zero, name="q"), TensorProto.UINT8, 2)


def not_quantised(build: Build) -> None:
    build.output(layer(build, build.input("x", ("N", 3, 6, 6)), "Conv", (4, 3, 1, 1), name="plain"))


def no_layer(build: Build) -> None:
    x = build.add("Relu", build.input("x", ("N", 3, 6, 6)))
    build.output(x)


def foreign(build: Build, x: str) -> str:
    return build.add("BiasGelu", x, build.constant(np.ones(6), np.float32), name="foreign", domain="com.microsoft")


def constant_output(build: Build) -> None:
    build.output(build.through(layer(build, entered(build), "Conv", (4, 3, 1, 1)), S))
    build.output(build.add("Neg", build.constant([1], np.float32)), rank=1)


def past(build: Build) -> None:
    x = build.input("x", ("N", 3, 6, 6))
    y = build.through(layer(build, build.through(x, UNIT, 3), "Conv", (3, 3, 1, 1)), S)
    build.output(build.add("Mul", y, build.add("Neg", x)))


def dynamic(build: Build) -> None:
    x = build.input("x", ("N", 3, 6, 6))
    build.nodes.append(helper.make_node("DynamicQuantizeLinear", [x], ["q", "s", "z"], name="dynamic"))
    real = build.add("DequantizeLinear", "q", "s", "z")
    build.output(build.through(layer(build, real, "Conv", (3, 3, 1, 1)), S))


def free_sides(build: Build) -> None:
    build.output(build.through(build.input("x", ("N", 3, "H", 6)), UNIT))


def five_axes(build: Build) -> None:
    build.output(build.through(build.input("x", ("N", 3, 6, 6, 6)), UNIT), rank=5)


REFUSED: dict[str, tuple[Broken, str]] = {
    "resized": (
        behind(resized),
        "operator 'Resize' is supported for nearest or linear neighbours .half_pixel. by",
    ),
    "foreign": (behind(foreign), "node 'foreign': operator 'BiasGelu' is not supported, and node 'layer'"),
    "constant output": (constant_output, "output 'Neg.*' is the same for all inputs"),
    "dynamic": (
        dynamic,
        "node 'dynamic': operator 'DynamicQuantizeLinear' takes its scale from each image.* node 'layer'",
    ),
    "no scale between": (
        behind(twice_unquantised),
        "'first': no QuantizeLinear stands behind operator 'Conv'.*'second'",
    ),
    "float weights": (
        ends(float_weights),
        "node 'float': operator 'Conv' has the weight '.*' without a scale.*; quantise it",
    ),
    "moving weights": (ends(moving_weights), "node 'moving': weight .* is no constant"),
    "weights first": (ends(weights_first), "node 'turned': operator 'MatMul' has weights as its first input"),
    "float model": (not_quantised, "node 'plain': operator 'Conv' reads floats without.*run `selvage quantize` first"),
    "no layer": (no_layer, "output .* reads the model's input past"),
    "past": (past, "output 'Mul.*' reads the model's input past everything that is quantised"),
    "other scale": (behind(other_scale), "by another scale or zero point"),
    "zero scale": (bad_scale(0), "node 'QuantizeLinear.*' *: it has the scale 0.0, and scales must be positive"),
    "negative scale": (bad_scale(-1), "scale -1.0"),
    "scale not a number": (bad_scale(float("nan")), "scale nan"),
    "weight scale": (a_bad_weight_scale, "node 'DequantizeLinear.*': it has the scale nan"),
    "scales along the inputs": (a_scale_that_varies, "node 'varied': weight .* differ within an output channel"),
    "scale a channel": (a_scale_a_channel, r"node 'q': .* scales of shape \(3,\), and activations must have one"),
    "scale of an input": (scale_of_input, "node 'q': its scale must be constant"),
    "free sides": (free_sides, r"input 'x' has a free side on axis 2 \(H\), and --shape must settle it"),
    "five axes": (five_axes, "input 'x' has rank 5"),
    "alpha": (dense(alpha=2.0), "node 'layer': alpha = 2.0 is not supported"),
    "beta": (dense(beta=0.5), "node 'layer': beta = 0.5 is not supported"),
    "storage_order": (pool("MaxPool", storage_order=1), "node 'pool': its indices are not supported"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    build = Build()
    REFUSED[case][0](build)
    refused(build, tmp_path, REFUSED[case][1])


def test_training_mode(tmp_path: Path) -> None:
    build = Build()
    x = normalised(build, entered(build), 3)
    build.nodes[-1].attribute.append(helper.make_attribute("training_mode", 1))
    build.nodes[-1].output.extend(["mean", "variance"])
    build.output(build.through(x, S))
    refused(build, tmp_path, "node 'norm': training_mode = 1 is not supported")


@pytest.mark.parametrize("opset", [9, 99])
def test_opset(opset: int, tmp_path: Path) -> None:
    build = Build(opset)
    build.output(entered(build))
    refused(build, tmp_path, f"has opset {opset}, and 10 to [0-9]+ are supported")


def test_cycle(tmp_path: Path) -> None:
    build = Build()
    build.output(build.through(layer(build, entered(build), "Conv", (3, 3, 1, 1)), S))
    made = build.nodes[-1].output[0]
    build.nodes[0].input[0] = made
    refused(build, tmp_path, "it reads '.*' before that is made; the graph must have no cycle")


def test_nothing(tmp_path: Path) -> None:
    build = Build()
    build.output(build.input("x", ("N", 3, 6, 6)))
    refused(build, tmp_path, "holds no operator")


def test_shapes_that_do_not_fit(tmp_path: Path) -> None:
    build = Build()
    build.output(build.through(layer(build, entered(build), "Conv", (4, 5, 1, 1)), S))
    refused(build, tmp_path, r"node 'layer': it reads 3 channels, and its weights of \(4, 5, 1, 1\) take 5")


@pytest.mark.parametrize(
    "shape, sentence",
    [((1, 3, 9), "--shape 1,3,9 has 3 sides"), ((1, 4, 6, 6), "--shape has 4 on axis 1, and input 'x' has 3")],
)
def test_shape_that_is_not_the_model_s(shape: tuple[int, ...], sentence: str, tmp_path: Path) -> None:
    build = Build()
    free_sides(build)
    with pytest.raises(InputError, match=sentence):
        load_graph(saved(build.model(), tmp_path), shape)


def good(directory: Path) -> tuple[str, Imported]:
    build = Build()
    build.output(build.through(layer(build, entered(build), "Conv", (4, 3, 1, 1)), S))
    path = saved(build.model(), directory)
    return path, load_graph(path)


def test_files(tmp_path: Path) -> None:
    path = Path(good(tmp_path)[0])
    (tmp_path / "short.onnx").write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match="not an ONNX file, or is cut short"):
        load_graph(str(tmp_path / "short.onnx"))
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_graph(str(tmp_path / "none.onnx"))
    model = onnx.load(path)
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="data", size_threshold=0)
    (tmp_path / "data").unlink()
    with pytest.raises(InputError, match=r"its external data 'data' is not there: "):
        load_graph(str(tmp_path / "split.onnx"))


ONES = np.ones((2, 3, 6, 6), np.float32)


@pytest.mark.parametrize(
    "images, sentence",
    [
        (ONES[:, :2], r"input 'x' must have the shape \(N, 3, 6, 6\), not \(2, 2, 6, 6\)"),
        (ONES[0], "must have the shape"),
        (ONES[:0], "must have the shape"),
        (ONES.astype(np.int64), "must hold floats, not int64"),
        (ONES * np.nan, "holds a value that is not finite"),
        ({"y": ONES}, "the model's inputs are x, and y are given"),
    ],
)
def test_images_that_do_not_fit(images: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        good(tmp_path)[1].enter(images)


EXPORTED = Path(__file__).parents[2] / "examples" / "exported"
FLOAT = [path for path in sorted(EXPORTED.glob("*.onnx")) if "_q" not in path.name]
FLOAT += sorted(EXPORTED.glob("encoder_decoder_*_qoperator.onnx"))  # with a transposed convolution in float


@pytest.mark.parametrize("path", FLOAT, ids=lambda path: path.stem)
def test_exported_networks_that_are_not_quantised(path: Path) -> None:
    partly = "quantise it too, as `selvage quantize --form qdq` does"  # all but the transposed convolution is
    advice = partly if "_q" in path.name else "run `selvage quantize` first"
    with pytest.raises(InputError, match=rf"^node '.*': .* scale.*; {advice}$"):
        load_graph(str(path))
