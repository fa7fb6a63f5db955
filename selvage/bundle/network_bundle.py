"""The files of a compiled network: Verilog, cells, names, report."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from selvage.base.files import json_text, write_files
from selvage.base.graph import Integers
from selvage.bundle.placement_file import describe_placement
from selvage.compiler.compile_network import CompiledNetwork
from selvage.compiler.options import Options
from selvage.compiler.parts import node_parts
from selvage.hw.network.network import NetworkParameters
from selvage.mapping.stages import LayerStage, NetworkPlan
from selvage.rtlsim.plain import cell_lines, entering_words, network_verilog


def write_network(compiled: CompiledNetwork, options: Options, out: Path, report: str) -> list[Path]:
    """Write a compiled network to ``out``, and return the files. The same bytes for the same input.

    ``network.v``, the ideal macro ``crossbar.v`` and a bench ``bench.v`` that plays ``input_k.hex`` into it, with
    ``cells_k.hex`` of every macro. Where the chip does not hold all layers at once, a folder with such files for each
    node, of a node that takes several passes for each pass. ``placement.json`` names everything; ``report.json``;
    ``files.txt`` lists them (`base.files.write_files`).
    """
    return write_files(chain([{"report.json": report.encode()}], _files(compiled, options)), out)


def _files(compiled: CompiledNetwork, options: Options) -> Iterator[dict[str, bytes]]:
    """Yield the files of the network, or of one node, or pass of one, after the other."""
    if compiled.fits:
        p = NetworkParameters(compiled.plan, skip=options.skip)
        files = _design(p, [compiled.codes[tensor.name] for tensor in compiled.graph.inputs], "")
        yield files | {"placement.json": placement_json(compiled, p.plan)}
        return
    for folder, part in node_parts(compiled, options):
        files = _design(part.parameters, part.inputs, folder)
        yield files | {f"{folder}placement.json": placement_json(compiled, part.plan)}


def _design(p: NetworkParameters, inputs: list[Integers], folder: str) -> dict[str, bytes]:
    """Return sources, cells and one image's words."""
    files = {f"{folder}{name}": text.encode() for name, text in network_verilog(p).items()}
    for index, text in enumerate(cell_lines(p.plan)):
        files[f"{folder}cells_{index}.hex"] = text.encode()
    for index, text in enumerate(entering_words(p, [codes[:1] for codes in inputs])):
        files[f"{folder}input_{index}.hex"] = text.encode()
    return files


def placement_json(compiled: CompiledNetwork, plan: NetworkPlan) -> bytes:
    """Return what each stage is, where its tensors come from, and where the weights lie."""
    macro, stages = 0, []
    for index, stage in enumerate(plan.stages):
        entry = {
            "stage": f"stage_{index}",
            "node": stage.name,
            "kind": type(stage).__name__.removesuffix("Stage").lower(),
            "sources": [source.name for source in stage.sources],
            "output": stage.output.name,
        }
        if isinstance(stage, LayerStage):
            entry |= {"first_crossbar": macro, **describe_placement(stage.placement)}
            macro += stage.placement.crossbars
        stages.append(entry)
    tensors = {t.name: t for t in [*plan.inputs, *(stage.output for stage in plan.stages)]}
    content = {
        "network": plan.name,
        "chip": compiled.chip.model_dump(),
        "tensors": {
            name: {
                "shape": tensor.shape,
                "bits": tensor.format.raw_bits,
                "signed": tensor.format.raw_signed,
                "zero_point": tensor.format.zero_point,
                "scale": np.asarray(tensor.scale, np.float64).tolist(),
                "lanes": plan.lanes[name],
            }
            for name, tensor in tensors.items()
        },
        "inputs": [tensor.name for tensor in plan.inputs],
        "outputs": [tensor.name for tensor in plan.outputs],
        "queues": [
            {"stage": stage, "source": source, "words": depth}
            for (stage, source), depth in plan.depths.items()
            if depth
        ],
        "stages": stages,
    }
    return (json_text(content) + "\n").encode()
