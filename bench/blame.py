"""Does a report name the component that is broken? A fault is planted in every one in turn.

``python -m bench.blame`` prints JSON; ``--wrong`` expects something else of the first, which must then be seen.
"""

import argparse
import shutil
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress

from bench.report import Figure, console, emit, figures, positive, table
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.base.errors import RtlError
from selvage.base.layer import InputFormat, Layer
from selvage.base.processes import end_with_parent
from selvage.commands.exits import leave
from selvage.compiler.compile_network import CompiledNetwork
from selvage.compiler.options import Options
from selvage.hw.network.network import NetworkParameters
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.rtlsim.diagnosis import Diagnosis, Suspect, diagnose
from selvage.rtlsim.installed import check_simulator
from selvage.rtlsim.network_diagnosis import diagnose_pipeline
from selvage.rtlsim.plain import build_network, run_network
from selvage.rtlsim.simulate import simulate_tile
from tb.models.faults import FAULTS, Fault
from tb.models.small_networks import RELU, SmallNetwork

BUILD = build_folder("blame")
LEAST, SHARE = 40, 0.9  # faults, and how many of them are named at the first line
LAYERS = {
    "tile": Layer(op="conv", channels=5, outputs=4, height=6, width=7, kernel=(3, 2), stride=(2, 1), pads=(1, 0, 1, 1)),
    "early": Layer(op="conv", channels=9, outputs=4, height=6, width=7, kernel=(3, 3)),
    "overlap": Layer(op="conv_transpose", channels=3, outputs=2, height=4, width=4, kernel=(4, 4), stride=(2, 2)),
}


@dataclass(frozen=True)
class Outcome:
    """What was said of a fault. ``shows``: the run was wrong at all."""

    name: str
    kind: str
    component: str
    shows: bool
    told: str
    named: bool
    cycle: int | None


def tile_suspect(case: str) -> Suspect:
    """A tile of small arrays, for signed activations."""
    layer, chip = LAYERS[case], load_chip("tiny").model_copy(update={"arrays_per_tile": 8})
    rng = np.random.default_rng(1)
    weights, numbers = rng.integers(-3, 4, layer.weight_shape), InputFormat(raw_bits=4, raw_signed=True)
    schedule = "padding-free" if case == "overlap" else "auto"
    placed = place_dense(layer, weights, chip, input_format=numbers, schedule=schedule)
    x = rng.integers(-8, 8, (2, layer.channels, layer.height, layer.width))
    return Suspect(TileParameters(placed, placed.tiles[0]), 0, x, 1, BUILD)


@cache
def network(case: str) -> CompiledNetwork:
    """A small network with one of every stage; with ``raster`` one whose outputs leave block by block."""
    n = SmallNetwork.on("tiny", 3, weight_bits=3)
    if case == "raster":
        out = n.layer(n.input(2, 5, 5), 4, op="conv_transpose", kernel=(4, 4), stride=(2, 2), schedule="red")
        n.leaves(out)
    else:
        x = n.input(4, 8, 8)
        a = n.layer(x, 8, kernel=(3, 3), pads=(1, 1, 1, 1), activation=RELU, each=True)
        b = n.layer(a, 8, kernel=(1, 1))
        joined = n.concat(n.add(a, b), n.table(b))
        n.leaves(n.pool(n.layer(joined, 4, kernel=(3, 3), pads=(1, 1, 1, 1)), "max", kernel=(2, 2), stride=(2, 2)))
    return CompiledNetwork(n.graph, n.chip, n.placements, {}, n.codes)


def look(name: str, component: str) -> Outcome:
    """Plant a fault, run, and let the run be looked at; ``component`` is what must be named."""
    fault = replace(next(own for own in FAULTS if own.name == name), component=component)
    patch = pytest.MonkeyPatch()
    try:
        fault.plant(patch)
        found = _tile(fault) if fault.case in LAYERS else _network(fault)
    finally:
        patch.undo()
    shows, diagnosis = found
    told = diagnosis.component if diagnosis else ""
    named = fault.component in told
    return Outcome(fault.name, fault.kind, fault.component, shows, told, named, diagnosis.cycle if diagnosis else None)


def _tile(fault: Fault) -> tuple[bool, Diagnosis | None]:
    suspect = tile_suspect(fault.case)
    suspect = replace(suspect, build=BUILD / fault.name.replace(" ", "_"))
    y, sent, shows = None, 0, True
    try:
        y = simulate_tile(suspect.p, suspect.x, build=suspect.build).y
        shows = bool((y != suspect.trace.maps).any())
    except RtlError as error:
        y, sent = error.outputs, error.sent or 0
    found = diagnose(replace(suspect, y=y, sent=sent))
    shutil.rmtree(suspect.build, ignore_errors=True)
    return shows or bool(found.component), found


def _network(fault: Fault) -> tuple[bool, Diagnosis | None]:
    compiled, build = network(fault.case), BUILD / fault.name.replace(" ", "_")
    p, shows = NetworkParameters(compiled.plan), True
    try:
        run = run_network(
            p, build_network(p, build=build / "sim"), [compiled.codes[t.name] for t in compiled.graph.inputs]
        )
        pairs = zip(run.outputs, compiled.graph.outputs, strict=True)
        shows = any((found != compiled.codes[name]).any() for found, name in pairs)
    except RtlError:
        pass
    found = diagnose_pipeline(compiled, Options(build=build))
    shutil.rmtree(build, ignore_errors=True)
    return shows, found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.blame", description=__doc__)
    parser.add_argument("--jobs", type=positive, default=2)
    parser.add_argument("--only", help="faults whose name holds this text")
    parser.add_argument("--wrong", action="store_true")
    a = parser.parse_args(argv)
    check_simulator("icarus")
    faults = [fault for fault in FAULTS if not a.only or a.only in fault.name]
    if a.wrong:
        faults[0] = replace(faults[0], component="nobody")
    found: list[Outcome] = []
    with ProcessPoolExecutor(a.jobs, initializer=end_with_parent) as pool, Progress(console=console) as progress:
        task = progress.add_task("faults", total=len(faults))
        for done in as_completed([pool.submit(look, own.name, own.component) for own in faults]):
            found.append(done.result())
            progress.advance(task)
    found.sort(key=lambda own: own.name)
    rows = [(own.kind, own.name, own.component, own.told or "-", "named" if own.named else "MISSED") for own in found]
    table("Faults", ("kind", "fault", "planted in", "told", ""), rows)
    named = sum(own.named for own in found)
    wrongly = [own.name for own in found if own.told and not own.named]
    targets = [
        Figure("faults planted", len(found), ">=", LEAST),
        Figure("faults that show", sum(own.shows for own in found), "==", len(found)),
        Figure("share whose component is named at the first line", round(named / len(found), 3), ">=", SHARE),
        Figure("faults with a wrong component named", len(wrongly), "==", 0),
    ]
    figures("Blame", targets)
    kinds: dict[str, Any] = dict(Counter(own.kind for own in found))
    content = {"benchmark": "blame", "faults": [asdict(own) for own in found], "kinds": kinds, "wrongly": wrongly}
    emit(content | {"targets": [own.as_dict() for own in targets]})
    return 0 if all(own.met for own in targets) else 1


if __name__ == "__main__":
    leave(main)
