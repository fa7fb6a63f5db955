"""Verilog that names what a tile with probes shows, counts its steps, and dumps a window of them.

It stands in module ``harness``, beside the tile. Plusargs: ``dump``, the file; ``dump_from``, the first step; and
``dump_until``, the output block before which the window ends (0: never).
"""

from collections.abc import Sequence

from selvage.hw.network.network import NetworkParameters
from selvage.hw.network.probes import network_probes
from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.waves.network_signals import network_scopes
from selvage.rtlsim.waves.signals import BITS, Scope, Shown, tile_scopes

ALWAYS = ("clk", "rst", "origin", "digest")  # dumped beside the scopes
DESIGN_LETTERS = 32  # of the fingerprint, which are in the waves
BEFORE = 6  # steps by which a window begins early: that of the step generator is as far ahead
AFTER = 4  # cycles that a window goes on behind its last beat


def monitor(p: TileParameters) -> str:
    """Return the scopes of the tile and the block that dumps them; nothing for a tile without probes."""
    if not p.probes:
        return ""
    scopes = tile_scopes(p)
    blocks = "".join(_block(scope) for scope in scopes)
    return blocks + _DUMP.format(
        dumped=", ".join([*ALWAYS, *(scope.name for scope in scopes)]),
        design=8 * DESIGN_LETTERS - 1,
        after=AFTER,
        before=BEFORE,
    )


def network_monitor(p: NetworkParameters) -> tuple[list[str], str]:
    """Return the pins of a network's probes, and Verilog in its bench that names them and dumps the whole run."""
    if not p.probes:
        return [], ""
    scopes, layouts = network_scopes(p), network_probes(p)
    wires = "".join(f"  wire [{layout.size - 1}:0] {name};\n" for name, layout in layouts.items())
    dumped = ", ".join([*ALWAYS, *(scope.name for scope in scopes)])
    dump = _DUMP_ALL.format(dumped=dumped, design=8 * DESIGN_LETTERS - 1)
    return [f".{name}({name})" for name in layouts], wires + "".join(map(_block, scopes)) + dump


def dump_all_arguments(path: str, design: str) -> Sequence[str]:
    """Return the plusargs of a run of a network that is dumped."""
    return ["-fst", f"+dump={path}", f"+design={design}"]


def _block(scope: Scope) -> str:
    wires = "".join(f"      wire {_range(shown)}{shown.name} = {shown.source};\n" for shown in scope.signals)
    counters = f"      if (1) begin : c\n{scope.counters}      end\n" if scope.counters else ""
    return f"  generate\n    if (1) begin : {scope.name}\n{counters}{wires}    end\n  endgenerate\n"


def _range(shown: Shown) -> str:
    signed = "signed " if shown.radix == "signed" else ""
    return f"{signed}[{shown.width - 1}:0] " if shown.width > 1 or shown.radix != BITS else ""


def dump_arguments(path: str, design: str, first: int, until: int, ids: str) -> Sequence[str]:
    """Return the plusargs of a run that dumps."""
    return [
        f"+dump={path}",
        f"+design={design}",
        f"+dump_from={first}",
        f"+dump_until={until}",
        f"+ids={ids}",
    ]


# Steps are given some steps before their words are loaded. Waves end with x, which is no value of a signal.
_DUMP = """\
  reg [8 * 1024:1] dump_file;
  reg [{design}:0] digest;
  reg [63:0] origin; // time of the edge that ends cycle 0
  reg dumps, dumping;
  integer dump_from, dump_until, resting;
  initial begin
    origin = 0;
    dumping = 1'b0;
    resting = 0;
    digest = 0;
    dumps = $value$plusargs("dump=%s", dump_file) != 0;
    if (!$value$plusargs("design=%s", digest)) digest = 0;
    if (!$value$plusargs("dump_from=%d", dump_from)) dump_from = 0;
    if (!$value$plusargs("dump_until=%d", dump_until)) dump_until = 0;
  end
  always @(posedge clk) if (rst) origin <= 0; else if (origin == 0) origin <= $time;
  always @(negedge clk) if (dumps) begin
    if (!dumping && (dump_from <= {before} || !rst && input_buffer.c.step_now + {before} >= dump_from)) begin
      dumping = 1'b1;
      $dumpfile(dump_file);
      $dumpvars(1, {dumped});
    end
    if (dumping && dump_until != 0 && !rst && leaving.c.step_now >= dump_until) begin
      if (resting == {after}) begin
        $dumpoff;
        dumps = 1'b0;
      end
      resting = resting + 1;
    end
  end
"""

_DUMP_ALL = """\
  reg [8 * 1024:1] dump_file;
  reg [{design}:0] digest;
  reg [63:0] origin;
  initial begin
    origin = 0;
    if (!$value$plusargs("design=%s", digest)) digest = 0;
    if ($value$plusargs("dump=%s", dump_file)) begin
      $dumpfile(dump_file);
      $dumpvars(1, {dumped});
    end
  end
  always @(posedge clk) if (rst) origin <= 0; else if (origin == 0) origin <= $time;
"""
