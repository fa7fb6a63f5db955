"""A bench of plain Verilog that tests a design by itself: words in and expected words are files, nothing is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

PATIENCE = 200_000  # cycles without a word that leaves or enters
REST = 100  # of them after the last word, in which none may come


@dataclass(frozen=True)
class Stream:
    """Words of ``bits`` at an input or an output, ``words`` an image."""

    bits: int
    words: int


def selftest(
    top: str, inputs: Sequence[Stream], outputs: Sequence[Stream], images: int, extra: Sequence[tuple[str, int]]
) -> str:
    """Module ``selftest`` around module ``top``, its last line PASS, or FAIL and the first word that differs.

    ``selftest/input_k.hex`` and ``selftest/expected_k.hex`` hold a word a line; ``extra`` are outputs that nobody
    looks at, with their bits. With ``+pauses`` sources and sinks stand still by turns that a shift register makes.
    """
    parts, checks = [], []
    pins = ["    .clk(clk)", "    .rst(rst)"]
    for k, own in enumerate(inputs):
        parts.append(_SOURCE.format(k=k, top=own.bits - 1, words=own.words * images, turn=k % 8))
        pins += [f"    .i_{k}__{name}(i_{k}__{name})" for name in ("payload", "valid", "ready")]
    for k, own in enumerate(outputs):
        parts.append(_SINK.format(k=k, top=own.bits - 1, words=own.words * images, turn=(3 * k + 5) % 8))
        checks.append(_CHECK.format(k=k, words=own.words))
        pins += [f"    .o_{k}__{name}(o_{k}__{name})" for name in ("payload", "valid", "ready")]
    for name, bits in extra:
        parts.append(f"  wire [{bits - 1}:0] {name};\n")
        pins.append(f"    .{name}({name})")
    moves = [f"(i_{k}__valid && i_{k}__ready)" for k in range(len(inputs))]
    moves += [f"(o_{k}__valid && o_{k}__ready)" for k in range(len(outputs))]
    return _BENCH.format(
        top=top,
        parts="\n".join(parts),
        checks="".join(checks),
        pins=",\n".join(pins),
        moves=" || ".join(moves),
        finished=" && ".join(f"left_{k} == {own.words * images}" for k, own in enumerate(outputs)),
        total=sum(own.words * images for own in outputs),
        come=" + ".join(f"left_{k}" for k in range(len(outputs))),
        patience=PATIENCE,
        rest=REST,
    )


_SOURCE = """\
  // Input {k}.
  reg [{top}:0] words_{k} [0:{words} - 1];
  integer at_{k};
  reg i_{k}__valid;
  wire i_{k}__ready;
  reg [{top}:0] i_{k}__payload;
  initial begin
    $readmemh("selftest/input_{k}.hex", words_{k});
    at_{k} = 0;
    i_{k}__valid = 1'b0;
    i_{k}__payload = 0;
  end
  always @(posedge clk) if (!rst && (!i_{k}__valid || i_{k}__ready)) begin
    if (at_{k} < {words} && !(pauses && turns[{turn}])) begin
      i_{k}__valid <= 1'b1;
      i_{k}__payload <= words_{k}[at_{k}];
      at_{k} <= at_{k} + 1;
    end else i_{k}__valid <= 1'b0;
  end
"""

_SINK = """\
  // Output {k}.
  reg [{top}:0] expected_{k} [0:{words} - 1];
  integer left_{k};
  wire o_{k}__valid;
  wire o_{k}__ready = !(pauses && turns[{turn}]);
  wire [{top}:0] o_{k}__payload;
  initial begin
    $readmemh("selftest/expected_{k}.hex", expected_{k});
    left_{k} = 0;
  end
  always @(posedge clk) if (!rst && o_{k}__valid && o_{k}__ready) left_{k} <= left_{k} + 1;
"""

_CHECK = """\
    if (!over && o_{k}__valid && o_{k}__ready && o_{k}__payload !== expected_{k}[left_{k}]) begin
      $display("FAIL first difference: output {k}, image %0d, word %0d: expected %h, found %h",
        left_{k} / {words}, left_{k} % {words}, expected_{k}[left_{k}], o_{k}__payload);
      over = 1'b1;
    end
"""

_BENCH = """\
// selftest: plays words into {top} and compares what leaves it with what must.
// In the folder above: iverilog -g2005 -Wall -f selftest.f -o t && vvp t
// The last line is PASS, or FAIL with the first difference. vvp t +pauses lets sources and sinks stand still at times.

// verilator lint_off WIDTH
// verilator lint_off UNUSEDSIGNAL

module selftest;
  reg clk, rst, over, pauses;
  reg [15:0] turns; // of whom stands still
  integer quiet;
{parts}
  initial begin
    clk = 1'b0;
    rst = 1'b1;
    over = 1'b0;
    turns = 16'hace1;
    quiet = 0;
    pauses = $test$plusargs("pauses") != 0;
    #22 rst = 1'b0;
  end
  initial forever #5 clk = !clk;
  {top} dut (
{pins}
  );
  always @(posedge clk) turns <= {{turns[14:0], turns[15] ^ turns[13] ^ turns[12] ^ turns[10]}};
  always @(posedge clk) if (!rst) quiet <= (({moves}) === 1'b1) ? 0 : quiet + 1;
  initial forever @(negedge clk) if (!rst && !over) begin
{checks}    if (!over && {finished} && quiet >= {rest}) begin
      $display("PASS");
      over = 1'b1;
    end
    if (!over && quiet == {patience}) begin
      $display("FAIL first difference: nothing moved in %0d cycles, and %0d of {total} words have come", quiet, {come});
      over = 1'b1;
    end
    if (over) $finish(0);
  end
endmodule
"""
