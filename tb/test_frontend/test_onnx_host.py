"""What the host computes of a quantised network: layers left in float, bodies of If, Loop and Scan, empty tensors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from bench.onnx_models import Build, saved
from selvage.base.errors import InputError
from selvage.base.graph import Matrix
from selvage.frontend.onnx.graph import Imported, load_graph
from tb.models.onnx_graphs import S, codes, entered, inputs_of, kinds, whole
from tb.models.onnx_hosts import as_written, convolved

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def numbers(build: Build, *shape: int) -> str:
    return build.constant(np.random.default_rng(5).normal(0, 1, shape), np.float32)


def equal(build: Build, directory: Path) -> Imported:
    """The model's import; its outputs are onnxruntime's."""
    imported = load_graph(saved(build.model(), directory))
    feeds = inputs_of(imported)
    theirs, ours = as_written(build.model(), feeds), whole(imported, feeds)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name].shape == value.shape and ours[name].dtype == value.dtype
        np.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-4)
    return imported


def hosts(imported: Imported) -> dict[str, str]:
    return {host.name: host.why for host in imported.host}


# Layers in float


def float_dense(build: Build, x: str) -> str:
    return build.add("Softmax", build.add("Gemm", build.add("Flatten", x), numbers(build, 108, 4), name="float"))


def float_product(build: Build, x: str) -> str:
    return build.add("MatMul", build.add("Flatten", x), numbers(build, 108, 4), name="float")


def float_first(build: Build, x: str) -> str:
    """Constants as the first operand of a product."""
    return build.add("Flatten", build.add("MatMul", numbers(build, 6, 6), x, name="float"))


def float_convolutions(build: Build, x: str) -> str:
    """Behind a function without a scale, and one behind the other."""
    x = build.add("Conv", build.add("Sigmoid", x), numbers(build, 2, 3, 3, 3), numbers(build, 2), name="float")
    return build.add("Flatten", build.add("ConvTranspose", x, numbers(build, 2, 2, 2, 2), strides=(2, 2)))


def float_behind_sums(build: Build, x: str) -> str:
    """Between a quantised layer and a layer in float nothing is quantised: its sums leave."""
    x = build.add("Conv", x, build.weights(codes((3, 3, 1, 1)) // 2, 0.0173), name="sums")
    return build.add("Flatten", build.add("Conv", build.add("Relu", x), numbers(build, 2, 3, 3, 3), name="float"))


def float_quantised_again(build: Build, x: str) -> str:
    """What is quantised behind it, but has no quantised weights, is the host's too."""
    x = build.add("Conv", x, numbers(build, 2, 3, 3, 3), name="float")
    return build.add("Flatten", build.add("Relu", build.through(x, 0.5, 128)))


LAST = (float_dense, float_product, float_first, float_convolutions, float_behind_sums, float_quantised_again)


@pytest.mark.parametrize("last", LAST)
def test_last_layers_in_float(last: Any, tmp_path: Path) -> None:
    build = Build()
    build.output(last(build, convolved(build, entered(build))), rank=2)
    imported = equal(build, tmp_path)
    assert Matrix in kinds(imported) and "behind the last quantised tensor" in hosts(imported)["float"]


def test_first_layers_in_float(tmp_path: Path) -> None:
    """Two branches, one of them without quantised layers, that meet in the network."""
    build = Build()
    x = build.input("x", ("N", 3, 6, 6))
    halves = build.constant([1, 2], np.int64)
    build.nodes.append(helper.make_node("Split", [x, halves], ["one", "two"], name="split", axis=1))
    a = build.add("Relu", build.add("Conv", "one", numbers(build, 3, 1, 1, 1), name="a"))
    b = build.add("Conv", "two", numbers(build, 3, 2, 1, 1), name="b")
    a, b = convolved(build, build.through(a, 0.03)), build.through(b, 0.05, 128)
    build.output(build.through(build.add("Add", a, b), 0.2371, 128))
    imported = equal(build, tmp_path)
    assert len(imported.graph.inputs) == 2 and Matrix in kinds(imported)
    assert {"split", "a", "b"} <= set(hosts(imported))


def test_empty_tensors(tmp_path: Path) -> None:
    """Constant ones, and maps of which nothing is left."""
    build = Build()
    x = convolved(build, entered(build))
    ends = [build.constant([value], np.int64) for value in (3, 3, 1)]
    nothing = build.add("Slice", x, *ends)
    none = build.constant(np.zeros((1, 0, 6, 6)), np.float32)
    batch = build.add("Expand", none, build.constant([1, 0, 6, 6], np.int64))
    joined = build.add("Concat", x, nothing, axis=1)
    build.output(build.add("Reshape", joined, build.constant([-1, 108], np.int64)), rank=2)
    build.output(batch)
    with pytest.raises(InputError, match="is the same for all inputs"):
        load_graph(saved(build.model(), tmp_path))
    build.outputs.pop()
    equal(build, tmp_path)


# Bodies


def info(name: str, kind: int = FLOAT, shape: list | None = None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def body(*nodes: NodeProto) -> GraphProto:
    """A branch: its result is what the last node makes."""
    return helper.make_graph(nodes, "body", [], [info(nodes[-1].output[0])])


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


def greater(build: Build, x: str) -> str:
    """Whether any value of a map is large."""
    most = build.add("ReduceMax", x, keepdims=0)
    return build.add("Greater", most, build.constant(5, np.float32))


def choice(build: Build, x: str, y: str) -> str:
    """An If whose branches, one of them another If, read maps, and a constant."""
    branches = body(node("Mul", [x, "two"], "m")), body(node("Abs", [y], "a"))
    inner = node("If", ["yes"], "o", then_branch=branches[0], else_branch=branches[1])
    build.nodes.append(node("Greater", ["two", build.add("ReduceMin", x, keepdims=0)], "yes"))
    given = {"then_branch": body(inner), "else_branch": body(node("Neg", [y], "o"))}
    return build.add("If", greater(build, y), **given)


def loop(build: Build, x: str, y: str) -> str:
    """A Loop whose body reads a map and a constant."""
    steps = [node("Identity", ["go"], "on"), node("Mul", [x, "two"], "d"), node("Add", ["sum", "d"], "more")]
    inputs = [info("i", INT64, []), info("go", BOOL, []), info("sum")]
    inner = helper.make_graph(steps, "loop", inputs, [info("on", BOOL, []), info("more")])
    return build.add("Loop", build.constant(3, np.int64), build.constant(True, np.bool_), y, body=inner)


def scan(build: Build, x: str, y: str) -> str:
    """A Scan over images whose body reads a map."""
    steps = [node("ReduceMean", [x], "m", keepdims=0), node("Add", ["image", "m"], "o")]
    inner = helper.make_graph(steps, "scan", [info("image")], [info("o")])
    return build.add("Scan", y, body=inner, num_scan_inputs=1)


def shaped(build: Build, x: str, y: str) -> str:
    """A shape that is computed in a body, of another map than the node reads."""
    there = body(node("Shape", [x], "s"), node("Reshape", [y, "s"], "o"))
    other = body(node("Flatten", [y], "f"), node("Shape", [x], "t"), node("Reshape", ["f", "t"], "p"))
    return build.add("If", greater(build, y), then_branch=there, else_branch=other)


@pytest.mark.parametrize("make", [choice, loop, scan, shaped])
def test_bodies_read_outside(make: Any, tmp_path: Path) -> None:
    build = Build()
    x = convolved(build, entered(build), "first")
    y = convolved(build, x, "second")
    build.constants.append(helper.make_tensor("two", FLOAT, [], [2.0]))
    build.output(make(build, x, y))
    build.inputs[0].type.tensor_type.shape.dim[0].dim_value = 24  # a body may mix images
    imported = equal(build, tmp_path)
    assert kinds(imported) == [Matrix, Matrix] and len(imported.graph.outputs) == 2


@pytest.mark.parametrize("taken", [True, False])
def test_a_constant_choice_is_no_choice(taken: bool, tmp_path: Path) -> None:
    """The branch takes the place of the If; its names may be made again outside."""
    build = Build()
    x = build.through(convolved(build, entered(build), "first"), S, 99)
    inner = [node("Sigmoid", [x], "d"), node("Neg", ["d"], "e")]
    other = [node("Tanh", [x], "d"), node("Abs", ["d"], "e")]
    rank = build.add("Size", build.add("Shape", x))
    condition = build.add("Equal", rank, build.constant(4 if taken else 3, np.int64))
    y = build.add("If", condition, then_branch=body(*inner), else_branch=body(*other), name="choice")
    build.nodes += [node("Relu", [x], "choice/d"), node("Neg", [y], "negative"), node("Abs", ["choice/d"], "more")]
    build.output("negative")
    build.output("more")
    imported = equal(build, tmp_path)
    assert kinds(imported).count(Matrix) == 1 and "choice" not in hosts(imported)


def test_bodies_of_constants_are_constants(tmp_path: Path) -> None:
    """A shape that a Loop computes."""
    build = Build()
    steps = [node("Identity", ["go"], "on"), node("Mul", ["sides", "half"], "more")]
    inputs = [info("i", INT64, []), info("go", BOOL, []), info("sides", INT64, [2])]
    inner = helper.make_graph(steps, "loop", inputs, [info("on", BOOL, []), info("more", INT64, [2])])
    build.constants.append(helper.make_tensor("half", INT64, [2], [1, 6]))
    given = [build.constant(2, np.int64), build.constant(True, np.bool_), build.constant([-1, 3], np.int64)]
    sides = build.add("Loop", *given, body=inner)
    flat = build.add("Reshape", convolved(build, entered(build), "first"), sides)
    dense = build.add("MatMul", flat, build.weights(codes((108, 4)) // 2, 0.0173), name="last")
    build.output(build.through(dense, S, 99), rank=2)
    assert kinds(equal(build, tmp_path)) == [Matrix, Matrix]


def test_a_body_that_reads_what_is_not_there(tmp_path: Path) -> None:
    build = Build()
    x = convolved(build, entered(build), "first")
    given = {"then_branch": body(node("Neg", [x], "o")), "else_branch": body(node("Neg", ["late"], "p"))}
    build.output(build.add("If", greater(build, x), name="choice", **given))
    build.nodes.append(node("Neg", [x], "late"))
    with pytest.raises(InputError, match="node 'choice': it reads 'late' before that is made"):
        load_graph(saved(build.model(), tmp_path))
