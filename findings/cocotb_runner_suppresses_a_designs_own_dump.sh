#!/bin/sh
# cocotb 2.1.0, its runner for Icarus Verilog: without waves=True a design's own $dumpfile and $dumpvars write nothing.
#
# Guess: waves=True adds a dump of everything, and what a design dumps by itself does not depend on it.
# Seen: without waves=True the runner gives vvp the option -none, which turns every $dumpvars into a message, "dumping is
# suppressed", and the test passes. With waves=True for the test alone, not for the build, nothing is added by the runner
# and the design's own dump is written, as FST whatever its file is called, for the runner then gives -fst.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cocotb==2.1.0 pytest==9.1.1
cat > "$folder/counter.v" <<'VERILOG'
`timescale 1ns/1ps
module counter(input clk, output reg [3:0] count);
  initial begin
    count = 0;
    $dumpfile("own.vcd");
    $dumpvars(0, counter);
  end
  always @(posedge clk) count <= count + 1'b1;
endmodule
VERILOG
cat > "$folder/counting.py" <<'PYTHON'
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles


@cocotb.test()
async def counts(dut):
    Clock(dut.clk, 10, unit="ns").start()
    await ClockCycles(dut.clk, 5)
PYTHON
cat > "$folder/run.py" <<'PYTHON'
import contextlib
import io
import os
from pathlib import Path

from cocotb_tools.runner import get_runner

here = Path(__file__).parent
os.environ["PYTHONPATH"] = str(here)
get_runner("icarus").build(
    sources=[here / "counter.v"], hdl_toplevel="counter", build_dir=here / "build", log_file=here / "build.log"
)
for waves in (False, True):
    where = here / f"waves_{waves}"
    where.mkdir()
    with contextlib.redirect_stdout(io.StringIO()):
        get_runner("icarus").test(
            hdl_toplevel="counter", hdl_toplevel_lang="verilog", test_module="counting", build_dir=here / "build", test_dir=where,
            waves=waves, log_file=where / "log.txt", results_xml=str(where / "results.xml"),
        )
    dumped = where / "own.vcd"
    kind = "nothing"
    if dumped.exists():
        kind = "VCD" if dumped.read_bytes()[:1] == b"$" else "FST" if dumped.read_bytes()[:1] == b"\0" else "something"
    suppressed = "dumping is suppressed" in (where / "log.txt").read_text()
    print(f"waves={waves}: passed, own.vcd is {kind}, suppressed: {suppressed}")
PYTHON
(cd "$folder" && "$folder/venv/bin/python" run.py) 2> /dev/null | grep "^waves=" > "$folder/seen"
cat > "$folder/expected" <<'TEXT'
waves=False: passed, own.vcd is nothing, suppressed: True
waves=True: passed, own.vcd is FST, suppressed: False
TEXT
diff "$folder/expected" "$folder/seen"
cat "$folder/seen"
