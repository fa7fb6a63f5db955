"""Operators between layers against onnxruntime, at both of its levels: what they become, and every code."""

from pathlib import Path

import pytest

from bench.onnx_models import Build
from tb.models.onnx_graphs import agreeing
from tb.models.operator_graphs import GRAPHS


@pytest.mark.parametrize("name", GRAPHS)
def test_agrees_with_onnxruntime(name: str, tmp_path: Path) -> None:
    build = Build()
    GRAPHS[name].make(build)
    imported = agreeing(build, tmp_path)
    assert tuple(type(node).__name__ for node in imported.graph.nodes) == GRAPHS[name].kinds
