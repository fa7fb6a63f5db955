"""A whole network at work on successive images: when each word moves, to the cycle.

Written from the timing tables of ``docs/architecture.md`` and ``docs/pipelines.md``, not from the gateware. Inputs
offer their words without a pause, and what leaves is taken at once. Latency, throughput and what waits where follow.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, singledispatch

from selvage.mapping.load import words_of
from selvage.mapping.placement import Tile
from selvage.mapping.schedule import Sweep
from selvage.mapping.stages import (
    AddStage,
    ConcatStage,
    LayerStage,
    MultiplyStage,
    NetworkPlan,
    PoolStage,
    ReorderStage,
    ReshapeStage,
    ResizeStage,
    Stage,
    StateStage,
    TableStage,
)
from selvage.sim.cycles import buffer_lines
from selvage.sim.flow import Simulation, Stream, Times
from selvage.sim.layer import CountedPass
from selvage.sim.parts import Packing, Raster, concat, packer, pool, raster, reorder, state
from selvage.sim.pipeline import measured_from, steps_of
from selvage.sim.tiles import Collected, TileStream, collect

REQUANTIZER, ADD, TABLE, PRODUCT = 5, 4, 1, 1  # cycles of these stages


@dataclass(frozen=True)
class NetworkCycles:
    """When images have left a network: by output, the cycles until each image's last word is taken.

    ``stuck``: images that never leave, for the network stands still before. ``most``: by join and source, the words
    that wait at once in the queue before it.
    """

    done: list[list[int]]
    stuck: int
    most: dict[tuple[str, int], int]

    @property
    def ends(self) -> list[int]:
        """Cycles until each image has left by all outputs."""
        return [max(ends) for ends in zip(*self.done, strict=False)]

    @property
    def latency(self) -> int:
        """Cycles until the first image has left."""
        return self.ends[0]

    @property
    def per_image(self) -> float | None:
        """Cycles between images once the network is full (`sim.pipeline.measured_from`); None of a single image."""
        ends = self.ends
        first = measured_from(len(ends))
        return (ends[-1] - ends[first]) / (len(ends) - 1 - first) if len(ends) > 1 else None


@dataclass(frozen=True, eq=False)
class _Around:
    """What a stage is made of: the simulation, channels of a word by tensor, the layers' reads, images."""

    simulation: Simulation
    plan: NetworkPlan
    counted: Mapping[str, CountedPass]
    images: int

    def words(self, name: str, channels: int) -> int:
        """Return the words of a pixel of a tensor."""
        return channels // self.plan.lanes[name]


def network_cycles(
    plan: NetworkPlan, counted: Mapping[str, CountedPass], images: int, *, idle: int = 0
) -> NetworkCycles:
    """Return when each of ``images`` leaves; ``counted`` has each layer's reads, of one image or of all of them.

    Cycles count from the first word, which comes ``idle`` cycles after a reset: a step may be under way by then.
    """
    simulation = Simulation()
    around = _Around(simulation, plan, counted, images)
    made: dict[str, Stream] = {}
    for tensor in plan.inputs:
        made[tensor.name] = simulation.source(images * tensor.numbers // plan.lanes[tensor.name], idle)
    inputs: dict[tuple[str, int], Stream] = {}
    leaving: dict[str, list[Times]] = {}
    queues: dict[tuple[str, int], tuple[Times, Times]] = {}

    def share(name: str) -> None:
        """Give a tensor's readers their streams, behind a queue where they have one."""
        readers = [*plan.readers(name), *[None for tensor in plan.outputs if tensor.name == name]]
        if not readers:
            simulation.sink(made[name])
            return
        for reader, stream in zip(readers, simulation.fork(made[name], len(readers)), strict=True):
            if reader is None:
                leaving.setdefault(name, []).append(simulation.sink(stream))
            else:
                stage, source = reader
                queued = simulation.queue(stream, plan.depths[stage.name, source])
                inputs[stage.name, source] = queued
                if queued is not stream:
                    queues[stage.name, source] = stream.taken, queued.taken

    for tensor in plan.inputs:
        share(tensor.name)
    for stage in plan.stages:
        if isinstance(stage, StateStage):
            made[stage.output.name] = simulation.stream()  # what comes back to it is made behind it
        else:
            streams = [inputs[stage.name, k] for k in range(len(stage.sources))]
            made[stage.output.name] = stage_stream(stage, streams, replace(around, images=images * steps_of(stage)))
        share(stage.output.name)
    for stage in plan.stages:
        if isinstance(stage, StateStage):
            words = around.words(stage.output.name, stage.output.shape[0])
            state(simulation, inputs[stage.name, 0], made[stage.output.name], words, stage.steps)
    simulation.run()
    done = []
    for tensor in plan.outputs:
        each = tensor.numbers // plan.lanes[tensor.name]
        done.append([end + 1 - idle for end in leaving[tensor.name].pop(0)[each - 1 : images * each : each]])
    most = {place: _most(*ends) for place, ends in queues.items()}
    return NetworkCycles(done, images - min(map(len, done)), most)


def _most(entered: Times, left: Times) -> int:
    """Return the most words that wait at once: those that have come before a word leaves, less those that left."""
    return max((bisect_left(entered, end) - word for word, end in enumerate(left)), default=0)


def unpredicted(plan: NetworkPlan) -> str:
    """Return the name of the first stage whose kind has no part here, so that the network is not predicted; or none."""
    unknown = stage_stream.dispatch(object)
    stages = (stage for stage in plan.stages if not isinstance(stage, StateStage))
    return next((stage.name for stage in stages if stage_stream.dispatch(type(stage)) is unknown), "")


@singledispatch
def stage_stream(stage: Stage, streams: list[Stream], around: _Around) -> Stream:
    """Return the stream that leaves a stage with these ``streams`` at its sources. TypeError: nobody knows its kind."""
    raise TypeError(f"stage {stage.name!r} is of no known kind")


@stage_stream.register
def _(stage: TableStage, streams: list[Stream], around: _Around) -> Stream:
    return around.simulation.pipeline(streams[0], TABLE)


@stage_stream.register
def _(stage: AddStage, streams: list[Stream], around: _Around) -> Stream:
    return around.simulation.pipeline(streams[0], ADD, *streams[1:])


@stage_stream.register
def _(stage: MultiplyStage, streams: list[Stream], around: _Around) -> Stream:
    products = around.simulation.pipeline(streams[0], PRODUCT, *streams[1:])
    return around.simulation.pipeline(products, REQUANTIZER)


@stage_stream.register
def _(stage: ReshapeStage, streams: list[Stream], around: _Around) -> Stream:
    return streams[0]


@stage_stream.register
def _(stage: ConcatStage, streams: list[Stream], around: _Around) -> Stream:
    words = [around.words(source.name, source.shape[0]) for source in stage.sources]
    return streams[0] if len(words) == 1 else concat(around.simulation, streams, words)


@stage_stream.register
def _(stage: ResizeStage, streams: list[Stream], around: _Around) -> Stream:
    (source,) = stage.sources
    side = source.shape[1], source.shape[2]
    shape = Raster(side, (1, 1), (0, 0), side, stage.factor, around.words(source.name, source.shape[0]))
    return raster(around.simulation, streams[0], shape)


@stage_stream.register
def _(stage: ReorderStage, streams: list[Stream], around: _Around) -> Stream:
    return reorder(around.simulation, streams[0], stage.plan(around.plan.lanes[stage.output.name]))


@stage_stream.register
def _(stage: PoolStage, streams: list[Stream], around: _Around) -> Stream:
    (source,), node = stage.sources, stage.node
    size, output = source.shape[1:], stage.output.shape[1:]
    sweep = Sweep(size=size, output=output, steps=output, stride=node.stride)
    words = around.words(source.name, source.shape[0])
    out = pool(around.simulation, streams[0], sweep, node.offsets, words, around.images)
    return around.simulation.pipeline(out, REQUANTIZER) if stage.requantization else out


@stage_stream.register
def _(stage: LayerStage, streams: list[Stream], around: _Around) -> Stream:
    layer = _Layer(stage, around)
    simulation, placement = around.simulation, stage.placement
    words = collect(simulation, layer.tiles(streams[0]), layer.collected)
    if stage.requantization:
        words = simulation.pipeline(words, REQUANTIZER)
    if placement.sweep.raster:
        return words
    sweep = placement.sweep
    shape = Raster(sweep.grid, sweep.block, sweep.crop, sweep.output, (1, 1), layer.pixel)
    return raster(simulation, words, shape)


@dataclass(frozen=True, eq=False)
class _Layer:
    """The way from a layer's stream to its tiles; equal tiles of a copy are one."""

    stage: LayerStage
    around: _Around

    @property
    def counted(self) -> CountedPass:
        """The reads of the layer."""
        return self.around.counted[self.stage.name]

    @property
    def pixel(self) -> int:
        """Words of a pixel that leave."""
        return self.around.words(self.stage.output.name, self.stage.placement.layer.outputs)

    @cached_property
    def collected(self) -> Collected:
        """What the collector does."""
        words = self.stage.leaving.words(self.around.plan.lanes[self.stage.output.name])
        return Collected(self.stage.placement, words, self.around.images)

    @cached_property
    def kinds(self) -> dict[tuple, Tile]:
        """A tile of each kind that differs in its cycles."""
        return dict(zip(self.counted.kinds, self.stage.placement.tiles, strict=True))

    def packing(self, tile: Tile) -> Packing:
        """Return how words become those of a tile."""
        lanes = self.around.plan.lanes[self.stage.sources[0].name]
        packed = words_of(tile, self.stage.placement)[0]
        return Packing(self.stage.placement.layer.channels, lanes, tile.first_channel, tile.channels, packed)

    def lines(self, tile: Tile) -> tuple[int, int]:
        """Return the words of a line of a tile's map, and those of its input buffer."""
        sweep = self.stage.placement.shares[0].sweep
        pitch = sweep.size[1] * words_of(tile, self.stage.placement)[1]
        return pitch, pitch * buffer_lines(sweep, tile.offsets)

    def ahead(self, tile: Tile) -> int:
        """Return the words of the queue before a tile: lines that others need and it has no room for yet."""
        lowest = [max(row for row, _ in other.offsets) for other in (*self.kinds.values(), tile)]
        lines = -(-(max(lowest) - lowest[-1]) // self.stage.placement.sweep.insert[0])
        return (lines + 1) * self.lines(tile)[0] if lines else 0

    def tiles(self, stream: Stream) -> list[list[TileStream]]:
        """Return the tiles of each copy, one of each kind, that have the words of ``stream``."""
        simulation, placement = self.around.simulation, self.stage.placement
        entering = {tensor.name for tensor in self.around.plan.inputs}
        readers: dict[Packing, list[tuple[int, tuple]]] = {}
        for copy in range(placement.copies):
            for kind, tile in self.kinds.items():
                readers.setdefault(self.packing(tile), []).append((copy, kind))
        found: dict[tuple[int, tuple], TileStream] = {}
        forked = simulation.fork(stream, len(readers))
        for source, (packing, own) in zip(forked, readers.items(), strict=True):
            packed = packer(simulation, source, packing)
            depth = max(self.lines(self.kinds[kind])[1] for _, kind in own)
            packed = simulation.queue(packed, 0 if self.stage.sources[0].name in entering else depth)
            for (copy, kind), words in zip(own, simulation.fork(packed, len(own)), strict=True):
                tile = self.kinds[kind]
                found[copy, kind] = TileStream(
                    simulation,
                    simulation.queue(words, self.ahead(tile)),
                    placement.shares[copy],
                    tile,
                    self.counted.reads[kind],
                    self.around.images,
                )
        return [[found[copy, kind] for kind in self.kinds] for copy in range(placement.copies)]
