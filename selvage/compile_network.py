"""A quantised network on a chip: each layer placed by the mapping that the cycle model finds best."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.layer import evaluate
from golden.network import evaluate_node, of_sums
from hw.network import NetworkParameters
from mapping.network import NetworkPlan, plan_network
from mapping.placement import Placement, Tile
from mapping.sme import SmeParameters
from selvage.choose import Candidate
from selvage.choose_asked import choose_asked
from selvage.onnx_graph import Imported, load_graph
from sim.cycles import TileCycles
from sim.layer import layer_cycles
from sim.machine import run as run_crossbars
from spec.chip import Chip
from spec.errors import InputError
from spec.graph import Graph, Matrix
from tb.cache import ROOT

Integers = NDArray[np.int64]
Tick = Callable[[], None]
DRAWN = 1  # images drawn where none are given


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is mapped and run. ``shape`` settles free sides of the model's input."""

    schedule: str = "auto"
    mapping: str = "auto"
    skip: bool = True
    dynamic: bool = False
    sme: SmeParameters | None = None
    simulator: str = "icarus"
    seed: int = 0
    lossless: bool = False
    shape: tuple[int, ...] | None = None
    build: Path = ROOT  # folder of what is compiled


@dataclass(frozen=True, eq=False)
class Choice:
    """Why a layer is placed as it is, and what else was looked at."""

    note: str
    candidates: list[Candidate]


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """A network, its layers placed, with the codes of all its tensors for the images given."""

    imported: Imported
    graph: Graph  # with the weights that its placements compute with
    chip: Chip
    placements: dict[str, Placement]
    choices: dict[str, Choice]
    codes: dict[str, Integers]  # (N, C, H, W) by tensor, from the golden model; of crossbars that clip, theirs
    warning: str = ""

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

    def passes(self, name: str) -> list[tuple[Tile, ...]]:
        """Tiles of a layer that the chip holds at a time."""
        tiles = self.placements[name].tiles
        each = self.chip.tiles or len(tiles)
        return [tiles[k : k + each] for k in range(0, len(tiles), each)]

    @cached_property
    def fits(self) -> bool:
        """Whether the chip holds all layers at once."""
        room = self.chip.tiles
        return room is None or sum(len(placed.tiles) for placed in self.placements.values()) <= room

    def cycles(self, node: Matrix, tiles: tuple[Tile, ...], images: int, *, skip: bool) -> list[TileCycles]:
        """Of some of a layer's tiles side by side, for the first ``images``; counted once."""
        key = (tiles, images, skip)
        if key not in self._cycles:
            placement = self.placements[node.name]
            codes = self.codes[node.inputs[0]][:images] - placement.format.zero_point
            sweep = placement.sweep
            words = sweep.block[0] * sweep.block[1] * placement.layer.outputs // self.plan.lanes[node.output.name]
            self._cycles[key] = layer_cycles(placement, tiles, codes, words, skip=skip)
        return self._cycles[key]

    @cached_property
    def _cycles(self) -> dict[tuple, list[TileCycles]]:
        return {}

    @property
    def images(self) -> int:
        return len(next(iter(self.codes.values())))


def compile_network(
    path: str, chip: Chip, images: NDArray | Mapping[str, NDArray] | None, options: NetworkOptions, tick: Tick
) -> CompiledNetwork:
    """Place the network in the ONNX file ``path`` for ``images`` as its inputs take them; drawn codes for None.

    ``tick`` is called once for each node. Raises `InputError`, which names the node.
    """
    imported = load_graph(path, options.shape)
    if options.schedule != "auto" and all(node.layer.op != "conv_transpose" for node in imported.graph.matrices):
        raise InputError(f"--schedule {options.schedule} is for transposed convolutions, and the network has none")
    warning = _clips(chip, options)
    codes = imported.enter(images) if images is not None else draw_codes(imported.graph, options.seed)
    graph, placements, choices = imported.graph, {}, {}
    tensors, nodes = graph.tensors, []
    for node in graph.nodes:
        sources = [tensors[name] for name in node.inputs]
        if isinstance(node, Matrix):
            own = codes[node.inputs[0]] - sources[0].format.zero_point
            try:
                _check_weights(node, chip)
                found = choose_asked(node.layer, node.weights, chip, own, **_how(node, options, sources[0].format))
            except InputError as error:
                raise InputError(f"node {node.name!r}: {error}") from None
            note = "; ".join(own for own in (imported.notes.get(node.name), found.note) if own)
            placements[node.name], choices[node.name] = found.placement, Choice(note, found.candidates)
            node = replace(node, weights=found.weights)
        nodes.append(node)
        if isinstance(node, Matrix):
            codes[node.output.name] = of_sums(node, sources[0], layer_sums(node, placements[node.name], own))
        else:
            codes[node.output.name] = evaluate_node(node, sources, [codes[name] for name in node.inputs])
        tick()
    return CompiledNetwork(imported, replace(graph, nodes=tuple(nodes)), chip, placements, choices, codes, warning)


def layer_sums(node: Matrix, placement: Placement, codes: Integers) -> Integers:
    """Sums (N, M, OH, OW) of a layer for ``codes``, zero point subtracted.

    The golden ones; where the ADC can clip those of the crossbars, which alone know what is lost.
    """
    if placement.chip.adc_bits < placement.chip.lossless_adc_bits:
        return run_crossbars(placement, codes)
    return evaluate(node.layer, codes, node.weights)


def _clips(chip: Chip, options: NetworkOptions) -> str:
    """What is to be said of a chip whose codes can clip. `InputError`: that was not to be."""
    if chip.adc_bits >= chip.lossless_adc_bits:
        return ""
    message = (
        f"chip {chip.name} has adc_bits = {chip.adc_bits}, and its codes can clip: "
        f"{chip.lossless_adc_bits} bits are lossless"
    )
    if options.lossless:
        raise InputError(f"--lossless: {message}")
    return message


def _check_weights(node: Matrix, chip: Chip) -> None:
    """`InputError` for weights that the chip does not hold."""
    low, high = chip.weight_range
    if chip.encoding == "differential":
        for value in (int(node.weights.min()), int(node.weights.max())):
            if not low <= value <= high:
                raise InputError(
                    f"weight {value} is outside {low} .. {high} of weight_bits = {chip.weight_bits} on chip {chip.name}"
                )


def _how(node: Matrix, options: NetworkOptions, numbers: object) -> dict:
    """What `choose_asked` is asked."""
    transposed = node.layer.op == "conv_transpose" and options.schedule != "auto"
    return {
        "input_format": numbers,
        "schedules": [options.schedule] if transposed else None,
        "mapping": options.mapping,
        "dynamic": (options.dynamic,),
        "skip": options.skip,
        "sme": options.sme,
    }


def draw_codes(graph: Graph, seed: int) -> dict[str, Integers]:
    """Codes of one image for each input of a network."""
    rng = np.random.default_rng(seed)
    return {
        tensor.name: rng.integers(*tensor.format.raw_range, (DRAWN, *tensor.shape), endpoint=True)
        for tensor in graph.inputs
    }
