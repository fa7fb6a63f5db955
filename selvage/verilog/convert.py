"""Verilog of a component and of the modules it shares: Amaranth's RTLIL, its nets and registers put right, written."""

import contextlib
import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from selvage.verilog.emission import rewrite
from selvage.verilog.errors import MOST_INPUTS, ModuleTooWide
from selvage.verilog.nets import drive_whole, drop_unread
from selvage.verilog.quick import quick
from selvage.verilog.registers import pack_registers, take_resets
from selvage.verilog.rtlil import NetlistModule, dump, parse
from selvage.verilog.tracing import traced
from selvage.verilog.yosys import run_yosys

# `proc` turns processes into muxes. Amaranth's own script keeps them as `always @*`, which Icarus
# never runs while no input changes: the outputs of an idle FSM read X (amaranth#1629). `-purge` leaves out names of
# fields that nothing reads, which a simulator would keep up to date all the same: a quarter of Icarus' time.
SCRIPT = """
proc -norom
memory_collect
opt_expr
opt_merge
opt_clean -purge
attrmap -remove generator -remove top
attrmap -modattr -remove generator -remove top
write_rtlil
"""


def convert(
    component: wiring.Component,
    name: str,
    shared: Mapping[str, wiring.Component] | None = None,
    *,
    counts: Counter[str] | None = None,
) -> str:
    """Return Verilog of ``component`` as module ``name``, after the modules ``shared``, for our own simulation.

    Narrow registers are parts of vectors, which Icarus runs faster; `verilog.modules` writes what is delivered.
    Member ``a.b`` becomes port ``a__b``. No member may be ``always_valid`` or ``always_ready``: a constant cannot be
    a port (amaranth#1574). ``counts`` gains how often each step found something to do.
    """
    counts = Counter() if counts is None else counts
    modules = parse(run_yosys(to_rtlil({**(shared or {}), name: component}), SCRIPT, name))
    put_right(modules, counts)
    for module in modules.values():
        counts["registers packed"] += pack_registers(module)
    return "".join(rewrite(write_verilog(modules.values(), name), counts).values())


def put_right(modules: Mapping[str, NetlistModule], counts: Counter[str]) -> None:
    """Drive nets whole and without loops (`verilog.nets`) in all modules, and tell resets from what is stored."""
    for module in modules.values():
        counts["nets driven whole"] += drive_whole(module, modules)
        counts["unread nets dropped"] += drop_unread(module)
        counts["resets"] += take_resets(module)


def write_verilog(modules: Iterable[NetlistModule], name: str) -> str:
    """Return Yosys' Verilog of modules."""
    return run_yosys(dump(modules), "write_verilog -noattr", name)


def to_rtlil(designs: Mapping[str, wiring.Component]) -> str:
    """Return components by module name as Yosys reads them, without a trace of where their sources lie.

    `ModuleTooWide`: one has more bits of inputs than Amaranth counts.
    """
    for module, part in designs.items():
        pins = (member for _, member, _ in part.signature.flatten(part) if member.flow is In)
        bits = sum(Shape.cast(member.shape).width for member in pins)
        if bits > MOST_INPUTS:
            raise ModuleTooWide(
                f"module {module!r} has {bits} bits of inputs, and at most {MOST_INPUTS} can be written: a smaller "
                "layer, larger arrays (rows, columns) or more of them in a tile (arrays_per_tile) have fewer"
            )
    with _no_collection(), quick(), traced():
        return "\n".join(rtlil.convert(part, name=module, emit_src=False) for module, part in designs.items())


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Suspend garbage collection.

    Amaranth makes objects by the million and drops few: looking for garbage takes longer the more there are.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
