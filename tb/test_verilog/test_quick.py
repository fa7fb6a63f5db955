"""Amaranth's conversion made quick writes the same text, and leaves Amaranth as it was."""

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it
from amaranth.hdl import _nir  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it

from selvage.hw.network.network import Network, NetworkParameters
from selvage.verilog.quick import quick
from tb.models.bundles import small


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
