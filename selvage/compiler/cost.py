"""What a placed layer and a network cost: events, energy, area and time, beside two baselines."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.costs import Costs
from selvage.base.layer import Layer
from selvage.compiler.shape_cycles import BufferBits
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import dense_kinds
from selvage.mapping.placement import Placement, Tile, in_passes
from selvage.sim.cost import COMPONENTS, Parts, Split, area_of, energy_of, programming_of
from selvage.sim.cycles import Timeline, every_read, share_of
from selvage.sim.events import Events, tile_events
from selvage.sim.layer import kind_of

Integers = NDArray[np.int64]
BASELINES = ("dense", "zero-padding")


def operations(layer: Layer) -> int:
    """Return operations of an image, two for a multiplication of an input by a weight; inserted zeros have none."""
    pixels = layer.height * layer.width if layer.op == "conv_transpose" else layer.output_size[0] * layer.output_size[1]
    return 2 * pixels * layer.channels // layer.groups * layer.outputs * layer.kernel[0] * layer.kernel[1]


@dataclass(frozen=True, eq=False)
class Way:
    """A layer placed in one way, and what its images take there: all of them one after the other."""

    placement: Placement
    skip: bool  # whether OUs that drive nothing are not read
    images: int
    cycles: int  # of the slowest tile; passes one by one
    tile_cycles: int  # of all tiles
    events: Events
    parts: Parts
    dense_reads: int  # OU reads of all tiles with nothing skipped
    order: tuple[int, ...]  # of every tile of a copy its place in the placement's tiles

    def cost(self, costs: Costs) -> "Cost":
        """Return energy, area and time of an image."""
        chip, images = self.placement.chip, self.images
        spent = energy_of(self.events, self.tile_cycles, chip, costs)
        energy = Split(*(getattr(spent, name) / images for name in COMPONENTS))
        cycles = self.cycles / images
        return Cost(
            energy,
            area_of(self.parts, chip, costs),
            programming_of(self.parts, costs),
            cycles,
            cycles,
            costs.cycle.time,
        )


@dataclass(frozen=True)
class Cost:
    """Of an image: pJ and um2 by component, clock cycles; ``programming``: pJ once, before the first.

    ``latency``: until an image has left; ``per_image``: between images, with as many under way as there are layers.
    """

    energy: Split
    area: Split
    programming: float
    latency: float
    per_image: float
    cycle: float  # ns

    def together(self, other: "Cost", *, side_by_side: bool) -> "Cost":
        """Return both, one layer behind the other; ``side_by_side``: both stand on the chip, each with an image."""
        paces = self.per_image, other.per_image
        return Cost(
            self.energy + other.energy,
            self.area + other.area,
            self.programming + other.programming,
            self.latency + other.latency,
            max(paces) if side_by_side else sum(paces),
            self.cycle,
        )

    def report(self, operations: int) -> dict[str, Any]:
        """Return the JSON of an image with so many operations."""
        seconds = self.per_image * self.cycle * 1e-9
        tops = operations / seconds * 1e-12 if seconds else 0.0
        pj, um2 = self.energy.total, self.area.total
        return {
            "energy_pj": pj,
            "area_um2": um2,
            "latency_cycles": self.latency,
            "latency_us": self.latency * self.cycle * 1e-3,
            "per_image_cycles": self.per_image,
            "images_per_s": 1 / seconds if seconds else 0.0,
            "operations": operations,
            "tops": tops,
            "tops_per_w": operations / pj if pj else 0.0,
            "tops_per_mm2": tops / (um2 * 1e-6) if um2 else 0.0,
            "programming_pj": self.programming,
            "components": {
                name: {"energy_pj": getattr(self.energy, name), "area_um2": getattr(self.area, name)}
                for name in COMPONENTS
            },
        }


def way_of(
    placement: Placement, codes: Integers, *, skip: bool, order: Sequence[int] | None = None, cycles: int | None = None
) -> Way:
    """Count a placed layer for ``codes`` (N, C, H, W), zero point subtracted.

    ``order``: of every tile of one copy its place in ``placement.tiles``, which then has one of each kind
    (`mapping.dense.dense_kinds`). ``cycles`` of the layer, where they are known; else each tile is as fast as it is
    alone.
    """
    if order is None:
        kinds = [kind_of(placement, tile) for tile in placement.tiles]
        places = {kind: place for place, kind in reversed(list(enumerate(kinds)))}
        order = [places[kind] for kind in kinds]
    events, parts, each, total, dense = Events(), Parts(0, 0, 0, 0, 0, 0, 0), {}, 0, 0
    for place, count in Counter(order).items():
        tile = placement.tiles[place]
        events += tile_events(placement, tile, codes, skip=skip).times(count)
        reads = every_read(placement, tile, codes, skip=skip)
        shares = [(share, *share_of(reads, share, tile, len(codes))) for share in placement.shares]
        ends = [Timeline(share, tile).run(own, len(codes)) for share, _, own in shares]
        dense += count * sum(counts.dense_reads for _, counts, _ in shares)
        each[place] = max(ends)
        total += sum(ends) * count
        parts += _parts(placement, tile, skip, count * placement.copies)
    if cycles is None:
        cycles = sum(max(own) for own in in_passes([each[place] for place in order], placement.chip))
    return Way(placement, skip, len(codes), cycles, total, events, parts, dense, tuple(order))


def _parts(placement: Placement, tile: Tile, skip: bool, count: int) -> Parts:
    bits = BufferBits.of(TileParameters(placement.shares[0], tile, skip=skip))
    cells = sum(
        block.rows * len(block.outputs) * array.slices * len(block.significances)
        for array in tile.arrays
        for block in array.blocks
    )
    own = len(tile.arrays), len(tile.readers), 1, bits.input, bits.rows, bits.sums, cells
    return Parts(*(number * count for number in own))


@dataclass(frozen=True, eq=False)
class LayerWays:
    """A layer as it is placed, and in each of `BASELINES`; a baseline that is the same is the same object."""

    name: str
    layer: Layer
    own: Way
    baselines: dict[str, Way]


def layer_ways(name: str, own: Way, codes: Integers, chip: Chip, *, skip: bool, dynamic: bool) -> LayerWays:
    """Return a layer's own way and, counted here, the dense mapping on the same schedule and the zeros inserted."""
    placement = own.placement
    schedules = {"dense": placement.schedule, "zero-padding": placement.schedule}
    if placement.layer.op == "conv_transpose":
        schedules["zero-padding"] = "zero-padding"
    known = {}
    if (placement.mapping, placement.fold, placement.copies) == ("dense", 1, 1):
        known[placement.schedule] = own
    for schedule in schedules.values():
        if schedule not in known:
            placed, order = dense_kinds(
                placement.layer, chip, input_format=placement.format, schedule=schedule, dynamic=dynamic
            )
            known[schedule] = way_of(placed, codes, skip=skip, order=order)
    return LayerWays(name, placement.layer, own, {name: known[schedules[name]] for name in BASELINES})


def network_cost(layers: Sequence[LayerWays], costs: Costs, *, side_by_side: bool) -> dict[str, Any]:
    """Return the JSON of all layers and their sum; ``side_by_side``: all stand on the chip at once."""
    lines, sums = [], {}
    for line in layers:
        ways = {"own": line.own, **line.baselines}
        found = {name: way.cost(costs) for name, way in ways.items()}
        for name, cost in found.items():
            sums[name] = sums[name].together(cost, side_by_side=side_by_side) if name in sums else cost
        count = operations(line.layer)
        lines.append(
            {
                "name": line.name,
                "op": line.layer.op,
                "mapping": line.own.placement.mapping,
                "schedule": line.own.placement.schedule,
                "crossbars": line.own.parts.arrays,
                **found["own"].report(count),
                "baselines": {name: found[name].report(count) for name in BASELINES},
            }
        )
    total = sum(operations(line.layer) for line in layers)
    return {
        **sums["own"].report(total),
        "baselines": {name: sums[name].report(total) for name in BASELINES},
        "layers": lines,
        "costs": costs.model_dump(),
    }
