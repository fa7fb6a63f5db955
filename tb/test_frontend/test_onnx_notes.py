"""What an import tells: biases that are rounded so far that outputs move."""

from pathlib import Path

import numpy as np
import pytest

from bench.onnx_models import Build, saved
from selvage.frontend.onnx.graph import load_graph

COARSE = 4.0  # what one of a sum is worth, in steps of the output


def notes(tmp_path: Path, shift: float, pooled: bool) -> dict[str, str]:
    """Of a convolution whose bias is ``shift`` units of a sum."""
    build = Build()
    x = build.through(build.input("x", ("N", 1, 4, 4)), 1.0)
    bias = build.constant([shift], np.float32)
    made = build.add("Conv", x, build.weights(np.ones((1, 1, 1, 1), np.int8), 1.0), bias, name="conv")
    if pooled:
        made = build.add("MaxPool", made, kernel_shape=(2, 2), name="pool")
    build.output(build.through(made, 1 / COARSE))
    return load_graph(saved(build.model(), tmp_path)).notes


@pytest.mark.parametrize("pooled", [False, True])
def test_a_rounded_bias_is_told_of_its_layer(pooled: bool, tmp_path: Path) -> None:
    assert notes(tmp_path, 7.0, pooled) == {}
    assert notes(tmp_path, 7.01, pooled) == {}, "a step in twenty-five"
    found = notes(tmp_path, 7.25, pooled)
    assert found == {"conv": "its bias is rounded to whole units of a sum, which moves outputs by up to 1 steps"}
