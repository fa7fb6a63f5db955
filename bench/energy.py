"""Energy of a netlist from what its nets did in a simulation.

    E = sum over input pins  [ (rises + falls) * (C_pin + C_wire) * V^2 / 2 + rises * e_rise + falls * e_fall ]
      + sum over output pins [ rises * e_rise(load) + falls * e_fall(load) ]  +  leakage * time

C_pin, e and leakage are the Liberty file's (``capacitance``; ``internal_power``, pJ of one transition, which by the
format's definition leaves out the load; ``cell_leakage_power``). Half of C V^2 counts for each transition, for the
supply gives C V^2 to charge a net and nothing to discharge it. A net's load is the sum of its pins and wires. Each
pin's share counts for the cell that it belongs to, so the clock counts where its flip-flops are. Assumed, not known
before layout: ``WIRE_LENGTH`` of metal 2 a pin, its capacitance from the OSU LEF (``LAYER metal2``: area and both
edges), one ``SLEW`` at all pins, no clock tree.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bench.liberty import CellLibrary
from bench.netlist import Instance

WIRE_LENGTH = 50.0  # um a pin
WIRE = (0.3 * 1.9e-5 + 2 * 6.0e-5) * WIRE_LENGTH  # pF a pin: 0.3 um wide, pF/um2, and two edges, pF/um
SLEW = 0.12  # ns
UNITS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0, "ps": 1e-3, "fs": 1e-6}  # in ns
PICO = 1e-6  # pJ: nW * ns = 1e-18 J


@dataclass
class Activity:
    """Transitions of each net, bits of vectors by themselves; from and to unknown is none."""

    rises: dict[str, int] = field(default_factory=dict)
    falls: dict[str, int] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)  # values at the end, most significant bit first
    nanoseconds: float = 0.0

    def of(self, net: str) -> tuple[int, int]:
        return self.rises.get(net, 0), self.falls.get(net, 0)


@dataclass
class Energy:
    """pJ of one part. ``clock``: of the clock's transitions alone."""

    clock: float = 0.0
    data: float = 0.0
    leakage: float = 0.0

    @property
    def total(self) -> float:
        return self.clock + self.data + self.leakage

    def __add__(self, other: "Energy") -> "Energy":
        return Energy(self.clock + other.clock, self.data + other.data, self.leakage + other.leakage)


@dataclass
class _Variable:
    """What stands behind one of a dump's codes; aliases of a net share it."""

    names: list[str]
    width: int
    low: int = 0
    state: str = "x"
    rises: list[int] = field(default_factory=list)  # by bit, most significant first
    falls: list[int] = field(default_factory=list)

    def becomes(self, value: str) -> None:
        """A new value; zeros on the left are left out in a dump."""
        value = value.rjust(self.width, value[0] if value[0] in "xz" else "0")
        for bit, (old, new) in enumerate(zip(self.state, value, strict=True)):
            if old == "0" and new == "1":
                self.rises[bit] += 1
            elif old == "1" and new == "0":
                self.falls[bit] += 1
        self.state = value


def activity(lines: Iterable[str]) -> Activity:
    """Transitions in a value change dump (IEEE 1364, section 18), in one pass: the file is never held.

    Nets are named as in their own module, whatever the scope: a dump of one flat netlist. A reader of our own, for
    libraries keep every change with its time, and this needs two sums a net.
    """
    lines = iter(lines)
    unit, variables = _header(lines)
    state = dict.fromkeys(variables, "x")
    rises, falls = dict.fromkeys(variables, 0), dict.fromkeys(variables, 0)
    first, now = None, 0
    for line in lines:
        sign, code = line[0], line[1:].rstrip()
        if sign == "1":
            if state[code] == "0":
                rises[code] += 1
            state[code] = "1"
        elif sign == "0":
            if state[code] == "1":
                falls[code] += 1
            state[code] = "0"
        elif sign in "xz":
            state[code] = "x"
        elif sign == "b":
            value, code = code.split()
            variables[code].becomes(value)
        elif sign == "#":
            now = int(code)
            first = now if first is None else first
    for code, own in variables.items():
        if own.width == 1:
            own.state, own.rises, own.falls = state[code], [rises[code]], [falls[code]]
    return _sums(variables.values(), (now - (first or 0)) * unit)


def _header(lines: Iterable[str]) -> tuple[float, dict[str, _Variable]]:
    """Nanoseconds of a step, and variables by their codes. ValueError: there is no end to it."""
    words, unit, variables = [], 1.0, {}
    for line in lines:
        words += line.split()
        if not words or words[-1] != "$end":
            continue
        if words[0] == "$timescale":
            digits, letters = re.fullmatch(r"(\d+)([a-z]+)", "".join(words[1:-1])).groups()
            unit = int(digits) * UNITS[letters]
        elif words[0] == "$var":
            width, code, name = int(words[2]), words[3], words[4].removeprefix("\\")
            low = int(words[5].strip("[]").split(":")[-1]) if len(words) > 6 else 0
            none = [0] * width
            variables.setdefault(code, _Variable([], width, low, "x" * width, none, none[:])).names.append(name)
        elif words[0] == "$enddefinitions":
            return unit, variables
        words = []
    raise ValueError("a value change dump without $enddefinitions")


def _sums(variables: Iterable[_Variable], nanoseconds: float) -> Activity:
    found = Activity(nanoseconds=nanoseconds)
    for own in variables:
        for name in own.names:
            found.last[name] = own.state
            for index in range(own.width):
                bit = own.width - 1 - index
                net = f"{name}[{own.low + bit}]" if own.width > 1 else name
                found.rises[net], found.falls[net] = own.rises[index], own.falls[index]
    return found


def loads(cells: Iterable[Instance], library: CellLibrary, wire: float = WIRE) -> dict[str, float]:
    """pF of each net: the pins that read it and their wires."""
    found: dict[str, float] = {}
    for own in cells:
        for name, pin in library.cells[own.kind].pins.items():
            if not pin.output and name in own.pins:
                found[own.pins[name]] = found.get(own.pins[name], 0.0) + pin.capacitance + wire
    return found


def energy(
    cells: Iterable[Instance],
    moved: Activity,
    library: CellLibrary,
    *,
    clock: str = "clk",
    wire: float = WIRE,
    slew: float = SLEW,
) -> dict[str, Energy]:
    """By the path of the cells (their names up to the last dot)."""
    cells = list(cells)
    load, found = loads(cells, library, wire), {}
    half = library.voltage**2 / 2
    for own in cells:
        cell = library.cells[own.kind]
        part = found.setdefault(own.name.rpartition(".")[0], Energy())
        part.leakage += cell.leakage * moved.nanoseconds * PICO
        for name, pin in cell.pins.items():
            net = own.pins.get(name, "")
            rises, falls = moved.of(net)
            if not rises + falls:
                continue
            up, down = pin.energy(load.get(net, 0.0), slew)
            drawn = rises * up + falls * down
            if not pin.output:
                drawn += (rises + falls) * (pin.capacitance + wire) * half
            if net == clock:
                part.clock += drawn
            else:
                part.data += drawn
    return found


def grouped(parts: Mapping[str, Energy], kinds: Mapping[str, str]) -> dict[str, Energy]:
    """Energies by module, for energies by path and the module of each path."""
    found: dict[str, Energy] = {}
    for path, own in parts.items():
        found[kinds[path]] = found.get(kinds[path], Energy()) + own
    return found
