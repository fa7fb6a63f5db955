"""A compiled network through RTL: node by node side by side, or all its layers at work at once."""

import time
from collections.abc import Mapping
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError, RtlError
from selvage.base.graph import Matrix, Node
from selvage.commands.difference import Difference, first_difference
from selvage.commands.run_noisy import alone_passes, noisy_runs
from selvage.compiler.compile_network import CompiledNetwork, ImportedNetwork, Tick
from selvage.compiler.options import Options
from selvage.compiler.parts import Part, check_fits, node_parts
from selvage.golden.graph import of_sums
from selvage.hw.network.network import NetworkParameters
from selvage.rtlsim.plain import Run, build_network, run_network
from selvage.rtlsim.simulate import workers
from selvage.rtlsim.waves.network_signals import network_scopes
from selvage.rtlsim.waves.viewers import write_save_files
from selvage.sim.cycles import TileCycles
from selvage.sim.layer import CountedPass
from selvage.sim.network import NetworkCycles, network_cycles, unpredicted
from selvage.sim.pipeline import slowest_stage

Integers = NDArray[np.int64]

PIPELINE = "pipeline"  # name of its waves
AGAIN, MOST_AGAIN = 4, 64  # images of a prediction where there is but one: at first, and until queues have filled


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
    fault: str  # in what RTL does not match; empty where it does, and where it was not run
    difference: Difference | None  # the first output that is wrong
    note: str
    copies: int = 1  # how often the layer stands; crossbars, tiles and buffers are those of all copies


@dataclass(frozen=True)
class Flow:
    """The whole network at work on successive images, in cycles."""

    latency: int  # until the first image's last word has left
    per_image: float | None  # between last words, once the network is full; None for a single image
    bound: float  # of the slowest node alone, from the cycle model: a network is no faster
    slowest: str
    latency_model: int | None  # None: a stage of a kind that the network model does not know
    per_image_model: float | None
    utilisation: float | None  # OU reads over the cycles of all arrays, once the network is full
    match: bool
    fault: str  # in what RTL does not match
    difference: Difference | None

    @property
    def share(self) -> float | None:
        """Share of the throughput that the slowest node sets; None for a single image."""
        return self.bound / self.per_image if self.per_image else None


def run_part(part: Part) -> Run:
    """Run one simulation. Raises `SimulationError`, and `RtlError`, which names the node."""
    p = part.parameters
    try:
        return run_network(p, build_network(p, simulator=part.simulator, build=part.build / "sim"), part.inputs)
    except RtlError as error:
        raise RtlError(f"node {part.node.name!r}: {error}", node=part.node.name) from None


def run_nodes(compiled: CompiledNetwork, options: Options, tick: Mapping[str, Tick]) -> list[NodeReport]:
    """Run every node through RTL on the codes that the golden model gives it; ``tick`` by node, once a pass."""
    drawn = noisy_runs(compiled, options, tick) if compiled.devices else {}
    todo = [part for _, part in node_parts(compiled, options) if part.node.name not in drawn]
    done: dict[int, Run] = {}
    # The longest first, so that no core is left alone with it at the end.
    order = sorted(range(len(todo)), key=lambda k: -_size(compiled, todo[k].node))
    with workers() as pool:
        runs = {pool.submit(run_part, todo[k]): k for k in order}
        for finished in as_completed(runs):
            done[runs[finished]] = finished.result()
            tick[todo[runs[finished]].node.name]()
    reports = []
    for node in compiled.graph.nodes:
        passes = drawn.get(node.name) or [done[k] for k, part in enumerate(todo) if part.node is node]
        reports.append(_report(compiled, node, options, passes))
    return reports


def _size(compiled: CompiledNetwork, node: Node) -> int:
    if not isinstance(node, Matrix):
        return node.output.numbers
    placement = compiled.placements[node.name]
    return placement.steps * placement.crossbars * 100


def predict_node(compiled: CompiledNetwork, node: Node, options: Options) -> NodeReport:
    """Report one node by the cycle model alone."""
    return _report(compiled, node, options, None)


def _report(compiled: CompiledNetwork, node: Node, options: Options, runs: list[Run] | None) -> NodeReport:
    kind = node.layer.op if isinstance(node, Matrix) else type(node).__name__.lower()
    common = {"name": node.name, "kind": kind, "shape": node.output.shape, "where": "rtl"}
    common["buffer_bits"] = compiled.buffers[node.name]
    if not isinstance(node, Matrix):
        nothing = dict.fromkeys(("cycles_model", "reads", "reads_model"))
        blank = {"mapping": "", "schedule": "", "note": "", "steps": 0, "crossbars": 0, "tiles": 0, "passes": 1}
        cycles = runs[0].cycles if runs else None
        wrong = first_difference(node.name, runs[0].outputs[0], compiled.codes[node.output.name]) if runs else None
        return NodeReport(**common, **nothing, **blank, cycles=cycles, **_judged(runs, wrong, str(wrong or "")))
    placement, counted = compiled.placements[node.name], compiled.counted(node, skip=options.skip)
    predicted = [part.tiles for part in counted]
    if compiled.devices and runs:
        predicted = alone_passes(compiled, node, options)
    if len(predicted) > 1:
        common["where"] = f"rtl in {len(predicted)} passes; the host adds their sums and requantises them"
    return NodeReport(
        **common,
        mapping=placement.mapping,
        schedule=placement.schedule,
        steps=placement.steps * compiled.images,
        cycles=sum(max(run.tiles) for run in runs) if runs else None,
        cycles_model=sum(max(tile.cycles for tile in tiles) for tiles in predicted),
        reads=sum(sum(run.reads) for run in runs) if runs else None,
        reads_model=sum(tile.reads for tiles in predicted for tile in tiles),
        crossbars=placement.crossbars,
        tiles=len(placement.standing),
        copies=placement.copies,
        passes=len(predicted),
        **_compared(compiled, node, predicted, runs),
        note=compiled.choices[node.name].note,
    )


def _judged(runs: list[Run] | None, difference: Difference | None, fault: str) -> dict:
    """Return the verdict in the fields of a `NodeReport`."""
    return {"match": not fault if runs else None, "fault": fault, "difference": difference}


def _compared(
    compiled: CompiledNetwork,
    node: Matrix,
    predicted: list[list[TileCycles]],
    runs: list[Run] | None,
) -> dict:
    """Judge whether outputs are the golden model's, and cycles and reads of every tile the cycle model's."""
    if not runs:
        return _judged(runs, None, "")
    found = runs[0].outputs[0]
    if node.raw or len(runs) > 1 or compiled.devices:  # RTL yields sums
        sums = sum((run.outputs[0] for run in runs), start=np.zeros_like(found))
        found = of_sums(node, compiled.graph.tensors[node.inputs[0]], sums)
    if difference := first_difference(node.name, found, compiled.codes[node.output.name]):
        return _judged(runs, difference, str(difference))
    counted = [cycles for run in runs for cycles in run.tiles]
    wanted = [tile.cycles for tiles in predicted for tile in tiles]
    for tile, (cycles, least) in enumerate(zip(counted, wanted, strict=True)):
        if cycles != least:
            return _judged(runs, None, _miscounted(node, f"tile {tile} takes {cycles:,} cycles", least))
    for index, (run, tiles) in enumerate(zip(runs, predicted, strict=True)):
        reads, least = sum(run.reads), sum(tile.reads for tile in tiles)
        if reads != least:
            where = f"pass {index} takes" if len(runs) > 1 else "its macros take"
            return _judged(runs, None, _miscounted(node, f"{where} {reads:,} OU reads", least))
    return _judged(runs, None, "")


def _miscounted(node: Matrix, counted: str, predicted: int) -> str:
    return f"layer {node.name!r}: the outputs are right, and {counted} where the cycle model predicts {predicted:,}"


def run_pipeline(compiled: CompiledNetwork, options: Options, tick: Tick) -> Flow:
    """Run all layers at once on successive images. `InputError`: the chip does not hold the network."""
    check_fits(compiled)
    if compiled.devices:
        raise InputError("--noise is for layers one by one: --pipeline has ideal macros in plain Verilog")
    p = NetworkParameters(compiled.plan, skip=options.skip, probes=options.waves is not None)
    built = build_network(p, simulator=options.simulator, build=options.build / "sim")
    tick()
    waves = options.waves / f"{PIPELINE}.fst" if options.waves else None
    run = run_network(p, built, [compiled.codes[tensor.name] for tensor in compiled.graph.inputs], waves=waves)
    if waves:
        write_save_files(network_scopes(p), waves)
    tick()
    return flow(compiled, options, run)


def flow(compiled: CompiledNetwork, options: Options, run: Run) -> Flow:
    """Return what a run of the whole network showed."""
    difference = None
    for k, tensor in enumerate(compiled.plan.outputs):
        node = next(node for node in compiled.graph.nodes if node.output.name == tensor.name)
        found = run.outputs[k]
        if isinstance(node, Matrix) and node.raw:
            found = of_sums(node, compiled.graph.tensors[node.inputs[0]], found)
        difference = difference or first_difference(node.name, found, compiled.codes[tensor.name])
    found, predicted, fault = NetworkCycles(run.done, 0, {}), None, str(difference or "")
    if not unpredicted(compiled.plan):
        predicted = pipeline_cycles(compiled, options, compiled.images)
        fault = fault or _mistimed(found.ends, predicted.ends)
    return Flow(
        found.latency,
        found.per_image,
        *slowest_node(compiled, options),
        predicted.latency if predicted else None,
        predicted.per_image if predicted else None,
        utilisation(compiled, options, found.per_image),
        not fault,
        fault,
        difference,
    )


def _mistimed(found: list[int], predicted: list[int]) -> str:
    """Return what is wrong in the cycles until images have left; empty where nothing is."""
    for image, (cycles, wanted) in enumerate(zip_longest(found, predicted)):
        if cycles != wanted:
            says = f"the network model predicts {wanted:,}" if wanted else "the network model never lets it out"
            return f"the outputs are right, and image {image} has left after {cycles:,} cycles where {says}"
    return ""


def pipeline_cycles(compiled: CompiledNetwork, options: Options, images: int) -> NetworkCycles:
    """Return when ``images`` leave the whole network, those compiled for again and again, by the network model."""
    return network_cycles(compiled.plan, _counted(compiled, options), images)


def _counted(compiled: CompiledNetwork, options: Options) -> dict[str, CountedPass]:
    """Return the reads of each layer; all of them stand on the chip at once."""
    return {node.name: compiled.counted(node, skip=options.skip)[0] for node in compiled.graph.matrices}


def utilisation(compiled: CompiledNetwork, options: Options, per_image: float | None) -> float | None:
    """Return the OU reads of an image over the cycles of all arrays between two; None where that is not known."""
    reads = sum(tile.reads for part in _counted(compiled, options).values() for tile in part.tiles) / compiled.images
    arrays = sum(placement.crossbars for placement in compiled.placements.values())
    return reads / (arrays * per_image) if per_image and arrays else None


@dataclass(frozen=True)
class PredictedFlow:
    """The whole network at work on successive images, by the network model alone."""

    latency: int
    per_image: float
    bound: float  # of the slowest node alone
    slowest: str
    utilisation: float | None


def predict_flow(compiled: CompiledNetwork, options: Options) -> PredictedFlow:
    """Return what `flow` would show; a single image comes again and again."""
    check_fits(compiled)
    if stage := unpredicted(compiled.plan):
        raise InputError(f"--pipeline has no cycles of node {stage!r}, whose kind the network model does not know")
    (bound, slowest), several = slowest_node(compiled, options), compiled.images > 1
    images = compiled.images if several else AGAIN
    while True:
        found = pipeline_cycles(compiled, options, images)
        if found.per_image is None or found.stuck:
            raise RtlError("the network model finds that the pipeline stands still: a queue is too short")
        per_image = found.per_image if several else float(found.ends[-1] - found.ends[-2])
        # While its queues fill a network takes more images than its slowest node.
        if several or per_image >= bound or images >= MOST_AGAIN:
            break
        images *= 2
    return PredictedFlow(found.latency, per_image, bound, slowest, utilisation(compiled, options, per_image))


def slowest_node(compiled: CompiledNetwork, options: Options) -> tuple[float, str]:
    """Return the cycles of an image in the node that takes most alone, over the images of `flow`, and its name.

    All layers must stand on the chip at once.
    """
    bound, slowest = slowest_stage(compiled.plan, _counted(compiled, options))
    return bound, next(stage.node_name for stage in compiled.plan.stages if stage.name == slowest)


def _flow_json(flow: Flow | PredictedFlow | None) -> dict | None:
    return {**asdict(flow), "share": flow.share} if isinstance(flow, Flow) else asdict(flow) if flow else None


def report_of(
    compiled: ImportedNetwork,
    chip: Chip,
    reports: list[NodeReport],
    flow: Flow | PredictedFlow | None,
    options: Options,
    started: float,
) -> dict:
    """Return the JSON report."""
    known = [flow.match] if isinstance(flow, Flow) else [r.match for r in reports if r.match is not None]
    cycles = [r.cycles if r.cycles is not None else r.cycles_model for r in reports]
    return {
        "match": all(known) if known else None,
        "simulator": options.simulator if known else "model",
        "seconds": round(time.monotonic() - started, 3),
        "network": compiled.graph.name,
        "chip": chip.name,
        "images": compiled.images,
        "cycles": sum(c for c in cycles if c is not None),
        "crossbars": sum(r.crossbars for r in reports),
        "tiles": sum(r.tiles for r in reports),
        "reads": sum(r.reads_model or 0 for r in reports),
        "buffer_bits": sum(r.buffer_bits for r in reports),
        "pipeline": _flow_json(flow),
        "nodes": [asdict(r) for r in reports],
        "candidates": {
            name: [asdict(candidate) for candidate in choice.candidates] for name, choice in compiled.choices.items()
        },
        "host": [asdict(node) for node in compiled.imported.host],
    }
