"""A compiled network through RTL: node by node side by side, or all its layers at work at once."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.network import of_sums
from hw.network import NetworkParameters
from mapping.network import LayerStage, NetworkPlan, plan_network
from mapping.placement import Placement
from selvage.compile_network import CompiledNetwork, NetworkOptions, Tick
from sim.cycles import TileCycles
from spec.errors import InputError
from spec.graph import Matrix, Node
from tb.plain import Run, build_network, run_network
from tb.simulate import end_with_parent

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class NodeReport:
    """One node of the network. ``cycles`` are of the slowest tile, passes one after the other; None: not run."""

    name: str
    kind: str
    where: str  # rtl, or what of it the host does and why
    mapping: str
    schedule: str
    shape: tuple[int, int, int]  # of its output
    steps: int
    cycles: int | None
    cycles_model: int | None
    reads: int | None
    reads_model: int | None
    crossbars: int
    tiles: int
    passes: int
    buffer_bits: int  # input buffers, queues, step stores, raster buffer
    match: bool | None
    note: str


@dataclass(frozen=True)
class Flow:
    """The whole network at work on successive images, in cycles."""

    latency: int  # until the first image's last word has left
    per_image: float | None  # between last words, once the network is full; None for a single image
    bound: float  # of the slowest layer alone, from the cycle model
    slowest: str
    match: bool

    @property
    def share(self) -> float | None:
        """Of the throughput that the slowest layer sets; None for a single image."""
        return self.bound / self.per_image if self.per_image else None


@dataclass(frozen=True, eq=False)
class Part:
    """What one simulation runs: a node, or some tiles of one that is too large for the chip."""

    node: Node
    plan: NetworkPlan
    inputs: list[Integers]
    skip: bool
    simulator: str
    build: Path  # folder of what is compiled

    @property
    def parameters(self) -> NetworkParameters:
        return NetworkParameters(self.plan, skip=self.skip, direct=isinstance(self.node, Matrix))

    def run(self) -> Run:
        p = self.parameters
        return run_network(p, build_network(p, simulator=self.simulator, build=self.build / "sim"), self.inputs)


def parts(compiled: CompiledNetwork, node: Node, options: NetworkOptions) -> list[Part]:
    """The simulations of one node, one for each pass of its tiles."""
    graph = compiled.graph.only(node)
    inputs = [compiled.codes[tensor.name] for tensor in graph.inputs]
    plan = plan_network(graph, compiled.placements)
    if not isinstance(node, Matrix) or len(compiled.passes(node.name)) == 1:
        return [Part(node, plan, inputs, options.skip, options.simulator, options.build)]
    (stage,) = plan.stages
    found = []
    for tiles in compiled.passes(node.name):
        # The host adds the passes' sums, so none is requantised.
        own = LayerStage(stage.name, stage.sources, stage.output, replace(stage.placement, tiles=tiles), None)
        part = NetworkPlan(plan.name, plan.inputs, (own,), plan.outputs)
        found.append(Part(node, part, inputs, options.skip, options.simulator, options.build))
    return found


def node_parts(compiled: CompiledNetwork, options: NetworkOptions) -> Iterator[tuple[str, Part]]:
    """All nodes' simulations, each with a folder of its own for files: ``node_3/``, of several passes ``node_3_0/``."""
    for index, node in enumerate(compiled.graph.nodes):
        own = parts(compiled, node, options)
        for number, part in enumerate(own):
            yield (f"node_{index}_{number}/" if len(own) > 1 else f"node_{index}/"), part


def run_nodes(compiled: CompiledNetwork, options: NetworkOptions, tick: dict[str, Tick]) -> list[NodeReport]:
    """Every node through RTL on the codes that the golden model gives it; ``tick`` by node, once a pass."""
    todo = [part for _, part in node_parts(compiled, options)]
    done: dict[int, Run] = {}
    # The longest first, so that no core is left alone with it at the end.
    order = sorted(range(len(todo)), key=lambda k: -_size(compiled, todo[k].node))
    with ProcessPoolExecutor(os.cpu_count(), initializer=end_with_parent) as pool:
        runs = {pool.submit(todo[k].run): k for k in order}
        for finished in as_completed(runs):
            done[runs[finished]] = finished.result()
            tick[todo[runs[finished]].node.name]()
    reports = []
    for node in compiled.graph.nodes:
        own = [done[k] for k, part in enumerate(todo) if part.node is node]
        reports.append(_report(compiled, node, options, own))
    return reports


def _size(compiled: CompiledNetwork, node: Node) -> int:
    if not isinstance(node, Matrix):
        return node.output.numbers
    placement = compiled.placements[node.name]
    return placement.steps * placement.crossbars * 100


def foretell_node(compiled: CompiledNetwork, node: Node, options: NetworkOptions) -> NodeReport:
    """One node from the cycle model alone."""
    return _report(compiled, node, options, None)


def _report(compiled: CompiledNetwork, node: Node, options: NetworkOptions, runs: list[Run] | None) -> NodeReport:
    kind = node.layer.op if isinstance(node, Matrix) else type(node).__name__.lower()
    common = {"name": node.name, "kind": kind, "shape": node.output.shape, "where": "rtl"}
    common["buffer_bits"] = compiled.buffers[node.name]
    if not isinstance(node, Matrix):
        match = bool(np.array_equal(runs[0].outputs[0], compiled.codes[node.output.name])) if runs else None
        nothing = dict.fromkeys(("cycles_model", "reads", "reads_model"))
        blank = {"mapping": "", "schedule": "", "note": "", "steps": 0, "crossbars": 0, "tiles": 0, "passes": 1}
        cycles = runs[0].cycles if runs else None
        return NodeReport(**common, **nothing, **blank, cycles=cycles, match=match)
    placement, passes = compiled.placements[node.name], compiled.passes(node.name)
    foretold = [compiled.cycles(node, tiles, compiled.images, skip=options.skip) for tiles in passes]
    if len(passes) > 1:
        common["where"] = f"rtl in {len(passes)} passes; the host adds their sums and requantises them"
    return NodeReport(
        **common,
        mapping=placement.mapping,
        schedule=placement.schedule,
        steps=placement.steps * compiled.images,
        cycles=sum(max(run.tiles) for run in runs) if runs else None,
        cycles_model=sum(max(tile.cycles for tile in own) for own in foretold),
        reads=sum(sum(run.reads) for run in runs) if runs else None,
        reads_model=sum(tile.reads for own in foretold for tile in own),
        crossbars=placement.crossbars,
        tiles=len(placement.tiles),
        passes=len(passes),
        match=_matches(compiled, node, placement, foretold, runs) if runs else None,
        note="; ".join(part for part in (compiled.choices[node.name].note, _held(runs, foretold)) if part),
    )


def _held(runs: list[Run] | None, foretold: list[list[TileCycles]]) -> str:
    """What a padding-free layer took more than the model knows of."""
    more = sum(max(run.tiles) for run in runs or []) - sum(max(tile.cycles for tile in own) for own in foretold)
    return f"{more:,} cycles more than foretold: flushed blocks waited for the collector" if runs and more else ""


def _matches(
    compiled: CompiledNetwork, node: Matrix, placement: Placement, foretold: list[list[TileCycles]], runs: list[Run]
) -> bool:
    """Whether outputs are the golden model's, and cycles and reads of every tile the cycle model's."""
    found = runs[0].outputs[0]
    if node.raw or len(runs) > 1:  # RTL yields sums
        found = of_sums(node, compiled.graph.tensors[node.inputs[0]], sum(run.outputs[0] for run in runs))
    if not np.array_equal(found, compiled.codes[node.output.name]):
        return False
    found = [cycles for run in runs for cycles in run.tiles]
    wanted = [tile.cycles for own in foretold for tile in own]
    # Padding-free, flushed blocks may wait for the collector, which the model leaves out: never less cycles, though.
    cycles = found == wanted or (placement.sweep.overlap and all(f >= w for f, w in zip(found, wanted, strict=True)))
    reads = [sum(run.reads) for run in runs] == [sum(tile.reads for tile in own) for own in foretold]
    return cycles and reads


def run_pipeline(compiled: CompiledNetwork, options: NetworkOptions, tick: Tick) -> Flow:
    """All layers at work on successive images. `InputError`: the chip does not hold the network."""
    check_fits(compiled)
    p = NetworkParameters(compiled.plan, skip=options.skip)
    built = build_network(p, simulator=options.simulator, build=options.build / "sim")
    tick()
    run = run_network(p, built, [compiled.codes[tensor.name] for tensor in compiled.graph.inputs])
    tick()
    return flow(compiled, options, run)


def check_fits(compiled: CompiledNetwork) -> None:
    """`InputError`, naming the first node for which no tile is left."""
    room = compiled.chip.tiles
    for node in compiled.graph.matrices if room is not None else ():
        need = len(compiled.placements[node.name].tiles)
        if need > room:
            raise InputError(
                f"node {node.name!r} needs {need} tile{'s' if need > 1 else ''}, and {room} of tiles = "
                f"{compiled.chip.tiles} on chip {compiled.chip.name} are left: the layers of a pipeline stand on the "
                "chip side by side"
            )
        room -= need


def flow(compiled: CompiledNetwork, options: NetworkOptions, run: Run) -> Flow:
    """Of a run of the whole network."""
    match = True
    for k, tensor in enumerate(compiled.plan.outputs):
        node = next(node for node in compiled.graph.nodes if node.output.name == tensor.name)
        found = run.outputs[k]
        if isinstance(node, Matrix) and node.raw:
            found = of_sums(node, compiled.graph.tensors[node.inputs[0]], found)
        match &= bool(np.array_equal(found, compiled.codes[tensor.name]))
    bound, slowest = slowest_layer(compiled, options)
    done = [max(own[n] for own in run.done) for n in range(compiled.images)]
    # Once full: the first half of the images fills the network.
    first = len(done) // 2 if len(done) > 2 else 0
    per_image = (done[-1] - done[first]) / (len(done) - 1 - first) if len(done) > 1 else None
    return Flow(done[0], per_image, bound, slowest, match)


def slowest_layer(compiled: CompiledNetwork, options: NetworkOptions) -> tuple[float, str]:
    """Cycles of an image in the layer that takes most alone, over the images that `flow` measures, and its name."""
    found = []
    count = compiled.images
    first = count // 2 + 1 if count > 2 else (1 if count > 1 else 0)
    for node in compiled.graph.matrices:
        tiles = compiled.placements[node.name].tiles
        whole, start = (
            max(tile.cycles for tile in compiled.cycles(node, tiles, images, skip=options.skip)) if images else 0
            for images in (count, first)
        )
        found.append(((whole - start) / (count - first), node.name))
    return max(found)
