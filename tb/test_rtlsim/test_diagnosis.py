"""Where a run went wrong: the component, the cycle and the place, and the command that repeats it."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from bench.blame import look, tile_suspect
from selvage.base.errors import RtlError
from selvage.base.noise import Converters, Noise
from selvage.commands.again import again_as
from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.diagnosis import Suspect, diagnose
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.devices import Devices
from tb.models import planted
from tb.models.faults import FAULTS
from tb.test_rtlsim.test_blame import selvage

assert selvage, "a fixture"
Called = Callable[..., tuple[int, dict, str]]
SOME = [
    "address of a word",
    "tags are refused",
    "sums of blocks",
    "raster order",
]


@pytest.mark.parametrize("name", SOME)
def test_the_component_of_a_fault_is_named(name: str) -> None:
    """All of them are `python -m bench.blame`."""
    component = next(fault.component for fault in FAULTS if fault.name == name)
    found = look(name, component)
    assert found.shows and found.named, found
    assert found.cycle is not None


def test_a_good_run_blames_nobody(tmp_path: Path) -> None:
    suspect = tile_suspect("tile")
    y = simulate_tile(suspect.p, suspect.x).y
    assert (y == suspect.trace.maps).all()
    found = diagnose(suspect)
    assert found.component == "" and found.cycle is None


def test_a_mismatch_tells_place_trail_and_command(
    selvage: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.dropped_plane(monkeypatch)
    words = ["layer.toml", "--chip", "adc3.toml", "--input", "x.npy"]
    status, report, told = selvage(*words)
    (layer,) = report["layers"]
    found = layer["diagnosis"]
    assert status == 1 and found["component"].startswith("accumulator of array")
    assert {"layer", "tile", "step", "image", "row", "column", "output", "array", "cycle", "again"} <= set(found)
    output = found["output"]
    assert output["expected"] != output["actual"] and len(output["pixel"]) == 2
    lines = told.splitlines()
    (first,) = (line for line in lines if line.startswith("first wrong: "))
    assert first.startswith(
        f"first wrong: {found['component']} in cycle {found['cycle']:,}, layer 'small', tile 0, step"
    )
    assert f"repeat it: {found['again']}" in lines
    again = found["again"].split()
    assert again[:2] == ["selvage", "sim"] and "--json" not in again
    # The command repeats it: the same component, and waves with a marker on the cycle.
    status, content, told = selvage(*again[2:])
    assert status == 1 and content["match"] is False and content["diagnosis"]["component"] == found["component"]
    assert content["diagnosis"]["cycle"] == found["cycle"] and content["diagnosis"]["output"] == output
    waves = Path(content["waves"])
    zoom = next(line for line in waves.with_suffix(".gtkw").read_text().splitlines() if line.startswith("*"))
    assert int(zoom.split()[1]) == 25_000 + 10_000 * found["cycle"]


def test_with_waves_the_window_is_written_at_once(
    selvage: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.splice(monkeypatch)
    status, report, told = selvage("layer.toml", "--chip", "adc3.toml", "--input", "x.npy", "--waves", "waves")
    found = report["layers"][0]["diagnosis"]
    assert status == 1 and found["component"] == "splice"
    assert Path(found["waves"]).exists() and Path(found["waves"]).with_suffix(".gtkw").exists()
    assert f"waves of it: gtkwave {Path(found['waves']).with_suffix('.gtkw')}" in told


def test_a_hang_names_who_stands_and_since_when(selvage: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    planted.dead_input(monkeypatch)
    status, report, told = selvage("layer.toml", "--chip", "adc3.toml", "--input", "x.npy")
    found = report["layers"][0]["diagnosis"]
    assert status == 1 and found["component"] == "writer of the input buffer", told
    assert "does not come" in found["reason"] and found["cycle"] is not None


def test_an_x_names_its_component(selvage: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    planted.address(monkeypatch)
    status, report, _ = selvage("layer.toml", "--chip", "adc3.toml", "--input", "x.npy")
    assert status == 1 and report["layers"][0]["diagnosis"]["component"] == "address generator"


def test_the_command_leaves_out_what_it_sets_itself() -> None:
    words = [
        "--limits",
        "2",
        "sim",
        "a b.onnx",
        "--json",
        "r.json",
        "--waves=old",
        "--pipeline",
        "--seed",
        "3",
        "--tile",
        "1",
    ]
    told = again_as(words, network=True)("conv 1", 2, 30)
    window = "--layer 'conv 1' --tile 2 --waves waves --waves-from 30 --waves-steps 1"
    assert told == f"selvage --limits 2 sim 'a b.onnx' --seed 3 {window}"
    assert again_as(["model", "x"], network=False)("x", 0, 0) == ""


def test_a_diagnosis_is_json() -> None:
    suspect = tile_suspect("tile")
    y = suspect.trace.maps.copy()
    y[0, 0, 0, 0] += np.int64(1)
    found = diagnose(Suspect(suspect.p, 0, suspect.x, 1, suspect.build, y=y))
    assert json.loads(json.dumps(asdict(found)))["reason"].startswith("when the step runs again")
    assert found.output and (found.output.expected, found.output.actual) == (y[0, 0, 0, 0] - 1, y[0, 0, 0, 0])


def test_crossbars_that_are_not_ideal_are_no_excuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many word lines end the run at once, and the read that drives them is the one that is named."""
    own = tile_suspect("tile")
    placed = replace(own.p.placement, chip=own.p.placement.chip.not_ideal())
    devices = Devices(placed, Noise(seed=1, adc=Converters(offset=0.1)))
    p = TileParameters(placed, placed.tiles[0])
    planted.many_lines(monkeypatch)
    with pytest.raises(RtlError, match="drives 16 word lines") as raised:
        simulate_tile(p, own.x, devices=devices)
    found = diagnose(Suspect(p, 0, own.x, 1, own.build, None, raised.value.sent or 0, devices))
    assert found.component.startswith("walker of array") and "word lines 0 to 15" in found.reason
