"""The gallery: every network is read whole, and the shortest run through RTL."""

from pathlib import Path

import pytest

import selvage
from bench.gallery import FOLDER, one
from selvage.base.graph import Matrix
from selvage.frontend.onnx.graph import load_graph
from selvage.report.content import graph_of

NAMES = sorted(path.stem for path in FOLDER.glob("*.onnx"))
NOT_WHOLE = ("transformer",)


def test_there_are_enough() -> None:
    assert len(NAMES) == 30


@pytest.mark.parametrize("name", NAMES)
def test_is_read(name: str) -> None:
    """Only the transformer asks the host between layers."""
    imported = load_graph(str(FOLDER / f"{name}.onnx"))
    assert bool(imported.hosted) == (name in NOT_WHOLE)
    assert any(isinstance(node, Matrix) for node in imported.graph.nodes)


@pytest.mark.parametrize("name", ["transformer"])
def test_in_rtl(name: str, tmp_path: Path) -> None:
    compiled = selvage.compile(FOLDER / f"{name}.onnx", "ou9x8", build=str(tmp_path / "build"))
    report = compiled.simulate(pipeline=True)
    assert report["match"], report["fault"]


def test_a_loop_is_drawn() -> None:
    graph = load_graph(str(FOLDER / "lstm.onnx")).graph
    drawn = graph_of(graph, {})
    assert len(drawn) == len(graph.nodes) + len(graph.inputs)
    assert all(node.depth > 0 for node in drawn if node.kind == "state")


def test_the_bench_counts() -> None:
    found = one("ds_cnn", count=True)
    assert found["equal"] == found["equal_as_written"] == 1.0 and found["crossbars"] == 22
