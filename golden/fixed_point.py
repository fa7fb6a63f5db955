"""Numbers of training: shifts that round, and the random bits of stochastic rounding."""

import numpy as np
from numpy.typing import NDArray

from selvage.golden.dense import Integers

LFSR_BITS = 32
LFSR_TAPS = 0x80200003
"""Of a Galois register of the greatest period: x^32 + x^22 + x^2 + x + 1 (Xilinx XAPP 052, table 3)."""


def code_range(bits: int) -> tuple[int, int]:
    """Return the smallest and the largest two's-complement code."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def shifted(values: Integers, shift: int) -> NDArray[np.int64]:
    """Return ``values / 2**shift``, halves to even. ValueError: a shift below 0."""
    if shift < 0:
        raise ValueError(f"shift = {shift} must be at least 0")
    wide = values.astype(np.int64)
    if shift == 0:
        return wide
    whole = wide >> shift
    rest, half = wide - (whole << shift), 1 << shift - 1
    return whole + ((rest > half) | ((rest == half) & (whole & 1 == 1)))


def saturated(values: Integers, bits: int) -> NDArray[np.int64]:
    """Return ``values`` clipped to codes of ``bits``."""
    return np.clip(values, *code_range(bits)).astype(np.int64)


def lfsr_after(state: int, steps: int) -> int:
    """Return the register's state after so many steps: each shifts right, and adds the taps when a one leaves."""
    for _ in range(steps):
        state = state >> 1 ^ (LFSR_TAPS if state & 1 else 0)
    return state


def random_words(state: int, count: int) -> tuple[NDArray[np.int64], int]:
    """Return ``count`` words of 32 bits and the state behind them: each word is the state, 32 steps after the last.

    ValueError: a state of 0, from which the register never moves.
    """
    if not 0 < state < 2**LFSR_BITS:
        raise ValueError(f"state = {state} must be from 1 to {2**LFSR_BITS - 1}")
    words = np.zeros(count + 1, np.int64)
    words[0], known = state, 1
    # Steps are linear over GF(2): what is known is moved as a whole, by the images of the single bits.
    images = np.array([lfsr_after(1 << bit, LFSR_BITS) for bit in range(LFSR_BITS)], np.int64)
    while known <= count:
        moved = _moved(words[: min(known, count + 1 - known)], images)
        words[known : known + len(moved)] = moved
        known, images = known + len(moved), _moved(images, images)
    return words[1:], int(words[count])


def _moved(states: NDArray[np.int64], images: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.zeros_like(states)
    for bit, image in enumerate(images.tolist()):
        found ^= np.where(states >> bit & 1, image, 0)
    return found


def shifted_randomly(values: Integers, shift: int, words: Integers) -> NDArray[np.int64]:
    """Return ``values / 2**shift``, up with the probability of what is cut off: the low bits of ``words`` decide.

    ValueError: a shift below 0 or beyond the words.
    """
    if not 0 <= shift <= LFSR_BITS:
        raise ValueError(f"shift = {shift} must be from 0 to {LFSR_BITS}")
    return (values.astype(np.int64) + (words & 2**shift - 1)) >> shift
