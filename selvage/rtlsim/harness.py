"""Verilog around a tile that gathers the pins of all its macros, so that a bench moves them at once."""

from selvage.hw.tile.counters import COUNTER_BITS, counters_of
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.probes import probes_of
from selvage.hw.tile.tile import Tile
from selvage.rtlsim.waves.monitor import monitor


def request_bits(p: TileParameters) -> int:
    """Return the bits of one macro's request: word lines below, column group above."""
    return p.chip.rows + p.engines[0].column_group_bits


def harness(p: TileParameters, tile: Tile) -> str:
    """Return module ``harness``: the tile, its macros' pins side by side (macro 0 lowest), its counters.

    ``pins`` is all that a bench looks at in every cycle, one read for the simulator. Of a tile with probes it dumps
    waves (`rtlsim.waves.monitor`).
    """
    n, request, codes = len(p.macros), request_bits(p), p.chip.ou_cols * p.chip.adc_bits
    width = p.buffer.lanes * p.buffer.format.raw_bits
    out = tile.o.payload.shape().size
    pins = []
    for k in range(n):
        pins += [
            f".crossbar_{k}__request__valid(valid_{k})",
            f".crossbar_{k}__request__ready(request_ready[{k}])",
            f".crossbar_{k}__request__payload(request_{k})",
            f".crossbar_{k}__codes__valid(codes_valid[{k}])",
            f".crossbar_{k}__codes__ready(ready_{k})",
            f".crossbar_{k}__codes__payload(codes[{k * codes} +: {codes}])",
        ]
    # A vector driven piece by piece makes Icarus resolve it bit by bit, which took half of its time.
    wires = "\n  ".join(f"wire [{request - 1}:0] request_{k}; wire valid_{k}, ready_{k};" for k in range(n))
    gathered = ", ".join(f"{name}_{k}" for name in ("request", "ready", "valid") for k in reversed(range(n)))
    counters = [f".{name}({name})" for name in counters_of(p)]
    faces = "".join(f",\n  output [{COUNTER_BITS - 1}:0] {name}" for name in counters_of(p))
    probes = probes_of(p)
    wires += "".join(f"\n  wire [{layout.size - 1}:0] {name};" for name, layout in probes.items())
    connections = ",\n    ".join([*pins, *counters, *(f".{name}({name})" for name in probes)])
    return f"""\
module harness (
  input clk, input rst,
  input [{width - 1}:0] i__payload, input i__valid, output i__ready,
  output [{out - 1}:0] o__payload, output o__valid, input o__ready,
  input [{n - 1}:0] request_ready, input [{n * codes - 1}:0] codes, input [{n - 1}:0] codes_valid,
  output [{n * request + 2 * n + 1}:0] pins{faces}
);
  {wires}
  assign pins = {{{gathered}, o__valid, i__ready}};
  tile tile (
    .clk(clk), .rst(rst),
    .i__payload(i__payload), .i__valid(i__valid), .i__ready(i__ready),
    .o__payload(o__payload), .o__valid(o__valid), .o__ready(o__ready),
    {connections}
  );
{monitor(p)}endmodule
"""
