"""`selvage report`: a model as one page, and the short form of it in the terminal."""

from pathlib import Path
from typing import Any

from selvage import __version__
from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.files import check_writable, write_whole
from selvage.base.text import count_of
from selvage.commands.cli_options import Asked
from selvage.commands.cost_command import network_ways_told, shapes_ways, tables_asked
from selvage.commands.results import check_outputs_apart, emit, weights_file
from selvage.commands.streams import bar_of, progress, show
from selvage.commands.tables import table_of, verdict
from selvage.compiler.compile_network import CompiledNetwork
from selvage.compiler.cost import LayerWays, layer_ways, way_of
from selvage.compiler.options import Options
from selvage.compiler.parts import tile_runs
from selvage.frontend.kinds import PREFIX, is_network
from selvage.report.content import (
    Codes,
    Content,
    Error,
    GraphNode,
    Timeline,
    codes_of,
    error_of,
    fill_of,
    graph_of,
    layer_rows,
)
from selvage.rtlsim.diagnosis import Suspect
from selvage.rtlsim.simulate import workers


def report(
    model_file: str,
    asked: Asked,
    *,
    out: Path,
    names: str,
    node: int | None,
    zeros: float,
    rtl: bool,
    json_file: Path | None,
) -> bool:
    """Do `selvage report`, and return whether what was run in RTL is as it must be."""
    options, tables = asked.options(), tables_asked(names, node)
    table = out.with_suffix(".csv")
    if out.suffix != ".html":
        raise InputError(f"--out {out} does not end in .html")
    if out.exists() and not out.is_file():
        raise InputError(f"--out {out} is no file of its own, and a page is one, with a table beside it")
    for path in (out, table, json_file if str(json_file) != "-" else None):
        check_writable(path)
    read = {"MODEL": model_file, "--input": asked.input_file, "--chip": asked.chip, "--costs": names}
    read |= {"its weights": weights_file(model_file)}
    check_outputs_apart({"--out": out, "the table of --out": table, "--json": json_file}, read)
    if len(tables) > 1:
        raise InputError(f"--costs {names} names several tables, and a page has one")
    shapes = model_file.startswith(PREFIX)
    if rtl and shapes:
        raise InputError("--rtl is for a model that has weights, and shapes:NAME has none")
    if zeros != 0.5 and not shapes:
        raise InputError("--zeros is for shapes:NAME: activations of this model are its input's")
    collect = _of_shapes if shapes else _of_network if is_network(model_file) else _of_layer
    layers, chip, fits, more = collect(model_file, asked, options, zeros, rtl)
    rows, totals = layer_rows(layers, tables[0], fits=fits)
    content = Content(
        model_file,
        chip.name,
        tables[0].name,
        __version__,
        fits,
        totals,
        more.pop("graph"),
        rows,
        {own.name: fill_of(own.own) for own in layers},
        **more,
    )
    from selvage.report.page import csv_of, page_of

    write_whole(table, csv_of(content).encode())
    write_whole(out, page_of(content).encode())
    tell(content)
    show(f"{out}, its table {table}")
    emit(content.as_dict(), json_file)
    return all(own.match for own in content.timelines)


def tell(content: Content) -> None:
    """Tell the short form: a line a layer, and how its energy is beside the others'."""
    most = max((row.energy_pj for row in content.layers), default=0.0)
    heads = ("layer", "mapping", "crossbars", "cycles", "OU reads", "skipped", "nJ", "mm2", "busy", "energy")
    rows = []
    for row in content.layers:
        total = row.reads + row.skipped
        rows.append(
            [
                row.name,
                f"{row.mapping} {row.schedule}",
                f"{row.crossbars:,}",
                f"{row.cycles:,.0f}",
                f"{row.reads:,.0f}",
                f"{row.skipped / total if total else 0:.1%}",
                f"{row.energy_pj / 1e3:,.2f}",
                f"{row.area_um2 / 1e6:,.3f}",
                f"{row.occupancy:.1%}",
                bar_of(row.energy_pj / most if most else 0.0),
            ]
        )
    show(table_of(f"{content.model} on {content.chip}, an image by {content.costs}", heads, rows))
    for own in content.timelines:
        show(f"{own.layer}, tile {own.tile}: {count_of(own.steps, 'step')} in RTL, {verdict(own.match)}")
        for line in own.told.splitlines():
            show(line)
    clipped = sum(own.clipped for own in content.codes)
    if clipped:
        show(f"the ADC cuts {clipped:,} of {sum(sum(own.counts) for own in content.codes):,} codes looked at")


Collected = tuple[list[LayerWays], Chip, bool, dict[str, Any]]


def _of_shapes(model_file: str, asked: Asked, options: Options, zeros: float, rtl: bool) -> Collected:
    layers, chip, fits = shapes_ways(model_file, asked, options, zeros)
    notes = ["Of shapes: activations are drawn, there are no weights, and how layers are joined is not known."]
    return layers, chip, fits, {"graph": [], "notes": notes}


def _of_network(model_file: str, asked: Asked, options: Options, zeros: float, rtl: bool) -> Collected:
    from selvage.commands.network_command import prepare, tell

    options.check_network()
    compiled, chip = prepare(model_file, asked.chip, asked.input_file, options, written=rtl)
    tell(compiled)
    layers = network_ways_told(compiled, options)
    graph = graph_of(compiled.graph, {own.name: own.own.parts.arrays for own in layers})
    codes, errors = _looked_at(compiled, options)
    exact = (
        ["Every output that was computed is exactly the truth."]
        if errors and not any(e.largest for e in errors)
        else []
    )
    timelines = _timelines(_suspects(compiled, options)) if rtl else []
    return (
        layers,
        chip,
        compiled.fits,
        {"graph": graph, "codes": codes, "errors": errors, "timelines": timelines, "notes": exact},
    )


def _looked_at(compiled: CompiledNetwork, options: Options) -> tuple[list[Codes], list[Error]]:
    codes, errors = [], []
    for node in compiled.graph.matrices:
        placement = compiled.placements[node.name]
        given = compiled.codes[node.inputs[0]] - placement.format.zero_point
        codes.append(codes_of(node.name, placement, given, skip=options.skip))
        if found := error_of(node.name, placement, given, node.weights, skip=options.skip):
            errors.append(found)
    return codes, errors


def _suspects(compiled: CompiledNetwork, options: Options) -> list[Suspect]:
    """Return the first tile of each layer."""
    build, found = options.build / "sim", []
    for node in compiled.graph.matrices:
        p, codes, devices = tile_runs(compiled, node, options)[0]
        found.append(Suspect(p, 0, codes[:1], options.seed + 1, build, devices=devices))
    return found


def _of_layer(model_file: str, asked: Asked, options: Options, zeros: float, rtl: bool) -> Collected:
    from selvage.commands.layer_command import check_no_network, prepare_layer
    from selvage.compiler.compile_layer import tile_parameters

    check_no_network(options)
    model, chip, compiled, _ = prepare_layer(model_file, asked.chip, asked.input_file, options)
    placement, name = compiled.placement, model.layer.name
    own = way_of(placement, compiled.codes, skip=options.skip)
    layers = [layer_ways(name, own, compiled.codes, placement.chip, skip=options.skip, dynamic=options.dynamic)]
    error = error_of(name, placement, compiled.codes, model.weights, skip=options.skip)
    layer = model.layer
    graph = [
        GraphNode("input", "input", (layer.channels, layer.height, layer.width), (), 0),
        GraphNode(name, layer.op, (layer.outputs, *layer.output_size), ("input",), 1, placement.crossbars),
    ]
    suspects = []
    if rtl:
        first = tile_parameters(compiled, options)[0]
        suspects = [Suspect(first, 0, compiled.maps[:1], options.seed + 1, options.build / "sim")]
    more = {
        "graph": graph,
        "codes": [codes_of(name, placement, compiled.codes, skip=options.skip)],
        "errors": [error] if error else [],
        "timelines": _timelines(suspects),
    }
    return layers, chip, True, more


def _timelines(suspects: list[Suspect]) -> list[Timeline]:
    """Run the first steps of tiles in RTL, side by side."""
    from selvage.report.timeline import timeline_of

    if not suspects:
        return []
    with workers() as pool, progress() as bar:
        task = bar.add_task("RTL", total=len(suspects))
        jobs = [pool.submit(timeline_of, suspect) for suspect in suspects]
        found = []
        for job in jobs:
            found.append(job.result())
            bar.advance(task)
    return found
