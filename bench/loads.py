"""Cycles of layers over the reads of their busiest array: what loads and drains add to them, by the exact cycle model.

MobileNet-v2 and the six layers of RED on the chip ou9x8, whole, with one image of activations of which half are zero
(`selvage.compiler.shape_cycles.Activations`), OUs that drive nothing skipped; the trained networks as `auto` places
them, with the first of their test inputs. Of each layer the slowest tile's cycles stand beside the reads of the array
that reads most. A missed target is told.
"""

import argparse
from dataclasses import asdict, dataclass

from numpy.typing import NDArray

from bench.report import Figure, emit, figures, table
from bench.trained import networks
from examples.red_layers import RED_LAYERS
from selvage.base.chip import load_chip
from selvage.base.layer import Layer
from selvage.base.shapes import load_network
from selvage.commands.exits import leave
from selvage.compiler.compile_network import compile_network
from selvage.compiler.options import Options
from selvage.compiler.shape_cycles import Activations
from selvage.mapping.dense import dense_kinds
from selvage.mapping.placement import Placement
from selvage.mapping.schedule import INSERTING
from selvage.sim.cycles import Timeline, tile_reads

CHIP = "ou9x8"


@dataclass(frozen=True)
class Line:
    """One layer, one image."""

    layer: str
    cycles: int
    busiest: int  # reads

    @property
    def ratio(self) -> float:
        """Cycles for each read of the busiest array."""
        return self.cycles / self.busiest


def line_of(layer: Layer, index: int, schedule: str) -> Line:
    """Count one layer."""
    chip, drawn = load_chip(CHIP), Activations()
    placement, _ = dense_kinds(layer, chip, input_format=drawn.numbers(chip), schedule=schedule)
    return line_of_placed(placement, drawn.draw(layer, index, chip))


def line_of_placed(placement: Placement, codes: NDArray) -> Line:
    """Count a placed layer with ``codes`` (N, C, H, W), zero point subtracted."""
    reads = [tile_reads(placement, tile, codes)[1] for tile in placement.tiles]
    lines = [Timeline(placement, tile) for tile in placement.tiles]
    cycles = max(line.run(each, len(codes)) for line, each in zip(lines, reads, strict=True))
    return Line(placement.layer.name, cycles, max(int(each[0].sum(axis=1).max()) for each in reads))


def trained() -> dict[str, list[Line]]:
    """Count the layers of the trained networks."""
    found = {}
    for network in networks():
        images = network.inputs()[:1]
        own = compile_network(str(network.path), load_chip(CHIP), images, Options(), lambda: None)
        found[network.name] = [
            line_of_placed(placed, own.codes[node.inputs[0]] - placed.format.zero_point)
            for node in own.graph.matrices
            for placed in [own.placements[node.name]]
        ]
    return found


def ratio(lines: list[Line]) -> float:
    """All cycles over all reads of the busiest arrays."""
    return sum(line.cycles for line in lines) / sum(line.busiest for line in lines)


def main(argv: list[str] | None = None) -> int:
    argparse.ArgumentParser(prog="python -m bench.loads", description=__doc__).parse_args(argv)
    layers = load_network("mobilenet-v2")
    network = [line_of(layer, index, "auto") for index, layer in enumerate(layers)]
    by_schedule = {
        schedule: [line_of(layer, index, schedule) for index, layer in enumerate(RED_LAYERS.values())]
        for schedule in ("red", *INSERTING)
    }
    red = by_schedule["red"]
    deep = [line for line, layer in zip(network, layers, strict=True) if layer.groups > 1]
    rows = [[line.layer, f"{line.cycles:,}", f"{line.busiest:,}", f"{line.ratio:.3f}"] for line in [*deep, *red]]
    table("Cycles and reads of the busiest array", ("layer", "cycles", "reads", "ratio"), rows)
    beside = [
        [own[0].layer, *(f"{line.cycles:,} ({line.cycles / own[0].cycles:.2f})" for line in own)]
        for own in zip(*by_schedule.values(), strict=True)
    ]
    table("RED beside its baselines: cycles (over RED's)", ("layer", *by_schedule), beside)
    found = [
        Figure("MobileNet-v2: cycles over reads", ratio(network), "<=", 1.05),
        Figure("its depthwise layers, the worst", max(line.ratio for line in deep), "<=", 1.5),
        Figure("RED's layers, the worst", max(line.ratio for line in red), "<=", 1.02),
        *(Figure(f"{name}: cycles over reads", ratio(lines), "<=", 1.10) for name, lines in trained().items()),
    ]
    figures("Loads", found)
    lines = [asdict(line) | {"ratio": line.ratio} for line in [*network, *red]]
    baselines = {schedule: [asdict(line) for line in own] for schedule, own in by_schedule.items()}
    content = {"benchmark": "loads", "layers": lines, "baselines": baselines}
    emit(content | {"targets": [figure.as_dict() for figure in found]})
    return 0


if __name__ == "__main__":
    leave(main)
