"""Moves, loops and host parts that were read wrongly, or ended in a traceback: right now, or refused in a sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import selvage
from bench.onnx_models import Build, outputs, saved
from selvage.base.chip import load_chip
from selvage.base.errors import InputError
from selvage.compiler.doctor import examine
from selvage.frontend.onnx.graph import load_graph
from tb.models.onnx_graphs import UNIT, S, entered, inputs_of, layer, whole
from tb.models.operator_graphs import GRAPHS, ints, looped, seen

Make = Callable[[Build, str], str]


def moved(operator: str, *inputs: Any, **given: Any) -> Make:
    """An operator on a map, with constants behind it."""

    def make(build: Build, x: str) -> str:
        constants = [own if isinstance(own, str) else build.constant(own, np.asarray(own).dtype) for own in inputs]
        return build.add(operator, x, *constants, name="moved", **given)

    return make


def split(build: Build, x: str) -> str:
    build.nodes.append(helper.make_node("Split", [x, ints(build, -1, 4)], ["a", "b"], name="moved", axis=1))
    return "b"


REFUSED: dict[str, tuple[Make, str]] = {
    "trilu": (moved("Trilu", upper=1), "node 'moved': operator 'Trilu' is not supported"),
    "pads that leave nothing": (
        moved("Pad", [0, 0, -8, 0, 0, 0, 5, 0]),
        "node 'moved': its pads -8 and 5 leave nothing of a side of 6",
    ),
    "reflection beyond the map": (
        moved("Pad", [0, 0, 6, 0, 0, 0, 0, 0], mode="reflect"),
        "node 'moved': its pads 6 and 0 reflect more than a side of 6 has",
    ),
    "a pad of no number": (
        moved("Pad", [0, 0, 1, 0, 0, 0, 0, 0], np.float32("nan")),
        "node 'moved': it pads with nan, and must with a number",
    ),
    "an axis twice": (moved("ReduceMean", [2, 2], keepdims=1), "node 'moved': it names an axis twice"),
    "an empty slice": (moved("Slice", [3], [3], [2]), "node 'moved': operator 'Slice' leaves nothing of a map"),
    "sizes below zero": (split, "'moved'"),
    "too large": (moved("Tile", [1, 1, 5000, 5000]), "2,700,000,000 numbers"),
    "pads beyond a window": (
        moved("MaxPool", kernel_shape=[2, 2], pads=[2, 2, 2, 2]),
        "node 'moved': its pads 2 and 2 must be below what its window spans, 2",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(name: str, tmp_path: Path) -> None:
    """In one sentence; and the doctor ends as well."""
    make, sentence = REFUSED[name]
    build = Build()
    x = seen(build, make(build, entered(build)))
    build.output(build.through(layer(build, x, "Conv", (2, 3, 1, 1), name="last"), S, 99))
    path = saved(build.model(), tmp_path)
    with pytest.raises(InputError, match=sentence) as caught:
        load_graph(path)
    assert "\n" not in str(caught.value)
    if name != "too large":  # which no reader takes in
        assert not examine(path, load_chip("ou9x8")).whole


def scan(change: dict[str, Any], directory: Path) -> str:
    """The loop of the operators' graphs with other attributes."""
    build = Build()
    out = looped(build)[1]
    node = next(own for own in build.nodes if own.op_type == "Scan")
    kept = [item for item in node.attribute if item.name not in change]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, own) for name, own in change.items())])
    build.output(out, rank=3)
    return saved(build.model(), directory)


@pytest.mark.parametrize("directions", [[2], [0, 0]])
def test_directions_of_a_loop(directions: list[int], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"node 'loop': its directions are .* must be 0 or 1 for each of 1"):
        load_graph(scan({"scan_input_directions": directions}, tmp_path))


def test_an_axis_from_behind(tmp_path: Path) -> None:
    """Axis -3 of a sequence of rank 3 is axis 0."""
    loops = [load_graph(scan(change, tmp_path)) for change in ({}, {"scan_input_axes": [-3]})]
    feeds = inputs_of(loops[0])
    first, second = (whole(own, feeds) for own in loops)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_steps_before_images(tmp_path: Path) -> None:
    build = Build()
    x = build.through(build.input("x", (5, 1, 3)), UNIT, 128)
    x = build.add("Slice", x, ints(build, 0), ints(build, 5), ints(build, 0))
    build.output(build.through(layer(build, x, "MatMul", (3, 2), name="dense"), S, 99), rank=3)
    assert load_graph(saved(build.model(), tmp_path)).graph.nodes


@pytest.mark.parametrize("batch", ["N", 1])
def test_images_that_the_host_turns(batch: int | str, tmp_path: Path) -> None:
    """Each by itself, where the first quantised tensor begins with another axis; a bias behind the rows too."""
    build = Build()
    x = build.add("Transpose", build.input("x", (batch, 4, 6)), perm=(1, 0, 2))
    x = layer(build, build.through(x, UNIT, 128), "MatMul", (6, 5), name="dense")
    x = build.add("Add", x, build.constant(np.arange(5) * 900 * UNIT * 0.0103, np.float32))
    build.output(build.add("Transpose", build.through(x, S, 99), perm=(1, 0, 2)), rank=3)
    model = build.model()
    imported = load_graph(saved(model, tmp_path))
    feeds = inputs_of(imported, images=4)
    (ours,), (theirs,) = whole(imported, feeds).values(), outputs(model, feeds).values()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_an_outer_product_of_one_map(tmp_path: Path) -> None:
    build = Build()
    x = entered(build, (2, 3))
    column, row = (build.add("Reshape", x, ints(build, *sides)) for sides in ((6, 1), (1, 6)))
    build.output(build.through(build.add("Mul", column, row), S, 99), rank=2)
    model = build.model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    imported = load_graph(saved(model, tmp_path))
    feeds = inputs_of(imported, images=1)
    (ours,), (theirs,) = whole(imported, feeds).values(), outputs(model, feeds).values()
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, atol=1e-5)


def test_a_host_step_whose_result_the_host_reads(tmp_path: Path) -> None:
    """The codes of a cut that only what stands behind the network reads do not enter it."""
    build = Build()
    x = build.through(layer(build, entered(build), "Conv", (4, 3, 3, 3), name="first"), S, 99)
    x = build.through(build.add("Softmax", x, name="soft", axis=1), 1 / 256, 0)
    build.output(build.add("ReduceMean", x, ints(build, 2, 3), keepdims=0), rank=2)
    path = saved(build.model(), tmp_path)
    compiled = selvage.compile(path, "ou9x8", build=str(tmp_path / "build"))
    assert compiled.simulate(pipeline=True)["match"]


def test_infinities_on_the_host(tmp_path: Path) -> None:
    """Of what the host divides by zero: the highest and the lowest code, and the lowest of what is no number."""
    build = Build()
    x = build.through(layer(build, entered(build), "Conv", (3, 3, 1, 1), name="first"), S, 99)
    other = entered(build, name="z")
    zero = build.through(build.add("Relu", build.add("Neg", build.add("Abs", other))), S, 99)
    build.output(build.through(build.add("Div", x, zero, name="div"), S, 99))
    model = build.model()
    imported = load_graph(saved(model, tmp_path))
    feeds = inputs_of(imported, images=3)
    (ours,), (theirs,) = whole(imported, feeds).values(), outputs(model, feeds).values()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_pace_of_a_loop(tmp_path: Path) -> None:
    """The network model counts a loop of one image again and again."""
    build = Build()
    GRAPHS["loop"].make(build)
    compiled = selvage.compile(saved(build.model(), tmp_path), "ou9x8", build=str(tmp_path / "build"))
    flow = compiled.model.count(0.0, pipeline=True)[1]["pipeline"]
    assert flow["per_image"] >= flow["bound"] > 0


def test_a_parametric_relu_of_one_slope_and_parts_of_it(tmp_path: Path) -> None:
    """As PyTorch begins: all slopes equal, a constant a channel; two slices read it."""
    build = Build()
    x = build.through(layer(build, entered(build), "Conv", (4, 3, 3, 3), name="first"), S, 99)
    x = build.add("PRelu", x, build.constant(np.full((4, 1, 1), 0.23), np.float32))
    for low, high in ((0, 2), (2, 4)):
        part = build.add("Slice", x, ints(build, low), ints(build, high), ints(build, 1))
        build.output(build.through(part, S, 99))
    model = build.model()
    imported = load_graph(saved(model, tmp_path))
    feeds = inputs_of(imported)
    ours, theirs = whole(imported, feeds), outputs(model, feeds)
    for name, value in theirs.items():
        assert np.isclose(ours[name], value, atol=1e-5).mean() > 0.999


def test_types_of_a_zero_point_of_quant(tmp_path: Path) -> None:
    for zero, signed in ((200, 1), (-5, 0), (np.inf, 1)):
        build = Build()
        constants = [build.constant(own, np.float32) for own in (0.2, zero, 8)]
        given = {"signed": signed, "narrow": 0, "name": "quant"}
        x = build.add("Quant", build.input("x", ("N", 3, 5, 5)), *constants, domain="qonnx.custom_op.general", **given)
        build.output(layer(build, x, "Conv", (4, 3, 1, 1)), TensorProto.FLOAT)
        model = build.model()
        model.opset_import.append(helper.make_opsetid("qonnx.custom_op.general", 1))
        with pytest.raises(InputError, match="node 'quant': Quant"):
            load_graph(saved(model, tmp_path))
