"""SRE: row lists and OUs formed of driving rows against their definitions; in RTL against golden."""

from collections.abc import Iterator
from math import ceil

import numpy as np
import pytest

from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.golden.layer import evaluate
from selvage.golden.sre import decode_rows, encode_rows, rounds
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.counts import StaticCounts
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Array, Block, Placement, Tile
from selvage.mapping.sme import SmeParameters, place_sme
from selvage.mapping.sre import place_sre
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.cycles import tile_cycles
from selvage.sim.machine import formed_reads, ou_reads, run, step_windows, tile_outputs
from tb.models.corners import LAYERS
from tb.models.pairs import pairs
from tb.models.tile_check import INT8, STALLS, TINY, UINT8, check

# An 8x8 array read in OUs of 2x2, cells and weights of one bit, one polarity.
VECTOR = TINY.model_copy(
    update=dict(rows=8, columns=8, ou_rows=2, ou_cols=2, adc_bits=2, weight_bits=1, weight_signed=False)
)
# Weights as wide as an OU, wider, and several in one; some columns stay unused.
CHIPS = {
    "wider": TINY,
    "by two bits": TINY.model_copy(update=dict(cell_bits=2, adc_bits=4)),
    "wider, no multiple": TINY.model_copy(update=dict(weight_bits=6)),
    "one and a bit": TINY.model_copy(update=dict(weight_bits=3)),
    "two and a bit": TINY.model_copy(update=dict(weight_bits=2, ou_cols=5, columns=15)),
    "two": TINY.model_copy(update=dict(weight_bits=2)),
    "four": TINY.model_copy(update=dict(weight_bits=1)),
    "one array wide": TINY.model_copy(update=dict(columns=8)),
    "ou9x8": load_chip("ou9x8"),
}
MAPPED = [
    (name, schedule)
    for name, fields in LAYERS.items()
    for schedule in (("red", "zero-padding") if fields["op"] == "conv_transpose" else ("auto",))
]


def sparse(layer: Layer, chip: Chip, zeros: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weights = rng.integers(*chip.weight_range, layer.weight_shape, endpoint=True)
    return weights * (rng.random(weights.shape) >= zeros)


def drawn(layer: Layer, numbers: InputFormat, seed: int = 2, images: int = 1) -> np.ndarray:
    """Raw activations whose codes are of every size, many of them zero."""
    rng = np.random.default_rng(seed)
    x = rng.integers(*numbers.raw_range, (images, layer.channels, layer.height, layer.width), endpoint=True)
    codes = (x - numbers.zero_point) >> rng.integers(0, 8, x.shape)
    return np.where(rng.random(x.shape) < 0.3, 0, codes) + numbers.zero_point


def all_blocks(placement: Placement) -> Iterator[tuple[Tile, Array, Block]]:
    for tile in placement.tiles:
        for array in tile.arrays:
            for block in array.blocks:
                yield tile, array, block


def reads(placement: Placement, x: np.ndarray, *, skip: bool) -> int:
    """OU reads of all arrays, from the RTL's counter."""
    return sum(
        simulate_tile(TileParameters(placement, tile, skip=skip), x).counters["reads"] for tile in placement.tiles
    )


def test_published_row_list() -> None:
    assert decode_rows(np.array([1, 2, 6, 0, 0, 0, 0, 0]), 3).tolist() == [1, 3, 9]
    assert encode_rows(np.array([1, 3, 9]), 8).tolist() == [1, 2, 6, 0, 0, 0, 0, 0]


def test_published_row_list_is_placed() -> None:
    """Ten rows of which a column group holds three: they are the window indices of its word lines."""
    layer = Layer(op="dense", channels=10, outputs=4)
    weights = np.zeros((10, 4), np.int64)
    weights[[1, 3, 9], [0, 1, 1]] = 1
    weights[[0, 9], 3] = 1
    placement = place_sre(layer, weights, VECTOR, input_format=UINT8)
    lists = {
        tuple(block.outputs.tolist()): block.window + tile.first_channel for tile, _, block in all_blocks(placement)
    }
    # Output 2, which is zero, has no column.
    assert {outputs: rows.tolist() for outputs, rows in lists.items()} == {(0, 1): [1, 3, 9], (3,): [0, 9]}
    assert placement.crossbars == 1


def test_published_rounds() -> None:
    """Bits 11000011 of eight stored rows: rows {0, 1} and {6, 7} where every OU in turn takes four reads."""
    bits = np.array([1, 1, 0, 0, 0, 0, 1, 1])
    assert [own.tolist() for own in rounds(bits, 2)] == [[0, 1], [6, 7]]
    layer = Layer(name="vector", op="dense", channels=8, outputs=2)
    weights, numbers = np.ones((8, 2), np.int64), InputFormat(raw_bits=1, raw_signed=False)
    found = []
    for dynamic in (True, False):
        placement = place_sre(layer, weights, VECTOR, input_format=numbers, dynamic=dynamic)
        found.append(reads(placement, bits.reshape(1, 8, 1, 1), skip=False))
    assert found == [2, 4]


@pytest.mark.parametrize("seed", range(10))
def test_row_lists_there_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for count in range(9):
        rows = np.sort(rng.choice(30, count, replace=False))
        differences = encode_rows(rows, 8)
        assert differences.shape == (8,) and (differences >= 0).all() and not differences[count:].any()
        np.testing.assert_array_equal(decode_rows(differences, count), rows)


@pytest.mark.parametrize("rows", [[3, 1], [2, 2], [0, 1, 2, 3]], ids=str)
def test_row_lists_that_do_not_exist(rows: list[int]) -> None:
    with pytest.raises(ValueError, match=f"{len(rows)} rows must ascend and be at most 3"):
        encode_rows(np.array(rows), 3)


@pytest.mark.parametrize("ou_rows", [1, 2, 3, 9])
def test_rounds_drive_every_row_that_is_one(ou_rows: int) -> None:
    """Rows whose prefix count of ones is in ``k*ou_rows+1 .. (k+1)*ou_rows``, adjacent or not."""
    rng = np.random.default_rng(ou_rows)
    for length in range(20):
        bits = rng.random(length) < rng.random()
        found, count = rounds(bits, ou_rows), np.cumsum(bits)
        assert len(found) == ceil(bits.sum() / ou_rows)
        for k, own in enumerate(found):
            there = bits & (count >= k * ou_rows + 1) & (count <= (k + 1) * ou_rows)
            assert own.tolist() == np.flatnonzero(there).tolist()


@pytest.mark.parametrize("ou_rows", [1, 4, 9])
def test_formed_reads_are_golden_s_rounds(ou_rows: int) -> None:
    values = np.random.default_rng(ou_rows).integers(-128, 128, (40, 13)) >> np.arange(40)[:, None] % 8
    values[::5] = 0
    expected = [[len(rounds(row >> plane & 1, ou_rows)) for plane in range(8)] for row in values]
    assert formed_reads(values, 8, ou_rows, skip=True).tolist() == [sum(own) for own in expected]
    every = [sum(max(1, n) for n in own) for own in expected]
    assert formed_reads(values, 8, ou_rows, skip=False).tolist() == every


@pytest.mark.parametrize(
    ("name", "schedule", "chip", "zeros"),
    pairs((*own, chip, zeros) for own in MAPPED for chip in CHIPS for zeros in (0, 0.5, 0.9, 1)),
)
def test_placements_compute_the_weights(name: str, schedule: str, chip: str, zeros: float) -> None:
    layer, own = Layer(**LAYERS[name]), CHIPS[chip]
    x, weights = drawn(layer, INT8), sparse(layer, own, zeros)
    placement = place_sre(layer, weights, own, input_format=INT8, schedule=schedule)
    np.testing.assert_array_equal(run(placement, x), evaluate(layer, x, weights))


@pytest.mark.parametrize(("name", "schedule", "chip"), pairs((*own, chip) for own in MAPPED for chip in CHIPS))
def test_rows_and_columns_of_zeros_are_not_stored(name: str, schedule: str, chip: str) -> None:
    """Of P and N array together; blocks lie apart, each in column groups of its own."""
    layer, own = Layer(**LAYERS[name]), CHIPS[chip]
    weights = sparse(layer, own, 0.7)
    weights.flat[0] = 1  # else zeros may be all there is
    placement = place_sre(layer, weights, own, input_format=UINT8, schedule=schedule)
    for tile in placement.tiles:
        for plus, minus in zip(tile.arrays[::2], tile.arrays[1::2], strict=True):
            assert (plus.polarity, minus.polarity) == (1, -1)
            groups = []
            for block, same in zip(plus.blocks, minus.blocks, strict=True):
                assert (block.row, block.column) == (same.row, same.column)
                np.testing.assert_array_equal(block.window, same.window)
                columns = slice(block.column, block.column + len(block.outputs) * plus.slices)
                assert block.row + block.rows <= own.rows and columns.stop <= own.columns
                cells = (plus.cells | minus.cells)[block.row : block.row + block.rows, columns]
                assert cells.any(axis=1).all()
                groups += range(columns.start // own.ou_cols, (columns.stop - 1) // own.ou_cols + 1)
            assert len(groups) == len(set(groups))


@pytest.mark.parametrize("chip", CHIPS)
def test_zeros_have_one_block(chip: str) -> None:
    layer = Layer(**LAYERS["odd padding"])
    placement = place_sre(layer, np.zeros(layer.weight_shape, np.int64), CHIPS[chip], input_format=UINT8)
    assert [block.rows for _, _, block in all_blocks(placement)] == [1, 1]


FORMED, ALL = dict(dynamic=True), dict(skip=False)
RTL = [
    ("odd padding", "red", "wider", UINT8, FORMED, {}),
    ("odd padding", "red", "by two bits", UINT8, {}, ALL),
    ("odd padding", "zero-padding", "two and a bit", INT8, FORMED, ALL),
    ("one pixel", "red", "wider, no multiple", INT8, FORMED, {}),
    ("one pixel", "red", "wider, no multiple", INT8, {}, {}),
    ("dilated", "red", "by two bits", UINT8, FORMED, dict(stalls=STALLS["macro"])),
    ("grouped", "red", "four", INT8, {}, dict(stalls=STALLS["all"])),
    ("strided convolution", "auto", "four", INT8, FORMED, dict(stalls=STALLS["all"])),
    ("strided convolution", "auto", "two", INT8, {}, ALL),
    ("depthwise", "auto", "one and a bit", UINT8, FORMED, ALL),
    ("dense", "auto", "two", INT8, FORMED, {}),
    ("dense", "auto", "two", UINT8, {}, {}),
]


@pytest.mark.parametrize(("name", "schedule", "chip", "numbers", "formed", "how"), RTL)
def test_exact_in_rtl(name: str, schedule: str, chip: str, numbers: InputFormat, formed: dict, how: dict) -> None:
    layer, own = Layer(name="listed", **LAYERS[name]), CHIPS[chip]
    weights = sparse(layer, own, 0.6, len(name))
    placement = place_sre(layer, weights, own, input_format=numbers, schedule=schedule, **formed)
    check(placement, weights, drawn(layer, numbers), **how)


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
def test_exact_in_rtl_where_nothing_is_kept(dynamic: bool) -> None:
    layer = Layer(name="empty", **LAYERS["strided convolution"])
    weights = np.zeros(layer.weight_shape, np.int64)
    check(place_sre(layer, weights, TINY, input_format=UINT8, dynamic=dynamic), weights, drawn(layer, UINT8))


DENSE = [
    ("odd padding", "red", dict(weight_bits=4), UINT8, dict(fold=2), True),
    ("odd padding", "padding-free", dict(weight_bits=2), INT8, {}, True),
    ("grouped", "zero-padding", dict(encoding="offset", weight_bits=4), INT8, {}, False),
    ("strided convolution", "auto", dict(encoding="offset", cell_bits=2, adc_bits=4), UINT8, {}, True),
    ("dense", "auto", dict(weight_bits=2, ou_rows=3), INT8, {}, False),
]


@pytest.mark.parametrize(("name", "schedule", "change", "numbers", "how", "skip"), DENSE)
def test_dense_placements_form_ous(
    name: str, schedule: str, change: dict, numbers: InputFormat, how: dict, skip: bool
) -> None:
    chip, layer = TINY.model_copy(update=change), Layer(name="dense", **LAYERS[name])
    weights = sparse(layer, chip, 0)
    placement = place_dense(layer, weights, chip, input_format=numbers, schedule=schedule, dynamic=True, **how)
    check(placement, weights, drawn(layer, numbers), skip=skip)


PLANES = [
    ("odd padding", INT8, SmeParameters(3, 3), True),
    ("grouped", INT8, SmeParameters(3, 2, sort=True), False),
    ("strided convolution", UINT8, SmeParameters(2, 4, compact=True), True),
]


@pytest.mark.parametrize(("name", "numbers", "parameters", "skip"), PLANES, ids=str)
def test_planes_form_ous(name: str, numbers: InputFormat, parameters: SmeParameters, skip: bool) -> None:
    layer = Layer(name="planes", **LAYERS[name])
    weights = sparse(layer, TINY, 0.3)
    placement, effective = place_sme(layer, weights, TINY, input_format=numbers, parameters=parameters, dynamic=True)
    check(placement, effective, drawn(layer, numbers), skip=skip)


@pytest.mark.parametrize(("mapping", "numbers"), [("sre", UINT8), ("sre", INT8), ("dense", INT8), ("offset", UINT8)])
def test_clipping_adc_equals_the_crossbars(mapping: str, numbers: InputFormat) -> None:
    """With too few ADC bits sums tell which rows were read together: in RTL as in the functional machine."""
    encoding = "offset" if mapping == "offset" else "differential"
    chip = TINY.model_copy(update={"weight_bits": 3, "adc_bits": 1, "encoding": encoding})
    layer = Layer(name="clipped", **LAYERS["odd padding"])
    weights, x = sparse(layer, chip, 0.2), drawn(layer, numbers)
    place = place_sre if mapping == "sre" else place_dense
    by_forming = []
    for dynamic in (True, False):
        placement = place(layer, weights, chip, input_format=numbers, dynamic=dynamic)
        by_forming.append(run(placement, x))
        if not dynamic:
            continue
        for tile in placement.tiles:
            p = TileParameters(placement, tile)
            np.testing.assert_array_equal(simulate_tile(p, x).y, tile_outputs(placement, tile, x))
    exact = evaluate(layer, x, weights)
    assert (by_forming[0] != exact).any(), "nothing clipped: the test shows nothing"
    assert (by_forming[0] != by_forming[1]).any(), "OUs of driving rows clip as others do: the test shows nothing"


@pytest.mark.parametrize(
    ("name", "schedule", "chip"), pairs((*own, chip) for own in MAPPED for chip in ("wider", "two and a bit", "ou9x8"))
)
def test_formed_ous_are_never_more(name: str, schedule: str, chip: str) -> None:
    """In no array and no step; the RTL's reads are these, as every other test here checks."""
    layer, own = Layer(**LAYERS[name]), CHIPS[chip]
    weights, x = sparse(layer, own, 0.5), drawn(layer, INT8)
    for place in (place_sre, place_dense):
        fixed, dynamic = (
            place(layer, weights, own, input_format=INT8, schedule=schedule, dynamic=formed) for formed in (False, True)
        )
        assert StaticCounts.of(fixed).reads == StaticCounts.of(dynamic).reads
        for tile, same in zip(fixed.tiles, dynamic.tiles, strict=True):
            windows = step_windows(fixed, tile, x)
            for array, formed in zip(tile.arrays, same.arrays, strict=True):
                for skip in (True, False):
                    most = ou_reads(fixed, array, windows, skip=skip)
                    assert (ou_reads(dynamic, formed, windows, skip=skip) <= most).all()


@pytest.mark.parametrize("skip", [True, False], ids=["skip", "all"])
def test_reads_by_the_formula(skip: bool) -> None:
    """``sum over column groups, bits of ceil(popcount_b(kept rows) / ou_rows)``, from the RTL's counter.

    Without skipping a plane in which no row drives takes one read all the same.
    """
    layer, chip = Layer(name="counted", op="dense", channels=16, outputs=8), CHIPS["two"]
    weights, x = sparse(layer, chip, 0.8, 3), drawn(layer, UINT8)
    weights[:, 5] = 0
    columns = [k for k in range(8) if weights[:, k].any()]
    assert 5 not in columns
    total = fixed = 0
    for group in (columns[k : k + 2] for k in range(0, len(columns), 2)):
        kept = [row for row in range(16) if weights[row, group].any()]
        for bit in range(8):
            ones = sum(int(x[0, row, 0, 0]) >> bit & 1 for row in kept)
            total += max(-(-ones // 4), 0 if skip else 1)
            fixed += -(-len(kept) // 4)
    placement = place_sre(layer, weights, chip, input_format=UINT8, dynamic=True)
    assert reads(placement, x, skip=skip) == chip.polarities * total
    assert StaticCounts.of(placement).reads * 8 == chip.polarities * fixed
    if not skip:
        rows_as_they_stand = place_sre(layer, weights, chip, input_format=UINT8)
        assert reads(rows_as_they_stand, x, skip=False) == chip.polarities * fixed


def test_model_counts_as_fixed_what_every_row_drives() -> None:
    """``dense_reads`` of formed OUs: those of rows that all drive."""
    layer = Layer(**LAYERS["odd padding"])
    for dynamic in (False, True):
        placement = place_sre(layer, sparse(layer, TINY, 0.5), TINY, input_format=UINT8, dynamic=dynamic)
        steps = placement.steps * UINT8.bits
        found = [tile_cycles(placement, tile, drawn(layer, UINT8)) for tile in placement.tiles]
        assert sum(own.dense_reads for own in found) == StaticCounts.of(placement).reads * steps


REFUSED = [
    (dict(encoding="offset"), "red", "mapping sre needs encoding = 'differential', and chip tiny has 'offset'"),
    ({}, "padding-free", "mapping sre needs the red or zero-padding schedule, not padding-free"),
    ({}, "conv", "schedule 'conv' is none of auto, red, zero-padding, padding-free"),
]


@pytest.mark.parametrize(("changes", "schedule", "message"), REFUSED)
def test_refused(changes: dict, schedule: str, message: str) -> None:
    chip, layer = Chip(**{**TINY.model_dump(), **changes}), Layer(**LAYERS["odd padding"])
    with pytest.raises(InputError, match=message):
        place_sre(layer, np.ones(layer.weight_shape, np.int64), chip, input_format=UINT8, schedule=schedule)
