"""Import of quantised networks: what becomes of each structure, and whole networks against onnxruntime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from bench.onnx_models import Build, network_files, outputs, saved
from selvage.base.graph import Add, Concat, Matrix, Pool, Resize, Table
from selvage.frontend.onnx.graph import load_graph
from tb.models.onnx_graphs import UNIT, S, agreeing, codes, entered, inputs_of, kinds, layer, normalised, whole

# Dense layers and maps


def test_flatten_and_dense_is_a_kernel_as_large_as_the_map(tmp_path: Path) -> None:
    build = Build()
    flat = build.add("Flatten", entered(build))
    build.output(build.through(layer(build, flat, "Gemm", (108, 5)), S, 99), rank=2)
    imported = agreeing(build, tmp_path)
    (node,) = imported.graph.nodes
    assert isinstance(node, Matrix) and node.layer.op == "conv" and node.layer.kernel == (6, 6)
    np.testing.assert_array_equal(node.weights, codes((108, 5)).T.reshape(5, 3, 6, 6))


@pytest.mark.parametrize("equal", [True, False])
def test_dense_and_reshape_is_a_transposed_convolution(equal: bool, tmp_path: Path) -> None:
    """With one bias and scale a channel where they are equal, and one for each pixel where not."""
    build, random = Build(), np.random.default_rng(2)
    bias = np.repeat(np.arange(4), 6) if equal else np.arange(24)
    scales = 0.01 if equal else random.uniform(0.005, 0.02, 24).astype(np.float32)
    weights = build.weights(codes((7, 24)), scales, axis=1)
    bias_codes = build.weights((bias * 500).astype(np.int32), np.float32(UNIT) * np.broadcast_to(scales, 24))
    x = build.add("Gemm", entered(build, (7,)), weights, bias_codes)
    x = build.through(build.add("LeakyRelu", x, alpha=0.3), S, 99)
    x = build.add("Reshape", x, build.constant([-1, 4, 2, 3], np.int64))
    x = build.through(x, S, 99)
    build.output(build.through(layer(build, x, "Conv", (5, 4, 1, 1)), S, 99))
    dense, _ = agreeing(build, tmp_path).graph.nodes
    assert dense.layer.op == "conv_transpose" and dense.layer.kernel == dense.layer.stride == (2, 3)
    assert dense.bias.shape == dense.weight_scale.shape == ((4,) if equal else (4, 2, 3))
    assert dense.output.shape == (4, 2, 3)


def test_dense_on_single_pixels_is_dense(tmp_path: Path) -> None:
    build = Build()
    pooled = build.through(build.add("GlobalAveragePool", entered(build)), 0.03, 128)
    flat = build.add("Squeeze", pooled, build.constant([2, 3], np.int64))
    product = layer(build, flat, "MatMul", (3, 4))
    build.output(build.through(build.add("Add", product, build.constant(np.arange(4), np.float32)), S, 3), rank=2)
    imported = agreeing(build, tmp_path)
    assert [getattr(node, "layer", None) and node.layer.op for node in imported.graph.nodes] == [None, "dense"]
    assert imported.graph.nodes[1].bias.any()


def test_shapes_may_be_computed(tmp_path: Path) -> None:
    build = Build()
    x = entered(build)
    batch = build.add("Gather", build.add("Shape", x), build.constant([0], np.int64))
    flat = build.add("Reshape", x, build.add("Concat", batch, build.constant([-1], np.int64), axis=0))
    build.output(build.through(layer(build, flat, "Gemm", (108, 5)), S, 99), rank=2)
    assert kinds(agreeing(build, tmp_path)) == [Matrix]


# Normalisation


def test_normalisation_behind_a_layer_is_folded(tmp_path: Path) -> None:
    build = Build()
    x = normalised(build, layer(build, entered(build), "Conv", (8, 3, 3, 3)), 8)
    build.output(build.through(build.add("LeakyRelu", x, alpha=0.2), S, 50))
    (node,) = agreeing(build, tmp_path, least=0.995).graph.nodes  # the shift is rounded to one of a sum
    assert (node.weight_scale < 0).any() and (node.weight_scale > 0).any() and node.activation.slope == np.float32(0.2)


def test_normalisation_of_its_own_is_a_depthwise_layer(tmp_path: Path) -> None:
    build = Build()
    build.output(build.through(build.add("Relu", normalised(build, entered(build), 3)), S, 50))
    (node,) = agreeing(build, tmp_path).graph.nodes
    assert node.name == "norm" and node.layer.groups == 3 and node.layer.kernel == (1, 1) and node.activation.low == 0


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
def test_one_constant_a_channel_is_a_normalisation(operator: str, tmp_path: Path) -> None:
    build = Build()
    constant = build.constant(np.array([0.5, -1.25, 2]).reshape(3, 1, 1), np.float32)
    build.output(build.through(build.add(operator, entered(build), constant), S, 128))
    assert [node.layer.groups for node in agreeing(build, tmp_path).graph.nodes] == [3]


def test_a_factor_of_zero(tmp_path: Path) -> None:
    build = Build()
    x = layer(build, entered(build), "Conv", (3, 3, 1, 1))
    x = build.add("Mul", x, build.constant(np.array([1, 0, 2]).reshape(3, 1, 1), np.float32))
    x = build.add("Add", x, build.constant(np.array([0, 1.5, 0]).reshape(3, 1, 1), np.float32))
    build.output(build.through(x, S, 128))
    (node,) = agreeing(build, tmp_path, least=0.995).graph.nodes
    assert not node.weights[1].any()


# What has no weights


def test_map_operators(tmp_path: Path) -> None:
    build = Build()
    x = entered(build)
    small = build.through(build.add("MaxPool", x, kernel_shape=(2, 2), strides=(2, 2)), UNIT, 128)
    scales = build.constant([1, 1, 2, 2], np.float32)
    large = build.through(build.add("Resize", small, "", scales, mode="nearest"), UNIT, 128)
    both = build.through(build.add("Add", x, large), S, 120)
    joined = build.through(build.add("Concat", both, x, axis=1), S, 100)
    mean = build.add("AveragePool", joined, kernel_shape=(2, 3), pads=(1, 0, 1, 0), count_include_pad=1)
    build.output(build.through(mean, 0.07, 100))
    assert kinds(agreeing(build, tmp_path)) == [Pool, Resize, Add, Concat, Pool]


def test_quantisation_may_be_missing_where_it_changes_nothing(tmp_path: Path) -> None:
    """Behind ReLU, pooling and joining of one scale; and between a layer and its pooling."""
    build = Build()
    x = build.add("MaxPool", build.add("Relu", entered(build)), kernel_shape=(2, 2))
    x = build.add("Concat", x, x, axis=1)
    x = build.add("Relu", layer(build, x, "Conv", (8, 6, 3, 3)))
    build.output(build.through(build.add("MaxPool", x, kernel_shape=(3, 3)), S, 7))
    assert kinds(agreeing(build, tmp_path)) == [Table, Pool, Concat, Matrix, Pool]


def test_other_scale_is_a_table_and_the_same_is_nothing(tmp_path: Path) -> None:
    build = Build()
    x = build.through(build.add("Identity", entered(build)), UNIT, 128)
    other = build.through(build.add("Identity", x), S, -3, np.int8)
    again = build.through(x, UNIT, 128)
    build.output(build.through(build.add("Concat", again, other, axis=1), S, 128))
    assert kinds(agreeing(build, tmp_path)) == [Table, Concat]


def test_functions_of_one_code_are_one_table(tmp_path: Path) -> None:
    """x * sigmoid(x), the sigmoid quantised on its way; a table that nothing reads any more is left out."""
    build = Build()
    x = entered(build)
    gate = build.through(build.add("Sigmoid", x), 1 / 256)
    build.output(build.through(build.add("Mul", x, gate), 0.02, 20))
    imported = agreeing(build, tmp_path)
    assert kinds(imported) == [Table]


# Weights


@pytest.mark.parametrize("form", ["quantised", "turned", "Constant", "listed as input"])
def test_forms_of_weights(form: str, tmp_path: Path) -> None:
    build = Build()
    x, stored = entered(build, (7,)), codes((5, 7))
    if form == "quantised":
        weights = build.through(build.constant(stored * 0.01, np.float32), 0.01, 0, np.int8)
    elif form == "Constant":
        tensor = onnx.numpy_helper.from_array(stored)
        weights = build.real(build.add("Constant", value=tensor), 0.01, 0, np.int8)
    else:
        weights = build.weights(stored, np.arange(1, 6) / 100)
    if form == "listed as input":
        name = build.nodes[-1].input[0]
        build.inputs.append(onnx.helper.make_tensor_value_info(name, TensorProto.INT8, (5, 7)))
    weights = build.add("Transpose", weights, perm=(1, 0))
    build.output(build.through(build.add("MatMul", x, weights), S, 99), rank=2)
    (node,) = agreeing(build, tmp_path).graph.nodes
    np.testing.assert_array_equal(node.weights, stored.T)
    assert len(set(node.weight_scale.tolist())) == (5 if form in ("turned", "listed as input") else 1)


# What the host does


def test_sums_that_leave_are_raw(tmp_path: Path) -> None:
    build = Build()
    bias = build.constant(np.arange(8), np.float32)
    x = build.add("Relu", layer(build, entered(build), "Conv", (8, 3, 3, 3), bias), name="behind")
    build.output(x)
    imported = agreeing(build, tmp_path, 0.02, near=0.01)
    (node,) = imported.graph.nodes
    assert node.raw and node.output.format.raw_bits == 32 and node.output.scale.shape == (8,) and node.bias.any()
    assert "behind" in [host.name for host in imported.host]


def test_head_and_tail_are_the_host_s(tmp_path: Path) -> None:
    build = Build()
    x = build.add("Mul", build.input("x", ("N", 3, 6, 6)), build.constant(0.5, np.float32), name="halved")
    x = build.through(x, UNIT, 128)
    flat = build.add("Flatten", build.through(layer(build, x, "Conv", (8, 3, 6, 6)), S, 99))
    build.output(build.add("Softmax", flat, name="softmax"), rank=2)
    build.output(build.add("ArgMax", flat, name="argmax", keepdims=0, axis=1), TensorProto.INT64, rank=1)
    imported = load_graph(saved(build.model(), tmp_path))
    feeds = inputs_of(imported)
    theirs, ours = outputs(build.model(), feeds), whole(imported, feeds)
    np.testing.assert_allclose(ours["softmax_out"], theirs["softmax_out"], atol=0.03)
    assert (ours["argmax_out"] == theirs["argmax_out"]).mean() > 0.9 and ours["argmax_out"].dtype == np.int64
    why = {host.name: host.why for host in imported.host}
    assert "before what quantises" in why["halved"] and "behind the last quantised" in why["softmax"]


def test_a_batch_in_the_file_takes_any_number_of_images(tmp_path: Path) -> None:
    build = Build()
    x = build.through(build.input("x", (2, 3, 6, 6)), UNIT, 128)
    flat = build.add("Reshape", layer(build, x, "Conv", (8, 3, 6, 6)), build.constant([2, 8], np.int64))
    build.output(build.add("Softmax", flat), rank=2)
    imported = load_graph(saved(build.model(), tmp_path))
    feeds = inputs_of(imported)
    theirs = outputs(build.model(), feeds)
    for name, found in whole(imported, feeds).items():
        np.testing.assert_allclose(found, theirs[name], atol=1e-5)
    assert whole(imported, {"x": feeds["x"][:7]})[name].shape == (7, 8)


def test_several_inputs_and_codes_that_enter(tmp_path: Path) -> None:
    build = Build()
    build.input("codes", ("N", 3, 6, 6), TensorProto.UINT8)
    both = build.through(build.add("Add", entered(build), build.real("codes", 0.02, 60)), S, 128)
    codes_out = build.quantised(layer(build, both, "Conv", (4, 3, 1, 1)), S, 128)
    build.output(codes_out, TensorProto.UINT8)
    build.output(both)
    imported = agreeing(build, tmp_path)
    assert len(imported.graph.inputs) == 2 and len(imported.graph.outputs) == 2


def test_sums_of_codes(tmp_path: Path) -> None:
    """ConvInteger: its sums leave as integers."""
    build = Build()
    x = build.input("x", ("N", 3, 6, 6), TensorProto.UINT8)
    weights, zero = build.constant(codes((4, 3, 3, 3))), build.constant(128, np.uint8)
    build.output(build.add("ConvInteger", x, weights, zero), TensorProto.INT32)
    (node,) = agreeing(build, tmp_path, 0).graph.nodes
    assert node.raw and node.layer.op == "conv"


@pytest.mark.parametrize("opset", [10, 13, 19, 21])
def test_opsets(opset: int, tmp_path: Path) -> None:
    build = Build(opset)
    x = build.through(layer(build, entered(build), "Conv", (4, 3, 3, 3)), S, 99)
    build.output(build.through(build.add("Sigmoid", x), 1 / 256))
    assert kinds(agreeing(build, tmp_path, 1 / 250)) == [Matrix, Table]


def test_shape_settles_free_sides(tmp_path: Path) -> None:
    build = Build()
    x = build.through(build.input("x", ("N", 3, "H", "W")), UNIT, 128)
    build.output(build.through(layer(build, x, "Conv", (4, 3, 3, 3)), S, 99))
    imported = load_graph(saved(build.model(), tmp_path), (1, 3, 9, 12))
    assert imported.graph.inputs[0].shape == (3, 9, 12)


def test_one_dimension(tmp_path: Path) -> None:
    build = Build()
    x = layer(build, entered(build, (3, 12)), "Conv", (4, 3, 5), pads=(2, 1), strides=(2,))
    x = build.add("MaxPool", build.through(x, S, 99), kernel_shape=(2,))
    build.output(build.through(x, S, 99), rank=3)
    assert agreeing(build, tmp_path).graph.nodes[1].kernel == (1, 2)


# Whole networks


@pytest.mark.parametrize("path", network_files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_whole_networks(path: Path) -> None:
    """From float images to the model's outputs: classes agree but where scores are as good as equal."""
    imported, model = load_graph(str(path)), onnx.load(path)
    feeds = inputs_of(imported, images=64)
    ours, theirs = whole(imported, feeds), outputs(model, feeds)
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert ours[name].shape == value.shape and ours[name].dtype == value.dtype
        if value.dtype.kind == "f":
            assert np.abs(ours[name] - value).max() <= 0.03 * np.ptp(value)
            assert np.abs(ours[name] - value).mean() <= 0.002 * np.ptp(value)
        else:
            assert (ours[name] == value).mean() >= 0.97
        if value.ndim == 2:
            assert (ours[name].argmax(1) == value.argmax(1)).mean() >= 0.98
