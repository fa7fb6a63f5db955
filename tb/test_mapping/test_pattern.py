"""Pattern-pruned kernels: what their blocks hold and where, in RTL against golden, reads by the formulas."""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from math import comb, prod

import numpy as np
import pytest

from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.golden.layer import evaluate
from selvage.golden.pattern import prune
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.counts import StaticCounts
from selvage.mapping.dense import place_dense
from selvage.mapping.drain import drain_plan
from selvage.mapping.pattern import _covered, place_pattern
from selvage.mapping.placement import Array, Block, Placement, Tile, row_groups
from selvage.mapping.schedule import taps_of
from selvage.mapping.schemes import scheme
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.machine import run, tile_outputs
from tb.models.corners import LAYERS
from tb.models.pairs import pairs
from tb.models.tile_check import INT8, STALLS, TINY, UINT8, check

OU9X8 = load_chip("ou9x8")
# From one weight in an OU to as many as it has lanes.
CHIPS = {
    "8 bits by two": TINY.model_copy(update=dict(cell_bits=2, adc_bits=4)),
    "8 bits": TINY.model_copy(update=dict(ou_cols=8)),
    "4 bits": TINY.model_copy(update=dict(weight_bits=4)),
    "2 bits": TINY.model_copy(update=dict(weight_bits=2)),
    "1 bit": TINY.model_copy(update=dict(weight_bits=1)),
    "3 bits, columns left over": TINY.model_copy(update=dict(weight_bits=3, ou_cols=6)),
    "lower than kernels": TINY.model_copy(update=dict(weight_bits=2, rows=5)),
    "unsigned": TINY.model_copy(update=dict(weight_bits=2, weight_signed=False)),
    "ou9x8": OU9X8,
    "ou9x8, 2 bits": OU9X8.model_copy(update=dict(weight_bits=2)),
}
MAPPED = [
    (name, schedule)
    for name, fields in LAYERS.items()
    for schedule in (("red", "zero-padding") if fields["op"] == "conv_transpose" else ("auto",))
]


def pruned(layer: Layer, chip: Chip, seed: int = 1, *, share: float = 0.4) -> np.ndarray:
    """Up to three patterns of half of a kernel's weights; a ``share`` of the kernels deleted."""
    low, high = chip.weight_range
    weights = np.random.default_rng(seed).integers(low, high, layer.weight_shape, endpoint=True)
    size = prod(layer.kernel)
    entries = max(1, size // 2)
    kernels = weights.reshape(*weights.shape[:2], *layer.kernel)
    return prune(kernels, min(3, comb(size, entries)), share, entries)[0].reshape(layer.weight_shape)


def drawn(layer: Layer, numbers: InputFormat, seed: int = 2, images: int = 2) -> np.ndarray:
    """Raw activations, many of them zero."""
    rng = np.random.default_rng(seed)
    x = rng.integers(*numbers.raw_range, (images, layer.channels, layer.height, layer.width), endpoint=True)
    x[rng.random(x.shape) < 0.4] = numbers.zero_point
    return x


def all_blocks(placement: Placement) -> Iterator[tuple[Tile, Array, Block]]:
    for tile in placement.tiles:
        for array in tile.arrays:
            for block in array.blocks:
                yield tile, array, block


@pytest.mark.parametrize(
    ("name", "schedule", "chip", "share"),
    pairs((*own, chip, s) for own in MAPPED for chip in CHIPS for s in (0, 0.4, 0.9)),
)
def test_placements_compute_the_weights(name: str, schedule: str, chip: str, share: float) -> None:
    layer, seed = Layer(**LAYERS[name]), round(10 * share)
    weights = pruned(layer, CHIPS[chip], seed, share=share)
    x = drawn(layer, INT8, seed)
    placement = place_pattern(layer, weights, CHIPS[chip], input_format=INT8, schedule=schedule)
    np.testing.assert_array_equal(run(placement, x), evaluate(layer, x, weights))


@pytest.mark.parametrize(
    ("name", "schedule", "chip"), pairs((*own, chip) for own in MAPPED for chip in ("1 bit", "ou9x8"))
)
def test_zeros_have_one_block(name: str, schedule: str, chip: str) -> None:
    layer = Layer(**LAYERS[name])
    weights = np.zeros(layer.weight_shape, np.int64)
    placement = place_pattern(layer, weights, CHIPS[chip], input_format=UINT8, schedule=schedule)
    assert [array.blocks[0].rows for array in placement.tiles[0].arrays] == [1, 1]
    assert not run(placement, drawn(layer, UINT8)).any()


@pytest.mark.parametrize(("name", "schedule", "chip"), pairs((*own, chip) for own in MAPPED for chip in CHIPS))
def test_cells_and_lanes_have_one_owner(name: str, schedule: str, chip: str) -> None:
    """Blocks lie apart inside their arrays, lanes that are not a block's have no address in it, and the
    cells spell every weight that is not zero once."""
    layer, own = Layer(**LAYERS[name]), CHIPS[chip]
    weights = pruned(layer, own, len(name))
    placement = place_pattern(layer, weights, own, input_format=UINT8, schedule=schedule)
    for tile in placement.tiles:
        plan = drain_plan(placement, tile)
        reader = {array: index for index, own in enumerate(tile.read_together) for array in own}
        for index, array in enumerate(tile.arrays):
            owners = np.zeros(array.cells.shape, int)
            for number, block in enumerate(array.blocks):
                end = block.column + len(block.outputs) * array.slices
                assert block.row + block.rows <= own.rows
                assert end <= own.columns // own.ou_cols * own.ou_cols
                start = block.column % own.ou_cols
                assert start % array.slices == 0 and (start == 0 or start + end - block.column <= own.ou_cols)
                owners[block.row : block.row + block.rows, block.column : end] += 1
                if tile.scattered:
                    lanes_of_block(plan, reader[index], number, array, block, own)
            assert owners.max() == 1
            assert not array.cells[owners == 0].any()
    stored, times = stored_weights(placement)
    np.testing.assert_array_equal(stored, weights)
    np.testing.assert_array_equal(times[weights != 0], 1)
    assert times.max() <= 1


def lanes_of_block(plan, index: int, number: int, array: Array, block: Block, chip: Chip) -> None:
    """The lanes with an address are the block's columns, and an address is one output's alone."""
    first = plan.slots[index][number]
    groups = -(-(block.column % chip.ou_cols + len(block.outputs) * array.slices) // chip.ou_cols)
    flat = [slot for position in plan.addresses[index][first : first + groups] for slot in position]
    start = block.column % chip.ou_cols
    ours = flat[start : start + len(block.outputs) * array.slices]
    assert None not in ours and set(flat[:start] + flat[start + len(ours) :]) <= {None}
    slots = ours[:: array.slices]
    assert ours == [slot for slot in slots for _ in range(array.slices)]
    beats = {slot: b for bank in plan.banks if index in bank.arrays for slot, b in bank_slots(bank, index)}
    assert [beats[slot] for slot in slots] == [(output,) for output in block.outputs.tolist()]


def bank_slots(bank, index: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    at = bank.arrays.index(index)
    return ((beat.slots[at], beat.outputs) for beat in bank.beats if beat.slots[at] is not None)


def stored_weights(placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """What the cells spell in the shape of the layer's weights, and of each how often it has a place."""
    layer, found = placement.layer, np.zeros(placement.layer.weight_shape, np.int64)
    times = {polarity: np.zeros(layer.weight_shape, int) for polarity in (1, -1)}
    kernels = {
        (tap.offset, placement.sweep.phases.index(tap.phase)): tap.kernel for tap in taps_of(layer, placement.schedule)
    }
    c, m = layer.channels // layer.groups, layer.outputs // layer.groups
    for tile, array, block in all_blocks(placement):
        for (row, window), (column, output) in product(
            enumerate(block.window.tolist()), enumerate(block.outputs.tolist())
        ):
            pixel, channel = divmod(window, tile.channels)
            phase, own = divmod(output, layer.outputs)
            channel += tile.first_channel
            assert channel // c == own // m, "a row and a column of different groups"
            kernel = kernels[tile.offsets[pixel], phase]
            at = (own, channel % c, *kernel) if layer.op == "conv" else (channel, own % m, *kernel)
            at = at if layer.op != "dense" else at[:2]
            first = block.column + column * array.slices
            cells = array.cells[block.row + row, first : first + array.slices].tolist()
            value = sum(cell << k * placement.chip.cell_bits for k, cell in enumerate(cells))
            found[at] += array.polarity * value
            times[array.polarity][at] += 1
    if placement.chip.polarities == 2:
        np.testing.assert_array_equal(times[1], times[-1])
    return found, times[1]


RTL = [
    ("odd padding", "red", "1 bit", UINT8, {}),
    ("odd padding", "red", "2 bits", INT8, dict(dynamic=True)),
    ("grouped", "zero-padding", "1 bit", INT8, {}),
    ("odd padding", "zero-padding", "lower than kernels", UINT8, {}),
    ("odd padding", "zero-padding", "lower than kernels", INT8, dict(dynamic=True, skip=False)),
    ("dilated", "red", "8 bits", INT8, {}),
    ("grouped", "red", "2 bits", UINT8, dict(stalls=STALLS["all"])),
    ("one channel", "red", "3 bits, columns left over", INT8, dict(skip=False)),
    ("strided convolution", "auto", "1 bit", INT8, dict(stalls=STALLS["macro"])),
    ("strided convolution", "auto", "8 bits by two", UINT8, {}),
    ("strided convolution", "auto", "1 bit", UINT8, dict(dynamic=True, stalls=STALLS["all"])),
    ("depthwise", "auto", "4 bits", INT8, dict(stalls=STALLS["sink"])),
    ("dense", "auto", "unsigned", UINT8, dict(skip=False)),
]


@pytest.mark.parametrize(("name", "schedule", "chip", "numbers", "how"), RTL)
def test_exact_in_rtl(name: str, schedule: str, chip: str, numbers: InputFormat, how: dict) -> None:
    layer = Layer(name="pruned", **LAYERS[name])
    weights = pruned(layer, CHIPS[chip], len(name), share=0.3)
    placement = place_pattern(
        layer, weights, CHIPS[chip], input_format=numbers, schedule=schedule, dynamic="dynamic" in how
    )
    check(placement, weights, drawn(layer, numbers, images=1), **{key: how[key] for key in how if key != "dynamic"})


def test_exact_in_rtl_where_nothing_is_kept() -> None:
    layer = Layer(name="empty", **LAYERS["odd padding"])
    weights = np.zeros(layer.weight_shape, np.int64)
    check(place_pattern(layer, weights, CHIPS["1 bit"], input_format=UINT8), weights, drawn(layer, UINT8))


def test_clipping_adc_equals_the_crossbars() -> None:
    chip = TINY.model_copy(update=dict(weight_bits=2, adc_bits=1))
    layer = Layer(name="clipped", **LAYERS["strided convolution"])
    weights = pruned(layer, chip)
    x = drawn(layer, UINT8)
    placement = place_pattern(layer, weights, chip, input_format=UINT8)
    total = np.int64(0)
    for tile in placement.tiles:
        result = simulate_tile(TileParameters(placement, tile), x)
        np.testing.assert_array_equal(result.y, tile_outputs(placement, tile, x))
        total = total + result.y
    assert (total != evaluate(layer, x, weights)).any(), "nothing clipped: the test shows nothing"


def test_pruned_digits_in_rtl() -> None:
    """A layer of the pruned classifier, whole in `bench.trained`, on an image that it has not been trained with."""
    pytest.importorskip("sklearn")
    from examples.digits.network import PRUNED, QuantisedLayer, held_out, load, recorded

    steps = load(PRUNED)
    own = next(step for step in steps if isinstance(step, QuantisedLayer) and step.name == "conv2")
    placement = place_pattern(own.geometry, own.weights, OU9X8, input_format=own.format)
    assert any(tile.scattered for tile in placement.tiles)
    check(placement, own.weights, recorded(steps, held_out()[0][:1])[own.name])


@pytest.mark.parametrize(("channels", "bits"), [(14, 1), (28, 2), (14, 8)])
def test_reads_and_conversions_by_the_formulas(channels: int, bits: int) -> None:
    """Of dense and of pruned kernels, for each step, input plane and polarity: from the RTL's counter.

    9 ``channels`` rows go in even parts into arrays of 128, here of 126: whole OUs. A conversion is a
    lane of a read that belongs to the block, which the placement says and the sums have proved.
    """
    chip = OU9X8.model_copy(update=dict(weight_bits=bits))
    layer = Layer(name="counted", op="conv", channels=channels, outputs=13, height=3, width=4, kernel=(3, 3))
    rng = np.random.default_rng(channels + bits)
    low, high = chip.weight_range
    weights = rng.integers(1, high, layer.weight_shape, endpoint=True) * rng.choice([-1, 1], layer.weight_shape)
    weights = prune(weights, 5, 0.44)[0]
    assert weights.min() >= low
    x = rng.integers(0, 256, (1, channels, 3, 4))
    each = UINT8.bits * 2 * chip.polarities  # planes, steps

    dense = place_dense(layer, weights, chip, input_format=UINT8)
    assert counted(dense, x) == each * channels * -(-13 * bits // 8)
    assert conversions(dense) == chip.polarities * channels * 13 * bits

    masks = Counter((c, (weights[m, c] != 0).tobytes()) for m, c in np.ndindex(13, channels) if weights[m, c].any())
    own = place_pattern(layer, weights, chip, input_format=UINT8)
    reads = sum(-(-n * bits // 8) for n in masks.values())
    assert counted(own, x) == each * reads
    assert conversions(own) == chip.polarities * sum(n * bits for n in masks.values())
    for placement in (dense, own):
        assert StaticCounts.of(placement).conversions == conversions(placement)
    counts = StaticCounts.of(own)
    assert counts.reads == chip.polarities * reads
    assert counts.cells == chip.polarities * sum(4 * n * bits for n in masks.values())
    assert counts.driven == chip.polarities * 4 * reads
    # A kernel's output id; of a block, or of a part that stands apart, mask, channel and number of kernels.
    parts = sum(array.polarity > 0 for _, array, _ in all_blocks(own))
    assert parts >= len(masks)
    assert scheme("pattern").index_bits(own) == sum(n * 4 for n in masks.values()) + parts * (
        9 + (channels - 1).bit_length() + 5
    )


def counted(placement: Placement, x: np.ndarray) -> int:
    return sum(
        simulate_tile(TileParameters(placement, tile, skip=False), x).counters["reads"] for tile in placement.tiles
    )


def conversions(placement: Placement) -> int:
    """Columns of blocks, for every OU's rows; of scattered tiles as the gateware is told them."""
    total = 0
    for tile in placement.tiles:
        plan = drain_plan(placement, tile)
        reader = {array: index for index, own in enumerate(tile.read_together) for array in own}
        for index, array in enumerate(tile.arrays):
            for group in row_groups(array, placement):
                block, columns = array.blocks[group.block], len(array.blocks[group.block].outputs) * array.slices
                if tile.scattered:
                    first = plan.slots[reader[index]][group.block]
                    lanes = plan.addresses[reader[index]][first : first + group.column_groups]
                    assert sum(slot is not None for position in lanes for slot in position) == columns
                total += columns * len(block.significances)
    return total


def masks_of(kernels: str) -> np.ndarray:
    """(positions, 1, kernels) of rows of ones and zeros."""
    return np.array([[bit == "1" for bit in kernel] for kernel in kernels.split()]).T[:, None]


@pytest.mark.parametrize(
    ("kernels", "joined"),
    [
        ("1110 1110 1100", "1110 1110 1110"),
        ("1110 1100 1100", "1110 1100 1100"),  # the more frequent one does not grow
        ("1110 1100", "1110 1100"),  # nor one as frequent
        ("1110 1110 0001 0000", "1110 1110 0001 0000"),
        ("1000 1100 1100 1110 1110 1110", "1110 1110 1110 1110 1110 1110"),
        ("1000 1001 1001 1100 1100 1100", "1100 1001 1001 1100 1100 1100"),
        ("0000 0000", "0000 0000"),
    ],
)
def test_rarer_masks_join_those_that_hold_them(kernels: str, joined: str) -> None:
    patterns, number = _covered(masks_of(kernels))
    np.testing.assert_array_equal(patterns[number[0]].T[:, None], masks_of(joined))


@pytest.mark.parametrize("seed", range(20))
def test_masks_that_join_keep_what_they_kept(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((int(rng.integers(1, 12)), 4, 30)) < rng.choice([0.15, 0.5, 0.9])
    patterns, number = _covered(masks)
    times = Counter(map(bytes, masks.reshape(len(masks), -1).T))
    for c, n in np.ndindex(masks.shape[1:]):
        own, given = masks[:, c, n], patterns[number[c, n]]
        assert given[own].all() and given.any() == own.any()
        if (given != own).any():
            assert times[bytes(given)] > times[bytes(own)]
        if own.any():  # nothing that is left could join
            holders = [p for p in times if np.frombuffer(p, bool)[given].all()]
            assert max(times[p] for p in holders) == times[bytes(given)]


def test_a_weight_that_became_zero_costs_no_block() -> None:
    """Of twelve kernels that keep 1110 one has a zero there: all are in one block, and the sums stay right."""
    layer = Layer(name="zeroed", op="conv", channels=1, outputs=12, height=2, width=3, kernel=(2, 2))
    weights = np.ones(layer.weight_shape, np.int64) * np.array([[1, -1], [2, 0]])
    weights[5, 0, 1, 0] = 0
    placement = place_pattern(layer, weights, CHIPS["2 bits"], input_format=UINT8)
    assert {block.rows for _, _, block in all_blocks(placement)} == {3}
    x = drawn(layer, UINT8)
    np.testing.assert_array_equal(run(placement, x), evaluate(layer, x, weights))


REFUSED = [
    (dict(weight_bits=2, encoding="offset"), "red", "needs encoding = 'differential', and chip tiny has 'offset'"),
    ({}, "red", "needs ou_cols = 4 to be a multiple of the 8 cells of a weight"),
    (dict(weight_bits=3), "red", "needs ou_cols = 4 to be a multiple of the 3 cells of a weight"),
    (dict(weight_bits=2), "padding-free", "needs the red or zero-padding schedule, not padding-free"),
    (dict(weight_bits=2), "conv", "schedule 'conv' is none of auto, red, zero-padding, padding-free"),
]


@pytest.mark.parametrize(("changes", "schedule", "message"), REFUSED)
def test_refused(changes: dict, schedule: str, message: str) -> None:
    chip, layer = Chip(**{**TINY.model_dump(), **changes}), Layer(**LAYERS["odd padding"])
    with pytest.raises(InputError, match=message):
        place_pattern(layer, np.ones(layer.weight_shape, np.int64), chip, input_format=UINT8, schedule=schedule)
