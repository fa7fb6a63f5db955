"""Shells of a small network: its outputs through each bus, and what they refuse."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Shape
from systemrdl import RDLCompiler

from selvage.hw.macro.macro import CROSSBAR, macro_parameters
from selvage.hw.macro.programmable import PROGRAMMABLE
from selvage.hw.network.network import NetworkParameters
from selvage.hw.shell.axi import FrameParameters
from selvage.hw.shell.programming import cell_image, table_image
from selvage.hw.shell.registers import RegisterParameters, register_views, registers_of
from selvage.hw.shell.shell import Shell, ShellParameters
from selvage.rtlsim.plain import raster_words
from selvage.verilog.convert import convert
from tb.benches.bench_run import run_bench
from tb.models.small_networks import RELU, SmallNetwork, simulate_plan

STABLE = """\
  reg [{top}:0] before_{k};
  always @(posedge clk) begin
    if (!rst && before_{k}[0] && {{{values}, {valid}}} !== before_{k}) unstable = 1'b1;
    before_{k} <= rst || {ready} ? {width}'d0 : {{{values}, {valid}}};
  end
"""
KNOWN = """\
  always @(posedge clk) if (!rst && {valid} !== 1'b0 && ^{{{values}, {valid}}} === 1'bx) unknown = 1'b1;
"""
HARNESS = """\
`timescale 1ns/1ps
module harness({pins});
{declarations}
  output reg conflict = 1'b0, unstable = 1'b0, unknown = 1'b0;
  output reg [31:0] reads = 0;
  integer k;
  wire [{macros} - 1:0] reading, programming;
  always @(posedge clk) if (!rst) begin
    if (reading != 0 && programming != 0) conflict = 1'b1;
    for (k = 0; k < {macros}; k = k + 1) reads = reads + reading[k];
  end
{parts}
  shell shell (
    {connections}
  );
endmodule
"""
MACRO = """\
  wire request__valid_{k}, request__ready_{k}, codes__valid_{k}, codes__ready_{k};
  wire [{request}:0] request__payload_{k};
  wire [{codes}:0] codes__payload_{k};
  wire program__request__valid_{k}, program__request__ready_{k}, program__cells__valid_{k}, program__cells__ready_{k};
  wire [{program}:0] program__request__payload_{k};
  wire [{row}:0] program__cells__payload_{k};
  assign reading[{k}] = request__valid_{k} && request__ready_{k};
  assign programming[{k}] = program__request__valid_{k};
  programmable_crossbar #({parameters}) macro_{k} (.clk(clk), .rst(rst),
    {pins}
  );
"""


def small_network() -> SmallNetwork:
    """Two inputs, two outputs: raw sums behind two layers, and words of 64 bits."""
    n = SmallNetwork.on("tiny", 12, images=3)
    x, y = n.input(3, 4, 3), n.input(8, 4, 3)
    a = n.layer(x, 2, kernel=(2, 2), pads=(1, 1, 0, 0), activation=RELU)
    return n.leaves(n.layer(a, 2, kernel=(2, 1), raw=True), n.pool(y, "max", (2, 2)))


@cache
def shell(bus: str) -> tuple[SmallNetwork, ShellParameters, dict[str, str]]:
    """The network, its shell, and all sources. Behind Wishbone it loads tables (behind AXI in `test_tables.py`)."""
    network = small_network()
    constants = "loaded" if bus == "wishbone" else "fixed"
    p = ShellParameters(NetworkParameters(network.plan, constants=constants), bus=bus)
    return network, p, sources_of(p)


def sources_of(p: ShellParameters) -> dict[str, str]:
    """A shell and its harness by file name."""
    made = Shell(p)
    text = convert(made, "shell", made.modules)
    return {"shell.v": text, "crossbar.v": CROSSBAR, "programmable.v": PROGRAMMABLE, "harness.v": harness(p, made)}


def harness(p: ShellParameters, made: Shell) -> str:
    """Module ``harness``: the shell, its macros, and what they saw."""
    pins, declarations, connections = ["clk", "rst"], ["  input clk, rst;"], [".clk(clk)", ".rst(rst)"]
    for name, member in made.signature.members.items():
        if member.is_signature:
            continue
        width = Shape.cast(member.shape).width
        pins.append(name)
        declarations.append(f"  {'input' if member.flow.name == 'In' else 'output'} [{width - 1}:0] {name};")
        connections.append(f".{name}({name})")
    streams = [f"m_axis_{k}_t" for k in range(len(p.outputs))] if p.bus == "axi" else []
    channels = [(own, ["data", "last"]) for own in streams]
    channels += [("s_axil_b", ["resp"]), ("s_axil_r", ["data", "resp"])] if p.bus == "axi" else []
    parts = []
    outputs = [name for name, member in made.signature.members.items() if member.is_port and member.flow.name == "Out"]
    valids = {"wb_dat_r": "(wb_ack | wb_err)"} | {
        f"{own}{name}": f"{own}valid" for own, names in channels for name in names
    }
    parts += [KNOWN.format(values=name, valid=valids.get(name, "1'b1")) for name in outputs]
    for k, (own, members) in enumerate(channels):
        values = [f"{own}{member}" for member in members]
        width = 1 + sum(Shape.cast(made.signature.members[name].shape).width for name in values)
        fields = {"values": ", ".join(values), "valid": f"{own}valid", "ready": f"{own}ready"}
        parts.append(STABLE.format(k=k, top=width - 1, width=width, **fields))
    chip = p.network.plan.layers[0].placement.chip
    for k, engine in enumerate(p.network.macros):
        own = macro_parameters(engine, chip.cell_bits, chip.read_latency)
        own["ROW_BITS"] = row_bits = max(1, (p.programming.rows - 1).bit_length())
        names = [f"{port}__{name}" for port in ("request", "codes") for name in ("valid", "ready", "payload")]
        program = [
            f"program__{port}__{name}" for port in ("request", "cells") for name in ("valid", "ready", "payload")
        ]
        widths = {
            "request": engine.rows + engine.column_group_bits - 1,
            "codes": engine.ou_cols * engine.adc_bits - 1,
            "program": p.programming.width + row_bits,
            "row": p.programming.width - 1,
        }
        given = ", ".join(f".{name}({value})" for name, value in own.items())
        inner = ",\n    ".join(f".{name}({name}_{k})" for name in (*names, *program))
        asked = [f"{port}request__{name}_{k}" for port in ("", "program__") for name in ("payload", "valid")]
        parts += [KNOWN.format(values=asked[n], valid=asked[n + 1]) for n in (0, 2)]
        parts.append(MACRO.format(k=k, parameters=given, pins=inner, **widths))
        connections += [f".crossbar_{k}__{name}({name}_{k})" for name in names]
        connections += [f".program_{k}__{name[9:]}({name}_{k})" for name in program]
    return HARNESS.format(
        pins=", ".join([*pins, "conflict", "unstable", "unknown", "reads"]),
        declarations="\n".join(declarations),
        macros=len(p.network.macros),
        parts="\n".join(parts),
        connections=",\n    ".join(connections),
    )


def words_of(codes: Any, frame: FrameParameters) -> list[list[int]]:
    """Words of each image."""
    raw = raster_words(codes, frame.bits, frame.lanes)
    size = frame.data_bits // 8
    words = [int.from_bytes(raw[k : k + size], "little") for k in range(0, len(raw), size)]
    return [words[k : k + frame.words] for k in range(0, len(words), frame.words)]


def fields(network: SmallNetwork, p: ShellParameters) -> dict[str, Any]:
    """What the bench is told."""
    plan = network.plan
    expected = dict(network.codes)
    for node in network.nodes:
        if getattr(node, "raw", False):  # the host adds the bias
            expected[node.output.name] = expected[node.output.name] - node.bias[:, None, None]
    cells = [array.cells.tolist() for layer in plan.layers for tile in layer.placement.tiles for array in tile.arrays]
    return {
        "image": cell_image(p.programming, cells),
        "addresses": p.registers.addresses,
        "inputs": [words_of(network.codes[t.name], own) for t, own in zip(plan.inputs, p.inputs, strict=True)],
        "outputs": [words_of(expected[t.name], own) for t, own in zip(plan.outputs, p.outputs, strict=True)],
        "parts": [[-(-own.data_bits // 32) for own in side] for side in (p.inputs, p.outputs)],
        "rows": p.programming.rows,
        "width": p.programming.width,
        "tables": [table_image(p.programming, p.network.table)] if p.programming.tables else [],
    }


@pytest.mark.parametrize(
    ("bus", "bench", "tests"), [("axi", "shell", 16), ("axi", "shell_ends", 9), ("wishbone", "wishbone", 14)]
)
def test_shell(bus: str, bench: str, tests: int) -> None:
    network, p, sources = shell(bus)
    assert {own.data_bits - own.width for own in p.outputs} != {0}, "no output needs padding"
    assert max(own.data_bits for own in p.inputs) > 32 < max(own.data_bits for own in p.outputs), "no word has parts"
    told = fields(network, p)
    if bus == "axi":
        plan = network.plan
        told["bare_cycles"] = simulate_plan(plan, [network.codes[t.name] for t in plan.inputs]).cycles
    assert run_bench(f"shell_{bus}", sources, "harness", f"tb.benches.{bench}_bench", told) == tests


def test_views(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same bytes again; header and page know the registers of the design and no others."""
    p = RegisterParameters(3, 16, 20, 2, inputs=2, queues=True, loaded=True, structure=0xABCDEF01)
    views = register_views(p)
    monkeypatch.setattr("time.time", lambda: 12345678901.0)
    assert views == register_views(p)
    header = views["selvage.h"].decode()
    assert "SELVAGE__CHIP__MACROS_reset 0x3" in header and "DATA_IN" in header
    assert "SELVAGE__TABLES__DESIGN_reset 0xabcdef01" in header and "LOAD_TABLES" in header
    others = register_views(RegisterParameters(1, 1, 1, 1))["selvage.h"].decode()
    assert not any(name in others for name in ("DATA_IN", "LOAD_TABLES", "DESIGN"))
    assert b"#define SELVAGE_CODE_CHECKSUM 10" in views["selvage_codes.h"]
    (tmp_path / "own.rdl").write_bytes(views["registers.rdl"])
    compiler = RDLCompiler()
    compiler.compile_file(str(tmp_path / "own.rdl"))
    assert registers_of(compiler.elaborate().top) == p.registers, "the source that is shipped is of another design"
    assert "html/index.html" in views and sum(map(len, views.values())) < 2**21
    assert (p.addresses["data_in_1"], p.addresses["tables"]) == (0x84, 0x2C)


@pytest.mark.parametrize(
    ("name", "value"), [("macros", 0), ("cell_bits", 9), ("inputs", 17), ("retries", 256), ("structure", -1)]
)
def test_register_parameters_refuse(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        RegisterParameters(**{"macros": 1, "rows": 1, "columns": 1, "cell_bits": 1, name: value})


def test_shell_refuses() -> None:
    network = small_network()
    with pytest.raises(ValueError, match="'axi' or 'wishbone'"):
        ShellParameters(NetworkParameters(network.plan), bus="apb")
    with pytest.raises(ValueError, match="direct"):
        ShellParameters(NetworkParameters(network.plan, direct=True))
