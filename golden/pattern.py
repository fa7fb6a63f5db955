"""Pattern pruning: few masks of few weights for all kernels of a layer, and kernels deleted whole.

After Yu et al., "High Area/Energy Efficiency RRAM CNN Accelerator with Kernel-Reordering Weight Mapping
Scheme Based on Pattern Pruning", arXiv 2010.06156. A kernel is the KH x KW weights between one input
and one output channel, its energy the sum of their squares, a pattern the mask of the weights it keeps.
"""

import math

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]


def deleted_kernels(weights: NDArray, share: float) -> Masks:
    """Return a mask (M, C): true for the ``share`` of kernels, rounded to whole ones, of the least energy.

    Of equal kernels those that come first. ValueError: ``weights`` are not (M, C, KH, KW), or ``share``
    is out of range.
    """
    _check_weights(weights)
    if not 0 <= share < 1:
        raise ValueError(f"share of deleted kernels {share} is outside 0 .. 1, 1 excluded")
    energy = _energy(weights).sum(-1)
    deleted = np.zeros(energy.size, bool)
    deleted[np.argsort(energy, axis=None, kind="stable")[: round(share * energy.size)]] = True
    return deleted.reshape(energy.shape)


def frequent_patterns(weights: NDArray, kept: Masks, entries: int, count: int) -> Masks:
    """Return (k, KH, KW): the ``count`` most frequent masks of the ``entries`` largest magnitudes of a kernel.

    Only kernels in ``kept`` (M, C) count; k is smaller when fewer masks occur. Of equally frequent masks
    the one that keeps more energy comes first, then the smaller one, read as a binary number in row-major
    order. Of equal magnitudes in a kernel those that come first. ``entries`` beyond the size of a kernel
    keep it whole. ValueError: a shape is wrong, or ``entries`` or ``count`` is below 1.
    """
    _check_weights(weights)
    _check_kernels("kept", kept, weights)
    for name, value in (("entries", entries), ("count", count)):
        if value < 1:
            raise ValueError(f"{name} = {value} of patterns must be at least 1")
    energy = _energy(weights)[kept]
    if not len(energy):
        return np.zeros((0, *weights.shape[2:]), bool)
    order = np.argsort(-np.abs(weights.reshape(*kept.shape, -1)[kept].astype(np.float64)), axis=1, kind="stable")
    masks = np.zeros(energy.shape, bool)
    np.put_along_axis(masks, order[:, :entries], True, axis=1)
    patterns, index, times = np.unique(masks, axis=0, return_inverse=True, return_counts=True)
    energies = np.bincount(index.ravel(), weights=(energy * masks).sum(1))
    # np.unique has sorted the masks by their binary value, and lexsort is stable.
    return patterns[np.lexsort((-energies, -times))[:count]].reshape(-1, *weights.shape[2:])


def project(weights: NDArray, patterns: Masks, deleted: Masks) -> Masks:
    """Return the mask (M, C, KH, KW) of weights that stay: of each kernel the one of ``patterns`` of most energy.

    ``patterns`` are (k, KH, KW); of equally good ones the first. Kernels in ``deleted`` (M, C) keep no
    weight. ValueError: a shape is wrong, or there is no pattern for a kernel that stays.
    """
    _check_weights(weights)
    _check_kernels("deleted", deleted, weights)
    if patterns.ndim != 3 or patterns.shape[1:] != weights.shape[2:]:
        raise ValueError(f"patterns must be (k, {weights.shape[2]}, {weights.shape[3]}), not {patterns.shape}")
    if deleted.all():
        return np.zeros(weights.shape, bool)
    if not len(patterns):
        raise ValueError("there is no pattern for the kernels that are not deleted")
    best = (_energy(weights) @ patterns.reshape(len(patterns), -1).T.astype(np.float64)).argmax(-1)
    return patterns[best] & ~deleted[:, :, None, None]


def prune(weights: NDArray, patterns: int, kernel_sparsity: float, entries: int = 4) -> tuple[NDArray, Masks]:
    """Return pruned ``weights`` and the mask of those that stay, both (M, C, KH, KW).

    ``kernel_sparsity`` is the share of kernels deleted whole; the others keep one of ``patterns``
    patterns of ``entries`` weights. Kernels of no more than ``entries`` weights, 1x1 for instance, are
    only deleted or kept. ValueError: ``weights`` are not of rank 4, or a parameter is out of range.
    """
    _check_weights(weights)
    if patterns < 1:
        raise ValueError(f"patterns = {patterns} must be at least 1")
    if entries < 1:
        raise ValueError(f"entries = {entries} of a pattern must be at least 1")
    size = math.prod(weights.shape[2:])
    if entries < size and patterns > math.comb(size, entries):
        raise ValueError(
            f"patterns = {patterns}, but only {math.comb(size, entries)} keep {entries} of {size} weights of a kernel"
        )
    deleted = deleted_kernels(weights, kernel_sparsity)
    masks = project(weights, frequent_patterns(weights, ~deleted, entries, patterns), deleted)
    return np.where(masks, weights, np.zeros((), weights.dtype)), masks


def _energy(weights: NDArray) -> NDArray[np.float64]:
    """Return the squares of the weights, (M, C, KH*KW)."""
    return np.square(weights.astype(np.float64)).reshape(*weights.shape[:2], -1)


def _check_weights(weights: NDArray) -> None:
    if weights.ndim != 4 or 0 in weights.shape:
        raise ValueError(f"weights must be (M, C, KH, KW), none of them 0, not {weights.shape}")


def _check_kernels(name: str, kernels: Masks, weights: NDArray) -> None:
    if kernels.dtype != bool or kernels.shape != weights.shape[:2]:
        raise ValueError(f"{name} must be bool {weights.shape[:2]}, not {kernels.dtype} {kernels.shape}")
