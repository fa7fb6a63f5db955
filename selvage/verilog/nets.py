"""Nets of a netlist, driven whole and by nothing that reads them: what simulators that follow events want.

Icarus resolves a net that is driven in pieces bit by bit, with strengths. Verilator takes a net whose bits follow from
its other bits for a loop.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from selvage.verilog.rtlil import Bits, Cell, NetlistModule, Part, Wire, cut, joined, width_of

Modules = Mapping[str, NetlistModule]
_Pieces = Mapping[str, Mapping[int, Bits]]  # by wire and lowest bit, lowest first


@dataclass
class _Driver:
    """What drives ``target``: bits of a cell's port from bit ``low`` on, or a connection's ``source``."""

    target: Bits
    source: Bits = ()
    cell: Cell | None = None
    port: str = ""
    low: int = 0

    def redirect(self, bits: Bits) -> None:
        """Have the cell drive other bits."""
        assert self.cell, "a connection is no cell's"
        before = self.cell.ports[self.port]
        after = self.low + width_of(bits)
        rest = cut(before, after, width_of(before) - after)
        self.cell.ports[self.port] = (*cut(before, 0, self.low), *bits, *rest)


def driven_ports(cell: Cell, modules: Modules) -> list[str]:
    """Return the ports that a cell drives; none of a foreign cell, of which nobody says."""
    if cell.kind.startswith("$"):
        return cell.outputs
    child = modules.get(cell.kind)
    return [port for port in cell.ports if child and child.wires[port].direction == "output"]


def drive_whole(module: NetlistModule, modules: Modules) -> int:
    """Drive each wire whole that is driven in pieces; return how many were.

    What drove a piece drives a wire of its own, the piece, and the wire is a concatenation of these. Bits that are
    copies of bits of such a wire are taken from the piece, and so is what a driver of a piece reads of the same wire:
    no wire follows from itself. Wires with a bit that nothing known drives are left as they are.
    """
    drivers = list(_drivers(module, modules))
    wholes = dict.fromkeys(_in_pieces(module, drivers))
    pieces: dict[str, dict[int, Bits]] = {name: {} for name in wholes}
    kept: list[tuple[Bits, Bits]] = []
    for driver in drivers:
        if not any(part.wire in wholes for part in driver.target):
            if driver.cell is None:
                kept.append((driver.target, driver.source))
            continue
        source = driver.source or _piece(module, driver)
        at = 0
        for part in driver.target:
            bits = cut(source, at, part.width)
            at += part.width
            if part.wire in wholes:
                pieces[part.wire][part.low] = bits
            else:
                kept.append(((part,), bits))
    pieces = {name: dict(sorted(found.items())) for name, found in pieces.items()}
    driven: dict[int, tuple[Cell, set[str]]] = {}
    for driver in drivers:
        if driver.cell is not None:
            driven.setdefault(id(driver.cell), (driver.cell, set()))[1].update(part.wire for part in driver.target)
    for cell, names in driven.values():
        _read_pieces(cell, names & pieces.keys(), pieces, modules)
    for name, found in pieces.items():
        whole = joined(part for bits in found.values() for part in bits)
        kept.append((module.whole(name), _resolved(whole, pieces)))
        module.wires[name].attributes.pop("\\init", None)  # its pieces have it
    module.connections = kept
    return len(wholes)


def _drivers(module: NetlistModule, modules: Modules) -> Iterator[_Driver]:
    for cell in module.cells:
        for port in driven_ports(cell, modules):
            bits = cell.ports[port]
            lane = int(cell.parameters["\\WIDTH"]) if cell.kind == "$mem_v2" else width_of(bits)
            for low in range(0, width_of(bits), lane) if lane else ():
                yield _Driver(cut(bits, low, lane), cell=cell, port=port, low=low)
    for left, right in module.connections:
        yield _Driver(left, right)


def _in_pieces(module: NetlistModule, drivers: list[_Driver]) -> list[str]:
    """Return the wires that are driven in pieces, each bit by something known."""
    bits: Counter[str] = Counter()
    found: dict[str, None] = {}
    for driver in drivers:
        for part in driver.target:
            bits[part.wire] += part.width
            if len(driver.target) > 1 or part.width < module.wires[part.wire].width:
                found[part.wire] = None
    wires = module.wires
    return [name for name in found if bits[name] == wires[name].width and wires[name].direction != "inout"]


def _piece(module: NetlistModule, driver: _Driver) -> Bits:
    """Have a driver drive a new wire, the piece, named after what it was; return it."""
    high, low = driver.target[-1], driver.target[0]
    end = f"_and_{low.wire[1:]}" if len(driver.target) > 1 else module.range_of(high)
    total = width_of(driver.target)
    name = module.add_wire(f"{high.wire}{end}", total)
    start = [_start(part, module.wires[part.wire]) for part in reversed(driver.target)]
    if all(start):
        module.wires[name].attributes["\\init"] = f"{total}'{''.join(start)}"
    bits = module.whole(name)
    driver.redirect(bits)
    return bits


def _start(part: Part, wire: Wire) -> str:
    """Return what a part of a wire starts with, the highest bit first."""
    init = wire.init
    return init[wire.width - part.low - part.width : wire.width - part.low] if init else ""


def _resolved(bits: Bits, pieces: _Pieces) -> Bits:
    """Return bits with those of wires in pieces taken from what drives these."""
    found: list[Part] = []
    for part in bits:
        if part.wire not in pieces:
            found.append(part)
            continue
        for low, source in pieces[part.wire].items():
            first, last = max(low, part.low), min(low + width_of(source), part.low + part.width)
            if first < last:
                found += _resolved(cut(source, first - low, last - first), pieces)
    return joined(found)


def _read_pieces(cell: Cell, names: set[str], pieces: _Pieces, modules: Modules) -> None:
    """Let a cell read the pieces of the wires ``names`` in place of these, for it drives some of their bits."""
    outputs = set(driven_ports(cell, modules)) if names else ()
    for port, bits in cell.ports.items() if names else ():
        if port not in outputs and any(part.wire in names for part in bits):
            cell.ports[port] = _resolved(bits, pieces)


def drop_unread(module: NetlistModule) -> int:
    """Drop the connections of wires that nothing reads, which are what is left of those in pieces; return how many."""
    reads: Counter[str] = Counter(part.wire for cell in module.cells for bits in cell.ports.values() for part in bits)
    reads.update(name for name, wire in module.wires.items() if wire.direction)
    driver = {left[0].wire: (left, right) for left, right in module.connections if left == module.whole(left[0].wire)}
    for _, right in module.connections:
        reads.update(part.wire for part in right)
    idle = [name for name in driver if not reads[name]]
    gone: set[str] = set()
    while idle:
        name = idle.pop()
        gone.add(name)
        del module.wires[name]
        for part in driver[name][1]:
            reads[part.wire] -= 1
            if part.wire in driver and not reads[part.wire]:
                idle.append(part.wire)
    module.connections = [sides for sides in module.connections if not gone.issuperset(part.wire for part in sides[0])]
    return len(gone)
