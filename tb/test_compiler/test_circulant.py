"""Block-circulant dense layers: the same numbers as dense ones, on fewer crossbars, to the cycle in RTL."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import selvage
from bench.onnx_models import Build, saved
from selvage.base.circulant import averaged, blocks
from selvage.base.errors import InputError
from selvage.compiler.circulant import circulant_asked, with_circulant
from selvage.frontend.circulant import prune_to_blocks
from selvage.frontend.onnx.graph import load_graph
from selvage.golden.graph import run
from tb.models.onnx_graphs import UNIT, S, codes, entered, inputs_of


def circulant(rows: int, columns: int, size: int) -> np.ndarray:
    """By the definition: number (b - a) mod size of the block at row a and column b of it."""
    own = codes((rows // size, columns // size, size))
    at = np.indices((rows, columns))
    return own[at[0] // size, at[1] // size, (at[1] - at[0]) % size]


def network(size: int, directory: Path, shape: tuple[int, int] = (24, 36)) -> str:
    build = Build()
    bias = build.constant(np.arange(shape[1]) * 700 * UNIT * 0.0103, np.float32)
    x = build.add("Gemm", entered(build, (shape[0],)), build.weights(circulant(*shape, size), 0.0103), bias, name="fc")
    build.output(build.through(build.add("LeakyRelu", x, alpha=0.25), S, 99), rank=2)
    return saved(build.model(), directory)


def test_blocks_are_told_from_others() -> None:
    weights = circulant(12, 8, 4)
    assert blocks(weights, 4) is not None and blocks(weights, 2) is None and blocks(weights, 3) is None
    weights[5, 2] += 1
    assert blocks(weights, 4) is None


def test_the_nearest_blocks() -> None:
    """Nothing nearer: what is lost is at right angles to every block."""
    random = np.random.default_rng(4)
    weights = random.normal(0, 1, (12, 8))
    near = averaged(weights, 4)
    assert blocks(near, 4) is not None
    assert abs(((weights - near) * circulant(12, 8, 4)).sum()) < 1e-9
    np.testing.assert_allclose(averaged(near, 4), near)


@pytest.mark.parametrize("size", [2, 3, 4, 6, 12])
def test_the_same_numbers(size: int, tmp_path: Path) -> None:
    imported = load_graph(network(size, tmp_path))
    entering = imported.enter(inputs_of(imported))
    dense, turned = (
        run(graph, entering) for graph in (imported.graph, with_circulant(imported.graph, circulant_asked("auto")))
    )
    (name,) = imported.graph.outputs
    np.testing.assert_array_equal(dense[name], turned[name])


@pytest.mark.parametrize("size", [4, 12])
def test_in_rtl(size: int, tmp_path: Path) -> None:
    path = network(size, tmp_path)
    images = inputs_of(load_graph(path), images=2)
    options = {"images": images, "build": str(tmp_path / "build")}
    found = selvage.compile(path, "ou9x8", circulant=circulant_asked(str(size)), **options)
    for pipeline in (False, True):
        report = found.simulate(pipeline=pipeline)
        assert report["match"], report["fault"]
    dense = selvage.compile(path, "ou9x8", **options).count()
    assert report["crossbars"] <= dense["crossbars"]


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ("fc=5", "node 'fc': blocks of 5 do not divide its weights of 24 x 36"),
        ("fc=6", "node 'fc': its weights are not made of circulant blocks of 6 x 6"),
        ("other=4", "--circulant names 'other', which is no dense layer of a single pixel: fc"),
        ("3", "no dense layer is made of circulant blocks 3"),
        ("1", "--circulant 1: a block size is 2 to 64"),
        ("65", "--circulant 65: a block size is 2 to 64"),
        ("fc", "--circulant 'fc' is neither auto, nor a block size"),
        ("fc=4,fc=4", "--circulant 'fc=4,fc=4' is neither"),
    ],
)
def test_what_is_refused(asked: str, sentence: str, tmp_path: Path) -> None:
    graph = load_graph(network(4, tmp_path)).graph
    with pytest.raises(InputError, match=sentence):
        with_circulant(graph, circulant_asked(asked))


@pytest.mark.parametrize("turned", [0, 1])
def test_prune_makes_such_weights(turned: int, tmp_path: Path) -> None:
    weights = np.random.default_rng(2).normal(0, 1, (8, 12)).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="fc", transB=turned),
        helper.make_node("MatMul", ["h", "v"], ["y"], name="last"),
    ]
    stored = [numpy_helper.from_array(weights.T.copy() if turned else weights, "w")]
    stored.append(numpy_helper.from_array(np.ones((12, 3), np.float32), "v"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, side]) for name, side in (("x", 8), ("y", 3))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    path = tmp_path / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    (found,) = prune_to_blocks(str(path), tmp_path / "out.onnx", 4)
    assert (found.name, found.rows, found.columns, found.numbers) == ("fc", 8, 12, 24)
    made = numpy_helper.to_array(onnx.load(tmp_path / "out.onnx").graph.initializer[0])
    np.testing.assert_allclose(made.T if turned else made, averaged(weights, 4), rtol=1e-6)
    with pytest.raises(InputError, match="holds no layer that blocks of 5 divide: 'fc' has 8 x 12 weights"):
        prune_to_blocks(str(path), tmp_path / "other.onnx", 5)
    assert not (tmp_path / "other.onnx").exists()
