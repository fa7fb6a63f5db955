"""Pattern pruning against plain loops over single weights."""

from collections import defaultdict
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selvage.golden.pattern import deleted_kernels, frequent_patterns, project, prune

Array = NDArray[Any]
Pattern = tuple[int, ...]

SHAPES = [
    (1, 1, 1, 1),
    (3, 4, 1, 1),
    (5, 3, 3, 3),
    (16, 8, 3, 3),
    (4, 6, 2, 2),
    (3, 2, 5, 4),
    (2, 3, 1, 3),
    (2, 2, 8, 9),
]


def draw(shape: tuple[int, ...], seed: int) -> Array:
    """Few different integers: ties abound, and sums of squares are exact in any order."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


def energy(kernel: Array, pattern: Pattern) -> int:
    return sum(int(weight) ** 2 for weight, stays in zip(kernel.ravel(), pattern, strict=True) if stays)


def loop_deleted(weights: Array, share: float) -> set[tuple[int, int]]:
    whole = (1,) * weights[0, 0].size
    kernels = [(energy(weights[m, c], whole), m, c) for m, c in product(*map(range, weights.shape[:2]))]
    return {(m, c) for _, m, c in sorted(kernels)[: round(share * len(kernels))]}


def loop_patterns(weights: Array, deleted: set[tuple[int, int]], entries: int, count: int) -> list[Pattern]:
    times: dict[Pattern, int] = defaultdict(int)
    energies: dict[Pattern, int] = defaultdict(int)
    for m, c in product(*map(range, weights.shape[:2])):
        if (m, c) not in deleted:
            flat = weights[m, c].ravel()
            largest = sorted(range(len(flat)), key=lambda i: (-abs(flat[i]), i))[:entries]
            pattern = tuple(int(i in largest) for i in range(len(flat)))
            times[pattern] += 1
            energies[pattern] += energy(flat, pattern)
    return sorted(times, key=lambda p: (-times[p], -energies[p], p))[:count]


def loop_masks(weights: Array, deleted: set[tuple[int, int]], patterns: list[Pattern]) -> Array:
    masks = np.zeros(weights.shape, bool)
    for m, c in product(*map(range, weights.shape[:2])):
        if (m, c) not in deleted:
            best = max(patterns, key=lambda p: energy(weights[m, c], p))
            masks[m, c] = np.reshape(best, weights.shape[2:])
    return masks


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("share", "entries", "count"), [(0, 1, 1), (0.3, 2, 3), (0.45, 4, 8), (0.9, 9, 2)])
def test_equals_loops(shape: tuple[int, ...], share: float, entries: int, count: int) -> None:
    for seed in range(5):
        weights = draw(shape, seed)
        deleted = deleted_kernels(weights, share)
        expected = loop_deleted(weights, share)
        assert {(int(m), int(c)) for m, c in np.argwhere(deleted)} == expected
        patterns = frequent_patterns(weights, ~deleted, entries, count)
        assert patterns.shape[1:] == shape[2:]
        rows = [tuple(map(int, pattern)) for pattern in patterns.reshape(len(patterns), weights[0, 0].size)]
        assert rows == loop_patterns(weights, expected, entries, count)
        masks = project(weights, patterns, deleted)
        np.testing.assert_array_equal(masks, loop_masks(weights, expected, rows))


def test_keeps_most_energy_of_all_patterns() -> None:
    """With every pattern to choose from, a kernel of 9 weights keeps its 4 largest."""
    weights = np.random.default_rng(1).standard_normal((6, 5, 3, 3))
    patterns = np.zeros((126, 9), bool)
    for row, kept in zip(patterns, combinations(range(9), 4), strict=True):
        row[list(kept)] = True
    masks = project(weights, patterns.reshape(-1, 3, 3), np.zeros((6, 5), bool))
    kept = np.where(masks, np.abs(weights), 0).reshape(30, 9)
    np.testing.assert_array_equal(np.sort(kept)[:, 5:], np.sort(np.abs(weights).reshape(30, 9))[:, 5:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8])
def test_prune(dtype: type) -> None:
    weights = np.random.default_rng(2).integers(1, 100, (32, 16, 3, 3)).astype(dtype)
    given = weights.copy()
    pruned, masks = prune(weights, patterns=8, kernel_sparsity=0.45)
    np.testing.assert_array_equal(weights, given)
    assert pruned.dtype == dtype
    np.testing.assert_array_equal(pruned, weights * masks)
    kept = masks.any((2, 3))
    assert kept.size - kept.sum() == round(0.45 * kept.size)
    assert (masks[kept].sum((1, 2)) == 4).all()
    assert len(np.unique(masks[kept], axis=0)) == 8


@pytest.mark.parametrize("shape", [(8, 5, 1, 1), (8, 5, 2, 2), (8, 5, 1, 3)])
def test_small_kernels_stay_whole(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(3).standard_normal(shape)
    masks = prune(weights, patterns=8, kernel_sparsity=0.25)[1]
    np.testing.assert_array_equal(masks, np.broadcast_to(masks[:, :, :1, :1], shape))
    assert masks[:, :, 0, 0].sum() == 30


def test_every_kernel_deleted() -> None:
    """A share below 1 may round to all kernels of a small layer."""
    pruned, masks = prune(np.ones((1, 2, 3, 3)), patterns=1, kernel_sparsity=0.9)
    assert not masks.any() and not pruned.any()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"patterns": 0}, "patterns = 0 must be at least 1"),
        ({"patterns": 127}, "patterns = 127, but only 126 keep 4 of 9 weights"),
        ({"patterns": 10, "entries": 8}, "patterns = 10, but only 9 keep 8 of 9 weights"),
        ({"kernel_sparsity": 1}, "1 is outside 0 .. 1"),
        ({"kernel_sparsity": -0.1}, "-0.1 is outside 0 .. 1"),
        ({"kernel_sparsity": float("nan")}, "nan is outside 0 .. 1"),
        ({"entries": 0}, "entries = 0 of a pattern must be at least 1"),
        ({"weights": np.ones((2, 9))}, r"weights must be \(M, C, KH, KW\).* not \(2, 9\)"),
        ({"weights": np.ones((0, 1, 3, 3))}, r"none of them 0, not \(0, 1, 3, 3\)"),
    ],
)
def test_prune_parameters(change: dict[str, Any], rule: str) -> None:
    parameters = {"weights": np.ones((2, 2, 3, 3)), "patterns": 8, "kernel_sparsity": 0.5, **change}
    with pytest.raises(ValueError, match=rule):
        prune(**parameters)


def test_shapes_must_agree() -> None:
    weights, kernels = np.ones((2, 3, 3, 3)), np.zeros((2, 3), bool)
    with pytest.raises(ValueError, match=r"kept must be bool \(2, 3\), not bool \(3, 2\)"):
        frequent_patterns(weights, kernels.T, 4, 8)
    with pytest.raises(ValueError, match="count = 0"):
        frequent_patterns(weights, ~kernels, 4, 0)
    with pytest.raises(ValueError, match=r"deleted must be bool \(2, 3\), not int64 \(2, 3\)"):
        project(weights, np.ones((1, 3, 3), bool), kernels.astype(np.int64))
    with pytest.raises(ValueError, match=r"patterns must be \(k, 3, 3\), not \(1, 2, 2\)"):
        project(weights, np.ones((1, 2, 2), bool), kernels)
    with pytest.raises(ValueError, match="no pattern for the kernels"):
        project(weights, np.ones((0, 3, 3), bool), kernels)
