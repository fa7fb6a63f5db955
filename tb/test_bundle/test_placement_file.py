"""Every weight and every code out of a bundle's files alone, by code that knows of them what the bundle's page says."""

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.bundle.verilog_bundle import write_layer_bundle, write_verilog_bundle
from selvage.compiler.compile_layer import Compiled
from selvage.compiler.compile_network import compile_network
from selvage.compiler.options import Options
from selvage.golden.pattern import prune
from selvage.mapping.dense import place_dense
from selvage.mapping.pattern import place_pattern
from selvage.mapping.sme import SmeParameters, place_sme

Integers = NDArray[np.int64]
EXAMPLES = Path(__file__).parents[2] / "examples"
TRAINED = ["digits/classifier", "digits/classifier_pruned", "digits_gan/generator", "segmenter/segmenter"]


def decoded(bundle: Path) -> dict[str, tuple[dict, Integers]]:
    """By node, the layer as the file has it, and its weights (channel, output, KH, KW) from its crossbars' cells."""
    told = json.loads((bundle / "placement.json").read_text())
    crossbars = json.loads((bundle / "names.json").read_text())["crossbars"]
    chip = told["chip"]
    found = {}
    for stage in told.get("stages", [told]):
        if "tiles" not in stage:
            continue
        layer, taps, weights = stage["layer"], stage["taps"], defaultdict(int)
        own = iter(crossbars[stage["first_crossbar"] :])
        for number, tile in enumerate(stage["tiles"]):
            for index, array in enumerate(tile["arrays"]):
                place = next(own)
                assert (place["tile"], place["array"]) == (number, index)
                assert place["node"] == stage.get("node", layer["name"])
                lines = [int(line, 16) for line in (bundle / place["cells"]).read_text().split()]
                for block in array["blocks"]:
                    block_weights(weights, block, array, tile, layer, taps, lines, chip)
        shape = (layer["channels"], layer["outputs"], *layer["kernel"])
        dense = np.zeros(shape, np.int64)
        for place, value in weights.items():
            dense[place] = value - stage["weight_offset"]
        found[stage.get("node", layer["name"])] = layer, dense
    return found


def block_weights(
    weights: dict, block: dict, array: dict, tile: dict, layer: dict, taps: list, lines: list[int], chip: dict
) -> None:
    """Add what a block's cells hold to ``weights``, by place in the kernel."""
    by_place = {(*tap["offset"], tap["phase"]): tuple(tap["kernel"]) for tap in taps}
    bits, lanes, slices = chip["cell_bits"], chip["ou_cols"], array["slices"]
    wide = len(block["outputs"]) * slices
    band = -(-wide // lanes) * lanes
    for row, (window, shift) in enumerate(zip(block["window"], block["shifts"], strict=True)):
        pixel, channel = tile["pixels"][window // tile["channels"]], window % tile["channels"] + tile["first_channel"]
        line = lines[block["row"] + row]
        for number, significance in enumerate(block["significances"]):
            for index, output in enumerate(block["outputs"]):
                column = block["column"] + number * band + index * slices
                cells = line >> column * bits & 2 ** (slices * bits) - 1
                kernel = by_place[(*pixel, output // layer["outputs"])]
                place = (channel, output % layer["outputs"], *kernel)
                weights[place] += array["polarity"] * (cells << significance + shift)


def as_onnx(layer: dict, weights: Integers) -> Integers:
    """As a Conv, a ConvTranspose or a MatMul (C, M) has them."""
    c, m, groups = layer["channels"], layer["outputs"], layer["groups"]
    if layer["op"] == "dense":
        return weights[:, :, 0, 0]
    blocks = [weights[g * c // groups :][: c // groups, g * m // groups :][:, : m // groups] for g in range(groups)]
    rest = weights.copy()
    for g, block in enumerate(blocks):
        rest[g * c // groups : (g + 1) * c // groups, g * m // groups : (g + 1) * m // groups] -= block
    assert not rest.any(), "a weight between groups"
    if layer["op"] == "conv_transpose":
        return np.concatenate(blocks, axis=0)
    return np.concatenate([block.transpose(1, 0, 2, 3) for block in blocks], axis=0)


def integers(model: onnx.ModelProto) -> dict[str, Integers]:
    """By node the weights that the file has, their zero point subtracted."""
    values = {own.name: numpy_helper.to_array(own).astype(np.int64) for own in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            source = made[node.input[1]]
            zero = values[source.input[2]] if len(source.input) > 2 else np.int64(0)
            own = values[source.input[0]] - (zero if zero.ndim == 0 else zero.reshape(-1, *[1] * 3))
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            found[node.name] = own.T if transposed else own
    return found


@pytest.fixture(scope="module", params=[*((name, "ou9x8") for name in TRAINED), (TRAINED[0], "isaac")], ids="-".join)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The model and its bundle, without modules: nobody here reads Verilog."""
    name, chip = request.param
    path, bundle = EXAMPLES / f"{name}.onnx", tmp_path_factory.mktemp("trained")
    compiled = compile_network(str(path), load_chip(chip), None, Options(mapping="dense"), lambda: None)
    with pytest.MonkeyPatch.context() as patched:
        nothing = SimpleNamespace(library=SimpleNamespace(components={}))
        patched.setattr("selvage.bundle.verilog_bundle.Network", lambda _: nothing)
        patched.setattr("selvage.bundle.verilog_bundle.convert_modules", lambda *_, **__: [])
        write_verilog_bundle(compiled, Options(), bundle)
    return path, bundle


def test_every_weight_of_a_trained_network(trained: tuple[Path, Path]) -> None:
    path, bundle = trained
    wanted, found = integers(onnx.load(path)), decoded(bundle)
    assert wanted.keys() == found.keys()
    for name, own in wanted.items():
        layer, weights = found[name]
        # A dense layer behind a map is a convolution with a kernel as large as the map, channel by channel.
        if own.ndim == 2 and layer["op"] == "conv":
            weights = weights.transpose(0, 2, 3, 1).reshape(own.shape)
        elif own.ndim == 2 and layer["op"] == "conv_transpose":
            weights = weights.reshape(own.shape)
        else:
            weights = as_onnx(layer, weights)
        np.testing.assert_array_equal(weights, own)


def codes_of(bundle: Path, name: str, stream: dict) -> Integers:
    """All images (N, C, H, W) of the vectors of a stream that carries all its tensor's channels."""
    bits, lanes = stream["bits"], stream["lanes"]
    channels, height, width = stream["shape"]
    values = []
    for line in (bundle / "selftest" / name).read_text().split():
        values += [int(line, 16) >> lane * bits & 2**bits - 1 for lane in range(lanes)]
    codes = np.array([v - 2**bits if stream["signed"] and v >> bits - 1 else v for v in values])
    assert codes.size % (stream["words"] * lanes) == 0 and stream["words"] * lanes == channels * height * width
    return codes.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)


def test_streams_of_a_trained_network(trained: tuple[Path, Path]) -> None:
    """What enters, as real numbers into onnxruntime, yields the codes that leave; their numbers are the file's."""
    path, bundle = trained
    told, model = json.loads((bundle / "names.json").read_text()), onnx.load(path)
    names = [stream["tensor"] for stream in told["outputs"]]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    # Each node by itself, in real numbers: no kernel of whole patterns that sums bytes in its own way.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = []
    for k, stream in enumerate(told["inputs"]):
        codes = codes_of(bundle, f"input_{k}.hex", stream)
        assert len(codes) >= 3 and {codes.min(), codes.max()} == {0, 2 ** stream["bits"] - 1}
        inputs.append(stream["scale"] * (codes - stream["zero_point"]))
    outputs = [codes_of(bundle, f"expected_{k}.hex", stream) for k, stream in enumerate(told["outputs"])]
    for image in range(len(inputs[0])):
        feeds = {}
        for own, values in zip(session.get_inputs(), inputs, strict=True):
            sides = [side if isinstance(side, int) else 1 for side in own.shape]
            feeds[own.name] = values[image].reshape(sides).astype(np.float32)
        for own, wanted in zip(outputs, session.run(names, feeds), strict=True):
            np.testing.assert_array_equal(own[image].ravel(), wanted.ravel())
    values = {own.name: numpy_helper.to_array(own) for own in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    for stream in told["inputs"] + told["outputs"]:
        _, scale, zero = makers[stream["tensor"]].input
        assert (stream["scale"], stream["zero_point"]) == (values[scale].item(), values[zero].item())
        assert stream["signed"] == (values[zero].dtype.kind == "i")


SME = SmeParameters(squeeze=2)


@pytest.mark.parametrize("how", ["red", "zero-padding", "padding-free", "fold", "offset", "sme", "pattern", "groups"])
def test_every_weight_of_a_layer(how: str, tmp_path: Path) -> None:
    """The mappings and schedules that the trained networks have not."""
    chip = load_chip({"offset": "isaac", "pattern": "ou9x8"}.get(how, "tiny"))
    size = {"channels": 4, "outputs": 6, "height": 3, "width": 4, "kernel": (3, 2), "stride": (2, 2)}
    if how in ("sme", "pattern", "groups"):
        layer = Layer(op="conv", **size, dilation=(1, 2), pads=(1, 1, 0, 1), groups=2 if how == "groups" else 1)
    else:
        layer = Layer(op="conv_transpose", **size, pads=(1, 0, 0, 0), groups=2)
    rng = np.random.default_rng(3)
    numbers = InputFormat(raw_bits=8, raw_signed=False)
    limit = 2 ** (chip.weight_bits - 1) - 1
    weights = rng.integers(-limit, limit + 1, layer.weight_shape)
    if how == "pattern":
        weights = prune(weights, 4, 0.4)[0]
        placement = place_pattern(layer, weights, chip, input_format=numbers)
    elif how == "sme":
        placement, weights = place_sme(layer, weights, chip, input_format=numbers, parameters=SME)
    else:
        schedule = how if how in ("red", "zero-padding", "padding-free") else "auto"
        own = {"fold": 2} if how == "fold" else {}
        placement = place_dense(layer, weights, chip, input_format=numbers, schedule=schedule, **own)
    maps = rng.integers(0, 256, (1, layer.channels, layer.height, layer.width))
    write_layer_bundle(Compiled(None, placement, maps, weights, placement), True, tmp_path)
    ((own, found),) = decoded(tmp_path).values()
    np.testing.assert_array_equal(as_onnx(own, found), weights)
