"""SME (Liu et al., arXiv 2103.01705): crossbars saved by squeezed planes, beside every baseline.

Published are 8.7x for ResNet-50 and 2.1x for MobileNet-v2, without the baseline's precision. Weights are drawn
(Laplace) on the networks' shapes; a trained network's accuracy is in ``python -m bench.sme``.
"""

import numpy as np

from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.base.shapes import load_network
from selvage.compiler.shapes import BASELINES, Synthetic, count_network
from selvage.golden.layer import evaluate
from selvage.mapping.sme import SmeParameters, place_sme
from selvage.papers.rows import Plot, Recomputed, Row, Tick
from selvage.papers.tiles import tiles_in_rtl

PAPER = "SME"
PUBLISHED = {"resnet50": 8.7, "mobilenet-v2": 2.1}
SQUEEZES = range(5)
NAMES = {"slc8": "8-bit SLC", "slc16": "16-bit SLC", "slc32": "32-bit SLC", "isaac": "ISAAC (16 bits on 2-bit cells)"}


def conversions(squeeze: int) -> float:
    """Return the conversions of a small layer with so many planes squeezed, from RTL, over those without."""
    chip = load_chip("ou9x8")
    layer = Layer(name="squeezed", op="conv", channels=14, outputs=8, height=4, width=4, kernel=(3, 3))
    rng = np.random.default_rng(1)
    words = rng.choice([1, 2, 3, 5, 7], layer.weight_shape) << rng.integers(0, 6, layer.weight_shape)
    words *= rng.choice([-1, 1], layer.weight_shape)
    numbers, x = InputFormat(raw_bits=8, raw_signed=False), rng.integers(0, 256, (1, 14, 4, 4))
    found = []
    for own in (0, squeeze):
        placed, effective = place_sme(layer, words, chip, input_format=numbers, parameters=SmeParameters(3, own))
        runs = tiles_in_rtl(placed, x, skip=False)
        y = sum(run.y for run in runs)
        assert np.array_equal(y, evaluate(layer, x, effective)), "RTL does not compute the squeezed weights"
        found.append(sum(run.counters["conversions"] for run in runs))
    return found[1] / found[0]


def recompute(*, rtl: bool, tick: Tick) -> Recomputed:
    """Return the ratios of crossbars, by network, baseline and squeeze."""
    chip, rows, plots = load_chip("ou9x8"), [], []
    for name, published in PUBLISHED.items():
        layers, curves, error = load_network(name), {}, 0.0
        for squeeze in SQUEEZES:
            own = count_network(layers, chip, "sme", SmeParameters(squeeze=squeeze, compact=True), Synthetic())
            for baseline in BASELINES:
                curves.setdefault(NAMES[baseline], []).append((squeeze, own["ratios"][baseline]))
            error = own["sqnr_db"]
            tick()
        for label, points in curves.items():
            reached = [squeeze for squeeze, ratio in points if ratio >= published]
            where = f"reached at x = {reached[0]}" if reached else "not reached"
            text = f"x = {SQUEEZES[-1]} planes squeezed, row lists, {error:.1f} dB of the weights; {where}"
            rows.append(Row(PAPER, f"{name}: dense {label} over SME, crossbars", published, points[-1][1], text))
        title = f"{name}: crossbars of dense mappings over SME's"
        plots.append(Plot(f"sme_{name}", title, "planes squeezed", "times fewer", curves))
    for squeeze in SQUEEZES[1:]:
        law = (8 - squeeze) * (8 + squeeze) / 64
        text = "(N-x)(B+x)/(N*B), for N = B = 8; RTL: a small layer, every OU read"
        measured = conversions(squeeze) if rtl else None
        rows.append(Row(PAPER, f"conversions with x = {squeeze} over x = 0", None, law, text, measured))
        tick()
    return Recomputed(rows, plots)
