"""Operators between layers from ONNX to RTL: every code, and every cycle in which an image leaves."""

from pathlib import Path

import pytest

import selvage
from bench.onnx_models import Build, saved
from selvage.frontend.onnx.graph import load_graph
from tb.models.onnx_graphs import inputs_of
from tb.models.operator_graphs import GRAPHS


@pytest.mark.parametrize("name", GRAPHS)
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
