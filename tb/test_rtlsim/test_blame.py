"""Planted faults: what is said of RTL that differs, shows X or hangs, and the exit status."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from examples.layer import EXAMPLE
from selvage.base.chip import Chip, load_chip
from selvage.base.errors import RtlError, SimulationError
from selvage.base.layer import InputFormat, Layer
from selvage.commands import cli
from selvage.commands.difference import first_difference
from selvage.commands.exits import leave
from selvage.compiler.compile_layer import compile_layer
from selvage.compiler.model_file import draw_input, load_model
from selvage.compiler.options import Options
from selvage.golden.layer import evaluate
from selvage.hw.network.network import NetworkParameters
from selvage.hw.tile.address import AddressGenerator
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Placement
from selvage.rtlsim import plain
from selvage.rtlsim.plain import build_network, run_network
from selvage.rtlsim.plain_tile import build_plain_tile, run_plain_tile
from selvage.rtlsim.simulate import simulate_tile
from selvage.rtlsim.watch import most_cycles
from selvage.sim.machine import run_counted
from selvage.verilog.convert import convert
from tb.benches.components import Case, simulate
from tb.models import planted
from tb.models.component_cases import CASES
from tb.models.small_networks import RELU, SmallNetwork

Called = Callable[..., tuple[int, dict, str]]
LAYER = """name = "small"
op = "conv"
channels = 3
outputs = 2
height = 5
width = 5
kernel = [2, 2]
weights = "w.npz"
dtype = "int8"
"""
CHIP = """rows = 16
columns = 16
ou_rows = 4
ou_cols = 4
adc_bits = {adc_bits}
weight_bits = 3
lanes = 4
"""
SHAPE, OUTPUTS = (2, 3, 2, 2), (2, 4, 4)  # weights, outputs of an image


@pytest.fixture
def selvage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Called:
    """`selvage sim` in this process, where gateware is broken: status, JSON report, what is said."""

    def call(*arguments: object) -> tuple[int, dict, str]:
        monkeypatch.chdir(tmp_path)
        rng = np.random.default_rng(1)
        np.savez("w.npz", w=rng.integers(-7, 8, SHAPE))
        np.save("x.npy", rng.integers(-128, 128, (1, 3, 5, 5)).astype(np.int8))
        Path("layer.toml").write_text(LAYER)
        for adc_bits in (1, 3):
            Path(f"adc{adc_bits}.toml").write_text(CHIP.format(adc_bits=adc_bits))
        monkeypatch.setattr(sys, "argv", ["selvage", "sim", *map(str, arguments), "--json", "report.json"])
        with pytest.raises(SystemExit) as left:
            leave(cli.command)
        said = capsys.readouterr()
        return left.value.code or 0, json.loads(Path("report.json").read_text()), said.out + said.err

    return call


WRONG = {"splice": planted.splice, "dropped plane": planted.dropped_plane, "sign": planted.sign}


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_outputs_name_the_first_and_not_the_adc(
    fault: str, selvage: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRONG[fault](monkeypatch)
    status, report, told = selvage("layer.toml", "--chip", "adc3.toml", "--input", "x.npy")
    assert status == 1 and report["match"] is False
    assert "clipped" not in told and "Traceback" not in told
    (layer,) = report["layers"]
    assert layer["clipped"] == layer["distance"] == 0 and layer["match"] is False
    first = layer["difference"]
    with np.load("w.npz") as file:
        made = Layer(name="small", op="conv", channels=3, outputs=2, height=5, width=5, kernel=(2, 2))
        truth = evaluate(made, np.load("x.npy").astype(np.int64), file["w"])
    at = tuple(first[axis] for axis in ("image", "channel", "row", "column"))
    assert first["expected"] == truth[at] != first["actual"]
    assert f"layer 'small': RTL differs from the golden model in {first['outputs']} of {truth.size} outputs" in told
    assert f"output channel {at[1]}, row {at[2]}, column {at[3]} of image 0: {truth[at]} is expected" in told
    assert f"RTL yields {first['actual']}\n" in told and layer["fault"] == report["fault"] in told


def test_the_adc_is_named_for_its_own_share_alone(selvage: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    status, whole, told = selvage("layer.toml", "--chip", "adc1.toml", "--input", "x.npy")
    (layer,) = whole["layers"]
    assert status == 0 and layer["clipped"] > 0 and layer["distance"] > 0
    says = f"the ADC clipped {layer['clipped']:,} conversions: by that alone outputs are up to {layer['distance']} away"
    assert says in told and "differs" not in told
    planted.splice(monkeypatch)
    status, broken, told = selvage("layer.toml", "--chip", "adc1.toml", "--input", "x.npy")
    (after,) = broken["layers"]
    assert status == 1 and says in told, "what RTL does wrong adds nothing to the ADC's share"
    assert (after["clipped"], after["distance"]) == (layer["clipped"], layer["distance"])
    assert after["difference"]["outputs"] == after["difference"]["of"] == np.prod(OUTPUTS)


def test_conversions_that_clip_are_those_of_every_read() -> None:
    """Counted one read of one column at a time."""
    chip = Chip(**{**load_chip("tiny").model_dump(), "adc_bits": 2, "weight_bits": 3})
    layer = Layer(name="one", op="dense", channels=8, outputs=2)
    rng = np.random.default_rng(4)
    weights, x = rng.integers(-7, 8, layer.weight_shape), rng.integers(0, 16, (3, 8, 1, 1))
    placement = place_dense(layer, weights, chip, input_format=InputFormat(raw_bits=4, raw_signed=False))
    found = 0
    for array in placement.tiles[0].arrays:
        (block,) = array.blocks
        for image in x[:, :, 0, 0]:
            for plane in range(4):
                bits = image[block.window] >> plane & 1
                for first in range(0, block.rows, chip.ou_rows):
                    driven = np.arange(first, min(first + chip.ou_rows, block.rows))
                    cells = array.cells[block.row + driven].astype(int) * bits[driven, None]
                    found += int((cells.sum(axis=0)[block.column :][: len(block.outputs) * array.slices] > 3).sum())
    outputs, cut = run_counted(placement, x)
    assert cut == found > 0 and (outputs != evaluate(layer, x, weights)).any()
    lossless = replace(placement, chip=chip.model_copy(update={"adc_bits": 3}))
    assert run_counted(lossless, x)[1] == 0


def test_an_x_names_its_pin_and_cycle(selvage: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    planted.address(monkeypatch)
    status, report, told = selvage("layer.toml", "--chip", "adc3.toml", "--input", "x.npy")
    assert status == 1 and report["match"] is False and report["layers"][0]["match"] is False
    says = r"layer 'small', tile 0: the RTL shows X at crossbar_\d__request__(valid|payload) in cycle \d+"
    assert re.search(says, report["fault"]) and f"selvage: {report['fault']}" in told and "Traceback" not in told


DEAD = {
    "input": (planted.dead_input, r"offered, and the RTL refuses i \(since cycle \d+\); the RTL offers nothing at"),
    "codes": (planted.dead_codes, r"offered, and the RTL refuses .*crossbar_\d__codes \(since cycle \d+\)"),
}


@pytest.mark.parametrize("simulator", ["icarus", pytest.param("verilator", marks=pytest.mark.verilator)])
@pytest.mark.parametrize("stream", DEAD)
def test_a_deadlock_names_who_refuses(
    stream: str, simulator: str, selvage: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, says = DEAD[stream]
    plant(monkeypatch)
    how = ("--chip", "adc3.toml", "--input", "x.npy", "--simulator", simulator)
    status, report, told = selvage("layer.toml", *how)
    assert status == 1 and report["match"] is False and "Traceback" not in told
    predicted = report["layers"][0]["cycles_model"]
    assert f"layer 'small', tile 0: the RTL hangs, for {most_cycles(predicted):,} cycles are over" in report["fault"]
    assert re.search(says, report["fault"]), report["fault"]
    if stream == "input":
        assert "the RTL refuses i (since cycle 5)" in report["fault"], "five words are taken, one a cycle"


def test_codes_that_are_never_taken_are_told(selvage: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    planted.left_codes(monkeypatch)
    status, report, _ = selvage("layer.toml", "--chip", "adc3.toml", "--input", "x.npy")
    assert status == 1
    assert re.search(r"the RTL left codes of crossbar_\d at its pins when all outputs had come", report["fault"])


def test_too_many_word_lines_are_told(selvage: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    planted.many_lines(monkeypatch)
    status, report, _ = selvage("layer.toml", "--chip", "adc3.toml", "--input", "x.npy")
    assert status == 1
    assert re.search(r"the RTL drives 16 word lines of crossbar_\d in one read, and ou_rows = 4", report["fault"])


def network_file(path: Path) -> None:
    """Two inputs: a convolution of one, and its sum with the other."""
    rng = np.random.default_rng(2)
    values = {
        "s": np.float32(0.25),
        "z": np.uint8(128),
        "ws": np.float32(0.25),
        "wz": np.int8(0),
        "w": rng.integers(-7, 8, (2, 2, 3, 3)).astype(np.int8),
    }
    nodes = [
        helper.make_node(
            "QLinearConv", ["x", "s", "z", "w", "ws", "wz", "s", "z"], ["c"], name="conv", pads=[1, 1, 1, 1]
        ),
        helper.make_node(
            "QLinearAdd", ["c", "s", "z", "y", "s", "z", "s", "z"], ["o"], name="join", domain="com.microsoft"
        ),
    ]
    faces = [helper.make_tensor_value_info(name, TensorProto.UINT8, [1, 2, 12, 6]) for name in ("x", "y", "o")]
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "join", faces[:2], faces[2:], made)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench sends the whole of input 0 before it begins with input 1."""
    given = "wire i_valid_{k} = at_{k} < images * {words}"
    assert given in plain._SOURCE
    text = plain._SOURCE.replace(given, given + " && ({k} == 0 || at_0 == images * {words})")
    planted.another_version(monkeypatch)
    monkeypatch.setattr(plain, "_SOURCE", text)


def test_a_wrong_requantiser_names_node_and_code(
    selvage: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network_file(tmp_path / "join.onnx")
    planted.requantiser(monkeypatch)
    status, report, told = selvage("join.onnx", "--chip", "adc3.toml", "--output", "o.npy")
    assert status == 1 and report["match"] is False and not (tmp_path / "o.npy").exists()
    conv, join = report["nodes"]
    first = conv["difference"]
    assert conv["match"] is False and first["actual"] == first["expected"] ^ 1
    assert (
        "layer 'conv': RTL differs from the golden model in 144 of 144 outputs, first in output channel 0, row" in told
    )
    assert join["match"] is True and join["fault"] == "" and join["difference"] is None, "it is given golden's codes"
    assert report["fault"] == conv["fault"]


def test_a_pipeline_that_is_wrong_or_hangs(selvage: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right first; fed one input after the other it hangs, and the streams are named after tensors."""
    network_file(tmp_path / "join.onnx")
    status, report, told = selvage("join.onnx", "--chip", "adc3.toml", "--pipeline")
    assert status == 0 and report["match"] is True and report["fault"] == report["pipeline"]["fault"] == ""
    one_after_the_other(monkeypatch)
    status, report, told = selvage("join.onnx", "--chip", "adc3.toml", "--pipeline")
    assert status == 1 and report["match"] is False and report["pipeline"] is None and "Traceback" not in told
    says = r"the pipeline: the RTL hangs, .*: offered, and the RTL refuses i_0 of 'x' \(since cycle \d+\)"
    assert re.search(says, report["fault"]), report["fault"]
    assert re.search(r"the RTL offers nothing at o_0 of 'o' \(since cycle 0\)", report["fault"])
    assert report["fault"] in told


def join() -> SmallNetwork:
    """Two inputs that meet behind a convolution."""
    n = SmallNetwork.on("tiny", 3, weight_bits=3)
    x, y = n.input(2, 12, 4), n.input(2, 12, 4)
    return n.leaves(n.add(n.layer(x, 2, kernel=(3, 3), pads=(1, 1, 1, 1), activation=RELU), y))


def run_join(simulator: str, build: Path) -> plain.Run:
    network = join()
    p = NetworkParameters(network.plan)
    inputs = [network.codes[tensor.name] for tensor in network.graph.inputs]
    return run_network(p, build_network(p, simulator=simulator, build=build), inputs)


@pytest.mark.parametrize("simulator", ["icarus", pytest.param("verilator", marks=pytest.mark.verilator)])
def test_a_bench_without_python_names_the_streams(
    simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_after_the_other(monkeypatch)
    with pytest.raises(RtlError, match=r"refuses i_0 of 'x_0' \(since cycle \d+\); the RTL offers nothing at") as told:
        run_join(simulator, tmp_path)
    assert "i_1" not in str(told.value), "what the bench does not offer hangs not"
    # The bench that `compile` ships says as much by itself.
    run = Path(str(told.value).rsplit("see ", 1)[1])
    program = next(tmp_path.glob("plain_*/*/" + ("network.vvp" if simulator == "icarus" else "made/network")))
    command = [*(["vvp", "-n"] if simulator == "icarus" else []), str(program), "+images=2"]
    plain.call(command, run, run / "log.txt")
    says = r"^stopped in cycle \d+: it hangs; words at the outputs: 0; i_0 is refused word \d+$"
    assert re.search(says, (run / "log.txt").read_text(), re.M)


def test_x_in_a_network_names_the_pin_and_good_runs_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(old: Callable, command: list[str], *given: Path) -> None:
        calls.append(command)
        old(command, *given)

    planted.around(monkeypatch, plain, "call", counted)
    run_join("icarus", tmp_path)
    assert [command[0] for command in calls] == ["iverilog", "vvp"]
    network, (where,) = join(), (tmp_path / "plain_icarus").iterdir()
    for k, text in enumerate(plain.cell_lines(network.plan)):
        (where / f"cells_{k}.hex").write_text(text)
    p, inputs = NetworkParameters(network.plan), [network.codes[tensor.name] for tensor in network.graph.inputs]
    for k, text in enumerate(plain.entering_words(p, [own[:1] for own in inputs])):
        (where / f"input_{k}.hex").write_text(text)
    plain.call(["vvp", "-n", "network.vvp"], where, where / "log.txt")
    assert (where / "counts.txt").read_text().endswith("end\n"), "told nothing, the bench plays an image to its end"
    planted.address(monkeypatch)
    with pytest.raises(
        RtlError, match=r"shows X at stage_0\.tile_0\.crossbar_\d__request of 'layer_0'__(valid|payload) in cycle \d+"
    ):
        run_join("icarus", tmp_path)


def one_tile() -> tuple[TileParameters, np.ndarray, int]:
    """A tile, activations, and the cycles that it takes."""
    chip = Chip(**{**load_chip("tiny").model_dump(), "weight_bits": 3, "input_bits": 4})
    layer = Layer(name="one", op="conv", channels=3, outputs=2, height=5, width=5, kernel=(2, 2))
    rng = np.random.default_rng(1)
    weights, x = rng.integers(-7, 8, layer.weight_shape), rng.integers(0, 16, (1, 3, 5, 5))
    placement = place_dense(layer, weights, chip, input_format=InputFormat(raw_bits=4, raw_signed=False))
    p = TileParameters(placement, placement.tiles[0], counters=False)
    return p, x, 400


@pytest.mark.parametrize("simulator", ["icarus", pytest.param("verilator", marks=pytest.mark.verilator)])
@pytest.mark.parametrize("stream", DEAD)
def test_a_tile_without_python_names_who_refuses(
    stream: str, simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, says = DEAD[stream]
    plant(monkeypatch)
    p, x, cycles = one_tile()
    built = build_plain_tile(p, simulator=simulator, build=tmp_path)
    with pytest.raises(RtlError, match=says) as told:
        run_plain_tile(p, built, x, cycles=cycles)
    if stream == "input":
        assert "the RTL refuses i (since cycle 5)" in str(told.value)


def test_a_tile_without_python_names_x(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted.address(monkeypatch)
    p, x, cycles = one_tile()
    with pytest.raises(RtlError, match=r"shows X at crossbar_\d__request__(valid|payload) in cycle \d+"):
        run_plain_tile(p, build_plain_tile(p, build=tmp_path), x, cycles=cycles)


def test_pauses_are_no_hang() -> None:
    """Streams that pause most of the time take long, and the watchdog waits."""
    p, x, _ = one_tile()
    free = simulate_tile(p, x)
    slow = simulate_tile(p, x, stalls=dict(source=(1, 9), sink=(1, 9), macro=(1, 9), latency=9))
    assert slow.cycles > 2 * free.cycles and np.array_equal(slow.y, free.y)


def test_the_first_difference_is_in_the_order_of_images_channels_rows_columns() -> None:
    expected = np.arange(24).reshape(2, 2, 2, 3)
    actual = expected.copy()
    actual[1, 0, 0, 0] = actual[0, 1, 1, 2] = actual[1, 1, 1, 1] = -1
    found = first_difference("l", actual, expected)
    assert (found.image, found.channel, found.row, found.column) == (0, 1, 1, 2)
    assert (found.outputs, found.of, found.expected, found.actual) == (3, 24, 11, -1)
    assert first_difference("l", expected, expected) is None


@pytest.mark.parametrize("chip", ["tiny", "ou9x8"])
def test_a_line_too_far_is_no_part_of_the_example(chip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row carries only where zeros are inserted: on the schedule that ``auto`` finds for the example layer the same
    text is made with the fault and without it, for every tile, so that nothing can show it there. With inserted zeros
    the text is another, and the address generator's bench sees it (below)."""
    model, loaded = load_model(str(EXAMPLE)), load_chip(chip)
    placement = compile_layer(model, loaded, draw_input(model, loaded, 0), Options()).placement
    how = {"input_format": placement.format, "schedule": "zero-padding"}
    zeros = place_dense(placement.layer, model.weights, loaded, **how)

    def texts(own: Placement) -> set[str]:
        """Of the one component that the fault is in, for every tile."""
        buffers = {TileParameters(own, tile).buffer for tile in own.tiles}
        return {convert(AddressGenerator(buffer), "dut") for buffer in buffers}

    before = texts(placement), texts(zeros)
    planted.line_below(monkeypatch)
    after = texts(placement), texts(zeros)
    assert placement.schedule != "zero-padding" and after[0] == before[0]
    assert not after[1] & before[1]


@pytest.mark.parametrize("name", ["address_zeros", "address_zeros_odd", "address_zeros_dilated"])
def test_a_line_too_far_is_seen_by_the_address_generators_bench(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case: Case = next(case for case in CASES if case.name == name)
    planted.line_below(monkeypatch)
    with pytest.raises(SimulationError, match="failed"):
        simulate([replace(case, name=f"{name}_planted")])
