"""Row lists and OUs formed of driving rows: the numbers of SRE.

After Yang et al., "Sparse ReRAM Engine: Joint Exploration of Activation and Weight Sparsity in Compressed
Neural Networks", ISCA 2019.
"""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def encode_rows(rows: Integers, length: int) -> Integers:
    """Return the differences of ascending ``rows`` (n,), the first from 0, filled up with zeros to ``length``.

    ValueError: rows do not ascend, or are more than ``length``. Row 0 can only be the first.
    """
    if len(rows) > length or (np.diff(rows) <= 0).any():
        raise ValueError(f"{len(rows)} rows must ascend and be at most {length}")
    return np.concatenate([np.diff(rows, prepend=0), np.zeros(length - len(rows), np.int64)]).astype(np.int64)


def decode_rows(differences: Integers, count: int) -> Integers:
    """Return the ``count`` rows of which `encode_rows` made ``differences``: a prefix sum."""
    return np.cumsum(differences[:count])


def rounds(bits: NDArray, ou_rows: int) -> list[Integers]:
    """Return the rows that each read drives, of one input plane's ``bits`` (rows,): the next ``ou_rows`` ones."""
    ones = np.flatnonzero(bits)
    return [ones[first : first + ou_rows] for first in range(0, len(ones), ou_rows)]
