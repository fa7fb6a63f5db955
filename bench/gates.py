"""A tile in OSU 180 nm cells: area and critical path by component, the vectors of the RTL, energy of an OU read.

The table is of the tile that `bench.synth` measures, two arrays (a pair) on ou9x8. Area is in um2 and in gate
equivalents (of a NAND2X1). Memories are flip-flops, in modules of their own (``..._memory``): the library has no RAM.
So read logic and memories apart: RAM macros are several times smaller, and their clocks take a small part of what
ungated flip-flops take. Critical paths are OpenSTA's, setup included, ports switching with the clock's edge, without
wires, the clock ideal (`bench.netlist`).

The gate-level run plays the bundle's self-test (`bundle.selftest`, ideal macros) of the same arrays on a small image
into the RTL, into the netlist with the OSU cell models and their delays, and into the netlist with one gate exchanged,
which must fail. Registers and memories power up unknown. Energy is that of the run's transitions (`bench.energy`),
reset left out, over its OU reads, one a request at each macro; the macros and what drives their pins are not in it.
Two pixels of the image are uniform and the others blank: a short run, in which there is something to skip.

Needs Debian's yosys, opensta, qflow-tech-osu018 (``sh tools/install_synthesis.sh``) and Icarus.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.energy import Activity, Energy, activity, energy, grouped
from bench.liberty import LIBERTY, OSU, PACKAGE, CellLibrary, load_cells
from bench.lint import layer_files
from bench.netlist import MEMORY, CriticalPath, Module, Size, critical_path, map_design, modules, places, size
from bench.report import Figure, emit, figures, table
from bench.synth import tile
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.base.files import write_files
from selvage.base.layer import InputFormat, Layer
from selvage.compiler.compile_layer import Compiled
from selvage.hw.tile.tile import Tile
from selvage.mapping.dense import place_dense
from selvage.verilog.modules import convert_modules

BUILD = build_folder("gates")
TOOLS = {"yosys": "yosys", "sta": "opensta", "iverilog": "iverilog"}
TOP = "network"
# The arrays of `bench.synth.tile(1)`, two steps.
LAYER = Layer(op="conv", channels=14, outputs=16, height=3, width=4, kernel=(3, 3))
# Of each, another gate with the same pins.
EXCHANGED = {"AND2X1": "OR2X1", "AND2X2": "OR2X2", "NAND2X1": "NOR2X1", "NOR2X1": "NAND2X1", "OR2X1": "AND2X1"}

# Looks between the clock's edges. What has not ended when the limit comes hangs.
PROBE = """\
`timescale 1ns/10ps
module probe;
  integer reads, cycles;
  initial begin
    reads = 0;
    cycles = 0;
    $dumpfile("activity.vcd");
    wait (selftest.rst === 1'b0);
    $dumpvars(1, {dumped});
  end
  always @(negedge selftest.clk) if (selftest.rst === 1'b0) begin
    cycles = cycles + 1;
    reads = {asked};
    if (cycles == {limit}) begin
      $display("FAIL no end in {limit} cycles");
      $finish(0);
    end
  end
endmodule
"""


@dataclass(frozen=True)
class Component:
    """A module: ``size`` of its own cells, ``path`` with all below it."""

    name: str
    instances: int
    size: Size
    path: CriticalPath | None

    @property
    def memory(self) -> bool:
        return self.name.endswith(MEMORY)

    def as_dict(self) -> dict[str, Any]:
        return {"module": self.name, "instances": self.instances, **asdict(self.size), "path": asdict(self.path)}


@dataclass(frozen=True)
class Tiled:
    """A tile in cells. Sums are over all instances."""

    components: list[Component]
    path: CriticalPath

    def gates(self, *, memory: bool) -> float:
        return sum(own.instances * own.size.gates for own in self.components if own.memory == memory)

    def flip_flops(self, *, memory: bool) -> int:
        return sum(own.instances * own.size.flip_flops for own in self.components if own.memory == memory)

    def as_dict(self) -> dict[str, Any]:
        return {
            "gates": self.gates(memory=False),
            "gates_of_memories": self.gates(memory=True),
            "flip_flops": self.flip_flops(memory=False),
            "flip_flops_of_memories": self.flip_flops(memory=True),
            "path": asdict(self.path),
        }


@dataclass(frozen=True)
class Run:
    """A self-test: its last line, and what the probe saw."""

    said: str
    reads: int
    cycles: int
    moved: Activity


def in_cells(own: Tile, where: Path, library: CellLibrary, *, each: bool = True) -> Tiled:
    """Map a tile; ``each``: time its components too, not only the whole."""
    files = []
    where.mkdir(parents=True, exist_ok=True)
    for module in convert_modules(own, "tile", own.library.components, generator="selvage"):
        files.append(where / f"{module.name}.v")
        files[-1].write_text(module.text)
    map_design(files, "tile", library, where)
    found = modules((where / "tile_modules.v").read_text())
    counts = Counter(module for _, module in places(found, "tile"))

    def timed(name: str) -> CriticalPath:
        return critical_path(found, name, "tile_modules.v", library, where)

    parts = [Component(n, counts[n], size(m, library), timed(n) if each else None) for n, m in found.items()]
    whole = next((own.path for own in parts if own.name == "tile" and own.path), None) or timed("tile")
    return Tiled(parts, whole)


def drawn(seed: int) -> Compiled:
    """The layer placed, with weights, and the image of its self-test."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, LAYER.weight_shape)
    placed = place_dense(LAYER, weights, load_chip("ou9x8"), input_format=InputFormat(raw_bits=8, raw_signed=False))
    x = rng.integers(0, 256, (1, LAYER.channels, LAYER.height, LAYER.width))
    seen = np.zeros_like(x)
    seen[:, :, 1, 1:3] = 1  # two pixels that both steps have in their windows
    return Compiled(None, placed, x * seen, weights, placed)


def vectors(where: Path, seed: int) -> None:
    """Write the bundle of the layer: design, macros, self-test."""
    write_files([layer_files(drawn(seed), skip=True)], where)


def simulate(where: Path, name: str, netlist: Sequence[Path], limit: int, *, watch: bool = False) -> Run:
    """Play the self-test into the RTL, or into ``netlist`` (cell models and cells) in its place.

    ``watch``: all nets of it.     RuntimeError: Icarus failed.
    """
    places = [own["instance"] for own in json.loads((where / "names.json").read_text())["crossbars"]]
    asked = " + ".join(f"selftest.dut.{f'{chr(92)}{own} ' if netlist else own}.asked" for own in places)
    dumped = "reads, cycles" + (", selftest.dut" if watch else "")
    (where / f"{name}.v").write_text(PROBE.format(dumped=dumped, asked=asked, limit=limit))
    sources = (where / "selftest.f").read_text().split()
    if netlist:
        sources = [own for own in sources if not own.startswith("rtl/")]
    delays = ["-gspecify", "-DFLAT"] if netlist else []
    # The probe first, for files without a timescale take that of the file before.
    files = [f"{name}.v", *map(str, netlist), *sources]
    command = ["iverilog", "-g2005", *delays, "-s", "selftest", "-s", "probe", "-o", f"{name}.vvp", *files]
    for step in (command, ["vvp", "-n", f"{name}.vvp"]):
        done = subprocess.run(step, cwd=where, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{step[0]} failed in {where}:\n{done.stderr[-2000:]}{done.stdout[-2000:]}")
    dump = where / "activity.vcd"
    with dump.open() as lines:
        moved = activity(lines)
    dump.unlink()
    reads, cycles = (int(moved.last[what], 2) for what in ("reads", "cycles"))
    return Run(done.stdout.strip().split("\n")[-1], reads, cycles, moved)


def exchanged(text: str, flat: Module, moved: Activity) -> tuple[str, str]:
    """The netlist with one gate of logic for another, and what was done: to the one whose output moves most."""

    def motion(own: Any) -> int:
        return sum(moved.of(own.pins["Y"]))

    logic = [own for own in flat.instances if own.kind in EXCHANGED and f"{MEMORY}." not in own.name]
    own = max(logic, key=motion)
    other = EXCHANGED[own.kind]
    changed, count = re.subn(
        rf"^  {own.kind} (\\?{re.escape(own.name)} +\()", rf"  {other} \1", text, count=1, flags=re.MULTILINE
    )
    if count != 1:
        raise RuntimeError(f"the netlist has no {own.kind} {own.name}")
    return changed, f"{own.kind} {own.name} made {other}"


def gate_level(where: Path, library: CellLibrary, seed: int) -> dict[str, Any]:
    """RTL, netlist and faulty netlist on the same vectors, and the energy of the netlist's run."""
    vectors(where, seed)
    design = [where / own for own in (where / "rtl.f").read_text().split()]
    map_design(design, TOP, library, where, flat=True)
    reference = simulate(where, "probe_rtl", (), limit=1_000_000)
    limit = reference.cycles * 11 // 10 + 10
    netlist = where / f"{TOP}_flat.v"
    run = simulate(where, "probe_gates", (library.models, netlist.resolve()), limit, watch=True)
    text = netlist.read_text()
    whole = modules(text)[TOP]
    flat = replace(whole, instances=tuple(own for own in whole.instances if own.kind in library.cells))
    changed, fault = exchanged(text, flat, run.moved)
    faulty = where / "faulty.v"
    faulty.write_text(changed)
    wrong = simulate(where, "probe_fault", (library.models, faulty.resolve()), limit)
    kinds = dict(places(modules((where / f"{TOP}_modules.v").read_text()), TOP))
    parts = grouped(energy(flat.instances, run.moved, library), kinds)
    return {
        "rtl": reference.said,
        "gates": run.said,
        "fault": {"what": fault, "said": wrong.said},
        "cycles": {"rtl": reference.cycles, "gates": run.cycles},
        "reads": {"rtl": reference.reads, "gates": run.reads},
        "cells": len(flat.instances),
        "energy": of_a_read(parts, run.reads),
    }


def of_a_read(parts: dict[str, Energy], reads: int) -> dict[str, Any]:
    """pJ of an OU read by module, and summed: of the logic, of the memories."""
    content: dict[str, Any] = {"modules": {}}
    sums = {"logic": Energy(), "memories": Energy()}
    for name, own in sorted(parts.items()):
        content["modules"][name] = shares(own, reads)
        sums["memories" if name.endswith(MEMORY) else "logic"] += own
    for name, own in (*sums.items(), ("all", sums["logic"] + sums["memories"])):
        content[name] = shares(own, reads)
    return content


def shares(own: Energy, reads: int) -> dict[str, float]:
    return {name: value / reads for name, value in {**asdict(own), "total": own.total}.items()}


def show_tile(own: Tiled) -> None:
    rows = [
        (
            part.name,
            part.instances,
            part.size.area,
            round(part.size.gates),
            part.size.flip_flops,
            part.path.nanoseconds,
            f"{part.path.start} -> {part.path.end}",
        )
        for part in own.components
    ]
    heads = ("module", "instances", "um2", "gates", "flip-flops", "ns", "critical path")
    table("Cells of each module, and its critical path with what it holds", heads, rows)
    sums = [
        (name, round(own.gates(memory=memory)), own.flip_flops(memory=memory))
        for name, memory in (("logic", False), ("memories", True))
    ]
    table("The tile", ("", "gates", "flip-flops"), sums)


def show_run(own: dict[str, Any]) -> None:
    rows = [
        (what, own["reads"].get(key, ""), own["cycles"].get(key, ""), said)
        for what, key, said in (
            ("RTL", "rtl", own["rtl"]),
            ("netlist", "gates", own["gates"]),
            (own["fault"]["what"], "", own["fault"]["said"]),
        )
    ]
    table("Self-test", ("", "OU reads", "cycles", "says"), rows)
    found = own["energy"]
    listed = {**found["modules"], **{name: found[name] for name in ("logic", "memories", "all")}}
    rows = [(name, *values.values()) for name, values in listed.items()]
    table("pJ of an OU read", ("module", "clock", "data", "leakage", "total"), rows)


def summary(library: CellLibrary, parts: Sequence[str] = ("table", "run"), seed: int = 1) -> dict[str, Any]:
    """All that was asked for."""
    content: dict[str, Any] = {"benchmark": "gates"}
    targets: list[Figure] = []
    if "table" in parts:
        own = in_cells(tile(1), BUILD / "tile", library)
        show_tile(own)
        content["tile"] = own.as_dict() | {"components": [part.as_dict() for part in own.components]}
    if "run" in parts:
        found = content["run"] = gate_level(BUILD / "run", library, seed)
        show_run(found)
        failed = sum(found[name] != "PASS" for name in ("rtl", "gates"))
        lost = {what: found[what]["gates"] - found[what]["rtl"] for what in ("reads", "cycles")}
        targets += [
            Figure("self-tests of RTL and netlist that fail", failed, "==", 0),
            Figure("planted faults that pass", int(not found["fault"]["said"].startswith("FAIL")), "==", 0),
            *(Figure(f"{what} of the netlist less the RTL's", count, "==", 0) for what, count in lost.items()),
        ]
        figures("Gate level", targets)
    content["targets"] = [figure.as_dict() for figure in targets]
    return content


def missing(folder: Path) -> str:
    """One sentence when a tool or the cells are not there; empty when all are."""
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            return f"selvage: {tool} is not installed: apt-get install {package}"
    if not (folder / LIBERTY).exists():
        return f"selvage: no {LIBERTY} in {folder}: apt-get install {PACKAGE}"
    return ""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gates", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=("table", "run"), default=["table", "run"])
    parser.add_argument("--cells", type=Path, default=OSU, help="folder of the OSU cells")
    parser.add_argument("--seed", type=int, default=1, help="of the run's weights and codes")
    a = parser.parse_args(argv)
    if sentence := missing(a.cells):
        print(sentence, file=sys.stderr)
        return 2
    content = summary(load_cells(a.cells), a.parts, a.seed)
    emit(content)
    return 0 if all(figure["met"] for figure in content["targets"]) else 1


if __name__ == "__main__":
    sys.exit(main())
