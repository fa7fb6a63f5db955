"""The files of a network's bus shell: its modules, register views, and the images of its cells and tables."""

import json
from collections.abc import Iterable

from hw.modules import convert_modules
from hw.network import NetworkParameters
from hw.programming import cell_image, table_image
from hw.registers import register_views
from hw.shell import Shell, ShellParameters
from selvage.compile_network import CompiledNetwork, NetworkOptions
from selvage.run_network import check_fits
from selvage.verilog_bundle import generator
from spec.errors import InputError

BUSES = ("axi", "wishbone")


def check_bus(bus: str | None) -> None:
    """`InputError` for a bus that there is no shell for."""
    if bus is not None and bus not in BUSES:
        raise InputError(f"--bus {bus!r} is none of {', '.join(BUSES)}")


def shell_files(compiled: CompiledNetwork, options: NetworkOptions, bus: str) -> dict[str, bytes]:
    """The shell of a network, by path. The same bytes for the same input.

    ``shell.f`` lists the modules in ``rtl/``, ``shell`` the last; ``registers/`` has the SystemRDL source, C headers
    and HTML pages; ``cells.hex`` and ``tables.hex`` the words that a host loads (`hw.programming.cell_image`,
    `table_image`), ``tables.json`` the addresses of the latter. `InputError`: the chip does not hold the network at
    once.
    """
    check_fits(compiled)
    p = ShellParameters(NetworkParameters(compiled.plan, skip=options.skip, constants="loaded"), bus)
    shell = Shell(p)
    modules = convert_modules(shell, "shell", shell.modules, generator=generator())
    image = cell_image(p.programming, (array.cells.tolist() for array in compiled.plan.arrays))
    contents = {f"rtl/{module.name}.v": module.text.encode() for module in modules}
    contents["shell.f"] = _lines(f"rtl/{module.name}.v" for module in modules)
    contents["cells.hex"] = _lines(f"{word:08x}" for word in image)
    if p.programming.tables:
        contents["tables.hex"] = _lines(f"{word:08x}" for word in table_image(p.programming, p.network.table))
        contents["tables.json"] = (json.dumps(tables_json(p.network), indent=1) + "\n").encode()
    contents |= {f"registers/{name}": content for name, content in register_views(p.registers).items()}
    return {f"shell/{name}": content for name, content in contents.items()}


def tables_json(p: NetworkParameters) -> dict:
    """Where in the tables each constant of each stage lies: words from the first behind the header of an image."""
    stages = {
        part.stage: {
            own.name: {"address": part.base + own.address, "step": own.step, "count": own.count} for own in part.fields
        }
        for part in p.tables
    }
    return {"design": f"{p.design:08x}", "words": len(p.table), "stages": stages}


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
