"""A bench of plain Verilog that does what a host does: loads cells and tables, runs images, compares what leaves.

It writes and reads registers as `hw/shell/registers.rdl` says, without pauses, and knows nothing else of the shell.
Runs are also aborted, with words on their way in and words left unread, and stopped, and the next one begins.
"""

from collections.abc import Mapping, Sequence

from selvage.bundle.buses import BusFiles, bus_files
from selvage.bundle.selftest import SHORTEST, TIMES
from selvage.hw.shell.axi import FrameParameters
from selvage.hw.shell.registers import Code, State


def shell_selftest(
    top: str,
    bus: str,
    addresses: Mapping[str, int],
    inputs: Sequence[FrameParameters],
    outputs: Sequence[FrameParameters],
    images: int,
    loads: Mapping[str, int],
    image_cycles: int,
) -> str:
    """Return module ``selftest`` around module ``top``, its last line PASS, or FAIL and the first thing that differs.

    ``loads``: words of each image that is loaded, from ``cells.hex`` and ``tables.hex``. ``selftest/input_k.hex`` and
    ``expected_k.hex`` hold a word a line. ``image_cycles``: as of `bundle.selftest.selftest`.
    """
    files = bus_files()[bus]
    pins, parts, turn = files.parts(inputs, outputs, images)
    fixed = {"control", "status", "interrupt_enable", "interrupt_status", "images", "images_done"}
    fixed |= {"load_word", "load_last", "data_ready"}
    used = {name: at for name, at in addresses.items() if name in fixed or name.startswith(("data_in", "data_out"))}
    registers = ", ".join(f"{name.upper()} = 32'd{address}" for name, address in used.items())
    inside, outside = range(len(inputs)), range(len(outputs))
    return _BENCH.format(
        top=top,
        pins=",\n".join(f"    .{name}({name})" for name in ("clk", "rst", "interrupt_request", *pins)),
        registers=registers,
        reads_all="".join(f"      known({address});\n" for name, address in addresses.items() if _readable(name)),
        memories="".join(f"  reg [31:0] {kind} [0:{count} - 1];\n" for kind, count in loads.items()),
        reads="".join(f'    $readmemh("{kind}.hex", {kind});\n' for kind in loads),
        loads="".join(
            _LOAD.format(kind=kind, command={"cells": "LOAD", "tables": "LOAD_TABLES"}[kind], count=count)
            for kind, count in loads.items()
        ),
        parts="\n".join(parts),
        turn=turn,
        rewind=files.rewind(len(inputs), len(outputs)),
        counts="".join(_COUNT.format(k=k, frame=frame.words) for k, frame in enumerate(outputs)),
        entered=" && ".join(files.entered.format(k=k) for k in inside),
        waits=" || ".join(files.waits.format(k=k) for k in outside),
        begun="at_0 != 0",
        dropping=files.dropping(inputs),
        withdraw=files.withdraw,
        images=images,
        patience=SHORTEST + TIMES * image_cycles,
        tells=_tells(files, inputs, outputs, images),
        ready=State.READY.value,
        aborted=Code.ABORTED.value,
    )


def _readable(name: str) -> bool:
    """Return whether a register can be read at any time."""
    return name != "control" and not name.startswith(("load_", "data_in", "data_out"))


def _tells(files: BusFiles, inputs: Sequence[FrameParameters], outputs: Sequence[FrameParameters], images: int) -> str:
    """Return what is said of each stream when nothing moves any more."""
    return "".join(
        text.format(k=k, frame=frames.words, words=frames.words * images)
        for text, side in ((files.refused_in, inputs), (files.refused_out, outputs))
        for k, frames in enumerate(side)
    )


_BENCH = """\
// Loads the shell, runs {images} images and compares what leaves; aborts a run whose first words have entered and one
// whose words wait at the outputs, stops one, and runs the rest. The last line is PASS, or FAIL and what differs.

module selftest;
  localparam {registers};
  localparam START = 1, STOP = 2, ABORT = 4, LOAD = 8, LOAD_TABLES = 32; // commands
  localparam DONE = 1, ERROR = 2, LOADED = 4; // interrupts
  localparam ALL = 2147483647;
  reg clk, rst, over, moved, rewinding, taking;
  integer quiet, k, part, most;
  reg [31:0] found, told;
  wire interrupt_request;
{memories}{parts}
  initial begin
{reads}    clk = 1'b0;
    rst = 1'b1;
    over = 1'b0;
    moved = 1'b0;
    quiet = 0;
    rewinding = 1'b0;
    taking = 1'b1; // what leaves
    most = ALL; // words that may enter
    #22 rst = 1'b0;
  end
  initial forever #5 clk = !clk;
  {top} dut (
{pins}
  );
  initial forever @(negedge clk) begin
    quiet = moved ? 0 : quiet + 1;
    moved = 1'b0;
    if (!over && quiet == {patience}) begin
      $write("FAIL first difference: nothing moved in %0d cycles", quiet);
      if (waits === 1'b1) $write("; a register does not answer");
{tells}      $display("");
      over = 1'b1;
    end
    if (over) $finish(0);
  end

  // A part of STATUS, or what was counted.
  task compare(input [31:0] value, input [31:0] wanted, input [255:0] name);
    if (value !== wanted && !over) begin
      $display("FAIL first difference: %0s %0d, expected %0d", name, value, wanted);
      over = 1'b1;
    end
  endtask

  // A register has no unknown bit.
  task known(input [31:0] address);
    begin
      get(address, told);
      if ((^told) !== 1'b0 && (^told) !== 1'b1 && !over) begin
        $display("FAIL first difference: register %h reads %b", address[11:0], told);
        over = 1'b1;
      end
    end
  endtask

  // All that can be read.
  task all_known;
    begin
{reads_all}    end
  endtask

  // The next interrupts, which must be these and no others.
  task expect_interrupt(input [31:0] wanted);
    begin
      while (!interrupt_request && !over) @(negedge clk);
      get(INTERRUPT_STATUS, found);
      get(STATUS, told);
      if (found !== wanted && !over) begin
        $display("FAIL first difference: interrupts %h, expected %h; STATUS is %h", found, wanted, told);
        over = 1'b1;
      end
      put(INTERRUPT_STATUS, found);
      while (interrupt_request && !over) @(negedge clk);
    end
  endtask

  // Words in and out from the first ones on.
  task rewind;
    begin
{rewind}    end
  endtask

  // What is done for the streams beside the registers.
  task turn;
    begin
{turn}    end
  endtask

  task start(input [31:0] count);
    begin
      put(IMAGES, count);
      put(CONTROL, START);
    end
  endtask

  // Ends the run at once.
  task abort;
    begin
      put(CONTROL, ABORT);
      expect_interrupt(ERROR);
      compare({{27'd0, told[12:8]}}, {aborted}, "STATUS.code");
    end
  endtask

  task expect_ready;
    begin
      get(STATUS, told);
      while (told[2:0] !== {ready} && !over) get(STATUS, told);
    end
  endtask

  // Streams until a run ends; ``left_before`` images had left, and ``k`` have when it has ended.
  task finish_run(input integer left_before);
    begin
      while (!interrupt_request && !over) turn;
      expect_interrupt(DONE);
      get(IMAGES_DONE, found);
      k = left_before + found;
{counts}    end
  endtask

  initial begin
    @(negedge rst);
    @(negedge clk);
    all_known;
    put(INTERRUPT_ENABLE, 7);
{loads}    get(STATUS, told);
    compare({{29'd0, told[2:0]}}, {ready}, "STATUS.state");
    start({images});
    finish_run(0);
    compare(k, {images}, "images done");

    // Aborted with the first words of an image in; the next run has no use for the rest of it.
    rewind;
    most = 1;
    start({images});
    while (!({entered}) && !over) turn;
    abort;
{dropping}    expect_ready;
    most = 0;
    rewind;

    // Aborted with words at the outputs that nobody takes, behind sources that were stopped.
    start({images});
    taking = 1'b0;
    most = ALL;
    found = 0;
    while (!({waits}) && !over) turn;
    most = 0;
    rewind;
    abort;
{withdraw}    expect_ready;
    taking = 1'b1;

    // Stopped: images that have begun are whole. The others follow in a run of their own.
    start(0);
    most = ALL;
    while (!({begun}) && !over) turn;
    put(CONTROL, STOP);
    finish_run(0);
    if (k < {images}) begin
      start({images} - k);
      finish_run(k);
    end
    compare(k, {images}, "images done");
    all_known;
    if (!over) $display("PASS");
    over = 1'b1;
  end
endmodule
"""

_LOAD = """\
    put(CONTROL, {command});
    for (k = 0; k < {count} - 1; k = k + 1) put(LOAD_WORD, {kind}[k]);
    put(LOAD_LAST, {kind}[{count} - 1]);
    expect_interrupt(LOADED);
"""


_COUNT = """\
      compare(left_{k}, k * {frame}, "words of output {k}");
"""
