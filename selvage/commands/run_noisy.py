"""The layers of a network through RTL with crossbars that are not ideal: tile by tile, their sums added here.

A network in a simulator has ideal macros of plain Verilog; the crossbars that were drawn answer at the pins of single
tiles, in Python.
"""

from collections.abc import Callable, Mapping

import numpy as np

from selvage.base.errors import RtlError
from selvage.base.graph import Matrix
from selvage.compiler.compile_network import CompiledNetwork
from selvage.compiler.options import Options
from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.plain import Run
from selvage.rtlsim.simulate import simulate_tile, workers
from selvage.sim.cycles import TileCycles
from selvage.sim.layer import alone_cycles


def noisy_runs(
    compiled: CompiledNetwork, options: Options, tick: Mapping[str, Callable[[], None]]
) -> dict[str, list[Run]]:
    """Run all tiles of all layers; return for each layer a `Run` of each pass, whose output are sums.

    ``tick`` by node, once a pass. Raises `SimulationError`, and `RtlError`, which names node and tile.
    """
    runs = {}
    with workers() as pool:
        for node in compiled.graph.matrices:
            placement = compiled.placements[node.name]
            for index, tile in enumerate(placement.tiles):
                p = TileParameters(placement, tile, skip=options.skip)
                how = {"simulator": options.simulator, "build": options.build / "sim", "seed": options.seed + 1}
                devices = compiled.devices[node.name]
                runs[node.name, index] = pool.submit(
                    simulate_tile, p, compiled.codes[node.inputs[0]], devices=devices, **how
                )
        found: dict[str, list[Run]] = {}
        for node in compiled.graph.matrices:
            first = 0
            for tiles in compiled.placements[node.name].passes:
                results = []
                for index in range(first, first + len(tiles)):
                    try:
                        results.append(runs[node.name, index].result())
                    except RtlError as error:
                        raise RtlError(f"node {node.name!r}, tile {index}: {error}", node=node.name) from None
                first += len(tiles)
                sums = np.sum([result.y for result in results], axis=0)
                reads = [sum(result.reads) for result in results]
                found.setdefault(node.name, []).append(Run([sums], [], [own.cycles for own in results], reads, []))
                tick[node.name]()
    return found


def alone_passes(compiled: CompiledNetwork, node: Matrix, options: Options) -> list[list[TileCycles]]:
    """Return what the cycle model predicts of a layer's tiles when each works alone, pass by pass."""
    placement = compiled.placements[node.name]
    codes = compiled.codes[node.inputs[0]] - placement.format.zero_point
    cycles, found = alone_cycles(placement, codes, skip=options.skip), []
    for tiles in placement.passes:
        found.append(cycles[: len(tiles)])
        cycles = cycles[len(tiles) :]
    return found
