"""The command line: words and options. What computes is loaded by the command that is asked for."""

import itertools
import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from selvage import __version__
from selvage.base.build import ROOT
from selvage.base.errors import InputError
from selvage.commands.cli_options import (
    Asked,
    AskedOfShapes,
    AskedOfWaves,
    Build,
    ChipName,
    Fold,
    Json,
    KernelSparsity,
    ModelFile,
    NoiseFile,
    OutputFile,
    Partial,
    Pipeline,
    Shape,
    Simulator,
    Zeros,
    expanded,
    file,
    folder,
)

Out = Annotated[Path, typer.Option("--out", help="folder of the files", parser=folder)]

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"selvage {__version__}")
        raise typer.Exit()


@app.callback()
def everywhere(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and leave", callback=_version, is_eager=True)
    ] = False,
    limits: Annotated[int, typer.Option(help="accept sizes so many times those that README lists")] = 1,
) -> None:
    """Periphery of ReRAM compute-in-memory accelerators: generated, run, counted."""
    from selvage.base.limits import raise_limits

    raise_limits(limits)


@app.command("sim")
@expanded
def sim_command(
    model_file: ModelFile,
    asked: Asked,
    shown: AskedOfWaves,
    output_file: OutputFile = None,
    fold: Fold = 1,
    simulator: Simulator = "icarus",
    json_file: Json = None,
    pipeline: Pipeline = False,
    build: Build = ROOT,
    noise: NoiseFile = None,
) -> None:
    """Run MODEL through RTL and compare every output with the golden model."""
    from selvage.commands.model_command import sim

    how = {"fold": fold, "simulator": simulator, "shown": shown, "pipeline": pipeline, "build": build, "noise": noise}
    raise typer.Exit(0 if sim(model_file, asked, output_file=output_file, json_file=json_file, **how) else 1)


@app.command("explain")
def explain_command(
    waves: Annotated[Path, typer.Argument(metavar="FILE.fst", help="waves of a tile, of selvage sim --waves")],
    step: Annotated[int | None, typer.Option(help="one step alone")] = None,
    every_read: Annotated[bool, typer.Option("--reads", help="every OU read of the step, with its codes")] = False,
    json_file: Json = None,
) -> None:
    """Tell waves in words, step by step: pixels fetched, OUs read and skipped, codes, sums."""
    from selvage.commands.explain_command import explain

    explain(waves, step=step, every_read=every_read, json_file=json_file)


@app.command("model")
@expanded
def model_command(
    model_file: ModelFile,
    asked: Asked,
    asked_of_shapes: AskedOfShapes,
    fold: Fold = 1,
    json_file: Json = None,
    pipeline: Pipeline = False,
) -> None:
    """Count cycles, reads and crossbars of MODEL by cycle model alone."""
    from selvage.commands.model_command import model

    model(model_file, asked, asked_of_shapes, fold=fold, json_file=json_file, pipeline=pipeline)


@app.command("cost")
@expanded
def cost_command(
    model_file: ModelFile,
    asked: Asked,
    costs: Annotated[
        str,
        typer.Option(help="tables of costs, ready ones (isaac, puma, mnsim, neurosim, yu) or TOML files, by commas"),
    ] = "isaac",
    node: Annotated[int | None, typer.Option(help="nm that figures are scaled to: 32, 65 or 180")] = None,
    zeros: Zeros = 0.5,
    json_file: Json = None,
) -> None:
    """Tell energy, area and time of MODEL by component, beside the dense mapping and inserted zeros."""
    from selvage.commands.cost_command import cost

    cost(model_file, asked, names=costs, node=node, zeros=zeros, json_file=json_file)


@app.command("report")
@expanded
def report_command(
    model_file: ModelFile,
    asked: Asked,
    out: Annotated[
        Path, typer.Option("--out", parser=file, help="where the page goes; its table as .csv beside it")
    ] = (Path("report.html")),
    costs: Annotated[str, typer.Option(help="a table of costs, ready or a TOML file")] = "isaac",
    node: Annotated[int | None, typer.Option(help="nm that figures are scaled to: 32, 65 or 180")] = None,
    zeros: Zeros = 0.5,
    rtl: Annotated[
        bool, typer.Option("--rtl", help="timelines of RTL: the first steps of each layer's first tile")
    ] = False,
    json_file: Json = None,
) -> None:
    """Write MODEL as one page: its graph, layers beside their baselines, crossbars, codes, timelines."""
    from selvage.commands.report_command import report

    how = {"names": costs, "node": node, "zeros": zeros, "rtl": rtl, "json_file": json_file}
    raise typer.Exit(0 if report(model_file, asked, out=out, **how) else 1)


@app.command("accuracy")
@expanded
def accuracy_command(
    model_file: Annotated[str, typer.Argument(metavar="MODEL", help="a quantised ONNX file")],
    asked: Asked,
    inputs: Annotated[Path, typer.Option(parser=file, help="images as the model's input takes them, .npy or .npz")],
    labels: Annotated[Path, typer.Option(parser=file, help="the class of each image, or of each pixel, .npy")],
    noise: NoiseFile = None,
    runs: Annotated[int, typer.Option(help="how often crossbars are drawn")] = 100,
    workers: Annotated[int | None, typer.Option(help="processes; as many as cores unless told")] = None,
    json_file: Json = None,
) -> None:
    """Tell how often MODEL is right with crossbars that are not ideal, drawn anew in each run."""
    import os

    from selvage.commands.accuracy_command import accuracy

    how = {"noise_file": noise, "runs": runs, "workers": workers if workers is not None else os.cpu_count() or 1}
    accuracy(model_file, asked, inputs=inputs, labels=labels, json_file=json_file, **how)


@app.command("reproduce")
def reproduce_command(
    paper: Annotated[str, typer.Argument(help="red, sme, pattern, sre, regan, combined or all")],
    rtl: Annotated[bool, typer.Option("--rtl", help="small layers in RTL beside the model, by Icarus")] = False,
    json_file: Json = None,
    out: Annotated[Path | None, typer.Option("--out", parser=folder, help="folder of plots, SVG and PNG")] = None,
) -> None:
    """Recompute the figures of the papers that selvage builds on, beside what they published."""
    from selvage.commands.reproduce_command import reproduce

    reproduce(paper, rtl=rtl, json_file=json_file, out=out)


@app.command("prune")
def prune_command(
    model_file: Annotated[str, typer.Argument(metavar="MODEL", help="an ONNX file")],
    out: Annotated[Path, typer.Option("--out", help="where the pruned ONNX file goes")],
    patterns: Annotated[int, typer.Option(help="kinds of kernels that are kept")] = 8,
    kernel_sparsity: KernelSparsity = 0.44,
    entries: Annotated[int, typer.Option(help="weights of a kept kernel")] = 4,
    circulant: Annotated[
        int | None, typer.Option(help="instead: make dense weights of circulant blocks of so many rows")
    ] = None,
) -> None:
    """Prune the convolutions of MODEL: whole kernels, the others to the best patterns; or dense layers to blocks."""
    from selvage.commands.prune_command import prune, prune_dense

    if circulant is not None:
        prune_dense(model_file, out, circulant)
        return
    prune(model_file, out, patterns=patterns, kernel_sparsity=kernel_sparsity, entries=entries)


@app.command("doctor")
def doctor_command(
    model_file: ModelFile,
    chip: ChipName = "ou9x8",
    shape: Shape = None,
    partial: Partial = False,
    every_node: Annotated[bool, typer.Option("--all", help="nodes with nothing to do too")] = False,
    json_file: Json = None,
) -> None:
    """Say where each node of MODEL would run, and what to change for those that stand in the way."""
    from selvage.commands.doctor_command import doctor

    how = {"chip": chip, "shape": shape, "partial": partial, "every_node": every_node, "json_file": json_file}
    raise typer.Exit(0 if doctor(model_file, **how) else 1)


@app.command("verilog")
@expanded
def verilog_command(
    model_file: ModelFile,
    asked: Asked,
    out: Out = Path("build/verilog"),
    fold: Fold = 1,
    bus: Annotated[str | None, typer.Option(help="a shell for axi or wishbone too, in OUT/shell")] = None,
    overlap: Annotated[bool, typer.Option("--overlap", help="of a training file, as of selvage train")] = False,
) -> None:
    """Write MODEL, or the chip of a training file, as Verilog for any flow: design, macro, self-test, names."""
    from selvage.commands.model_command import verilog
    from selvage.frontend.kinds import is_training

    if is_training(model_file):
        from selvage.commands.train_verilog import verilog_training

        verilog_training(model_file, asked, out=out, overlap=overlap, bus=bus, fold=fold)
        return
    if overlap:
        raise InputError(f"--overlap is for a training file, and {model_file!r} is none")
    verilog(model_file, asked, out=out, fold=fold, bus=bus)


@app.command("schema")
def schema_command(what: Annotated[Literal["chip", "layer"], typer.Argument()] = "chip") -> None:
    """Print the JSON Schema of a chip or layer description."""
    from selvage.base.chip import Chip
    from selvage.frontend.layer_file import LayerFile

    json.dump((Chip if what == "chip" else LayerFile).model_json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")


@app.command("quantize")
def quantize_command(
    model_file: Annotated[str, typer.Argument(metavar="MODEL", help="a float ONNX file")],
    calibration: Annotated[
        str, typer.Option(help="images in the shape of the model's input, .npy of floats; .npz for several inputs")
    ],
    out: Annotated[Path, typer.Option("--out", help="where the quantised ONNX file goes")],
    form: Annotated[str, typer.Option(help="qdq or qoperator")] = "qdq",
    per_channel: Annotated[bool, typer.Option("--per-channel/--per-tensor", help="scales of the weights")] = True,
    activations: Annotated[str, typer.Option(help="uint8 or int8")] = "uint8",
    method: Annotated[str, typer.Option(help="minmax, entropy or percentile")] = "minmax",
    shape: Annotated[str | None, typer.Option(help="of the input, such as 1,3,32,32, where sides are free")] = None,
    min_sqnr: Annotated[float, typer.Option("--min-sqnr", help="in dB: write nothing below; -inf writes all")] = 0.0,
    json_file: Json = None,
) -> None:
    """Quantise the float MODEL to eight bits by onnxruntime, its ranges from images."""
    from selvage.commands.quantize_command import quantize
    from selvage.frontend.options import shape_of
    from selvage.frontend.quantize.quantize import QuantizeOptions

    options = QuantizeOptions(form, per_channel, activations, method, shape_of(shape), min_sqnr)
    quantize(model_file, calibration, out, options, json_file)


@app.command("compile")
@expanded
def compile_command(
    model_file: Annotated[str, typer.Argument(metavar="MODEL", help="a quantised ONNX file")],
    asked: Asked,
    out: Out = Path("build/network"),
) -> None:
    """Place the network MODEL on a chip and write its Verilog, cells, names and report."""
    from selvage.commands.model_command import compile_network_files

    compile_network_files(model_file, asked, out=out)


@app.command("train")
def train_command(
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="a training TOML")] = None,
    count: Annotated[
        bool, typer.Option("--count", help="count a schedule's logical cycles in its controller's RTL")
    ] = False,
    generator_layers: Annotated[int, typer.Option(help="0: one network alone")] = 0,
    discriminator_layers: Annotated[int, typer.Option(help="or of the one network")] = 1,
    batch: Annotated[int, typer.Option(help="samples of a batch")] = 1,
    schedule: Annotated[str, typer.Option(help="none, pipeline, pipeline+rf, sp, cs or sp+cs")] = "pipeline",
    overlap: Annotated[
        bool, typer.Option("--overlap", help="an iteration begins as soon as its weights are there")
    ] = False,
    simulator: Annotated[str, typer.Option(help="icarus, verilator, or none: the model alone")] = "icarus",
    iterations: Annotated[int, typer.Option(help="how many in all, those that --out has among them")] = 1,
    seed: Annotated[int, typer.Option(help="draws start weights, batches and noise")] = 0,
    out: Annotated[
        Path | None, typer.Option(parser=folder, help="folder of the state, from which a run goes on, and of pictures")
    ] = None,
    pictures: Annotated[int, typer.Option(help="samples as a PNG every so many iterations; 0: none")] = 0,
    json_file: Json = None,
    build: Build = ROOT,
) -> None:
    """Train the networks of FILE, or count the pipeline in which networks are trained."""
    if not count:
        from selvage.commands.train_run import TrainingOptions, train

        if file is None:
            raise InputError("selvage train needs a training file, a TOML, or --count")
        asked = TrainingOptions(schedule, overlap, iterations, simulator, seed, out, json_file, build, pictures)
        raise typer.Exit(0 if train(file, asked) else 1)
    from selvage.commands.train_command import count_schedule

    if file is not None:
        raise InputError(f"--count takes no file, but numbers of layers, and {file!r} is given")
    how = {"overlap": overlap, "simulator": simulator, "json_file": json_file, "build": build}
    match = count_schedule(generator_layers, discriminator_layers, batch, schedule, **how)
    raise typer.Exit(0 if match else 1)


def command() -> int | None:
    """Run what the words of the command line ask for; return its exit status. `InputError`: they ask for nothing."""
    try:
        return app(standalone_mode=False)
    except typer.TyperException as error:  # every mistake in the options
        raise InputError(f"{error.format_message()}{_given(error)} (see selvage --help)") from None


def _given(error: Exception) -> str:
    """Return the value of the option that an error is about, where its message leaves it out."""
    option = next(iter(getattr(getattr(error, "param", None), "opts", ())), None)
    value = next((word for before, word in itertools.pairwise(sys.argv) if before == option), None)
    return "" if value is None or value in str(error) else f": {value!r}"
