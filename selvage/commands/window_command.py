"""`selvage sim --tile`: one tile alone, no further than its waves go, every component compared."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selvage.base.errors import InputError
from selvage.base.files import alone_in
from selvage.base.graph import Matrix
from selvage.base.text import count_of
from selvage.commands.cli_options import AskedOfWaves
from selvage.commands.streams import show
from selvage.commands.tables import tell_diagnosis
from selvage.compiler.options import Options
from selvage.frontend.kinds import is_network
from selvage.rtlsim.diagnosis import Suspect, watched
from selvage.rtlsim.waves.window import Window, file_names


def simulate_window(
    model_file: str, chip: str, input_file: Path | None, options: Options, shown: AskedOfWaves
) -> tuple[dict[str, Any], bool]:
    """Do `selvage sim --tile`; return its JSON report, and whether all that was seen is as it must be."""
    started = time.monotonic()
    assert options.waves is not None and shown.tile is not None
    suspect_of = _network_tile if is_network(model_file) else _layer_tile
    suspect, stem = suspect_of(model_file, chip, input_file, options, shown)
    name = f"tile {suspect.index} of layer {suspect.p.placement.layer.name!r}"
    file = options.waves / f"{stem}_tile{suspect.index}.fst"
    window = Window(file, options.waves_from, options.waves_steps, alone=True)
    window = window.within(len(suspect.x) * suspect.p.placement.sweep.count, name)
    with alone_in(options.waves):
        diagnosis, steps = watched(suspect, window)
    saved = window.file.with_suffix(".gtkw")
    show(f"open the waves with: gtkwave {saved}")
    if diagnosis:
        tell_diagnosis(diagnosis)
    else:
        last = f" to {steps[-1]:,}" if len(steps) > 1 else ""
        show(f"{name}, step {steps[0]:,}{last}: every component shows what the golden model says")
    content = {
        "match": diagnosis is None,
        "seconds": round(time.monotonic() - started, 3),
        "layer": suspect.p.placement.layer.name,
        "tile": suspect.index,
        "steps": steps,
        "waves": str(window.file),
        "diagnosis": asdict(diagnosis) if diagnosis else None,
    }
    return content, diagnosis is None


def _layer_tile(
    model_file: str, chip: str, input_file: Path | None, options: Options, shown: AskedOfWaves
) -> tuple[Suspect, str]:
    from selvage.commands.layer_command import check_no_network, prepare_layer
    from selvage.compiler.compile_layer import tile_parameters

    check_no_network(options)
    if shown.layer is not None:
        raise InputError(f"--layer {shown.layer} is for networks, and this model is a single layer")
    _, _, compiled, _ = prepare_layer(model_file, chip, input_file, options)
    parameters = tile_parameters(compiled, options)
    index = _tile(shown.tile, len(parameters), compiled.model.layer.name)
    build = options.build / "sim"
    found = Suspect(parameters[index], index, compiled.maps, options.seed + 1, build, devices=compiled.devices)
    return found, file_names([compiled.model.layer.name])[0]


def _network_tile(
    model_file: str, chip: str, input_file: Path | None, options: Options, shown: AskedOfWaves
) -> tuple[Suspect, str]:
    from selvage.commands.network_command import prepare, tell

    compiled, _ = prepare(model_file, chip, input_file, options)
    names = [node.name for node in compiled.graph.matrices]
    if shown.layer not in names:
        given = "it is not given" if shown.layer is None else f"--layer {shown.layer} is none of them"
        raise InputError(f"--tile {shown.tile} of a network needs --layer, one of {', '.join(names)}: {given}")
    from selvage.compiler.parts import tile_runs

    nodes = list(compiled.graph.nodes)
    node, stem = next(
        (node, stem)
        for node, stem in zip(nodes, file_names([node.name for node in nodes]), strict=True)
        if node.name == shown.layer and isinstance(node, Matrix)
    )
    tiles = tile_runs(compiled, node, options)
    index = _tile(shown.tile, len(tiles), shown.layer)
    tell(compiled)
    p, x, devices = tiles[index]
    return Suspect(p, index, x, options.seed + 1, options.build / "sim", devices=devices), stem


def _tile(number: int | None, count: int, layer: str) -> int:
    assert number is not None
    if not 0 <= number < count:
        raise InputError(f"--tile {number} is none of the {count_of(count, 'tile')} of layer {layer!r}, counted from 0")
    return number
