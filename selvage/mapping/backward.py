"""Backward products as layers: what a placement, a tile and a cycle model take like any other layer.

A convolution's data gradient is a transposed convolution with the same weights, and the other way round. A weight
gradient is a convolution too, one sample at a time: the maps that have an entry for each window are stored in the
arrays, a channel a column, and the other maps are its images, one channel each. ``dW[k] = sum over i of
x[i] dy[s*i + k*d - p]`` is a convolution of dy with the kernel x, dilated by s and with the stride d, without a zero
inserted (ReGAN, ASP-DAC 2018; ZARA, DAC 2019).
"""

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.base.layer import Layer

Integers = NDArray[np.int64]


def data_gradient_layer(layer: Layer) -> Layer:
    """Return the layer from the error of what leaves ``layer`` to that of what enters it.

    Its weights are those of ``layer`` (a dense layer's transposed). `InputError`: output padding of a stride or more,
    which only a dilation allows.
    """
    name = f"{layer.name}.data_gradient"
    height, width = layer.output_size
    how = {"name": name, "channels": layer.outputs, "outputs": layer.channels}
    if layer.op == "dense":
        return Layer(op="dense", **how)
    how |= {"height": height, "width": width, "kernel": layer.kernel, "stride": layer.stride, "pads": layer.pads}
    how |= {"dilation": layer.dilation, "groups": layer.groups}
    if layer.op == "conv":
        return Layer(op="conv_transpose", output_padding=layer.spare, **how)
    if any(extra >= step for extra, step in zip(layer.output_padding, layer.stride, strict=True)):
        raise InputError(
            f"layer {layer.name!r} has no data gradient as a layer: output_padding = {layer.output_padding} is not "
            f"below the stride {layer.stride}"
        )
    return Layer(op="conv", **how)


def data_gradient_weights(layer: Layer, weights: Integers) -> Integers:
    """Return the weights of `data_gradient_layer`."""
    return weights.T if layer.op == "dense" else weights


def weight_gradient_layer(layer: Layer) -> Layer:
    """Return the layer that makes a sample's weight gradient; its operands are those of `weight_gradient_operands`.

    `InputError`: the layer has groups.
    """
    if layer.groups > 1:
        raise InputError(f"layer {layer.name!r} has groups: its weight gradient is one layer for each of them")
    name, stored = f"{layer.name}.weight_gradient", layer.outputs if layer.op == "conv" else layer.channels
    if layer.op == "dense":
        return Layer(name=name, op="dense", channels=1, outputs=stored)
    inside, outside = (layer.height, layer.width), layer.output_size
    windows, swept = (outside, inside) if layer.op == "conv" else (inside, outside)
    spare = layer.spare if layer.op == "conv" else layer.output_padding
    top, left, bottom, right = layer.pads
    return Layer(
        name=name,
        op="conv",
        channels=1,
        outputs=stored,
        height=swept[0],
        width=swept[1],
        kernel=windows,
        stride=layer.dilation,
        dilation=layer.stride,
        # Rows that no window reaches would be further places of the kernel, which are cut off where no pad can be.
        pads=(top, left, max(0, bottom - spare[0]), max(0, right - spare[1])),
    )


def weight_gradient_operands(layer: Layer, x: Integers, dy: Integers) -> tuple[Integers, Integers]:
    """Return images and weights of `weight_gradient_layer` from a sample's ``x`` (C, H, W) and ``dy`` (M, OH, OW)."""
    stored, swept = (dy, x) if layer.op == "conv" else (x, dy)
    if layer.op == "dense":
        return swept.reshape(-1, 1, 1, 1), stored.reshape(1, -1)
    return swept[:, None], stored[:, None]


def weight_gradient_of(layer: Layer, outputs: Integers) -> Integers:
    """Return dW, of ``layer.weight_shape``, from the outputs of `weight_gradient_layer`."""
    if layer.op == "dense":
        return outputs[:, :, 0, 0].T
    return outputs[:, :, : layer.kernel[0], : layer.kernel[1]].swapaxes(0, 1)
