"""Standard cells of a Liberty file: areas, pin capacitances, internal energies. The OSU 180 nm cells that Debian packs.

A reader of our own, for the one on PyPI (``liberty-parser``) is under the GPL and this needs five attributes.
Units are those of the OSU file: um2, pF, V, ns, nW; energies are pF * V^2 = pJ for a transition.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

OSU = Path("/usr/share/qflow/tech/osu018")  # where Debian's qflow-tech-osu018 puts it
PACKAGE = "qflow-tech-osu018"
LIBERTY, MODELS = "osu018_stdcells.lib", "osu018_stdcells.v"

TOKEN = re.compile(r'"([^"]*)"|([^\s(){};:,"]+)|([(){};:,])')
NOISE = re.compile(r"/\*.*?\*/|\\\r?\n", re.DOTALL)


@dataclass
class Group:
    """A Liberty group: ``kind (names) { attributes, groups }``."""

    kind: str
    names: tuple[str, ...] = ()
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    groups: list["Group"] = field(default_factory=list)

    def number(self, name: str, default: float = 0.0) -> float:
        return float(self.attributes[name][0]) if name in self.attributes else default

    def of(self, kind: str) -> list["Group"]:
        return [group for group in self.groups if group.kind == kind]


@dataclass(frozen=True)
class Table:
    """Energies by one or two axes: of an output, load in pF and slew in ns; of an input, slew alone."""

    loads: tuple[float, ...]  # empty: of an input
    slews: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]  # by load, then slew

    def at(self, load: float, slew: float) -> float:
        """Linear between the points, the nearest point beyond them."""
        low, share = _place(self.slews, slew)
        rows = [row[low] + share * (row[min(low + 1, len(row) - 1)] - row[low]) for row in self.values]
        if not self.loads:
            return rows[0]
        low, share = _place(self.loads, load)
        return rows[low] + share * (rows[min(low + 1, len(rows) - 1)] - rows[low])


def _place(axis: tuple[float, ...], value: float) -> tuple[int, float]:
    """Index of the point before ``value``, and how far it is on the way to the next."""
    if value <= axis[0] or len(axis) == 1:
        return 0, 0.0
    if value >= axis[-1]:
        return len(axis) - 1, 0.0
    low = bisect_right(axis, value) - 1
    return low, (value - axis[low]) / (axis[low + 1] - axis[low])


@dataclass(frozen=True)
class Pin:
    """``energies``: of the pin's rise and fall, a pair of tables for each `internal_power`; their mean counts."""

    output: bool
    capacitance: float  # pF
    energies: tuple[tuple[Table, Table], ...]

    def energy(self, load: float, slew: float) -> tuple[float, float]:
        """pJ that the cell itself takes when the pin rises and when it falls."""
        if not self.energies:
            return 0.0, 0.0
        rise, fall = zip(*((up.at(load, slew), down.at(load, slew)) for up, down in self.energies), strict=True)
        return sum(rise) / len(rise), sum(fall) / len(fall)


@dataclass(frozen=True)
class Cell:
    name: str
    area: float  # um2
    leakage: float  # nW
    flip_flop: bool
    pins: dict[str, Pin]


@dataclass(frozen=True)
class CellLibrary:
    voltage: float
    cells: dict[str, Cell]
    folder: Path = OSU

    @property
    def gate(self) -> float:
        """um2 of the gate that gate equivalents are counted in, a NAND of two inputs."""
        return self.cells["NAND2X1"].area

    @property
    def liberty(self) -> Path:
        return self.folder / LIBERTY

    @property
    def models(self) -> Path:
        return self.folder / MODELS


def load_cells(folder: Path = OSU) -> CellLibrary:
    """The OSU cells. FileNotFoundError: the package is not installed."""
    return cell_library(parse((folder / LIBERTY).read_text()), folder)


def cell_library(library: Group, folder: Path = OSU) -> CellLibrary:
    found = {cell.names[0]: _cell(cell) for cell in library.of("cell")}
    return CellLibrary(library.number("nom_voltage"), found, folder)


def _cell(group: Group) -> Cell:
    pins = {pin.names[0]: _pin(pin) for pin in group.of("pin")}
    return Cell(group.names[0], group.number("area"), group.number("cell_leakage_power"), bool(group.of("ff")), pins)


def _pin(group: Group) -> Pin:
    energies = []
    for power in group.of("internal_power"):
        sides = [power.of(side) for side in ("rise_power", "fall_power")]
        if all(sides):
            energies.append((_table(sides[0][0]), _table(sides[1][0])))
    output = group.attributes["direction"][0] == "output"
    return Pin(output, group.number("capacitance"), tuple(energies))


def _table(group: Group) -> Table:
    axes = [_numbers(group.attributes[name][0]) for name in ("index_1", "index_2") if name in group.attributes]
    rows = tuple(_numbers(row) for row in group.attributes["values"])
    return Table(axes[0], axes[1], rows) if len(axes) == 2 else Table((), axes[0], rows)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.replace(",", " ").split())


def parse(text: str) -> Group:
    """The outermost group of a Liberty file. ValueError: it is none."""
    tokens = (match.group(0) for match in TOKEN.finditer(NOISE.sub(" ", text)))
    top = Group("")
    _fill(top, tokens)
    if len(top.groups) != 1:
        raise ValueError(f"a Liberty file has one outermost group, found {len(top.groups)}")
    return top.groups[0]


def _fill(group: Group, tokens: Iterator[str]) -> None:
    """Read statements into ``group`` up to its closing brace."""
    for token in tokens:
        if token == "}":
            return
        if token == ";":
            continue
        follows = next(tokens, "")
        if follows == ":":
            group.attributes[token] = tuple(_until(tokens, ";"))
        elif follows == "(":
            _call(group, token, tuple(_until(tokens, ")")), tokens)
        else:
            raise ValueError(f"{token!r} is followed by {follows!r} in a Liberty file, neither ':' nor '('")


def _call(group: Group, name: str, arguments: tuple[str, ...], tokens: Iterator[str]) -> None:
    """``name (arguments)``: a group when a brace follows, else an attribute of several values."""
    if (follows := next(tokens, ";")) == "{":
        inner = Group(name, arguments)
        group.groups.append(inner)
        _fill(inner, tokens)
    elif follows == ";":
        group.attributes[name] = arguments
    else:
        raise ValueError(f"{name!r} is followed by {follows!r} in a Liberty file, neither '{{' nor ';'")


def _until(tokens: Iterator[str], end: str) -> Iterator[str]:
    """Values up to ``end``, without commas and quotes."""
    for token in tokens:
        if token == end:
            return
        if token != ",":
            yield token.strip('"')
