"""The crossbar macro with its programming port as plain Verilog, for simulation: with faults where they are wanted."""

PROGRAMMABLE = """\
// An ideal crossbar (crossbar.v) with a programming port: a row is written or read back a request, reads answered in
// order. Its cells are unknown until they are written. A write takes WRITE_CYCLES, an answer comes READ_CYCLES later.
// load_faults(file) reads a file of one line a row: masks of weak cells, which take only what is written a second time,
// and of stuck ones, and the levels of these, column 0 lowest. save(file) writes a file of the cells, a line a row.
module programmable_crossbar #(
  parameter ROWS = 128,
  parameter COLUMNS = 128,
  parameter CELL_BITS = 1,
  parameter OU_COLS = 8,
  parameter GROUP_BITS = 4,
  parameter ADC_BITS = 4,
  parameter SUM_BITS = 4,
  parameter LATENCY = 1,
  parameter ROW_BITS = 7,
  parameter WRITE_CYCLES = 3,
  parameter READ_CYCLES = 2
) (
  input clk,
  input rst,
  input request__valid,
  output request__ready,
  input [GROUP_BITS + ROWS - 1:0] request__payload,
  output codes__valid,
  input codes__ready,
  output [OU_COLS * ADC_BITS - 1:0] codes__payload,
  input program__request__valid,
  output program__request__ready,
  input [COLUMNS * CELL_BITS + ROW_BITS:0] program__request__payload,
  output reg program__cells__valid,
  input program__cells__ready,
  output reg [COLUMNS * CELL_BITS - 1:0] program__cells__payload
);
  localparam WIDTH = COLUMNS * CELL_BITS;

  crossbar #(
    .ROWS(ROWS), .COLUMNS(COLUMNS), .CELL_BITS(CELL_BITS), .OU_COLS(OU_COLS), .GROUP_BITS(GROUP_BITS),
    .ADC_BITS(ADC_BITS), .SUM_BITS(SUM_BITS), .LATENCY(LATENCY)
  ) ideal (
    .clk(clk), .rst(rst),
    .request__valid(request__valid), .request__ready(request__ready), .request__payload(request__payload),
    .codes__valid(codes__valid), .codes__ready(codes__ready), .codes__payload(codes__payload)
  );

  wire write = program__request__payload[WIDTH + ROW_BITS];
  wire [ROW_BITS - 1:0] row = program__request__payload[WIDTH +: ROW_BITS];
  wire [WIDTH - 1:0] wanted = program__request__payload[WIDTH - 1:0];
  reg [3 * WIDTH - 1:0] faults [0:ROWS - 1];
  reg [WIDTH - 1:0] cells [0:ROWS - 1], tried [0:ROWS - 1];
  wire [WIDTH - 1:0] frail = faults[row][2 * WIDTH +: WIDTH] & (wanted ^ tried[row]);
  wire [WIDTH - 1:0] stuck = faults[row][WIDTH +: WIDTH];
  wire [WIDTH - 1:0] level = (wanted & ~stuck) | (faults[row][0 +: WIDTH] & stuck);
  wire [WIDTH - 1:0] taken = (level & ~frail) | (~wanted & frail);
  task load_faults(input [8 * 256 - 1:0] file);
    $readmemh(file, faults);
  endtask
  task save(input [8 * 256 - 1:0] file);
    $writememh(file, cells);
  endtask
  integer k, c, wait_for;
  initial begin
    for (k = 0; k < ROWS; k = k + 1) begin
      faults[k] = {3 * WIDTH{1'b0}};
      tried[k] = {WIDTH{1'b0}};
      ideal.levels[k] = 0;
      for (c = 0; c < COLUMNS; c = c + 1) ideal.levels[k][c * SUM_BITS +: CELL_BITS] = {CELL_BITS{1'bx}};
    end
    wait_for = 0;
    program__cells__valid = 1'b0;
  end

  assign program__request__ready = wait_for == 0 && !program__cells__valid;
  reg answers;
  always @(posedge clk)
    if (rst) begin
      wait_for <= 0;
      answers <= 1'b0;
      program__cells__valid <= 1'b0;
    end else if (program__request__valid && program__request__ready) begin
      wait_for <= write ? WRITE_CYCLES : READ_CYCLES;
      answers <= !write;
      program__cells__payload <= cells[row];
      if (write) begin
        cells[row] <= taken;
        tried[row] <= wanted;
        for (k = 0; k < COLUMNS; k = k + 1)
          ideal.levels[row][k * SUM_BITS +: SUM_BITS] <= taken[k * CELL_BITS +: CELL_BITS];
        ideal.changes <= ideal.changes + 1;
      end
    end else begin
      if (program__cells__ready) program__cells__valid <= 1'b0;
      if (wait_for != 0) wait_for <= wait_for - 1;
      if (wait_for == 1 && answers) program__cells__valid <= 1'b1;
    end
endmodule
"""
