"""The commands on a whole network: sim, model, verilog and compile."""

import json
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

from numpy.typing import NDArray
from rich.table import Table

from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError
from selvage.base.files import npy_bytes, write_whole
from selvage.bundle.network_bundle import write_network
from selvage.commands.again import again_as
from selvage.commands.network_waves import check_window
from selvage.commands.placed_network import PlacedNetwork
from selvage.commands.run_network import Flow, NodeReport, slowest_node
from selvage.commands.streams import progress, show, warn
from selvage.commands.tables import table_of, tell_diagnosis, tell_fault, tiles_of, verdict
from selvage.compiler.compile_network import CompiledNetwork, ImportedNetwork, compile_network
from selvage.compiler.options import Options
from selvage.compiler.parts import check_fits
from selvage.frontend.numpy_files import open_npy, read_npz
from selvage.rtlsim.plain import MOST_IMAGES


def read_images(path: Path) -> NDArray | Mapping[str, NDArray]:
    """Return what the model's one input is given, an .npy; an .npz has an array for each of several inputs."""
    what = f"input {str(path)!r}"
    return read_npz(path, what) if path.suffix == ".npz" else open_npy(path, what)


def prepare(
    path: str, chip: str, input_file: Path | None, options: Options, *, written: bool = True
) -> tuple[ImportedNetwork, Chip]:
    """Return the network placed, and the chip; ``written`` as of `compile_network`.

    `InputError`: more images than a run takes.
    """
    loaded = load_chip(chip)
    images = None if input_file is None else read_images(input_file)
    with progress(transient=True) as bar:  # an error is one line
        task = bar.add_task("placing", total=None)
        compiled = compile_network(path, loaded, images, options, lambda: bar.advance(task), written=written)
    if compiled.images > MOST_IMAGES:
        raise InputError(f"--input holds {compiled.images} images, and a run takes {MOST_IMAGES} at most")
    if compiled.warning:
        warn(compiled.warning)
    return compiled, loaded


def tell(compiled: ImportedNetwork) -> None:
    """Tell what `auto` chose and why, and what the host does and why."""
    for name, choice in compiled.choices.items():
        if choice.note:
            show(f"{name}: {choice.note}")
    for node in compiled.imported.host:
        show(f"host: {node.operator} {node.name!r} {node.why}")


def node_table(reports: list[NodeReport]) -> Table:
    """Return a table of one row a node."""
    heads = (
        "node",
        "kind",
        "mapping",
        "output",
        "RTL cycles",
        "predicted",
        "OU reads",
        "crossbars",
        "tiles",
        "buffers",
    )

    def number(value: int | None) -> str:
        return "-" if value is None else f"{value:,}"

    rows = [
        [
            r.name,
            r.kind,
            " ".join(dict.fromkeys(word for word in (r.mapping, r.schedule) if word)) or "-",
            " x ".join(map(str, r.shape)),
            number(r.cycles),
            number(r.cycles_model),
            number(r.reads if r.reads is not None else r.reads_model),
            f"{r.crossbars:,}" + (f" in {r.copies} copies" if r.copies > 1 else ""),
            tiles_of(r),
            f"{r.buffer_bits:,}",
            verdict(r.match),
        ]
        for r in reports
    ]
    return table_of("selvage", (*heads, "verdict"), rows)


def simulate_network(
    path: str, chip: str, input_file: Path | None, output_file: Path | None, options: Options, *, pipeline: bool
) -> tuple[dict, bool]:
    """Do `selvage sim` of a network; return its JSON report, and whether everything matched."""
    started = time.monotonic()
    compiled, loaded = prepare(path, chip, input_file, options)
    outputs = compiled.imported.leave(compiled.codes)
    check_outputs(outputs, output_file)
    if pipeline:
        check_fits(compiled)
    elif options.waves:
        check_window(compiled, options)
    tell(compiled)
    with progress() as bar:
        ticks: dict[str, Callable[[], None]] = {}
        for name, total in {"all layers": 2}.items() if pipeline else _passes(compiled).items():
            task = bar.add_task(name, total=total)
            ticks[name] = lambda task=task: bar.advance(task)
        again = again_as(sys.argv[1:], network=True)
        placed = PlacedNetwork(compiled, loaded, options)
        run = placed.simulate(started, pipeline=pipeline, ticks=ticks, again=again)
    for save in run.saves:
        show(f"open the waves with: gtkwave {save}")
    show(node_table(run.lines))
    if run.flow:
        tell_flow(run.flow)
    for fault in run.faults:
        tell_fault(fault)
    tell_diagnosis(run.diagnosis)
    match = not run.faults
    if output_file and match:
        write_outputs(outputs, output_file)
    elif output_file:
        warn(f"{output_file} is not written, for the outputs are not those of the golden model")
    return run.content, match


def _passes(compiled: CompiledNetwork) -> dict[str, int]:
    """Return the passes of each node."""
    placements = compiled.placements
    return {n.name: len(placements[n.name].passes) if n.name in placements else 1 for n in compiled.graph.nodes}


def model_network(path: str, chip: str, input_file: Path | None, options: Options, *, pipeline: bool = False) -> dict:
    """Do `selvage model` of a network, and return its JSON report."""
    started = time.monotonic()
    compiled, loaded = prepare(path, chip, input_file, options, written=False)
    if pipeline:
        check_fits(compiled)
    tell(compiled)
    lines, content = PlacedNetwork(compiled, loaded, options).count(started, pipeline=pipeline)
    show(node_table(lines))
    if flow := content["pipeline"]:
        used = f", and {flow['utilisation']:.1%} of the arrays' cycles are OU reads" if flow["utilisation"] else ""
        show(
            f"as a pipeline {flow['per_image']:,.1f} cycles an image, {flow['latency']:,} until the first has left; "
            f"the slowest node is {flow['slowest']}, {flow['bound']:,.1f} alone{used}"
        )
    elif compiled.fits:
        bound, slowest = slowest_node(compiled, options)
        show(f"as a pipeline {bound:,.0f} cycles an image, those of {slowest}")
    return content


def verilog_network(
    path: str, chip: str, input_file: Path | None, out: Path, bus: str | None, options: Options
) -> list[Path]:
    """Do `selvage verilog` of a network, and return the paths written."""
    compiled, loaded = prepare(path, chip, input_file, options)
    if bus:
        check_fits(compiled)
    tell(compiled)
    return PlacedNetwork(compiled, loaded, options).write_verilog(out, bus)


def compile_to(path: str, chip: str, input_file: Path | None, out: Path, options: Options) -> list[Path]:
    """Do `selvage compile`, and return the paths written."""
    started = time.monotonic()
    if Path(path).suffix == ".toml":
        raise InputError(f"model {path!r} is a single layer, and compile is for networks: see selvage verilog")
    compiled, loaded = prepare(path, chip, input_file, options)
    tell(compiled)
    lines, content = PlacedNetwork(compiled, loaded, options).count(started)
    show(node_table(lines))
    del content["seconds"]  # the same input gives the same bytes
    return write_network(compiled, options, out, json.dumps(content, indent=1) + "\n")


def tell_flow(flow: Flow) -> None:
    """Tell throughput and latency of a pipeline."""
    rate = "throughput needs two images or more"
    if flow.per_image:
        predicted = f" ({flow.per_image_model:,.1f} predicted)" if flow.per_image_model else ""
        rate = f"{flow.per_image:,.1f} cycles an image{predicted}, {flow.share:.4f} of what the slowest node allows"
    alone = f"{flow.slowest}, {flow.bound:,.1f} alone"
    predicted = f" ({flow.latency_model:,} predicted)" if flow.latency_model else ""
    latency = f"latency {flow.latency:,} cycles{predicted}"
    show(f"{latency}; {rate} ({alone}); outputs {verdict(flow.match)}")


def check_outputs(outputs: dict[str, NDArray], output_file: Path | None) -> None:
    """Raise `InputError`, before the run, when the file cannot hold what the model has."""
    if output_file and len(outputs) > 1 and output_file.suffix != ".npz":
        raise InputError(f"--output {output_file} must end in .npz: the model has the outputs {', '.join(outputs)}")


def write_outputs(outputs: dict[str, NDArray], path: Path) -> None:
    """Write the model's outputs: an .npz of all by name, or else the only one as an .npy."""
    if path.suffix == ".npz":
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:  # numpy.savez cannot have arrays named as its parameters are
            for name, array in outputs.items():
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), npy_bytes(array))
        write_whole(path, buffer.getvalue())
    else:
        write_whole(path, npy_bytes(next(iter(outputs.values()))))
