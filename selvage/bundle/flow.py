"""Files for tools: file lists, FuseSoC, Yosys, LibreLane, constraints."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selvage.hw.macro.macro_views import Macro

CELLS = "macro/cells_{}.hex"
TIMESCALE = "`timescale 1ns / 1ps\n"
# Of Verilator's warnings: file names, fields of a stream that a module does not look at, and widths, which Yosys leaves
# to Verilog's rules.
WAIVED = ("DECLFILENAME", "UNUSEDSIGNAL", "WIDTH")


@dataclass(frozen=True)
class Design:
    """The design that the files describe.

    ``rtl``: files with children first; ``crossbars``: where each stands below the top.
    """

    name: str  # of the top
    rtl: tuple[str, ...]
    macro: Macro | None  # what every crossbar is an instance of; None without crossbars
    crossbars: tuple[str, ...]
    generator: str  # name and version
    inputs: tuple[str, ...] = ()  # data files that the self-test reads
    clock_period: float = 10.0  # ns

    @property
    def version(self) -> str:
        """Version of the generator."""
        return self.generator.partition(" ")[2] or "0"

    def views(self, ending: str) -> list[str]:
        """Return the file of the macro, if there is one."""
        return [f"macro/{self.macro.name}{ending}"] if self.macro else []

    @property
    def cells(self) -> list[str]:
        """The file of each crossbar's cells; none of those that a host programs."""
        if self.macro is None or self.macro.programmable:
            return []
        return [CELLS.format(k) for k in range(len(self.crossbars))]


def flow_files(design: Design) -> dict[str, str]:
    """Return the files that tools read, by path."""
    return file_lists(design) | {
        "synth.ys": yosys_script(design),
        "constraints.sdc": constraints(design),
        "config.yaml": librelane(design),
        f"{design.name}.core": fusesoc(design),
    }


def file_lists(design: Design) -> dict[str, str]:
    """Return ``rtl.f``, the design around black boxes, and ``selftest.f``, with models and the bench."""
    rtl = [*design.views("_stub.v"), *design.rtl]
    # The bench first: Verilator calls its program after the first file.
    test = ["selftest/selftest.v", *design.views(".v"), *design.rtl]
    return {"rtl.f": "\n".join(rtl) + "\n", "selftest.f": "\n".join(test) + "\n"}


def timed(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files with a time scale before all Verilog: tools warn where only some modules have one."""
    scale = TIMESCALE.encode()
    return {path: scale + content if path.endswith(".v") else content for path, content in contents.items()}


def yosys_script(design: Design) -> str:
    """Return a script of generic synthesis, in which the macros stay what they are."""
    macros = "".join(f"read_liberty -lib {path}\n" for path in design.views(".lib"))
    read = "".join(f"read_verilog {path}\n" for path in design.rtl)
    return (
        f"# yosys -s synth.ys\n{macros}{read}hierarchy -check -top {design.name}\nproc\ncheck -assert\n"
        f"synth -top {design.name}\ncheck -assert\nstat\n"
    )


def constraints(design: Design) -> str:
    """Return constraints in SDC: one clock, a fifth of its period outside at every pin."""
    period, share = design.clock_period, 0.2 * design.clock_period
    return (
        f"create_clock -name clk -period {period:.3f} [get_ports clk]\n"
        "set_clock_uncertainty 0.25 [get_clocks clk]\nset_clock_transition 0.15 [get_clocks clk]\n"
        "set outside [list]\n"
        'foreach port [all_inputs] { if {[get_property $port full_name] ne "clk"} { lappend outside $port } }\n'
        f"set_input_delay {share:.3f} -clock clk $outside\n"
        f"set_output_delay {share:.3f} -clock clk [all_outputs]\n"
    )


def librelane(design: Design) -> str:
    """Return config.yaml, with the macros on a grid in the middle of the die."""
    files = "".join(f"  - dir::{path}\n" for path in design.rtl)
    spots, die = _floorplan(design)
    macros = ""
    if macro := design.macro:
        base, by = f"dir::macro/{macro.name}", macro.physics
        instances = "".join(
            f"      {place}:\n        location: [{x:.2f}, {y:.2f}]\n        orientation: N\n"
            for (x, y), place in zip(spots, design.crossbars, strict=True)
        )
        power = "".join(f'  - "{place} {by.power} {by.ground} {by.power} {by.ground}"\n' for place in design.crossbars)
        macros = (
            f"MACROS:\n  {macro.name}:\n    gds: [{base}.gds]\n    lef: [{base}.lef]\n    vh: [{base}_stub.v]\n"
            f'    lib:\n      "*": [{base}.lib]\n    instances:\n{instances}PDN_MACRO_CONNECTIONS:\n{power}'
        )
    return (
        f"meta:\n  version: 2\n  flow: Classic\nDESIGN_NAME: {design.name}\nVERILOG_FILES:\n{files}"
        f"CLOCK_PORT: clk\nCLOCK_PERIOD: {design.clock_period:.1f}\n"
        "PNR_SDC_FILE: dir::constraints.sdc\nSIGNOFF_SDC_FILE: dir::constraints.sdc\n"
        f"FP_SIZING: absolute\nDIE_AREA: [0, 0, {die[0]:.2f}, {die[1]:.2f}]\n{macros}"
    )


def _floorplan(design: Design) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """Return corners of the macros and the size of a die, in micrometres, with room for logic around them."""
    if design.macro is None:
        return [], (1000.0, 1000.0)
    (width, height), count = design.macro.size, len(design.crossbars)
    across = math.ceil(math.sqrt(count))
    gap = max(40.0, 0.4 * max(width, height))
    margin = max(200.0, gap)
    spots = [(margin + k % across * (width + gap), margin + k // across * (height + gap)) for k in range(count)]
    down = -(-count // across)
    return spots, (2 * margin + across * (width + gap) - gap, 2 * margin + down * (height + gap) - gap)


def fusesoc(design: Design) -> str:
    """Return a CAPI2 core with the targets lint, sim and synth."""
    data = "".join(
        f"      - {path}: {{file_type: user, copyto: {path}}}\n"
        for path in dict.fromkeys([*design.cells, *design.inputs])
    )

    def files(names: Sequence[str]) -> str:
        return "".join(f"      - {name}\n" for name in names)

    return f"""\
CAPI=2:
name: selvage:generated:{design.name}:{design.version}
description: {design.name}, the periphery of ReRAM crossbars with the macros
filesets:
  rtl:
    files:
{files(design.rtl)}    file_type: verilogSource-2005
  stub:
    files:
{files(design.views("_stub.v"))}    file_type: verilogSource-2005
  model:
    files:
{files(design.views(".v"))}    file_type: verilogSource-2005
  selftest:
    files:
      - selftest/selftest.v: {{file_type: verilogSource-2005}}
{data}  timing:
    files:
      - constraints.sdc: {{file_type: SDC}}
targets:
  default: &default
    filesets: [stub, rtl, timing]
    toplevel: {design.name}
    default_tool: verilator
    tools: &linted
      verilator:
        mode: lint-only
        verilator_options: [-Wall, {", ".join(f"-Wno-{name}" for name in WAIVED)}]
  lint:
    filesets: [model, rtl]
    toplevel: {design.name}
    default_tool: verilator
    tools: *linted
  sim:
    filesets: [model, rtl, selftest]
    toplevel: selftest
    default_tool: icarus
    tools:
      icarus:
        iverilog_options: [-g2005, -Wall]
      verilator:
        mode: binary
        verilator_options: [--timing]
  synth:
    <<: *default
    default_tool: yosys
    tools:
      yosys:
        arch: ecp5
"""
