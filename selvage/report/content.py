"""What a page shows of a model, as plain numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.base.costs import Costs
from selvage.base.graph import Graph, Matrix
from selvage.compiler.cost import BASELINES, LayerWays, Way, network_cost
from selvage.golden.layer import evaluate
from selvage.mapping.placement import Array, Placement, row_groups
from selvage.sim.machine import run_counted, step_windows

Integers = NDArray[np.int64]
SAMPLED = 200_000  # codes of a layer that its histogram is of, about
EXACT = 3e8  # multiplications of a layer up to which its outputs are computed and compared


@dataclass(frozen=True)
class GraphNode:
    """A node of the network: ``depth`` is how many nodes lie before it, at most."""

    name: str
    kind: str
    shape: tuple[int, int, int]
    sources: tuple[str, ...]
    depth: int
    crossbars: int = 0


@dataclass(frozen=True)
class LayerRow:
    """A layer in numbers, of an image. ``baselines``: cycles, energy, area and crossbars of each."""

    name: str
    op: str
    mapping: str
    schedule: str
    crossbars: int
    copies: int
    cycles: float
    reads: float
    skipped: float
    energy_pj: float
    area_um2: float
    occupancy: float  # OU reads over the cycles of its arrays, while the slowest layer takes an image
    components: dict[str, float]  # pJ
    baselines: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Codes:
    """ADC codes of some steps of a layer: how often each came, and how many sums were above the highest."""

    layer: str
    counts: list[int]
    clipped: int
    steps: int


@dataclass(frozen=True)
class Error:
    """Outputs of a layer's crossbars beside the truth, in units of its sums, for the first image."""

    layer: str
    largest: int
    rms: float
    of: float  # root mean square of the truth


@dataclass(frozen=True)
class Interval:
    """Cycles ``first`` to before ``last`` of an array, and what it did; ``step`` where it read."""

    array: str
    first: int
    last: int
    state: str
    step: int
    skipped: int = 0


@dataclass(frozen=True)
class Timeline:
    """What every array of a tile did in some steps of its RTL; ``match`` with what the golden model says of them."""

    layer: str
    tile: int
    steps: int
    match: bool
    told: str
    intervals: list[Interval]


@dataclass(frozen=True)
class Content:
    """All that a page shows."""

    model: str
    chip: str
    costs: str
    version: str
    fits: bool
    totals: dict[str, Any]
    graph: list[GraphNode]
    layers: list[LayerRow]
    fill: dict[str, list[float]]  # by layer, of each crossbar the share of its cells that are in use
    codes: list[Codes] = field(default_factory=list)
    errors: list[Error] = field(default_factory=list)
    timelines: list[Timeline] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def layer_rows(layers: Sequence[LayerWays], costs: Costs, *, fits: bool) -> tuple[list[LayerRow], dict[str, Any]]:
    """Return the layers in numbers, and those of the whole network."""
    found = network_cost(layers, costs, side_by_side=fits)
    bound = max(way.own.cycles / way.own.images for way in layers)
    rows = []
    for own, line in zip(layers, found["layers"], strict=True):
        way = own.own
        reads, cycles = way.events.reads / way.images, way.cycles / way.images
        arrays = max(1, line["crossbars"])
        baselines = {
            name: {
                "cycles": other.cycles / other.images,
                "energy_pj": line["baselines"][name]["energy_pj"],
                "area_um2": line["baselines"][name]["area_um2"],
                "crossbars": other.parts.arrays,
            }
            for name, other in own.baselines.items()
        }
        rows.append(
            LayerRow(
                name=own.name,
                op=own.layer.op,
                mapping=line["mapping"],
                schedule=line["schedule"],
                crossbars=line["crossbars"],
                copies=way.placement.copies,
                cycles=cycles,
                reads=reads,
                skipped=way.dense_reads / way.images - reads,
                energy_pj=line["energy_pj"],
                area_um2=line["area_um2"],
                occupancy=reads / (arrays * bound) if bound else 0.0,
                components={name: part["energy_pj"] for name, part in line["components"].items()},
                baselines=baselines,
            )
        )
    totals = {name: value for name, value in found.items() if name not in ("layers", "costs", "baselines")}
    totals["baselines"] = {name: _few(found["baselines"][name]) for name in BASELINES}
    totals["crossbars"] = sum(row.crossbars for row in rows)
    totals["reads"], totals["skipped"] = sum(row.reads for row in rows), sum(row.skipped for row in rows)
    return rows, totals


def _few(report: dict[str, Any]) -> dict[str, Any]:
    return {name: report[name] for name in ("energy_pj", "area_um2", "latency_cycles", "per_image_cycles")}


def fill_of(way: Way) -> list[float]:
    """Return of each crossbar of a layer the share of its cells that are in use."""
    placement, known = way.placement, {}
    for place in set(way.order):
        known[place] = [_used(array) for array in placement.tiles[place].arrays]
    return [share for place in way.order for share in known[place]] * placement.copies


def _used(array: Array) -> float:
    cells = sum(block.rows * len(block.outputs) * array.slices * len(block.significances) for block in array.blocks)
    return round(cells / (array.size[0] * array.size[1]), 4)


def graph_of(graph: Graph, crossbars: dict[str, int]) -> list[GraphNode]:
    """Return the nodes of a network, inputs first."""
    depths = {tensor.name: 0 for tensor in graph.inputs}
    made = {tensor.name: tensor.name for tensor in graph.inputs}
    found = [GraphNode(tensor.name, "input", tensor.shape, (), 0) for tensor in graph.inputs]
    for node in graph.nodes:
        # What comes back to the state of a loop is made behind it, and is no source of it in the drawing.
        depth = 1 + max(depths.get(name, 0) for name in node.inputs)
        depths[node.output.name], made[node.output.name] = depth, node.name
        kind = node.layer.op if isinstance(node, Matrix) else type(node).__name__.lower()
        sources = tuple(made[name] for name in node.inputs if name in made)
        found.append(GraphNode(node.name, kind, node.output.shape, sources, depth, crossbars.get(node.name, 0)))
    return found


def codes_of(layer: str, placement: Placement, codes: Integers, *, skip: bool, seed: int = 0) -> Codes:
    """Return the ADC codes of some steps of a layer's first tile, for the first image of ``codes`` (N, C, H, W)."""
    chip, tile = placement.chip, placement.tiles[0]
    top = 2**chip.adc_bits - 1
    rng = np.random.default_rng(seed)
    windows = step_windows(placement, tile, codes[:1])
    each = sum(len(row_groups(a, placement)) * placement.planes(a) * chip.columns for a in tile.arrays)
    count = min(len(windows), max(1, SAMPLED // max(1, each)))
    windows = windows[np.sort(rng.choice(len(windows), count, replace=False))]
    counts, clipped = np.zeros(top + 1, np.int64), 0
    for array in tile.arrays:
        for sums in _sums(placement, array, windows, skip=skip):
            clipped += int((sums > top).sum())
            counts += np.bincount(np.minimum(sums, top).ravel(), minlength=top + 1)
    return Codes(layer, counts.tolist(), clipped, count)


def _sums(placement: Placement, array: Array, windows: Integers, *, skip: bool) -> Any:
    """Yield what the ADC converts of each row group and plane, (reads, columns); formed OUs as if they stood so."""
    cells = array.cells.astype(np.int64)
    for block in array.blocks:
        across = len(block.outputs) * array.slices * len(block.significances)
        columns = slice(block.column, block.column + across)
        driven = windows[:, block.window] << block.shifts
        for first in range(0, block.rows, placement.chip.ou_rows):
            rows = slice(first, min(first + placement.chip.ou_rows, block.rows))
            own = cells[block.row + rows.start : block.row + rows.stop, columns]
            for plane in range(placement.planes(array)):
                bits = driven[:, rows] >> plane & 1
                yield (bits[bits.any(axis=1)] if skip else bits) @ own


def error_of(layer: str, placement: Placement, codes: Integers, weights: Integers, *, skip: bool) -> Error | None:
    """Return how far a layer's outputs are from the truth of ``weights``; None where that takes too long."""
    own = placement.layer
    work = own.channels // own.groups * own.outputs * own.kernel[0] * own.kernel[1]
    if work * own.output_size[0] * own.output_size[1] > EXACT:
        return None
    truth = evaluate(own, codes[:1], weights)
    off = run_counted(placement, codes[:1], skip=skip)[0] - truth
    rms = float(np.sqrt(np.mean(off.astype(float) ** 2)))
    return Error(layer, int(np.abs(off).max()), rms, float(np.sqrt(np.mean(truth.astype(float) ** 2))))
