"""A tile in RTL: outputs exact, cycles and reads as predicted, whatever the streams do."""

import dataclasses

import numpy as np
import pytest

from selvage.base.chip import Chip
from selvage.base.errors import SimulationError
from selvage.base.layer import InputFormat, Layer
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import LONG_PLAN, BufferParameters, TileParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.schedule import Sweep
from selvage.rtlsim.simulate import build_tile, run_tile, simulate_tile, tile_verilog
from selvage.sim.machine import run, tile_outputs
from tb.models.corners import CASES, LAYERS
from tb.models.tile_check import INT8, NARROW, STALLS, TINY, UINT8, check, placed


@pytest.mark.parametrize(("name", "schedule"), CASES)
def test_exact_and_on_time(name: str, schedule: str) -> None:
    check(*placed(name, schedule))


@pytest.mark.parametrize(("name", "schedule", "every"), [("grouped", "red", 3), ("depthwise", "auto", 1)])
def test_a_tile_alone_is_on_time(name: str, schedule: str, every: int) -> None:
    """Tiles that wait for each other at the collector of their layer, here each by itself."""
    check(*placed(name, schedule), every=every, seed=2)


@pytest.mark.parametrize(
    ("pace", "schedule"),
    [("source", "red"), ("sink", "padding-free"), ("macro", "zero-padding"), ("all", "red"), ("all", "padding-free")],
)
def test_stalls_change_no_number(pace: str, schedule: str) -> None:
    check(*placed("odd padding", schedule), every=3, stalls=STALLS[pace], seed=len(pace))


@pytest.mark.parametrize(("schedule", "after"), [("red", 3), ("padding-free", 90), ("red", 400)])
def test_reset_in_the_middle(schedule: str, after: int) -> None:
    check(*placed("odd padding", schedule), every=3, reset_after=after)


@pytest.mark.parametrize(
    ("change", "skip"),
    [
        (dict(weight_bits=8), True),
        (dict(encoding="offset"), False),
        (dict(encoding="offset", cell_bits=2, adc_bits=4, read_latency=3), True),
        (dict(weight_signed=False, arrays_per_tile=3), True),
        (dict(weight_bits=3, ou_cols=5, columns=15, lanes=3), False),
        (dict(weight_bits=6, ou_rows=3, lanes=7), True),
        (dict(weight_bits=6, ou_cols=8, rows=24, arrays_per_tile=2, read_latency=7), False),
    ],
    ids=str,
)
def test_chips(change: dict, skip: bool) -> None:
    chip = Chip(**{**NARROW.model_dump(), **change})
    placement, *inputs = placed("odd padding", chip=chip)
    check(placement, *inputs, skip=skip)


@pytest.mark.parametrize(
    ("numbers", "encoding"),
    [
        (INT8, "offset"),
        (dataclasses.replace(UINT8, zero_point=131), "differential"),
        (dataclasses.replace(INT8, zero_point=-128), "differential"),
        (dataclasses.replace(INT8, zero_point=5), "offset"),
    ],
    ids=str,
)
def test_signed_codes(numbers: InputFormat, encoding: str) -> None:
    chip = NARROW.model_copy(update={"encoding": encoding})
    check(*placed("strided convolution", chip=chip, numbers=numbers))


@pytest.mark.parametrize("low", [-255, -7])
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


@pytest.mark.parametrize("fold", [2, 6])
def test_folding(fold: int) -> None:
    check(*placed("odd padding", "red", fold=fold))


@pytest.mark.parametrize("encoding", ["differential", "offset"])
def test_clipping_adc_equals_the_crossbars(encoding: str) -> None:
    """With too few ADC bits RTL equals the same crossbars driven by the functional machine, not golden."""
    chip = NARROW.model_copy(update={"adc_bits": 2, "encoding": encoding})
    placement, weights, x = placed("odd padding", chip=chip)
    total = np.int64(0)
    for tile in placement.tiles:
        result = simulate_tile(TileParameters(placement, tile), x)
        np.testing.assert_array_equal(result.y, tile_outputs(placement, tile, x))
        total = total + result.y
    assert (total != evaluate(placement.layer, x, weights)).any(), "nothing clipped: the test shows nothing"


def test_equal_structures_share_an_image() -> None:
    """Tiles that differ in nothing but their weights and channels run on one compiled simulation."""
    layer = Layer(name="wide", op="conv", channels=8, outputs=24, height=3, width=3, kernel=(2, 2))
    rng = np.random.default_rng(3)
    weights = rng.integers(-15, 16, layer.weight_shape)
    x = rng.integers(0, 256, (1, 8, 3, 3))
    placement = place_dense(layer, weights, NARROW, input_format=UINT8)
    parameters = [TileParameters(placement, tile) for tile in placement.tiles]
    kinds = {p.structure: p for p in parameters}
    assert len(kinds) < len(parameters)
    first, other = next((kinds[p.structure], p) for p in parameters if kinds[p.structure] is not p)
    assert tile_verilog(first) == tile_verilog(other)
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


def test_only_a_plan_of_one_part_is_counted() -> None:
    """A long regular plan is counted from its beginning; where kinds of steps begin elsewhere it is a table."""
    sweep = Sweep(size=(4, 4), output=(4, 4), steps=(4, 4))
    reads = tuple((0, column, word) for word in range(LONG_PLAN) for column in range(2))
    whole = BufferParameters(sweep, UINT8, 8, LONG_PLAN, reads)
    assert whole.period == 2
    assert dataclasses.replace(whole, begins=(0, 1)).period == 0
