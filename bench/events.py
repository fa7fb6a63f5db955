"""Events that cost energy, counted by the model and by counters in RTL: each kind must be equal, tile by tile.

Random chips, layers and mappings (`tb.models.draws`) under Icarus, then every tile of every layer of the trained
networks on one image each, long ones in Verilator. Exits with 1 on any difference. ``--wrong`` names a kind that is
counted once too often in the model: the bench must then fail.
"""

import argparse
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from bench.report import Figure, console, emit, figures, positive, table
from bench.trained import networks
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.base.processes import end_with_parent
from selvage.commands.exits import leave
from selvage.compiler.compile_network import compile_network
from selvage.compiler.options import Options
from selvage.hw.tile.counters import EVENTS
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.placement import Placement
from selvage.rtlsim.installed import verilator_there
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.cycles import tile_cycles
from selvage.sim.events import tile_events
from tb.models.draws import seeded

BUILD = build_folder("events")
KINDS = ("reads", "conversions", "fetched", *EVENTS)
DRAWS = 150
NETWORKS = ("classifier", "generator", "segmenter")
LONG = 20_000  # cycles times arrays from which Verilator is faster, its compile time included


@dataclass(frozen=True, eq=False)
class Case:
    """A tile with its activations, as they come."""

    name: str
    placement: Placement
    tile: int
    x: NDArray[np.int64]
    skip: bool
    seed: int


@dataclass(frozen=True)
class Outcome:
    """Counts by kind, RTL's and the model's, and what kind of draw it was."""

    name: str
    traits: tuple[str, ...]
    rtl: dict[str, int]
    model: dict[str, int]

    @property
    def wrong(self) -> list[str]:
        return [f"{self.name}: {kind}: RTL {self.rtl[kind]:,}, model {self.model[kind]:,}" for kind in self.differing]

    @property
    def differing(self) -> list[str]:
        return [kind for kind in KINDS if self.rtl[kind] != self.model[kind]]


def drawn(count: int, seed: int) -> Iterator[Case]:
    """The tiles of random draws."""
    for number in range(count):
        own = seeded(seed, number)
        for tile in range(len(own.placement.tiles)):
            yield Case(f"draw {number} tile {tile}", own.placement, tile, own.x, own.skip, number)


def trained(chip: str) -> Iterator[Case]:
    """The tiles of the trained networks."""
    for network in networks():
        if network.name not in NETWORKS:
            continue
        options = Options()
        compiled = compile_network(str(network.path), load_chip(chip), network.inputs()[:1], options, lambda: None)
        for node in compiled.graph.matrices:
            placed = compiled.placements[node.name]
            for tile in range(len(placed.tiles)):
                x = compiled.codes[node.inputs[0]]
                yield Case(f"{network.name} {node.name} tile {tile}", placed, tile, x, True, 0)


def compare(case: Case) -> Outcome:
    """Through RTL and the model."""
    placed, tile = case.placement, case.placement.tiles[case.tile]
    codes, build = case.x - placed.format.zero_point, BUILD / case.name.replace(" ", "_").replace("/", "_")
    work = tile_cycles(placed, tile, codes, skip=case.skip).cycles * len(tile.arrays)
    simulator = "verilator" if work > LONG and verilator_there() else "icarus"
    parameters = TileParameters(placed, tile, skip=case.skip, events=True)
    counters = simulate_tile(parameters, case.x, simulator=simulator, build=build).counters
    shutil.rmtree(build, ignore_errors=True)
    model = asdict(tile_events(placed, tile, codes, skip=case.skip))
    traits = placed.mapping, placed.schedule, "formed OUs" if placed.dynamic else "fixed OUs"
    traits += ("skipping" if case.skip else "all read", "signed" if placed.format.signed else "unsigned")
    traits += ("offset" if placed.weight_offset else "differential or unsigned",)
    return Outcome(case.name, traits, {kind: counters[kind] for kind in KINDS}, {kind: model[kind] for kind in KINDS})


def run(cases: list[Case], jobs: int) -> list[Outcome]:
    """All cases."""
    found = []
    with ProcessPoolExecutor(jobs, initializer=end_with_parent) as pool, Progress(console=console) as progress:
        task = progress.add_task("tiles", total=len(cases))
        for done in as_completed([pool.submit(compare, case) for case in cases]):
            found.append(done.result())
            progress.advance(task)
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.events", description=__doc__)
    parser.add_argument("--draws", type=positive, default=DRAWS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chip", default="ou9x8")
    parser.add_argument("--jobs", type=positive, default=2)
    parser.add_argument("--wrong", choices=KINDS)
    a = parser.parse_args(argv)
    networked = list(trained(a.chip))
    found = run([*drawn(a.draws, a.seed), *networked], a.jobs)
    if a.wrong:
        found[0].model[a.wrong] += 1
    wrong = [text for outcome in found for text in outcome.wrong]
    for text in wrong:
        console.print(text, markup=False)
    rows = [(kind, sum(own.rtl[kind] for own in found), sum(own.model[kind] for own in found)) for kind in KINDS]
    table("Events", ("kind", "RTL", "model"), rows)
    variety = Counter(trait for outcome in found for trait in outcome.traits)
    table("Tiles", ("drawn", "times"), sorted(variety.items()))
    targets = [
        Figure("counts that differ", len(wrong), "==", 0),
        Figure("random draws", a.draws, ">=", DRAWS),
        Figure("trained networks", len({case.name.split()[0] for case in networked}), "==", len(NETWORKS)),
        Figure("kinds of events that never happened", sum(not rtl for _, rtl, _ in rows), "==", 0),
    ]
    figures("Events", targets)
    content: dict[str, Any] = {"benchmark": "events", "tiles": len(found), "wrong": wrong, "variety": dict(variety)}
    emit(content | {"targets": [own.as_dict() for own in targets]})
    return 0 if all(own.met for own in targets) else 1


if __name__ == "__main__":
    leave(main)
