"""Modules, wires and instances of a netlist under plain names, and equal modules once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from selvage.verilog.names import KEYWORDS, Names, is_plain, natural, plain_names
from selvage.verilog.nets import Modules
from selvage.verilog.rtlil import Bits, Cell, NetlistModule, dump

_FIRST = ("clk", "rst")  # of the ports; the others follow by name


@dataclass
class Renaming:
    """Plain names of a design, none with RTLIL's first character."""

    modules: dict[str, str] = field(default_factory=dict)  # by name in RTLIL
    wires: dict[str, dict[str, str]] = field(default_factory=dict)  # by module and wire in RTLIL
    cells: dict[str, dict[str, str]] = field(default_factory=dict)  # of instances and memories


def rename(modules: Modules, top: str, prefix: str = "") -> tuple[Renaming, dict[str, NetlistModule]]:
    """Return plain names of all below ``top``, and by plain name the modules that differ, each after those it uses.

    A module equal to an earlier one has the earlier one's name. Foreign cells keep all names of theirs.
    """
    order = _children_first(modules, f"\\{top}")
    meanings: dict[str, dict[str, str]] = {name: {} for name in order}
    for name in reversed(order):
        _name_ports(modules[name], modules, meanings)
    instances = {cell.name[1:] for name in order for cell in modules[name].cells if not cell.kind.startswith("$")}
    inner = Names(name for name in instances if is_plain(name))
    found = Renaming()
    for name in order:
        found.wires[name], found.cells[name] = _plain(modules[name], meanings[name], inner)
    foreign = {cell.kind[1:] for name in order for cell in modules[name].cells if _is_foreign(cell, modules)}
    tops = Names({top, *foreign})
    called = plain_names((f"{prefix}{name[1:]}" for name in order[:-1]), tops)
    seen: dict[str, str] = {}  # name by text
    distinct: dict[str, NetlistModule] = {}
    for name in order:
        found.modules[name] = called[f"{prefix}{name[1:]}"] if name != order[-1] else top
        module = renamed(modules[name], modules, found)
        text = dump([replace(module, name="\\")])
        if text in seen and name != order[-1]:
            found.modules[name] = seen[text]
        else:
            seen[text] = found.modules[name]
            distinct[found.modules[name]] = module
    return found, distinct


def renamed(module: NetlistModule, modules: Modules, names: Renaming) -> NetlistModule:
    """Return a module under its plain names, its ports in the order of theirs.

    What has no name but a number of Yosys' gets one in the order in which it stands: of equal modules the same.
    """
    wires, cells = dict(names.wires[module.name]), names.cells[module.name]
    nameless = (part.wire for bits in module.all_bits() for part in bits if part.wire and part.wire not in wires)
    public = {wire: f"\\{plain}" for wire, plain in wires.items()}
    public |= {wire: f"${number}" for number, wire in enumerate(dict.fromkeys(nameless), 1)}

    def bits(found: Bits) -> Bits:
        return tuple(replace(part, wire=public[part.wire]) if part.wire else part for part in found)

    def cell(number: int, found: Cell) -> Cell:
        ports = found.ports
        if found.kind in modules:
            ports = {f"\\{names.wires[found.kind][port]}": given for port, given in ports.items()}
        kind = f"\\{names.modules[found.kind]}" if found.kind in modules else found.kind
        parameters = dict(found.parameters)
        if found.kind == "$mem_v2":
            parameters["\\MEMID"] = f'"\\\\{cells[_memory(found)]}"'
        name = f"\\{cells[found.name]}" if found.name in cells else f"$cell${number}"
        return Cell(kind, name, parameters, {port: bits(given) for port, given in ports.items()}, found.attributes)

    plain = {public[name]: replace(wire) for name, wire in module.wires.items() if name in public}
    plain = dict(sorted(plain.items(), key=lambda found: natural(found[0])))
    for number, name in enumerate(sorted((name for name, wire in plain.items() if wire.direction), key=_port_order), 1):
        plain[name].port = number
    return NetlistModule(
        f"\\{names.modules[module.name]}",
        module.attributes,
        plain,
        [cell(number, found) for number, found in enumerate(module.cells)],
        [(bits(left), bits(right)) for left, right in module.connections],
    )


def _port_order(name: str) -> tuple[int, list[tuple[int, str]]]:
    plain = name[1:]
    return _FIRST.index(plain) if plain in _FIRST else len(_FIRST), natural(plain)


def _memory(cell: Cell) -> str:
    """Return the name of a memory, as the cell's parameter has it between quotes with its backslash escaped."""
    return cell.parameters["\\MEMID"][1:-1].replace("\\\\", "\\")


def _is_foreign(cell: Cell, modules: Modules) -> bool:
    return not cell.kind.startswith("$") and cell.kind not in modules


def _children_first(modules: Modules, top: str) -> list[str]:
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in modules and name not in order:
            for cell in modules[name].cells:
                visit(cell.kind)
            order[name] = None

    visit(top)
    return list(order)


def _name_ports(module: NetlistModule, modules: Modules, meanings: dict[str, dict[str, str]]) -> None:
    """Name the nameless ports of the modules below after the wire, or its part, that they are joined to.

    Amaranth passes a part of a signal to where it is read by a port of its own, with a number for a name.
    """
    for cell in module.cells:
        if cell.kind not in modules:
            continue
        for port, bits in cell.ports.items():
            joined = [part for part in bits if part.wire]
            if not port.startswith("\\port$") or len(joined) != 1 or not _zeros_above(bits):
                continue
            (part,) = joined
            name = meanings[module.name].get(part.wire, part.wire[1:])
            if part.wire.startswith("$") or name.startswith("port$"):
                continue
            meanings[cell.kind].setdefault(port, f"{name}{module.range_of(part)}")


def _zeros_above(bits: Bits) -> bool:
    return all(not part.wire and "1" not in part.value for part in bits[1:])


def _plain(module: NetlistModule, meanings: Mapping[str, str], inner: Names) -> tuple[dict[str, str], dict[str, str]]:
    """Return plain names of wires, and of instances and memories.

    What is no port has no instance's name: it would hide it from what stands below.
    """
    ports = [name for name, wire in module.wires.items() if wire.direction]
    names = Names()
    found = _named((port for port in ports if port not in meanings), names)
    found |= {port: names.take(meanings[port]) for port in ports if port in meanings}
    names.taken |= inner.taken
    found |= _named((wire for wire in module.wires if wire[0] == "\\" and wire not in found), names)
    memories = _named((_memory(cell) for cell in module.cells if cell.kind == "$mem_v2"), names)
    names.taken -= inner.taken - {plain.lower() for plain in (found | memories).values()} - KEYWORDS
    cells = [cell.name for cell in module.cells if not cell.kind.startswith("$")]
    instances = plain_names((name[1:] for name in cells), names)
    return found, memories | {name: instances[name[1:]] for name in cells}


def _named(wires: Iterable[str], names: Names) -> dict[str, str]:
    """Return plain names by names in RTLIL."""
    raw = {wire[1:]: wire for wire in wires}
    return {raw[name]: plain for name, plain in plain_names(raw, names).items()}
