"""The command line."""

import contextlib
import itertools
import json
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer

from selvage.base.build import ROOT
from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError, RtlError
from selvage.base.files import LISTING, alone_in, check_folder, check_writable, npy_bytes, write_whole
from selvage.base.limits import LARGEST_FACTOR, raise_limits
from selvage.bundle.shell_bundle import check_bus, shell_files
from selvage.bundle.verilog_bundle import layer_network, write_layer_bundle, write_verilog_bundle
from selvage.commands.cli_network import compile_command, quantize_command
from selvage.commands.cli_options import (
    Build,
    CellsPerWeight,
    ChipName,
    Compact,
    Dynamic,
    Fold,
    InputFile,
    Json,
    KernelSparsity,
    Lossless,
    Mapping,
    ModelFile,
    OutputFile,
    Patterns,
    PerKernel,
    Pipeline,
    Rounding,
    Schedule,
    Seed,
    Shape,
    Significant,
    Simulator,
    Skip,
    SortRows,
    Sparsity,
    Squeeze,
    Waves,
    Weights,
    Zeros,
    check_is_file,
    check_no_network,
    check_outputs_apart,
    emit,
    folder,
    network_options,
    sme_of,
    switch,
)
from selvage.commands.cli_shapes import ShapesOptions, count_shapes
from selvage.commands.network_command import is_network, model_network, prepare, simulate_network, tell
from selvage.commands.run import LayerReport, check_simulator, output_maps, report, save_files, simulate, summary, work
from selvage.commands.streams import progress, show, warn
from selvage.commands.tables import layer_table, table_of, tell_fault
from selvage.compile.compile_layer import Compiled, Options, compile_layer, foretell, tile_parameters
from selvage.compile.compile_network import NetworkOptions
from selvage.compile.model_file import Model, draw_input, from_maps, input_shape, load_model, read_input
from selvage.compile.parts import check_fits
from selvage.compile.shapes import PREFIX
from selvage.frontend.prune import prune_file

UsageError = typer.BadParameter.__base__  # of every mistake in the options

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _version(asked: bool) -> None:
    if asked:
        show(f"selvage {metadata.version('selvage')}")
        raise typer.Exit()


@app.callback()
def everywhere(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and leave", callback=_version, is_eager=True)
    ] = False,
    limits: Annotated[
        int, typer.Option(min=1, max=LARGEST_FACTOR, help="accept sizes so many times those that README lists")
    ] = 1,
) -> None:
    """Periphery of ReRAM compute-in-memory accelerators: generated, run, counted."""
    raise_limits(limits)


def _prepare(
    model_file: str, chip: str, input_file: Path | None, options: Options
) -> tuple[Model, Chip, Compiled, tuple[int, ...]]:
    loaded = load_chip(chip)
    model = load_model(model_file, input_shape(str(input_file)) if input_file else None)
    x = read_input(model, str(input_file)) if input_file else draw_input(model, loaded, options.seed)
    compiled = compile_layer(model, loaded, x, options)
    if compiled.warning:
        warn(compiled.warning)
    return model, loaded, compiled, x.shape


def _tell(line: LayerReport) -> None:
    """What the mapping did to arrays and weights, when it is not the plain one."""
    if line.mapping != "dense":
        error = "no weight changed" if line.sqnr_db is None else f"weight error {line.sqnr_db:.1f} dB below the weights"
        show(f"{line.mapping}: {line.crossbars} crossbars, dense {line.crossbars_dense}; {error}")
        ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in line.over_dense.items())
        show(f"dense over {line.mapping}, every row driving: {ratios}; tables {line.index_bits} bits")
    if line.note:
        show(f"{line.name}: {line.note}")


@app.command("sim")
def sim_command(
    model_file: ModelFile,
    chip: ChipName = "ou9x8",
    input_file: InputFile = None,
    output_file: OutputFile = None,
    schedule: Schedule = "auto",
    mapping: Mapping = "auto",
    squeeze: Squeeze = None,
    significant_bits: Significant = None,
    compact: Compact = "off",
    sort_rows: SortRows = "off",
    rounding: Rounding = "round",
    ou_skip: Skip = "on",
    dynamic_ou: Dynamic = "off",
    fold: Fold = 1,
    simulator: Simulator = "icarus",
    waves: Waves = None,
    seed: Seed = 0,
    json_file: Json = None,
    lossless: Lossless = False,
    shape: Shape = None,
    pipeline: Pipeline = False,
    build: Build = ROOT,
) -> None:
    """Run MODEL through RTL and compare every output with the golden model."""
    started = time.monotonic()
    sme = sme_of(squeeze, significant_bits, compact, sort_rows, rounding)
    skip, dynamic = switch("ou-skip", ou_skip), switch("dynamic-ou", dynamic_ou)
    options = Options(schedule, mapping, fold, skip, simulator, seed, waves, lossless, sme, dynamic, build)
    check_simulator(simulator)
    check_is_file(model_file)
    for path in (output_file, json_file if str(json_file) != "-" else None):
        check_writable(path)
    read = {"MODEL": model_file, "--input": input_file, "--chip": chip}
    check_outputs_apart({"--output": output_file, "--json": json_file}, read)
    if waves:
        check_folder(waves, f"--waves {waves}")
    check_folder(build, f"--build {build}")
    if is_network(model_file):
        how = network_options(options, shape)
        content, match = simulate_network(model_file, chip, input_file, output_file, how, pipeline=pipeline)
        emit(content, json_file)
        raise typer.Exit(0 if match else 1)
    check_no_network(shape, pipeline=pipeline)
    model, _, compiled, sides = _prepare(model_file, chip, input_file, options)
    foretold = foretell(compiled, options)
    parameters = tile_parameters(compiled, options)
    try:
        with alone_in(waves) if waves else contextlib.nullcontext(), progress() as bar:
            task = bar.add_task(model.layer.name, total=work(parameters))
            results = simulate(compiled, parameters, options, tick=lambda: bar.advance(task))
            saves = save_files(parameters, options, results)
    except RtlError as error:
        # What the report holds beside the verdict is the cycle model's.
        line = replace(report(compiled, foretold, None), match=False, fault=str(error))
        emit(summary([line], simulator, started), json_file)
        raise
    line = report(compiled, foretold, results)
    for save in saves:
        show(f"open the waves with: gtkwave {save}")
    show(layer_table([line]))
    _tell(line)
    tell_fault(line.fault)
    if line.clipped:
        show(
            f"the ADC clipped {line.clipped:,} conversions: by that alone outputs are up to {line.distance} away from "
            "the truth"
        )
    if output_file and line.match:
        write_whole(output_file, npy_bytes(from_maps(model, output_maps(compiled, results), sides)))
    elif output_file:
        warn(f"{output_file} is not written, for the outputs are not those of the golden model")
    emit(summary([line], simulator, started), json_file)
    raise typer.Exit(0 if line.match else 1)


@app.command("model")
def model_command(
    model_file: ModelFile,
    chip: ChipName = "ou9x8",
    input_file: InputFile = None,
    schedule: Schedule = "auto",
    mapping: Mapping = "auto",
    squeeze: Squeeze = None,
    significant_bits: Significant = None,
    compact: Compact = "off",
    sort_rows: SortRows = "off",
    rounding: Rounding = "round",
    ou_skip: Skip = "on",
    dynamic_ou: Dynamic = "off",
    fold: Fold = 1,
    seed: Seed = 0,
    json_file: Json = None,
    lossless: Lossless = False,
    weights: Weights = "laplace",
    sparsity: Sparsity = 0.0,
    zeros: Zeros = 0.5,
    patterns: Patterns = 10,
    kernel_sparsity: KernelSparsity = 0.44,
    weights_per_kernel: PerKernel = 3.5,
    cells_per_weight: CellsPerWeight = 1,
    shape: Shape = None,
) -> None:
    """Cycles, reads and crossbars of MODEL from the cycle model alone."""
    started = time.monotonic()
    sme = sme_of(squeeze, significant_bits, compact, sort_rows, rounding)
    skip, dynamic = switch("ou-skip", ou_skip), switch("dynamic-ou", dynamic_ou)
    options = Options(schedule, mapping, fold, skip, seed=seed, lossless=lossless, sme=sme, dynamic=dynamic)
    check_writable(json_file if str(json_file) != "-" else None)
    check_outputs_apart({"--json": json_file}, {"MODEL": model_file, "--input": input_file, "--chip": chip})
    own = ShapesOptions(weights, sparsity, zeros, patterns, kernel_sparsity, weights_per_kernel, cells_per_weight)
    if model_file.startswith(PREFIX):
        if input_file or shape is not None:
            option = "--input" if input_file else "--shape"
            raise InputError(f"{option} is for a model that has weights, and shapes:NAME has none")
        emit(count_shapes(model_file, chip, options, own), json_file)
        return
    if own != ShapesOptions():
        raise InputError("--weights, --zeros, --patterns and their like are for shapes:NAME: this model has weights")
    if is_network(model_file):
        emit(model_network(model_file, chip, input_file, network_options(options, shape)), json_file)
        return
    check_no_network(shape)
    _, _, compiled, _ = _prepare(model_file, chip, input_file, options)
    line = report(compiled, foretell(compiled, options), None)
    show(layer_table([line]))
    _tell(line)
    emit(summary([line], "model", started), json_file)


@app.command("prune")
def prune_command(
    model_file: Annotated[str, typer.Argument(metavar="MODEL", help="an ONNX file")],
    out: Annotated[Path, typer.Option("--out", help="where the pruned ONNX file goes")],
    patterns: Annotated[int, typer.Option(help="kinds of kernels that are kept")] = 8,
    kernel_sparsity: KernelSparsity = 0.44,
    entries: Annotated[int, typer.Option(help="weights of a kept kernel")] = 4,
) -> None:
    """Prune the convolutions of MODEL: whole kernels, the others to the best patterns."""
    nodes = prune_file(model_file, out, patterns=patterns, kernel_sparsity=kernel_sparsity, entries=entries)
    rows = [
        [n.name, f"{n.weights:,}", f"{n.kept:,}", f"{n.kernels:,}", f"{n.deleted:,}", str(n.patterns)] for n in nodes
    ]
    show(table_of("pruned", ("node", "weights", "kept", "kernels", "deleted", "patterns"), rows))


@app.command("verilog")
def verilog_command(
    model_file: ModelFile,
    chip: ChipName = "ou9x8",
    out: Annotated[Path, typer.Option("--out", help="folder of the Verilog", parser=folder)] = Path("build/verilog"),
    input_file: InputFile = None,
    schedule: Schedule = "auto",
    mapping: Mapping = "auto",
    squeeze: Squeeze = None,
    significant_bits: Significant = None,
    compact: Compact = "off",
    sort_rows: SortRows = "off",
    rounding: Rounding = "round",
    ou_skip: Skip = "on",
    dynamic_ou: Dynamic = "off",
    fold: Fold = 1,
    seed: Seed = 0,
    lossless: Lossless = False,
    shape: Shape = None,
    bus: Annotated[str | None, typer.Option(help="a shell for axi or wishbone too, in OUT/shell")] = None,
) -> None:
    """Write MODEL as Verilog for any flow: design, macro, self-test, scripts, names."""
    sme = sme_of(squeeze, significant_bits, compact, sort_rows, rounding)
    skip, dynamic = switch("ou-skip", ou_skip), switch("dynamic-ou", dynamic_ou)
    options = Options(schedule, mapping, fold, skip, seed=seed, lossless=lossless, sme=sme, dynamic=dynamic)
    check_is_file(model_file)
    check_bus(bus)
    check_writable(out / LISTING)
    with alone_in(out):
        if is_network(model_file):
            how = network_options(options, shape)
            network, _ = prepare(model_file, chip, input_file, how)
            if bus:
                check_fits(network)
            tell(network)
            paths = write_verilog_bundle(network, how, out, shell_files(network, how, bus) if bus else None)
        else:
            check_no_network(shape)
            _, _, compiled, _ = _prepare(model_file, chip, input_file, options)
            if compiled.note:
                show(f"{compiled.model.layer.name}: {compiled.note}")
            shell = None
            if bus:
                shell = shell_files(layer_network(compiled), NetworkOptions(skip=options.ou_skip), bus)
            paths = write_layer_bundle(compiled, options.ou_skip, out, shell)
    show(f"{len(paths)} files in {out}")


@app.command("schema")
def schema_command(what: Annotated[Literal["chip", "layer"], typer.Argument()] = "chip") -> None:
    """Print the JSON Schema of a chip or layer description."""
    from selvage.frontend.layer_file import LayerFile

    json.dump((Chip if what == "chip" else LayerFile).model_json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")


app.command("quantize")(quantize_command)
app.command("compile")(compile_command)


def command() -> int | None:
    """Run what the words of the command line ask for; its exit status. `InputError`: they ask for nothing."""
    try:
        return app(standalone_mode=False)
    except UsageError as error:
        raise InputError(f"{error.format_message()}{_given(error)} (see selvage --help)") from None


def _given(error: Exception) -> str:
    """The value of the option that an error is about, where its message leaves it out."""
    option = next(iter(getattr(getattr(error, "param", None), "opts", ())), None)
    value = next((own for before, own in itertools.pairwise(sys.argv) if before == option), None)
    return "" if value is None or value in str(error) else f": {value!r}"
