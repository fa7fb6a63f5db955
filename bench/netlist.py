"""A design in standard cells: Yosys maps it, OpenSTA times it, and its Verilog is read back.

Each memory becomes flip-flops in a module of its own, ``<module>_memory``: the library has no RAM, the netlist stays
whole, and what the memories cost stands apart. There are two netlists of the same cells: by modules, and flat, whose
names hold the path (``engine_0.walker._12_``).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.liberty import CellLibrary
from bench.synth import run

MEMORY = "_memory"  # ends the modules made of memories
PERIOD = 5.0  # ns that buffers and sizes are chosen for
FANOUT = 12  # most sinks of a gate

# As Yosys maps with a constraint, but inputs (so flip-flops, too) get buffers (-p): else a select line that drives a
# thousand flip-flops decides the clock. The clock net alone has no buffers: its tree is a matter of layout.
ABC = f"""\
strash
ifraig
scorr
dc2
strash
&get -n
&dch -f
&nf {{D}}
&put
buffer -p -N {FANOUT}
topo
upsize {{D}}
dnsize {{D}}
"""
CONSTRAINTS = "set_driving_cell BUFX2\nset_load 0.05\n"  # pF; of a module's ports

# `splitnets` and `insbuf` for OpenSTA, which reads neither concatenations nor assignments between ports.
MAP = """\
read_verilog {files}
hierarchy -check -top {top}
synth -top {top} -run begin:fine
setattr -set submod "memory" t:$mem_v2
submod
synth -top {top} -run fine:check
dfflibmap -liberty {liberty}
opt
abc -liberty {liberty} -script gates.abc -constr gates.constraints -D {picoseconds}
splitnets
opt_clean -purge
insbuf -buf BUFX2 A Y
rename -enumerate
write_verilog -noattr {top}_modules.v
"""
FLATTEN = """\
flatten
opt_clean -purge
splitnets
opt_clean -purge
write_verilog -noattr {top}_flat.v
"""

TIME = """\
read_liberty {liberty}
read_verilog {file}
link_design {top}
create_clock -name clk -period 10 [get_ports clk]
set inputs [list]
foreach port [all_inputs] {{ if {{[get_property $port full_name] ne "clk"}} {{ lappend inputs $port }} }}
set_input_delay 0 -clock clk $inputs
set_output_delay 0 -clock clk [all_outputs]
report_checks -path_delay max -format full -digits 4
exit
"""

NAME = r"(?:\\\S+|[A-Za-z_][\w$]*)"
MODULE = re.compile(rf"^module ({NAME})\s*\(.*?^endmodule", re.MULTILINE | re.DOTALL)
INSTANCE = re.compile(rf"^  ({NAME}) ({NAME}) +\(\n(.*?)^  \);", re.MULTILINE | re.DOTALL)
CONNECTION = re.compile(rf"^    \.({NAME}) ?\((.*)\),?$", re.MULTILINE)


@dataclass(frozen=True)
class Instance:
    """A cell or a module in a module; ``pins``: its nets, a bit of a vector as ``name[3]``."""

    kind: str
    name: str
    pins: Mapping[str, str]


@dataclass(frozen=True)
class Module:
    name: str
    instances: tuple[Instance, ...]

    @cached_property
    def kinds(self) -> Counter[str]:
        """How many instances of each cell and module."""
        return Counter(own.kind for own in self.instances)

    @cached_property
    def by_name(self) -> dict[str, Instance]:
        return {own.name: own for own in self.instances}


@dataclass(frozen=True)
class CriticalPath:
    """The longest path, named by the registers' nets where it starts and ends in registers, else by ports."""

    nanoseconds: float  # the setup time of the register at its end included
    start: str
    end: str


@dataclass(frozen=True)
class Size:
    """Of a module's own cells, those of what it instantiates left out."""

    area: float  # um2
    gates: float  # NAND2X1
    cells: int
    flip_flops: int


def modules(text: str) -> dict[str, Module]:
    """Modules of a netlist that Yosys wrote."""
    found = {}
    for match in MODULE.finditer(text):
        instances = tuple(
            Instance(plain(kind), plain(name), {plain(pin): plain(net) for pin, net in CONNECTION.findall(pins)})
            for kind, name, pins in INSTANCE.findall(match[0])
        )
        found[plain(match[1])] = Module(plain(match[1]), instances)
    return found


def plain(name: str) -> str:
    """A name, or a bit of a vector, without the backslash and the blank of an escaped name."""
    return name.strip().removeprefix("\\").replace(" ", "")


def map_design(files: Iterable[Path], top: str, library: CellLibrary, where: Path, *, flat: bool = False) -> None:
    """Write ``top`` in cells to ``<top>_modules.v``, ``flat`` also to ``<top>_flat.v``. RuntimeError: Yosys failed."""
    where.mkdir(parents=True, exist_ok=True)
    (where / "gates.abc").write_text(ABC)
    (where / "gates.constraints").write_text(CONSTRAINTS)
    paths = " ".join(str(path.resolve()) for path in files)
    script = (MAP + FLATTEN if flat else MAP).format(
        files=paths, top=top, liberty=library.liberty, picoseconds=round(1000 * PERIOD)
    )
    (where / f"{top}.ys").write_text(script)
    run("yosys", "-q", "-s", f"{top}.ys", where=where)


def size(module: Module, library: CellLibrary) -> Size:
    own = {kind: count for kind, count in module.kinds.items() if kind in library.cells}
    area = sum(count * library.cells[kind].area for kind, count in own.items())
    flip_flops = sum(count for kind, count in own.items() if library.cells[kind].flip_flop)
    return Size(area, area / library.gate, sum(own.values()), flip_flops)


def places(found: Mapping[str, Module], top: str, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, module) of ``top`` and all below it; the path of ``top`` is empty."""
    yield path, top
    for own in found[top].instances:
        if own.kind in found:
            yield from places(found, own.kind, f"{path}.{own.name}" if path else own.name)


def critical_path(found: Mapping[str, Module], top: str, file: str, library: CellLibrary, where: Path) -> CriticalPath:
    """Longest path of module ``top`` of a netlist by modules: ports switch with the clock's edge.

    Cells drive the pins they drive, wires weigh nothing (the library has no wire loads), the clock is ideal.
    """
    script = where / f"{top}.tcl"
    script.write_text(TIME.format(liberty=library.liberty, file=file, top=top))
    return read_path(found, top, run("sta", "-no_splash", "-exit", script.name, where=where), library)


def read_path(found: Mapping[str, Module], top: str, log: str, library: CellLibrary) -> CriticalPath:
    """The path that OpenSTA reports. RuntimeError: none, or not of the whole netlist."""
    if trouble := re.search(r"^(Error: .*|.*Creating black box.*)", log, re.MULTILINE):
        raise RuntimeError(f"OpenSTA on {top}: {trouble[1]}")
    ends = [re.search(rf"^{what}: (\S+)", log, re.MULTILINE) for what in ("Startpoint", "Endpoint")]
    arrival = re.search(r"^ +([\d.]+) +data arrival time", log, re.MULTILINE)
    setup = re.search(r"^ +(-?[\d.]+) +[\d.]+ +library setup time", log, re.MULTILINE)
    if arrival is None or None in ends:
        raise RuntimeError(f"OpenSTA found no path in {top}:\n{log[-2000:]}")
    total = float(arrival[1]) - (float(setup[1]) if setup else 0.0)
    start, end = (register(found, top, own[1], library) for own in ends)
    return CriticalPath(round(total, 4), start, end)


def register(found: Mapping[str, Module], top: str, pin: str, library: CellLibrary) -> str:
    """A register's net (its path before it) for the path of its flip-flop; a port is what it is."""
    *path, name = pin.replace("\\", "").split("/")
    for step in path:
        top = found[top].by_name[step].kind
    own = found[top].by_name.get(name)
    if own is None or own.kind not in library.cells:
        return pin
    net = next(own.pins[pin] for pin, what in library.cells[own.kind].pins.items() if what.output)
    return "/".join([*path, net])
