"""Integer dense layer, and the operand rules that the other golden functions share."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Integers = NDArray[np.integer[Any]]


def check_operand(name: str, operand: Integers, axes: str) -> None:
    """Raise unless ``operand`` has an integer dtype and one non-empty dimension for each of ``axes``.

    TypeError: the dtype is not an integer one. ValueError: wrong rank, or an empty dimension.
    """
    if not np.issubdtype(operand.dtype, np.integer):
        raise TypeError(f"{name} must be of an integer dtype, not {operand.dtype}")
    if operand.ndim != len(axes.split(", ")):
        raise ValueError(f"{name} must have the dimensions ({axes}), not the shape {operand.shape}")
    if 0 in operand.shape:
        raise ValueError(f"{name} must have no empty dimension, not the shape {operand.shape}")


def exact_dtype(x: Integers, w: Integers, terms: int) -> DTypeLike:
    """Return the fastest dtype in which sums of up to ``terms`` products of ``x`` and ``w`` are exact.

    OverflowError: such a sum could leave int64.
    """
    bound = math.prod((terms, *(max(-int(a.min()), int(a.max())) for a in (x, w))))
    if bound >= 2**63:
        raise OverflowError(f"a sum of {terms} products could reach {bound}, beyond int64")
    # Every partial sum, in any order, is an integer below 2**53, which float64 holds exactly; NumPy
    # multiplies float64 matrices many times faster than int64 ones.
    return np.float64 if bound < 2**53 else np.int64


def dense(x: Integers, w: Integers) -> NDArray[np.int64]:
    """Return ``y[n, m] = sum over c of x[n, c] * w[c, m]``, (N, M), of ``x`` (N, C) and ``w`` (C, M).

    TypeError: an operand is not of integers. ValueError: wrong rank, or the channels differ.
    OverflowError: a sum could leave int64.
    """
    check_operand("x", x, "N, C")
    check_operand("w", w, "C, M")
    if x.shape[1] != w.shape[0]:
        raise ValueError(f"x has {x.shape[1]} channels, but w has {w.shape[0]}")
    dtype = exact_dtype(x, w, terms=w.shape[0])
    return (x.astype(dtype) @ w.astype(dtype)).astype(np.int64)
