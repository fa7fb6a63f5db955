"""Weights of few significant bits, and bit planes squeezed out of them: the numbers of SME.

After Liu et al., "SME: ReRAM-based Sparse-Multiplication-Engine to Squeeze-Out Bit Sparsity of Neural
Network", arXiv 2103.01705. Codes are sign and magnitude, magnitudes of ``bits`` bits.
"""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def codewords(bits: int, significant: int) -> Integers:
    """Return ascending the magnitudes of at most ``significant`` consecutive bits from the leading one on.

    ``{0} U {m << k : 1 <= m < 2**significant, 0 <= k <= bits - significant}``: there are
    ``2**(significant - 1) * (bits - significant + 2)`` of them. Raises `ValueError` unless
    ``1 <= significant <= bits``.
    """
    if not 1 <= significant <= bits:
        raise ValueError(f"significant bits {significant} are outside 1 .. {bits}, the bits of a weight")
    mantissas = np.arange(2**significant)
    return np.unique(mantissas[:, None] << np.arange(bits - significant + 1))


def quantise(weights: NDArray, bits: int, significant: int, scale: float | NDArray = 1.0) -> Integers:
    """Return the nearest codeword of each weight over ``scale``, with its sign; the shape is that of ``weights``.

    There is one ``scale``, or one a channel.

    Larger magnitudes become the largest codeword; halfway between two is the larger.
    """
    words = codewords(bits, significant)
    # Thresholds lie halfway between integers, so twice the magnitude, cut off, decides.
    halves = np.arange(2 * int(words[-1]) + 1)
    table = words[np.searchsorted(words[:-1] + words[1:], halves, side="right")]
    index = np.minimum(np.abs(weights) * (2 / scale), halves[-1]).astype(np.intp)
    return np.where(weights < 0, -table[index], table[index])


def full_scale(weights: NDArray, bits: int, significant: int) -> float:
    """Return the scale with which the largest magnitude becomes the largest codeword; 1 for zeros alone."""
    largest = float(np.max(np.abs(weights), initial=0.0))
    return largest / float(codewords(bits, significant)[-1]) if largest else 1.0


def row_shifts(codes: Integers, bits: int, squeeze: int) -> Integers:
    """Return ``s_r`` (rows,): the places by which each row of ``codes`` (rows, columns) must move down.

    ``max(0, e_r + 1 - (bits - squeeze))`` with ``e_r`` the leading one of the row's largest magnitude.
    Raises `ValueError` unless ``0 <= squeeze < bits``.
    """
    if not 0 <= squeeze < bits:
        raise ValueError(f"squeeze {squeeze} is outside 0 .. {bits - 1}, all planes but one")
    largest = np.abs(codes).max(axis=1, initial=0)
    return np.maximum(0, np.frexp(largest.astype(np.float64))[1] - (bits - squeeze)).astype(np.int64)


def squeezed(codes: Integers, bits: int, squeeze: int, *, truncate: bool = False) -> tuple[Integers, Integers]:
    """Return codes (rows, columns) and shifts (rows,): rows moved down until the top ``squeeze`` planes are empty.

    ``min((|q| + half) >> s_r, 2**(bits - squeeze) - 1)`` with the sign of q; ``half`` is 2**(s_r - 1)
    where a row moves, 0 with ``truncate``. A row's input, shifted up by ``s_r``, makes up for it.
    """
    shifts = row_shifts(codes, bits, squeeze)
    half = 0 if truncate else np.where(shifts > 0, 1 << np.maximum(shifts - 1, 0), 0)[:, None]
    magnitudes = np.minimum((np.abs(codes) + half) >> shifts[:, None], 2 ** (bits - squeeze) - 1)
    return np.where(codes < 0, -magnitudes, magnitudes), shifts


def product(activations: Integers, codes: Integers, shifts: Integers) -> Integers:
    """Return ``sum_r (a_r << s_r) * q[r, j]``, (n, columns), of activations (n, rows) and codes (rows, columns)."""
    return (activations << shifts) @ codes


def sqnr_db(weights: NDArray, approximated: NDArray) -> float:
    """Return signal over quantisation noise in dB; infinite where nothing was lost."""
    noise = float(np.square(weights - approximated, dtype=np.float64).sum())
    signal = float(np.square(weights, dtype=np.float64).sum())
    return float(10 * np.log10(signal / noise)) if noise and signal else float("inf")
