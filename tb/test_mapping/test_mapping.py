"""Placements: the reference's steps and counts, and what every placement must be."""

import numpy as np
import pytest

from examples.red_layers import RED_LAYERS
from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.golden.layer import evaluate
from selvage.mapping.dense import place_dense
from selvage.mapping.drain import beat_outputs, drain_plan
from selvage.mapping.load import load_plan
from selvage.mapping.placement import Placement, row_groups
from selvage.mapping.widths import Range
from selvage.sim.machine import run

UINT8 = InputFormat(raw_bits=8, raw_signed=False)

# Vector reads of the published comparison: zero-padding, padding-free, RED.
STEPS = {
    "GAN_Deconv1": (256, 64, 64),
    "GAN_Deconv2": (64, 16, 16),
    "GAN_Deconv3": (64, 16, 16),
    "GAN_Deconv4": (144, 36, 36),
    "FCN_Deconv1": (1156, 256, 289),
    "FCN_Deconv2": (322624, 4900, 5041),
}


def place(layer: Layer, chip: str, **how: object) -> Placement:
    weights = np.zeros(layer.weight_shape, np.int64)
    return place_dense(layer, weights, load_chip(chip), input_format=UINT8, **how)


@pytest.mark.parametrize("chip", ["ou9x8", "isaac"])
@pytest.mark.parametrize("name", STEPS)
def test_steps_are_the_published_ones(name: str, chip: str) -> None:
    schedules = ("zero-padding", "padding-free", "red")
    got = tuple(place(RED_LAYERS[name], chip, schedule=schedule).steps for schedule in schedules)
    assert got == STEPS[name]


def test_folded_steps() -> None:
    assert place(RED_LAYERS["FCN_Deconv2"], "isaac", fold=2).steps == 10082


@pytest.mark.parametrize(("c", "m", "k"), [(64, 64, 3), (256, 128, 1), (512, 100, 3), (3, 64, 7)])
def test_dense_convolutions_take_the_usual_number_of_crossbars(c: int, m: int, k: int) -> None:
    """P and N arrays of 128 x 128 single-level cells: 2 * ceil(C*K*K/128) * ceil(8*M/128)."""
    layer = Layer(op="conv", channels=c, outputs=m, height=14, width=14, kernel=(k, k))
    assert place(layer, "ou9x8").crossbars == 2 * -(-c * k * k // 128) * -(-m * 8 // 128)


def test_depthwise_groups_share_arrays() -> None:
    """Block-diagonal: 14 channels of 9 taps in 126 rows, and 14 * 8 columns."""
    layer = Layer(op="conv", channels=28, outputs=28, height=5, width=5, kernel=(3, 3), groups=28)
    assert place(layer, "ou9x8").crossbars == 2 * 2


def test_neighbouring_groups_are_dealt_to_the_arrays_of_a_tile() -> None:
    """112 channels of 9 taps fill the 8 pairs of a tile, and a word of 16 channels gives two rows groups to each.

    A load is 9 pixels of 7 words of 2 cycles: 126. One channel behind the other it is 720: a word of 16 channels meets
    up to 14 row groups of one array.
    """
    layer = Layer(op="conv", channels=112, outputs=112, height=5, width=5, kernel=(3, 3), groups=112)
    placement = place(layer, "ou9x8")
    (tile,) = placement.tiles
    assert len(load_plan(placement, tile).reads) == 9 * 7 * 2 == 126
    firsts = [[int(block.outputs[0]) for block in array.blocks] for array in tile.arrays[::2]]
    assert firsts == [list(range(k, 112, 8)) for k in range(8)]


@pytest.mark.parametrize(("fold", "arrays"), [(1, 2), (2, 1), (4, 1)])
def test_dealt_groups_of_several_phases_are_exact(fold: int, arrays: int) -> None:
    """Groups whose phases lie above each other; no more pairs of arrays than one group behind the other takes."""
    layer = Layer(op="conv_transpose", channels=4, outputs=4, height=2, width=3, kernel=(2, 2), stride=(2, 2), groups=2)
    rng = np.random.default_rng(fold)
    weights, x = rng.integers(-7, 8, layer.weight_shape), rng.integers(0, 256, (1, 4, 2, 3))
    chip = load_chip("tiny").model_copy(update={"weight_bits": 3, "ou_cols": 3, "columns": 24})
    placement = place_dense(layer, weights, chip, input_format=UINT8, schedule="red", fold=fold)
    assert placement.crossbars == 2 * arrays
    np.testing.assert_array_equal(run(placement, x), evaluate(layer, x, weights))


@pytest.mark.parametrize("schedule", ["red", "zero-padding", "padding-free"])
def test_every_weight_lies_somewhere_once(schedule: str) -> None:
    layer = Layer(op="conv_transpose", channels=5, outputs=3, height=3, width=3, kernel=(3, 4), stride=(2, 2), groups=1)
    rng = np.random.default_rng(1)
    weights = rng.integers(1, 256, layer.weight_shape)
    chip = load_chip("tiny")
    placement = place_dense(layer, weights, chip, input_format=UINT8, schedule=schedule)
    assert sum(block.rows * len(block.outputs) for t in placement.tiles for a in t.arrays for block in a.blocks) == (
        weights.size * chip.polarities
    )
    stored = sum(
        int((a.cells.astype(np.int64).reshape(chip.rows, -1, 8) << np.arange(8)).sum())
        for t in placement.tiles
        for a in t.arrays
        if a.polarity > 0
    )
    assert stored == weights.sum()
    x = rng.integers(0, 256, (1, 5, 3, 3))
    np.testing.assert_array_equal(run(placement, x), evaluate(layer, x, weights))


@pytest.mark.parametrize("chip", ["tiny", "ou9x8", "isaac", "yu"])
def test_plans_cover_every_row_and_output(chip: str) -> None:
    layer = Layer(op="conv_transpose", channels=19, outputs=7, height=4, width=4, kernel=(5, 5), stride=(2, 2))
    placement = place(layer, chip)
    for tile in placement.tiles:
        plan = load_plan(placement, tile)
        for array, moves in zip(tile.readers, plan.moves, strict=True):
            written = {(move.group, row) for move in moves if move for row in range(16 * 32) if move.rows >> row & 1}
            groups = row_groups(array, placement)
            assert written == {(g, row) for g, group in enumerate(groups) for row in range(group.count)}
            assert sum(move.rows.bit_count() for move in moves if move) == sum(group.count for group in groups)
        drain = drain_plan(placement, tile)
        leaving = [o for beat in beat_outputs(placement, tile, drain) for o in beat if o is not None]
        held = {int(o) for array in tile.arrays for block in array.blocks for o in block.outputs}
        assert sorted(leaving) == sorted(held)


@pytest.mark.parametrize(
    ("low", "high", "width"), [(0, 0, 1), (0, 1, 2), (-1, 0, 1), (-2, 1, 2), (-3, 1, 3), (0, 127, 8), (-128, 128, 9)]
)
def test_width_of_a_range(low: int, high: int, width: int) -> None:
    assert Range(low, high).width == width
