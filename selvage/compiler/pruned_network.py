"""`selvage model shapes:NAME --mapping pattern`: a synthetic pruned network, placed and counted.

Kernels have a log-normal scale, so that whole kernels are weak, as in trained networks; those of least
energy are deleted in each input channel, the others keep one of a few patterns, pattern j of them drawn
with a probability proportional to ``j**-0.7``. The first layer is not pruned as far: 3 patterns of 6 weights.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import Layer
from selvage.mapping.packing import check_signs_apart
from selvage.mapping.pattern import PatternCounts, pattern_blocks, shelves
from selvage.mapping.rows import row_sets
from selvage.mapping.schedule import choose, sweep_of, taps_of
from selvage.sim.energy import ReadEnergy

FALL = 0.7  # exponent of the frequency of patterns
FIRST = (3, 6)  # patterns and weights a kernel of the first layer


@dataclass(frozen=True)
class Pruning:
    """How kernels are pruned. ``patterns`` counts the empty one: ``patterns - 1`` kinds of kernels are stored."""

    patterns: int = 10
    kernel_sparsity: float = 0.44
    weights_per_kernel: float = 3.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.patterns < 2:
            raise InputError(f"--patterns {self.patterns} is below 2: the empty pattern is one of them")
        if not 0 <= self.kernel_sparsity < 1:
            raise InputError(f"--kernel-sparsity {self.kernel_sparsity} is outside 0 .. 1, 1 excluded")
        if not 1 <= self.weights_per_kernel < float("inf"):
            raise InputError(f"--weights-per-kernel {self.weights_per_kernel} is not a number of at least 1")

    def masks(self, layer: Layer, index: int) -> NDArray[np.bool_]:
        """Draw which weights of layer ``index``, a convolution, stay: of ``layer.weight_shape``."""
        rng = np.random.default_rng([self.seed, index])
        m, c, *kernel = layer.weight_shape
        size = int(np.prod(kernel))
        if index == 0:
            kinds, weights, sparsity = FIRST[0], float(FIRST[1]), 0.0
        else:
            kinds, weights, sparsity = self.patterns - 1, self.weights_per_kernel, self.kernel_sparsity
        chosen = rng.choice(kinds, (m, c), p=_frequencies(kinds))
        masks = _patterns(kinds, min(weights, float(size)), size, rng)[chosen].reshape(m, c, *kernel)
        energy = rng.lognormal(0, 1, (m, c)) * rng.chisquare(4, (m, c))
        deleted = np.argsort(energy, axis=0)[: round(sparsity * m)]
        np.put_along_axis(masks.reshape(m, c, -1), deleted[:, :, None], False, axis=0)
        return masks


def _frequencies(kinds: int) -> NDArray[np.float64]:
    shares = np.arange(1, kinds + 1) ** -FALL
    return shares / shares.sum()


def _patterns(kinds: int, weights: float, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw different masks (kinds, size) whose mean size, weighted by frequency, is about ``weights``."""
    low, shares = int(weights), _frequencies(kinds)
    sizes, mean = np.full(kinds, low), float(low)
    for kind in np.argsort(-shares, kind="stable"):  # larger ones as long as the mean allows
        if mean + shares[kind] <= weights + 1e-9:
            sizes[kind], mean = low + 1, mean + shares[kind]
    found: dict[bytes, NDArray[np.bool_]] = {}
    for number in sizes.tolist():
        for _ in range(1000):
            mask = np.zeros(size, bool)
            mask[rng.choice(size, number, replace=False)] = True
            if mask.tobytes() not in found:
                break
        else:
            raise InputError(f"there are no {kinds} different patterns of {number} of {size} weights")
        found[mask.tobytes()] = mask
    return np.stack(list(found.values()))


@dataclass(frozen=True)
class LayerPattern:
    """One layer: what is placed, and what the dense mapping takes; for one step and input plane."""

    name: str
    steps: int
    pattern: dict[str, int]
    dense: dict[str, int]
    used: int  # cells of the shelves, one polarity


def dense_counts(layer: Layer, slices: int, chip: Chip) -> PatternCounts:
    """Count the traditional mapping: the rows of each input channel's kernels are OUs, all cells are stored.

    ``C * ceil(M * slices / ou_cols)`` reads for kernels of at most ``ou_rows`` weights.
    """
    size, columns = layer.kernel[0] * layer.kernel[1], layer.outputs * slices
    channels = layer.channels // layer.groups
    groups = channels * -(-size // chip.ou_rows)
    arrays = -(-size * channels // chip.rows) * -(-columns // chip.columns)
    reads = groups * -(-columns // chip.ou_cols)
    cells = size * channels * columns
    return PatternCounts(reads, groups * columns, cells, channels * size * -(-columns // chip.ou_cols), arrays, 0)


def prunable(layer: Layer) -> bool:
    """Return whether patterns prune a layer: they do convolutions in one group, but 1x1 ones."""
    return layer.op == "conv" and layer.kernel != (1, 1) and layer.groups == 1


def check_pruned(layers: list[Layer], chip: Chip, pruning: Pruning, slices: int) -> None:
    """Raise `InputError` when `count_pruned` cannot be asked this."""
    check_signs_apart("pattern", chip, "auto")
    if slices < 1 or chip.ou_cols % slices:
        raise InputError(f"--cells-per-weight {slices} does not divide ou_cols = {chip.ou_cols} of chip {chip.name}")
    if not any(map(prunable, layers)):
        raise InputError("the network has no convolution that patterns could prune")
    for size in sorted({layer.kernel[0] * layer.kernel[1] for layer in layers[1:] if prunable(layer)}):
        if pruning.weights_per_kernel > size:
            raise InputError(
                f"--weights-per-kernel {pruning.weights_per_kernel} is more than a kernel's {size} weights"
            )
        most = comb(size, int(min(pruning.weights_per_kernel, size)))
        if pruning.patterns - 1 > most:
            raise InputError(
                f"--patterns {pruning.patterns}: a kernel of {size} weights has only {most} patterns of "
                f"{int(pruning.weights_per_kernel)}, and the empty one"
            )


def count_pruned(
    layers: list[Layer], chip: Chip, pruning: Pruning, *, slices: int, tick: Callable[[], None] = lambda: None
) -> dict:
    """Return ratios of dense to pattern mapping over all convolutions but 1x1 ones, each from its placement.

    ``area_ratio`` cells, pooled; ``crossbar_ratio`` whole arrays; ``speed_ratio`` OU reads and
    ``energy_ratio`` energy of reads, both weighted by steps; ``packing`` cells stored over cells of the
    shelves that hold them, ``crossbar_packing`` over those of whole arrays. ``slices`` cells a weight. Layers
    that are not `prunable` are left out, by name.
    """
    check_pruned(layers, chip, pruning, slices)
    lines, skipped = [], [layer.name for layer in layers if not prunable(layer)]
    for index, layer in enumerate(layers):
        if prunable(layer):
            lines.append(_count(layer, index, chip, pruning, slices))
        tick()
    total = {
        kind: {
            key: sum(
                getattr(line, kind)[key] * (1 if key in ("cells", "arrays", "index_bits") else line.steps)
                for line in lines
            )
            for key in lines[0].dense
        }
        | {"cell_reads": sum(getattr(line, kind)["cells"] * line.steps for line in lines)}
        for kind in ("dense", "pattern")
    }
    energy = {k: ReadEnergy().of(t["conversions"], t["driven"], t["cell_reads"]) for k, t in total.items()}
    ratio = {key: round(total["dense"][key] / total["pattern"][key], 4) for key in ("cells", "arrays", "reads")}
    return {
        "area_ratio": ratio["cells"],
        "crossbar_ratio": ratio["arrays"],
        "speed_ratio": ratio["reads"],
        "energy_ratio": round(energy["dense"] / energy["pattern"], 4),
        "conversion_ratio": round(total["dense"]["conversions"] / total["pattern"]["conversions"], 4),
        "packing": round(total["pattern"]["cells"] / sum(line.used for line in lines), 4),
        "crossbar_packing": round(
            total["pattern"]["cells"] / (total["pattern"]["arrays"] * chip.rows * chip.columns), 4
        ),
        "index_bits": total["pattern"]["index_bits"],
        "skipped": skipped,
        "chip": chip.name,
        "mapping": "pattern",
        "cells_per_weight": slices,
        "pruning": asdict(pruning),
        "layers": [asdict(line) for line in lines],
    }


def _count(layer: Layer, index: int, chip: Chip, pruning: Pruning, slices: int) -> LayerPattern:
    schedule = choose(layer, "auto")
    sweep, taps = sweep_of(layer, schedule), taps_of(layer, schedule)
    sets = row_sets(layer, pruning.masks(layer, index), taps, sweep, 0)
    blocks = pattern_blocks(sets, chip)
    places = list(shelves(blocks, slices, chip))
    counts = PatternCounts.of(layer, blocks, places, slices, chip)
    heights = {(place.array, place.row): len(place.block.taps) for place in places}
    last = max(heights)
    width = max(place.column // chip.ou_cols for place in places if (place.array, place.row) == last) + 1
    used = (sum(heights.values()) - heights[last]) * chip.columns + heights[last] * width * chip.ou_cols
    steps = sweep.count
    return LayerPattern(layer.name, steps, asdict(counts), asdict(dense_counts(layer, slices, chip)), used)
