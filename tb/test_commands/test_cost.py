"""`selvage cost`, `selvage accuracy` and `selvage sim --noise`: reports, and what is refused."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from examples.digits.network import held_out
from selvage.base.costs import COSTS
from selvage.commands.cli import command
from selvage.commands.exits import ending
from selvage.sim.cost import COMPONENTS
from tb.test_commands.test_cli import ROOT, selvage

CLASSIFIER = ROOT / "examples" / "digits" / "classifier.onnx"
SMALL = ROOT / "examples" / "layer" / "small.toml"
FIGURES = ("energy_pj", "area_um2", "latency_cycles", "per_image_cycles", "tops_per_w", "tops_per_mm2")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with digits, their classes, and noise."""
    images, labels = held_out()
    np.save(tmp_path / "x.npz.npy", images[:20])
    np.save(tmp_path / "y.npy", labels[:20])
    np.save(tmp_path / "short.npy", labels[:19])
    np.save(tmp_path / "floats.npy", labels[:20].astype(float))
    np.save(tmp_path / "eleven.npy", labels[:20] + 1)
    np.save(tmp_path / "wide.npy", labels[:20, None, None] + np.zeros((1, 2, 2), int))
    (tmp_path / "noise.toml").write_text("[cells]\nspread = 0.2\n[adc]\noffset = 0.3\n")
    (tmp_path / "reads.toml").write_text("[cells]\nspread = 0.2\n[adc]\nread_noise = 0.1\n")
    (tmp_path / "none.toml").write_text("[cells]\non_off = 1\n")
    (tmp_path / "own.toml").write_text((COSTS / "isaac.toml").read_text().replace("pJ", "J", 1))
    (tmp_path / "bad.toml").write_text((COSTS / "isaac.toml").read_text().replace('"0.042 pJ"', '"0.042"'))
    return tmp_path


@pytest.fixture
def refuse(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Holds a command in the folder, which must end with status 2 and one line, and leave all files as they were."""

    def told(words: Sequence[object], says: str) -> None:
        before = {path: path.read_bytes() for path in place.iterdir()}
        monkeypatch.chdir(place)
        monkeypatch.setattr("sys.argv", ["selvage", *map(str, words)])
        with pytest.raises(Exception) as raised:  # the command's own end says what it means
            command()
        status, sentence = ending(raised.value)
        assert status == 2 and says in sentence and "\n" not in sentence, sentence
        assert {path: path.read_bytes() for path in place.iterdir()} == before

    return told


def report(where: Path, *words: object) -> dict:
    done = selvage("cost", *map(str, words), "--json", "report.json", cwd=where)
    assert done.returncode == 0, done.stderr
    return json.loads((where / "report.json").read_text())


@pytest.mark.parametrize("model", [CLASSIFIER, SMALL, "shapes:dcgan"], ids=str)
def test_sums_of_a_report(model: object, tmp_path: Path) -> None:
    found = report(tmp_path, model)
    for own in (found, *found["layers"]):
        assert all(own[name] > 0 for name in FIGURES)
        assert set(own["components"]) == set(COMPONENTS)
        for what in ("energy_pj", "area_um2"):
            assert sum(part[what] for part in own["components"].values()) == pytest.approx(own[what], rel=1e-12)
        assert own["tops_per_w"] == pytest.approx(own["operations"] / own["energy_pj"])
        assert set(own["baselines"]) == {"dense", "zero-padding"}
    for what in ("energy_pj", "area_um2", "latency_cycles", "operations", "programming_pj"):
        assert sum(line[what] for line in found["layers"]) == pytest.approx(found[what], rel=1e-12)
    assert found["per_image_cycles"] == max(line["per_image_cycles"] for line in found["layers"])
    assert found["costs"]["adc"]["source"]


def test_cycles_are_those_of_the_cycle_model(tmp_path: Path) -> None:
    assert selvage("model", CLASSIFIER, "--json", "model.json", cwd=tmp_path).returncode == 0
    model = json.loads((tmp_path / "model.json").read_text())
    nodes = [node for node in model["nodes"] if node["cycles_model"]]
    assert [line["latency_cycles"] for line in report(tmp_path, CLASSIFIER)["layers"]] == [
        n["cycles_model"] for n in nodes
    ]


def test_a_transposed_layer_costs_less_than_with_zeros_inserted(tmp_path: Path) -> None:
    found = report(tmp_path, SMALL)
    zeros = found["baselines"]["zero-padding"]
    assert found["energy_pj"] < zeros["energy_pj"] and found["latency_cycles"] < zeros["latency_cycles"]


def test_two_tables_side_by_side(tmp_path: Path) -> None:
    found = report(tmp_path, SMALL, "--costs", "mnsim,puma")
    assert set(found["tables"]) == {"mnsim", "puma"}
    assert found["energy_pj"] == found["tables"]["mnsim"]["energy_pj"] > found["tables"]["puma"]["energy_pj"]
    assert found["tables"]["mnsim"]["latency_cycles"] == found["tables"]["puma"]["latency_cycles"]


def test_a_node_scales_energy_and_area(tmp_path: Path) -> None:
    here, there = report(tmp_path, SMALL), report(tmp_path, SMALL, "--node", "180")
    adc = [found["components"]["adc"] for found in (here, there)]
    assert adc[1]["energy_pj"] / adc[0]["energy_pj"] == pytest.approx(180 / 32 * 4)
    assert adc[1]["area_um2"] / adc[0]["area_um2"] == pytest.approx((180 / 32) ** 2)
    assert here["components"]["array"] == there["components"]["array"]


def test_a_chip_that_does_not_hold_all_layers_runs_them_in_turn(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text((ROOT / "selvage" / "chips" / "ou9x8.toml").read_text() + "tiles = 1\n")
    found = report(tmp_path, CLASSIFIER, "--chip", "one.toml")
    assert found["per_image_cycles"] == found["latency_cycles"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([SMALL, "--costs", "nobody"], "--costs 'nobody' is neither a ready table"),
        ([SMALL, "--costs", "isaac,isaac"], "names a table twice"),
        ([SMALL, "--costs", "bad.toml"], "shift_add.energy = '0.042': has no unit"),
        ([SMALL, "--costs", ""], "--costs ''"),
        ([SMALL, "--node", "45"], "--node 45 is none of 180, 65, 32"),
        ([SMALL, "--zeros", "0.1"], "--zeros is for shapes:NAME"),
        (["shapes:dcgan", "--mapping", "sme"], "is of the dense mapping"),
        (["shapes:dcgan", "--input", "x.npz.npy"], "--input is for a model that has weights"),
        (["shapes:nothing"], "network 'nothing' is none of"),
        ([SMALL, "--costs", "own.toml", "--json", "own.toml"], "--costs own.toml and --json are both own.toml"),
        ([SMALL, "--copies", "2"], "is for networks"),
    ],
)
def test_costs_that_are_refused(words: list, says: str, refuse: Callable[..., None]) -> None:
    refuse(["cost", *words], says)


def accuracy(where: Path, *words: object) -> dict:
    fixed = ["--inputs", "x.npz.npy", "--labels", "y.npy", "--json", "report.json"]
    done = selvage("accuracy", CLASSIFIER, *fixed, *words, cwd=where)
    assert done.returncode == 0, done.stderr
    return json.loads((where / "report.json").read_text())


def test_accuracy_of_runs(place: Path) -> None:
    one = accuracy(place, "--noise", "noise.toml", "--runs", 3, "--workers", 1)
    two = accuracy(place, "--noise", "noise.toml", "--runs", 3, "--workers", 2)
    assert one["runs"] == two["runs"] and len(one["runs"]) == 3
    assert one["accuracy"] == pytest.approx(np.mean(one["runs"]))
    low, high = one["interval"]
    assert 0 <= low <= one["accuracy"] <= high <= 1
    assert one["ideal"] == accuracy(place)["accuracy"] == 1.0
    assert min(one["runs"]) < 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--labels", "short.npy"], "--labels short.npy has 19 labels, and --inputs x.npz.npy has 20 images"),
        (["--labels", "floats.npy"], "--labels are float64, and must be whole numbers"),
        (["--labels", "eleven.npy"], "--labels go from 2 to 10, and the network has the classes 0 .. 9"),
        (["--labels", "wide.npy"], "--labels have shape (20, 2, 2)"),
        (["--labels", "y.npy", "--noise", "none.toml"], "cells.on_off = 1"),
        (["--labels", "y.npy", "--noise", "noise.toml", "--runs", "0"], "--runs 0 is outside 1 .. 100000"),
        (["--labels", "y.npy", "--runs", "5"], "--runs is for --noise"),
        (["--labels", "y.npy", "--noise", "noise.toml", "--workers", "0"], "--workers 0 is outside 1 .. 1024"),
        (["--labels", "y.npy", "--json", "y.npy"], "are both y.npy"),
        (["--labels", "y.npy", "--noise", "noise.toml", "--copies", "2"], "--noise is for layers that stand once"),
    ],
)
def test_accuracies_that_are_refused(words: list[str], says: str, refuse: Callable[..., None]) -> None:
    refuse(["accuracy", CLASSIFIER, "--inputs", "x.npz.npy", *words], says)


@pytest.mark.parametrize(("model", "says"), [(SMALL, "is a single layer"), ("shapes:dcgan", "has shapes alone")])
def test_accuracy_is_of_networks(model: object, says: str, refuse: Callable[..., None]) -> None:
    refuse(["accuracy", model, "--inputs", "x.npz.npy", "--labels", "y.npy"], says)


def test_rtl_with_noise_matches_the_model(place: Path) -> None:
    done = selvage("sim", SMALL, "--noise", "reads.toml", "--json", "report.json", cwd=place)
    assert done.returncode == 0, done.stderr
    found = json.loads((place / "report.json").read_text())
    assert found["match"] is True
    assert found["layers"][0]["distance"] > 0
    assert "noise moves outputs by up to" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([SMALL, "--noise", "none.toml"], "cells.on_off = 1"),
        ([SMALL, "--noise", "absent.toml"], "absent.toml"),
        ([CLASSIFIER, "--noise", "noise.toml", "--pipeline"], "--noise is for layers one by one"),
        ([CLASSIFIER, "--noise", "noise.toml", "--copies", "2"], "--noise is for layers that stand once"),
        ([SMALL, "--noise", "noise.toml", "--json", "noise.toml"], "are both noise.toml"),
    ],
)
def test_noise_that_is_refused(words: list, says: str, refuse: Callable[..., None]) -> None:
    refuse(["sim", *words], says)
