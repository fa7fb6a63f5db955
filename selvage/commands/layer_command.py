"""The commands on a single layer: sim, model and verilog."""

import sys
import time
from pathlib import Path

from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError, RtlError
from selvage.base.files import npy_bytes, write_whole
from selvage.base.text import count_of
from selvage.commands.again import again_as
from selvage.commands.layer_report import LayerReport
from selvage.commands.placed_layer import PlacedLayer
from selvage.commands.streams import progress, show, warn
from selvage.commands.tables import layer_table, tell_diagnosis, tell_fault
from selvage.compiler.compile_layer import Compiled, compile_layer, tile_parameters
from selvage.compiler.model_file import Model, draw_input, from_maps, input_shape, load_model, read_input
from selvage.compiler.options import Options


def check_no_network(options: Options, *, pipeline: bool = False) -> None:
    """Raise `InputError` for an option of networks."""
    given = {"--shape": options.shape is not None, "--pipeline": pipeline, "--copies or --arrays": options.copies}
    for option, is_given in given.items():
        if is_given:
            raise InputError(f"{option} is for networks, and this model is a single layer")


def prepare_layer(
    path: str, chip: str, input_file: Path | None, options: Options, *, written: bool = False
) -> tuple[Model, Chip, Compiled, tuple[int, ...]]:
    """Return the layer, the chip, the layer placed on it, and the shape of its input in ONNX's layout.

    ``written``: as of `compile_network`.
    """
    loaded = load_chip(chip)
    model = load_model(path, input_shape(str(input_file)) if input_file else None)
    x = read_input(model, str(input_file)) if input_file else draw_input(model, loaded, options.seed)
    compiled = compile_layer(model, loaded, x, options, written=written)
    if compiled.warning:
        warn(compiled.warning)
    return model, loaded, compiled, x.shape


def tell_layer(line: LayerReport) -> None:
    """Tell what the mapping did to arrays and weights, when it is not the plain one."""
    if line.mapping != "dense":
        error = "no weight changed" if line.sqnr_db is None else f"weight error {line.sqnr_db:.1f} dB below the weights"
        show(f"{line.mapping}: {count_of(line.crossbars, 'crossbar')}, dense {line.crossbars_dense}; {error}")
        ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in line.over_dense.items())
        show(f"dense over {line.mapping}, every row driving: {ratios}; tables {line.index_bits} bits")
    if line.note:
        show(f"{line.name}: {line.note}")


def simulate_layer(
    path: str, chip: str, input_file: Path | None, output_file: Path | None, options: Options
) -> tuple[dict, RtlError | None]:
    """Do `selvage sim` of a layer; return its JSON report, and what ended the run early."""
    started = time.monotonic()
    model, _, compiled, sides = prepare_layer(path, chip, input_file, options)
    from selvage.commands.run import work

    parameters = tile_parameters(compiled, options)
    with progress() as bar:
        task = bar.add_task(model.layer.name, total=work(parameters))
        again = again_as(sys.argv[1:], network=False)
        run = PlacedLayer(compiled, options).simulate(started, lambda: bar.advance(task), again)
    line = run.line
    if run.error:
        tell_diagnosis(line.diagnosis)
        return run.content, run.error
    for save in run.saves:
        show(f"open the waves with: gtkwave {save} (or selvage explain {save.with_suffix('.fst')})")
    show(layer_table([line]))
    tell_layer(line)
    tell_fault(line.fault)
    tell_diagnosis(line.diagnosis)
    if line.clipped:
        show(
            f"the ADC clipped {line.clipped:,} conversions: by that alone outputs are up to {line.distance} away from "
            "the truth"
        )
    if options.noise:
        show(f"noise moves outputs by up to {line.distance}")
    if output_file and line.match:
        write_whole(output_file, npy_bytes(from_maps(model, run.output, sides)))
    elif output_file:
        warn(f"{output_file} is not written, for the outputs are not those of the golden model")
    return run.content, None


def model_layer(path: str, chip: str, input_file: Path | None, options: Options) -> dict:
    """Do `selvage model` of a layer, and return its JSON report."""
    started = time.monotonic()
    _, _, compiled, _ = prepare_layer(path, chip, input_file, options)
    line, content = PlacedLayer(compiled, options).count(started)
    show(layer_table([line]))
    tell_layer(line)
    return content


def verilog_layer(
    path: str, chip: str, input_file: Path | None, out: Path, bus: str | None, options: Options
) -> list[Path]:
    """Do `selvage verilog` of a layer, and return the paths written."""
    _, _, compiled, _ = prepare_layer(path, chip, input_file, options, written=True)
    if compiled.note:
        show(f"{compiled.model.layer.name}: {compiled.note}")
    return PlacedLayer(compiled, options).write_verilog(out, bus)
