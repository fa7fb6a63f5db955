"""The commands that are for whole networks alone."""

from pathlib import Path
from typing import Annotated

import typer

from selvage.base.files import LISTING, alone_in, check_writable
from selvage.commands.cli_options import (
    ChipName,
    Compact,
    Dynamic,
    InputFile,
    Json,
    Lossless,
    Mapping,
    Rounding,
    Schedule,
    Seed,
    Shape,
    Significant,
    Skip,
    SortRows,
    Squeeze,
    check_is_file,
    check_outputs_apart,
    emit,
    folder,
    network_options,
    sme_of,
    switch,
)
from selvage.commands.network_command import compile_to
from selvage.commands.streams import show, warn
from selvage.commands.tables import table_of
from selvage.compile.compile_layer import Options
from selvage.frontend.options import shape_of

POOR = 10
"""Decibels of signal to noise below which a quantised network is warned of."""


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
    from selvage.frontend.quantize.quantize import (  # here, for onnxruntime is slow to load
        QuantizeOptions,
        quantize_file,
    )

    check_writable(json_file if str(json_file) != "-" else None)
    check_outputs_apart({"--out": out, "--json": json_file}, {"--calibration": calibration})
    check_outputs_apart({"--json": json_file}, {"MODEL": model_file})
    options = QuantizeOptions(form, per_channel, activations, method, shape_of(shape), min_sqnr)
    content = quantize_file(model_file, calibration, out, options)
    rows = [[name, str(count), "eight bits"] for name, count in content["operators"].items()]
    rows += [[name, str(count), "float"] for name, count in content["in_float"].items()]
    show(table_of("quantised", ("operator", "nodes", "computed in"), rows))
    tell_quality(content)
    show(f"{content['images']:,} images, {content['bytes_float']:,} bytes to {content['bytes']:,}")
    emit(content, json_file)


def tell_quality(content: dict) -> None:
    """How near the float network is, and what is to be looked at."""
    if content["per_tensor"]:
        layers = ", ".join(content["per_tensor"])
        warn(f"one scale for all weights of {layers}: onnxruntime can give it no others")
    if content["not_measured"]:
        warn(f"not measured: {content['not_measured']}")
    if content["distance"] is not None:
        ratio = "" if content["sqnr_db"] is None else f", SQNR {content['sqnr_db']:.1f} dB"
        most, mean = content["distance"], content["mean_distance"]
        show(f"from the float outputs: {most:.4g} at most, {mean:.4g} mean{ratio}")
    if content["agreement"] is not None:
        show(f"integer outputs that are the same: {content['agreement']:.2%}")
    if content["sqnr_output"] is not None and content["sqnr_db"] is None:
        warn(f"output {content['sqnr_output']!r} of the quantised network is not finite")
    if content["sqnr_db"] is not None and content["sqnr_db"] < POOR:
        warn(f"the SQNR of output {content['sqnr_output']!r} is below {POOR} dB: other images or --method may help")


def compile_command(
    model_file: Annotated[str, typer.Argument(metavar="MODEL", help="a quantised ONNX file")],
    chip: ChipName = "ou9x8",
    out: Annotated[Path, typer.Option("--out", help="folder of the network's files", parser=folder)] = Path(
        "build/network"
    ),
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
    sme = sme_of(squeeze, significant_bits, compact, sort_rows, rounding)
    skip, dynamic = switch("ou-skip", ou_skip), switch("dynamic-ou", dynamic_ou)
    options = Options(schedule, mapping, 1, skip, seed=seed, lossless=lossless, sme=sme, dynamic=dynamic)
    check_is_file(model_file)
    check_writable(out / LISTING)
    with alone_in(out):
        paths = compile_to(model_file, chip, input_file, out, network_options(options, shape))
    show(f"{len(paths)} files in {out}")
