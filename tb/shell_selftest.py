"""A bench of plain Verilog that does what a host does: loads cells and tables, runs images, compares what leaves.

It writes and reads registers as `hw/registers.rdl` says, without pauses, and knows nothing else of the shell.
"""

from collections.abc import Mapping, Sequence

from hw.axi import FrameParameters
from hw.registers import State
from tb.selftest import PATIENCE

PART = 32  # bits of a word that pass a register at once


def shell_selftest(
    top: str,
    bus: str,
    addresses: Mapping[str, int],
    inputs: Sequence[FrameParameters],
    outputs: Sequence[FrameParameters],
    images: int,
    loads: Mapping[str, int],
) -> str:
    """Module ``selftest`` around module ``top``, its last line PASS, or FAIL and the first thing that differs.

    ``loads``: words of each image that is loaded, from ``cells.hex`` and ``tables.hex``. ``selftest/input_k.hex`` and
    ``expected_k.hex`` hold a word a line.
    """
    pins, parts, run = {"axi": _axi, "wishbone": _wishbone}[bus](inputs, outputs, images)
    fixed = {"control", "status", "interrupt_enable", "interrupt_status", "images", "images_done"}
    fixed |= {"load_word", "load_last", "data_ready"}
    used = {name: own for name, own in addresses.items() if name in fixed or name.startswith(("data_in", "data_out"))}
    registers = ", ".join(f"{name.upper()} = {address}" for name, address in used.items())
    return _BENCH.format(
        top=top,
        pins=",\n".join(f"    .{name}({name})" for name in ("clk", "rst", "interrupt_request", *pins)),
        registers=registers,
        memories="".join(f"  reg [31:0] {kind} [0:{count} - 1];\n" for kind, count in loads.items()),
        reads="".join(f'    $readmemh("{kind}.hex", {kind});\n' for kind in loads),
        loads="".join(
            _LOAD.format(kind=kind, command={"cells": "LOAD", "tables": "LOAD_TABLES"}[kind], count=count)
            for kind, count in loads.items()
        ),
        parts="\n".join(parts),
        run=run.format(all_left=" && ".join(f"left_{k} == {own.words * images}" for k, own in enumerate(outputs))),
        images=images,
        patience=PATIENCE,
        ready=State.READY.value,
    )


_Parts = tuple[list[str], list[str], str]


def _axi(inputs: Sequence[FrameParameters], outputs: Sequence[FrameParameters], images: int) -> _Parts:
    """Pins, what stands beside the host's program, and the part of it that waits for the words."""
    channels = {"aw": "addr prot", "w": "data strb", "b": "resp", "ar": "addr prot", "r": "data resp"}
    pins = [f"s_axil_{channel}{name}" for channel, own in channels.items() for name in ("valid", "ready", *own.split())]
    parts = [_AXI_LITE]
    for side, frames, text in (("s_axis", inputs, _AXI_IN), ("m_axis", outputs, _AXI_OUT)):
        for k, own in enumerate(frames):
            pins += [f"{side}_{k}_t{name}" for name in ("valid", "ready", "data", "last")]
            parts.append(text.format(k=k, top=own.data_bits - 1, frame=own.words, words=own.words * images))
    return pins, parts, _AXI_RUN


def _wishbone(inputs: Sequence[FrameParameters], outputs: Sequence[FrameParameters], images: int) -> _Parts:
    """As `_axi`."""
    pins = [f"wb_{name}" for name in ("cyc", "stb", "we", "adr", "sel", "dat_w", "dat_r", "ack", "err")]
    parts, turns = [_WISHBONE], []
    for side, frames, memory, turn in (("input", inputs, _QUEUE_IN, _PUT), ("output", outputs, _QUEUE_OUT, _TAKE)):
        for k, own in enumerate(frames):
            count = -(-own.data_bits // PART)
            fields = {"k": k, "words": own.words * images, "frame": own.words, "parts": count}
            fields |= {"top": PART * count - 1, "bit": k if side == "input" else 16 + k}
            parts.append(memory.format(**fields))
            turns.append(turn.format(**fields))
    return pins, parts, _WISHBONE_RUN.replace("TURNS", "".join(turns))


_BENCH = """\
// Loads the shell, runs {images} images and compares what leaves. The last line is PASS, or FAIL and what differs.

module selftest;
  localparam {registers};
  localparam START = 1, LOAD = 8, LOAD_TABLES = 32; // commands
  localparam DONE = 1, LOADED = 4; // interrupts
  reg clk, rst, over, moved;
  integer quiet, k, part;
  reg [31:0] found, told;
  wire interrupt_request;
{memories}{parts}
  initial begin
{reads}    clk = 1'b0;
    rst = 1'b1;
    over = 1'b0;
    moved = 1'b0;
    quiet = 0;
    #22 rst = 1'b0;
  end
  initial forever #5 clk = !clk;
  {top} dut (
{pins}
  );
  always @(posedge clk) quiet <= moved ? 0 : quiet + 1;
  initial forever @(negedge clk) begin
    if (!over && quiet == {patience}) begin
      $display("FAIL first difference: nothing moved in %0d cycles", quiet);
      over = 1'b1;
    end
    if (over) $finish(0);
  end

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
    end
  endtask

  initial begin
    @(negedge rst);
    @(negedge clk);
    put(INTERRUPT_ENABLE, 7);
{loads}    get(STATUS, told);
    if (told[2:0] !== {ready} && !over) begin
      $display("FAIL first difference: state %0d, expected {ready}", told[2:0]);
      over = 1'b1;
    end
    put(IMAGES, {images});
    put(CONTROL, START);
{run}    expect_interrupt(DONE);
    get(IMAGES_DONE, found);
    if (found !== {images} && !over) begin
      $display("FAIL first difference: %0d images done, expected {images}", found);
      over = 1'b1;
    end
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

_REFUSED = """\
      if (refused && !over) begin
        $display("FAIL first difference: register %h refused an access", address);
        over = 1'b1;
      end
    end
  endtask
"""

_AXI_LITE = f"""\
  reg s_axil_awvalid, s_axil_wvalid, s_axil_arvalid, waits, refused;
  reg [1:0] taken;
  reg [11:0] s_axil_awaddr, s_axil_araddr;
  reg [31:0] s_axil_wdata;
  wire s_axil_awready, s_axil_wready, s_axil_bvalid, s_axil_arready, s_axil_rvalid;
  wire [1:0] s_axil_bresp, s_axil_rresp;
  wire [31:0] s_axil_rdata;
  wire [2:0] s_axil_awprot = 3'd0;
  wire [2:0] s_axil_arprot = 3'd0;
  wire [3:0] s_axil_wstrb = 4'hf;
  wire s_axil_bready = 1'b1;
  wire s_axil_rready = 1'b1;
  initial begin
    s_axil_awvalid = 1'b0;
    s_axil_wvalid = 1'b0;
    s_axil_arvalid = 1'b0;
  end

  // Driven at the falling edge; what is sampled at the rising one happens there.
  task put(input [31:0] address, input [31:0] value);
    begin
      s_axil_awaddr = address[11:0];
      s_axil_wdata = value;
      s_axil_awvalid = 1'b1;
      s_axil_wvalid = 1'b1;
      waits = 1'b1;
      while (waits && !over) begin
        @(posedge clk);
        taken = {{s_axil_awready, s_axil_wready}};
        refused = s_axil_bresp !== 2'd0;
        moved = s_axil_bvalid;
        waits = !s_axil_bvalid;
        @(negedge clk);
        if (taken[1]) s_axil_awvalid = 1'b0;
        if (taken[0]) s_axil_wvalid = 1'b0;
      end
{_REFUSED}
  task get(input [31:0] address, output [31:0] value);
    begin
      s_axil_araddr = address[11:0];
      s_axil_arvalid = 1'b1;
      waits = 1'b1;
      while (waits && !over) begin
        @(posedge clk);
        taken[0] = s_axil_arready;
        refused = s_axil_rresp !== 2'd0;
        value = s_axil_rdata;
        moved = s_axil_rvalid;
        waits = !s_axil_rvalid;
        @(negedge clk);
        if (taken[0]) s_axil_arvalid = 1'b0;
      end
{_REFUSED}"""

_AXI_IN = """\
  // Input {k}.
  reg [{top}:0] words_{k} [0:{words} - 1];
  integer at_{k};
  reg s_axis_{k}_tvalid, s_axis_{k}_tlast;
  reg [{top}:0] s_axis_{k}_tdata;
  wire s_axis_{k}_tready;
  initial begin
    $readmemh("selftest/input_{k}.hex", words_{k});
    at_{k} = 0;
    s_axis_{k}_tvalid = 1'b0;
    s_axis_{k}_tlast = 1'b0;
    s_axis_{k}_tdata = 0;
  end
  always @(posedge clk) if (!rst && (!s_axis_{k}_tvalid || s_axis_{k}_tready)) begin
    s_axis_{k}_tvalid <= at_{k} < {words};
    if (at_{k} < {words}) begin
      s_axis_{k}_tdata <= words_{k}[at_{k}];
      s_axis_{k}_tlast <= at_{k} % {frame} == {frame} - 1;
      at_{k} <= at_{k} + 1;
    end
  end
"""

_AXI_OUT = """\
  // Output {k}.
  reg [{top}:0] expected_{k} [0:{words} - 1];
  integer left_{k};
  wire m_axis_{k}_tvalid, m_axis_{k}_tlast;
  wire m_axis_{k}_tready = 1'b1;
  wire [{top}:0] m_axis_{k}_tdata;
  initial begin
    $readmemh("selftest/expected_{k}.hex", expected_{k});
    left_{k} = 0;
  end
  wire ends_{k} = (left_{k} + 1) % {frame} == 0;
  always @(posedge clk) if (!rst && m_axis_{k}_tvalid) left_{k} <= left_{k} + 1;
  initial forever @(posedge clk) if (!rst && m_axis_{k}_tvalid) begin
    moved = 1'b1;
    if (!over && {{m_axis_{k}_tdata, m_axis_{k}_tlast}} !== {{expected_{k}[left_{k}], ends_{k}}}) begin
      $display("FAIL first difference: output {k}, image %0d, word %0d: expected %h, found %h, tlast %b",
        left_{k} / {frame}, left_{k} % {frame}, expected_{k}[left_{k}], m_axis_{k}_tdata, m_axis_{k}_tlast);
      over = 1'b1;
    end
  end
"""

_AXI_RUN = """\
    while (!({all_left}) && !over) begin
      @(negedge clk);
      moved = 1'b0;
    end
"""

_WISHBONE = f"""\
  reg wb_cyc, wb_stb, wb_we, waits, refused;
  reg [31:0] ignored;
  reg [11:0] wb_adr;
  reg [31:0] wb_dat_w;
  wire [3:0] wb_sel = 4'hf;
  wire [31:0] wb_dat_r;
  wire wb_ack, wb_err;
  initial begin
    wb_cyc = 1'b0;
    wb_stb = 1'b0;
    wb_we = 1'b0;
  end

  // Driven at the falling edge; what is sampled at the rising one happens there.
  task access(input [31:0] address, output [31:0] value);
    begin
      wb_adr = address[11:0];
      wb_cyc = 1'b1;
      wb_stb = 1'b1;
      waits = 1'b1;
      while (waits && !over) begin
        @(posedge clk);
        refused = wb_err !== 1'b0;
        value = wb_dat_r;
        moved = wb_ack && wb_we;
        waits = !wb_ack && !wb_err;
        @(negedge clk);
      end
      wb_cyc = 1'b0;
      wb_stb = 1'b0;
{_REFUSED}
  task put(input [31:0] address, input [31:0] value);
    begin
      wb_we = 1'b1;
      wb_dat_w = value;
      access(address, ignored);
    end
  endtask

  task get(input [31:0] address, output [31:0] value);
    begin
      wb_we = 1'b0;
      access(address, value);
    end
  endtask
"""

_QUEUE_IN = """\
  // Input {k}.
  reg [{top}:0] words_{k} [0:{words} - 1];
  integer at_{k};
  initial begin
    $readmemh("selftest/input_{k}.hex", words_{k});
    at_{k} = 0;
  end
"""

_QUEUE_OUT = """\
  // Output {k}.
  reg [{top}:0] expected_{k} [0:{words} - 1];
  reg [{top}:0] taken_{k};
  integer left_{k};
  initial begin
    $readmemh("selftest/expected_{k}.hex", expected_{k});
    left_{k} = 0;
  end
"""

_PUT = """\
      if (found[{bit}] && at_{k} < {words}) begin
        for (part = 0; part < {parts}; part = part + 1) put(DATA_IN_{k}, words_{k}[at_{k}][part * 32 +: 32]);
        at_{k} = at_{k} + 1;
      end
"""

_TAKE = """\
      if (found[{bit}] && !over) begin
        for (part = 0; part < {parts}; part = part + 1) begin
          get(DATA_OUT_{k}, told);
          taken_{k}[part * 32 +: 32] = told;
        end
        moved = 1'b1;
        if (taken_{k} !== expected_{k}[left_{k}] && !over) begin
          $display("FAIL first difference: output {k}, image %0d, word %0d: expected %h, found %h",
            left_{k} / {frame}, left_{k} % {frame}, expected_{k}[left_{k}], taken_{k});
          over = 1'b1;
        end
        left_{k} = left_{k} + 1;
      end
"""

_WISHBONE_RUN = """\
    while (!({all_left}) && !over) begin
      get(DATA_READY, found);
TURNS    end
"""
