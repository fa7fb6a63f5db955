"""Every part of a network beside its tiles, alone, against golden functions."""

import pytest

from tb.benches.components import simulate
from tb.benches.network_parts import PartCase
from tb.models.component_cases import parametrize_kinds


def case(name: str, **settings: object) -> PartCase:
    """The part is named before the first underscore."""
    return PartCase(name, name.split("_")[0], settings=settings)


HALVES = dict(width=9, factor=6, bias=40, shift=3)
NEAR = dict(width=9, factor=6, bias=40, shift=9, tie_bits=5)
WIDEST = dict(width=32, factor=2**31 - 1, bias=2**31 - 1, shift=56)
UP = dict(grid=(3, 4), block=(2, 2))

CASES = [
    case("requantizer_halves", **HALVES),
    case("requantizer_halves_odd_zero", **HALVES, odd=1),
    case("requantizer_halves_zero_first", **HALVES, odd=1, zero_first=True),
    case("requantizer_halves_even_zero_first", **HALVES, zero_first=True),
    case("requantizer_halves_single", **HALVES, odd=1, zero_first=True, single=True, leaky=True),
    case("requantizer_near_halves", **NEAR, odd=1),
    case("requantizer_near_halves_zero_first", **NEAR, odd=1, zero_first=True, leaky=True),
    case("requantizer_leaky_saturating", leaky=True, clip=60, shift=4),
    case("requantizer_pixels", pixels=6, leaky=True, channels=3, lanes=1),
    case("requantizer_pixels_bias", pixels=4, own="bias", channels=8, lanes=4),
    case("requantizer_pixels_factors", pixels=5, own="factors", channels=4, lanes=4),
    case("requantizer_widest", **WIDEST, leaky=True, lanes=1),
    case("requantizer_wide_halves", width=32, factor=2**24, bias=2**20, shift=31, channels=2),
    case("requantizer_whole", width=12, factor=1, bias=0, shift=0, bits=8, odd=1),
    case("requantizer_nothing_left", width=6, factor=9, bias=3, shift=40, bits=4),
    case("requantizer_wide_codes", width=24, factor=2**20, bias=2**22, shift=26, bits=16, channels=1, lanes=1),
    case("collector_single", tiles=1, lanes=1, words=4, groups=1, sparse=0.0),
    case("collector_tiles", tiles=3, lanes=2, words=5),
    case("collector_one_word", tiles=2, lanes=4, words=1, groups=1, sparse=0.0),
    case("collector_many_words", tiles=2, lanes=1, words=12, groups=4),
    case("collector_many_beats", tiles=4, lanes=4, words=3, groups=3, sparse=0.6),
    case("collector_gathers", tiles=2, lanes=2, words=3, groups=2, gather=2, side=1),
    case("collector_gathers_sides", tiles=2, lanes=4, words=3, groups=2, gather=4, side=2, sparse=0.5),
    case("collector_copies", tiles=2, lanes=2, words=3, copies=3, steps=7),
    case("collector_copies_gather", tiles=1, lanes=4, words=2, groups=1, gather=4, copies=2, steps=4, sparse=0.0),
    case("collector_copies_once", tiles=2, lanes=1, words=2, copies=4, steps=4),
    case("raster_blocks", **UP, size=(6, 8), words=2),
    case("raster_crop", **UP, crop=(1, 1), size=(4, 6)),
    case("raster_crop_bands", **UP, crop=(3, 2), size=(2, 5), words=3, lanes=1),
    case("raster_wide_blocks", grid=(2, 3), block=(3, 1), crop=(0, 1), size=(5, 2)),
    case("raster_repeat", grid=(3, 4), block=(1, 1), size=(3, 4), repeat=(2, 3), words=2),
    case("raster_lines", grid=(4, 1), block=(1, 3), size=(4, 2), crop=(0, 1), bits=17, lanes=1),
    case("raster_one", grid=(1, 1), block=(1, 1), size=(1, 1), repeat=(3, 2)),
    case("fork_single", count=1),
    case("fork_three", count=3),
    case("packer_wide", channels=8, lanes=2, first=0, own=8, packed=4),
    case("packer_part", channels=12, lanes=2, first=4, own=6, packed=4),
    case("packer_single", channels=5, lanes=1, first=1, own=3, packed=1),
    case("packer_beyond", channels=6, lanes=2, first=4, own=2, packed=8),
    case("table_signed", signed=True, lanes=3),
    case("table_unsigned", signed=False, bits=4, to=7),
    case("add_signed", signed=(True, True)),
    case("add_halves", signed=(False, True), even=True, lanes=1),
    case("add_sixths", signed=(False, False), even=True, scales=(0.5, 3.0)),
    case("add_three", signed=(True, False, True), even=True, coefficients=("1/3", "1/3", "1/3")),
    case("add_difference", signed=(False, False), coefficients=("-1", "1")),
    case("multiply_signed", signed=(True, False)),
    case("multiply_halves", signed=(True, True), even=True, lanes=1),
    case("multiply_leaky", signed=(False, False), slope=0.25),
    case("loaded_difference", of="add", signed=(True, False), coefficients=("-1", "1/2")),
    case("loaded_multiply", of="multiply", signed=(False, False)),
    case("concat_three", words=(1, 3, 2)),
    case("concat_two", words=(2, 2), lanes=1),
    case("reorder_crop", how="crop", shape=(4, 7, 6)),
    case("reorder_top", how="top", shape=(2, 9, 4)),
    case("reorder_pad", how="pad", shape=(2, 3, 4)),
    case("reorder_reflect", how="reflect", shape=(4, 4, 5), lanes=4),
    case("reorder_shuffle", how="shuffle", shape=(8, 3, 3)),
    case("reorder_half", how="half", shape=(8, 2, 3), lanes=4),
    case("reorder_turn", how="turn", shape=(2, 5, 3)),
    case("reorder_turn_full", how="turn", shape=(2, 4, 8)),
    case("reorder_rows_as_channels", how="rows_as_channels", shape=(3, 4, 5)),
    case("reorder_flip", how="flip", shape=(2, 4, 3)),
    case("reorder_repeat", how="repeat", shape=(6, 1, 1)),
    case("reorder_depth_to_space", how="depth_to_space", shape=(8, 3, 2)),
    case("pool_max", kind="max", size=(6, 7), kernel=(2, 2), stride=(2, 2), signed=False),
    case("pool_max_overlap", kind="max", size=(6, 5), kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1), signed=True),
    case("pool_max_words", kind="max", size=(4, 5), kernel=(2, 3), stride=(1, 2), pads=(1, 0, 0, 2), channels=6),
    case("pool_mean", kind="average", size=(4, 6), kernel=(2, 2), stride=(2, 2), signed=False),
    case("pool_mean_pads", kind="average", size=(5, 4), kernel=(3, 2), stride=(2, 1), pads=(1, 1, 1, 0), channels=4),
    case("pool_mean_whole", kind="average", size=(4, 3), kernel=(4, 3), channels=8, lanes=4),
    case("pool_mean_long", kind="average", size=(6, 6), kernel=(6, 6), channels=31, lanes=1),  # counted, not listed
    case("pool_max_long", kind="max", size=(6, 8), kernel=(6, 6), stride=(1, 2), pads=(1, 1, 0, 1), channels=64),
    case("pool_mean_sixths", kind="average", size=(4, 9), kernel=(2, 3), stride=(2, 3), same_scale=True),
    case("pool_mean_sixths_zero_first", kind="average", size=(4, 9), kernel=(2, 3), same_scale=True, zero_first=True),
    case("pool_max_whole", kind="max", size=(3, 3), kernel=(3, 3), channels=3, lanes=1),
    case("loaded_requantizer", of="requantizer", **WIDEST, leaky=True, pixels=2, channels=3, lanes=1),
    case("loaded_halves", of="requantizer", **HALVES, odd=1, zero_first=True, single=True),
    case("loaded_near_halves", of="requantizer", **NEAR, odd=1, zero_first=True),
    case("pool_pixels", kind="max", size=(3, 4), kernel=(1, 1), stride=(2, 3), channels=4),
]
SECOND = {"requantizer_leaky_saturating", "collector_tiles", "raster_crop", "add_signed", "pool_mean_pads"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize_kinds(metafunc, CASES, SECOND)


def test_part(cases: list[PartCase], simulator: str) -> None:
    assert simulate(cases, simulator) >= len(cases)
