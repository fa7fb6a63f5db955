"""Verilog of a component and of the modules it shares."""

import contextlib
import gc
from collections.abc import Iterator, Mapping

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from selvage.verilog.emission import rewrite
from selvage.verilog.errors import ModuleTooWide
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
write_verilog -noattr
"""


MOST_INPUTS = 2**16 - 8  # of a module; clock and reset are two more


def convert(component: wiring.Component, name: str, shared: Mapping[str, wiring.Component] | None = None) -> str:
    """Return Verilog of ``component`` as module ``name``, after the modules ``shared`` that it instantiates.

    Member ``a.b`` becomes port ``a__b``. No member may be ``always_valid`` or ``always_ready``: a
    constant cannot be a port (amaranth#1574).
    """
    designs = [*(shared or {}).items(), (name, component)]
    return rewrite(run_yosys(to_rtlil(dict(designs)), SCRIPT, name))


def to_rtlil(designs: Mapping[str, wiring.Component]) -> str:
    """Return components by module name as Yosys reads them, without a trace of where their sources lie.

    `ModuleTooWide`: one has more bits of inputs than Amaranth counts.
    """
    for module, part in designs.items():
        pins = (member for _, member, _ in part.signature.flatten(part) if member.flow is In)
        bits = sum(Shape.cast(member.shape).width for member in pins)
        if bits > MOST_INPUTS:
            raise ModuleTooWide(
                f"module {module!r} has {bits} bits of inputs, the codes of all its crossbars among them, and at most "
                f"{MOST_INPUTS} can be written: take a smaller layer, or larger arrays"
            )
    with _no_collection(), traced():
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
