"""What is drawn of single crossbars: keys and seeds, read noise, bows, spare bit lines, batches."""

import numpy as np
import pytest

from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.base.noise import Cells, Converters, Drift, Noise, Remedies, Wires
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Placement
from selvage.sim.devices import GAIN_TRIM, OFFSET_TRIM, UNITS, Devices, NoisyCrossbar
from selvage.sim.machine import run

CHIP = load_chip("ou9x8").model_copy(update={"adc_bits": 8})
ONES = np.ones((128, 128), np.uint8)
FORMAT = InputFormat(raw_bits=4, raw_signed=False)


def crossbar(noise: Noise, key: tuple[int, ...] = (1, 2), importance: list[int] | None = None) -> NoisyCrossbar:
    return NoisyCrossbar(ONES, CHIP, noise, key, importance)


def lanes(read: int) -> list[int]:
    return [read >> 8 * lane & 255 for lane in range(8)]


def placed(name: str = "own") -> Placement:
    layer = Layer(name=name, op="conv", channels=20, outputs=8, height=3, width=3, kernel=(3, 3))
    weights = np.random.default_rng(1).integers(-127, 128, layer.weight_shape)
    return place_dense(layer, weights, load_chip("ou9x8").not_ideal(), input_format=FORMAT)


def test_seeds_and_keys_draw_cells_and_converters() -> None:
    noise = Noise(seed=1, cells=Cells(spread=0.1), adc=Converters(offset=1.0))
    one = crossbar(noise)
    assert np.array_equal(one.levels, crossbar(noise).levels) and np.array_equal(one.offset, crossbar(noise).offset)
    for other in (crossbar(noise.seeded(2)), crossbar(noise, (1, 3)), crossbar(noise, (2, 2))):
        assert not (one.levels == other.levels).all() and not (one.offset == other.offset).any()


def test_every_array_of_every_layer_is_drawn_for_itself() -> None:
    noise = Noise(adc=Converters(offset=1.0))
    drawn = [
        devices.crossbar(tile, array).offset.tolist()
        for devices in (Devices(placed("first"), noise), Devices(placed("second"), noise))
        for tile, own in enumerate(devices.placement.tiles)
        for array in range(len(own.arrays))
    ]
    assert len(drawn) == len({tuple(own) for own in drawn}) > 2
    again = Devices(placed("first"), noise).crossbar(0, 0).offset
    assert again.tolist() == drawn[0]


def test_noise_of_reads_is_normal_of_its_sigma() -> None:
    """Codes are whole, which adds a variance of a twelfth."""
    own = crossbar(Noise(adc=Converters(read_noise=2.0)))
    codes = np.array([lanes(own.read(2**100 - 1, 3)) for _ in range(500)])
    assert codes.mean() == pytest.approx(100, abs=0.15)
    assert codes.std() == pytest.approx(np.sqrt(4 + 1 / 12), rel=0.05)
    assert abs(np.corrcoef(codes[:, 0], codes[:, 1])[0, 1]) < 0.15  # each lane has its own


def test_batches_have_read_noise_of_their_own_and_the_same_each_time() -> None:
    placement, codes = placed(), np.full((1, 20, 3, 3), 9)
    devices = Devices(placement, Noise(adc=Converters(read_noise=0.5)))
    found = []
    for batch in (0, 1, 0):
        devices.begin(batch)
        found.append(run(placement, codes, devices))
    assert np.array_equal(found[0], found[2]) and not np.array_equal(found[0], found[1])


def test_a_bow_is_as_drawn_in_the_middle_of_the_range_and_nothing_at_its_ends() -> None:
    own = crossbar(Noise(adc=Converters(nonlinearity=8.0)))
    for driven in (0, 64, 127):
        share = driven / 255
        wanted = driven + 4 * own.bow * share * (1 - share)
        assert lanes(own.read(2**driven - 1, 5)) == np.clip(np.rint(wanted), 0, 255).astype(int).tolist()
    middle = np.array(lanes(own.read(2**127 - 1, 5))) - 127
    assert middle == pytest.approx(own.bow, abs=0.51) and np.abs(middle).max() > 4


def test_a_converter_serves_the_same_lane_of_all_column_groups() -> None:
    own = crossbar(Noise(adc=Converters(offset=5.0)))
    codes = own.codes(np.ones((1, 60)), np.arange(60), slice(3, 24))[0]
    assert codes.tolist() == np.rint(60 + own.offset[np.arange(3, 24) % 8]).tolist()


def test_calibration_leaves_half_a_step() -> None:
    adc = Converters(offset=3.0, gain=0.2)
    raw, trimmed = crossbar(Noise(adc=adc)), crossbar(Noise(adc=adc, remedies=Remedies(calibration=True)))
    assert np.abs(trimmed.offset).max() <= 0.5 / OFFSET_TRIM < np.abs(raw.offset).max()
    assert np.abs(trimmed.gain - 1).max() <= 0.5 / GAIN_TRIM < np.abs(raw.gain - 1).max()
    steps = (raw.offset - trimmed.offset) * OFFSET_TRIM, (raw.gain - trimmed.gain) * GAIN_TRIM
    assert np.array(steps) == pytest.approx(np.rint(steps))


STUCK = Noise(seed=3, cells=Cells(stuck_off=0.02))


def test_spare_bit_lines_are_used_once_and_only_where_they_help() -> None:
    plain = (ONES - crossbar(STUCK).levels / UNITS).sum(axis=0)  # cells lost of each bit line
    for count in (1, 5, 40, 128):
        repaired = crossbar(replace_spares(STUCK, count)).levels / UNITS
        lost = (ONES - repaired).sum(axis=0)
        assert (lost <= plain).all() and lost.sum() < plain.sum()
        assert 0 < np.count_nonzero(lost < plain) <= count
    kept = np.sort(plain)[: 128 - 5]
    assert (ONES - crossbar(replace_spares(STUCK, 5)).levels / UNITS).sum() >= kept.sum()


def test_a_spare_goes_where_the_bit_line_counts_most() -> None:
    plain = crossbar(STUCK).levels
    worst, chosen, *_ = np.argsort(-(UNITS - plain).sum(axis=0), kind="stable").tolist()
    for column, counts in ((worst, 1), (chosen, 1000)):
        importance = [1] * 128
        importance[column] = counts
        repaired = crossbar(replace_spares(STUCK, 1), importance=importance).levels
        assert np.flatnonzero((repaired != plain).any(axis=0)).tolist() == [column]


def test_the_importance_of_a_bit_line_is_its_place_in_a_weight() -> None:
    """Seven slices of one bit a weight: a pair of P and N holds magnitudes of 8 bits less the sign."""
    placement = placed()
    (tile, *_), chip = placement.tiles, placement.chip
    array = tile.arrays[0]
    found = Devices(placement, STUCK).importance(array)
    block = array.blocks[0]
    columns = found[block.column : block.column + len(block.outputs) * array.slices]
    assert columns == [2 ** (k * chip.cell_bits) for k in range(array.slices)] * len(block.outputs)
    assert sum(found) == sum(columns)  # other bit lines count for nothing


def replace_spares(noise: Noise, count: int) -> Noise:
    return noise.model_copy(update={"remedies": Remedies(spare_columns=count)})


def test_a_spare_is_given_out_once() -> None:
    """Of thirteen stuck cells a bit line, two are never alike, but where one spare is given out twice."""
    noise = Noise(seed=3, cells=Cells(stuck_off=0.1))
    plain = crossbar(noise).levels
    for count in (2, 100):
        repaired = crossbar(replace_spares(noise, count)).levels
        changed = np.flatnonzero((repaired != plain).any(axis=0))
        assert len(changed) == len({own.tobytes() for own in repaired[:, changed].T}) > 1


def test_conductance_never_drifts_upward() -> None:
    """A mean exponent of 0 with a spread: half of the cells would gain."""
    levels = crossbar(Noise(drift=Drift(spread=0.1, ratio=1000.0))).levels / UNITS
    assert levels.max() == 1 and (levels == 1).mean() == pytest.approx(0.5, abs=0.02)
    assert np.median(-np.log(levels[levels < 1]) / np.log(1000)) == pytest.approx(0.1 * 0.6745, rel=0.03)


def test_a_word_line_by_hand() -> None:
    """Segments of a hundredth of a cell, a column group of eight full cells.

    Through the first segment flow 8 currents, through the second 7: bit line 0 lacks 8 hundredths, bit line 1 15. In
    the next group 8 flow through nine segments to its first.
    """
    levels = crossbar(Noise(wires=Wires(word_line=100.0, cell=1e4))).levels / UNITS
    wanted = [1 / (1 + 0.01 * 8), 1 / (1 + 0.01 * (8 + 7)), 1 / (1 + 0.01 * 8 * 9)]
    assert levels[5, [0, 1, 8]] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("rows", "squares"),
    [((126, 127), 1 + 4), ((124, 127), 3 * 1 + 4), ((120, 121, 125), 1 + 4 * 4 + 9 * 3)],
)
def test_a_bit_line_by_hand(rows: tuple[int, ...], squares: int) -> None:
    """Currents add up on the way to row 128; each segment of a hundredth takes their square over the whole."""
    own = crossbar(Noise(wires=Wires(bit_line=100.0, cell=1e4)))
    wanted = len(rows) / (1 + 0.01 * squares / len(rows))
    assert own.currents(np.ones((1, len(rows))), np.array(rows), slice(0, 8)) == pytest.approx(wanted, abs=1e-4)
    among = np.arange(128)
    driven = np.isin(among, rows)[None].astype(float)
    assert own.currents(driven, among, slice(0, 8)) == pytest.approx(wanted, abs=1e-4)
