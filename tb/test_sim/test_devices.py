"""Crossbars that are not ideal: RTL and model bit for bit, what each kind does, reads against a slow machine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.base.noise import Cells, Converters, Drift, Noise, Remedies, Wires
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Placement
from selvage.mapping.sre import place_sre
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.devices import UNITS, Devices, NoisyCrossbar
from selvage.sim.machine import run, run_counted, tile_outputs
from tb.models.draws import seeded

EVERYTHING = Noise(
    seed=7,
    cells=Cells(on_off=20, spread=0.2, stuck_on=0.02, stuck_off=0.05),
    drift=Drift(exponent=0.05, spread=0.02, ratio=1000),
    wires=Wires(word_line=0.1, bit_line=0.1),
    adc=Converters(offset=0.3, gain=0.1, nonlinearity=0.3, read_noise=0.3),
    remedies=Remedies(spare_columns=2),
)
STILL = EVERYTHING.model_copy(update={"adc": Converters(offset=2.0, gain=0.2, nonlinearity=1.0)})  # reads repeat
FORMAT = InputFormat(raw_bits=4, raw_signed=False)


def not_ideal(number: int) -> Placement:
    placement = seeded(1, number).placement
    return replace(placement, chip=placement.chip.not_ideal())


@pytest.mark.parametrize("noise", [EVERYTHING, STILL], ids=["every read", "still"])
@pytest.mark.parametrize("number", [0, 1, 2, 7, 13, 20])
def test_rtl_and_model_see_the_same_bits(number: int, noise: Noise, tmp_path: Path) -> None:
    drawn = seeded(1, number)
    placement = not_ideal(number)
    devices = Devices(placement, noise)
    changed = 0
    for tile in placement.tiles:
        p = TileParameters(placement, tile, skip=drawn.skip)
        found = simulate_tile(p, drawn.x, build=tmp_path, devices=devices).y
        wanted = tile_outputs(placement, tile, drawn.codes, devices, skip=drawn.skip)
        assert np.array_equal(found, wanted)
        changed += int((found != tile_outputs(placement, tile, drawn.codes)).sum())
    assert changed


def test_rtl_sees_noise_in_order_when_streams_pause_and_after_a_reset(tmp_path: Path) -> None:
    drawn, placement = seeded(1, 1), not_ideal(1)
    devices, tile = Devices(placement, EVERYTHING), placement.tiles[0]
    pauses = {"source": (3, 4), "sink": (4, 3), "macro": (4, 2), "latency": 3}
    p = TileParameters(placement, tile, skip=drawn.skip)
    paused = simulate_tile(p, drawn.x, build=tmp_path, devices=devices, stalls=pauses, reset_after=60)
    assert np.array_equal(paused.y, tile_outputs(placement, tile, drawn.codes, devices, skip=drawn.skip))


def slow(placement: Placement, codes: np.ndarray) -> tuple[np.ndarray, int]:
    """Outputs of a 1x1 convolution and conversions cut, read by read: the lowest rows that drive first where formed."""
    chip, numbers = placement.chip, placement.format
    y, cut = np.zeros((placement.layer.outputs, codes.shape[2] * codes.shape[3]), np.int64), 0
    most = 2**chip.adc_bits - 1
    for tile in placement.tiles:
        values = codes[0, tile.first_channel : tile.first_channel + tile.channels].reshape(tile.channels, -1)
        for array in tile.arrays:
            for block in array.blocks:
                for step in range(values.shape[1]):
                    own = values[block.window, step] << block.shifts
                    for plane in range(placement.planes(array)):
                        bits = own >> plane & 1
                        if placement.dynamic:
                            driven = np.flatnonzero(bits)
                            reads = [driven[k : k + chip.ou_rows] for k in range(0, len(driven), chip.ou_rows)]
                        else:
                            rows = range(0, block.rows, chip.ou_rows)
                            reads = [k + np.flatnonzero(bits[k : k + chip.ou_rows]) for k in rows]
                        sign = -1 if numbers.signed and plane == placement.planes(array) - 1 else 1
                        for read in reads:
                            for k, output in enumerate(block.outputs):
                                for part in range(array.slices):
                                    column = block.column + k * array.slices + part
                                    total = int(array.cells[block.row + read, column].sum())
                                    cut += total > most
                                    code = min(total, most) << plane + part * chip.cell_bits
                                    y[output, step] += sign * array.polarity * code
    return y.reshape(1, -1, *codes.shape[2:]), cut


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(
    ("cell_bits", "ou_rows", "adc_bits"), [(1, 9, 4), (1, 9, 2), (2, 4, 2), (1, 16, 2), (2, 16, 3)]
)
def test_reads_at_once_are_the_reads_one_by_one(
    cell_bits: int, ou_rows: int, adc_bits: int, dynamic: bool, signed: bool
) -> None:
    chip = Chip(
        name="slow",
        rows=16,
        columns=12,
        cell_bits=cell_bits,
        ou_rows=ou_rows,
        ou_cols=4,
        adc_bits=adc_bits,
        weight_bits=4,
    )
    layer = Layer(op="conv", channels=20, outputs=5, height=2, width=2)
    rng = np.random.default_rng(3)
    weights = rng.integers(-15, 16, layer.weight_shape)
    numbers = InputFormat(raw_bits=4, raw_signed=signed)
    placement = (place_sre if dynamic else place_dense)(layer, weights, chip, input_format=numbers, dynamic=dynamic)
    codes = rng.integers(*numbers.raw_range, (1, 20, 2, 2), endpoint=True)
    y, cut = run_counted(placement, codes)
    wanted, cuts = slow(placement, codes)
    assert np.array_equal(y, wanted)
    assert cut == cuts
    assert (cut > 0) == (adc_bits < chip.lossless_adc_bits)
    assert np.array_equal(run(placement, codes, Devices(placement, Noise())), wanted)  # drawn, and ideal all the same


def levels(noise: Noise, held: int = 1) -> np.ndarray:
    """Levels of an array whose cells all hold the same."""
    chip = load_chip("ou9x8")
    return NoisyCrossbar(np.full((128, 128), held, np.uint8), chip, noise, (1, 2)).levels / UNITS


def test_spreads_are_as_they_say() -> None:
    normal = levels(Noise(cells=Cells(spread=0.1, distribution="normal")))
    assert (normal.mean(), normal.std()) == pytest.approx((1, 0.1), rel=0.03)
    lognormal = levels(Noise(cells=Cells(spread=0.3)))
    assert lognormal.mean() == pytest.approx(1, rel=0.02)
    assert np.log(lognormal).std() == pytest.approx(0.3, rel=0.03)
    wide = load_chip("ou9x8").model_copy(update={"cell_bits": 2})
    normal = Noise(cells=Cells(on_off=4, spread=0.1, distribution="normal"))
    held = NoisyCrossbar(np.full((128, 128), 2, np.uint8), wide, normal, (1, 2)).levels / UNITS
    assert (held.mean(), held.std()) == pytest.approx((2 + 1, 0.1 * (3 + 1)), rel=0.03)  # 1: the lowest of 4 : 1
    off = levels(Noise(cells=Cells(spread=0.1, distribution="normal")), held=0)
    assert off.min() == 0  # conductance is never negative
    assert off.mean() == pytest.approx(0.1 / np.sqrt(2 * np.pi), rel=0.05)


def test_stuck_cells_come_at_their_rates() -> None:
    noise = Noise(cells=Cells(stuck_on=0.02, stuck_off=0.05))
    assert (levels(noise, 1) == 0).mean() == pytest.approx(0.05, rel=0.1)
    assert (levels(noise, 0) == 1).mean() == pytest.approx(0.02, rel=0.15)


def test_drift_and_leak() -> None:
    drifted = levels(Noise(drift=Drift(exponent=0.1, ratio=100)))
    assert drifted == pytest.approx(100**-0.1, abs=1e-4)
    assert levels(Noise(cells=Cells(on_off=11)), 0) == pytest.approx(0.1, abs=1e-4)  # 1 / (11 - 1) of a level


def codes_of(noise: Noise, driven: int, rows: int = 9) -> np.ndarray:
    """Codes of a column group of full cells, so many rows driven, on a chip of eight bits."""
    chip = load_chip("ou9x8").model_copy(update={"adc_bits": 8})
    crossbar = NoisyCrossbar(np.ones((128, 128), np.uint8), chip, noise, (1, 2))
    wordlines = 2**driven - 1
    packed = crossbar.read(wordlines, 3)
    assert rows >= driven
    return np.array([packed >> 8 * lane & 255 for lane in range(8)])


def test_converters_are_off_by_what_was_drawn() -> None:
    chip = load_chip("ou9x8").model_copy(update={"adc_bits": 8})
    noise = Noise(adc=Converters(offset=3.0))
    crossbar = NoisyCrossbar(np.ones((128, 128), np.uint8), chip, noise, (1, 2))
    assert np.array_equal(codes_of(noise, 9), np.clip(np.rint(9 + crossbar.offset), 0, 255))
    assert crossbar.offset.std() > 1
    gains = NoisyCrossbar(np.ones((128, 128), np.uint8), chip, Noise(adc=Converters(gain=0.2)), (1, 2)).gain
    assert np.array_equal(codes_of(Noise(adc=Converters(gain=0.2)), 9), np.rint(9 * gains))
    bowed = Noise(adc=Converters(nonlinearity=200.0 / 40))
    assert codes_of(bowed, 0).tolist() == [0] * 8  # the ends stay
    trimmed = Noise(adc=Converters(offset=3.0, gain=0.2), remedies=Remedies(calibration=True))
    assert np.abs(codes_of(trimmed, 9) - 9).max() <= 1


def test_a_reference_column_takes_the_leak_away() -> None:
    leaking = Noise(cells=Cells(on_off=4), remedies=Remedies(reference=False))
    assert codes_of(leaking, 9).tolist() == [12] * 8  # 9 * (1 + 1/3)
    assert codes_of(Noise(cells=Cells(on_off=4)), 9).tolist() == [9] * 8


def test_a_table_of_patterns_has_the_codes_of_single_reads() -> None:
    """Lowest levels of 11 538 each: of nine rows they are no whole multiple that float32 holds."""
    chip = load_chip("ou9x8").model_copy(update={"cell_bits": 4, "adc_bits": 8})
    cells = np.random.default_rng(0).integers(0, 16, (128, 128), np.uint8)
    crossbar = NoisyCrossbar(cells, chip, Noise(cells=Cells(on_off=1.0013, spread=0.2)), (1, 2))
    patterns = np.arange(2**9)
    bits = (patterns[:, None] >> np.arange(9) & 1).astype(np.float32)
    found = crossbar.codes(bits, np.arange(9), slice(0, 16)).astype(int).tolist()
    for pattern, codes in zip(patterns.tolist(), found, strict=True):
        read = [crossbar.read(pattern, group) for group in (0, 1)]
        assert codes == [own >> 8 * lane & 255 for own in read for lane in range(8)]


def placed(chip: Chip | None = None) -> tuple[Placement, np.ndarray]:
    layer = Layer(op="conv", channels=14, outputs=8, height=4, width=4, kernel=(3, 3))
    rng = np.random.default_rng(1)
    chip = (chip or load_chip("ou9x8")).not_ideal()
    placement = place_dense(layer, rng.integers(-127, 128, layer.weight_shape), chip, input_format=FORMAT)
    return placement, rng.integers(0, 16, (1, 14, 4, 4))


def error(noise: Noise) -> float:
    placement, codes = placed()
    return float(np.abs(run(placement, codes, Devices(placement, noise)) - run(placement, codes)).mean())


def test_remedies_help() -> None:
    stuck = Cells(stuck_on=0.01, stuck_off=0.01)
    assert error(Noise(cells=stuck, remedies=Remedies(spare_columns=64))) < 0.8 * error(Noise(cells=stuck))
    off = Converters(offset=0.5)
    assert error(Noise(adc=off, remedies=Remedies(calibration=True))) < 0.2 * error(Noise(adc=off))


def test_seeds_draw() -> None:
    placement, codes = placed()

    def outputs(seed: int) -> np.ndarray:
        return run(placement, codes, Devices(placement, EVERYTHING.seeded(seed)))

    assert np.array_equal(outputs(1), outputs(1))
    assert not np.array_equal(outputs(1), outputs(2))


def test_wires_take_more_from_far_cells() -> None:
    chip = load_chip("ou9x8").model_copy(update={"adc_bits": 8})
    full = NoisyCrossbar(np.ones((128, 128), np.uint8), chip, Noise(wires=Wires(bit_line=1.0, word_line=1.0)), (1, 2))
    near = full.currents(np.ones((1, 9)), np.arange(119, 128), slice(0, 8))
    far = full.currents(np.ones((1, 9)), np.arange(9), slice(120, 128))
    assert (near < 9).all() and (near > far).all()


def test_wires_that_leave_no_level_are_refused() -> None:
    placement, _ = placed()
    with pytest.raises(InputError, match="no level is left"):
        Devices(placement, Noise(wires=Wires(word_line=1000.0)))
    with pytest.raises(InputError, match="spare_columns = 129 is more than columns = 128 of chip ou9x8"):
        Devices(placement, Noise(remedies=Remedies(spare_columns=129)))
    tall = replace(placement, chip=placement.chip.model_copy(update={"rows": 1024, "ou_rows": 1024}))
    with pytest.raises(InputError, match=r"bit_line = 0\.001 is for OUs of fewer rows than ou_rows = 1024"):
        Devices(tall, Noise(wires=Wires(bit_line=0.001)))


def test_sums_hold_codes_that_ideal_cells_cannot_reach(tmp_path: Path) -> None:
    """One cell sums to 1 at most; an ADC that is off yields up to 15, which a chip of full range holds."""
    chip = Chip(name="one", rows=4, columns=4, ou_rows=4, ou_cols=4, adc_bits=4, weight_bits=1, arrays_per_tile=2)
    layer = Layer(name="one", op="conv", channels=1, outputs=1, height=1, width=8)
    placement = place_dense(layer, np.ones((1, 1, 1, 1), int), chip.not_ideal(), input_format=FORMAT)
    x = np.arange(8, 16).reshape(1, 1, 1, 8)
    devices = next(
        own
        for seed in range(100)
        if (own := Devices(placement, Noise(seed=seed, adc=Converters(offset=9.0)))).crossbar(0, 0).offset[0] > 10
        and own.crossbar(0, 1).offset[0] < 0
    )
    found = simulate_tile(TileParameters(placement, placement.tiles[0]), x, build=tmp_path, devices=devices).y
    assert np.array_equal(found, run(placement, x, devices))
    assert found.max() > 10 * 8  # ideal cells reach 15
