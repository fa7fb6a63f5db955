"""A table of costs for the periphery from our own synthesis in OSU 180 nm cells, for ``selvage cost --costs FILE``.

`bench.gates` has energy and area of each module, from a netlist's transitions in a run of which the events are counted
here (`sim.events`): a figure is a component's energy over its events, its area over its parts. Memories are flip-flops
there, each clocked in every cycle; a RAM macro is not, so the energy of memories leaves out their clock, and says so.
Array, converters, drivers and the period are those of the table ``isaac``, scaled to 180 nm. Prints the JSON of the
figures, and writes the table to ``--out``.

``--gates`` takes what ``python -m bench.gates`` printed; without it that is run, which needs its tools.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.gates import BUILD, LAYER, drawn, missing, summary
from bench.liberty import OSU, load_cells
from bench.report import Figure, emit, figures, table
from selvage.base.build import build_folder
from selvage.base.costs import load_costs
from selvage.base.files import write_whole
from selvage.commands.exits import leave
from selvage.compiler.cost import Way, way_of

NODE = 180
OUT = build_folder("synth_costs") / "osu180.toml"
MODULES = {  # of each entry: how its modules' names begin
    "input_buffer": ("input_buffer_0_memory",),
    "row_registers": ("array_engine_0_rows_memory",),
    "sums": ("accumulator_0_sums_0_memory",),
    "shift_add": ("accumulator_0", "pair_0", "bank_sum_0"),
}
MEMORIES = ("input_buffer", "row_registers", "sums")
LEFT_OUT = ("store_0", "collector_0", "network")  # beyond the tile


def component(name: str) -> str:
    """The entry that a module counts for: the longest beginning that fits, else the tile's control."""
    fits = [(len(start), entry) for entry, starts in MODULES.items() for start in starts if name.startswith(start)]
    return max(fits)[1] if fits else "control"


def sums(gates: dict[str, Any]) -> tuple[dict[str, float], dict[str, float], dict[str, int]]:
    """pJ of the run, um2 and flip-flops, by entry; energy of memories without their clock."""
    reads, energy, area, bits = gates["run"]["reads"]["gates"], {}, {}, {}
    for name, own in gates["run"]["energy"]["modules"].items():
        if name.startswith(LEFT_OUT):
            continue
        entry = component(name.replace("periphery_0", "tile"))
        memory = name.endswith("_memory")
        energy[entry] = energy.get(entry, 0.0) + (own["total"] - own["clock"] * memory) * reads
    for own in gates["tile"]["components"]:
        entry = component(own["module"])
        area[entry] = area.get(entry, 0.0) + own["area"] * own["instances"]
        bits[entry] = bits.get(entry, 0) + own["flip_flops"] * own["instances"]
    return energy, area, bits


def entries(gates: dict[str, Any], way: Way) -> dict[str, tuple[float, float, str]]:
    """pJ of an event, um2 of a part, and what both are, by entry."""
    events, parts, chip = way.events, way.parts, way.placement.chip
    energy, area, bits = sums(gates)
    happened = {
        "input_buffer": events.buffer_written_bits + events.buffer_reads_bits,
        "row_registers": events.rows_written_bits + events.groups_read_bits,
        "sums": 2 * events.sums_added_bits + events.sums_drained_bits,
        "shift_add": events.shift_adds + events.splice_adds,
        "control": gates["run"]["cycles"]["gates"],
    }
    many = {
        **{name: bits[name] for name in MEMORIES},  # the tile of the areas has a longer buffer than that of the run
        "shift_add": parts.readers * chip.ou_cols,
        "control": 1,
    }
    what = "python -m bench.gates: OSU 180 nm, a tile of a pair of arrays on ou9x8"
    memory = f"{what}; flip-flops, the energy without their clock"
    return {
        name: (energy[name] / happened[name], area[name] / many[name], memory if name in MEMORIES else what)
        for name in happened
    }


def toml(found: dict[str, tuple[float, float, str]]) -> str:
    """The table's text."""
    analog = load_costs("isaac").at(NODE)
    lines = [
        "# The periphery in OSU 180 nm cells, from our own synthesis; array, converters, drivers and the period are",
        "# isaac's, scaled to 180 nm.",
        f"node = {NODE}",
    ]
    for name in ("cell", "driver", "sample_hold", "wires"):
        own = getattr(analog, name)
        figures_of = (own.energy, own.area, f"isaac, scaled to {NODE} nm: {own.source}")
        lines += _entry(name, *figures_of, scales=own.scales)
    for name, own in found.items():
        lines += _entry(name, *own, scales=True)
    adc = analog.adc
    energies = ", ".join(f'{bits} = "{value:.6g} pJ"' for bits, value in adc.energy.items())
    areas = ", ".join(f'{bits} = "{value:.6g} um^2"' for bits, value in adc.area.items())
    lines += ["", "[adc]", f"energy = {{ {energies} }}", f"area = {{ {areas} }}", f'law = "{adc.law}"']
    lines += [f'source = "isaac, scaled to {NODE} nm: {adc.source}"', "", "[programming]"]
    own = analog.programming
    lines += [f'pulse = "{own.pulse:.6g} pJ"', f"pulses = {own.pulses:g}", "scales = false", f'source = "{own.source}"']
    lines += ["", "[cycle]", f'time = "{analog.cycle.time:.6g} ns"', f'source = "{analog.cycle.source}"', ""]
    return "\n".join(lines)


def _entry(name: str, energy: float, area: float, source: str, *, scales: bool) -> list[str]:
    lines = ["", f"[{name}]", f'energy = "{energy:.6g} pJ"', f'area = "{area:.6g} um^2"']
    return [*lines, *([] if scales else ["scales = false"]), f'source = "{source}"']


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.synth_costs", description=__doc__)
    parser.add_argument("--gates", type=Path, help="JSON of bench.gates")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seed", type=int, default=1, help="of the run's weights and codes")
    a = parser.parse_args(argv)
    if a.gates:
        gates = json.loads(a.gates.read_text())
    elif sentence := missing(OSU):
        print(sentence, file=sys.stderr)
        return 2
    else:
        gates = summary(load_cells(OSU), seed=a.seed)
    run = drawn(a.seed)
    way = way_of(run.placement, run.codes, skip=True)
    found = entries(gates, way)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(a.out, toml(found).encode())
    read = load_costs(str(a.out))
    isaac = load_costs("isaac").at(NODE)
    rows = [(name, *own[:2], getattr(isaac, name).energy, getattr(isaac, name).area) for name, own in found.items()]
    table(f"Written to {a.out}", ("entry", "pJ", "um2", "isaac's pJ at 180 nm", "isaac's um2"), rows)
    targets = [
        Figure("OU reads of the run less those counted", gates["run"]["reads"]["gates"] - way.events.reads, "==", 0),
        Figure("entries that the table reads back", len(type(read).model_fields) - 2, "==", 12),
    ]
    figures("Costs from synthesis", targets)
    content = {name: {"energy_pj": own[0], "area_um2": own[1], "source": own[2]} for name, own in found.items()}
    emit({"benchmark": "synth_costs", "layer": LAYER.model_dump(), "build": str(BUILD), "entries": content})
    return 0 if all(own.met for own in targets) else 1


if __name__ == "__main__":
    leave(main)
