"""Timing diagrams of the interfaces of a tile and of the shells, taken from waves of real runs.

``python -m bench.timing_diagrams`` writes ``docs/timing/*.json`` (WaveDrom) and ``*.svg``; a test compares them with a
run of today. ``--out`` writes elsewhere.
"""

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples.layer import EXAMPLE
from selvage.api import compile as compile_model
from selvage.base.chip import load_chip
from selvage.base.files import write_whole
from selvage.commands.exits import leave
from selvage.compiler.model_file import draw_input, input_format, load_model, to_maps
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.rtlsim.simulate import build_tile, run_tile
from selvage.rtlsim.waves.file import UNKNOWN, WaveFile, signed
from selvage.rtlsim.waves.signals import SIGNED, UNSIGNED
from selvage.rtlsim.waves.window import Window

OUT = Path(__file__).parents[1] / "docs" / "timing"
STALLS = {"source": (4, 2), "sink": (1, 3), "macro": (6, 2)}  # cycles on and off, at most
VALID, READY = 2, 1  # bits of a handshake


@dataclass(frozen=True)
class Row:
    """One signal of a diagram. ``bit`` of the waves' signal, or its value as a label where the ``strobe`` is high."""

    label: str
    signal: str
    bit: int = 0
    strobe: str = ""  # signal, or handshake with bit, that says when the value means something
    radix: str = UNSIGNED
    mask: bool = False  # in hexadecimal


@dataclass(frozen=True)
class Diagram:
    """Rows over some cycles, from ``before`` event number ``event`` of signal ``around`` on."""

    name: str
    title: str
    rows: tuple[Row, ...]
    around: str
    event: int = 0  # which of them
    before: int = 2
    cycles: int = 16
    scale: int = 1


def _stream(label: str, signal: str) -> tuple[Row, Row]:
    return Row(f"{label} valid", signal, VALID), Row(f"{label} ready", signal, READY)


DIAGRAMS = (
    Diagram(
        "input",
        "Words of activations into a tile (i)",
        (
            *_stream("i", "input_buffer.taken"),
            Row("i payload, channel 0", "input_buffer.activation_0", strobe="input_buffer.taken", radix=SIGNED),
            Row("i payload, channel 1", "input_buffer.activation_1", strobe="input_buffer.taken", radix=SIGNED),
            Row("address it is written to", "input_buffer.free", strobe="input_buffer.taken"),
        ),
        "input_buffer.taken",
    ),
    Diagram(
        "load",
        "Words of a step's window on their way to the arrays",
        (
            Row("a step begins", "input_buffer.begins", 1),
            Row("a word is asked for", "input_buffer.fetches", 1),
            Row("address", "input_buffer.address", strobe="input_buffer.fetches"),
            Row("word out", "input_buffer.loads", 1),
            Row("channel 0", "input_buffer.code_0", strobe="input_buffer.loads", radix=SIGNED),
            Row("step", "input_buffer.step", strobe="input_buffer.loads"),
        ),
        "input_buffer.begins",
        event=5,
    ),
    Diagram(
        "crossbar",
        "OU reads at the pins of a crossbar, and its codes",
        (
            *_stream("request", "crossbar_0.read"),
            Row("word lines", "crossbar_0.wordlines", strobe="crossbar_0.read", mask=True),
            Row("column group", "crossbar_0.column_group", strobe="crossbar_0.read"),
            *_stream("codes", "crossbar_0.converted"),
            Row("code, lane 0", "crossbar_0.code_0", strobe="crossbar_0.converted"),
            Row("code, lane 1", "crossbar_0.code_1", strobe="crossbar_0.converted"),
        ),
        "crossbar_0.read",
    ),
    Diagram(
        "drain",
        "A step's sums leave an accumulator",
        (
            Row("sums are out", "accumulator_0.drains", 1),
            Row("beat", "accumulator_0.beat", strobe="accumulator_0.drains"),
            Row("sum, lane 0", "accumulator_0.sum_0", strobe="accumulator_0.drains", radix=SIGNED),
            *_stream("splice", "splice.beats"),
            Row("whole sum", "splice.value_0", strobe="splice.beats", radix=SIGNED),
        ),
        "accumulator_0.drains",
        cycles=14,
        scale=2,
    ),
    Diagram(
        "output",
        "Sums out of a tile (o)",
        (
            *_stream("o", "leaving.beats"),
            Row("output id", "leaving.output_id_0", strobe="leaving.beats"),
            Row("value 0", "leaving.value_0", strobe="leaving.beats", radix=SIGNED),
            Row("keep", "leaving.keep", strobe="leaving.beats", mask=True),
            Row("last", "leaving.last", strobe="leaving.beats"),
        ),
        "leaving.beats",
        event=3,
        cycles=14,
        scale=2,
    ),
)


def _bit(name: str) -> Row:
    return Row(name, f"bus.{name}", 1)


def _word(name: str, strobe: str, *, mask: bool = True) -> Row:
    return Row(name, f"bus.{name}", strobe=f"bus.{strobe}", mask=mask)


SHELLS = {
    "axi": (
        Diagram(
            "axi_registers",
            "Registers of the AXI shell are read, then written (s_axil)",
            (
                *(_bit(f"s_axil_{name}") for name in ("awvalid", "awready")),
                _word("s_axil_awaddr", "s_axil_awvalid"),
                *(_bit(f"s_axil_{name}") for name in ("wvalid", "wready")),
                _word("s_axil_wdata", "s_axil_wvalid"),
                *(_bit(f"s_axil_{name}") for name in ("bvalid", "bready")),
                *(_bit(f"s_axil_{name}") for name in ("arvalid", "arready")),
                _word("s_axil_araddr", "s_axil_arvalid"),
                *(_bit(f"s_axil_{name}") for name in ("rvalid", "rready")),
                _word("s_axil_rdata", "s_axil_rvalid"),
            ),
            "bus.s_axil_awvalid",
            before=6,
            cycles=14,
            scale=2,
        ),
        Diagram(
            "axi_input",
            "Words of an image into the AXI shell (s_axis_0)",
            (
                *(_bit(f"s_axis_0_{name}") for name in ("tvalid", "tready")),
                _word("s_axis_0_tdata", "s_axis_0_tvalid"),
                _word("s_axis_0_tlast", "s_axis_0_tvalid", mask=False),
            ),
            "bus.s_axis_0_tready",
            cycles=14,
            scale=2,
        ),
        Diagram(
            "axi_output",
            "Words of an image out of the AXI shell (m_axis_0)",
            (
                *(_bit(f"m_axis_0_{name}") for name in ("tvalid", "tready")),
                _word("m_axis_0_tdata", "m_axis_0_tvalid"),
                _word("m_axis_0_tlast", "m_axis_0_tvalid", mask=False),
            ),
            "bus.m_axis_0_tvalid",
            cycles=14,
            scale=2,
        ),
    ),
    "wishbone": (
        Diagram(
            "wishbone",
            "Registers of the Wishbone shell are read, then written",
            (
                *(_bit(f"wb_{name}") for name in ("cyc", "stb", "we", "ack", "err")),
                _word("wb_adr", "wb_stb"),
                _word("wb_dat_w", "wb_we"),
                _word("wb_dat_r", "wb_ack"),
            ),
            "bus.wb_we",
            before=6,
            cycles=14,
            scale=2,
        ),
    ),
}
LAYER = """name = "small"
op = "conv"
channels = 2
outputs = 2
height = 3
width = 3
kernel = [2, 2]
weights = "w.npz"
dtype = "int8"
"""
DUMP = """`timescale 1ns/1ps
module dump;
  wire clk = selftest.clk, rst = selftest.rst;
  reg [63:0] origin = 0;
  reg [7:0] digest = 0;
  generate
    if (1) begin : bus
{wires}
    end
  endgenerate
  initial begin
    $dumpfile("waves.fst");
    $dumpvars(1, clk, rst, origin, digest, bus);
  end
  always @(posedge clk) if (rst) origin <= 0; else if (origin == 0) origin <= $time;
endmodule
"""


def run_shell(bus: str, folder: Path) -> WaveFile:
    """Waves of the self-test of a small layer's shell."""
    weights = np.random.default_rng(1).integers(-3, 4, (2, 2, 2, 2))
    np.savez(folder / "w.npz", w=weights)
    (folder / "layer.toml").write_text(LAYER)
    compile_model(folder / "layer.toml", "tiny").write_verilog(folder / bus, bus=bus)
    shell = folder / bus / "shell"
    bench = (shell / "selftest" / "selftest.v").read_text()
    names = {row.signal.removeprefix("bus.") for diagram in SHELLS[bus] for row in diagram.rows}
    wires = []
    for name in sorted(names):
        found = re.search(rf"(?:reg|wire) (\[\d+:0\] )?(?:\w+, )*{name}\b", bench)
        assert found, f"{name} is a pin of the shell"
        wires.append(f"      wire {found[1] or ''}{name} = selftest.{name};")
    (shell / "dump.v").write_text(DUMP.format(wires="\n".join(wires)))
    subprocess.run(
        ["iverilog", "-g2005", "-s", "selftest", "-s", "dump", "-f", "selftest.f", "dump.v", "-o", "t"],
        cwd=shell,
        check=True,
        capture_output=True,
    )
    told = subprocess.run(["vvp", "-n", "t", "-fst"], cwd=shell, check=True, capture_output=True, text=True).stdout
    assert told.splitlines()[-1] == "PASS", told
    return WaveFile(shell / "waves.fst")


def run(folder: Path) -> WaveFile:
    """Waves of the example layer's first tile on ``tiny``, whose neighbours pause at times."""
    model, chip = load_model(str(EXAMPLE)), load_chip("tiny")
    x = draw_input(model, chip, seed=0)
    placed = place_dense(model.layer, model.weights, chip, input_format=input_format(model, chip, x))
    p = TileParameters(placed, placed.tiles[0], probes=True)
    run_tile(p, build_tile(p), np.asarray(to_maps(model, x)), stalls=STALLS, waves=Window(folder / "tile.fst"))
    return WaveFile(folder / "tile.fst")


def wavedrom(waves: WaveFile, diagram: Diagram) -> dict[str, Any]:
    """Return a diagram as WaveDrom has it."""
    at = diagram.around
    strobes = _strobe(waves, at)
    begins = np.flatnonzero(strobes & ~np.concatenate([[False], strobes[:-1]]))
    start = max(0, int(begins[diagram.event]) - diagram.before)
    cycles = slice(start, start + diagram.cycles)
    rows = [{"name": "clk", "wave": "p" + "." * (diagram.cycles - 1)}]
    rows += [_row(waves, row, cycles) for row in diagram.rows]
    first = int(waves.cycles[start])
    return {
        "signal": rows,
        "head": {"text": diagram.title, "tick": first},
        "foot": {"text": "cycle of the run"},
        "config": {"hscale": diagram.scale},
    }


def _strobe(waves: WaveFile, signal: str) -> np.ndarray:
    """Return in which cycles something is offered."""
    levels = waves.levels(signal)
    return (levels & VALID).astype(bool) if waves.width(signal) == 2 else levels == 1


def _row(waves: WaveFile, row: Row, cycles: slice) -> dict[str, Any]:
    levels = waves.levels(row.signal)[cycles]
    if not row.strobe:
        bits = ["1" if level & row.bit else "0" for level in levels.tolist()]
        return {"name": row.label, "wave": _joined(bits)}
    offered = _strobe(waves, row.strobe)[cycles]
    values = signed(levels, waves.width(row.signal), row.radix)
    wave, data, before = [], [], None
    for value, valid in zip(values.tolist(), offered.tolist(), strict=True):
        here = None if not valid or value == UNKNOWN else value
        if here is None:
            wave.append("x")
        elif here == before:
            wave.append("=.")
        else:
            wave.append("=")
            data.append(f"{value:#x}" if row.mask else str(value))
        before = here
    return {"name": row.label, "wave": _joined(wave), "data": data}


def _joined(wave: Sequence[str]) -> str:
    """Return letters with a dot for what goes on."""
    found, before = "", ""
    for letter in wave:
        found += "." if letter == "=." or (letter == before and letter != "=") else letter
        before = letter
    return found


def files() -> dict[str, bytes]:
    """All diagrams, by the name of their file."""
    import wavedrom as library

    found: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = [(run(Path(folder)), DIAGRAMS), *((run_shell(bus, Path(folder)), own) for bus, own in SHELLS.items())]
        for waves, diagram in ((waves, diagram) for waves, own in runs for diagram in own):
            text = json.dumps(wavedrom(waves, diagram), indent=1) + "\n"
            found[f"{diagram.name}.json"] = text.encode()
            found[f"{diagram.name}.svg"] = (library.render(text).tostring() + "\n").encode()
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.timing_diagrams", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    a = parser.parse_args(argv)
    a.out.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        write_whole(a.out / name, content)
        print(a.out / name)
    return 0


if __name__ == "__main__":
    leave(main)
