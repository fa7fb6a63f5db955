"""The interface for notebooks: the reports of the commands, without their words."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import selvage
from selvage.base.errors import InputError
from selvage.base.noise import Cells, Noise
from selvage.commands.cli_options import Asked, AskedOfShapes
from selvage.commands.cost_command import cost
from selvage.commands.model_command import model

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "examples" / "layer" / "small.toml"
CLASSIFIER = ROOT / "examples" / "digits" / "classifier.onnx"


@pytest.mark.parametrize("path", [LAYER, CLASSIFIER], ids=["layer", "network"])
def test_counts_are_the_commands(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    compiled = selvage.compile(path, "tiny")
    found = compiled.count()
    assert capsys.readouterr().out == ""
    model(str(path), Asked(chip="tiny"), AskedOfShapes(), fold=1, json_file=tmp_path / "own.json")
    wanted = json.loads((tmp_path / "own.json").read_text())
    for report in (found, wanted):
        report.pop("seconds")
    assert json.loads(json.dumps(found)) == wanted


def test_a_layer_is_simulated_and_written(tmp_path: Path) -> None:
    chip = selvage.load_chip("ou9x8")
    x = np.random.default_rng(1).integers(0, 256, (1, 6, 5, 4))
    compiled = selvage.compile(LAYER, chip, images=x, schedule="red", build=str(tmp_path))
    found = compiled.simulate()
    assert found["match"] is True and found["layers"][0]["schedule"] == "red"
    assert found["cycles"] == compiled.count()["cycles"]
    paths = compiled.write_verilog(tmp_path / "v")
    assert paths and all(path.exists() for path in paths)


def test_what_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--schedule 'blue' is none of"):
        selvage.compile(LAYER, schedule="blue")
    with pytest.raises(InputError, match="--bus 'pci' is none of"):
        selvage.compile(LAYER, "tiny").write_verilog(tmp_path, bus="pci")
    with pytest.raises(InputError, match=r"images has shape \(1, 6, 4, 5\): axis 2 has 4, and 'small' takes"):
        selvage.compile(LAYER, "tiny", images=np.zeros((1, 6, 4, 5), int))
    with pytest.raises(InputError, match=r"images are given by name, and model .* is a single layer"):
        selvage.compile(LAYER, "tiny", images={"x": np.zeros((1, 6, 5, 4), int)})
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = selvage.nothing


def test_what_it_costs_is_what_the_command_says(tmp_path: Path) -> None:
    where = tmp_path / "own.json"
    cost(str(LAYER), Asked(), names="puma", node=65, zeros=0.5, json_file=where)
    report, found = json.loads(where.read_text()), selvage.compile(LAYER).cost("puma", 65)
    assert {key: report[key] for key in found} == json.loads(json.dumps(found))


def test_a_pipeline_has_no_noise() -> None:
    compiled = selvage.compile(CLASSIFIER, "tiny", noise=Noise(cells=Cells(spread=0.1)))
    assert "--noise is for layers one by one" in refusal(lambda: compiled.simulate(pipeline=True))


def refusal(job: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        job()
    return str(error.value)
