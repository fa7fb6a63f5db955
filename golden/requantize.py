"""From sums to codes: the rounding of every output stage.

onnxruntime multiplies the sum by one float32 (the input scale times the weight scale over the output scale), rounds
halves to even, adds the zero point and saturates. Here the same float32 is an integer factor over a power of two, so
nothing is rounded before the end, and only sums whose product lies within float32's own error of a half can differ.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from golden.dense import Integers
from spec.errors import InputError
from spec.graph import LINEAR, Activation, Tensor
from spec.layer import InputFormat
from spec.requantization import MANTISSA_BITS, MULTIPLIER_BITS, Requantization


def requantization(
    scales: NDArray[np.float32],
    to: Tensor,
    *,
    bias: Sequence[int] = (0,),
    activation: Activation = LINEAR,
    zero_first: bool = False,
) -> Requantization:
    """Of sums whose unit is worth ``scales`` (M,) or (1,), to the codes of ``to``.

    `InputError`: a scale is not positive and finite, or one unit is worth so many codes that no factor holds it.
    """
    check_scale(to)
    with np.errstate(over="ignore"):
        ratios = np.asarray(scales, np.float32) / np.float32(to.scale)
    if not np.isfinite(ratios).all():
        raise InputError(f"tensor {to.name!r}: a scale over {to.scale} is beyond float32")
    factors, shift = integer_factors([float(value) for value in _with_slope(ratios, activation.slope)])
    count = len(ratios)
    low, high = code_bounds(to, activation)
    return Requantization(
        factors=factors[:count],
        below=factors[count:],
        shift=shift,
        zero_point=to.format.zero_point,
        low=low,
        high=high,
        bias=tuple(int(value) for value in bias),
        zero_first=zero_first,
    )


def _with_slope(ratios: NDArray[np.float32], slope: float) -> NDArray[np.float32]:
    """Ratios of sums from 0 up and, where ``slope`` is not 1, of those below 0.

    Where a ratio is below 0 itself, sums from 0 up have the values that the slope is for.
    """
    if slope == 1:
        return ratios
    steep = ratios * np.float32(slope)
    return np.concatenate([np.where(ratios < 0, steep, ratios), np.where(ratios < 0, ratios, steep)])


def check_scale(tensor: Tensor) -> None:
    """`InputError` unless every scale is positive and finite."""
    for scale in np.atleast_1d(tensor.scale):
        if not (np.isfinite(scale) and scale > 0):
            raise InputError(f"tensor {tensor.name!r} has the scale {scale}, and must have a positive one")


def integer_factors(values: Sequence[float]) -> tuple[tuple[int, ...], int]:
    """Factors and their common shift: ``value = factor / 2**shift``.

    Exact while the values differ by less than 2**(31 - 24); smaller ones are rounded to the 31 bits' last place.
    """
    largest = max(abs(value) for value in values)
    if largest == 0:
        return (0,) * len(values), 0
    smallest = min(abs(value) for value in values if value)
    spare = math.frexp(largest)[1] - math.frexp(smallest)[1]
    bits = min(MULTIPLIER_BITS, MANTISSA_BITS + spare)
    shift = bits - math.frexp(largest)[1]
    if shift < 0:
        raise InputError(f"one unit of a sum is worth {largest} codes, and must be worth less than 2**{bits}")
    return tuple(min(round(math.ldexp(value, shift)), 2**MULTIPLIER_BITS - 1) for value in values), shift


def code_bounds(to: Tensor, activation: Activation = LINEAR) -> tuple[int, int]:
    """Smallest and largest code of ``to`` behind an activation."""
    bounds = to.format.raw_range
    limits = [int(quantise(np.float32(value), to)) for value in (activation.low, activation.high)]
    return max(bounds[0], limits[0]), min(bounds[1], limits[1])


def requantize(sums: Integers, r: Requantization) -> Integers:
    """Codes of ``sums`` (N, M, ...), channel by channel. OverflowError: a product could leave int64."""

    def spread(values: tuple[int, ...]) -> Integers:
        one_a_pixel = len(values) > max(sums.shape[1], 1)
        return np.array(values, np.int64).reshape(sums.shape[1:] if one_a_pixel else (-1, *(1,) * (sums.ndim - 2)))

    total = sums.astype(np.int64) + spread(r.bias)
    factors = np.where(total < 0, spread(r.below), spread(r.factors)) if r.below else spread(r.factors)
    if total.size and int(np.abs(total).max()) * max(abs(f) for f in (*r.factors, *r.below)) >= 2**62:
        raise OverflowError("a product of a sum and its factor could leave int64")
    return finished(total * factors, r)


def finished(products: Integers, r: Requantization) -> Integers:
    """Codes of sums times their factors."""
    return np.clip(rounded(products, r.shift, r.halves_to_odd) + r.zero_point, r.low, r.high)


def rounded(values: Integers, shift: int, halves_to_odd: bool = False) -> Integers:
    """``values / 2**shift``, halves to the even number, or to the odd one."""
    if shift == 0:
        return values
    if shift > 62:
        return np.zeros_like(values)
    # Half a unit less its last place, and that place where the quotient is of the other parity.
    return (values + (1 << shift - 1) - 1 + ((values >> shift & 1) ^ halves_to_odd)) >> shift


def quantise(values: NDArray[np.float32], to: Tensor) -> Integers:
    """Codes of real values, as ONNX's QuantizeLinear: float32, halves to even, saturated."""
    low, high = to.format.raw_range
    codes = np.rint(np.asarray(values, np.float32) / np.float32(to.scale)) + to.format.zero_point
    return np.clip(codes, low, high).astype(np.int64)


def dequantise(codes: Integers, tensor: Tensor) -> NDArray[np.float32]:
    """Real values of codes, as ONNX's DequantizeLinear: (N, C, H, W), or of any shape where the scale is one."""
    scale = np.asarray(tensor.scale, np.float32)
    if scale.ndim:
        scale = scale.reshape(1, -1, *(1,) * (codes.ndim - 2))
    return ((codes - tensor.format.zero_point) * scale).astype(np.float32)


def all_codes(numbers: InputFormat) -> Integers:
    """Every code of a format, the smallest first: the index of a `spec.graph.Table`."""
    low, high = numbers.raw_range
    return np.arange(low, high + 1)
