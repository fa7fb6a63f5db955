"""The command `selvage quantize`."""

from pathlib import Path

from selvage.base.files import check_writable
from selvage.commands.results import check_outputs_apart, emit
from selvage.commands.streams import show, warn
from selvage.commands.tables import table_of
from selvage.frontend.quantize.quantize import QuantizeOptions, quantize_file

POOR = 10
"""Decibels of signal to noise below which a quantised network is warned of."""


def quantize(model_file: str, calibration: str, out: Path, options: QuantizeOptions, json_file: Path | None) -> None:
    """Do `selvage quantize`."""
    check_writable(json_file if str(json_file) != "-" else None)
    check_outputs_apart({"--out": out, "--json": json_file}, {"--calibration": calibration})
    check_outputs_apart({"--json": json_file}, {"MODEL": model_file})
    content = quantize_file(model_file, calibration, out, options)
    rows = [[name, str(count), "eight bits"] for name, count in content["operators"].items()]
    rows += [[name, str(count), "float"] for name, count in content["in_float"].items()]
    show(table_of("quantised", ("operator", "nodes", "computed in"), rows))
    tell_quality(content)
    show(f"{content['images']:,} images, {content['bytes_float']:,} bytes to {content['bytes']:,}")
    emit(content, json_file)


def tell_quality(content: dict) -> None:
    """Tell how near the float network is, and what is to be looked at."""
    if content["per_tensor"]:
        layers = ", ".join(content["per_tensor"])
        warn(f"one scale for all weights of {layers}: onnxruntime can give it no others")
    for name, why in content["recurrent_in_float"].items():
        warn(f"node {name!r} stays in float: it {why}")
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
