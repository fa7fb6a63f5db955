"""Shells of a small network: its outputs through each bus, and what they refuse."""

from functools import cache
from pathlib import Path

import pytest
from systemrdl import RDLCompiler

from selvage.hw.network.network import NetworkParameters
from selvage.hw.shell.registers import RegisterParameters, register_views, registers_of
from selvage.hw.shell.shell import ShellParameters
from tb.benches.bench_run import run_bench
from tb.models.shells import fields, sources_of
from tb.models.small_networks import RELU, SmallNetwork, simulate_plan


def small_network() -> SmallNetwork:
    """Two inputs, two outputs: raw sums behind two layers, and words of 64 bits."""
    n = SmallNetwork.on("tiny", 12, images=3, weight_bits=2)
    x, y = n.input(3, 3, 2), n.input(8, 3, 2)
    a = n.layer(x, 2, kernel=(2, 2), pads=(1, 1, 0, 0), activation=RELU)
    return n.leaves(n.layer(a, 2, kernel=(2, 1), raw=True), n.pool(y, "max", (2, 2), (1, 1)))


@cache
def shell(bus: str) -> tuple[SmallNetwork, ShellParameters, dict[str, str]]:
    """The network, its shell, and all sources. Behind Wishbone it loads tables (behind AXI in `test_tables.py`)."""
    network = small_network()
    constants = "loaded" if bus == "wishbone" else "fixed"
    p = ShellParameters(NetworkParameters(network.plan, constants=constants, programmable=True), bus=bus)
    return network, p, sources_of(p)


@pytest.mark.parametrize(
    ("bus", "bench", "tests"), [("axi", "shell", 16), ("axi", "shell_ends", 9), ("wishbone", "wishbone", 14)]
)
def test_shell(bus: str, bench: str, tests: int) -> None:
    network, p, sources = shell(bus)
    assert {own.data_bits - own.width for own in p.outputs} != {0}, "no output needs padding"
    assert max(own.data_bits for own in p.inputs) > 32 < max(own.data_bits for own in p.outputs), "no word has parts"
    told = fields(network, p)
    if bus == "axi":
        plan = network.plan
        told["bare_cycles"] = simulate_plan(plan, [network.codes[t.name] for t in plan.inputs]).cycles
    assert run_bench(f"shell_{bus}", sources, "harness", f"tb.benches.{bench}_bench", told) == tests


def test_views(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same bytes again; header and page know the registers of the design and no others."""
    p = RegisterParameters(3, 16, 20, 2, inputs=2, queues=True, loaded=True, structure=0xABCDEF01)
    views = register_views(p)
    monkeypatch.setattr("time.time", lambda: 12345678901.0)
    assert views == register_views(p)
    header = views["selvage.h"].decode()
    assert "SELVAGE__CHIP__MACROS_reset 0x3" in header and "DATA_IN" in header
    assert "SELVAGE__TABLES__DESIGN_reset 0xabcdef01" in header and "LOAD_TABLES" in header
    others = register_views(RegisterParameters(1, 1, 1, 1))["selvage.h"].decode()
    assert not any(name in others for name in ("DATA_IN", "LOAD_TABLES", "DESIGN"))
    assert b"#define SELVAGE_CODE_CHECKSUM 10" in views["selvage_codes.h"]
    (tmp_path / "own.rdl").write_bytes(views["registers.rdl"])
    compiler = RDLCompiler()
    compiler.compile_file(str(tmp_path / "own.rdl"))
    assert registers_of(compiler.elaborate().top) == p.registers, "the source that is shipped is of another design"
    assert "html/index.html" in views and sum(map(len, views.values())) < 2**21
    assert (p.addresses["data_in_1"], p.addresses["tables"]) == (0x84, 0x2C)


@pytest.mark.parametrize(
    ("name", "value"), [("macros", 0), ("cell_bits", 9), ("inputs", 17), ("retries", 256), ("structure", -1)]
)
def test_register_parameters_refuse(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        RegisterParameters(**{"macros": 1, "rows": 1, "columns": 1, "cell_bits": 1, name: value})


def test_shell_refuses() -> None:
    network = small_network()
    with pytest.raises(ValueError, match="bus must be one of axi, wishbone, not 'apb'"):
        ShellParameters(NetworkParameters(network.plan), bus="apb")
    with pytest.raises(ValueError, match="direct"):
        ShellParameters(NetworkParameters(network.plan, direct=True))
    with pytest.raises(ValueError, match="can be programmed"):
        ShellParameters(NetworkParameters(network.plan))
    n = SmallNetwork.on("tiny", 1)
    with pytest.raises(ValueError, match="a layer on crossbars"):
        ShellParameters(NetworkParameters(n.leaves(n.table(n.input(1, 2, 2))).plan, programmable=True))
