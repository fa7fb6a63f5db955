"""Amaranth's conversion of a design with its inner loops made short, for designs of millions of nets.

What comes out is the same text (`tb/test_verilog/test_quick.py`), but for memories of more than `INITIAL` bits that
begin with zeros: they begin with nothing known, as an SRAM does. Amaranth has no way to say so (amaranth#270), and the
zeros of a large network's queues are most of its text. The internals are those of amaranth 0.5.10.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it
from amaranth.hdl import _nir  # pyright: ignore[reportAttributeAccessIssue]  # the stubs lack it

INITIAL = 2**16  # bits of the largest memory whose zeros are written
_BITS = ("0", "1")
_PATCHED = threading.RLock()
_emit_memory = rtlil.ModuleEmitter.emit_memory


def _value(kind: type, nets: Any = ()) -> Any:
    """Make a value of nets without asking of each whether it is one; of a value the value itself."""
    if type(nets) is kind:
        return nets
    return tuple.__new__(kind, (nets,) if isinstance(nets, _nir.Net) else nets)


def _resolved(netlist: Any, value: Any) -> Any:
    """Return a value whose late nets are those that they stand for; most values have none."""
    if not value or min(value) >= 0:
        return value
    connections, found = netlist.connections, []
    for net in value:
        while net < 0:
            net = connections[net]
        found.append(net)
    return _value(_nir.Value, found)


def _sigspec(emitter: Any, *parts: Any) -> str:
    """Write nets as constants and slices of wires, the highest first."""
    value = tuple(chain(*((part,) if isinstance(part, _nir.Net) else part for part in parts)))
    nets, chunks, at, end = emitter.nets, [], 0, len(value)
    while at < end:
        first, begin = value[at], at
        if first <= 1:
            while at < end and value[at] <= 1:
                at += 1
            chunks.append(f"{at - begin}'{''.join([_BITS[net] for net in value[begin:at]])[::-1]}")
            continue
        wire, low = nets[first]
        bit = low
        while at < end and value[at] > 1:
            other, place = nets[value[at]]
            if other is not wire or place != bit:
                break
            at, bit = at + 1, bit + 1
        chunks.append(f"{wire.name} [{low}]" if bit == low + 1 else f"{wire.name} [{bit - 1}:{low}]")
    return chunks[0] if len(chunks) == 1 else "{ " + " ".join(reversed(chunks)) + " }"


def _memory(emitter: Any, index: int, cell: Any) -> None:
    """Write what a memory begins with, unless it is large and that is nothing."""
    if cell.depth * cell.width <= INITIAL or any(cell.init):
        _emit_memory(emitter, index, cell)


def _without_constants(part: Any, bit: int) -> Iterator[tuple[Any, Any]]:
    """Yield what a choice of a vector's bits follows from, but constants, through which no combinational loop leads.

    Of a large table that is all, and Amaranth asks once for each bit that is read. Negative numbers are nets that
    are not yet resolved.
    """
    if not hasattr(part, "not_constant"):
        part.not_constant = [net for net in (*part.value, *part.offset) if not 0 <= net <= 1]
    return ((net, part.src_loc) for net in part.not_constant)


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Let Amaranth convert quickly, in one thread at a time."""
    with _PATCHED:
        yield from _patched()


def _patched() -> Iterator[None]:
    emitter = rtlil.ModuleEmitter
    owners: Iterable[tuple[Any, str, Any]] = (
        (_nir.Value, "__new__", _value),
        (_nir.Netlist, "resolve_value", _resolved),
        (emitter, "sigspec", _sigspec),
        (emitter, "emit_memory", _memory),
        (_nir.Part, "comb_edges_to", _without_constants),
    )
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in owners]
    try:
        for owner, name, own in owners:
            setattr(owner, name, own)
        yield
    finally:
        for owner, name, own in before:
            setattr(owner, name, own)
