"""A quantised network on a chip: each layer placed by the mapping that the cycle model finds best."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.graph import Graph, Matrix, Node
from selvage.base.layer import InputFormat
from selvage.base.noise import Noise
from selvage.compiler.chip_limits import check_collected, check_matrix, clipping
from selvage.compiler.choose import Candidate
from selvage.compiler.choose_asked import choose_asked
from selvage.compiler.circulant import with_circulant
from selvage.compiler.copies import PacedLayer, assign, counts_asked, slowest
from selvage.compiler.copies_asked import CopiesAsked
from selvage.compiler.options import Options
from selvage.frontend.onnx.graph import Imported, load_graph
from selvage.golden.graph import evaluate_node, of_sums, run_loop
from selvage.golden.layer import evaluate
from selvage.hw.network.network import NetworkParameters
from selvage.mapping.placement import Placement
from selvage.mapping.plan_network import plan_network
from selvage.mapping.schedule import option_of
from selvage.mapping.stages import NetworkPlan
from selvage.sim.devices import Devices
from selvage.sim.layer import CountedPass, count_passes
from selvage.sim.machine import run as run_crossbars
from selvage.sim.pipeline import slowest_stage

Integers = NDArray[np.int64]
Tick = Callable[[], None]
DRAWN = 1  # images drawn where none are given


@dataclass(frozen=True, eq=False)
class Choice:
    """Why a layer is placed as it is, and what else was looked at."""

    note: str
    candidates: list[Candidate]
    counted: list[CountedPass] | None  # of the first image


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """A network, its layers placed, with the codes of all its tensors for the images given."""

    graph: Graph  # with the weights that its placements compute with
    chip: Chip
    placements: dict[str, Placement]
    choices: dict[str, Choice]
    codes: dict[str, Integers]  # (N, C, H, W) by tensor, from the golden model; of crossbars that clip, theirs
    warning: str = ""
    noise: Noise | None = None

    @cached_property
    def devices(self) -> dict[str, Devices]:
        """Crossbars of each layer that are not ideal; empty where all are."""
        return {name: Devices(placed, self.noise) for name, placed in self.placements.items()} if self.noise else {}

    @cached_property
    def plan(self) -> NetworkPlan:
        """All stages."""
        return plan_network(self.graph, self.placements)

    @cached_property
    def buffers(self) -> dict[str, int]:
        """Bits of all memories of each node: input buffers, queues, step stores, raster buffers."""
        p = NetworkParameters(self.plan)
        found = dict.fromkeys((node.name for node in self.graph.nodes), 0)
        for stage in self.plan.stages:
            found[stage.node_name] += p.buffer_bits(stage)
        return found

    @cached_property
    def fits(self) -> bool:
        """Whether the chip holds all layers at once."""
        room = self.chip.tiles
        return room is None or sum(len(placed.standing) for placed in self.placements.values()) <= room

    def counted(self, node: Matrix, *, skip: bool) -> list[CountedPass]:
        """Return a layer's passes, with the reads of all images."""
        key = node.name, skip
        if key not in self._counted:
            known = self.choices[node.name].counted
            if len(self.codes[node.inputs[0]]) > 1 or known is None:
                placement = self.placements[node.name]
                known = count_passes(placement, self.codes[node.inputs[0]] - placement.format.zero_point, skip=skip)
            known = [part.copied(self.placements[node.name]) for part in known]
            self._counted[key] = known
        return self._counted[key]

    @cached_property
    def _counted(self) -> dict[tuple, list[CountedPass]]:
        return {}

    @property
    def images(self) -> int:
        """Images that it was compiled for."""
        return len(next(iter(self.codes.values())))


@dataclass(frozen=True, eq=False, kw_only=True)
class ImportedNetwork(CompiledNetwork):
    """A compiled network of an ONNX file, with what the host computes."""

    imported: Imported


def compile_network(
    path: str,
    chip: Chip,
    images: NDArray | Mapping[str, NDArray] | None,
    options: Options,
    tick: Tick,
    *,
    written: bool = False,
) -> ImportedNetwork:
    """Place the network in the ONNX file ``path`` for ``images`` as its inputs take them; drawn codes for None.

    ``tick`` is called once for each node. ``written``: Verilog of it will be, so what is too large for that is refused
    before anything is computed. Raises `InputError`, which names the node.
    """
    chip = chip.not_ideal() if options.noise else chip
    imported, asked = load_graph(path, options.shape, partial=options.partial), options.copies
    imported = _lean(replace(imported, graph=with_circulant(imported.graph, options.circulant)))
    for node in imported.graph.matrices if written else ():
        with _named(node):
            bits = imported.graph.tensors[node.inputs[0]].format.raw_bits
            check_collected(node.layer, node.weights, bits, chip, options)
    once = _placed_once(imported, chip, images, options, tick)
    if not asked:
        return once
    single = [name for name, placed in once.placements.items() if placed.sweep.overlap]
    if options.schedule != "auto" or not single:
        return _with_copies(once, options)[0]
    red = replace(options, schedule="red")
    if any(asked.by_layer.get(name, asked.every) > 1 for name in single):
        return _with_copies(_placed_once(imported, chip, images, red, lambda: None), red)[0]
    found, pace = _with_copies(once, options)
    if not asked.auto:
        return found
    # A layer on the padding-free schedule stands once: with RED it may be slower alone, and faster in copies.
    budget = asked.budget(sum(placed.crossbars for placed in once.placements.values()))
    red = replace(red, copies=CopiesAsked(auto=True, arrays=budget))
    try:
        other, other_pace = _with_copies(_placed_once(imported, chip, images, red, lambda: None), red)
    except InputError:  # one copy each is more than the budget
        return found
    return other if other_pace < pace else found


def _placed_once(
    imported: Imported, chip: Chip, images: NDArray | Mapping[str, NDArray] | None, options: Options, tick: Tick
) -> ImportedNetwork:
    """Return the network whose layers stand once each."""
    if options.schedule != "auto" and all(node.layer.op != "conv_transpose" for node in imported.graph.matrices):
        asked = option_of(options.schedule)
        raise InputError(f"--schedule {asked} is for transposed convolutions, and the network has none")
    warning = clipping(chip, lossless=options.lossless)
    codes = imported.enter(images) if images is not None else draw_codes(imported, options.seed)
    graph, placements, choices = imported.graph, {}, {}
    tensors, nodes = graph.tensors, []
    for node in graph.nodes:
        imported.add_hosted(codes)
        _add_loop(graph, node, codes, chip)
        sources = [tensors[name] for name in node.inputs]
        if isinstance(node, Matrix):
            taken, numbers = codes[node.inputs[0]] - sources[0].format.zero_point, sources[0].format
            with _named(node):
                check_matrix(node, sources[0], chip)
                found = choose_asked(node.layer, node.weights, chip, taken, **_how(node, options, numbers))
            note = "; ".join(text for text in (imported.notes.get(node.name), found.note) if text)
            placements[node.name] = found.placement
            choices[node.name] = Choice(note, found.candidates, found.counted)
            node = replace(node, weights=found.weights)
            if node.output.name not in codes:
                sums = layer_sums(node, found.placement, taken, options.noise, skip=options.skip)
                codes[node.output.name] = of_sums(node, sources[0], sums)
        elif node.output.name not in codes:
            codes[node.output.name] = evaluate_node(node, sources, [codes[name] for name in node.inputs])
        nodes.append(node)
        tick()
    imported.add_hosted(codes)
    whole = replace(graph, nodes=tuple(nodes))
    return ImportedNetwork(whole, chip, placements, choices, codes, warning, options.noise, imported=imported)


def _add_loop(graph: Graph, node: Node, codes: dict[str, Integers], chip: Chip) -> None:
    """Add the codes that a loop makes when its first node is reached. `InputError`: its crossbars may clip."""
    loop = next((loop for loop in graph.loops if node.name in loop.nodes), None)
    if loop is None or node.output.name in codes:
        return
    if chip.adc_bits < chip.lossless_adc_bits:
        raise InputError(
            f"node {loop.name!r}: adc_bits = {chip.adc_bits} may clip what a loop computes of its own results, and "
            f"must be {chip.lossless_adc_bits}"
        )
    codes |= run_loop(graph, loop, codes)


@contextlib.contextmanager
def _named(node: Matrix) -> Iterator[None]:
    """Name the node in an `InputError`."""
    try:
        yield
    except InputError as error:
        raise InputError(f"node {node.name!r}: {error}") from None


def _with_copies(compiled: ImportedNetwork, options: Options) -> tuple[ImportedNetwork, float]:
    """Return the network whose layers stand as often as ``options`` ask, and its pace. Raises `InputError`."""
    asked, layers = options.copies, []
    assert asked is not None, "copies are asked for"
    for node in compiled.graph.matrices:
        placement, counted = compiled.placements[node.name], compiled.counted(node, skip=options.skip)
        layers.append(PacedLayer.of(node.name, placement, counted[0]))
    if not compiled.fits:
        # The layers run one after the other, some in passes: none may stand twice, and there is no pace.
        counts_asked(asked, layers)
        return compiled, math.inf
    floor = 0.0
    while True:
        counts = assign(asked, layers, floor)
        copied = {layer.name: layer.placement.copied(count) for layer, count in zip(layers, counts, strict=True)}
        found = replace(compiled, placements=compiled.placements | copied)
        # Words between stages may be what binds: then fewer copies will do.
        pace = slowest_stage(found.plan, {layer.name: layer.counted.copied(copied[layer.name]) for layer in layers})[0]
        if not asked.auto or pace <= max(floor, slowest(layers, counts)[0]):
            return found, pace
        floor = pace


def _lean(imported: Imported) -> Imported:
    """Return the import with weights in as few bytes as hold each: they take most of a large network's memory."""
    nodes = []
    for node in imported.graph.nodes:
        if isinstance(node, Matrix):
            largest = max(int(node.weights.max()), -int(node.weights.min()))
            kind = next((narrow for narrow in (np.int16, np.int32) if largest <= np.iinfo(narrow).max), np.int64)
            node = replace(node, weights=node.weights.astype(kind))
        nodes.append(node)
    return replace(imported, graph=replace(imported.graph, nodes=tuple(nodes)))


def layer_sums(
    node: Matrix, placement: Placement, codes: Integers, noise: Noise | None = None, *, skip: bool = True
) -> Integers:
    """Return the sums (N, M, OH, OW) of a layer for ``codes``, zero point subtracted.

    They are the golden ones; where crossbars are not ideal or the ADC can clip those of the crossbars, which alone know
    what is lost.
    """
    if noise:
        return run_crossbars(placement, codes, Devices(placement, noise), skip=skip)
    if placement.chip.adc_bits < placement.chip.lossless_adc_bits:
        return run_crossbars(placement, codes)
    return evaluate(node.layer, codes, node.weights)


def _how(node: Matrix, options: Options, numbers: InputFormat) -> dict[str, Any]:
    """Return what `choose_asked` is asked."""
    transposed = node.layer.op == "conv_transpose" and options.schedule != "auto"
    return {
        "input_format": numbers,
        "schedules": [options.schedule] if transposed else None,
        "mapping": options.mapping,
        "dynamic": (options.dynamic,),
        "skip": options.skip,
        "sme": options.sme,
        "collected": True,
    }


def draw_codes(imported: Imported, seed: int) -> dict[str, Integers]:
    """Draw the codes of one image for each input of a network that the model's own inputs make."""
    rng = np.random.default_rng(seed)
    tensors = (imported.tensors[name] for name in imported.entries)
    return {
        tensor.name: rng.integers(*tensor.format.raw_range, (DRAWN, *tensor.shape), endpoint=True) for tensor in tensors
    }
