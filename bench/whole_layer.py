"""A placed layer whole in RTL, all its tiles, beside what golden and the cycle model say of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selvage.bundle.verilog_bundle import layer_graph
from selvage.golden.layer import evaluate
from selvage.hw.network.network import NetworkParameters
from selvage.mapping.placement import Placement
from selvage.mapping.plan_network import plan_network
from selvage.rtlsim.plain import Run, build_network, run_network
from selvage.sim.layer import layer_cycles


@dataclass(frozen=True)
class WholeLayer:
    """What RTL showed; the outputs that it must have, and the cycles that each of its tiles must take."""

    run: Run
    outputs: NDArray[np.int64]
    cycles: list[int]


def run_whole(placement: Placement, weights: np.ndarray, x: np.ndarray, *, skip: bool) -> WholeLayer:
    """Run raw activations ``x`` (N, C, H, W) through all tiles at once, in plain Verilog under Icarus."""
    codes = x - placement.format.zero_point
    graph = layer_graph(placement, weights)
    plan = plan_network(graph, {graph.nodes[0].name: placement})
    p = NetworkParameters(plan, skip=skip, direct=True)
    words = plan.layers[0].leaving.plan(plan.lanes["y"]).words
    model = [own.cycles for own in layer_cycles(placement, placement.tiles, codes, words, skip=skip)]
    return WholeLayer(run_network(p, build_network(p), [x]), evaluate(placement.layer, codes, weights), model)
