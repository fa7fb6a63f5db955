"""SRE (Yang et al., ISCA 2019): row lists and OUs formed of the rows that drive.

Published: up to 42.3x faster, 13.1x on average, 85.3 % less energy on average. The networks' weights are not public;
here a layer of 512 inputs has whole rows of zeros, as structured pruning leaves them; half of its activations are zero,
the others half a bell.
"""

import numpy as np

from selvage.base.chip import Chip, load_chip
from selvage.base.costs import load_costs
from selvage.base.layer import InputFormat, Layer
from selvage.compiler.cost import way_of
from selvage.compiler.shape_cycles import Activations
from selvage.mapping.dense import place_dense
from selvage.mapping.sre import place_sre
from selvage.papers.rows import Plot, Recomputed, Row, Tick
from selvage.papers.tiles import reads_of, tiles_in_rtl

PAPER = "SRE"
FORMAT = InputFormat(raw_bits=8, raw_signed=False)
SPARSITIES = (0.0, 0.3, 0.5, 0.7, 0.9)
PUBLISHED = "13.1 on average, up to 42.3"


def chips() -> dict[str, Chip]:
    """Return single-level cells in OUs of 9x8, and cells of two bits in OUs of 16x16."""
    own = load_chip("ou9x8")
    return {
        "9x8, SLC": own,
        "16x16, 2-bit cells": own.model_copy(
            update={"name": "ou16x16", "cell_bits": 2, "ou_rows": 16, "ou_cols": 16, "adc_bits": 6}
        ),
    }


def layer_of(sparsity: float, outputs: int) -> tuple[Layer, np.ndarray, np.ndarray]:
    """Return a layer of 512 inputs, its weights, of which a share of the rows is zero, and its activations."""
    layer = Layer(name="sparse", op="conv", channels=512, outputs=outputs, height=4, width=4)
    rng = np.random.default_rng(1)
    weights = rng.integers(1, 256, layer.weight_shape)
    weights[:, rng.permutation(512)[: round(sparsity * 512)]] = 0
    return layer, weights, Activations().draw(layer, 0, load_chip("ou9x8"))


def in_rtl(chip: Chip) -> float:
    """Return OU reads of the dense mapping over those of formed OUs on row lists, both from RTL."""
    layer, weights, x = layer_of(0.9, chip.ou_cols // chip.slices or 1)
    dense = place_dense(layer, weights, chip, input_format=FORMAT)
    own = place_sre(layer, weights, chip, input_format=FORMAT, dynamic=True)
    return reads_of(tiles_in_rtl(dense, x, skip=False)) / reads_of(tiles_in_rtl(own, x, skip=True))


def recompute(*, rtl: bool, tick: Tick) -> Recomputed:
    """Return speed and energy by sparsity."""
    rows, curves, costs = [], {}, load_costs("isaac")
    for name, chip in chips().items():
        for sparsity in SPARSITIES:
            layer, weights, x = layer_of(sparsity, 16)
            dense = way_of(place_dense(layer, weights, chip, input_format=FORMAT), x, skip=False)
            own = way_of(place_sre(layer, weights, chip, input_format=FORMAT, dynamic=True), x, skip=True)
            faster = dense.events.reads / own.events.reads
            curves.setdefault(name, []).append((sparsity, faster))
            text = f"OUs of {name}, {sparsity:.0%} of the rows zero, half of the activations; OU reads"
            last = sparsity == SPARSITIES[-1]
            measured = in_rtl(chip) if rtl and last else None
            published = PUBLISHED if last else None
            rows.append(Row(PAPER, f"{name}, {sparsity:.0%}: times as fast", published, faster, text, measured))
            if last:
                saved = 100 * (1 - own.cost(costs).energy.total / dense.cost(costs).energy.total)
                rows.append(Row(PAPER, f"{name}, {sparsity:.0%}: energy saved, %", 85.3, saved, text + "; isaac"))
            tick()
    title = "SRE over the dense mapping"
    return Recomputed(rows, [Plot("sre_sparsity", title, "share of rows that is zero", "times fewer OU reads", curves)])
