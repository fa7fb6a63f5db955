"""Amaranth's conversion made quick writes the same text, refuses the same loops, and leaves Amaranth as it was."""

import pytest
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it
from amaranth.hdl import Module, Signal, _nir  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.network.network import Network, NetworkParameters
from selvage.verilog.quick import quick
from tb.models.bundles import small


class Loop(wiring.Component):
    """A word that chooses what it is chosen from, or by."""

    words: In(8)
    out: Out(2)

    def __init__(self, by: bool) -> None:
        self.by = by
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        """Build the loop through a signal between."""
        m = Module()
        between = Signal(8)
        m.d.comb += between.eq(self.out)
        chosen = self.words.bit_select(between[:2], 2) if self.by else between.bit_select(self.words[:2], 2)
        m.d.comb += self.out.eq(chosen)
        return m


@pytest.mark.parametrize("by", [False, True])
def test_loops_are_refused(by: bool) -> None:
    with quick(), pytest.raises(_nir.CombinationalCycle):
        rtlil.convert(Loop(by), name="loop")


def texts() -> dict[str, str]:
    network = Network(NetworkParameters(small().plan))
    parts = {**network.library.components, "network": network}
    return {name: rtlil.convert(part, name=name, emit_src=False) for name, part in parts.items()}


def test_the_same_text() -> None:
    before = [_nir.Value.__new__, _nir.Netlist.resolve_value, _nir.Part.comb_edges_to, rtlil.ModuleEmitter.sigspec]
    slow = texts()
    with quick():
        assert _nir.Value.__new__ is not before[0]
        fast = texts()
    after = [_nir.Value.__new__, _nir.Netlist.resolve_value, _nir.Part.comb_edges_to, rtlil.ModuleEmitter.sigspec]
    assert after == before
    assert fast == slow
    assert sum(map(len, slow.values())) > 100_000
