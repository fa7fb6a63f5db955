"""SME: quantiser, squeeze and planes against their definitions; in RTL against golden."""

import itertools

import numpy as np
import pytest

from examples.digits_gan.layers import transposed_layers
from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError
from selvage.base.layer import Layer
from selvage.base.shapes import load_network, ready_networks
from selvage.compiler.shapes import Synthetic, count_network
from selvage.golden.layer import evaluate
from selvage.golden.sme import codewords, full_scale, product, quantise, sqnr_db, squeezed
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import dense_crossbars, place_dense
from selvage.mapping.placement import Placement
from selvage.mapping.sme import SmeParameters, place_sme, sme_crossbars
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.machine import run
from tb.models.corners import LAYERS
from tb.models.pairs import pairs
from tb.models.tile_check import INT8, TINY, UINT8, check

OU9X8 = load_chip("ou9x8")


@pytest.mark.parametrize(("bits", "significant"), [(8, s) for s in range(1, 9)] + [(4, 2), (1, 1), (6, 5)])
def test_codewords_are_those_of_the_definition(bits: int, significant: int) -> None:
    def few(value: int) -> bool:
        return value == 0 or value.bit_length() - (value & -value).bit_length() < significant

    assert codewords(bits, significant).tolist() == [value for value in range(2**bits) if few(value)]
    assert len(codewords(bits, significant)) == 2 ** (significant - 1) * (bits - significant + 2)


@pytest.mark.parametrize("significant", range(1, 9))
def test_quantise_takes_the_nearest_codeword(significant: int) -> None:
    words, weights = codewords(8, significant), np.random.default_rng(significant).normal(0, 40, 3000)
    q = quantise(weights, 8, significant, 0.7)
    distance = np.abs(np.minimum(np.abs(weights) / 0.7, words[-1])[:, None] - words)
    np.testing.assert_allclose(np.abs(np.abs(q) - np.minimum(np.abs(weights) / 0.7, words[-1])), distance.min(axis=1))
    assert (np.sign(q)[q != 0] == np.sign(weights)[q != 0]).all()


# Published: SME at eight bits on Gaussian weights, scale by the largest.
@pytest.mark.parametrize(("significant", "decibels"), [(1, 14.2), (2, 19.7), (3, 25.6), (4, 31.5), (8, 45.1)])
def test_error_of_gaussian_weights(significant: int, decibels: float) -> None:
    weights = np.random.default_rng(1).standard_normal(2**20)
    scale = full_scale(weights, 8, significant)
    found = sqnr_db(weights, quantise(weights, 8, significant, scale) * scale)
    assert found == pytest.approx(decibels, abs=0.6)  # the largest of other draws sets another scale


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("squeeze", range(6))
def test_squeeze_row_by_row(squeeze: int, truncate: bool) -> None:
    codes = np.random.default_rng(squeeze).integers(-255, 256, (60, 5)) >> np.arange(60)[:, None] % 8
    found, shifts = squeezed(codes, 8, squeeze, truncate=truncate)
    for row, own, shift in zip(codes.tolist(), found.tolist(), shifts.tolist(), strict=True):
        assert shift == max(0, max(map(abs, row)).bit_length() - (8 - squeeze))
        for before, after in zip(row, own, strict=True):
            half = 2 ** (shift - 1) if shift and not truncate else 0
            whole = min((abs(before) + half) // 2**shift, 2 ** (8 - squeeze) - 1)
            assert after == (whole if before >= 0 else -whole)
            cut = truncate or whole == 2 ** (8 - squeeze) - 1  # the largest code is not rounded up
            assert abs(abs(before) - (whole << shift)) <= (2**shift - 1 if cut else 2**shift / 2)


def test_product_is_bit_serial() -> None:
    """Codes enter bit by bit, a row's ``s_r`` cycles late; planes are added where they stand."""
    rng = np.random.default_rng(5)
    a, (q, s) = rng.integers(0, 256, (4, 20)), squeezed(rng.integers(-255, 256, (20, 3)), 8, 3)
    total = np.zeros((4, 3), np.int64)
    for t, i in itertools.product(range(8 + int(s.max())), range(5)):
        late = t - s
        bit = np.where((late >= 0) & (late < 8), a >> np.clip(late, 0, 7) & 1, 0)
        plane = (np.maximum(q, 0) >> i & 1) - (np.maximum(-q, 0) >> i & 1)
        total += (bit @ plane) << (t + i)
    np.testing.assert_array_equal(total, product(a, q, s))
    np.testing.assert_array_equal(total, a @ (q << s[:, None]))


COUNTS = {  # published, 128 x 128: SLC-8, SLC-16, ISAAC
    "resnet50": (25008, 49984, 12504),
    "resnet18": (11448, 22888, 5724),
    "mobilenet-v2": (5052, 10078, 2526),
    "vgg16-cifar": (14648, 29296, 7324),
}
PARAMETERS = {"resnet50": 25_502_912, "resnet18": 11_678_912, "mobilenet-v2": 3_469_760, "vgg16-imagenet": 138_344_128}


@pytest.mark.parametrize("name", COUNTS)
def test_dense_counts(name: str) -> None:
    layers = load_network(name)
    kinds = (dict(bits=8), dict(bits=16), dict(bits=16, cell_bits=2, polarities=1))
    assert tuple(sum(dense_crossbars(layer, OU9X8, **k) for layer in layers) for k in kinds) == COUNTS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_layer_tables_hold_all_weights(name: str) -> None:
    """The published numbers of parameters, less those of normalisations and biases."""
    assert sum(int(np.prod(layer.weight_shape)) for layer in load_network(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", ready_networks())
def test_layer_tables_fit_together(name: str) -> None:
    """Each layer takes channels and a map that some layer before it, pooled or joined, can have made."""
    layers = load_network(name)
    made = {layers[0].channels} | {layer.outputs for layer in layers}
    sums = {a + b for a in made for b in made} | {m * side * side for m in made for side in (1, 4, 7)}
    assert all(layer.channels in made | sums for layer in layers)


def test_dense_count_is_the_placement() -> None:
    for fields in LAYERS.values():
        layer = Layer(**fields)
        if layer.op != "conv_transpose":  # whose phases each begin an array
            weights = np.ones(layer.weight_shape, np.int64)
            placed = place_dense(layer, weights, TINY, input_format=UINT8)
            assert placed.crossbars == dense_crossbars(layer, TINY, bits=TINY.weight_bits)


# The reference's ratios over SLC-8: (network, sparsity, squeeze, compact, ratio, dB).
RATIOS = [
    ("resnet50", 0, 0, False, 1.01, 25.5),
    ("resnet50", 0, 0, True, 1.16, 25.5),
    ("resnet50", 0, 2, False, 1.33, 24.8),
    ("resnet50", 0, 2, True, 1.37, 24.8),
    ("resnet50", 0, 3, False, 1.60, 22.6),
    ("resnet50", 0, 4, False, 2.00, 18.1),
    ("resnet50", 0, 4, True, 2.07, 18.1),
    ("resnet50", 0.9, 4, True, 2.13, 24.6),
    ("mobilenet-v2", 0, 4, False, 1.65, 18.4),
    ("mobilenet-v2", 0, 4, True, 1.70, 18.4),
]


@pytest.mark.parametrize(("name", "sparsity", "squeeze", "compact", "ratio", "decibels"), RATIOS)
def test_ratios(name: str, sparsity: float, squeeze: int, compact: bool, ratio: float, decibels: float) -> None:
    parameters = SmeParameters(squeeze=squeeze, compact=compact)
    found = count_network(load_network(name), OU9X8, "sme", parameters, Synthetic(sparsity=sparsity))
    assert found["crossbars_dense"]["slc8"] / found["crossbars"] == pytest.approx(ratio, rel=0.02)
    assert found["sqnr_db"] == pytest.approx(decibels, abs=0.2)


def test_auto_keeps_what_gains_nothing() -> None:
    found = count_network(load_network("mobilenet-v2"), OU9X8, "auto", SmeParameters(squeeze=2), Synthetic())
    by_name = {line["name"]: line for line in found["layers"]}
    kept = by_name["features.3.depthwise"]
    assert kept["mapping"] == "dense" and kept["note"].startswith("kept dense") and kept["crossbars"] == 22
    assert all(line["mapping"] == "dense" for name, line in by_name.items() if "depthwise" in name)
    assert by_name["features.18"]["mapping"] == "sme"


def laplace(layer: Layer, seed: int, *, zeros: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weights = np.clip(np.rint(rng.laplace(0, 40, layer.weight_shape)), -255, 255).astype(np.int64)
    return weights * (rng.random(weights.shape) >= zeros)


MAPPED = [(name, s) for name in LAYERS for s in ("auto", *(["zero-padding"] if "pad" in name else []))]


CHIPS = {"tiny": TINY, "ou9x8": OU9X8, "two bits a cell": TINY.model_copy(update={"cell_bits": 2, "adc_bits": 4})}
OPTIONS = pairs(
    (*own, *options)
    for own, *options in itertools.product(
        MAPPED, CHIPS, (0, 2, 4), (False, True), (False, True), (False, True), (0.2, 0.95)
    )
)


@pytest.mark.parametrize(("name", "schedule", "chip", "squeeze", "truncate", "compact", "sort", "zeros"), OPTIONS)
def test_placements_compute_the_effective_weights(
    name: str, schedule: str, chip: str, squeeze: int, truncate: bool, compact: bool, sort: bool, zeros: float
) -> None:
    """Through the crossbars: what golden makes of the effective weights; as many arrays."""
    layer, rng = Layer(**LAYERS[name]), np.random.default_rng(len(name))
    x = rng.integers(-128, 128, (1, layer.channels, layer.height, layer.width))
    parameters = SmeParameters(1 + squeeze, squeeze, truncate=truncate, compact=compact, sort=sort)
    weights, how = laplace(layer, squeeze, zeros=zeros), {"schedule": schedule, "parameters": parameters}
    placed, effective = place_sme(layer, weights, CHIPS[chip], input_format=INT8, **how)
    np.testing.assert_array_equal(run(placed, x), evaluate(layer, x, effective))
    codes = quantise(weights, 8, parameters.significant_bits)
    counted, same = sme_crossbars(layer, codes, CHIPS[chip], parameters, schedule)
    assert counted == placed.crossbars
    np.testing.assert_array_equal(same, effective)


def test_effective_weights_are_golden_s() -> None:
    """One column block, one row set: the squeeze of the whole matrix."""
    layer = Layer(op="dense", channels=40, outputs=6)
    weights = laplace(layer, 9)
    _, effective = place_sme(layer, weights, OU9X8, input_format=UINT8, parameters=SmeParameters(3, 3))
    codes, shifts = squeezed(quantise(weights, 8, 3), 8, 3)
    np.testing.assert_array_equal(effective, codes << shifts[:, None])
    assert shifts.max() == 3


RTL = [(x, s) for x, s in itertools.product(range(6), range(1, 9)) if (x + s) % 6 == 0 or (s == 3 and x % 2)]


@pytest.mark.parametrize(("squeeze", "significant"), RTL)
def test_exact_in_rtl(squeeze: int, significant: int) -> None:
    """Signed and unsigned inputs, one layer after the other: outputs, cycles and reads."""
    name = list(LAYERS)[(squeeze * 3 + significant) % len(LAYERS)]
    layer, odd = Layer(name="sliced", **LAYERS[name]), (squeeze + significant) % 2
    parameters = SmeParameters(significant, squeeze, compact=squeeze in (1, 4), sort=significant in (2, 3))
    numbers = INT8 if odd else UINT8
    two_bits = dict(cell_bits=2, adc_bits=4) if squeeze % 2 == 0 and significant % 2 else {}
    chip = TINY.model_copy(update=two_bits)
    placed, effective = place_sme(layer, laplace(layer, squeeze), chip, input_format=numbers, parameters=parameters)
    x = np.random.default_rng(significant).integers(*numbers.raw_range, (1, layer.channels, layer.height, layer.width))
    check(placed, effective, x * (x % 3 > 0), skip=squeeze != 2)


@pytest.mark.parametrize("index", [1, 2])
def test_digits_generator_in_rtl(index: int) -> None:
    """The generator's transposed convolutions: pixel-wise, by planes and squeezed, on real activations. The first and
    largest runs in `make sim`."""
    own = transposed_layers()[index]
    chip = OU9X8.model_copy(update={"arrays_per_tile": 12})
    placed, effective = place_sme(
        own.geometry, own.weights, chip, input_format=own.format, parameters=SmeParameters(3, 3)
    )
    assert placed.schedule == "red"
    check(placed, effective, own.activations)


def reads(placed: Placement, x: np.ndarray) -> int:
    """OU reads of all arrays, from the RTL's counter."""
    return sum(simulate_tile(TileParameters(placed, tile, skip=False), x).counters["reads"] for tile in placed.tiles)


def test_conversions_fall_by_the_formula() -> None:
    """``(N - x)(B + x) / (N * B)`` of the conversions, every OU read: from the RTL's counter."""
    layer = Layer(op="dense", channels=12, outputs=8)
    weights = np.random.default_rng(3).integers(-255, 256, layer.weight_shape)
    weights[:, 0] = np.where(np.arange(12) % 2, 255, -255)  # every row is moved as far as it goes
    weights[0, 1:3] = 255, -255  # every plane of both arrays is there
    x = np.random.default_rng(4).integers(0, 256, (1, 12, 1, 1))
    found = []
    for squeeze in range(6):
        parameters = SmeParameters(8, squeeze, truncate=True)
        placed, _ = place_sme(layer, weights, TINY, input_format=UINT8, parameters=parameters)
        found.append(reads(placed, x))
    assert [n * 64 for n in found] == [found[0] * (8 - x) * (8 + x) for x in range(6)]


def test_sorted_rows_take_no_more_input_planes() -> None:
    layer = Layer(op="dense", channels=16, outputs=8)
    weights = laplace(layer, 2)
    x = np.random.default_rng(4).integers(0, 256, (1, 16, 1, 1))
    placed, effective = place_sme(layer, weights, TINY, input_format=UINT8, parameters=SmeParameters(3, 3, sort=True))
    assert {placed.planes(array) for tile in placed.tiles for array in tile.arrays} == {8}
    assert len({block.significances for tile in placed.tiles for array in tile.arrays for block in array.blocks}) > 5
    check(placed, effective, x, skip=False)


def test_planes_cost_a_dense_tile_nothing() -> None:
    """Nothing of the gateware of a dense tile depends on what planes need."""
    placed = place_dense(Layer(**LAYERS["odd padding"]), np.ones((2, 3, 3, 4), np.int64), TINY, input_format=INT8)
    p = TileParameters(placed, placed.tiles[0])
    assert all(engine.planes == engine.input_bits and not engine.signed for engine in p.engines)
    assert {s for bank in p.drain.banks for beat in bank.beats for s in beat.significances} <= {0, None}


REFUSED = [
    (dict(squeeze=8), {}, "--squeeze 8 is outside 0 .. 7, below weight_bits = 8"),
    (dict(squeeze=-1), {}, "--squeeze -1 is outside 0 .. 7"),
    (dict(significant_bits=9), {}, "--significant-bits 9 is outside 1 .. 8"),
    (dict(significant_bits=0), {}, "--significant-bits 0 is outside 1 .. 8"),
    (dict(squeeze=3), dict(cell_bits=2, adc_bits=4), "--squeeze 3 is no multiple of cell_bits = 2"),
    ({}, dict(encoding="offset"), "mapping sme needs encoding = 'differential'"),
]


@pytest.mark.parametrize(("parameters", "changes", "message"), REFUSED)
def test_refused(parameters: dict, changes: dict, message: str) -> None:
    chip, layer = Chip(**{**TINY.model_dump(), **changes}), Layer(op="dense", channels=4, outputs=2)
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        place_sme(layer, np.ones((4, 2), np.int64), chip, input_format=UINT8, parameters=SmeParameters(**parameters))


def test_golden_refuses_the_impossible() -> None:
    for call in (lambda: codewords(8, 9), lambda: codewords(8, 0), lambda: squeezed(np.ones((2, 2), int), 8, 8)):
        with pytest.raises(ValueError, match="outside"):
            call()
