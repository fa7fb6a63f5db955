"""The rewriting of the netlist: nothing of a design changes, foreign cells pass through, each step finds something."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Cat, ClockDomain, ClockSignal, Instance, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.streams import Relay
from selvage.hw.tile.tile import Tile
from selvage.mapping.dense import place_dense
from selvage.verilog.convert import convert
from selvage.verilog.modules import convert_modules, delivered_rtlil, rewritten
from selvage.verilog.plain import Renaming
from tb.models.equivalence import unproven

STEPS = {
    "nets driven whole",
    "unread nets dropped",
    "resets",
    "equal modules",
    "writes asked once",
    "memories filled",
    "cases chained",
    "concatenations shortened",
    "sums side by side",
    "registers in one block",
    "enables",
    "registers named",
}
Rewritten = tuple[str, Renaming, dict[str, str], Counter[str]]


@pytest.fixture(scope="module")
def tile() -> Rewritten:
    """The RTLIL of a tile, the names in its Verilog, its Verilog by module, and how often each step did something."""
    return _rewritten(_tile())


def _tile() -> Tile:
    layer = Layer(op="conv", channels=3, outputs=4, height=5, width=6, kernel=(3, 2), stride=(2, 1))
    weights = np.random.default_rng(1).integers(-3, 4, layer.weight_shape)
    chip = load_chip("tiny").model_copy(update={"arrays_per_tile": 4})
    placed = place_dense(layer, weights, chip, input_format=InputFormat(raw_bits=4, raw_signed=True))
    return Tile(TileParameters(placed, placed.tiles[0]))


def _rewritten(tile: Tile) -> Rewritten:
    before = delivered_rtlil({**tile.library.components, "tile": tile}, "tile")
    counts: Counter[str] = Counter()
    return before, *rewritten(before, "tile", "", counts), counts


def test_each_module_of_a_tile_is_proved(tile: Rewritten, tmp_path: Path) -> None:
    before, names, texts, _ = tile
    assert len(names.modules) >= len(texts) > 20
    assert unproven(before, names, texts, tmp_path) == {}


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        (r" \+ 1'h1;", " - 1'h1;", "unproven"),
        (r"(\w+ = \d+'h)0;", r"\g<1>1;", "registers start differently"),
        ("posedge clk", "negedge clk", "registers have other clocks"),
        (r"\[write__addr\] <= ", "[~write__addr] <= ", "unproven"),
        (r"(\w+\[\w+\] <= )after;", r"\1~after;", "unproven"),
        (r"(sums_\d\w*\[entry\w*\] = 36'h)0", r"\g<1>1", "memories differ"),
        (r"(reg \[35:0\] sums_\w+ \[)3:0", r"\g<1>2:0", "memories differ"),
    ],
)
def test_a_fault_is_found(right: str, wrong: str, told: str, tile: Rewritten, tmp_path: Path) -> None:
    """In the first module that has it: a sum, a register's start or clock, a memory's address, data, content, depth."""
    before, names, texts, _ = tile
    raw, plain = next((raw, plain) for raw, plain in names.modules.items() if re.search(right, texts[plain]))
    only = Renaming({raw: plain}, names.wires, names.cells)
    found = unproven(before, only, {plain: re.sub(right, wrong, texts[plain], count=1)}, tmp_path)
    assert told in found[raw]


def test_registers_keep_their_names(tile: Rewritten) -> None:
    """No register is a part of a vector, and none has but a number."""
    registers = {name for text in tile[2].values() for name in re.findall(r"\breg (?:\[\d+:0\] )?(\w+)", text)}
    assert registers >= {"begun", "fresh", "across"}
    assert not [name for name in registers if re.fullmatch(r"state_?\d*|_\d+_", name)]


def test_each_step_finds_something_to_do(tile: Rewritten) -> None:
    """A pattern that no longer meets what Yosys writes would be silent."""
    counts = tile[3].copy()
    convert_modules(Chosen(), "chosen", generator="a test", counts=counts)
    modules = convert_modules(Twice(), "twice", generator="a test", counts=counts)
    assert [own.name for own in modules] == ["twice_first", "twice"], "equal modules are one"
    assert {step for step in STEPS if not counts[step]} == set()
    packed: Counter[str] = Counter()
    again = _tile()
    convert(again, "tile", again.library.components, counts=packed)
    assert packed["registers packed"] > 50


class Chosen(wiring.Component):
    """One of four words, by a number."""

    number: In(2)
    words: In(32)
    out: Out(8)

    def elaborate(self, platform: object) -> Module:
        """Build it of cases, none of which is what is left by the others."""
        m = Module()
        with m.Switch(self.number):
            for number in range(4):
                with m.Case(number):
                    m.d.comb += self.out.eq(self.words.word_select(number, 8))
        return m


class Twice(wiring.Component):
    """Two equal modules, one behind the other."""

    i: In(stream.Signature(data.ArrayLayout(8, 1)))
    o: Out(stream.Signature(data.ArrayLayout(8, 1)))

    def elaborate(self, platform: object) -> Module:
        """Connect them."""
        m = Module()
        m.submodules.first = first = Relay(data.ArrayLayout(8, 1))
        m.submodules.second = second = Relay(data.ArrayLayout(8, 1))
        wiring.connect(m, wiring.flipped(self.i), first.i)
        wiring.connect(m, first.o, second.i)
        wiring.connect(m, second.o, wiring.flipped(self.o))
        return m


class Awkward(wiring.Component):
    """What the rewriting must leave alone.

    A foreign cell drives half of an output; outputs that are sums stand side by side in another one; the clock of a
    domain is read as data; a parameter is a text like a concatenation, and another is called as Yosys calls a
    memory's name; a submodule is called as those are that stand for a shared module; what one register takes behind its
    enable is what another chooses.
    """

    a: In(32)
    b: In(32)
    data: In(1)
    half: Out(8)
    sums: Out(36)
    lanes: Out(32)
    gated: Out(4)
    copied: Out(1)
    kept: Out(4)

    def elaborate(self, platform: object) -> Module:
        """Build each."""
        m = Module()
        parameters = {"p_TEXT": "{ x, x, x, x }", "p_MEMID": 3}
        m.submodules.foreign = Instance("HALF", **parameters, i_A=self.a[:4], o_Q=self.half[:4])
        m.d.comb += self.half[4:].eq(self.a[2:6])
        sums = [Signal(9, name=f"sum_{k}") for k in range(4)]
        m.d.comb += [sums[k].eq(self.a.word_select(k, 8) + self.b.word_select(k, 8)) for k in range(4)]
        m.d.comb += [self.lanes.eq(Cat(*(total[:8] for total in sums))), self.sums.eq(Cat(*sums))]
        m.domains.other = domain = ClockDomain("other", reset_less=True)
        held, count = Signal(), Signal(4)
        m.d.comb += [domain.clk.eq(Mux(self.a[0], self.data, held)), self.gated.eq(count)]
        m.d.sync += held.eq(domain.clk)
        m.d.other += count.eq(count + 1)
        m.submodules.inner = inner = Module()
        inner.submodules.shared = Instance("HALF", i_A=self.b[:4], o_Q=Signal(4, name="unread"))
        value = Signal(4)  # read by a register with a reset behind its enable, and chosen by one without
        kept, chosen = Signal(4), Signal(4, reset_less=True)
        m.d.comb += value.eq(Mux(self.data, self.a[:4], chosen))
        m.d.sync += chosen.eq(value)
        with m.If(self.b[0]):
            m.d.sync += kept.eq(value)
        m.d.comb += self.kept.eq(kept)
        copy = Signal()
        inner.d.sync += copy.eq(self.data)
        m.d.comb += self.copied.eq(copy)
        return m


AWKWARD = """
module HALF #(parameter TEXT = "", parameter MEMID = 0) (input [3:0] A, output [3:0] Q);
  assign Q = TEXT == "{ x, x, x, x }" && MEMID == 3 ? ~A : 4'h0;
endmodule
module bench;
  reg clk = 0, rst = 0, data = 0;
  reg [31:0] a = 0, b = 0;
  wire [7:0] half;
  wire [35:0] sums;
  wire [31:0] lanes;
  wire [3:0] gated;
  wire copied;
  wire [3:0] kept;
  reg [3:0] chosen = 0, expected = 0;
  integer k;
  awkward dut(.clk(clk), .rst(rst), .a(a), .b(b), .data(data), .half(half), .sums(sums), .lanes(lanes),
    .gated(gated), .copied(copied), .kept(kept));
  initial begin
    for (k = 0; k < 200; k = k + 1) begin
      a = $random; b = $random; data = $random; #1 clk = 1; #1
      if (half !== {a[5:2], ~a[3:0]}) $display("FAIL half %h of %h", half, a);
      if (lanes[15:8] !== ((a[15:8] + b[15:8]) & 8'hff) || sums[8:0] !== a[7:0] + b[7:0]) $display("FAIL sums");
      chosen = data ? a[3:0] : chosen;
      if (b[0]) expected = chosen;
      if (kept !== expected) $display("FAIL kept %h, not %h", kept, expected);
      if (copied !== data) $display("FAIL copy");
      clk = 0; #1;
    end
    if (^gated === 1'bx) $display("FAIL gated");
    $display("PASS");
  end
endmodule
"""


def _shown(text: str, folder: Path) -> str:
    """Return what Icarus shows of a Verilog text that has a bench."""
    (folder / "bench.v").write_text(text)
    subprocess.run(["iverilog", "-g2005", "-Wall", "-o", "bench", "bench.v"], cwd=folder, check=True)
    return subprocess.run(["vvp", "-n", "bench"], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("delivered", [True, False])
def test_what_is_left_alone(delivered: bool, tmp_path: Path) -> None:
    if delivered:
        text = "".join(file.text for file in convert_modules(Awkward(), "awkward", generator="a test"))
        assert "inner (" in text, "the submodule is dissolved"
    else:
        text = convert(Awkward(), "awkward")
    assert _shown(text + AWKWARD, tmp_path) == "PASS\n"


class Stored(wiring.Component):
    """A word that a foreign memory holds, and whether it is one that this module wrote last."""

    address: In(4)
    data: In(8)
    write: In(1)
    out: Out(8)
    last: Out(1)

    def elaborate(self, platform: object) -> Module:
        """Build it: the memory's output goes to the upper and the lower half of a signal."""
        m = Module()
        halves = Signal(8)
        last = Signal(4)
        with m.If(self.write):
            m.d.sync += last.eq(self.address)
        m.submodules.sram = Instance(
            "SRAM_16X8",
            p_DEPTH=16,
            p_NAME="a b",
            i_CLK=ClockSignal(),
            i_A=self.address,
            i_D=self.data,
            i_WEN=~self.write,
            o_Q=halves,
        )
        m.d.comb += [self.out[:4].eq(halves[:4]), self.out[4:].eq(halves[4:]), self.last.eq(last == self.address)]
        return m


BENCH = """
module SRAM_16X8 #(parameter DEPTH = 1, parameter NAME = "") (
  input CLK, input [3:0] A, input [7:0] D, input WEN, output reg [7:0] Q);
  reg [7:0] words [0:DEPTH-1];
  always @(posedge CLK) begin
    if (!WEN) words[A] <= D;
    Q <= words[A];
  end
endmodule
module bench;
  reg clk = 0, rst = 0, write = 1;
  reg [3:0] address;
  reg [7:0] data;
  wire [7:0] out;
  wire last;
  integer k;
  stored stored(.clk(clk), .rst(rst), .address(address), .data(data), .write(write), .out(out), .last(last));
  initial begin
    for (k = 0; k < 16; k = k + 1) begin address = k; data = 8'h31 * k; #1 clk = 1; #1 clk = 0; end
    write = 0;
    for (k = 0; k < 16; k = k + 1) begin
      address = k; #1 clk = 1; #1 clk = 0;
      if (out !== ((8'h31 * k) & 8'hff) || last !== (k == 15)) $display("FAIL %0d: %h", k, out);
    end
    $display("PASS");
  end
endmodule
"""


def test_a_foreign_cell_passes_through(tmp_path: Path) -> None:
    """An `Instance` of an SRAM: its name, its parameters and its pins are as they were, and its words come through."""
    (file,) = convert_modules(Stored(), "stored", generator="a test")
    assert re.search(r'SRAM_16X8 #\(\s*\.DEPTH\([^)]*16\),\s*\.NAME\("a b"\)\s*\) sram \(', file.text), file.text
    assert _shown(file.text + BENCH, tmp_path) == "PASS\n"
