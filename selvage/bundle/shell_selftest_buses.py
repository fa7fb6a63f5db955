"""Parts of a shell's self-test that are of its bus: accesses to registers, sources, sinks."""

_REFUSED = """\
      if (refused && !over) begin
        $display("FAIL first difference: register %h refused an access", address);
        over = 1'b1;
      end
    end
  endtask
"""

AXI_LITE = f"""\
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
        if (s_axil_bvalid) moved = 1'b1;
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
        waits = !s_axil_rvalid;
        @(negedge clk);
        if (taken[0]) s_axil_arvalid = 1'b0;
      end
{_REFUSED}"""

AXI_IN = """\
  // Input {k}.
  reg [{top}:0] words_{k} [0:{words} - 1];
  integer at_{k};
  reg s_axis_{k}_tvalid, s_axis_{k}_tlast;
  reg [{top}:0] s_axis_{k}_tdata;
  wire s_axis_{k}_tready;
  initial forever @(posedge clk) if (s_axis_{k}_tvalid && s_axis_{k}_tready) moved = 1'b1;
  initial begin
    $readmemh("selftest/input_{k}.hex", words_{k});
    at_{k} = 0;
    s_axis_{k}_tvalid = 1'b0;
    s_axis_{k}_tlast = 1'b0;
    s_axis_{k}_tdata = 0;
  end
  always @(posedge clk) if (rewinding) begin
    s_axis_{k}_tvalid <= 1'b0;
    at_{k} <= 0;
  end else if (!rst && (!s_axis_{k}_tvalid || s_axis_{k}_tready)) begin
    s_axis_{k}_tvalid <= at_{k} < {words} && at_{k} < most;
    if (at_{k} < {words} && at_{k} < most) begin
      s_axis_{k}_tdata <= words_{k}[at_{k}];
      s_axis_{k}_tlast <= at_{k} % {frame} == {frame} - 1;
      at_{k} <= at_{k} + 1;
    end
  end
"""

AXI_OUT = """\
  // Output {k}.
  reg [{top}:0] expected_{k} [0:{words} - 1];
  integer left_{k};
  wire m_axis_{k}_tvalid, m_axis_{k}_tlast;
  wire m_axis_{k}_tready = taking;
  wire [{top}:0] m_axis_{k}_tdata;
  initial begin
    $readmemh("selftest/expected_{k}.hex", expected_{k});
    left_{k} = 0;
  end
  wire ends_{k} = (left_{k} + 1) % {frame} == 0;
  always @(posedge clk) if (rewinding) left_{k} <= 0;
  else if (!rst && m_axis_{k}_tvalid && taking) left_{k} <= left_{k} + 1;
  initial forever @(posedge clk) if (!rst && m_axis_{k}_tvalid && taking) begin
    moved = 1'b1;
    if (!over && {{m_axis_{k}_tdata, m_axis_{k}_tlast}} !== {{expected_{k}[left_{k}], ends_{k}}}) begin
      $display("FAIL first difference: output {k}, image %0d, word %0d: expected %h, found %h, tlast %b",
        left_{k} / {frame}, left_{k} % {frame}, expected_{k}[left_{k}], m_axis_{k}_tdata, m_axis_{k}_tlast);
      over = 1'b1;
    end
  end
"""

AXI_TELL_IN = """\
      if (s_axis_{k}_tvalid)
        $write("; s_axis_{k} is refused word %0d of image %0d", (at_{k} - 1) % {frame}, (at_{k} - 1) / {frame});
      else if (at_{k} == {words}) $write("; s_axis_{k} has given all");
      else $write("; s_axis_{k} offers nothing");
"""

AXI_TELL_OUT = """\
      if (m_axis_{k}_tvalid) $write("; m_axis_{k} is offered a word");
      else $write("; m_axis_{k} is offered nothing, and %0d of {words} words have come", left_{k});
"""

AXI_TURN = "      @(negedge clk);\n"

WISHBONE = f"""\
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
        if (wb_ack && (wb_we || address >= DATA_OUT_0)) moved = 1'b1;
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

QUEUE_IN = """\
  // Input {k}.
  reg [{top}:0] words_{k} [0:{words} - 1];
  integer at_{k};
  initial begin
    $readmemh("selftest/input_{k}.hex", words_{k});
    at_{k} = 0;
  end
"""

QUEUE_OUT = """\
  // Output {k}.
  reg [{top}:0] expected_{k} [0:{words} - 1];
  reg [{top}:0] taken_{k};
  integer left_{k};
  initial begin
    $readmemh("selftest/expected_{k}.hex", expected_{k});
    left_{k} = 0;
  end
"""

PUT = """\
      if (found[{bit}] && at_{k} < {words} && at_{k} < most) begin
        for (part = 0; part < {parts}; part = part + 1) put(DATA_IN_{k}, words_{k}[at_{k}][part * 32 +: 32]);
        at_{k} = at_{k} + 1;
      end
"""

TAKE = """\
      if (found[{bit}] && taking && !over) begin
        for (part = 0; part < {parts}; part = part + 1) begin
          get(DATA_OUT_{k}, told);
          taken_{k}[part * 32 +: 32] = told;
        end
        if (taken_{k} !== expected_{k}[left_{k}] && !over) begin
          $display("FAIL first difference: output {k}, image %0d, word %0d: expected %h, found %h",
            left_{k} / {frame}, left_{k} % {frame}, expected_{k}[left_{k}], taken_{k});
          over = 1'b1;
        end
        left_{k} = left_{k} + 1;
      end
"""

WISHBONE_TURN = "      get(DATA_READY, found);\n"

WISHBONE_TELL_IN = """\
      $write("; DATA_IN_{k} has taken %0d of {words} words", at_{k});
"""

WISHBONE_TELL_OUT = """\
      $write("; DATA_OUT_{k} has given %0d of {words} words", left_{k});
"""
