"""From sums to codes: the rounding of every output stage.

A sum is worth an exact fraction of a code: the input scale times the weight scale over the output scale, all of them
float32, and over the area of the window for a mean. That fraction stays exact until it becomes an integer factor over a
power of two. Where it is no binary fraction the factor is off by half its last place, which only matters for halves; so
products within that error of a half are taken for the half (`Requantization.tie_bits`), and halves go where exact
arithmetic sends them.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.base.graph import LINEAR, Activation, Integers, Tensor
from selvage.base.layer import InputFormat
from selvage.base.requantization import MULTIPLIER_BITS, Requantization

HALF_REACH = 2.0**-40  # relative: far beyond float64's error, far below any other distance of codes of 8 bits
PRODUCT_BITS = 60  # of a sum times its factor: what is added to it stays within int64


def requantization(
    ratios: Sequence[Fraction],
    to: Tensor,
    *,
    largest: int,
    bias: Sequence[int] = (0,),
    activation: Activation = LINEAR,
    zero_first: bool = False,
) -> Requantization:
    """Return the requantisation of sums, one of which is worth ``ratios`` (M,) or (1,) steps of ``to``.

    ``largest``: the magnitude that no sum with its bias exceeds. `InputError`: one unit of a sum is worth so many steps
    that no factor holds it.
    """
    slopes = [exact(slope) for slope in activation.slopes]
    if len(slopes) > 1 and len(ratios) == 1:
        ratios = list(ratios) * len(slopes)
    both = _with_slopes(ratios, slopes) if activation.bends else ratios
    factors, shift, tie_bits = integer_factors(both, largest)
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
        tie_bits=tie_bits,
    )


def _with_slopes(ratios: Sequence[Fraction], slopes: Sequence[Fraction]) -> list[Fraction]:
    """Return the ratios of sums from 0 up and then those of sums below 0.

    Where a ratio is below 0 itself, sums from 0 up have the values that the slope is for. Ratios may be those of
    several pixels of each channel, channel by channel.
    """
    pixels = len(ratios) // len(slopes)
    steep = [ratio * slopes[k // pixels] for k, ratio in enumerate(ratios)]
    pairs = [(bent, ratio) if ratio < 0 else (ratio, bent) for ratio, bent in zip(ratios, steep, strict=True)]
    return [above for above, _ in pairs] + [bent for _, bent in pairs]


def exact(value: float | np.floating | NDArray[np.floating]) -> Fraction:
    """Return a scale as the fraction that its binary digits are.

    ValueError: it is not finite.
    """
    return Fraction(float(value))


def steps_of(source: float | np.floating | NDArray[np.floating], to: Tensor) -> Fraction:
    """Return how many steps of ``to`` one unit worth ``source`` is.

    `InputError`: a scale is not positive and finite.
    """
    check_scale(to)
    return exact(source) / exact(np.float32(to.scale))


def check_scale(tensor: Tensor) -> None:
    """Raise `InputError` unless every scale is positive and finite."""
    for scale in np.atleast_1d(tensor.scale):
        if not (np.isfinite(scale) and scale > 0):
            raise InputError(f"tensor {tensor.name!r} has the scale {scale}, and must have a positive one")


def integer_factors(ratios: Sequence[Fraction], largest: int, terms: int = 1) -> tuple[tuple[int, ...], int, int]:
    """Return factors, their common shift and ``tie_bits``.

    ``ratio = factor / 2**shift`` to half the factor's last place.

    They are exact, and as small as can be, where all ratios are binary fractions of few bits; otherwise they have as
    many bits as a factor may, and a product of ``largest`` one less. ``terms`` products are added before rounding.
    `InputError`: a ratio is too great.
    """
    top = max(abs(ratio) for ratio in ratios)
    if top == 0:
        return (0,) * len(ratios), 0, 0
    bits = min(MULTIPLIER_BITS, PRODUCT_BITS - (largest * terms).bit_length())
    shift = max(ratio.denominator for ratio in ratios).bit_length() - 1
    if all(ratio.denominator.bit_count() == 1 for ratio in ratios) and top * 2**shift < 2**bits:
        return tuple(int(ratio * 2**shift) for ratio in ratios), shift, 0
    shift = bits - _bit_length(top)
    if shift < 0:
        raise InputError(f"one unit of a sum is worth {float(top):g} codes, and must be worth less than 2**{bits}")
    factors = tuple(min(round(ratio * 2**shift), 2**bits - 1) for ratio in ratios)
    off = max(abs(factor - ratio * 2**shift) for factor, ratio in zip(factors, ratios, strict=True))
    denominators = {ratio.denominator for ratio in ratios}
    if terms > 1:
        denominators = {math.lcm(*denominators)}
    halved = [denominator for denominator in denominators if denominator % 2 == 0 and denominator <= 2 * largest**terms]
    return factors, shift, _tie_bits(halved, off * largest * terms, shift)


def _bit_length(value: Fraction) -> int:
    """Return the least n for which ``value < 2**n``; it is below 0 for small values."""
    length = value.numerator.bit_length() - value.denominator.bit_length()
    return length + 1 if value >= Fraction(2) ** length else length


def _tie_bits(denominators: Sequence[int], error: Fraction, shift: int) -> int:
    """Return the bits of the distance from a half within which products are that half; 0 where none is safe.

    A sum times a ratio is a half only where the ratio's denominator is even, and no more than twice the sum: those
    are the ``denominators``. All other products are at least ``1 / (2 * denominator)`` away from every half.
    """
    bits = int(error).bit_length() + 1
    apart = min((Fraction(2**shift, 2 * denominator) for denominator in denominators), default=Fraction())
    return bits if apart > error + 2 ** (bits - 1) else 0


def code_bounds(to: Tensor, activation: Activation = LINEAR) -> tuple[int, int]:
    """Return the smallest and the largest value of ``to`` behind an activation."""
    bounds = to.format.raw_range
    limits = [int(quantise(np.float32(value), to)) for value in (activation.low, activation.high)]
    return max(bounds[0], limits[0]), min(bounds[1], limits[1])


def requantize(sums: Integers, r: Requantization) -> Integers:
    """Return ``sums`` (N, M, ...) requantised channel by channel.

    OverflowError: a product could leave int64.
    """

    def spread(values: tuple[int, ...]) -> Integers:
        one_a_pixel = len(values) > max(sums.shape[1], 1)
        return np.array(values, np.int64).reshape(sums.shape[1:] if one_a_pixel else (-1, *(1,) * (sums.ndim - 2)))

    total = sums.astype(np.int64) + spread(r.bias)
    factors = np.where(total < 0, spread(r.below), spread(r.factors)) if r.below else spread(r.factors)
    if total.size and int(np.abs(total).max()) * max(abs(f) for f in (*r.factors, *r.below)) >= 2**62:
        raise OverflowError("a product of a sum and its factor could leave int64")
    return finished(total * factors, r)


def finished(products: Integers, r: Requantization) -> Integers:
    """Return the quantised values of sums times their factors."""
    return np.clip(rounded(products, r) + r.zero_point, r.low, r.high)


def rounded(products: Integers, r: Requantization) -> Integers:
    """Return ``products / 2**shift``, rounded to the nearest.

    Halves go to the even number, or to the odd one (`Requantization.halves_to_odd`).
    """
    if r.shift == 0:
        return products
    if r.shift > 62:
        return np.zeros_like(products)
    # Half a unit less its last place, and that place where the quotient is of the other parity.
    return (products + r.halfway + ((products >> r.shift & 1 ^ r.halves_to_odd) << r.tie_bits)) >> r.shift


def quantise(values: NDArray[np.float32] | np.float32, to: Tensor) -> Integers:
    """Return real values quantised as ONNX's QuantizeLinear does: float32, halves to even, saturated."""
    low, high = to.format.raw_range
    codes = np.rint(np.asarray(values, np.float32) / np.float32(to.scale)) + to.format.zero_point
    return np.clip(codes, low, high).astype(np.int64)


def nearest(steps: NDArray[np.float64], zero_point: int, zero_first: bool = False) -> NDArray[np.float64]:
    """Return numbers of steps rounded, with the zero point.

    What float64 has made of a half counts as that half.
    """
    moved = steps + zero_point if zero_first else steps
    halves = np.rint(moved * 2) / 2
    whole = np.rint(np.where(np.abs(moved - halves) <= HALF_REACH * np.maximum(np.abs(moved), 1), halves, moved))
    return whole if zero_first else whole + zero_point


def dequantise(codes: Integers, tensor: Tensor) -> NDArray[np.float32]:
    """Return the real values of ``codes`` as ONNX's DequantizeLinear has them.

    ``codes`` are (N, C, H, W), or of any shape where there is one scale.
    """
    scale = np.asarray(tensor.scale, np.float32)
    if scale.ndim:
        scale = scale.reshape(1, -1, *(1,) * (codes.ndim - 2))
    return ((codes - tensor.format.zero_point) * scale).astype(np.float32)


def all_codes(numbers: InputFormat) -> Integers:
    """Return every value of a format, the smallest first: the index of a `base.graph.Table`."""
    low, high = numbers.raw_range
    return np.arange(low, high + 1)
