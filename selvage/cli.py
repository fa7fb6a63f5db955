"""The command line."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from mapping.sme import SmeParameters
from selvage.bundle import write_bundle
from selvage.compile_network import NetworkOptions
from selvage.exits import leave
from selvage.files import check_folder, check_writable, npy_bytes, write_whole
from selvage.model_file import Model, draw_input, from_maps, input_shape, load_model, read_input
from selvage.network import PREFIX, Synthetic, check_network, count_network
from selvage.network_command import compile_to, is_network, model_network, simulate_network
from selvage.options import shape_of
from selvage.prune import prune_file
from selvage.pruned_network import Pruning, check_pruned, count_pruned
from selvage.run import (
    Compiled,
    LayerReport,
    Options,
    check_simulator,
    compile_layer,
    foretell,
    output_maps,
    report,
    save_files,
    simulate,
    summary,
    tile_parameters,
    work,
)
from selvage.tables import console, layer_table, network_table, progress, table_of
from spec.chip import Chip, load_chip
from spec.errors import InputError
from spec.network import load_network

UsageError = typer.BadParameter.__base__  # of every mistake in the options

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

ModelFile = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="an ONNX file, a layer TOML, or (model) shapes:NAME"),
]
ChipName = Annotated[str, typer.Option("--chip", help="a ready chip, or a TOML file")]
InputFile = Annotated[Path | None, typer.Option("--input", help="activations, .npy in ONNX's layout")]
OutputFile = Annotated[Path | None, typer.Option("--output", help="where the outputs go, .npy")]
Schedule = Annotated[str, typer.Option(help="auto, red, zero-padding or padding-free")]
Mapping = Annotated[str, typer.Option(help="auto, dense, sme, pattern (with planes when squeezed), sre")]
Squeeze = Annotated[int | None, typer.Option(help="sme: top bit planes to empty")]
Significant = Annotated[int | None, typer.Option("--significant-bits", help="sme: of each weight, 3 unless given")]
Compact = Annotated[str, typer.Option(help="sme: on or off: drop the rows that are empty in a plane")]
SortRows = Annotated[str, typer.Option("--sort-rows", help="sme: on or off: one shift a block, after the ADC")]
Patterns = Annotated[int, typer.Option(help="shapes with pattern: kinds of kernels, the empty one included")]
KernelSparsity = Annotated[float, typer.Option("--kernel-sparsity", help="share of the kernels that is deleted")]
PerKernel = Annotated[float, typer.Option("--weights-per-kernel", help="shapes with pattern: of a kept kernel")]
CellsPerWeight = Annotated[int, typer.Option("--cells-per-weight", help="shapes with pattern")]
Rounding = Annotated[str, typer.Option(help="sme: round or truncate what is squeezed out")]
Weights = Annotated[str, typer.Option(help="shapes: gauss, laplace or t4, synthetic weights")]
Sparsity = Annotated[float, typer.Option(help="shapes: share of the weights that is pruned")]
Skip = Annotated[str, typer.Option("--ou-skip", help="on or off: leave out OUs that drive nothing")]
Dynamic = Annotated[str, typer.Option("--dynamic-ou", help="on or off: OUs of the rows that drive, adjacent or not")]
Fold = Annotated[int, typer.Option(help="phases that share an array's rows (red)")]
Simulator = Annotated[str, typer.Option(help="icarus or verilator")]
Waves = Annotated[Path | None, typer.Option(help="folder for FST waves and a GTKWave save file")]
Seed = Annotated[int, typer.Option(help="draws the activations when there is no --input")]
Json = Annotated[Path | None, typer.Option("--json", help="where the JSON report goes, - for the output")]
Shape = Annotated[str | None, typer.Option(help="networks: shape of the input where sides are free, such as 1,3,32,32")]
Pipeline = Annotated[bool, typer.Option("--pipeline", help="networks: all layers at work at once, in one simulation")]
Lossless = Annotated[bool, typer.Option("--lossless", help="refuse a chip whose ADC can clip")]


def _prepare(
    model_file: str, chip: str, input_file: Path | None, options: Options
) -> tuple[Model, Chip, Compiled, tuple[int, ...]]:
    loaded = load_chip(chip)
    if model_file.startswith(PREFIX):
        raise InputError(f"{model_file!r} has shapes alone: it is for selvage model")
    model = load_model(model_file, input_shape(str(input_file)) if input_file else None)
    x = read_input(model, str(input_file)) if input_file else draw_input(model, loaded, options.seed)
    compiled = compile_layer(model, loaded, x, options)
    if compiled.warning:
        console.print(f"warning: {compiled.warning}")
    return model, loaded, compiled, x.shape


def _switch(name: str, value: str) -> bool:
    if value not in ("on", "off"):
        raise InputError(f"--{name} {value!r} is neither on nor off")
    return value == "on"


def _network(options: Options, shape: str | None) -> NetworkOptions:
    """Options of a whole network. `InputError`: one that a network cannot have."""
    if options.fold != 1:
        raise InputError(f"--fold {options.fold} is for a single layer, and this model is a network")
    if options.waves:
        raise InputError(f"--waves {options.waves} is for a single layer, and this model is a network")
    return NetworkOptions(
        schedule=options.schedule,
        mapping=options.mapping,
        skip=options.ou_skip,
        dynamic=options.dynamic,
        sme=options.sme,
        simulator=options.simulator,
        seed=options.seed,
        lossless=options.lossless,
        shape=shape_of(shape),
    )


def _no_network(shape: str | None, *, pipeline: bool = False) -> None:
    """`InputError` for an option of networks."""
    if shape is not None or pipeline:
        raise InputError(f"{'--shape' if shape else '--pipeline'} is for networks, and this model is a single layer")


def _sme(
    squeeze: int | None, significant: int | None, compact: str, sort_rows: str, rounding: str
) -> SmeParameters | None:
    """Of the options; None where none of them is given."""
    if rounding not in ("round", "truncate"):
        raise InputError(f"--rounding {rounding!r} is neither round nor truncate")
    given = SmeParameters(
        significant_bits=3 if significant is None else significant,
        squeeze=squeeze or 0,
        truncate=rounding == "truncate",
        compact=_switch("compact", compact),
        sort=_switch("sort-rows", sort_rows),
    )
    return None if squeeze is None and significant is None and given == SmeParameters() else given


def _tell(line: LayerReport) -> None:
    """What the mapping did to arrays and weights, when it is not the plain one."""
    if line.mapping != "dense":
        error = "no weight changed" if line.sqnr_db is None else f"weight error {line.sqnr_db:.1f} dB below the weights"
        console.print(f"{line.mapping}: {line.crossbars} crossbars, dense {line.crossbars_dense}; {error}")
        ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in line.over_dense.items())
        console.print(f"dense over {line.mapping}, every row driving: {ratios}; tables {line.index_bits} bits")
    if line.note:
        console.print(f"{line.name}: {line.note}", markup=False)


def _emit(content: dict, where: Path | None) -> None:
    text = json.dumps(content, indent=2) + "\n"
    if where is None:
        return
    if str(where) == "-":
        sys.stdout.write(text)
    else:
        write_whole(where, text.encode())


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
) -> None:
    """Run MODEL through RTL and compare every output with the golden model."""
    started = time.monotonic()
    sme = _sme(squeeze, significant_bits, compact, sort_rows, rounding)
    skip, dynamic = _switch("ou-skip", ou_skip), _switch("dynamic-ou", dynamic_ou)
    options = Options(schedule, mapping, fold, skip, simulator, seed, waves, lossless, sme, dynamic)
    check_simulator(simulator)
    for path in (output_file, json_file if str(json_file) != "-" else None):
        check_writable(path)
    if output_file and json_file and output_file.resolve() == json_file.resolve():
        raise InputError(f"--output and --json are both {output_file}")
    if waves:
        check_folder(waves, f"--waves {waves}")
    if is_network(model_file):
        how = _network(options, shape)
        content, match = simulate_network(model_file, chip, input_file, output_file, how, pipeline=pipeline)
        _emit(content, json_file)
        raise typer.Exit(0 if match else 1)
    _no_network(shape, pipeline=pipeline)
    model, _, compiled, sides = _prepare(model_file, chip, input_file, options)
    foretold = foretell(compiled, options)
    parameters = tile_parameters(compiled, options)
    with progress() as bar:
        task = bar.add_task(model.layer.name, total=work(parameters))
        results = simulate(compiled, parameters, options, tick=lambda: bar.advance(task))
    line = report(compiled, foretold, results)
    for save in save_files(parameters, options):
        console.print(f"open the waves with: gtkwave {save}")
    console.print(layer_table([line]))
    _tell(line)
    if line.distance:
        console.print(f"the ADC clipped: outputs are up to {line.distance} away from the truth")
    if output_file:
        write_whole(output_file, npy_bytes(from_maps(model, output_maps(compiled, results), sides)))
    _emit(summary([line], simulator, started), json_file)
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
    patterns: Patterns = 10,
    kernel_sparsity: KernelSparsity = 0.44,
    weights_per_kernel: PerKernel = 3.5,
    cells_per_weight: CellsPerWeight = 1,
    shape: Shape = None,
) -> None:
    """Cycles, reads and crossbars of MODEL from the cycle model alone."""
    started = time.monotonic()
    sme = _sme(squeeze, significant_bits, compact, sort_rows, rounding)
    skip, dynamic = _switch("ou-skip", ou_skip), _switch("dynamic-ou", dynamic_ou)
    options = Options(schedule, mapping, fold, skip, seed=seed, lossless=lossless, sme=sme, dynamic=dynamic)
    check_writable(json_file if str(json_file) != "-" else None)
    drawn = Synthetic(weights, sparsity, seed)
    if model_file.startswith(PREFIX):
        if (schedule, fold, ou_skip, input_file, lossless) != ("auto", 1, "on", None, False):
            raise InputError("shapes:NAME counts arrays alone: no --schedule, --fold, --ou-skip, --input, --lossless")
        if mapping == "pattern":
            if sme or dynamic or drawn != Synthetic(seed=seed):
                raise InputError("shapes:NAME by patterns draws its own weights: no planes, formed OUs or --weights")
            pruning = Pruning(patterns, kernel_sparsity, weights_per_kernel, seed)
            content = _count_pruned(model_file, chip, pruning, cells_per_weight)
        else:
            content = _count(model_file, chip, mapping, sme, drawn)
        seconds = round(time.monotonic() - started, 3)
        _emit({"simulator": "model", "seconds": seconds, "model": model_file, **content}, json_file)
        return
    if (drawn, Pruning(patterns, kernel_sparsity, weights_per_kernel)) != (Synthetic(seed=seed), Pruning()):
        raise InputError("--weights, --sparsity, --patterns and their like are for shapes:NAME: this model has weights")
    if is_network(model_file):
        _emit(model_network(model_file, chip, input_file, _network(options, shape)), json_file)
        return
    _no_network(shape)
    _, _, compiled, _ = _prepare(model_file, chip, input_file, options)
    line = report(compiled, foretell(compiled, options), None)
    console.print(layer_table([line]))
    _tell(line)
    _emit(summary([line], "model", started), json_file)


def _count(model_file: str, chip: str, mapping: str, sme: SmeParameters | None, synthetic: Synthetic) -> dict:
    layers, loaded = load_network(model_file.removeprefix(PREFIX)), load_chip(chip)
    check_network(loaded, mapping, sme)
    with progress() as bar:
        task = bar.add_task(model_file, total=len(layers))
        content = count_network(layers, loaded, mapping, sme, synthetic, tick=lambda: bar.advance(task))
    console.print(network_table(content))
    return content


def _count_pruned(model_file: str, chip: str, pruning: Pruning, slices: int) -> dict:
    layers, loaded = load_network(model_file.removeprefix(PREFIX)), load_chip(chip)
    check_pruned(layers, loaded, pruning, slices)
    with progress() as bar:
        task = bar.add_task(model_file, total=len(layers))
        content = count_pruned(layers, loaded, pruning, slices=slices, tick=lambda: bar.advance(task))
    names = [name for name in content if name.endswith(("_ratio", "packing", "_bits"))]
    console.print(table_of("dense over pattern", names, [[str(content[name]) for name in names]]))
    if content["skipped"]:
        console.print(f"left out, for patterns cannot prune them: {', '.join(content['skipped'])}", markup=False)
    return content


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
    console.print(table_of("pruned", ("node", "weights", "kept", "kernels", "deleted", "patterns"), rows))


@app.command("quantize")
def quantize_command(
    model_file: Annotated[str, typer.Argument(metavar="MODEL", help="a float ONNX file")],
    calibration: Annotated[str, typer.Option(help="images in the shape of the model's input, .npy of floats")],
    out: Annotated[Path, typer.Option("--out", help="where the quantised ONNX file goes")],
    form: Annotated[str, typer.Option(help="qdq or qoperator")] = "qdq",
    per_channel: Annotated[bool, typer.Option("--per-channel/--per-tensor", help="scales of the weights")] = True,
    activations: Annotated[str, typer.Option(help="uint8 or int8")] = "uint8",
    method: Annotated[str, typer.Option(help="minmax, entropy or percentile")] = "minmax",
    shape: Annotated[str | None, typer.Option(help="of the input, such as 1,3,32,32, where sides are free")] = None,
    json_file: Json = None,
) -> None:
    """Quantise the float MODEL to eight bits by onnxruntime, its ranges from images."""
    from selvage.quantize import QuantizeOptions, quantize_file  # here, for onnxruntime is slow to load

    check_writable(json_file if str(json_file) != "-" else None)
    if json_file and json_file.resolve() == out.resolve():
        raise InputError(f"--out and --json are both {out}")
    options = QuantizeOptions(form, per_channel, activations, method, shape_of(shape))
    content = quantize_file(model_file, calibration, out, options)
    rows = [[name, str(count), "eight bits"] for name, count in content["operators"].items()]
    rows += [[name, str(count), "float"] for name, count in content["in_float"].items()]
    console.print(table_of("quantised", ("operator", "nodes", "computed in"), rows))
    if content["distance"] is not None:
        ratio = "" if content["sqnr_db"] is None else f", SQNR {content['sqnr_db']:.1f} dB"
        most, mean = content["distance"], content["mean_distance"]
        console.print(f"from the float outputs: {most:.4g} at most, {mean:.4g} mean{ratio}")
    if content["agreement"] is not None:
        console.print(f"integer outputs that are the same: {content['agreement']:.2%}")
    console.print(f"{content['images']:,} images, {content['bytes_float']:,} bytes to {content['bytes']:,}")
    _emit(content, json_file)


@app.command("compile")
def compile_command(
    model_file: Annotated[str, typer.Argument(metavar="MODEL", help="a quantised ONNX file")],
    chip: ChipName = "ou9x8",
    out: Annotated[Path, typer.Option("--out", help="folder of the network's files")] = Path("build/network"),
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
    seed: Seed = 0,
    lossless: Lossless = False,
    shape: Shape = None,
) -> None:
    """Place the network MODEL on a chip and write its Verilog, cells, names and report."""
    sme = _sme(squeeze, significant_bits, compact, sort_rows, rounding)
    skip, dynamic = _switch("ou-skip", ou_skip), _switch("dynamic-ou", dynamic_ou)
    options = Options(schedule, mapping, 1, skip, seed=seed, lossless=lossless, sme=sme, dynamic=dynamic)
    paths = compile_to(model_file, chip, input_file, out, _network(options, shape))
    console.print(f"{len(paths)} files in {out}")


@app.command("verilog")
def verilog_command(
    model_file: ModelFile,
    chip: ChipName = "ou9x8",
    out: Annotated[Path, typer.Option("--out", help="folder of the Verilog")] = Path("build/verilog"),
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
) -> None:
    """Write the Verilog of MODEL's tiles, and a JSON of names beside it."""
    sme = _sme(squeeze, significant_bits, compact, sort_rows, rounding)
    skip, dynamic = _switch("ou-skip", ou_skip), _switch("dynamic-ou", dynamic_ou)
    options = Options(schedule, mapping, fold, skip, seed=seed, lossless=lossless, sme=sme, dynamic=dynamic)
    _, _, compiled, _ = _prepare(model_file, chip, input_file, options)
    for path in write_bundle(compiled.placement, compiled.weights, out, skip=options.ou_skip):
        console.print(str(path))


@app.command("schema")
def schema_command(what: Annotated[Literal["chip", "layer"], typer.Argument()] = "chip") -> None:
    """Print the JSON Schema of a chip or layer description."""
    from selvage.layer_file import LayerFile

    json.dump((Chip if what == "chip" else LayerFile).model_json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")


def _command() -> int | None:
    try:
        return app(standalone_mode=False)
    except UsageError as error:
        raise InputError(f"{error.format_message()} (see selvage --help)") from None


def main() -> None:
    """Exit status: 0 match, 1 mismatch, 2 bad input (one line)."""
    leave(_command)
