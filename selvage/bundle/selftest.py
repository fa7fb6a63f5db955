"""A bench of plain Verilog that tests a design by itself: words in and expected words are files, nothing is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

REST = 100  # of them after the last word, in which none may come
SHORTEST, TIMES = 1000, 4  # cycles that are waited for a word: this, and some images
LONGEST = 2000  # that a source or sink stands still


@dataclass(frozen=True)
class Stream:
    """Words of ``bits`` at an input or an output, ``words`` an image.

    A word has ``lanes`` values, neighbouring channels of a pixel; a map has ``channels``, in rows of ``width`` pixels.
    Where they are 0, the place of a wrong value is not told.
    """

    bits: int
    words: int
    lanes: int = 0
    channels: int = 0
    width: int = 0
    signed: bool = False


def selftest(
    top: str,
    inputs: Sequence[Stream],
    outputs: Sequence[Stream],
    images: int,
    extra: Sequence[tuple[str, int]],
    image_cycles: int,
    together: Sequence[Sequence[int]] = (),
    crossbars: Sequence[tuple[str, str]] = (),
) -> str:
    """Return module ``selftest`` around module ``top``, its last line PASS, or FAIL and the first thing that differs.

    ``selftest/input_k.hex`` and ``selftest/expected_k.hex`` hold a word a line; ``extra`` are outputs that nobody
    looks at, with their bits. ``image_cycles``: that an image takes, roughly; the design hangs when no word moves for
    some times as long. ``together``: inputs that hang when one goes ahead (`NetworkPlan.fed_together`). ``crossbars``:
    place in the design and file of cells of each.

    The design is reset amid the first image and starts anew. In every second image sources and sinks stand still by
    turns that a shift register makes, with ``+pauses`` in all; before its first word each waits until nothing moves
    any more, so the design runs empty, and full.
    """
    hold = min(SHORTEST // TIMES + image_cycles, LONGEST)
    parts, checks = [], []
    pins = ["    .clk(clk)", "    .rst(rst)"]
    for k, stream in enumerate(inputs):
        turn, words = k % 8, stream.words
        parts.append(_SOURCE.format(k=k, top=stream.bits - 1, words=words, all=words * images, turn=turn, hold=hold))
        pins += [f"    .i_{k}__{name}(i_{k}__{name})" for name in ("payload", "valid", "ready")]
    for k, stream in enumerate(outputs):
        turn, words = (3 * k + 5) % 8, stream.words
        parts.append(_SINK.format(k=k, top=stream.bits - 1, words=words, all=words * images, turn=turn, hold=hold))
        checks.append(_CHECK.format(k=k, words=words, place=_place(k, stream)))
        pins += [f"    .o_{k}__{name}(o_{k}__{name})" for name in ("payload", "valid", "ready")]
    for name, bits in extra:
        parts.append(f"  wire [{bits - 1}:0] {name};\n")
        pins.append(f"    .{name}({name})")
    moves = [f"(i_{k}__valid && i_{k}__ready)" for k in range(len(inputs))]
    moves += [f"(o_{k}__valid && o_{k}__ready)" for k in range(len(outputs))]
    driven = [f"i_{k}__ready" for k in range(len(inputs))] + [f"o_{k}__valid" for k in range(len(outputs))]
    tells = [_TELL_SOURCE.format(k=k, words=s.words, all=s.words * images) for k, s in enumerate(inputs)]
    tells += [_TELL_SINK.format(k=k) for k in range(len(outputs))]
    tells += [_tell_together(group) for group in together]
    return _BENCH.format(
        top=top,
        loads=_loads(crossbars),
        parts="\n".join(parts),
        checks="".join(checks),
        pins=",\n".join(pins),
        moves=" || ".join(moves),
        driven=", ".join(driven),
        finished=" && ".join(f"left_{k} == {stream.words * images}" for k, stream in enumerate(outputs)),
        total=sum(stream.words * images for stream in outputs),
        come=" + ".join(f"left_{k}" for k in range(len(outputs))),
        tells="".join(tells),
        patience=SHORTEST + TIMES * image_cycles,
        again=min(image_cycles // 2, LONGEST),
        rest=REST,
        widest=max((stream.bits for stream in outputs), default=1) - 1,
    )


def _place(k: int, stream: Stream) -> str:
    """Return what tells the first value of a word that is wrong, and where in the map it belongs."""
    if not stream.lanes:
        return ""
    sign = "$signed" if stream.signed else ""
    bits, across = stream.bits // stream.lanes, stream.channels // stream.lanes
    return _PLACE.format(
        k=k, words=stream.words, lanes=stream.lanes, bits=bits, across=across, width=stream.width, s=sign
    )


def _loads(crossbars: Sequence[tuple[str, str]]) -> str:
    """Return what gives each crossbar its cells, in the design's hierarchy and in a netlist without one."""
    if not crossbars:
        return ""
    hierarchy = "".join(f'    dut.{place}.load("{path}");\n' for place, path in crossbars)
    flat = "".join(f'    dut.\\{place} .load("{path}");\n' for place, path in crossbars)
    return f"  initial begin\n`ifdef FLAT\n{flat}`else\n{hierarchy}`endif\n  end\n"


def _tell_together(group: Sequence[int]) -> str:
    refused = " || ".join(f"i_{k}__valid === 1'b1" for k in group)
    idle = " || ".join(f"i_{k}__valid !== 1'b1" for k in group)
    names = ", ".join(f"i_{k}" for k in group)
    return f'      if (({refused}) && ({idle})) $write("; {names} meet: feed them side by side");\n'


_SOURCE = """\
  // Input {k}.
  reg [{top}:0] words_{k} [0:{all} - 1];
  integer at_{k};
  reg i_{k}__valid;
  wire i_{k}__ready;
  reg [{top}:0] i_{k}__payload;
  wire slow_{k} = pauses || (at_{k} / {words}) % 2 == 1;
  wire rests_{k} = slow_{k} && (turns[{turn}] || (at_{k} % {words} == 0 && quiet < {hold}));
  initial begin
    $readmemh("selftest/input_{k}.hex", words_{k});
    at_{k} = 0;
    i_{k}__valid = 1'b0;
    i_{k}__payload = 0;
  end
  always @(posedge clk)
    if (rst) begin
      at_{k} <= 0;
      i_{k}__valid <= 1'b0;
    end else if (!i_{k}__valid || i_{k}__ready) begin
      if (at_{k} < {all} && !rests_{k}) begin
        i_{k}__valid <= 1'b1;
        i_{k}__payload <= words_{k}[at_{k}];
        at_{k} <= at_{k} + 1;
      end else i_{k}__valid <= 1'b0;
    end
"""

_SINK = """\
  // Output {k}.
  reg [{top}:0] expected_{k} [0:{all} - 1];
  integer left_{k};
  wire o_{k}__valid;
  wire slow_out_{k} = pauses || (left_{k} / {words}) % 2 == 1;
  wire o_{k}__ready = !(slow_out_{k} && (turns[{turn}] || (left_{k} % {words} == 0 && quiet < {hold})));
  wire [{top}:0] o_{k}__payload;
  reg stands_{k}; // a word was offered and not taken
  reg [{top}:0] stood_{k};
  initial begin
    $readmemh("selftest/expected_{k}.hex", expected_{k});
    left_{k} = 0;
    stands_{k} = 1'b0;
  end
  always @(posedge clk) begin
    stands_{k} <= !rst && o_{k}__valid && !o_{k}__ready;
    stood_{k} <= o_{k}__payload;
    if (rst) left_{k} <= 0;
    else if (o_{k}__valid && o_{k}__ready) left_{k} <= left_{k} + 1;
  end
"""

_CHECK = """\
    if (!over && o_{k}__valid && o_{k}__ready && o_{k}__payload !== expected_{k}[left_{k}]) begin
      $write("FAIL first difference: output {k}, image %0d, word %0d: expected %h, found %h",
        left_{k} / {words}, left_{k} % {words}, expected_{k}[left_{k}], o_{k}__payload);
{place}      $display("");
      over = 1'b1;
    end
    if (!over && stands_{k} && {{o_{k}__valid, o_{k}__payload}} !== {{1'b1, stood_{k}}}) begin
      $display("FAIL first difference: output {k}, image %0d, word %0d: offered %h, then not",
        left_{k} / {words}, left_{k} % {words}, stood_{k});
      over = 1'b1;
    end
"""

_PLACE = """\
      should = expected_{k}[left_{k}];
      lane = 0;
      while (lane < {lanes} - 1 && o_{k}__payload[lane * {bits} +: {bits}] === should[lane * {bits} +: {bits}])
        lane = lane + 1;
      $write("; channel %0d, row %0d, column %0d: expected %0d, found %0d",
        left_{k} % {across} * {lanes} + lane, left_{k} % {words} / {across} / {width}, left_{k} / {across} % {width},
        {s}(should[lane * {bits} +: {bits}]), {s}(o_{k}__payload[lane * {bits} +: {bits}]));
"""

_TELL_SOURCE = """\
      if (i_{k}__valid)
        $write("; i_{k} is refused word %0d of image %0d", (at_{k} - 1) % {words}, (at_{k} - 1) / {words});
      else if (at_{k} == {all}) $write("; i_{k} has given all");
      else $write("; i_{k} offers nothing");
"""

_TELL_SINK = """\
      if (o_{k}__valid) $write("; o_{k} is offered a word");
      else $write("; o_{k} is offered nothing");
"""

_BENCH = """\
// selftest: plays words into {top} and compares what leaves it with what must.
// In the folder above: iverilog -g2005 -Wall -f selftest.f -o t && vvp t
// The last line is PASS, or FAIL with the first difference. In every second image sources and sinks stand still at
// times, with vvp t +pauses in all. Define FLAT for a netlist without hierarchy: crossbars are called by their places.

// verilator lint_off WIDTH
// verilator lint_off UNUSEDSIGNAL

module selftest;
  reg clk, rst, over, pauses;
  reg [15:0] turns; // of whom stands still
  integer quiet, lane;
  reg [{widest}:0] should; // have come
{parts}
  initial begin
    clk = 1'b0;
    rst = 1'b1;
    over = 1'b0;
    turns = 16'hace1;
    quiet = 0;
    pauses = $test$plusargs("pauses") != 0;
    #22 rst = 1'b0;
    repeat ({again}) @(negedge clk); // amid the first image
    rst = 1'b1;
    repeat (2) @(negedge clk);
    rst = 1'b0;
  end
  initial forever #5 clk = !clk;
  {top} dut (
{pins}
  );
{loads}  always @(posedge clk) turns <= {{turns[14:0], turns[15] ^ turns[13] ^ turns[12] ^ turns[10]}};
  always @(posedge clk) quiet <= rst || ({moves}) === 1'b1 ? 0 : quiet + 1;
  initial forever @(negedge clk) if (!rst && !over) begin
{checks}    if (!over && ^{{{driven}}} === 1'bx) begin
      $display("FAIL first difference: {driven} are %b", {{{driven}}});
      over = 1'b1;
    end
    if (!over && {finished} && quiet >= {rest}) begin
      $display("PASS");
      over = 1'b1;
    end
    if (!over && quiet == {patience}) begin
      $write("FAIL first difference: nothing moved in %0d cycles, and %0d of {total} words have come", quiet, {come});
{tells}      $display("");
      over = 1'b1;
    end
    if (over) $finish(0);
  end
endmodule
"""
