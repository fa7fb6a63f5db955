"""The simulations of a compiled network: one for each node, or for each pass of a node that the chip does not hold."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.base.graph import Matrix, Node, Sequence, Steps
from selvage.base.text import count_of
from selvage.compiler.compile_network import CompiledNetwork
from selvage.compiler.options import Options
from selvage.hw.network.network import NetworkParameters
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.plan_network import plan_network
from selvage.mapping.stages import LayerStage, NetworkPlan
from selvage.sim.devices import Devices

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """One simulation: of a node, or of some tiles of one that is too large for the chip."""

    node: Node
    plan: NetworkPlan
    inputs: list[Integers]
    skip: bool
    simulator: str
    build: Path  # folder of what is compiled

    @property
    def parameters(self) -> NetworkParameters:
        """Parameters of the gateware."""
        return NetworkParameters(self.plan, skip=self.skip, direct=isinstance(self.node, Matrix))


def parts(compiled: CompiledNetwork, node: Node, options: Options) -> list[Part]:
    """Return the simulations of one node, one for each pass of its tiles."""
    graph = compiled.graph.only(node)
    inputs = [compiled.codes[tensor.name] for tensor in graph.inputs]
    plan = plan_network(graph, compiled.placements)
    if not isinstance(node, Matrix) or len(compiled.placements[node.name].passes) == 1:
        return [Part(node, plan, inputs, options.skip, options.simulator, options.build)]
    (stage,) = plan.layers
    found = []
    for tiles in compiled.placements[node.name].passes:
        # The host adds the passes' sums, so none is requantised.
        some = LayerStage(stage.name, stage.sources, stage.output, replace(stage.placement, tiles=tiles), None)
        part = NetworkPlan(plan.name, plan.inputs, (some,), plan.outputs)
        found.append(Part(node, part, inputs, options.skip, options.simulator, options.build))
    return found


def node_parts(compiled: CompiledNetwork, options: Options) -> Iterator[tuple[str, Part]]:
    """Yield all nodes' simulations, each with a folder for its files: ``node_3/``, of several passes ``node_3_0/``."""
    for index, node in enumerate(compiled.graph.nodes):
        if isinstance(node, Steps | Sequence):
            continue  # nothing of a step is moved
        passes = parts(compiled, node, options)
        for number, part in enumerate(passes):
            yield (f"node_{index}_{number}/" if len(passes) > 1 else f"node_{index}/"), part


def tile_runs(
    compiled: CompiledNetwork, node: Matrix, options: Options
) -> list[tuple[TileParameters, Integers, Devices | None]]:
    """Return a layer's tiles, copy by copy, each with the codes (N, C, H, W) that enter it and its crossbars."""
    placement, codes = compiled.placements[node.name], compiled.codes[node.inputs[0]]
    devices = compiled.devices[node.name] if compiled.devices else None
    return [(TileParameters(share, tile, skip=options.skip), codes, devices) for share, tile in placement.standing]


def check_fits(compiled: CompiledNetwork) -> None:
    """Raise `InputError` with the first node for which no tile is left, if there is one."""
    room = compiled.chip.tiles
    if room is None:
        return
    for node in compiled.graph.matrices:
        need = len(compiled.placements[node.name].standing)
        if need > room:
            raise InputError(
                f"node {node.name!r} needs {count_of(need, 'tile')}, and {room} of tiles = "
                f"{compiled.chip.tiles} on chip {compiled.chip.name} are left: the layers of a pipeline stand on the "
                "chip side by side"
            )
        room -= need
