"""Where each node of a model would run: whole models, floats, chips that are too small, nodes that stand in the way."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bench.gallery import FOLDER
from bench.onnx_models import Build, saved
from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError
from selvage.commands.doctor_command import doctor
from selvage.compiler.doctor import examine
from tb.models.onnx_graphs import UNIT, S, entered, layer

EXAMPLES = Path(__file__).parents[2] / "examples"


def chip() -> Chip:
    return load_chip("ou9x8")


def places(path: str, **given: bool) -> dict[str, str]:
    return {node.name: node.where for node in examine(path, chip(), **given).nodes}


def test_a_whole_network() -> None:
    found = examine(str(EXAMPLES / "digits" / "classifier.onnx"), chip())
    assert found.whole and not found.cuts
    assert found.counts["crossbars"] == 4 and "in the way" not in found.counts


def test_a_network_that_is_cut() -> None:
    found = examine(str(FOLDER / "transformer.onnx"), chip())
    assert found.whole and found.cuts == 5
    assert {node.operator for node in found.nodes if node.where == "host"} >= {
        "Softmax",
        "MatMul",
        "LayerNormalization",
    }


def test_a_float_network() -> None:
    """Each layer is named, with what to do."""
    found = examine(str(EXAMPLES / "exported" / "residual_dynamo.onnx"), chip())
    blocked = [node for node in found.nodes if node.where == "in the way"]
    assert not found.whole and blocked and all("selvage quantize" in node.change for node in blocked)


def foreign(directory: Path) -> str:
    """A layer, an operator that nobody knows, and a layer again."""
    build = Build()
    x = build.through(layer(build, entered(build), "Conv", (4, 3, 3, 3), name="first"), S, 99)
    x = build.add("BiasGelu", x, build.constant(np.ones(4), np.float32), name="foreign", domain="com.microsoft")
    build.output(build.through(layer(build, build.through(x, S, 99), "Conv", (2, 4, 1, 1), name="last"), S, 99))
    return saved(build.model(), directory)


def cumulative(directory: Path) -> str:
    """The same with an operator that the host knows and gateware does not: a running sum."""
    build = Build()
    x = entered(build)
    y = build.through(layer(build, x, "Conv", (3, 3, 1, 1), name="first"), UNIT, 128)
    x = build.through(build.add("CumSum", y, build.constant(2, np.int64), name="sum"), S, 99)
    build.output(build.through(layer(build, x, "Conv", (2, 3, 1, 1), name="last"), S, 99))
    return saved(build.model(), directory)


def test_what_stands_in_the_way_and_partial(tmp_path: Path) -> None:
    path = cumulative(tmp_path)
    found = {node.name: node for node in examine(path, chip()).nodes}
    assert found["sum"].where == "in the way" and "--partial" in found["sum"].change
    assert found["last"].where == "crossbars"
    whole = examine(path, chip(), partial=True)
    assert whole.whole and whole.cuts == 1
    assert places(path, partial=True)["sum"] == "host" and places(path, partial=True)["last"] == "crossbars"


def test_the_chip(tmp_path: Path) -> None:
    build = Build()
    x = build.through(build.input("x", ("N", 3, 6, 6)), UNIT / 100, 0, np.int16)
    build.output(build.through(layer(build, x, "Conv", (4, 3, 3, 3), name="wide"), S, 99))
    (node,) = [own for own in examine(saved(build.model(), tmp_path), chip()).nodes if own.name == "wide"]
    assert node.where == "in the way" and "input_bits" in node.why and "input_bits" in node.change


def test_the_command(tmp_path: Path) -> None:
    """Status and report; what is no model is refused."""
    how = {"chip": "ou9x8", "shape": None, "partial": False, "every_node": True}
    report = tmp_path / "report.json"
    assert doctor(str(FOLDER / "pnet.onnx"), **how, json_file=report)
    content = json.loads(report.read_text())
    assert content["whole"] and content["cuts"] == 0 and len(content["nodes"]) > 20
    assert not doctor(foreign(tmp_path), **how, json_file=None)
    with pytest.raises(InputError, match="doctor is for networks, ONNX files"):
        doctor(str(EXAMPLES / "layer" / "small.toml"), **how, json_file=None)


def test_a_recurrent_layer_with_peepholes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shapes = {"w": (1, 16, 3), "r": (1, 16, 4), "p": (1, 12)}
    stored = [
        helper.make_tensor(name, TensorProto.FLOAT, shape, random.normal(size=shape).ravel())
        for name, shape in shapes.items()
    ]
    node = helper.make_node("LSTM", ["x", "w", "r", "", "", "", "", "p"], ["y"], name="lstm", hidden_size=4)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    ends[0] = helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 1, 3])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], stored)
    path = tmp_path / "lstm.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    (found,) = [own for own in examine(str(path), chip()).nodes if own.name == "lstm"]
    assert found.where == "in the way" and "peepholes" in found.why and "peepholes" in found.change
