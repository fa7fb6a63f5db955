"""Networks through the cycle model: as one tile after the other, as the timing tables, as the RTL's memories."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from selvage.base.chip import Chip, load_chip, ready_chips
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.base.shapes import load_network
from selvage.compiler.shape_cycles import Activations, BufferBits, model_layer, model_network
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import dense_kinds, place_dense
from selvage.mapping.load import LoadPlan, load_plan
from selvage.mapping.pattern import place_pattern
from selvage.mapping.placement import Placement, Tile, row_groups
from selvage.mapping.sme import SmeParameters, place_sme
from selvage.mapping.sre import place_sre
from selvage.rtlsim.simulate import tile_verilog
from selvage.sim.cycles import Source, binding, tile_cycles
from selvage.sim.machine import step_windows
from tb.models.corners import CASES, LAYERS
from tb.models.pairs import pairs

UINT8 = InputFormat(raw_bits=8, raw_signed=False)
INT8 = InputFormat(raw_bits=8, raw_signed=True)
NARROW = Chip(  # odd sizes, so that column blocks and chunks are of two sizes
    name="narrow",
    rows=22,
    columns=26,
    cell_bits=2,
    ou_rows=5,
    ou_cols=6,
    adc_bits=4,
    weight_bits=4,
    read_latency=3,
    arrays_per_tile=6,
    lanes=5,
)
SINGLE = NARROW.model_copy(update={"name": "single", "encoding": "offset", "arrays_per_tile": 1, "lanes": 3})
CHIPS = [*(load_chip(name) for name in ready_chips()), NARROW, SINGLE]
WIDE = {  # many column blocks, and several parts of them
    "wide": dict(op="conv", channels=9, outputs=23, height=4, width=5, kernel=(3, 2), pads=(1, 0, 1, 1)),
    "wide transposed": dict(
        op="conv_transpose", channels=7, outputs=19, height=3, width=3, kernel=(4, 3), stride=(2, 2), pads=(1, 1, 0, 1)
    ),
    "wide groups": dict(op="conv", channels=40, outputs=24, height=3, width=3, kernel=(3, 3), groups=2),
}


def codes_of(layer: Layer, numbers: InputFormat, zeros: float, images: int = 1) -> np.ndarray:
    """Drawn from the layer alone."""
    rng = np.random.default_rng([layer.channels, layer.outputs, *layer.kernel])
    low, high = numbers.raw_range
    x = rng.integers(low, high + 1, (images, layer.channels, layer.height, layer.width))
    return np.where(rng.random(x.shape) < zeros, 0, x)


def plain_reads(placement: Placement, tile: Tile, codes: np.ndarray, *, skip: bool) -> list[list[list[int]]]:
    """OU reads by array, step and row group that has any, one row group and one input plane after the other."""
    windows, found = step_windows(placement, tile, codes).tolist(), []
    for array in tile.arrays:
        planes, each = placement.planes(array), []
        for window in windows:
            each.append([])
            for group in row_groups(array, placement):
                block, total = array.blocks[group.block], 0
                rows = range(group.row - block.row, group.row - block.row + group.count)
                values = [window[block.window[row]] << int(block.shifts[row]) for row in rows]
                for plane in range(planes):
                    ones = sum(value >> plane & 1 for value in values)
                    units = -(-ones // placement.chip.ou_rows) if placement.dynamic else min(ones, 1)
                    total += max(units, 0 if skip else 1) * group.column_groups
                each[-1] += [total] if total else []
        found.append(each)
    return found


class PlainSource:
    """The input stream, a word at a time."""

    def __init__(self, placement: Placement, tile: Tile, plan: LoadPlan) -> None:
        rules = Source(placement.sweep, tile.offsets, plan.words)
        self.need, self.limit, self.total, self.open = rules.need, rules.limit, rules.total, rules.limit[0]
        self.start(0)

    def start(self, cycle: int) -> None:
        """An image begins."""
        self.cycle, self.times, self.changes = cycle, [], {}
        self.allowed = self.open

    def one(self) -> None:
        """A cycle goes by."""
        self.allowed = self.changes.get(self.cycle, self.allowed)
        if len(self.times) < min(self.allowed, self.total):
            self.times.append(self.cycle)
        self.cycle += 1

    def begin(self, at: int, first: int) -> int:
        """First cycle from ``first`` with the pixels of step ``at``; three cycles after ``first`` its limit holds."""
        self.changes[first + 3] = self.limit[at]
        while len(self.times) < self.need[at]:
            self.one()
        return max(first, self.times[self.need[at] - 1] + 2)

    def restart(self, first: int) -> int:
        """First cycle of the next image; the last load was over before ``first``."""
        self.changes[first + 3] = self.total
        while len(self.times) < self.total:
            self.one()
        self.start(max(first + 2, self.times[-1] + 1) + 1)
        return self.cycle


def plain_cycles(placement: Placement, tile: Tile, codes: np.ndarray, *, skip: bool) -> tuple[int, int]:
    """Cycles and reads by the tables of ``docs/architecture.md``: every array, step by step. No overlap."""
    plan, p = load_plan(placement, tile), TileParameters(placement, tile)
    drain, lanes = p.drain.length, placement.chip.ou_cols
    reads, source = plain_reads(placement, tile, codes, skip=skip), PlainSource(placement, tile, plan)
    steps, images = len(reads[0]), len(codes)
    ends, takes = [[-1, -1] for _ in reads], [[-1, -1] for _ in reads]  # last reads; last row groups taken
    tags, freed, first = [-1] * len(reads), [-1, -1], 3  # freed: last slots asked for
    for step in range(steps):
        at = step % (steps // images)
        if step and at == 0:
            first = source.restart(first)
        begin = max(source.begin(at, first), *(own[-2] + 2 for own in takes))
        c = begin + len(plan.reads) - 1
        first = c + 1
        for index, (own, taken) in enumerate(zip(ends, takes, strict=True)):
            start = max(own[-1] + 1, c + 14, freed[-2] + 3)
            groups = reads[index][step]
            taken.append(start + sum(groups[:-1]) - 1 if groups[1:] else max(own[-1], c + 13))
            own.append(start + max(sum(groups), 1) - 1)
            latency = placement.chip.read_latency
            tags[index] = own[-1] + 2 + latency if groups else max(own[-1] + 2, tags[index] + 1)
        g = max(max(tags) + 4, freed[-1] + 1)
        freed.append(g + drain - 1)
    together = max(len(bank.arrays) for bank in p.drain.banks)
    summed = lanes if tile.scattered or lanes % tile.slices else tile.slices
    levels = sum((count - 1).bit_length() for count in (together, summed))
    return freed[-1] + 4 + levels + 1, sum(sum(map(sum, own)) for own in reads)


def placements(layer: Layer, chip: Chip, numbers: InputFormat, *, dynamic: bool) -> Iterator[Placement]:
    """Every mapping that the chip and the layer can have."""
    rng = np.random.default_rng(layer.channels)
    low, high = (max(bound, -9) if bound < 0 else min(bound, 9) for bound in chip.weight_range)
    weights = rng.integers(low, high + 1, layer.weight_shape) * (rng.random(layer.weight_shape) < 0.5)
    how = {"input_format": numbers, "dynamic": dynamic}
    parameters = [SmeParameters(squeeze=chip.cell_bits), SmeParameters(compact=True), SmeParameters(sort=True)]
    tries = [
        lambda: place_dense(layer, weights, chip, **how),
        lambda: place_pattern(layer, weights, chip, **how),
        lambda: place_sre(layer, weights, chip, **how),
        *(lambda own=own: place_sme(layer, weights, chip, parameters=own, **how)[0] for own in parameters),
    ]
    for attempt in tries:
        try:
            yield attempt()
        except InputError:
            continue


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", [*LAYERS, *WIDE])
def test_the_model_follows_the_timing_tables(name: str, dynamic: bool) -> None:
    layer, found = Layer(**{**LAYERS, **WIDE}[name]), set()
    for index, chip in enumerate([load_chip("tiny"), NARROW, SINGLE]):
        numbers = (UINT8, INT8)[index % 2]
        for placement in placements(layer, chip, numbers, dynamic=dynamic):
            found.add(placement.mapping)
            for own, skip, zeros in ((0, True, 0.7), (1, True, 0.97), (-1, False, 0.5)):
                tile = placement.tiles[min(own, len(placement.tiles) - 1)]
                codes = codes_of(layer, numbers, zeros, images=2)
                model = tile_cycles(placement, tile, codes, skip=skip)
                assert (model.cycles, model.reads) == plain_cycles(placement, tile, codes, skip=skip)
    assert found >= {"dense", "sre", "sme"}


@pytest.mark.parametrize("latency", [1, 64])
def test_steps_without_reads(latency: int) -> None:
    """A slow macro: tags of empty steps wait for those before them."""
    chip = load_chip("tiny").model_copy(update={"read_latency": latency})
    layer = Layer(op="conv", channels=20, outputs=3, height=6, width=6, kernel=(2, 2))
    placement = place_dense(layer, np.ones(layer.weight_shape, np.int64), chip, input_format=UINT8)
    codes = codes_of(layer, UINT8, 0.98, images=2)
    codes[:, :, 2:5] = 0
    for tile in placement.tiles:
        model = tile_cycles(placement, tile, codes)
        assert (model.cycles, model.reads) == plain_cycles(placement, tile, codes, skip=True)


def test_arrays_that_bind() -> None:
    """By array the reads of each step; then those of their last row groups."""
    whole, last = np.array([[3, 0, 2], [1, 4, 2], [3, 0, 2]]), np.array([[1, 0, 2], [1, 1, 1], [1, 0, 2]])
    np.testing.assert_array_equal(binding(np.stack([whole, last])), np.stack([whole, last])[:, :2])
    reads = np.array([[[1, 0, 2], [3, 0, 2], [3, 0, 1]], [[1, 0, 2], [2, 0, 2], [2, 0, 1]]])
    np.testing.assert_array_equal(binding(reads), reads[:, 1:2])
    # The second reads less, but has more before its last row group, so it may keep its bank for longer.
    reads = np.array([[[9], [8]], [[8], [1]]])
    np.testing.assert_array_equal(binding(reads), reads)


def every_tile(placement: Placement, times: list[int], codes: np.ndarray, *, skip: bool) -> Counter:
    """Counts, window and memories of each tile."""
    found = Counter()
    for tile, many in zip(placement.tiles, times, strict=True):
        counts = dataclasses.astuple(tile_cycles(placement, tile, codes, skip=skip))
        bits = dataclasses.astuple(BufferBits.of(TileParameters(placement, tile, skip=skip)))
        found[counts, (tile.first_channel, tile.channels, len(tile.arrays)), bits] += many
    return found


SCHEDULED = [*CASES, *((name, "auto") for name in WIDE), ("wide transposed", "padding-free")]


@pytest.mark.parametrize(
    ("name", "schedule", "dynamic"), pairs((*own, dynamic) for own in SCHEDULED for dynamic in (False, True))
)
def test_kinds_stand_for_every_tile(name: str, schedule: str, dynamic: bool) -> None:
    layer, fewer = Layer(**{**LAYERS, **WIDE}[name]), False
    for chip in CHIPS:
        for fold in (1, 2) if schedule == "red" and layer.stride != (1, 1) else (1,):
            how = {"input_format": INT8, "schedule": schedule, "fold": fold, "dynamic": dynamic}
            whole = place_dense(layer, np.zeros(layer.weight_shape, np.int64), chip, **how)
            kinds, order = dense_kinds(layer, chip, **how)
            assert len(order) == len(whole.tiles)
            stand_in = [kinds.tiles[kind] for kind in order]
            first, second = ([(t.first_channel, whole.likeness(t)) for t in own] for own in (whole.tiles, stand_in))
            assert first == second
            times = np.bincount(order).tolist()
            fewer |= len(kinds.tiles) < len(whole.tiles)
            codes = codes_of(layer, INT8, 0.5)
            for skip in (True, False):
                found = every_tile(kinds, times, codes, skip=skip)
                assert found == every_tile(whole, [1] * len(whole.tiles), codes, skip=skip)
    assert fewer or name not in WIDE


@pytest.mark.parametrize("chip", ready_chips())
@pytest.mark.parametrize("skip", [True, False])
def test_a_layer_of_resnet50_placed_whole(chip: str, skip: bool) -> None:
    layer = {layer.name: layer for layer in load_network("resnet50")}[
        "layer4.0.conv1" if chip != "tiny" else "layer2.1.conv1"
    ]
    loaded, activations = load_chip(chip), Activations(zeros=0.6)
    codes = activations.draw(layer, 3, loaded)
    line = model_layer(layer, loaded, codes, activations.numbers(loaded), skip)
    placement = place_dense(layer, np.zeros(layer.weight_shape, np.int64), loaded, input_format=UINT8)
    found = [tile_cycles(placement, tile, codes, skip=skip) for tile in placement.tiles]
    assert line.cycles == max(own.cycles for own in found)
    assert line.ou_reads == sum(own.reads for own in found)
    assert line.ou_skipped == sum(own.dense_reads - own.reads for own in found)
    assert line.fetched == sum(own.fetched for own in found)
    assert (line.crossbars, line.tiles, line.steps) == (placement.crossbars, len(placement.tiles), placement.steps)
    bits = [BufferBits.of(TileParameters(placement, tile, skip=skip)) for tile in placement.tiles]
    assert line.buffer_bits == sum(bits, start=BufferBits())
    assert line.buffer_bits_largest.total == max(own.total for own in bits)


@pytest.mark.parametrize("chip", ["tiny", "isaac", "ou9x8"])
def test_buffers_are_the_memories_of_the_rtl(chip: str) -> None:
    layer = Layer(op="conv", channels=20, outputs=5, height=5, width=6, kernel=(3, 3), stride=(2, 1))
    placement, _ = dense_kinds(layer, load_chip(chip), input_format=UINT8)
    parameters = TileParameters(placement, placement.tiles[0])
    text = tile_verilog(parameters)["tile.v"]
    found = Counter()
    for module in re.finditer(r"^module \\?(\w+)\S*.*?^endmodule", text, re.MULTILINE | re.DOTALL):
        instances = len(re.findall(rf"^  {module[1]} ", text, re.MULTILINE))
        for width, name, depth in re.findall(r"reg \[(\d+):0\] \\?(\w+)\S* +\[(\d+):0\];", module[0]):
            found[name] += instances * (int(width) + 1) * (int(depth) + 1)
    bits = BufferBits.of(parameters)
    assert (found["lines"], found["rows"], found["sums_0"] + found["sums_1"]) == (bits.input, bits.rows, bits.sums)


def test_a_network_is_the_sum_of_its_layers() -> None:
    layers, chip, ticks = load_network("resnet18")[-3:], load_chip("ou9x8"), []
    found = model_network(layers, chip, activations=Activations(zeros=0.3, seed=5), tick=lambda: ticks.append(1))
    assert len(ticks) == len(found["layers"]) == 3
    for name in ("cycles", "ou_reads", "ou_skipped", "steps", "fetched", "crossbars", "tiles"):
        assert found[name] == sum(line[name] for line in found["layers"])
    largest = max((line["buffer_bits_largest"] for line in found["layers"]), key=lambda own: sum(own.values()))
    assert found["buffer_bits_largest"] == largest
    assert found == model_network(layers, chip, activations=Activations(zeros=0.3, seed=5))
    assert found["ou_reads"] > model_network(layers, chip, activations=Activations(zeros=0.9, seed=5))["ou_reads"]
    assert found["cycles"] <= model_network(layers, chip, skip=False)["cycles"]


def test_activations_that_are_drawn() -> None:
    layer, chip = Layer(op="conv", channels=40, outputs=1, height=50, width=50), load_chip("ou9x8")
    for zeros in (0.0, 0.5, 1.0):
        x = Activations(zeros=zeros).draw(layer, 0, chip)
        assert x.shape == (1, 40, 50, 50) and x.min() >= 0 and x.max() <= 255
        assert abs((x == 0).mean() - zeros) < 0.01
    narrow = chip.model_copy(update={"input_bits": 5})
    assert Activations().draw(layer, 0, narrow).max() <= 31
    for wrong in ({"zeros": 1.5}, {"seed": -1}):
        with pytest.raises(InputError, match=r"is outside|is below"):
            Activations(**wrong)
