"""Tiles of a placement in RTL against the golden model and the cycle model."""

import numpy as np

from bench.whole_layer import run_whole
from selvage.base.chip import Chip, load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Placement
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.cycles import tile_cycles
from selvage.sim.machine import tile_outputs
from tb.models.corners import LAYERS

TINY = load_chip("tiny")
NARROW = TINY.model_copy(update={"weight_bits": 4})  # half the arrays of a layer
UINT8 = InputFormat(raw_bits=8, raw_signed=False)
INT8 = InputFormat(raw_bits=8, raw_signed=True)
STALLS = {
    "source": dict(source=(1, 6)),
    "sink": dict(sink=(1, 9)),
    "macro": dict(macro=(2, 3), latency=5),
    "all": dict(source=(3, 3), sink=(2, 4), macro=(1, 4), latency=9),
}


def placed(
    name: str, schedule: str = "auto", chip: Chip = NARROW, numbers: InputFormat = UINT8, fold: int = 1
) -> tuple:
    """Placement, weights and raw activations of one of the layers; two images."""
    layer = Layer(name=name.replace(" ", "_"), **LAYERS[name])
    rng = np.random.default_rng(sum(map(ord, name)))
    low, high = chip.weight_range
    weights = rng.integers(low, high, layer.weight_shape, endpoint=True)
    x = rng.integers(*numbers.raw_range, (2, layer.channels, layer.height, layer.width), endpoint=True)
    x[rng.random(x.shape) < 0.4] = numbers.zero_point
    return place_dense(layer, weights, chip, input_format=numbers, schedule=schedule, fold=fold), weights, x


def check(
    placement: Placement, weights: np.ndarray, x: np.ndarray, *, skip: bool = True, every: int = 1, **how: object
) -> None:
    """Outputs are exact; cycles and reads of each tile are the model's.

    All tiles at once in plain Verilog. With ``how`` of `simulate_tile`, or one of ``every`` so many tiles: each alone
    under cocotb, whose streams can pause, with what the tile counts itself.
    """
    if how or every != 1:
        _check_tiles(placement, weights, x, skip=skip, every=every, **how)
        return
    whole = run_whole(placement, weights, x, skip=skip)
    np.testing.assert_array_equal(whole.run.outputs[0], whole.outputs)
    codes = x - placement.format.zero_point
    alone = [tile_cycles(placement, tile, codes, skip=skip) for tile in placement.tiles]
    assert sum(whole.run.reads) == sum(own.reads for own in alone)
    assert whole.run.tiles == whole.cycles


def _check_tiles(
    placement: Placement, weights: np.ndarray, x: np.ndarray, *, skip: bool, every: int, **how: object
) -> None:
    codes = x - placement.format.zero_point
    total = np.int64(0)
    for tile in placement.tiles[::every]:
        result = simulate_tile(TileParameters(placement, tile, skip=skip), x, **how)
        predicted = tile_cycles(placement, tile, codes, skip=skip)
        assert sum(result.reads) == predicted.reads == result.counters["reads"]
        assert result.counters["fetched"] == predicted.fetched
        if "stalls" not in how:
            assert result.cycles == predicted.cycles
        np.testing.assert_array_equal(result.y, tile_outputs(placement, tile, codes))
        total = total + result.y
    if every == 1:
        np.testing.assert_array_equal(total, evaluate(placement.layer, codes, weights))
