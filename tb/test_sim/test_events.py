"""Events that cost energy: RTL's counters against the model, and one layer worked out by hand."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from selvage.base.chip import Chip
from selvage.base.layer import InputFormat, Layer
from selvage.hw.tile.counters import COUNTERS, EVENTS
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.rtlsim.simulate import simulate_tile, tile_verilog
from selvage.sim.events import Events, tile_events
from tb.models.draws import seeded

KINDS = ("reads", "conversions", "fetched", *EVENTS)
# Dense, SME and pattern mappings, formed OUs, everything read, signed codes and offset weights are among these.
DRAWS = (0, 1, 2, 3, 4, 7, 9, 13, 20)


@pytest.mark.parametrize("number", DRAWS)
def test_every_kind_is_what_rtl_counts(number: int, tmp_path: Path) -> None:
    drawn = seeded(1, number)
    for tile in drawn.placement.tiles:
        p = TileParameters(drawn.placement, tile, skip=drawn.skip, events=True)
        counters = simulate_tile(p, drawn.x, build=tmp_path).counters
        model = asdict(tile_events(drawn.placement, tile, drawn.codes, skip=drawn.skip))
        assert {kind: counters[kind] for kind in KINDS} == {kind: model[kind] for kind in KINDS}


def test_the_draws_are_of_every_kind() -> None:
    drawn = [seeded(1, number).placement for number in DRAWS]
    assert {own.mapping for own in drawn} >= {"dense", "sme", "pattern", "sre"}
    assert {own.dynamic for own in drawn} == {own.format.signed for own in drawn} == {True, False}
    assert any(own.weight_offset for own in drawn)
    assert {seeded(1, number).skip for number in DRAWS} == {True, False}


CHIP = Chip(name="hand", rows=4, columns=4, ou_rows=2, ou_cols=2, adc_bits=2, weight_bits=1, arrays_per_tile=2, lanes=4)
LAYER = Layer(name="hand", op="conv", channels=3, outputs=3, height=1, width=2)


def test_a_layer_by_hand() -> None:
    """Three channels are two row groups, three outputs two column groups; the pixels are (3, 0, 1) and (0, 0, 0).

    Of the first pixel group 0 holds (3, 0): planes 0 and 1; group 1 holds 1: plane 0. So each of the P and the N array
    has 3 planes, in 2 column groups 6 reads; one row drives in each. Columns are 2 and 1: 3 conversions a plane. The
    second pixel drives nothing.
    """
    placement = place_dense(
        LAYER, np.ones((3, 3, 1, 1), int), CHIP, input_format=InputFormat(raw_bits=2, raw_signed=False)
    )
    (tile,) = placement.tiles
    found = tile_events(placement, tile, np.array([3, 0, 0, 0, 1, 0]).reshape(1, 3, 1, 2))
    assert found.reads == 2 * 6
    assert found.rows == 2 * 6  # a row a read
    assert found.conversions == 2 * 3 * 3
    assert found.cells == 2 * 3 * 3  # a row, three columns, three planes
    assert found.shift_adds == 3 * 3  # of the pair's differences
    assert found.sums_added == 6
    assert found.groups_read == 2
    assert found.rows_written == 2 * 3  # both steps
    assert found.fetched == 2
    assert found.buffer_reads == 2 * 2  # the word meets two row groups, so it stays two cycles
    assert found.fetched_bits == 2 * 3 * 2  # two words of three values of two bits
    assert found.groups_read_bits == 2 * 2 * 2


def test_all_read_means_all_planes() -> None:
    placement = place_dense(
        LAYER, np.ones((3, 3, 1, 1), int), CHIP, input_format=InputFormat(raw_bits=2, raw_signed=False)
    )
    found = tile_events(placement, placement.tiles[0], np.zeros((1, 3, 1, 2), int), skip=False)
    assert found.reads == 2 * 2 * 2 * 2 * 2  # arrays, steps, groups, planes, column groups
    assert found.rows == found.cells == 0


def test_events_add_up() -> None:
    one = Events(reads=2, beats=3)
    assert one + one == one.times(2) == Events(reads=4, beats=6)


def test_a_tile_that_counts_no_events_has_nothing_of_it() -> None:
    drawn = seeded(1, 0)
    plain = TileParameters(drawn.placement, drawn.placement.tiles[0], skip=drawn.skip)
    counting = replace(plain, events=True)
    texts = {p.events: "".join(tile_verilog(p).values()) for p in (plain, counting)}
    assert all(name in texts[True] for name in (*COUNTERS, "rows_written", "groups_read"))
    assert "rows_written" not in texts[False] and "picked" not in texts[False]
