"""The report's comparison with the dense mapping, against a layer that is counted by hand."""

import numpy as np
import pytest

from selvage.base.chip import Chip
from selvage.base.layer import InputFormat, Layer
from selvage.commands.layer_report import over_dense
from selvage.compiler.compile_layer import Compiled
from selvage.mapping.dense import place_dense
from selvage.mapping.sre import place_sre

CHIP = Chip(name="hand", rows=6, columns=4, ou_rows=3, ou_cols=2, adc_bits=2, weight_bits=1, arrays_per_tile=4, lanes=2)


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
def test_a_layer_counted_by_hand(dynamic: bool) -> None:
    """A matrix of 6 x 8 weights of one cell, in arrays of 6 x 4 cells that are read in OUs of 3 x 2.

    Each polarity, every row driving, which takes as much where OUs are formed of driving rows:

    |             | dense, two arrays                | sre, one array: 4 x 2 and 1 x 1 cells |
    |-------------|----------------------------------|---------------------------------------|
    | reads       | 2 row groups, 4 column groups: 8 | 2 + 1 = 3                             |
    | conversions | 2 row groups, 8 columns: 16      | 2 * 2 + 1 = 5                         |
    | rows driven | 6 rows, 4 column groups: 24      | 4 + 1 = 5                             |
    | cells       | 6 * 8 = 48                       | 8 + 1 = 9                             |
    """
    layer = Layer(op="dense", channels=6, outputs=8)
    weights = np.zeros(layer.weight_shape, np.int64)
    weights[[0, 1, 3, 5], 0] = weights[[0, 1, 3, 5], 1] = 1, -1, 1, 1
    weights[2, 2] = 1
    how = {"input_format": InputFormat(raw_bits=8, raw_signed=False), "dynamic": dynamic}
    dense, own = place_dense(layer, weights, CHIP, **how), place_sre(layer, weights, CHIP, **how)
    found = over_dense(Compiled(None, own, np.ones((1, 6, 1, 1), np.int64), weights, dense))
    picojoules = [16 * 1.67 + 24 * 0.0182 + 48 * 4.8 / 72, 5 * 1.67 + 5 * 0.0182 + 9 * 4.8 / 72]
    assert np.round(picojoules, 4).tolist() == [30.3568, 9.041]
    assert found == {"cells": 5.3333, "reads": 2.6667, "conversions": 3.2, "crossbars": 2.0, "energy": 3.3577}
