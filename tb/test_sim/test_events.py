"""Events that cost energy: RTL's counters against the model, and one layer worked out by hand."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from selvage.base.chip import Chip
from selvage.base.layer import InputFormat, Layer
from selvage.hw.tile.accumulator import sums_layout
from selvage.hw.tile.counters import COUNTERS, EVENTS
from selvage.hw.tile.output import output_layout
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Placement
from selvage.rtlsim.simulate import simulate_tile, tile_verilog
from selvage.sim.events import Events, tile_events
from tb.models.draws import seeded

KINDS = ("reads", "conversions", "fetched", *EVENTS)
DRAWS = (0, 1, 2, 3, 4, 7, 9, 13, 20, 22, 24, 25, 32, 86)


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
    assert {own.schedule for own in drawn} >= {"red", "padding-free"}
    assert any(own.weight_offset for own in drawn) and any(own.fold > 1 for own in drawn)
    tiles = [tile for own in drawn for tile in own.tiles]
    assert {tile.scattered for tile in tiles} == {True, False}
    assert any(block.shifts.any() for tile in tiles for array in tile.arrays for block in array.blocks)
    assert {seeded(1, number).skip for number in DRAWS} == {True, False}


@pytest.mark.parametrize("number", DRAWS)
def test_bits_are_events_times_the_words_of_the_gateware(number: int) -> None:
    drawn = seeded(1, number)
    for tile in drawn.placement.tiles:
        p = TileParameters(drawn.placement, tile, skip=drawn.skip)
        found, numbers = tile_events(drawn.placement, tile, drawn.codes, skip=drawn.skip), p.buffer.format
        word = p.buffer.lanes * numbers.bits
        assert found.fetched_bits == found.fetched * p.buffer.lanes * numbers.raw_bits
        assert found.beats_bits == found.beats * output_layout(p)["values"].width  # flags beside them are not counted
        assert (found.buffer_written_bits, found.buffer_reads_bits) == (found.fetched * word, found.buffer_reads * word)
        each = found.sums_drained // len(p.accumulators)
        assert found.sums_drained_bits == each * sum(sums_layout(own).size for own in p.accumulators)
        assert found.splice_adds == each * sum(sums_layout(own).length for own in p.accumulators)
        # Each read adds to one word, of all lanes; scattered, each code to a sum.
        words = [own.width if tile.scattered else sums_layout(own).size for own in p.accumulators]
        added = found.shift_adds if tile.scattered else found.sums_added
        assert min(words) * added <= found.sums_added_bits <= max(words) * added
        assert found.rows_written_bits == found.rows_written * numbers.bits
        assert found.groups_read_bits == found.groups_read * drawn.placement.group_rows * numbers.bits


TINY = Chip(name="tiny", rows=2, columns=2, ou_rows=2, ou_cols=2, adc_bits=2, weight_bits=2, arrays_per_tile=2, lanes=2)


def two_channels(zero_point: int = 0, encoding: str = "differential") -> Placement:
    """A 1x1 convolution of one pixel, two channels, one output, with weights 3 and -2, or 1 and -2."""
    chip = TINY.model_copy(update={"encoding": encoding})
    layer = Layer(name="tiny", op="conv", channels=2, outputs=1, height=1, width=1)
    numbers = InputFormat(raw_bits=2, raw_signed=False, zero_point=zero_point)
    weights = np.array([3 if encoding == "differential" else 1, -2]).reshape(1, 2, 1, 1)
    return place_dense(layer, weights, chip, input_format=numbers)


PIXEL = np.array([3, 1]).reshape(1, 2, 1, 1)


def test_one_ou_of_a_pair_by_hand() -> None:
    """P holds 3 = 11 in row 0, N holds 2 = 10 in row 1; 3 and 1 drive both rows in plane 0, row 0 in plane 1.

    A lane's code is of two cells, a difference -2 .. 2, over two planes -6 .. 6: sums of 4 bits, and of two lanes words
    of 8. The output is -2 * 9 .. 2 * 9: 6 bits.
    """
    placement = two_channels()
    assert tile_events(placement, placement.tiles[0], PIXEL) == Events(
        reads=2 * 2,  # arrays, planes
        rows=2 * (2 + 1),
        cells=2 * (2 + 1) * 2,
        conversions=2 * 2 * 2,
        shift_adds=2 * 2,  # planes, lanes: of the differences
        sums_added=2,
        sums_drained=1,
        fetched=1,
        buffer_reads=1,
        rows_written=2,
        groups_read=1,
        beats=1,
        splice_adds=2,  # both sums of the word
        sums_added_bits=2 * 8,
        sums_drained_bits=8,
        fetched_bits=2 * 2,
        buffer_written_bits=2 * 2,
        buffer_reads_bits=2 * 2,
        rows_written_bits=2 * 2,
        groups_read_bits=2 * 2,
        beats_bits=6,
    )


def test_a_zero_point_widens_what_is_stored_and_not_what_comes() -> None:
    """Of 0 .. 3 less 1 codes are -1 .. 2: three bits."""
    placement = two_channels(zero_point=1)
    found = tile_events(placement, placement.tiles[0], PIXEL - 1)
    assert found.fetched_bits == 2 * 2
    assert found.buffer_written_bits == found.buffer_reads_bits == found.rows_written_bits == 2 * 3


def test_offset_weights_count_driven_rows() -> None:
    """One array, two planes; a third sum beside those of the lanes. A sum of two cells is 0 .. 2 * 3: 4 bits."""
    placement = two_channels(encoding="offset")
    found = tile_events(placement, placement.tiles[0], PIXEL)
    assert (found.reads, found.rows, found.cells, found.conversions) == (2, 2 + 1, (2 + 1) * 2, 2 * 2)
    assert (found.shift_adds, found.sums_added, found.splice_adds) == (2 * 3, 2, 3)
    assert (found.sums_added_bits, found.sums_drained_bits) == (2 * 3 * 4, 3 * 4)


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
