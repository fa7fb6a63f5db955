"""Float models that onnxruntime's quantiser makes wrong or refuses when they are given to it as they are.

Right is the float network, run by onnxruntime: the quantised one is near it, and exactly that of an equal model where
the two differ in names or in the container only.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from bench.quantize_models import classifier, convolution, network, normal, quantised, refused, run
from selvage.frontend.quantize.quantize import FORMS

SIDES = (1, 2, 6, 6)
IMAGES = normal(6, 2, 6, 6, seed=4)
ROWS = normal(6, 8, seed=5)
KERNEL, OTHER = normal(2, 2, 3, 3, scale=0.3), normal(2, 2, 3, 3, scale=9, seed=2)
SQUARE, STEEP = normal(8, 8, scale=0.3), normal(8, 8, scale=9, seed=2)
BIAS = np.array([9, -4], np.float32)


def node(operator: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    """A node named like its output; ``inputs`` are parted by blanks, and - is none."""
    names = ["" if name == "-" else name for name in inputs.split()]
    same = {"pads": [1] * 4} if operator == "Conv" else {}
    return helper.make_node(operator, names, [output], name=output, **{**same, **attributes})


def decibels(found: ModelProto, model: ModelProto, images: NDArray, output: int = 0) -> float:
    """Signal to noise of one output of a quantised model."""
    want, got = (outputs(own, images)[output].astype(np.float64) for own in (model, found))
    return float(10 * np.log10((want**2).sum() / ((got - want) ** 2).sum()))


def outputs(model: ModelProto, images: NDArray) -> list[NDArray]:
    """All outputs, one image after the other, by sums of products that do not saturate."""
    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    runs = [session.run(None, {name: images[k : k + 1]}) for k in range(len(images))]
    return [np.concatenate(parts) for parts in zip(*runs, strict=True)]


def maps(nodes: list[NodeProto], **constants: NDArray) -> tuple[ModelProto, NDArray]:
    return network(nodes, constants, SIDES, opset=17), IMAGES


def rows(nodes: list[NodeProto], **constants: NDArray) -> tuple[ModelProto, NDArray]:
    return network(nodes, constants, [1, 8], rank=2, opset=17), ROWS


SHARED = {
    "the bias of two heads": maps(
        [node("Conv", "x w b", "p"), node("Conv", "x v b", "q"), node("Concat", "p q", "y", axis=1)],
        **{"w": KERNEL, "v": OTHER, "b": BIAS},
    ),
    "the bias of dense heads": rows(
        [node("Gemm", "x w b", "p"), node("Gemm", "x v b", "q"), node("Concat", "p q", "y", axis=1)],
        **{"w": SQUARE, "v": STEEP, "b": normal(8, scale=9)},
    ),
    "a bias that is added to a map too": maps(
        [node("Conv", "x w b", "p"), node("Reshape", "b s", "r"), node("Add", "p r", "y")],
        **{"w": KERNEL, "b": BIAS, "s": np.array([1, 2, 1, 1])},
    ),
    "weights of maps of other scales": maps(
        [node("Conv", "x w", "p"), node("Mul", "p k", "q"), node("Conv", "q w", "y")],
        **{"w": KERNEL, "k": np.float32(30)},
    ),
    "weights behind an Identity": maps(
        [node("Identity", "w", "v"), node("Conv", "x w", "p"), node("Conv", "p v", "y")], w=KERNEL
    ),
    "a Constant's bias": maps(
        [
            helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(BIAS)),
            *(node("Conv", "x w b", "p"), node("Conv", "x v b", "q"), node("Concat", "p q", "y", axis=1)),
        ],
        **{"w": KERNEL, "v": OTHER},
    ),
    "weights and their transpose": rows(
        [node("Transpose", "w", "v", perm=[1, 0]), node("MatMul", "x w", "p"), node("MatMul", "p v", "y")], w=SQUARE
    ),
    "one for the two inputs of a node": maps(
        [node("Conv", "x w", "p"), node("Add", "k k", "q"), node("Mul", "p q", "y")],
        **{"w": KERNEL, "k": normal(1)},
    ),
}
DENSE = {
    "alpha": rows([node("Gemm", "x w b", "y", alpha=2.0)], w=SQUARE, b=normal(8)),
    "beta": rows([node("Gemm", "x w b", "y", beta=0.5, transB=1)], w=SQUARE, b=normal(8, scale=5)),
    "a bias for all outputs": rows([node("Gemm", "x w b", "y")], w=SQUARE, b=np.float32(3)),
    "a row of biases": rows([node("Gemm", "x w b", "y")], w=SQUARE, b=normal(1, 8)),
}
CLIPPED = {
    "Relu": maps(
        [
            node("Conv", "x w", "p"),
            node("Relu", "p", "r"),
            node("Conv", "p v", "q"),
            node("Concat", "r q", "y", axis=1),
        ],
        **{"w": KERNEL, "v": OTHER},
    ),
    "Clip": maps(
        [node("Conv", "x w", "p"), node("Clip", "p - h", "r"), node("Concat", "r p", "y", axis=1)],
        **{"w": KERNEL, "h": np.float32(0.4)},
    ),
    "a Clip far from 0": maps(
        [node("Conv", "x w", "p"), node("Clip", "p l h", "r"), node("Conv", "r v", "y")],
        **{"w": KERNEL, "v": OTHER, "l": np.float32(0.3), "h": np.float32(0.7)},
    ),
    "Relu of a pool": maps(
        [
            *(node("Conv", "x w", "p"), node("MaxPool", "p", "m", kernel_shape=[1, 1]), node("Relu", "m", "r")),
            node("Concat", "r p", "y", axis=1),
        ],
        w=KERNEL,
    ),
}
LEFT_OUT = {
    "a bias": maps([node("Conv", "x w -", "y")], w=KERNEL),
    "a region": maps(
        [node("Conv", "x w", "p"), node("Resize", "p roi s", "q"), node("Conv", "q w", "y")],
        **{"w": KERNEL, "roi": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
    ),
}
GROUPED = {
    "transposed in groups": (
        network(
            [helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], name="enlarge", group=2, strides=[2, 2])],
            {"w": normal(2, 3, 2, 2), "b": normal(6)},
            SIDES,
        ),
        IMAGES,
    )
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("models", [SHARED, DENSE, CLIPPED, LEFT_OUT, GROUPED], ids=lambda found: next(iter(found)))
def test_near_the_float_network(tmp_path: Path, models: dict[str, tuple[ModelProto, NDArray]], form: str) -> None:
    for name, (model, images) in models.items():
        if models is GROUPED and form == "qoperator":
            continue  # onnxruntime has no such operator on codes
        found, summary = quantised(tmp_path, model, images, form=form)
        assert decibels(found, model, images) > 30, name
        assert summary["sqnr_db"] > 30 and summary["not_measured"] is None, name
        assert summary["per_tensor"] == (["enlarge"] if models is GROUPED else []), name


@pytest.mark.parametrize("form", FORMS)
def test_each_output_is_near(tmp_path: Path, form: str) -> None:
    """That of a Conv too whose Relu is an output: with its range, half of it would be cut off."""
    model = network([node("Conv", "x w", "p"), node("Relu", "p", "y")], {"w": KERNEL}, SIDES)
    model.graph.output.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, [1, 2, 6, 6]))
    found, _ = quantised(tmp_path, model, IMAGES, form=form)
    assert min(decibels(found, model, IMAGES, output) for output in (0, 1)) > 30


def test_constant_that_is_an_output(tmp_path: Path) -> None:
    """Is given out as it was, though the layer's own is scaled."""
    model, images = rows([node("Gemm", "x w b", "y", beta=0.5)], w=SQUARE, b=normal(8, scale=5))
    model.graph.output.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [8]))
    found, _ = quantised(tmp_path, model, images)
    assert decibels(found, model, images) > 30
    np.testing.assert_array_equal(outputs(found, images)[1], outputs(model, images)[1])


@pytest.mark.parametrize("form", FORMS)
def test_bodies_read_outside(tmp_path: Path, form: str) -> None:
    """What the bodies of an If read is as it was, of tensors and of constants that layers and a Relu read too."""
    bodies = [node("Conv", "p w b", "t"), node("Mul", "p k", "t")]
    info = helper.make_tensor_value_info("t", TensorProto.FLOAT, [1, 2, 6, 6])
    then, other = (helper.make_graph([body], "body", [], [info]) for body in bodies)
    nodes = [
        *(node("Conv", "x w b", "p"), node("Relu", "p", "r"), node("Conv", "r w b", "q")),
        *(node("ReduceMax", "q", "m", keepdims=0), node("Greater", "m z", "c")),
        *(node("If", "c", "i", then_branch=then, else_branch=other), node("Concat", "q i", "y", axis=1)),
    ]
    model, images = maps(nodes, w=KERNEL, b=BIAS / 9, z=np.float32(2.5), k=np.float32(9))
    taken = np.sort(outputs(model, images)[0][:, :2].max((1, 2, 3)))
    assert taken[0] < 2.5 < taken[-1]  # both bodies
    assert decibels(quantised(tmp_path, model, images, form=form)[0], model, images) > 25


def renamed(graph: GraphProto, names: dict[str, str]) -> None:
    """Other names for tensors, and for nodes of the same names."""
    for info in (*graph.input, *graph.output, *graph.initializer):
        info.name = names.get(info.name, info.name)
    for own in graph.node:
        own.name = names.get(own.name, own.name)
        for field in (own.input, own.output):
            field[:] = [names.get(name, name) for name in field]


HOSTILE = [
    {"w": "w", "k": "w_scale", "s": "w_zero_point", "p": "w_quantized", "q": "x_scale"},
    {"x": "y_zero_point", "w": "y_scale", "p": "y_QuantizeLinear_Output", "q": "y_quantized"},
    {"p": "x_QuantizeLinear_Output", "q": "x_DequantizeLinear_Output", "r": "x_QuantizeLinear", "k": "x_ReduceMax"},
    {"p": "#0#", "q": "##1##", "w": "#2#"},
    {"m": "y/product", "w": "y/sum", "u": "y_1"},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("names", HOSTILE, ids=lambda names: next(iter(names)))
def test_names_that_the_quantiser_makes(tmp_path: Path, names: dict[str, str], form: str) -> None:
    """The user's own are no other tensors: outputs are those of the same model by plain names, and so are the ends'."""
    constants = {"w": KERNEL, "k": normal(1, 2, 1, 1), "s": normal(1, 2, 1, 1), "u": normal(6, 6), "v": normal(6, 6)}
    nodes = [
        *(node("Conv", "x w", "p"), node("Mul", "p k", "q"), node("Relu", "q", "r"), node("Add", "r s", "t")),
        *(node("MatMul", "t u", "m"), node("MatMul", "t v", "n"), node("Add", "m n", "y")),
    ]
    plain = network(nodes, constants, SIDES, opset=17)
    hostile = ModelProto.FromString(plain.SerializeToString())
    renamed(hostile.graph, names)
    want, got = (quantised(tmp_path, model, IMAGES, form=form)[0] for model in (plain, hostile))
    assert [info.name for info in got.graph.input] == [names.get("x", "x")]
    assert [info.name for info in got.graph.output] == ["y"]
    np.testing.assert_array_equal(outputs(got, IMAGES)[0], outputs(want, IMAGES)[0])


@pytest.mark.parametrize("name", ["", "same"])
def test_nodes_of_one_name(tmp_path: Path, name: str) -> None:
    """Which ONNX allows; onnxruntime does not."""
    nodes = [node("Conv", "x w b", "p"), node("Relu", "p", "r"), node("Conv", "r v b", "y")]
    plain, images = maps(nodes, w=KERNEL, v=OTHER, b=BIAS)
    alike = ModelProto.FromString(plain.SerializeToString())
    for own in alike.graph.node:
        own.name = name
    want, got = (quantised(tmp_path, model, images)[0] for model in (plain, alike))
    np.testing.assert_array_equal(outputs(got, images)[0], outputs(want, images)[0])
    assert len({own.name for own in got.graph.node}) == len(got.graph.node)


def test_fixed_batch_inside(tmp_path: Path) -> None:
    """A batch that is free outside and 1 inside is 1."""
    nodes = [node("Conv", "x w", "p"), node("Reshape", "p s", "r"), node("MatMul", "r v", "y")]
    constants = {"w": KERNEL, "s": np.array([1, 72]), "v": normal(72, 3)}
    model = network(nodes, constants, ("N", *SIDES[1:]), rank=2)
    found, summary = quantised(tmp_path, model, IMAGES)
    assert summary["images"] == 6 and decibels(found, model, IMAGES) > 30


# Containers


def listed(model: ModelProto) -> None:
    """Initializers among the inputs, as IR versions 1 to 3 have them."""
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


@pytest.mark.parametrize("version", [3, 7])
def test_initializers_among_the_inputs(tmp_path: Path, version: int) -> None:
    new, old = (classifier(["N", 3, 8, 8], opset=9) for _ in range(2))
    listed(old)
    old.ir_version = version
    images = normal(6, 3, 8, 8)
    want, got = (quantised(tmp_path, model, images)[0] for model in (new, old))
    assert [info.name for info in got.graph.input] == ["x"]
    np.testing.assert_array_equal(run(got, images), run(want, images))


def test_no_opset(tmp_path: Path) -> None:
    """Before IR version 3 models did not say it: it is 1."""
    new, images = maps([node("Conv", "x w b", "p"), node("GlobalAveragePool", "p", "y")], w=KERNEL, b=BIAS)
    old = ModelProto.FromString(new.SerializeToString())
    listed(old)
    old.ir_version = 2
    del old.opset_import[:]
    want, got = (quantised(tmp_path, model, images)[0] for model in (new, old))
    np.testing.assert_array_equal(run(got, images[:1]), run(want, images[:1]))


@pytest.mark.parametrize("mark", ["?", "None", "-1", "", "unknown"])
def test_sides_without_a_name(tmp_path: Path, mark: str) -> None:
    """Are each a side of its own; a symbol written twice is one."""
    nodes = [node("Conv", "x w", "p"), node("Relu", "p", "r"), node("Conv", "r w", "y")]
    model = network(nodes, {"w": KERNEL}, (mark, 2, mark, mark), opset=17)
    images = normal(4, 2, 6, 10)
    found, _ = quantised(tmp_path, model, images, shape=(1, 2, 6, 10))
    sides = [side.dim_value for side in found.graph.input[0].type.tensor_type.shape.dim]
    assert sides == [0, 2, 6, 10] and decibels(found, model, images) > 30
    for side in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_param = "s"
    refused("--shape '1,2,6,10' has 10 on axis 3, and .* has 6 there", tmp_path, model, images, shape=(1, 2, 6, 10))


def test_output_without_a_shape(tmp_path: Path) -> None:
    model, images = maps([node("Conv", "x w", "y")], w=KERNEL)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert decibels(quantised(tmp_path, model, images)[0], model, images) > 30
    model.graph.node[0].op_type, model.graph.node[0].domain = "Unknown", "nowhere"
    model.opset_import.append(helper.make_opsetid("nowhere", 1))
    refused("output 'y' has no shape, and must have one", tmp_path, model, images)


def test_old_operators(tmp_path: Path) -> None:
    """Are converted where ONNX can, or the node is named that cannot be run."""
    constants = {"w": normal(2, 3, 3, 3), "s": np.array([1, 1, 2, 2], np.float32)}
    nodes = [node("Conv", "x w", "p"), node("Upsample", "p s", "y", mode="nearest")]
    model, images = network(nodes, constants, [1, 3, 8, 8], opset=9), normal(4, 3, 8, 8)
    assert decibels(quantised(tmp_path, model, images)[0], model, images) > 30
    nodes = [node("Conv", "x w", "p"), node("Add", "p k", "y", broadcast=1, axis=1)]
    model = network(nodes, {"w": constants["w"], "k": BIAS}, [1, 3, 8, 8], opset=6)
    message = r"cannot be run by onnxruntime.*: node 'y' \(Add\): .*; export the model with opset 13 or newer"
    refused(message, tmp_path, model)


def test_layer_that_onnxruntime_cannot_quantise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is named, by the quantiser's failure in the midst of it, with a way out."""
    monkeypatch.setattr("selvage.frontend.quantize.quantize._whole_scales", lambda graph, options: [])
    model, images = GROUPED["transposed in groups"]
    refused(
        r"cannot be quantised by onnxruntime: node 'enlarge' \(ConvTranspose\): .*; --per-tensor",
        tmp_path,
        model,
        images,
    )


def test_convolution_of_wide_floats(tmp_path: Path) -> None:
    nodes = [node("Cast", "x", "d", to=TensorProto.DOUBLE), node("Conv", "d w", "p"), node("Cast", "p", "y", to=1)]
    model = network(nodes, {"w": normal(2, 3, 3, 3).astype(np.float64)}, [1, 3, 8, 8])
    refused(r"cannot be run by onnxruntime.*: node 'p' \(Conv\): ", tmp_path, model)
    assert onnx.checker.check_model(model) is None


def test_convolution_stays_one(tmp_path: Path) -> None:
    """A plain model has no more constants than before."""
    model = network([convolution()], {"w": normal(4, 3, 3, 3)}, [1, 3, 8, 8])
    found, _ = quantised(tmp_path, model, normal(4, 3, 8, 8))
    assert [tensor.name for tensor in found.graph.initializer if tensor.name.startswith("w")].count("w_quantized") == 1
    assert {own.op_type for own in found.graph.node} == {"Conv", "QuantizeLinear", "DequantizeLinear"}
