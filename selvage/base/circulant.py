"""Weights made of circulant blocks: each row of a block is the one before it, turned by one."""

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError

SMALLEST, LARGEST = 2, 64


def check_size(size: int) -> int:
    """Return a block size. `InputError`: it is none."""
    if not SMALLEST <= size <= LARGEST:
        raise InputError(f"--circulant {size}: a block size is {SMALLEST} to {LARGEST}")
    return size


def blocks(weights: NDArray, size: int) -> NDArray | None:
    """Return the first column of each block (I, J, size) of weights (K, M); ``None``: they are not made of such blocks.

    Weight (i * size + a, j * size + b) is number (b - a) mod size of block (i, j).
    """
    rows, columns = (side // size for side in weights.shape)
    if weights.shape != (rows * size, columns * size):
        return None
    cut = weights.reshape(rows, size, columns, size)
    own = cut[:, 0]  # of row 0: number b
    turned = (np.arange(size) - np.arange(size)[:, None]) % size
    return own if (cut == own[:, :, turned].transpose(0, 2, 1, 3)).all() else None


def averaged(weights: NDArray, size: int) -> NDArray:
    """Return the block-circulant weights (K, M) nearest to some: the mean of each block's diagonals."""
    rows, columns = (side // size for side in weights.shape)
    cut = weights.reshape(rows, size, columns, size)
    place = np.arange(size)
    own = np.stack([cut[:, place, :, (place + d) % size].mean(axis=0) for d in range(size)], axis=-1)  # (I, J, size)
    turned = (place - place[:, None]) % size
    return own[:, :, turned].transpose(0, 2, 1, 3).reshape(weights.shape).astype(weights.dtype)
