"""Proof, in a bundle, that the macro's two models are equal: one wrote codes that the other must return."""

import inspect
from collections.abc import Iterator

import numpy as np

import selvage.sim.crossbar
from selvage.base.chip import Chip
from selvage.hw.macro.macro_views import Macro
from selvage.rtlsim.job import pack_words
from selvage.rtlsim.words import hex_lines
from selvage.sim.crossbar import Crossbar

READS = 500

_CHIP = '''\
from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """What the crossbar needs of a chip."""

    rows: int
    columns: int
    ou_cols: int
    adc_bits: int
'''

_BENCH = """\
// The ideal macro in Verilog against codes of the Python model crossbar.py, with as many reads under way as there are.
// In the folder above: iverilog -g2005 -Wall -f macro/{name}_proof.f -o t && vvp t

// verilator lint_off WIDTH

module {name}_proof;
  reg clk, rst, over;
  reg [15:0] turns; // of whom stands still
  integer asked, taken;
  reg [{request} - 1:0] requests [0:{reads} - 1];
  reg [{codes} - 1:0] expected [0:{reads} - 1];
  wire request__ready, codes__valid;
  wire request__valid = !rst && asked < {reads} && asked - taken < {under_way} && turns[2:0] != 0;
  wire codes__ready = !rst && turns[6:5] != 0;
  wire [{codes} - 1:0] codes__payload;
  {name} #(.CELLS("macro/{name}_proof_cells.hex")) dut (
    .clk(clk),
    .rst(rst),
    .request__valid(request__valid),
    .request__ready(request__ready),
    .request__payload(requests[asked < {reads} ? asked : 0]),
    .codes__valid(codes__valid),
    .codes__ready(codes__ready),
    .codes__payload(codes__payload)
  );
  initial begin
    $readmemh("macro/{name}_proof_requests.hex", requests);
    $readmemh("macro/{name}_proof_codes.hex", expected);
    clk = 1'b0;
    rst = 1'b1;
    over = 1'b0;
    turns = 16'hace1;
    asked = 0;
    taken = 0;
    #22 rst = 1'b0;
    #2000000 if (!over) begin
      $display("FAIL first difference: only %0d of {reads} reads have been answered", taken);
      $finish(0);
    end
  end
  initial forever #5 clk = !clk;
  always @(posedge clk) begin
    turns <= {{turns[14:0], turns[15] ^ turns[13] ^ turns[12] ^ turns[10]}};
    if (request__valid && request__ready) asked <= asked + 1;
    if (codes__valid && codes__ready) taken <= taken + 1;
  end
  initial forever @(negedge clk) if (!over) begin
    if (codes__valid && codes__ready && codes__payload !== expected[taken]) begin
      $display("FAIL first difference: read %0d: expected %h, found %h", taken, expected[taken], codes__payload);
      over = 1'b1;
    end else if (taken == {reads}) begin
      $display("PASS");
      over = 1'b1;
    end
    if (over) $finish(0);
  end
endmodule
"""


def python_model() -> str:
    """Return `sim.crossbar` as a file that needs nothing but NumPy."""
    first, rest = _CHIP.split("\n\n\n", 1)
    text = inspect.getsource(selvage.sim.crossbar).replace(
        "import numpy as np\n", f"{first}\n\nimport numpy as np\n", 1
    )
    return text.replace("from selvage.base.chip import Chip\n", f"\n\n{rest}", 1)


def numbers(state: int = 1) -> Iterator[int]:
    """Yield numbers of 31 bits, the same everywhere and always."""
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33


def macro_proof(macro: Macro, chip: Chip) -> dict[str, str]:
    """Return by file name Python model, bench, file list, cells, requests, and the codes that the model returns."""
    rng, values = numbers(), macro.values
    rows, columns = values["ROWS"], values["COLUMNS"]
    cells = np.array([next(rng) >> 8 for _ in range(rows * columns)]).reshape(rows, columns) % 2**chip.cell_bits
    crossbar = Crossbar(cells.astype(np.uint8), chip)
    groups = -(-columns // chip.ou_cols)
    requests, codes, lines = [], [], 0
    for _ in range(READS):
        if next(rng) % 5 < 2:  # several column groups on the same word lines, as the periphery asks
            count = next(rng) % (chip.ou_rows + 1)
            lines = sum({1 << next(rng) % rows for _ in range(count)})
        group = next(rng) % groups
        requests.append(group << rows | lines)
        codes.append(crossbar.read(lines, group))
    base = f"{macro.name}_proof"
    bench = _BENCH.format(
        name=macro.name,
        reads=READS,
        request=macro.request_width,
        codes=macro.codes_width,
        under_way=values["LATENCY"] + 3,
    )
    return {
        "crossbar.py": python_model(),
        f"{base}.v": bench,
        f"{base}.f": f"macro/{macro.name}.v\nmacro/{base}.v\n",
        f"{base}_cells.hex": hex_lines(pack_words(cells, chip.cell_bits), columns * chip.cell_bits),
        f"{base}_requests.hex": _hex(requests, macro.request_width),
        f"{base}_codes.hex": _hex(codes, macro.codes_width),
    }


def _hex(words: list[int], bits: int) -> str:
    return "".join(f"{word:0{-(-bits // 4)}x}\n" for word in words)
