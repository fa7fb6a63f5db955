"""What the golden functions refuse: operands that are no integers, shapes and geometries that do not fit."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selvage.base.layer import Layer
from selvage.golden.conv import conv2d, conv_transpose2d
from selvage.golden.dense import dense
from selvage.golden.layer import evaluate

Array = NDArray[Any]


def ones(*shape: int) -> NDArray[np.int64]:
    return np.ones(shape, np.int64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_, np.complex64, object])
@pytest.mark.parametrize("call", [dense, conv2d, conv_transpose2d])
def test_only_integers(call: Any, dtype: Any) -> None:
    good = ones(1, 1) if call is dense else ones(1, 1, 1, 1)
    with pytest.raises(TypeError, match=rf"x must be of an integer dtype, not {np.dtype(dtype)}"):
        call(good.astype(dtype), good)
    with pytest.raises(TypeError, match=rf"w must be of an integer dtype, not {np.dtype(dtype)}"):
        call(good, good.astype(dtype))


@pytest.mark.parametrize(
    ("x", "w", "rule"),
    [
        (ones(2), ones(2, 3), r"x must have the dimensions \(N, C\), not the shape \(2,\)"),
        (ones(1, 2), ones(2, 3, 1), r"w must have the dimensions \(C, M\)"),
        (ones(1, 2), ones(2, 0), r"w must have no empty dimension"),
        (ones(1, 2), ones(3, 2), r"x has 2 channels, but w has 3"),
    ],
)
def test_dense_errors(x: Array, w: Array, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        dense(x, w)


@pytest.mark.parametrize("call", [conv2d, conv_transpose2d])
@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (dict(x=ones(2, 5, 5)), r"x must have the dimensions \(N, C, H, W\), not the shape \(2, 5, 5\)"),
        (dict(w=ones(2, 2, 3)), r"w must have the dimensions \([MC], [MC]/groups, KH, KW\)"),
        (dict(x=ones(0, 2, 5, 5)), r"x must have no empty dimension"),
        (dict(stride=(0, 1)), r"stride = \(0, 1\) must be 2 integers of at least 1"),
        (dict(stride=(1,)), r"stride = \(1,\) must be 2 integers"),
        (dict(dilation=(1, 0)), r"dilation = \(1, 0\) must be 2 integers of at least 1"),
        (dict(pads=(0, 0, -1, 0)), r"pads = \(0, 0, -1, 0\) must be 4 integers of at least 0"),
        (dict(pads=(1, 1)), r"pads = \(1, 1\) must be 4 integers"),
        (dict(groups=0), r"groups = 0 must be at least 1"),
    ],
)
def test_operand_and_geometry_errors(call: Any, arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        call(**(dict(x=ones(1, 2, 5, 5), w=ones(2, 2, 3, 3)) | arguments))


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (dict(w=ones(2, 3, 3, 3)), r"x has 4 channels, but w has 3 in each of 1 groups"),
        (dict(w=ones(3, 2, 3, 3), groups=2), r"w has 3 outputs, not a multiple of groups = 2"),
        (dict(w=ones(2, 4, 6, 3)), r"the dilated kernel is larger than the padded map, 5 x 5"),
        (dict(w=ones(2, 4, 2, 2), dilation=(1, 6), pads=(0, 0, 0, 1)), r"larger than the padded map, 5 x 6"),
    ],
)
def test_conv_errors(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        conv2d(ones(1, 4, 5, 5), **arguments)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (dict(w=ones(2, 4, 3, 3)), r"x has 4 channels, but w has 2"),
        (dict(w=ones(4, 2, 3, 3), groups=3), r"x has 4 channels, not a multiple of groups = 3"),
        (dict(w=ones(4, 2, 3, 3), output_padding=(0, -1)), r"output_padding = \(0, -1\) must be 2 integers"),
        (dict(w=ones(4, 2, 3, 3), pads=(3, 0, 4, 0)), r"pads = \(3, 0, 4, 0\) crop the whole output, 7 x 7"),
        (dict(w=ones(4, 2, 3, 3), pads=(0, 8, 0, 0)), r"crop the whole output"),
    ],
)
def test_conv_transpose_errors(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        conv_transpose2d(ones(1, 4, 5, 5), **arguments)


@pytest.mark.parametrize("op", ["conv", "conv_transpose", "dense"])
def test_evaluate_errors(op: Any) -> None:
    layer = Layer(op=op, channels=2, outputs=3)
    w = ones(*layer.weight_shape)
    for shape in ((1, 2), (1, 3, 1, 1), (1, 2, 1, 2)):
        with pytest.raises(ValueError, match=r"x must be \(N, 2, 1, 1\), not \(1, "):
            evaluate(layer, ones(*shape), w)
    with pytest.raises(ValueError, match=r"w must be \([23], [23].*\), not \(3, 3"):
        evaluate(layer, ones(1, 2, 1, 1), ones(3, 3, *layer.weight_shape[2:]))
    with pytest.raises(TypeError, match=r"x must be of an integer dtype, not float64"):
        evaluate(layer, ones(1, 2, 1, 1).astype(float), w)
