"""What `auto` takes: the best of what can be placed, by the cycle model; nothing that is ruled out would be it."""

import itertools

import numpy as np
import pytest

from examples.red_layers import RED_LAYERS
from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.compiler.choose import Candidate, choose
from selvage.compiler.shape_cycles import Activations
from selvage.golden.layer import evaluate
from selvage.mapping.dense import place_dense
from selvage.mapping.pattern import place_pattern
from selvage.mapping.sme import SmeParameters, place_sme
from selvage.mapping.sre import place_sre
from selvage.sim.cycles import least_cycles, tile_cycles
from selvage.sim.layer import count_passes
from selvage.sim.machine import run
from tb.models.corners import CASES, LAYERS
from tb.models.pairs import pairs

UINT8 = InputFormat(raw_bits=8, raw_signed=False)
CHIP = Chip(
    name="small", rows=18, columns=24, ou_rows=5, ou_cols=4, adc_bits=3, weight_bits=4, arrays_per_tile=4, lanes=4
)
OFFSET = CHIP.model_copy(update={"encoding": "offset", "read_latency": 6})
SHAPES = {
    "conv": dict(op="conv", channels=6, outputs=5, height=5, width=4, kernel=(3, 3), pads=(1, 1, 1, 1)),
    "transposed": dict(
        op="conv_transpose", channels=5, outputs=4, height=3, width=4, kernel=(4, 4), stride=(2, 2), pads=(1, 1, 1, 1)
    ),
    "dense": dict(op="dense", channels=50, outputs=9),
}


def drawn(name: str, density: float, seed: int = 1) -> tuple[Layer, np.ndarray, np.ndarray]:
    """A layer, weights of four bits of which ``density`` stay, two images."""
    layer, rng = Layer(name=name.replace(" ", "_"), **{**SHAPES, **LAYERS}[name]), np.random.default_rng(seed)
    weights = rng.integers(-7, 8, layer.weight_shape) * (rng.random(layer.weight_shape) < density)
    x = rng.integers(0, 256, (2, layer.channels, layer.height, layer.width))
    return layer, weights, x * (rng.random(x.shape) < 0.5)


def counted(candidate: Candidate, layer: Layer, weights: np.ndarray, x: np.ndarray, chip: Chip, *, skip: bool) -> tuple:
    """Cycles, reads and crossbars of a candidate, every tile of it placed and counted."""
    how = {"input_format": UINT8, "schedule": candidate.schedule, "dynamic": candidate.dynamic}
    if candidate.mapping == "sme":
        placement = place_sme(layer, weights, chip, parameters=SmeParameters(squeeze=1), **how)[0]
    else:
        places = {"dense": place_dense, "pattern": place_pattern, "sre": place_sre}
        placement = places[candidate.mapping](layer, weights, chip, **how)
    found = [tile_cycles(placement, tile, x[:1], skip=skip) for tile in placement.tiles]
    return max(own.cycles for own in found), sum(own.reads for own in found), placement.crossbars


@pytest.mark.parametrize(
    ("name", "density", "skip", "planes", "dynamic"),
    pairs(itertools.product(SHAPES, (0.2, 0.5, 1.0), (True, False), (False, True), ((False,), (False, True)))),
)
def test_it_is_the_best_of_all(name: str, density: float, skip: bool, planes: bool, dynamic: tuple) -> None:
    layer, weights, x = drawn(name, density)
    sme = SmeParameters(squeeze=1) if planes else None
    choice = choose(layer, weights, CHIP, x, input_format=UINT8, dynamic=dynamic, skip=skip, sme=sme)
    ranks = []
    for candidate in choice.candidates:
        if candidate.reason and candidate.at_least is None:
            continue
        real = counted(candidate, layer, weights, x, CHIP, skip=skip)
        ranks.append(real)
        if candidate.at_least is None:
            assert candidate.rank == real
        else:
            assert candidate.cycles is None and candidate.at_least <= real[0]
    own = [tile_cycles(choice.placement, tile, x[:1], skip=skip) for tile in choice.placement.tiles]
    taken = max(tile.cycles for tile in own), sum(tile.reads for tile in own), choice.placement.crossbars
    assert taken == min(ranks)
    np.testing.assert_array_equal(run(choice.placement, x), evaluate(layer, x, choice.weights))
    if choice.placement.mapping != "sme":
        np.testing.assert_array_equal(choice.weights, weights)


def test_what_is_tried() -> None:
    layer, weights, x = drawn("transposed", 0.3)
    tried = {c.label for c in choose(layer, weights, CHIP, x, input_format=UINT8).candidates if not c.reason}
    cut = {c.label for c in choose(layer, weights, CHIP, x, input_format=UINT8).candidates if c.at_least}
    dense = {"dense red", "dense padding-free", "dense zero-padding"}
    assert tried | cut == {*dense, "pattern red", "sre red"}
    both = choose(layer, weights, CHIP, x, input_format=UINT8, dynamic=(False, True), schedules=["red"])
    assert {c.label for c in both.candidates} == {
        f"{name} red{more}" for name in ("dense", "pattern", "sre") for more in ("", " with dynamic OUs")
    }
    only = choose(layer, weights, CHIP, x, input_format=UINT8, mappings=["sre"], schedules=["zero-padding"])
    assert (only.placement.mapping, only.placement.schedule, only.note) == ("sre", "zero-padding", "")


def transposed(channels: int, outputs: int, size: tuple[int, int], **geometry: object) -> Layer:
    return Layer(op="conv_transpose", channels=channels, outputs=outputs, height=size[0], width=size[1], **geometry)


def test_passes_count() -> None:
    """A chip with a single tile: what is quickest with all tiles side by side is not."""
    layer = transposed(15, 5, (4, 2), kernel=(4, 4), stride=(3, 3), pads=(1, 1, 1, 1))
    chip, rng = load_chip("ou9x8"), np.random.default_rng(1)
    weights = rng.integers(-100, 101, layer.weight_shape)
    x = rng.integers(0, 256, (1, 15, 4, 2)) * (rng.random((1, 15, 4, 2)) < 0.4)
    assert choose(layer, weights, chip, x, input_format=UINT8).placement.schedule == "red"
    single = chip.model_copy(update={"tiles": 1})
    for collected in (False, True):
        choice = choose(layer, weights, single, x, input_format=UINT8, collected=collected)
        assert choice.placement.schedule == "padding-free"
        red = next(own for own in choice.candidates if own.label == "dense red")
        placement = place_dense(layer, weights, single, input_format=UINT8, schedule="red")
        each = [tile_cycles(placement, tile, x).cycles for tile in placement.tiles]
        assert len(each) == 2 and red.cycles >= sum(each)


def test_the_collector_counts() -> None:
    """In a network padding-free may wait for the collector, so that what is slower alone is quicker."""
    layer = transposed(7, 15, (2, 4), kernel=(3, 3), stride=(2, 2))
    chip, rng = load_chip("isaac"), np.random.default_rng(1)
    weights = rng.integers(-100, 101, layer.weight_shape)
    x = rng.integers(0, 256, (1, 7, 2, 4)) * (rng.random((1, 7, 2, 4)) < 0.4)
    alone, behind = (
        choose(layer, weights, chip, x, input_format=UINT8, collected=collected) for collected in (False, True)
    )
    assert (alone.placement.schedule, behind.placement.schedule) == ("padding-free", "red")
    for own in behind.candidates:
        if own.cycles:
            how = {"input_format": UINT8, "schedule": own.schedule}
            (counted,) = count_passes(place_dense(layer, weights, chip, **how), x)
            assert own.cycles == max(tile.cycles for tile in counted.tiles)


def test_why_candidates_are_left_out() -> None:
    layer, weights, x = drawn("transposed", 0.9)
    few = {c.label: c.reason for c in choose(layer, weights, CHIP, x, input_format=UINT8).candidates}
    assert "of the weights are zero, it is tried from 30%" in few["sre red"]
    asked = choose(layer, weights, CHIP, x, input_format=UINT8, mappings=["dense", "sre"]).candidates
    assert all(c.cycles or c.at_least for c in asked if c.label != "sre padding-free")
    layer, weights, x = drawn("conv", 0.3)
    offset = {c.mapping: c.reason for c in choose(layer, weights, OFFSET, x, input_format=UINT8).candidates}
    assert offset["dense"] == "" and "needs encoding = 'differential'" in offset["sre"]
    tiny = {c.mapping: c.reason for c in choose(layer, weights, load_chip("tiny"), x, input_format=UINT8).candidates}
    assert "to be a multiple of the 8 cells" in tiny["pattern"] and tiny["sre"] == ""
    with pytest.raises(InputError, match="is for transposed convolutions"):
        choose(layer, weights, CHIP, x, input_format=UINT8, schedules=["red"])
    with pytest.raises(InputError, match="needs encoding = 'differential'"):
        choose(layer, weights, OFFSET, x, input_format=UINT8, mappings=["sre"])
    with pytest.raises(InputError, match="is none of dense, pattern, sre, sme"):
        choose(layer, weights, CHIP, x, input_format=UINT8, mappings=["best"])
    with pytest.raises(InputError, match="differ by more than"):
        choose(layer, weights * 2, OFFSET, x, input_format=UINT8)


def test_the_note_says_why() -> None:
    layer, weights, x = drawn("conv", 0.2)
    choice = choose(layer, weights, CHIP, x, input_format=UINT8)
    best = min((c for c in choice.candidates if c.cycles), key=lambda c: c.rank)
    assert choice.note.startswith(f"{best.label} {best.cycles:,} cycles on {best.crossbars:,} crossbars; ")
    assert all(c.label in choice.note for c in choice.candidates if c.cycles or c.at_least)
    layer, weights, x = drawn("conv", 1.0)
    assert choose(layer, weights, CHIP, x, input_format=UINT8, mappings=["dense"]).note == ""


def test_equal_cycles_are_settled_by_reads() -> None:
    """Nothing drives: cycles are those of the loads and drains, whatever is stored."""
    layer, weights, x = drawn("dense", 1.0)
    choice = choose(layer, weights, CHIP, x * 0, input_format=UINT8, mappings=["dense", "sre"])
    equal = [c for c in choice.candidates if c.cycles == min(c.cycles for c in choice.candidates if c.cycles)]
    assert choice.placement.crossbars == min(equal, key=lambda c: c.rank).crossbars


CHIPS = {
    "tiny": load_chip("tiny"),
    "small": CHIP,
    "offset": OFFSET,
    "slow macro": CHIP.model_copy(update={"read_latency": 30}),
}
PLANS = [
    (name, schedule, chip, dynamic, fold)
    for (name, schedule), chip, (dynamic, fold) in itertools.product(CASES, CHIPS, [(False, 1), (True, 1), (False, 2)])
    if fold == 1 or schedule == "red"
]


@pytest.mark.parametrize(("name", "schedule", "chip", "dynamic", "fold"), pairs(PLANS))
def test_no_tile_is_faster_than_its_plans(name: str, schedule: str, chip: str, dynamic: bool, fold: int) -> None:
    layer, weights, x = drawn(name, 0.5)
    how = {"input_format": UINT8, "schedule": schedule, "dynamic": dynamic}
    placed = [place_dense(layer, weights, CHIPS[chip], fold=fold, **how)]
    for place in (place_pattern, place_sre) if fold == 1 else ():
        try:
            placed.append(place(layer, weights, CHIPS[chip], **how))
        except InputError:
            continue
    for placement in placed:
        for tile, images, skip in itertools.product(placement.tiles, (1, 2), (True, False)):
            for codes in (x[:images], x[:images] * 0):
                found = tile_cycles(placement, tile, codes, skip=skip).cycles
                assert least_cycles(placement, tile, images, skip=skip) <= found


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize(("channels", "lanes", "size", "kernel"), [(16, 4, (3, 6), 3), (128, 16, (4, 4), 1)])
def test_loads_that_vary_have_a_bound(
    channels: int, lanes: int, size: tuple[int, int], kernel: int, skip: bool
) -> None:
    """Long loads of some kinds of steps stand beside short ones of others: their sum binds, not each step's longest."""
    layer = Layer(
        op="conv_transpose",
        channels=channels,
        outputs=16,
        height=size[0],
        width=size[1],
        kernel=(kernel, kernel),
        stride=(2, 2),
    )
    chip = load_chip("ou9x8").model_copy(update={"lanes": lanes})
    weights = np.ones(layer.weight_shape, np.int64)
    placement = place_dense(layer, weights, chip, input_format=UINT8, schedule="zero-padding")
    nothing = np.zeros((1, channels, *size), np.int64)
    for tile in placement.tiles:
        found = tile_cycles(placement, tile, nothing, skip=skip).cycles
        assert found * 0.7 <= least_cycles(placement, tile, 1, skip=skip) <= found


def test_the_bound_is_near_where_loads_or_drains_are_all() -> None:
    layer = Layer(op="conv", channels=40, outputs=3, height=8, width=8, kernel=(3, 3))
    placement = place_dense(layer, np.ones(layer.weight_shape, np.int64), CHIP, input_format=UINT8)
    nothing = np.zeros((1, layer.channels, layer.height, layer.width), np.int64)
    for tile in placement.tiles:
        found = tile_cycles(placement, tile, nothing).cycles
        assert found * 0.8 <= least_cycles(placement, tile, 1) <= found


def test_zero_padding_of_a_large_layer_is_ruled_out() -> None:
    layer, chip = RED_LAYERS["FCN_Deconv2"], load_chip("ou9x8")
    weights = np.random.default_rng(1).integers(-127, 128, layer.weight_shape)
    choice = choose(layer, weights, chip, Activations().draw(layer, 0, chip), input_format=UINT8)
    out = next(c for c in choice.candidates if c.schedule == "zero-padding" and c.mapping == "dense")
    assert out.cycles is None and out.at_least > 2 * min(c.cycles for c in choice.candidates if c.cycles)
