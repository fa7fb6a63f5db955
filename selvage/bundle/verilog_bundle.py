"""The bundle of `selvage verilog`: modules, macros, a self-test and flow files; each file whole or not at all."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selvage import __version__
from selvage.base.chip import Chip
from selvage.base.files import json_text, write_files
from selvage.base.graph import Graph, Matrix, Tensor
from selvage.base.layer import InputFormat
from selvage.bundle.flow import Design, flow_files, timed
from selvage.bundle.macro_proof import macro_proof
from selvage.bundle.network_bundle import placement_json
from selvage.bundle.placement_file import describe_placement
from selvage.bundle.readme import readme, together_notes
from selvage.bundle.selftest import Stream, selftest
from selvage.bundle.vectors import selftest_images
from selvage.compiler.compile_layer import Compiled
from selvage.compiler.compile_network import CompiledNetwork, layer_sums
from selvage.compiler.options import Options
from selvage.compiler.parts import Part, node_parts
from selvage.golden.graph import run as evaluate
from selvage.hw.macro.macro_views import Macro, view_files
from selvage.hw.network.network import Network, NetworkParameters
from selvage.mapping.placement import Placement
from selvage.mapping.plan_network import plan_network
from selvage.mapping.stages import NetworkPlan
from selvage.rtlsim.plain import cell_lines, entering_words, words_of_image
from selvage.rtlsim.predicted import image_cycles
from selvage.rtlsim.words import hex_lines, raster_words
from selvage.sim.machine import run as run_crossbars
from selvage.verilog.modules import ModuleFile, convert_modules

Integers = NDArray[np.int64]


def write_verilog_bundle(
    compiled: CompiledNetwork, options: Options, out: Path, more: Mapping[str, bytes] | None = None
) -> list[Path]:
    """Write a network's bundle, and ``more``, to ``out``, and return the files. The same bytes for the same input.

    Where the chip does not hold all layers at once there is a bundle for each node, of a node that takes several
    passes for each pass, in a folder of its own.
    """
    return write_files(chain([more or {}], _network_files(compiled, options)), out)


def _network_files(compiled: CompiledNetwork, options: Options) -> Iterator[dict[str, bytes]]:
    """Yield the files of the network, or of one node, or pass of one, after the other."""
    if compiled.fits:
        p = NetworkParameters(compiled.plan, skip=options.skip)
        inputs = selftest_images(compiled.graph, [compiled.codes[tensor.name] for tensor in compiled.graph.inputs])
        expected = expected_codes(compiled.graph, compiled.plan, inputs)
        contents = bundle_files(p, inputs, [expected[name] for name in compiled.graph.outputs])
        yield contents | {"placement.json": placement_json(compiled, p.plan)}
    for folder, part in node_parts(compiled, options) if not compiled.fits else ():
        files = part_files(compiled, part) | {"placement.json": placement_json(compiled, part.plan)}
        yield {f"{folder}{name}": content for name, content in files.items()}


def write_layer_bundle(
    compiled: Compiled, skip: bool, out: Path, more: Mapping[str, bytes] | None = None
) -> list[Path]:
    """Write the bundle of a single layer, as a network of one node whose sums leave, and ``more``, to ``out``.

    Return the files.
    """
    graph = layer_graph(compiled.placement, compiled.weights)
    plan = plan_network(graph, {graph.nodes[0].name: compiled.placement})
    p = NetworkParameters(plan, skip=skip, direct=True)
    inputs = selftest_images(graph, [compiled.maps])
    expected = expected_codes(graph, plan, inputs)
    contents = dict(more or {}) | bundle_files(p, inputs, [expected[name] for name in graph.outputs])
    contents["placement.json"] = _layer_placement_json(compiled)
    return write_files([contents], out)


def layer_network(compiled: Compiled) -> CompiledNetwork:
    """Return a single layer as a compiled network (`layer_graph`), for what takes one: a shell."""
    graph = layer_graph(compiled.placement, compiled.weights)
    (node,), (source,) = graph.nodes, graph.inputs
    placements = {node.name: compiled.placement}
    return CompiledNetwork(graph, compiled.placement.chip, placements, {}, {source.name: compiled.maps})


def layer_graph(placement: Placement, weights: Integers) -> Graph:
    """Return a single layer as a network of one node, its sums raw and without its bias."""
    layer, scale = placement.layer, np.ones(placement.layer.outputs, np.float32)
    source = Tensor("x", (layer.channels, layer.height, layer.width), 1.0, placement.format)
    sums = Tensor("y", (layer.outputs, *layer.output_size), scale, InputFormat(raw_bits=32, raw_signed=True))
    node = Matrix(
        name=layer.name,
        inputs=("x",),
        output=sums,
        layer=layer,
        weights=weights,
        bias=np.zeros(layer.outputs, np.int64),
        weight_scale=scale,
        raw=True,
    )
    return Graph("layer", (source,), (node,), ("y",))


def expected_codes(graph: Graph, plan: NetworkPlan, inputs: Sequence[Integers]) -> dict[str, Integers]:
    """Return what leaves the gateware, by tensor.

    These are the golden model's codes, but sums as the crossbars and their ADCs yield them, and raw sums without the
    bias that the host adds.
    """
    entering = {tensor.name: codes for tensor, codes in zip(graph.inputs, inputs, strict=True)}
    layers, leaving = {stage.name: stage for stage in plan.layers}, {}

    def sums(node: Matrix, codes: Integers) -> Integers:
        found = layer_sums(node, layers[node.name].placement, codes)
        if node.raw:
            leaving[node.output.name] = found
        return found

    return evaluate(graph, entering, sums) | leaving


def part_files(compiled: CompiledNetwork, part: Part) -> dict[str, bytes]:
    """Return the bundle of one node, or of one pass of it."""
    p, graph = part.parameters, compiled.graph.only(part.node)
    inputs = selftest_images(graph, part.inputs)
    if len(p.plan.layers) == 1 and len(compiled.placements[part.node.name].passes) > 1:
        (stage,) = p.plan.layers
        expected = run_crossbars(stage.placement, inputs[0] - stage.placement.format.zero_point)
    else:
        expected = expected_codes(graph, p.plan, inputs)[part.node.output.name]
    return bundle_files(p, inputs, [expected])


def generator() -> str:
    """Return name and version of this generator."""
    return f"selvage {__version__}"


def bundle_files(
    p: NetworkParameters, inputs: Sequence[Integers], expected: Sequence[Integers], name: str = "network"
) -> dict[str, bytes]:
    """Return all files of a bundle but the placement, for images (N, C, H, W) of codes and what must leave."""
    network = Network(p)
    notes = {
        f"{name}.stage_{k}": f"{type(stage).__name__.removesuffix('Stage').lower()} {stage.name!r}."
        for k, stage in enumerate(p.plan.stages)
    }
    together = [[f"i_{k}" for k in group] for group in groups(p)]
    warnings = together_notes(together)
    if warnings:
        notes[name] = "\n// ".join([f"The stages of {p.plan.name!r}.", *warnings])
    made = generator()
    modules = convert_modules(network, name, network.library.components, generator=made, notes=notes)
    chip = p.plan.layers[0].placement.chip if p.plan.layers else None
    design = Design(
        name=name,
        rtl=tuple(f"rtl/{module.name}.v" for module in modules),
        macro=p.macro,
        crossbars=tuple(p.crossbars),
        generator=made,
        inputs=tuple(
            [f"selftest/input_{k}.hex" for k in range(len(p.inputs))]
            + [f"selftest/expected_{k}.hex" for k in range(len(p.outputs))]
        ),
    )
    texts = {f"rtl/{module.name}.v": module.text for module in modules}
    texts |= flow_files(design) | {"README.md": readme(design, together=together)}
    texts["names.json"] = json_text(_names_json(p, design, modules)) + "\n"
    texts |= _selftest_files(p, design, inputs, expected)
    contents = {path: text.encode() for path, text in texts.items()}
    if chip and p.macro:
        contents |= _macro_files(p.macro, chip)
    for k, text in enumerate(cell_lines(p.plan)):
        contents[f"macro/cells_{k}.hex"] = text.encode()
    return timed(contents)


def groups(p: NetworkParameters) -> tuple[tuple[int, ...], ...]:
    """Return groups of input streams that must be fed side by side."""
    if p.direct:  # the sums of all tiles are added
        return (tuple(range(len(p.inputs))),) if len(p.inputs) > 1 else ()
    return p.plan.fed_together


def _strobes(p: NetworkParameters) -> list[tuple[str, int]]:
    return [("beats", max(1, sum(len(layer.tiles) for layer in p.layers.values()))), ("words", len(p.plan.stages))]


def _macro_files(macro: Macro, chip: Chip) -> dict[str, bytes]:
    proof = {f"macro/{name}": text.encode() for name, text in macro_proof(macro, chip).items()}
    return view_files(macro) | proof


def _selftest_files(
    p: NetworkParameters, design: Design, inputs: Sequence[Integers], expected: Sequence[Integers]
) -> dict[str, str]:
    entering, leaving = words_of_image(p)
    sources = [Stream(bits * lanes, words) for (bits, lanes), words in zip(p.inputs, entering, strict=True)]
    sinks = [
        Stream(bits * lanes, words, lanes, tensor.shape[0], tensor.shape[2], p.signed(tensor))
        for tensor, (bits, lanes), words in zip(p.plan.outputs, p.outputs, leaving, strict=True)
    ]
    crossbars = list(zip(design.crossbars, design.cells, strict=True))
    run = (len(inputs[0]), _strobes(p), image_cycles(p.plan), groups(p), crossbars)
    texts = {"selftest/selftest.v": selftest(design.name, sources, sinks, *run)}
    texts |= {f"selftest/input_{k}.hex": text for k, text in enumerate(entering_words(p, inputs))}
    for k, (codes, (bits, lanes)) in enumerate(zip(expected, p.outputs, strict=True)):
        texts[f"selftest/expected_{k}.hex"] = hex_lines(raster_words(codes, bits, lanes), bits * lanes)
    return texts


def _names_json(p: NetworkParameters, design: Design, modules: Sequence[ModuleFile]) -> dict:
    """Return what each module, pin and macro is, and where in the design."""
    return {
        "top": design.name,
        "generator": generator(),
        "modules": {m.name: {"file": f"rtl/{m.name}.v", "places": list(m.origins)} for m in modules},
        "inputs": _streams("i", p, p.inputs, p.plan.inputs),
        "together": [[f"i_{k}" for k in group] for group in groups(p)],  # fed side by side, or all stand still
        "outputs": _streams("o", p, p.outputs, p.plan.outputs),
        "beats": [
            {"node": stage.name, "tile": k} for stage in p.plan.layers for k in range(len(stage.placement.standing))
        ],
        "words": [stage.name for stage in p.plan.stages],
        "stages": {f"stage_{k}": stage.name for k, stage in enumerate(p.plan.stages)},
        "crossbars": crossbar_places(p.plan, design),
    }


def crossbar_places(plan: NetworkPlan, design: Design) -> list[dict]:
    """Return each crossbar's place, macro and file of cells if it has one, and which array of a node's tile it is."""
    places = [
        {"node": stage.name, "tile": k, "array": array}
        for stage in plan.layers
        for k, (_, tile) in enumerate(stage.placement.standing)
        for array in range(len(tile.arrays))
    ]
    files = [{"cells": path} for path in design.cells] or [{} for _ in places]
    return [
        {"instance": instance, "macro": design.macro.name if design.macro else "", **cells, **place}
        for instance, cells, place in zip(design.crossbars, files, places, strict=True)
    ]


def _streams(
    prefix: str, p: NetworkParameters, words: Sequence[tuple[int, int]], tensors: Sequence[Tensor]
) -> list[dict]:
    """Return what each stream carries, in raster order, channels of a pixel in order, the first lane lowest."""
    images = words_of_image(p)[prefix == "o"]
    if p.direct and prefix == "i":  # every tile takes its channels of the one tensor
        tiles = [tile for _, tile in p.plan.layers[0].placement.standing]
        carried = [(tensors[0], (tile.first_channel, tile.first_channel + tile.channels - 1)) for tile in tiles]
    else:
        carried = [(tensor, (0, tensor.shape[0] - 1)) for tensor in tensors]
    return [
        {
            "pins": f"{prefix}_{k}",
            "tensor": tensor.name,
            "shape": list(tensor.shape),
            "channels": list(channels),  # the first and the last
            "bits": bits,
            "lanes": lanes,
            "words": images[k],
            **code_json(p, tensor),
        }
        for k, ((bits, lanes), (tensor, channels)) in enumerate(zip(words, carried, strict=True))
    ]


def code_json(p: NetworkParameters, tensor: Tensor) -> dict:
    """Return which numbers the codes of a tensor are."""
    scale, zero_point = np.asarray(tensor.scale).tolist(), int(tensor.format.zero_point)
    return {"signed": p.signed(tensor), "scale": scale, "zero_point": zero_point}


def _layer_placement_json(compiled: Compiled) -> bytes:
    """Return where the weights of a single layer lie."""
    placement = compiled.placement
    content = {"chip": placement.chip.model_dump(), "first_crossbar": 0, **describe_placement(placement)}
    return (json_text(content) + "\n").encode()
