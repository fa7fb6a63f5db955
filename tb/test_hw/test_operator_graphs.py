"""Operators between layers from ONNX to RTL: every code, and every cycle in which an image leaves."""

from pathlib import Path

import pytest

import selvage
from bench.onnx_models import Build, saved
from selvage.frontend.onnx.graph import load_graph
from tb.models.onnx_graphs import entered, inputs_of
from tb.models.operator_graphs import GRAPHS, seen

# Graphs whose nodes and shapes of order others have too: the golden model holds them against onnxruntime.
ALIKE = {
    *("nhwc entry", "nhwc flatten", "nhwc bias", "turned", "crop", "edge", "space to depth", "mean of rows", "rows"),
    *("linear by three", "mean", "slope a channel", "pool ceil", "mean ceil", "mean ceil with pads", "sum of maps"),
    *("last state", "other lines"),
}


@pytest.mark.parametrize("name", [name for name in GRAPHS if name not in ALIKE])
def test_runs_in_rtl(name: str, tmp_path: Path) -> None:
    """Three images one after the other."""
    build = Build()
    GRAPHS[name].make(build)
    path = saved(build.model(), tmp_path)
    images = inputs_of(load_graph(path), images=3)
    compiled = selvage.compile(path, "ou9x8", images=images, build=str(tmp_path / "build"))
    report = compiled.simulate(pipeline=True)
    assert report["match"], report["fault"]
    assert report["pipeline"]["latency"] == report["pipeline"]["latency_model"]


def test_the_pace_of_a_dilated_pool(tmp_path: Path) -> None:
    """A pool alone is as fast as its own bound says, with the pixels that its window really reads."""
    build = Build()
    x = entered(build, (2, 9, 8))
    build.output(seen(build, build.add("MaxPool", x, kernel_shape=(2, 2), dilations=(5, 3))))
    path = saved(build.model(), tmp_path)
    images = inputs_of(load_graph(path), images=6)
    report = selvage.compile(path, "ou9x8", images=images, build=str(tmp_path / "build")).simulate(pipeline=True)
    assert report["match"], report["fault"]
    assert report["pipeline"]["per_image"] == report["pipeline"]["bound"]
