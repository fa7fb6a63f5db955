"""RTLIL, Yosys' netlist as text: read into modules of wires, cells and connections, and written again.

Grammar: the appendix on RTLIL's text form of Yosys' manual. Processes are none of it: `proc` has turned them into
cells. A bit vector (``Bits``) is a tuple of its parts, the LOWEST first; the text names the highest first.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(r"[{}]|\[\d+(?::\d+)?\]|\d+'[01xzm-]*|-?\d+|[\\$][^ \n]+")
_ATTRIBUTE = re.compile(r" *attribute ([^ ]+) (.*)")
_RANGE = re.compile(r"\[(\d+)(?::(\d+))?\]")


@dataclass(frozen=True)
class Part:
    """Neighbouring bits of a wire, or a constant when ``wire`` is empty."""

    wire: str
    low: int
    width: int
    value: str = ""  # of a constant, the highest bit first

    def __getitem__(self, bits: slice) -> "Part":
        low, high = bits.start, bits.stop
        if self.wire:
            return Part(self.wire, self.low + low, high - low)
        return Part("", 0, high - low, self.value[self.width - high : self.width - low])


Bits = tuple[Part, ...]


@dataclass
class Wire:
    """A wire: ``port`` is its number among the ports, 0 for none."""

    width: int = 1
    direction: str = ""  # input, output, inout, or nothing
    port: int = 0
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def init(self) -> str:
        """The bits that a register starts with, the highest first; empty where it has none."""
        return self.attributes.get("\\init", "").partition("'")[2]


@dataclass
class Cell:
    """A cell, of Yosys' own kinds or an instance: ``kind`` is the module's name."""

    kind: str
    name: str
    parameters: dict[str, str] = field(default_factory=dict)
    ports: dict[str, Bits] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def outputs(self) -> list[str]:
        """Ports that a cell of Yosys' own kinds drives."""
        return [port for port in self.ports if port in _OUTPUTS.get(self.kind, ("\\Y",))]


_OUTPUTS = {
    "$dff": ("\\Q",),
    "$sdff": ("\\Q",),
    "$mem_v2": ("\\RD_DATA",),
    "$check": (),
    "$print": (),
}


@dataclass
class NetlistModule:
    """A module as RTLIL has it; names with their first character, a backslash or a dollar."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    wires: dict[str, Wire] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    connections: list[tuple[Bits, Bits]] = field(default_factory=list)

    def all_bits(self) -> Iterator[Bits]:
        """Yield every bit vector: of the cells' ports, then both sides of the connections."""
        for cell in self.cells:
            yield from cell.ports.values()
        for sides in self.connections:
            yield from sides

    def range_of(self, part: Part) -> str:
        """Return the end of a name for a part of a wire, as ``_7_4``; empty for the whole."""
        if part.width == self.wires[part.wire].width:
            return ""
        return f"_{part.low}" if part.width == 1 else f"_{part.low + part.width - 1}_{part.low}"

    def whole(self, name: str) -> Bits:
        """Return all bits of a wire."""
        return (Part(name, 0, self.wires[name].width),)

    def add_wire(self, name: str, width: int) -> str:
        """Add a wire, of another name where this is taken; return its name."""
        found, number = name, 0
        while found in self.wires:
            number += 1
            found = f"{name}${number}"
        self.wires[found] = Wire(width)
        return found


def width_of(bits: Bits) -> int:
    """Return the number of bits."""
    return sum(part.width for part in bits)


def cut(bits: Bits, low: int, width: int) -> Bits:
    """Return ``width`` bits from bit ``low`` on."""
    found, at = [], 0
    for part in bits:
        first, last = max(low - at, 0), min(low + width - at, part.width)
        if first < last:
            found.append(part[first:last])
        at += part.width
    return tuple(found)


def joined(parts: Iterable[Part]) -> Bits:
    """Return bits with neighbours of a wire, and neighbouring constants, as one part."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if last and part.wire == last.wire and (not part.wire or part.low == last.low + last.width):
            found[-1] = Part(part.wire, last.low, last.width + part.width, part.value + last.value)
        else:
            found.append(part)
    return tuple(found)


def parse(text: str) -> dict[str, NetlistModule]:
    """Return the modules of an RTLIL text by their names in it, in its order."""
    modules: dict[str, NetlistModule] = {}
    lines = iter(text.split("\n"))
    attributes: dict[str, str] = {}
    for line in lines:
        if found := _ATTRIBUTE.match(line):
            attributes[found[1]] = found[2]
        elif line.startswith("module "):
            name = line.split(" ", 1)[1]
            modules[name] = _module(name, attributes, lines)
            attributes = {}
    return modules


def _module(name: str, attributes: dict[str, str], lines: Iterator[str]) -> NetlistModule:
    module = NetlistModule(name, attributes)
    attributes = {}
    for line in lines:
        if line == "end":
            break
        if found := _ATTRIBUTE.match(line):
            attributes[found[1]] = found[2]
            continue
        word, _, rest = line.strip().partition(" ")
        if word == "wire":
            *options, wire = rest.split(" ")
            module.wires[wire] = _wire(options, attributes)
        elif word == "cell":
            kind, cell = rest.split(" ")
            module.cells.append(_cell(Cell(kind, cell, attributes=attributes), module, lines))
        elif word == "connect":
            left, right = _sides(rest)
            module.connections.append((_bits(left, module.wires), _bits(right, module.wires)))
        else:
            raise ValueError(f"RTLIL of module {name} has a line that is not understood: {line.strip()}")
        attributes = {}
    return module


def _wire(options: list[str], attributes: dict[str, str]) -> Wire:
    """Return the wire that ``options`` describe. That it is signed means nothing: cells say how they read it."""
    wire = Wire(attributes=attributes)
    words = iter(options)
    for word in words:
        if word == "width":
            wire.width = int(next(words))
        elif word in ("input", "output", "inout"):
            wire.direction, wire.port = word, int(next(words))
        elif word != "signed":
            raise ValueError(f"RTLIL has a wire with {word}, which is not understood")
    return wire


def _cell(cell: Cell, module: NetlistModule, lines: Iterator[str]) -> Cell:
    """Read a cell up to its end; Yosys writes it after all wires."""
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "end":
            return cell
        name, _, value = rest.partition(" ")
        if word == "parameter":
            while name in ("signed", "real"):
                kind, (name, _, value) = name, value.partition(" ")
                name = f"{kind} {name}"
            cell.parameters[name] = value
        else:
            cell.ports[name] = _bits(value, module.wires)
    raise ValueError(f"RTLIL ends within cell {cell.name}")


def _sides(text: str) -> tuple[str, str]:
    """Return both sides of a connection."""
    if text.startswith("{"):
        end = text.index("}") + 1
        return text[:end], text[end:]
    found = re.match(r"\S+(?: \[[\d:]+\])?", text)
    assert found, "a connection has a left side"
    return found[0], text[found.end() :]


def _bits(text: str, wires: dict[str, Wire]) -> Bits:
    """Return the bit vector of a text."""
    parts: list[Part] = []
    for token in _TOKEN.findall(text):
        if token[0] in "{}":
            continue
        if token[0] == "[":
            high, low = _RANGE.fullmatch(token).groups()  # pyright: ignore[reportOptionalMemberAccess]
            first = int(low or high)
            parts[-1] = parts[-1][first : int(high) + 1]
        elif token[0] in "\\$":
            parts.append(Part(token, 0, wires[token].width))
        else:
            size, quote, value = token.partition("'")
            width = int(size) if quote else 32
            value = value if quote else f"{int(size) & 2**32 - 1:032b}"
            parts.append(Part("", 0, width, value))
    return tuple(part for part in reversed(parts) if part.width)


def dump(modules: Iterable[NetlistModule]) -> str:
    """Return the text of modules as Yosys reads it."""
    return "".join(_dumped(module) for module in modules)


def _dumped(module: NetlistModule) -> str:
    lines = [*_attributes("", module.attributes), f"module {module.name}"]
    for name, wire in module.wires.items():
        width = f"width {wire.width} " if wire.width != 1 else ""
        port = f"{wire.direction} {wire.port} " if wire.direction else ""
        lines += [*_attributes("  ", wire.attributes), f"  wire {width}{port}{name}"]
    for cell in module.cells:
        lines += [*_attributes("  ", cell.attributes), f"  cell {cell.kind} {cell.name}"]
        lines += [f"    parameter {name} {value}" for name, value in cell.parameters.items()]
        lines += [f"    connect {port} {_written(bits, module)}" for port, bits in cell.ports.items()]
        lines.append("  end")
    lines += [f"  connect {_written(left, module)} {_written(right, module)}" for left, right in module.connections]
    return "\n".join([*lines, "end\n"])


def _attributes(indent: str, attributes: dict[str, str]) -> list[str]:
    return [f"{indent}attribute {name} {value}" for name, value in attributes.items()]


def _written(bits: Bits, module: NetlistModule) -> str:
    """Return the text of a bit vector."""
    texts = []
    for part in reversed(bits):
        if not part.wire:
            texts.append(f"{part.width}'{part.value}")
        elif part.width == module.wires[part.wire].width:
            texts.append(part.wire)
        elif part.width == 1:
            texts.append(f"{part.wire} [{part.low}]")
        else:
            texts.append(f"{part.wire} [{part.low + part.width - 1}:{part.low}]")
    return texts[0] if len(texts) == 1 else f"{{ {' '.join(texts)} }}"
