"""A shell around a small network, for benches that play its host."""

from typing import Any

from amaranth.hdl import Shape

from selvage.hw.macro.macro_views import model
from selvage.hw.shell.axi import FrameParameters
from selvage.hw.shell.programming import cell_image, table_image
from selvage.hw.shell.shell import Shell, ShellParameters
from selvage.rtlsim.words import raster_words
from selvage.verilog.convert import convert
from tb.models.small_networks import SmallNetwork

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
  assign reading[{k}] = {place}.request__valid && {place}.request__ready;
  assign programming[{k}] = {place}.program__request__valid;
"""


def sources_of(p: ShellParameters) -> dict[str, str]:
    """A shell and its harness by file name."""
    made = Shell(p)
    text = convert(made, "shell", made.modules)
    assert p.network.macro
    return {"shell.v": text, "crossbar.v": model(p.network.macro), "harness.v": harness(p, made)}


def places(p: ShellParameters) -> list[str]:
    """Where each crossbar stands below the harness."""
    return [f"shell.network.{place}" for place in p.network.crossbars]


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
    for k, place in enumerate(places(p)):
        asked = [f"{place}.{port}request__{name}" for port in ("", "program__") for name in ("payload", "valid")]
        parts += [KNOWN.format(values=asked[n], valid=asked[n + 1]) for n in (0, 2)]
        parts.append(MACRO.format(k=k, place=place))
    return HARNESS.format(
        pins=", ".join([*pins, "conflict", "unstable", "unknown", "reads"]),
        declarations="\n".join(declarations),
        macros=p.programming.macros,
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
        "crossbars": places(p),
        "tables": [table_image(p.programming, p.network.table)] if p.programming.tables else [],
    }
