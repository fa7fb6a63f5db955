"""The crossbar macro as plain Verilog: ideal, its cells read from a file."""

from selvage.hw.tile.parameters import EngineParameters

CROSSBAR = """\
// An ideal crossbar behind its pins. A request drives word lines and names a column group; LATENCY cycles after it is
// accepted come the group's codes, lane 0 lowest: levels of each column's driven cells, at most 2**ADC_BITS - 1.
// Cells are unknown until load(file) is called, or CELLS names a file: one line for each word line, column 0 lowest,
// CELL_BITS each, as $readmemh reads it. asked counts the reads.
module crossbar #(
  parameter ROWS = 128,
  parameter COLUMNS = 128,
  parameter CELL_BITS = 1,
  parameter OU_COLS = 8,
  parameter GROUP_BITS = 4,
  parameter ADC_BITS = 4,
  parameter SUM_BITS = 4, // of one lane's sum before the ADC, at least ADC_BITS
  parameter LATENCY = 1,
  parameter CELLS = ""
) (
  input clk,
  input rst,
  input request__valid,
  output request__ready,
  input [GROUP_BITS + ROWS - 1:0] request__payload,
  output codes__valid,
  input codes__ready,
  output [OU_COLS * ADC_BITS - 1:0] codes__payload
);
  localparam GROUPS = 1 << GROUP_BITS;
  localparam GROUP_SUMS = OU_COLS * SUM_BITS;
  localparam PLACES = 1 << $clog2(LATENCY + 4); // of reads under way, more than the periphery asks for

  reg [COLUMNS * CELL_BITS - 1:0] cells [0:ROWS - 1];
  reg [GROUPS * GROUP_SUMS - 1:0] levels [0:ROWS - 1]; // of all columns, each in the place of its sum
  integer r, c;
  task load(input [8 * 256 - 1:0] file);
    begin
      $readmemh(file, cells);
      for (r = 0; r < ROWS; r = r + 1) begin
        levels[r] = {GROUPS * GROUP_SUMS{1'b0}};
        for (c = 0; c < COLUMNS; c = c + 1)
          levels[r][c * SUM_BITS +: CELL_BITS] = cells[r][c * CELL_BITS +: CELL_BITS];
      end
    end
  endtask
  initial if (CELLS != "") load(CELLS);
  integer asked;
  initial asked = 0;
  always @(posedge clk) if (!rst && request__valid) asked <= asked + 1;

  wire [ROWS - 1:0] wordlines = request__payload[ROWS - 1:0];
  wire [GROUP_BITS - 1:0] column_group = request__payload[ROWS +: GROUP_BITS];

  // Codes that wait, oldest first.
  reg [OU_COLS * ADC_BITS - 1:0] queue [0:PLACES - 1];
  reg [$clog2(PLACES) - 1:0] first, free;
  assign request__ready = 1'b1;
  assign codes__valid = first != free;
  assign codes__payload = queue[first];

  // Sums of all columns for the word lines of the request before this one: column groups follow each other on the same
  // word lines, so most reads are a choice.
  reg [ROWS - 1:0] known, rest;
  reg [GROUPS * GROUP_SUMS - 1:0] sums;
  reg [GROUP_SUMS - 1:0] total;
  reg [OU_COLS * ADC_BITS - 1:0] code;
  integer changes, seen; // of cells, which a programming port counts: sums of other cells are not known
  integer lane, at, gap;
  // verilator lint_off BLKSEQ
  // What a read works with is of one edge, and nothing else writes it.
  initial begin
    changes = 0;
    seen = 0;
  end
  initial known = {ROWS{1'b0}};
  initial sums = {GROUPS * GROUP_SUMS{1'b0}};
  task convert;
    begin
      if (wordlines != known || changes != seen) begin
        known = wordlines;
        seen = changes;
        rest = wordlines;
        sums = {GROUPS * GROUP_SUMS{1'b0}};
        at = 0;
        while (rest != 0)
          if (rest[0]) begin
            sums = sums + levels[at];
            rest = rest >> 1;
            at = at + 1;
          end else begin
            gap = (rest & 254) == 0 ? $clog2(rest & ~(rest - 1'b1)) : 1; // to the lowest, if that is far
            rest = rest >> gap;
            at = at + gap;
          end
      end
      if (SUM_BITS == ADC_BITS) code = sums[column_group * GROUP_SUMS +: GROUP_SUMS];
      else begin
        total = sums[column_group * GROUP_SUMS +: GROUP_SUMS];
        for (lane = 0; lane < OU_COLS; lane = lane + 1) begin
          if (total[lane * SUM_BITS +: SUM_BITS] >> ADC_BITS != 0)
            code[lane * ADC_BITS +: ADC_BITS] = {ADC_BITS{1'b1}};
          else code[lane * ADC_BITS +: ADC_BITS] = total[lane * SUM_BITS +: ADC_BITS];
        end
      end
    end
  endtask
  // verilator lint_on BLKSEQ

  generate
    if (LATENCY == 1) begin : at_once
      wire moves = rst | request__valid | codes__valid;
      always @(posedge clk)
        if (moves) begin
          if (rst) begin
            first <= 0;
            free <= 0;
          end else begin
            if (request__valid) begin
              convert;
              queue[free] <= code;
              free <= free + 1'b1;
            end
            if (codes__valid && codes__ready) first <= first + 1'b1;
          end
        end
    end else begin : delayed
      reg [LATENCY - 2:0] under_way;
      reg [OU_COLS * ADC_BITS - 1:0] line [0:LATENCY - 2];
      wire arrives = under_way[LATENCY - 2];
      integer k;
      always @(posedge clk) begin
        if (request__valid) begin
          convert;
          line[0] <= code;
        end
        for (k = 1; k < LATENCY - 1; k = k + 1) line[k] <= line[k - 1];
        under_way <= rst ? 0 : under_way << 1 | request__valid;
        if (arrives) queue[free] <= line[LATENCY - 2];
        if (rst) begin
          first <= 0;
          free <= 0;
        end else begin
          if (arrives) free <= free + 1'b1;
          if (codes__valid && codes__ready) first <= first + 1'b1;
        end
      end
    end
  endgenerate
endmodule
"""


def macro_parameters(p: EngineParameters, cell_bits: int, latency: int) -> dict[str, int]:
    """Return the parameters of `CROSSBAR` for the array of an engine."""
    largest = p.ou_rows * (2**cell_bits - 1)
    return {
        "ROWS": p.rows,
        "COLUMNS": p.columns,
        "CELL_BITS": cell_bits,
        "OU_COLS": p.ou_cols,
        "GROUP_BITS": p.column_group_bits,
        "ADC_BITS": p.adc_bits,
        "SUM_BITS": max(p.adc_bits, largest.bit_length()),
        "LATENCY": latency,
    }
