"""What layers cost, counted and put together: operations, parts, tiles and copies, sums over layers."""

from typing import Any

import numpy as np
import pytest

from selvage.base.chip import Chip, load_chip
from selvage.base.costs import load_costs
from selvage.base.layer import InputFormat, Layer
from selvage.compiler.cost import Cost, layer_ways, network_cost, operations, way_of
from selvage.mapping.dense import dense_kinds, place_dense
from selvage.mapping.sme import SmeParameters, place_sme
from selvage.sim.cost import Parts, Split, area_of, energy_of, programming_of
from selvage.sim.cycles import tile_cycles
from selvage.sim.events import Events, tile_events

UINT4 = InputFormat(raw_bits=4, raw_signed=False)


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        (dict(op="dense", channels=5, outputs=3), 2 * 5 * 3),
        (dict(op="conv", channels=4, outputs=6, height=5, width=7, kernel=(3, 3)), 2 * (3 * 5) * (4 * 9) * 6),
        (dict(op="conv", channels=4, outputs=6, height=5, width=7, groups=2), 2 * (5 * 7) * 2 * 6),
        (dict(op="conv", channels=1, outputs=1, height=5, width=5, kernel=(2, 2), stride=(2, 2)), 2 * (2 * 2) * 4),
        # Every pixel of the input meets the whole kernel; zeros between them are no operations.
        (
            dict(op="conv_transpose", channels=2, outputs=3, height=4, width=5, kernel=(3, 3), stride=(2, 2)),
            2 * 20 * 54,
        ),
    ],
)
def test_operations_are_two_a_product(fields: dict[str, Any], count: int) -> None:
    assert operations(Layer(**fields)) == count


def test_an_ou_of_a_pair_by_hand() -> None:
    """Two rows, two columns, two arrays; the buffer holds a pixel of two codes of two bits.

    Row registers have two banks of two row groups at least, sums two banks of two slots of two lanes of four bits.
    """
    chip = Chip(
        name="tiny", rows=2, columns=2, ou_rows=2, ou_cols=2, adc_bits=2, weight_bits=2, arrays_per_tile=2, lanes=2
    )
    layer = Layer(name="tiny", op="conv", channels=2, outputs=1, height=1, width=1)
    numbers, x = InputFormat(raw_bits=2, raw_signed=False), np.array([3, 1, 3, 1]).reshape(2, 2, 1, 1)
    placement = place_dense(layer, np.array([3, -2]).reshape(1, 2, 1, 1), chip, input_format=numbers)
    way = way_of(placement, x, skip=True)
    assert way.parts == Parts(
        arrays=2,
        readers=1,
        tiles=1,
        input_bits=2 * 2,
        row_bits=2 * 2 * (2 * 2),
        sum_bits=2 * 2 * (2 * 4),
        cells=2 * 2 * 2,
    )
    assert way.events == tile_events(placement, placement.tiles[0], x)
    assert way.tile_cycles == way.cycles == tile_cycles(placement, placement.tiles[0], x).cycles
    costs, own = load_costs("puma"), way.cost(load_costs("puma"))
    assert own.energy.total == pytest.approx(energy_of(way.events, way.cycles, chip, costs).total / 2)  # of an image
    assert own.latency == own.per_image == way.cycles / 2
    assert own.area == area_of(way.parts, chip, costs)
    assert own.programming == programming_of(way.parts, costs) == pytest.approx(8 * 1.29)
    assert own.cycle == 7.68


WIDE = Layer(name="wide", op="conv", channels=24, outputs=40, height=4, width=5, kernel=(2, 2))


def test_tiles_of_a_kind_are_counted_as_often_as_they_stand() -> None:
    chip = load_chip("tiny")
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 16, (2, 24, 4, 5)) * (rng.random((2, 24, 4, 5)) < 0.4)
    whole = place_dense(WIDE, rng.integers(-127, 128, WIDE.weight_shape), chip, input_format=UINT4)
    kinds, order = dense_kinds(WIDE, chip, input_format=UINT4)
    assert len(kinds.tiles) < len(order) == len(whole.tiles)
    way = way_of(kinds, codes, skip=True, order=order)
    assert way.events == sum((tile_events(whole, tile, codes) for tile in whole.tiles), start=Events())
    cycles = [tile_cycles(whole, tile, codes).cycles for tile in whole.tiles]
    assert (way.cycles, way.tile_cycles, way.parts.tiles) == (max(cycles), sum(cycles), len(whole.tiles))
    assert way.parts == way_of(whole, codes, skip=True).parts
    assert way.parts.cells == 2 * WIDE.channels * 4 * WIDE.outputs * chip.slices  # a P and an N array


@pytest.mark.parametrize("mapping", ["dense", "sme"])
def test_a_plane_of_ones_reads_every_programmed_cell_once(mapping: str) -> None:
    chip, layer = load_chip("tiny"), Layer(name="once", op="conv", channels=20, outputs=6, height=1, width=1)
    weights = np.random.default_rng(6).integers(-127, 128, layer.weight_shape)
    how = {"input_format": InputFormat(raw_bits=1, raw_signed=False)}
    if mapping == "dense":
        placement = place_dense(layer, weights, chip, **how)
    else:
        parameters = SmeParameters(significant_bits=8, squeeze=0)
        placement, _ = place_sme(layer, weights, chip, parameters=parameters, **how)
    blocks = [block for tile in placement.tiles for array in tile.arrays for block in array.blocks]
    assert any(len(block.significances) > 1 for block in blocks) == (mapping == "sme")
    way = way_of(placement, np.ones((1, 20, 1, 1), int), skip=True)
    assert way.parts.cells == way.events.cells > 0


def test_copies_read_as_much_and_each_takes_the_whole_map() -> None:
    codes = np.random.default_rng(4).integers(0, 16, (1, 24, 4, 5))
    placement = place_dense(WIDE, np.ones(WIDE.weight_shape, int), load_chip("ou9x8"), input_format=UINT4)
    one, two = way_of(placement, codes, skip=True), way_of(placement.copied(2), codes, skip=True)
    for kind in ("reads", "rows", "cells", "conversions", "shift_adds", "sums_drained", "beats"):
        assert getattr(one.events, kind) == getattr(two.events, kind) > 0
    assert two.events.fetched == 2 * one.events.fetched
    assert two.parts == one.parts + one.parts
    assert one.cycles > two.cycles > one.cycles / 2
    assert one.tile_cycles < two.tile_cycles < 2 * one.tile_cycles


FIRST = Cost(Split(array=1.0, adc=2.0), Split(drivers=4.0), 5.0, latency=100.0, per_image=60.0, cycle=2.0)
SECOND = Cost(Split(adc=3.0, control=1.0), Split(buffers=6.0), 7.0, latency=50.0, per_image=50.0, cycle=2.0)


def test_layers_on_one_chip_keep_the_pace_of_the_slowest() -> None:
    both = FIRST.together(SECOND, side_by_side=True)
    assert both == Cost(
        Split(array=1.0, adc=5.0, control=1.0),
        Split(drivers=4.0, buffers=6.0),
        12.0,
        latency=150.0,
        per_image=60.0,
        cycle=2.0,
    )
    assert FIRST.together(SECOND, side_by_side=False).per_image == 60 + 50


def test_figures_of_a_report() -> None:
    """60 cycles of 2 ns are 120 ns: 2400 operations in them are 20 GOPS, at 3 pJ 800 TOPS/W; 4 um2 are 4e-6 mm2."""
    found = FIRST.report(2400)
    wanted = {
        "energy_pj": 3.0,
        "area_um2": 4.0,
        "latency_us": 0.2,
        "images_per_s": 1e9 / 120,
        "tops": 0.02,
        "tops_per_w": 800.0,
        "tops_per_mm2": 0.02 / 4e-6,
        "programming_pj": 5.0,
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)
    nothing = Cost(Split(), Split(), 0.0, 0.0, 0.0, 2.0).report(0)
    assert nothing["tops"] == nothing["tops_per_w"] == nothing["tops_per_mm2"] == nothing["images_per_s"] == 0


@pytest.mark.parametrize("schedule", ["red", "padding-free", "zero-padding"])
def test_baselines_of_a_transposed_layer(schedule: str) -> None:
    """The dense mapping on the same schedule is the layer itself; zeros inserted are another, but where they are it."""
    layer = Layer(
        name="up", op="conv_transpose", channels=6, outputs=5, height=3, width=3, kernel=(3, 3), stride=(2, 2)
    )
    chip, weights = load_chip("tiny"), np.ones(layer.weight_shape, int)
    codes = np.random.default_rng(5).integers(1, 16, (1, 6, 3, 3))
    placement = place_dense(layer, weights, chip, input_format=UINT4, schedule=schedule)
    ways = layer_ways("up", way_of(placement, codes, skip=True), codes, chip, skip=True, dynamic=False)
    assert ways.baselines["dense"] is ways.own
    zeros = ways.baselines["zero-padding"]
    assert (zeros is ways.own) == (schedule == "zero-padding")
    assert zeros.placement.schedule == "zero-padding"
    found = network_cost([ways, ways], load_costs("isaac"), side_by_side=True)
    assert found["per_image_cycles"] == found["layers"][0]["per_image_cycles"]
    assert found["energy_pj"] == 2 * found["layers"][0]["energy_pj"]
    assert found["baselines"]["zero-padding"]["energy_pj"] == 2 * zeros.cost(load_costs("isaac")).energy.total
    assert found["operations"] == 2 * operations(layer)


def test_a_folded_layer_is_not_its_dense_baseline() -> None:
    layer = Layer(
        name="up", op="conv_transpose", channels=6, outputs=5, height=3, width=3, kernel=(3, 3), stride=(2, 2)
    )
    codes = np.ones((1, 6, 3, 3), int)
    placement = place_dense(
        layer, np.ones(layer.weight_shape, int), load_chip("tiny"), input_format=UINT4, schedule="red", fold=2
    )
    ways = layer_ways("up", way_of(placement, codes, skip=True), codes, load_chip("tiny"), skip=True, dynamic=False)
    assert ways.baselines["dense"].placement.fold == 1 != ways.own.placement.fold
