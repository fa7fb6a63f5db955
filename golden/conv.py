"""Integer convolution and transposed convolution, as ONNX defines them, on NCHW maps."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from selvage.golden.dense import Integers, check_operand, exact_dtype

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]
Tap = tuple[int, int, slice, slice]


def conv2d(
    x: Integers,
    w: Integers,
    *,
    stride: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> NDArray[np.int64]:
    """Return the convolution (N, M, OH, OW) of ``x`` (N, C, H, W) with ``w`` (M, C/groups, KH, KW).

    Gather: ``y[oy] = sum over ky of W[ky] @ x[stride*oy + ky*dilation - top]``, likewise along the
    width, where ``x`` is zero outside of its map; ``pads`` are top, left, bottom, right, and
    ``OH = (H + top + bottom - (KH - 1)*dilation - 1) // stride + 1``. Output channel m sees the
    input channels of group ``m // (M/groups)`` only.

    TypeError: an operand is not of integers. ValueError: wrong rank, channels that do not match or
    split into groups, a stride, dilation or pad out of range, or a kernel larger than the padded
    map. OverflowError: a sum could leave int64.
    """
    check_operand("x", x, "N, C, H, W")
    check_operand("w", w, "M, C/groups, KH, KW")
    _check_geometry(stride, pads, dilation, groups)
    (n, channels, *size), (outputs, per_group, *kernel) = x.shape, w.shape
    if channels != per_group * groups:
        raise ValueError(f"x has {channels} channels, but w has {per_group} in each of {groups} groups")
    if outputs % groups:
        raise ValueError(f"w has {outputs} outputs, not a multiple of groups = {groups}")
    padded = [side + pads[axis] + pads[axis + 2] for axis, side in enumerate(size)]
    spare = [side - span for side, span in zip(padded, _extent(kernel, dilation), strict=True)]
    if min(spare) < 0:
        raise ValueError(f"the dilated kernel is larger than the padded map, {padded[0]} x {padded[1]}")
    out = [side // step + 1 for side, step in zip(spare, stride, strict=True)]

    dtype = exact_dtype(x, w, terms=per_group * kernel[0] * kernel[1])
    source = np.zeros((n, groups, per_group, *padded), dtype)
    top, left = pads[:2]
    source[..., top : top + size[0], left : left + size[1]] = x.reshape(n, groups, per_group, *size)
    weights = w.reshape(groups, -1, per_group, *kernel).astype(dtype)
    y = np.zeros((n, groups, outputs // groups, out[0] * out[1]), dtype)
    for ky, kx, rows, columns in taps(kernel, stride, dilation, out):
        y += weights[..., ky, kx] @ source[..., rows, columns].reshape(n, groups, per_group, -1)
    return y.reshape(n, outputs, *out).astype(np.int64)


def conv_transpose2d(
    x: Integers,
    w: Integers,
    *,
    stride: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    output_padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> NDArray[np.int64]:
    """Return the transposed convolution (N, M, OH, OW) of ``x`` (N, C, H, W) with ``w`` (C, M/groups, KH, KW).

    Scatter: ``y[stride*iy + ky*dilation - top] += x[iy] @ W[ky]``, likewise along the width; what
    falls outside of ``y`` is lost. ``pads`` are top, left, bottom, right and crop the output;
    ``output_padding`` adds rows and columns at its end:
    ``OH = (H - 1)*stride + (KH - 1)*dilation + 1 - top - bottom + output_padding``. Input channel c
    reaches the output channels of group ``c // (C/groups)`` only.

    TypeError: an operand is not of integers. ValueError: wrong rank, channels that differ or do not
    split into groups, a stride, dilation or pad out of range, or pads that crop everything.
    OverflowError: a sum could leave int64.
    """
    check_operand("x", x, "N, C, H, W")
    check_operand("w", w, "C, M/groups, KH, KW")
    _check_geometry(stride, pads, dilation, groups, output_padding)
    (n, channels, *size), (rows_of_w, per_group, *kernel) = x.shape, w.shape
    if channels != rows_of_w:
        raise ValueError(f"x has {channels} channels, but w has {rows_of_w}")
    if channels % groups:
        raise ValueError(f"x has {channels} channels, not a multiple of groups = {groups}")
    full = [
        (side - 1) * step + span + extra
        for side, step, span, extra in zip(size, stride, _extent(kernel, dilation), output_padding, strict=True)
    ]
    top, left, bottom, right = pads
    if top + bottom >= full[0] or left + right >= full[1]:
        raise ValueError(f"pads = {pads} crop the whole output, {full[0]} x {full[1]}")

    dtype = exact_dtype(x, w, terms=channels // groups * kernel[0] * kernel[1])
    source = x.reshape(n, groups, channels // groups, -1).astype(dtype)
    weights = w.reshape(groups, -1, per_group, *kernel).swapaxes(1, 2).astype(dtype)
    y = np.zeros((n, groups, per_group, *full), dtype)
    for ky, kx, rows, columns in taps(kernel, stride, dilation, size):
        y[..., rows, columns] += (weights[..., ky, kx] @ source).reshape(n, groups, per_group, *size)
    y = y.reshape(n, groups * per_group, *full)
    return y[..., top : full[0] - bottom, left : full[1] - right].astype(np.int64)


def _check_geometry(stride: Pair, pads: Pads, dilation: Pair, groups: int, output_padding: Pair = (0, 0)) -> None:
    for name, values, count, least in (
        ("stride", stride, 2, 1),
        ("pads", pads, 4, 0),
        ("dilation", dilation, 2, 1),
        ("output_padding", output_padding, 2, 0),
    ):
        if len(values) != count or min(values) < least:
            raise ValueError(f"{name} = {values} must be {count} integers of at least {least}")
    if groups < 1:
        raise ValueError(f"groups = {groups} must be at least 1")


def _extent(kernel: list[int], dilation: Pair) -> list[int]:
    return [(taps - 1) * step + 1 for taps, step in zip(kernel, dilation, strict=True)]


def taps(kernel: Sequence[int], stride: Pair, dilation: Pair, count: Sequence[int]) -> Iterator[Tap]:
    """Yield each tap of the kernel, with the ``count`` rows and columns of the larger map that it touches."""

    def along(axis: int, tap: int) -> slice:
        first = tap * dilation[axis]
        return slice(first, first + (count[axis] - 1) * stride[axis] + 1, stride[axis])

    for ky, kx in product(range(kernel[0]), range(kernel[1])):
        yield ky, kx, along(0, ky), along(1, kx)
