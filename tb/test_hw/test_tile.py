"""A tile in RTL: outputs exact, cycles and reads as foretold, whatever the streams do."""

import dataclasses

import numpy as np
import pytest

from selvage.base.chip import Chip, load_chip
from selvage.base.errors import SimulationError
from selvage.base.layer import InputFormat, Layer
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Placement
from selvage.rtlsim.simulate import build_tile, run_tile, simulate_tile, tile_verilog
from selvage.sim.cycles import tile_cycles
from selvage.sim.machine import run, tile_outputs
from tb.models.corners import CASES, LAYERS

TINY = load_chip("tiny")
UINT8 = InputFormat(raw_bits=8, raw_signed=False)
INT8 = InputFormat(raw_bits=8, raw_signed=True)


def placed(name: str, schedule: str = "auto", chip: Chip = TINY, numbers: InputFormat = UINT8, fold: int = 1) -> tuple:
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
    """Each tile, or one of ``every`` so many, and the sum of all; cycles and reads are the model's without stalls."""
    codes = x - placement.format.zero_point
    total = np.int64(0)
    for tile in placement.tiles[::every]:
        result = simulate_tile(TileParameters(placement, tile, skip=skip), x, **how)
        foretold = tile_cycles(placement, tile, codes, skip=skip)
        assert sum(result.reads) == foretold.reads == result.counters["reads"]
        assert result.counters["fetched"] == foretold.fetched
        if "stalls" not in how:
            assert result.cycles == foretold.cycles
        np.testing.assert_array_equal(result.y, tile_outputs(placement, tile, codes))
        total = total + result.y
    if every == 1:
        np.testing.assert_array_equal(total, evaluate(placement.layer, codes, weights))


@pytest.mark.parametrize(("name", "schedule"), CASES)
def test_exact_and_on_time(name: str, schedule: str) -> None:
    check(*placed(name, schedule))


STALLS = {
    "source": dict(source=(1, 6)),
    "sink": dict(sink=(1, 9)),
    "macro": dict(macro=(2, 3), latency=5),
    "all": dict(source=(3, 3), sink=(2, 4), macro=(1, 4), latency=9),
}


@pytest.mark.parametrize("schedule", ["red", "zero-padding", "padding-free"])
@pytest.mark.parametrize("pace", STALLS)
def test_stalls_change_no_number(pace: str, schedule: str) -> None:
    check(*placed("odd padding", schedule), every=3, stalls=STALLS[pace], seed=len(pace))


@pytest.mark.parametrize("after", [3, 90, 400])
@pytest.mark.parametrize("schedule", ["red", "padding-free"])
def test_reset_in_the_middle(schedule: str, after: int) -> None:
    check(*placed("odd padding", schedule), every=3, reset_after=after)


@pytest.mark.parametrize(
    "change",
    [
        dict(encoding="offset"),
        dict(encoding="offset", cell_bits=2, adc_bits=4, read_latency=3),
        dict(weight_signed=False, arrays_per_tile=3),
        dict(weight_bits=3, ou_cols=5, columns=15, lanes=3),
        dict(weight_bits=6, ou_rows=3, lanes=7),
        dict(weight_bits=6, ou_cols=8, rows=24, arrays_per_tile=2, read_latency=7),
    ],
    ids=str,
)
@pytest.mark.parametrize("skip", [True, False], ids=["skip", "all"])
def test_chips(change: dict, skip: bool) -> None:
    chip = Chip(**{**TINY.model_dump(), **change})
    placement, *inputs = placed("odd padding", chip=chip)
    check(placement, *inputs, skip=skip, every=1 if len(placement.tiles) < 5 else 5)


@pytest.mark.parametrize(
    "numbers",
    [
        INT8,
        dataclasses.replace(UINT8, zero_point=131),
        dataclasses.replace(INT8, zero_point=-128),
        dataclasses.replace(INT8, zero_point=5),
    ],
    ids=str,
)
@pytest.mark.parametrize("encoding", ["differential", "offset"])
def test_signed_codes(numbers: InputFormat, encoding: str) -> None:
    chip = TINY.model_copy(update={"encoding": encoding})
    check(*placed("strided convolution", chip=chip, numbers=numbers))


@pytest.mark.parametrize("low", [-255, -131, -7, 0])
def test_offset_of_a_layer(low: int) -> None:
    """Offset encoding stores any weights that differ by less than 2**weight_bits."""
    chip = TINY.model_copy(update={"encoding": "offset"})
    layer = Layer(name="shifted", **LAYERS["odd padding"])
    weights = np.random.default_rng(low % 99).integers(low, low + 256, layer.weight_shape)
    weights.flat[:2] = low, low + 255
    x = np.random.default_rng(3).integers(-128, 128, (1, layer.channels, layer.height, layer.width))
    placement = place_dense(layer, weights, chip, input_format=INT8)
    assert placement.weight_offset == -low
    check(placement, weights, x)


@pytest.mark.parametrize("fold", [2, 3, 6])
def test_folding(fold: int) -> None:
    check(*placed("odd padding", "red", fold=fold))


@pytest.mark.parametrize("encoding", ["differential", "offset"])
def test_clipping_adc_equals_the_crossbars(encoding: str) -> None:
    """With too few ADC bits RTL equals the same crossbars driven by the functional machine, not golden."""
    chip = TINY.model_copy(update={"adc_bits": 2, "encoding": encoding})
    placement, weights, x = placed("odd padding", chip=chip)
    total = np.int64(0)
    for tile in placement.tiles:
        result = simulate_tile(TileParameters(placement, tile), x)
        np.testing.assert_array_equal(result.y, tile_outputs(placement, tile, x))
        total = total + result.y
    assert (total != evaluate(placement.layer, x, weights)).any(), "nothing clipped: the test shows nothing"


def test_equal_structures_share_an_image() -> None:
    """Tiles that differ in nothing but their weights and channels run on one compiled simulation."""
    layer = Layer(name="wide", op="conv", channels=8, outputs=12, height=3, width=3, kernel=(2, 2))
    rng = np.random.default_rng(3)
    weights = rng.integers(-255, 256, layer.weight_shape)
    x = rng.integers(0, 256, (1, 8, 3, 3))
    placement = place_dense(layer, weights, TINY, input_format=UINT8)
    parameters = [TileParameters(placement, tile) for tile in placement.tiles]
    kinds = {p.structure: p for p in parameters}
    assert len(kinds) < len(parameters)
    assert all(tile_verilog(p) == tile_verilog(kinds[p.structure]) for p in parameters)
    images = {key: build_tile(p) for key, p in kinds.items()}
    total = sum(run_tile(p, images[p.structure], x).y for p in parameters)
    np.testing.assert_array_equal(total, evaluate(layer, x, weights))
    np.testing.assert_array_equal(total, run(placement, x))


def test_a_broken_bench_is_an_error() -> None:
    """A run that fails inside the simulator is reported, not passed over."""
    placement, _, x = placed("dense")
    p = TileParameters(placement, placement.tiles[0])
    with pytest.raises(SimulationError, match="failed"):
        simulate_tile(p, x, stalls={"no_such_stall": 1})


@pytest.mark.verilator
@pytest.mark.parametrize("schedule", ["red", "padding-free"])
def test_verilator_agrees(schedule: str) -> None:
    check(*placed("odd padding", schedule), simulator="verilator")
