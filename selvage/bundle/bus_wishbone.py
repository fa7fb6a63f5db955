"""Wishbone in a shell's bundle: its page, its host in the self-test, words through registers."""

from collections.abc import Sequence

from selvage.bundle.buses import REFUSED, BusFiles
from selvage.hw.shell.axi import FrameParameters

PART = 32  # bits of a word that pass a register at once

_PAGE = """\
Wishbone classic has the registers, and words pass through them: DATA_IN_k and
DATA_OUT_k take and give the parts of 32 bits of a word, the lowest first, while DATA_READY says that there is room, or
a word."""

_ENDS = "`abort` ends a run; words that were not read are forgotten."

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
{REFUSED}
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

WISHBONE_TELL_IN = """\
      $write("; DATA_IN_{k} has taken %0d of {words} words", at_{k});
"""

WISHBONE_TELL_OUT = """\
      $write("; DATA_OUT_{k} has given %0d of {words} words", left_{k});
"""


class WishboneFiles(BusFiles):
    """Files for Wishbone: words in registers, in parts of 32 bits."""

    name, title, stream = "wishbone", "Wishbone", "DATA_IN"
    page, ends = _PAGE, _ENDS
    turn = "      get(DATA_READY, found);\n"
    entered = "at_{k} != 0"
    waits = "found[16 + {k}]"
    refused_in, refused_out = WISHBONE_TELL_IN, WISHBONE_TELL_OUT

    def parts(
        self, inputs: Sequence[FrameParameters], outputs: Sequence[FrameParameters], images: int
    ) -> tuple[list[str], list[str], str]:
        """Return Wishbone's pins and tasks, and the memories of the words, which move in turns of the host."""
        pins = [f"wb_{name}" for name in ("cyc", "stb", "we", "adr", "sel", "dat_w", "dat_r", "ack", "err")]
        parts, turns = [WISHBONE], [self.turn]
        for side, frames, memory, turn in (("input", inputs, QUEUE_IN, PUT), ("output", outputs, QUEUE_OUT, TAKE)):
            for k, frame in enumerate(frames):
                count = -(-frame.data_bits // PART)
                fields = {"k": k, "words": frame.words * images, "frame": frame.words, "parts": count}
                fields |= {"top": PART * count - 1, "bit": k if side == "input" else 16 + k}
                parts.append(memory.format(**fields))
                turns.append(turn.format(**fields))
        return pins, parts, "".join(turns)

    def rewind(self, inputs: int, outputs: int) -> str:
        """Return what sets all places to the first word."""
        return "".join([f"    at_{k} = 0;\n" for k in range(inputs)] + [f"    left_{k} = 0;\n" for k in range(outputs)])
