"""Pattern pruning with kernel reordering on OUs (Yu et al., arXiv 2010.06156): area, energy and speed of VGG16.

Published: 4.16x to 5.20x, 1.98x to 2.15x and 1.15x to 1.35x over the traditional mapping; the figures by data set and
the patterns' number are recalled. Kernels are drawn as `compiler.pruned_network` says, placed, and counted.
"""

import numpy as np

from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.base.shapes import load_network
from selvage.compiler.pruned_network import Pruning, count_pruned
from selvage.mapping.dense import place_dense
from selvage.mapping.pattern import place_pattern
from selvage.papers.rows import Plot, Recomputed, Row, Tick
from selvage.papers.tiles import reads_of, tiles_in_rtl

PAPER = "pattern"
POINTS = {  # network, patterns, kernels deleted, weights of a kernel: published area, energy, speed
    "CIFAR-10": ("vgg16-cifar", Pruning(10, 0.44, 3.5), (4.67, 2.13, 1.35)),
    "CIFAR-100": ("vgg16-cifar", Pruning(14, 0.44, 3.0), (5.20, 2.15, 1.15)),
    "ImageNet": ("vgg16-imagenet", Pruning(12, 0.38, 3.5), (4.16, 1.98, 1.17)),
}
COUNTS = (4, 6, 8, 10, 12, 14, 16)
WHAT = ("area", "energy", "speed")


def reads_in_rtl() -> tuple[float, float]:
    """Return OU reads of a dense layer over those by patterns, by the formulas and from RTL; a cell a weight."""
    chip = load_chip("ou9x8").model_copy(update={"weight_bits": 1})
    layer = Layer(name="patterns", op="conv", channels=14, outputs=24, height=4, width=4, kernel=(3, 3))
    rng = np.random.default_rng(1)
    masks = np.array([[1, 1, 0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0, 1, 1]]).reshape(2, 3, 3)
    chosen, kept = rng.integers(2, size=(24, 14)), rng.random((24, 14)) < 0.56
    weights = masks[chosen] * kept[:, :, None, None]
    numbers, x = InputFormat(raw_bits=8, raw_signed=False), rng.integers(0, 256, (1, 14, 4, 4))
    counts = [int((kept[:, c] & (chosen[:, c] == k)).sum()) for c in range(14) for k in range(2)]
    law = 14 * -(-24 // chip.ou_cols) / sum(-(-count // chip.ou_cols) for count in counts)
    reads = []
    for place in (place_dense, place_pattern):
        placed = place(layer, weights, chip, input_format=numbers)
        reads.append(reads_of(tiles_in_rtl(placed, x, skip=False)))
    return law, reads[0] / reads[1]


def recompute(*, rtl: bool, tick: Tick) -> Recomputed:
    """Return the three ratios of each data set, and by the number of patterns."""
    chip, rows = load_chip("yu"), []
    for name, (network, pruning, published) in POINTS.items():
        found = count_pruned(load_network(network), chip, pruning, slices=1)
        text = (
            f"{network}, {pruning.patterns} patterns with the empty one, {pruning.kernel_sparsity:.0%} of the kernels "
            f"deleted, {pruning.weights_per_kernel} weights in the others, a cell each, ADC of 8 bits, 512 x 512 cells"
        )
        for what, figure in zip(WHAT, published, strict=True):
            rows.append(Row(PAPER, f"{name}: {what}, times better", figure, found[f"{what}_ratio"], text))
        tick()
    curves: dict[str, list[tuple[float | str, float]]] = {what: [] for what in WHAT}
    for count in COUNTS:
        found = count_pruned(load_network("vgg16-cifar"), chip, Pruning(count, 0.44, 3.5), slices=1)
        for what in WHAT:
            curves[what].append((count, found[f"{what}_ratio"]))
        tick()
    if rtl:
        law, measured = reads_in_rtl()
        text = "C * ceil(M*c/ou_cols) over sum(ceil(n*c/ou_cols)); RTL: a small layer of two patterns, every OU read"
        rows.append(Row(PAPER, "OU reads, dense over patterns", None, law, text, measured))
    title = "VGG16 on CIFAR: patterns over the dense mapping"
    return Recomputed(rows, [Plot("pattern_counts", title, "patterns, the empty one included", "times better", curves)])
