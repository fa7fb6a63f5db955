"""Gradients of a layer's products, in integers: of what entered it, and of its weights.

For a convolution ``y[o] = sum over k of x[s*o + k*d - p] W[k]`` they are its adjoints:
``dx[s*o + k*d - p] += dy[o] W[k]`` and ``dW[k] = sum over o of x[s*o + k*d - p] dy[o]``. A transposed one is the
adjoint of a convolution, so its gradients are those with x and dy exchanged (ReGAN, ASP-DAC 2018; ZARA, DAC 2019).
Always ``<dy, f(x, W)> = <dx, x> = <dW, W>``, exactly.
"""

import numpy as np
from numpy.typing import NDArray

from selvage.base.layer import Layer
from selvage.golden.conv import conv2d, conv_transpose2d, taps
from selvage.golden.dense import Integers, check_operand, dense, exact_dtype


def data_gradient(layer: Layer, dy: Integers, w: Integers) -> NDArray[np.int64]:
    """Return dx (N, C, H, W) from ``dy`` (N, M, OH, OW) and ``w`` of ``layer.weight_shape``.

    TypeError: an operand is not of integers. ValueError: a shape is not the layer's. OverflowError: a sum could leave
    int64.
    """
    _check("dy", dy, (layer.outputs, *layer.output_size))
    if w.shape != layer.weight_shape:
        raise ValueError(f"w must be {layer.weight_shape}, not {w.shape}")
    how = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
    if layer.op == "dense":
        return dense(dy[:, :, 0, 0], w.T)[:, :, None, None]
    if layer.op == "conv":
        # Rows and columns that no window reaches have a gradient of zero: they are the output padding.
        return conv_transpose2d(dy, w, pads=layer.pads, output_padding=layer.spare, **how)
    dx = conv2d(dy, w, pads=layer.pads, **how)
    return dx[:, :, : layer.height, : layer.width]  # a window that starts in the output padding belongs to no pixel


def weight_gradient(layer: Layer, x: Integers, dy: Integers) -> NDArray[np.int64]:
    """Return dW, of ``layer.weight_shape``, summed over the samples of ``x`` (N, C, H, W) and ``dy`` (N, M, OH, OW).

    TypeError: an operand is not of integers. ValueError: a shape is not the layer's. OverflowError: a sum could leave
    int64.
    """
    _check("x", x, (layer.channels, layer.height, layer.width))
    _check("dy", dy, (layer.outputs, *layer.output_size))
    if len(x) != len(dy):
        raise ValueError(f"x has {len(x)} samples, but dy has {len(dy)}")
    # Of the two maps one is swept by the kernel's windows, the other has an entry for each window.
    swept, windows = (dy, x) if layer.op == "conv_transpose" else (x, dy)
    n, rows, columns, g = len(x), *windows.shape[2:], layer.groups
    dtype = exact_dtype(x, dy, terms=n * rows * columns)
    top, left, bottom, right = layer.pads
    height, width = (
        max(side + before + after, (count - 1) * step + span)
        for side, before, after, count, step, span in zip(
            swept.shape[2:], (top, left), (bottom, right), (rows, columns), layer.stride, layer.extent, strict=True
        )
    )
    padded = np.zeros((n, swept.shape[1], height, width), dtype)
    padded[:, :, top : top + swept.shape[2], left : left + swept.shape[3]] = swept
    grouped = padded.reshape(n, g, -1, height, width)
    fixed = windows.astype(dtype).reshape(n, g, -1, rows * columns)
    found = np.empty((g, fixed.shape[2], grouped.shape[2], *layer.kernel), dtype)
    for ky, kx, down, across in taps(layer.kernel, layer.stride, layer.dilation, (rows, columns)):
        seen = grouped[..., down, across].reshape(n, g, -1, rows * columns)
        found[..., ky, kx] = (fixed @ seen.swapaxes(2, 3)).sum(axis=0)
    # (windows' channels, swept channels of the group): M, C/g for a convolution, C, M/g for its adjoint.
    gradient = found.reshape(-1, *found.shape[2:]).astype(np.int64)
    return gradient[:, :, 0, 0].T if layer.op == "dense" else gradient


def _check(name: str, maps: Integers, shape: tuple[int, ...]) -> None:
    check_operand(name, maps, "N, channels, rows, columns")
    if maps.shape[1:] != shape:
        raise ValueError(f"{name} must be (N, {', '.join(map(str, shape))}), not {maps.shape}")
