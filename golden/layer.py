"""The golden result of a whole layer."""

import numpy as np
from numpy.typing import NDArray

from selvage.base.layer import Layer
from selvage.golden.conv import conv2d, conv_transpose2d
from selvage.golden.dense import Integers, dense


def evaluate(layer: Layer, x: Integers, w: Integers) -> NDArray[np.int64]:
    """Return the output (N, M, OH, OW) of ``layer`` for ``x`` (N, C, H, W) and ``w`` of ``layer.weight_shape``.

    A dense layer's maps are 1x1. TypeError: an operand is not of integers. ValueError: a shape is not
    the layer's. OverflowError: a sum could leave int64.
    """
    if x.ndim != 4 or x.shape[1:] != (layer.channels, layer.height, layer.width):
        raise ValueError(f"x must be (N, {layer.channels}, {layer.height}, {layer.width}), not {x.shape}")
    if w.shape != layer.weight_shape:
        raise ValueError(f"w must be {layer.weight_shape}, not {w.shape}")
    match layer.op:
        case "dense":
            return dense(x[:, :, 0, 0], w)[:, :, None, None]
        case "conv":
            return conv2d(x, w, stride=layer.stride, pads=layer.pads, dilation=layer.dilation, groups=layer.groups)
        case "conv_transpose":
            return conv_transpose2d(
                x,
                w,
                stride=layer.stride,
                pads=layer.pads,
                output_padding=layer.output_padding,
                dilation=layer.dilation,
                groups=layer.groups,
            )
