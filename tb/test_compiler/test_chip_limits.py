"""Every limit of a chip on every path: layers, networks, known shapes refuse the same things in the same words."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from bench.onnx_models import Build, saved
from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.bundle.verilog_bundle import layer_graph
from selvage.commands.layer_report import report
from selvage.commands.network_command import model_network, simulate_network
from selvage.compiler.chip_limits import check_collected
from selvage.compiler.compile_layer import compile_layer, predict
from selvage.compiler.compile_network import compile_network
from selvage.compiler.options import Options
from selvage.compiler.shape_cycles import Activations, model_layer
from selvage.compiler.shapes import Synthetic, count_cycles, count_network
from selvage.frontend.layer_file import Model
from selvage.golden.layer import evaluate
from selvage.hw.network.network import NetworkParameters
from selvage.mapping.dense import dense_kinds, place_dense
from selvage.mapping.plan_network import plan_network
from selvage.sim.cycles import tile_cycles
from selvage.sim.machine import run

LAYER = Layer(name="own", op="conv", channels=2, outputs=3, height=4, width=4, kernel=(2, 2))
WEIGHTS = np.random.default_rng(1).integers(-50, 51, LAYER.weight_shape)
LIMITS = [  # keys of the chip, type of the activations, what is said
    ({"input_bits": 7}, np.uint8, "input is uint8, and chip tiny takes input_bits = 7"),
    ({"input_bits": 1}, np.int8, "int8, and chip tiny takes input_bits = 1"),
    ({"input_signed": False}, np.int8, "input is int8, and chip tiny has input_signed = false"),
    ({"weight_signed": False}, np.uint8, "negative, and chip tiny has weight_signed = false"),
    ({"weight_bits": 4}, np.uint8, "outside -15 .. 15 of weight_bits = 4 in differential encoding on chip tiny"),
    ({"weight_bits": 5, "encoding": "offset"}, np.uint8, "of weight_bits = 5 on chip tiny"),
    ({"adc_bits": 1}, np.uint8, "--lossless: chip tiny has adc_bits = 1, and its codes can clip"),
]


def on(**changes: object) -> Chip:
    return Chip(**{**load_chip("tiny").model_dump(), **changes})


def of_layer(chip: Chip, kind: type, where: Path) -> None:
    """The layer by itself."""
    model = Model(LAYER, WEIGHTS, None, 0, np.dtype(kind), (None, 2, 4, 4))
    x = np.random.default_rng(2).integers(0, 100, (1, 2, 4, 4))
    compile_layer(model, chip, x, Options(lossless=True))


def of_network(chip: Chip, kind: type, where: Path) -> None:
    """The layer behind one that turns codes of one kind into those of the other, so that it reads no input."""
    code = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}[kind]
    n = Build(opset=21)
    real = n.real(n.input("image", (1, 2, 4, 4), code), 0.5, 0, kind)
    n.output(n.through(n.add("Conv", real, n.weights(WEIGHTS.astype(np.int8), 0.1), name="own"), 16.0, 0, kind))
    compile_network(saved(n.model(), where), chip, None, Options(lossless=True), lambda: None)


def of_second_layer(chip: Chip, kind: type, where: Path) -> None:
    """The same behind another layer, whose own activations the chip takes."""
    other = np.uint8 if kind is np.int8 else kind
    code = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}[other]
    n = Build(opset=21)
    real = n.real(n.input("image", (1, 2, 5, 4), code), 0.5, 0, other)
    first = n.add("Conv", real, n.weights(np.ones((2, 2, 2, 1), np.int8), 0.1), name="first")
    between = n.through(first, 16.0, 0, kind)
    n.output(n.through(n.add("Conv", between, n.weights(WEIGHTS.astype(np.int8), 0.1), name="own"), 16.0, 0, kind))
    compile_network(saved(n.model(), where), chip, None, Options(lossless=True), lambda: None)


@pytest.mark.parametrize("path", [of_layer, of_network, of_second_layer])
@pytest.mark.parametrize(("changes", "kind", "says"), LIMITS, ids=lambda own: str(own)[:40])
def test_limits(path: Callable, changes: dict, kind: type, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        path(on(**changes), kind, tmp_path)
    assert says in str(refused.value) and "\n" not in str(refused.value)
    if path is not of_layer and "adc_bits" not in changes:
        assert str(refused.value).startswith(("node 'own': ", "node 'first': "))
    path(on(), kind, tmp_path)  # what is refused is the limit alone


def test_shapes_refuse_signs() -> None:
    """Weights that are drawn have both signs."""
    chip = on(weight_signed=False)
    with pytest.raises(InputError, match="of both signs, and chip tiny has weight_signed = false"):
        count_network([LAYER], chip, "sme", None, Synthetic())
    count_cycles([LAYER], chip, Activations(), skip=True)


def test_shapes_enter_a_narrow_chip() -> None:
    """Activations are drawn as wide as the chip takes them."""
    for bits in (1, 8, 16):
        numbers = Activations().numbers(on(input_bits=bits, input_signed=False))
        assert (numbers.raw_bits, numbers.raw_signed) == (min(8, bits), False)


@pytest.mark.parametrize("tiles", [None, 1, 2, 5])
def test_tiles_of_the_chip_make_passes(tiles: int | None) -> None:
    """A layer larger than the chip: passes one by one, for a layer alone as for known shapes."""
    layer = Layer(op="conv", channels=12, outputs=20, height=4, width=3, kernel=(3, 3), pads=(1, 1, 1, 1))
    chip, rng = on(tiles=tiles), np.random.default_rng(3)
    weights = rng.integers(-100, 101, layer.weight_shape)
    x = rng.integers(0, 256, (1, 12, 4, 3))
    placement = place_dense(layer, weights, chip, input_format=InputFormat(raw_bits=8, raw_signed=False))
    each = [tile_cycles(placement, tile, x).cycles for tile in placement.tiles]
    assert len(each) > 5 and len(set(each)) > 1
    many = tiles or len(each)
    wanted = sum(max(each[first : first + many]) for first in range(0, len(each), many))
    model = Model(layer, weights, None, 0, np.dtype(np.uint8), (None, 12, 4, 3))
    options = Options(mapping="dense")
    compiled = compile_layer(model, chip, x, options)
    line = report(compiled, predict(compiled, options), None)
    assert (line.cycles, line.passes, line.tiles) == (wanted, -(-len(each) // many), len(each))
    shape = model_layer(layer, chip, x, placement.format, True)
    assert (shape.cycles, shape.passes, shape.tiles) == (wanted, line.passes, line.tiles)


@pytest.mark.parametrize("bits", [15, 16])
@pytest.mark.parametrize("encoding", ["differential", "offset"])
def test_the_widest_weights(bits: int, encoding: str) -> None:
    """Both ends of the range, and in offset encoding a layer whose smallest weight sets the offset."""
    chip = on(weight_bits=bits, encoding=encoding, cell_bits=2, adc_bits=8, ou_rows=8)
    low, high = chip.weight_range
    for weights in (np.array([[low, high, 0]]), np.array([[low + 5, low + 7, low]]), np.array([[high, 1, 2]])):
        layer = Layer(op="dense", channels=1, outputs=3)
        how = {"input_format": InputFormat(raw_bits=8, raw_signed=True)}
        placement, x = place_dense(layer, weights, chip, **how), np.array([-128, 0, 127]).reshape(3, 1, 1, 1)
        np.testing.assert_array_equal(run(placement, x), evaluate(layer, x, weights))
        assert len(dense_kinds(layer, chip, **how)[1]) == len(placement.tiles)


def test_a_network_without_a_layer(tmp_path: Path) -> None:
    """Nothing on crossbars: the pool sets the pace."""
    n = Build(opset=21)
    real = n.real(n.input("image", (1, 2, 4, 4), TensorProto.UINT8), 0.5)
    pool = n.add("MaxPool", real, name="pool", kernel_shape=[2, 2])
    n.output(n.through(n.add("Sigmoid", n.through(pool, 0.5), name="table"), 1 / 255))
    path = saved(n.model(), tmp_path)
    content = model_network(path, "tiny", None, Options())
    assert content["cycles"] == content["tiles"] == 0
    np.save(tmp_path / "in.npy", np.random.default_rng(1).integers(0, 256, (4, 2, 4, 4)).astype(np.uint8))
    content, match = simulate_network(path, "tiny", tmp_path / "in.npy", None, Options(), pipeline=True)
    flow = content["pipeline"]
    assert match and flow["slowest"] == "pool" and 0.95 <= flow["share"] <= 1


def test_a_layer_too_large_for_verilog_is_refused_from_its_counts() -> None:
    """With the number of tiles and the keys that help; what is only counted, and what runs in passes, is not."""
    layer = Layer(name="wide", op="dense", channels=2**14, outputs=2**10)
    weights = np.ones(layer.weight_shape, np.int8)
    chip = on(arrays_per_tile=2)
    arrays = 2 * 2**14 * 2**10 * chip.slices // (chip.rows * chip.columns)
    said = rf"{arrays:,} arrays are {arrays // 2:,} tiles on chip tiny.* \(arrays_per_tile\).* \(tiles\)"
    for options in (Options(), Options(mapping="dense")):
        with pytest.raises(InputError, match=said):
            check_collected(layer, weights, 8, chip, options)
    check_collected(layer, weights, 8, on(arrays_per_tile=2, tiles=100), Options())
    check_collected(layer, weights, 8, on(arrays_per_tile=2**10), Options())
    check_collected(layer, weights % 2, 8, chip, Options(mapping="pattern"))
    pruned = weights * (np.arange(weights.size).reshape(weights.shape) % 4 == 0)
    check_collected(layer, pruned, 8, chip, Options())
    model = Model(layer, weights.astype(np.int64), None, 0, np.dtype(np.uint8), (None, 2**14))
    with pytest.raises(InputError, match=said):
        compile_layer(model, chip, np.ones((1, 2**14), np.int64), Options(), written=True)


@pytest.mark.parametrize("encoding", ["differential", "offset"])
@pytest.mark.parametrize("op", ["conv", "dense"])
@pytest.mark.parametrize("bits", [1, 8])
def test_what_is_refused_from_counts_is_too_wide_when_it_is_placed(
    op: str, encoding: str, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is one: with any limit that a collector keeps, nothing is refused."""
    rng = np.random.default_rng(bits)
    chip = on(rows=8, columns=16, ou_rows=4, ou_cols=4, arrays_per_tile=2, weight_bits=2, encoding=encoding)
    for _ in range(6):
        sides = {"kernel": (2, 2), "height": 3, "width": 3} if op == "conv" else {}
        channels, outputs = rng.integers(3, 40, 2).tolist()
        layer = Layer(name="own", op=op, channels=channels, outputs=outputs, **sides)
        weights = np.ones(layer.weight_shape, np.int64)
        numbers = InputFormat(raw_bits=bits, raw_signed=False)
        placement = place_dense(layer, weights, chip, input_format=numbers)
        graph = layer_graph(placement, weights)
        p = NetworkParameters(plan_network(graph, {graph.nodes[0].name: placement}), direct=True)
        (own,) = p.layers.values()
        many = zip(own.collector.plan.values, own.collector.widths, strict=True)
        monkeypatch.setattr("selvage.compiler.chip_limits.MOST_INPUTS", sum(n * width + 1 for n, width in many))
        check_collected(layer, weights, bits, chip, Options())
