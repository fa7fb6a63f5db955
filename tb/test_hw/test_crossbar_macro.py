"""The crossbar macro in plain Verilog against the behavioural crossbar, cycle by cycle."""

import random
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from selvage.base.chip import Chip
from selvage.hw.macro.macro import CROSSBAR, macro_parameters
from selvage.rtlsim.job import pack_words
from selvage.rtlsim.words import hex_lines
from selvage.sim.crossbar import Crossbar

CYCLES = 1500
BENCH = """\
module bench;
  localparam WIDTH = {width}, CODES = {codes};
  reg clk = 0, rst = 1;
  always #5 clk = ~clk;
  reg [WIDTH + 1:0] given [0:{cycles} - 1]; // codes' ready, request's valid, request
  integer now = 0, file;
  wire [WIDTH + 1:0] here = given[now];
  wire ready, valid;
  wire [CODES - 1:0] codes;
  crossbar #({parameters}, .CELLS("cells.hex")) crossbar (
    .clk(clk), .rst(rst), .request__valid(here[WIDTH] && !rst), .request__ready(ready),
    .request__payload(here[WIDTH - 1:0]), .codes__valid(valid), .codes__ready(here[WIDTH + 1] && !rst),
    .codes__payload(codes)
  );
  initial begin
    $readmemh("given.hex", given);
    file = $fopen("found.txt", "w");
    #22 rst = 0;
  end
  always @(posedge clk) if (!rst) begin
    if (valid) $fdisplay(file, "%h", codes); else $fdisplay(file, "-");
    if (!ready) $fdisplay(file, "not ready");
    now <= now + 1;
    if (now == {cycles} - 1) $finish;
  end
endmodule
"""

CHIPS = {
    "clips": dict(rows=19, columns=21, ou_rows=9, ou_cols=4, adc_bits=2, read_latency=1),
    "lossless": dict(rows=37, columns=24, ou_rows=9, ou_cols=8, adc_bits=4, read_latency=3),
    "two_bits": dict(rows=27, columns=30, ou_rows=27, ou_cols=5, adc_bits=7, cell_bits=2, read_latency=3),
    "two_bits_clip": dict(rows=16, columns=9, ou_rows=6, ou_cols=3, adc_bits=3, cell_bits=2, read_latency=1),
    "two_cycles": dict(rows=5, columns=8, ou_rows=2, ou_cols=8, adc_bits=2, read_latency=2),
}


def requests(rng: random.Random, chip: Chip, groups: int, mostly: float) -> list[tuple[bool, bool, int, int]]:
    """By cycle: codes are taken, a request is there, its word lines and column group.

    No more are under way than the periphery asks for: the latency and three.
    """
    found, under_way, lines = [], [], 0
    for now in range(CYCLES):
        taken = rng.random() < mostly
        asks = len(under_way) < chip.read_latency + 3 and rng.random() < mostly
        if rng.random() < 0.4:
            count = rng.choice([0, 1, chip.ou_rows, rng.randint(0, chip.ou_rows)])
            lines = sum(1 << row for row in rng.sample(range(chip.rows), count))
        found.append((taken, asks, lines, rng.randrange(groups)))
        if taken and under_way and under_way[0] + chip.read_latency <= now:
            under_way.pop(0)
        if asks:
            under_way.append(now)
    return found


@pytest.mark.parametrize("mostly", [1.0, 0.6])
@pytest.mark.parametrize("name", CHIPS)
def test_macro(name: str, mostly: float, tmp_path: Path) -> None:
    """Codes in order, ``LATENCY`` cycles after their request or when those before have been taken."""
    chip = Chip(name=name, weight_bits=2, arrays_per_tile=2, **CHIPS[name])
    seed = sum(map(ord, name)) + round(10 * mostly)
    print(f"seed {seed}")
    rng = random.Random(seed)
    cells = np.random.default_rng(seed).integers(0, 2**chip.cell_bits, (chip.rows, chip.columns))
    groups = -(-chip.columns // chip.ou_cols)
    engine = SimpleNamespace(**chip.model_dump(), column_group_bits=max(1, (groups - 1).bit_length()))
    own = macro_parameters(engine, chip.cell_bits, chip.read_latency)
    width, codes = chip.rows + engine.column_group_bits, chip.ou_cols * chip.adc_bits
    given = requests(rng, chip, groups, mostly)
    words = [taken << width + 1 | asks << width | group << chip.rows | lines for taken, asks, lines, group in given]
    (tmp_path / "given.hex").write_text("".join(f"{word:x}\n" for word in words))
    (tmp_path / "cells.hex").write_text(hex_lines(pack_words(cells, chip.cell_bits), chip.columns * chip.cell_bits))
    (tmp_path / "crossbar.v").write_text(CROSSBAR)
    text = ", ".join(f".{key}({value})" for key, value in own.items())
    (tmp_path / "bench.v").write_text(BENCH.format(width=width, codes=codes, cycles=CYCLES, parameters=text))
    subprocess.run(["iverilog", "-g2005", "-o", "bench", "bench.v", "crossbar.v"], cwd=tmp_path, check=True)
    subprocess.run(["vvp", "-n", "bench"], cwd=tmp_path, check=True, capture_output=True)
    found = (tmp_path / "found.txt").read_text().split("\n")[:-1]
    assert found == expected(Crossbar(cells.astype(np.uint8), chip), given, -(-codes // 4))


def expected(crossbar: Crossbar, given: list[tuple[bool, bool, int, int]], digits: int) -> list[str]:
    """What is at the codes' pins in each cycle."""
    waiting: list[tuple[int, int]] = []  # from which cycle on, codes
    found = []
    for now, (taken, asks, lines, group) in enumerate(given):
        there = bool(waiting) and waiting[0][0] <= now
        found.append(f"{waiting[0][1]:0{digits}x}" if there else "-")
        if there and taken:
            waiting.pop(0)
        if asks:
            waiting.append((now + crossbar.chip.read_latency, crossbar.read(lines, group)))
    return found
