"""`selvage cost`: energy, area and time of a model, by component, beside its baselines."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from selvage.base.chip import Chip, load_chip
from selvage.base.costs import Costs, load_costs
from selvage.base.errors import InputError
from selvage.base.files import check_writable
from selvage.base.shapes import load_network
from selvage.commands.cli_options import Asked
from selvage.commands.placed_layer import PlacedLayer, no_progress
from selvage.commands.placed_network import PlacedNetwork
from selvage.commands.results import check_outputs_apart, emit
from selvage.commands.streams import progress, show
from selvage.commands.tables import table_of
from selvage.compiler.compile_network import CompiledNetwork
from selvage.compiler.cost import BASELINES, LayerWays, layer_ways, network_cost, way_of
from selvage.compiler.options import Options
from selvage.compiler.shape_cycles import Activations, model_network
from selvage.frontend.kinds import PREFIX, is_network
from selvage.mapping.dense import dense_kinds
from selvage.sim.cost import COMPONENTS

Tick = Callable[[], None]


def tables_asked(names: str, node: int | None) -> list[Costs]:
    """Return the tables that ``--costs`` names, scaled to ``--node``. `InputError`: one is none, or there twice."""
    asked = [name.strip() for name in names.split(",")]
    if len(set(asked)) < len(asked):
        raise InputError(f"--costs {names} names a table twice")
    found = [load_costs(name) for name in asked]
    return [own if node is None else own.at(node) for own in found]


def cost(model_file: str, asked: Asked, *, names: str, node: int | None, zeros: float, json_file: Path | None) -> None:
    """Do `selvage cost`."""
    started = time.monotonic()
    options, tables = asked.options(), tables_asked(names, node)
    check_writable(json_file if str(json_file) != "-" else None)
    read = {"MODEL": model_file, "--input": asked.input_file, "--chip": asked.chip}
    check_outputs_apart({"--json": json_file}, read | {f"--costs {name}": name for name in names.split(",")})
    shapes = model_file.startswith(PREFIX)
    if zeros != 0.5 and not shapes:
        raise InputError("--zeros is for shapes:NAME: activations of this model are its input's")
    if shapes:
        layers, chip, fits = shapes_ways(model_file, asked, options, zeros)
    elif is_network(model_file):
        layers, chip, fits = _network(model_file, asked, options)
    else:
        layers, chip, fits = _layer(model_file, asked, options)
    found = {own.name: network_cost(layers, own, side_by_side=fits) for own in tables}
    for name, content in found.items():
        show(layer_table(content, name))
        show(component_table(content, name))
        for text in sources(content):
            show(f"{name}, {text}")
    show(total_table(found))
    if not fits:
        show("the chip does not hold all layers at once: they run one after the other")
    first, *_ = found.values()
    content = {"model": model_file, "chip": chip.name, "seconds": round(time.monotonic() - started, 3), **first}
    emit(content | ({"tables": found} if len(found) > 1 else {}), json_file)


def shapes_ways(model_file: str, asked: Asked, options: Options, zeros: float) -> tuple[list[LayerWays], Chip, bool]:
    """Count a known network with drawn activations, its layers dense; return whether they stand side by side, too."""
    if asked.input_file or asked.shape is not None:
        option = "--input" if asked.input_file else "--shape"
        raise InputError(f"{option} is for a model that has weights, and shapes:NAME has none")
    if options.mapping not in ("auto", "dense") or options.sme:
        raise InputError("selvage cost shapes:NAME is of the dense mapping, for others need weights")
    if (options.schedule, options.lossless) != ("auto", False):
        raise InputError("shapes:NAME has no --schedule or --lossless")
    chip, layers = load_chip(asked.chip), load_network(model_file.removeprefix(PREFIX))
    activations = Activations(zeros, options.seed)
    how = {"skip": options.skip, "dynamic": options.dynamic}
    copies = [1] * len(layers)
    if options.copies:
        counted = model_network(
            layers, chip, activations=activations, copies=options.copies, skip=options.skip, dynamic=options.dynamic
        )
        copies = [line["copies"] for line in counted["layers"]]
    found, numbers = [], activations.numbers(chip)
    with progress(transient=True) as bar:
        task = bar.add_task(model_file, total=len(layers))
        for index, (layer, count) in enumerate(zip(layers, copies, strict=True)):
            placement, order = dense_kinds(layer, chip, input_format=numbers, dynamic=options.dynamic)
            codes = activations.draw(layer, index, chip)
            own = way_of(placement.copied(count), codes, skip=options.skip, order=order)
            found.append(layer_ways(layer.name, own, codes, chip, **how))
            bar.advance(task)
    tiles = sum(line.own.parts.tiles for line in found)
    return found, chip, chip.tiles is None or tiles <= chip.tiles


def network_ways(compiled: CompiledNetwork, options: Options, tick: Tick) -> list[LayerWays]:
    """Return every layer of a compiled network, counted for all its images."""
    found = []
    for node in compiled.graph.matrices:
        placement = compiled.placements[node.name]
        codes = compiled.codes[node.inputs[0]] - placement.format.zero_point
        passes = compiled.counted(node, skip=options.skip)
        cycles = sum(max(tile.cycles for tile in part.tiles) for part in passes)
        own = way_of(placement, codes, skip=options.skip, cycles=cycles)
        found.append(layer_ways(node.name, own, codes, compiled.chip, skip=options.skip, dynamic=options.dynamic))
        tick()
    return found


def network_ways_told(compiled: CompiledNetwork, options: Options) -> list[LayerWays]:
    """Return what ``network_ways`` returns, with a progress bar while the layers are counted."""
    with progress(transient=True) as bar:
        task = bar.add_task("counting", total=len(list(compiled.graph.matrices)))
        return network_ways(compiled, options, lambda: bar.advance(task))


def _network(model_file: str, asked: Asked, options: Options) -> tuple[list[LayerWays], Chip, bool]:
    from selvage.commands.network_command import prepare, tell

    options.check_network()
    compiled, chip = prepare(model_file, asked.chip, asked.input_file, options, written=False)
    tell(compiled)
    return network_ways_told(compiled, options), chip, compiled.fits


def _layer(model_file: str, asked: Asked, options: Options) -> tuple[list[LayerWays], Chip, bool]:
    from selvage.commands.layer_command import check_no_network, prepare_layer

    check_no_network(options)
    _, chip, compiled, _ = prepare_layer(model_file, asked.chip, asked.input_file, options)
    return placed_ways(PlacedLayer(compiled, options))[0], chip, True


def placed_ways(model: PlacedLayer | PlacedNetwork) -> tuple[list[LayerWays], bool]:
    """Return the layers of a placed model, counted for its images, and whether they stand on the chip at once."""
    options = model.options
    if isinstance(model, PlacedNetwork):
        return network_ways(model.compiled, options, no_progress), model.compiled.fits
    compiled = model.compiled
    own = way_of(compiled.placement, compiled.codes, skip=options.skip)
    how = {"skip": options.skip, "dynamic": options.dynamic}
    return [layer_ways(compiled.model.layer.name, own, compiled.codes, compiled.placement.chip, **how)], True


def layer_table(content: dict[str, Any], name: str) -> Table:
    """Return a table of one row a layer: nJ by component, um2, cycles, and the energy of the baselines."""
    heads = ("layer", "schedule", *(f"{part} nJ".replace("_", " ") for part in COMPONENTS), "nJ", "mm2", "cycles")
    rows = [
        [
            line["name"],
            f"{line.get('mapping', '')} {line.get('schedule', '')}".strip(),
            *(f"{line['components'][part]['energy_pj'] / 1e3:,.2f}" for part in COMPONENTS),
            f"{line['energy_pj'] / 1e3:,.2f}",
            f"{line['area_um2'] / 1e6:,.3f}",
            f"{line['latency_cycles']:,.0f}",
            *(f"{line['baselines'][base]['energy_pj'] / 1e3:,.2f}" for base in BASELINES),
        ]
        for line in [*content["layers"], {**content, "name": "all"}]
    ]
    return table_of(f"an image by {name}", (*heads, *(f"{base} nJ" for base in BASELINES)), rows)


ENTRIES = {
    "array": ("cell",),
    "adc": ("adc", "sample_hold"),
    "drivers": ("driver",),
    "shift_and_add": ("shift_add",),
    "buffers": ("input_buffer", "row_registers", "sums", "wires"),
    "control": ("control",),
    "programming": ("programming",),
}
"""Of each component its entries in a table of costs."""


def component_table(content: dict[str, Any], name: str) -> Table:
    """Return a table of one row a component."""
    rows = []
    for part in COMPONENTS:
        own = content["components"][part]
        share = own["energy_pj"] / content["energy_pj"] if content["energy_pj"] else 0.0
        figures = f"{own['energy_pj'] / 1e3:,.2f}", f"{share:.1%}", f"{own['area_um2']:,.0f}"
        rows.append([part.replace("_", " "), *figures])
    rows.append(["programming, once", f"{content['programming_pj'] / 1e3:,.2f}", "", ""])
    return table_of(f"components by {name}", ("component", "nJ", "share", "um2"), rows)


def sources(content: dict[str, Any]) -> Iterator[str]:
    """Yield for each component where its figures come from."""
    for part, entries in ENTRIES.items():
        found = dict.fromkeys(content["costs"][entry]["source"] for entry in entries)
        yield f"{part.replace('_', ' ')}: {'; '.join(found)}"


def total_table(found: dict[str, dict[str, Any]]) -> Table:
    """Return a table of one row a cost table and way."""
    heads = ("costs", "way", "uJ", "mm2", "us an image", "latency us", "images/s", "TOPS", "TOPS/W", "TOPS/mm2")
    rows = []
    for name, content in found.items():
        for way, own in {"this mapping": content, **content["baselines"]}.items():
            pace = 1e6 / own["images_per_s"] if own["images_per_s"] else 0.0
            rows.append(
                [
                    name,
                    way,
                    f"{own['energy_pj'] / 1e6:,.3f}",
                    f"{own['area_um2'] / 1e6:,.3f}",
                    f"{pace:,.1f}",
                    f"{own['latency_us']:,.1f}",
                    f"{own['images_per_s']:,.1f}",
                    f"{own['tops']:.4f}",
                    f"{own['tops_per_w']:.3f}",
                    f"{own['tops_per_mm2']:.5f}",
                ]
            )
    return table_of("an image", heads, rows)
