"""Verilog as `verilog.emission` writes it means what it meant."""

import random
import subprocess
from pathlib import Path

import pytest
from amaranth.hdl import Cat, Fragment, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from selvage.verilog.convert import convert
from selvage.verilog.emission import TOGETHER
from selvage.verilog.errors import MOST_INPUTS, ModuleTooWide

WIDTH = 2 * TOGETHER + 5
BENCH = """\
module bench;
  reg [{high}:0] x;
  wire [{high}:0] turned;
  wire [{high}:0] extended;
  lanes lanes(.x(x), .turned(turned), .extended(extended));
  initial begin
{lines}
  end
endmodule
"""


class Lanes(wiring.Component):
    """Bits the other way round, and five bits with their sign."""

    x: In(WIDTH)
    turned: Out(WIDTH)
    extended: Out(WIDTH)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.turned.eq(Cat(reversed(self.x))), self.extended.eq(self.x[:5].as_signed())]
        return m


class Wide(wiring.Component):
    def __init__(self) -> None:
        super().__init__({f"x{k}": In(MOST_INPUTS // 8 + 1) for k in range(8)})

    def elaborate(self, platform: object) -> Module:
        return Module()


def test_more_inputs_than_amaranth_counts_are_refused() -> None:
    wide = Wide()
    Fragment.get(wide, None)  # else it would count as forgotten
    with pytest.raises(
        ModuleTooWide, match=f"module 'wide' has {MOST_INPUTS + 8} bits of inputs.* at most {MOST_INPUTS}"
    ):
        convert(wide, "wide")


def test_long_concatenations_and_parts_many_times_over(tmp_path: Path) -> None:
    text = convert(Lanes(), "lanes")
    assert f"{{{WIDTH - 5}{{x[4]}}}}" in text, "a sign is not written once"
    lists = [line.count("}, {") for line in text.splitlines() if "assign turned" in line]
    assert lists == [WIDTH // TOGETHER], "bits are not in groups"
    drawn = [random.Random(k).getrandbits(WIDTH) for k in range(20)]
    lines = "\n".join(f'    x = {WIDTH}\'h{x:x}; #1 $display("%h %h", turned, extended);' for x in drawn)
    (tmp_path / "lanes.v").write_text(text + BENCH.format(high=WIDTH - 1, lines=lines))
    subprocess.run(["iverilog", "-g2005", "-Wall", "-o", "lanes", "lanes.v"], cwd=tmp_path, check=True)
    shown = subprocess.run(["vvp", "-n", "lanes"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    for x, line in zip(drawn, shown.splitlines(), strict=True):
        turned = int(f"{x:0{WIDTH}b}"[::-1], 2)
        extended = (x & 31) - (x << 1 & 32) & 2**WIDTH - 1
        assert [int(word, 16) for word in line.split()] == [turned, extended]
