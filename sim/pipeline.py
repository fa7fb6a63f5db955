"""Cycles between images of each stage of a network when all are at work: the slowest sets the pace.

Written from the timing tables of ``docs/architecture.md``. Words come when they are wanted and leave at once; so no
stage is faster in a network, and a network no faster than its slowest stage.
"""

import math
from collections.abc import Mapping

from selvage.mapping.schedule import Sweep
from selvage.mapping.stages import LayerStage, NetworkPlan, PoolStage, Stage
from selvage.sim.cycles import FIRST_LOAD, Source
from selvage.sim.layer import CountedPass

SETTLED = 4  # images after which the copies of a layer have found their turns


def measured_from(images: int) -> int:
    """Return the image from whose end on throughput is measured: the first half of them fills the network."""
    return images // 2 if images > 2 else 0


def stage_interval(plan: NetworkPlan, stage: Stage) -> int:
    """Return the cycles an image of a stage, but of a layer's tiles.

    They are a word a cycle in and out, and what a pool reads.
    """
    sources = [source.numbers // plan.lanes[source.name] for source in stage.sources]
    found = [*sources, stage.output.numbers // plan.lanes[stage.output.name]]
    if isinstance(stage, PoolStage):
        found.append(pool_interval(stage, stage.sources[0].shape[0] // plan.lanes[stage.sources[0].name]))
    if isinstance(stage, LayerStage):
        sweep = stage.placement.sweep
        words = stage.output.shape[0] // plan.lanes[stage.output.name]
        # Of blocks all pixels leave the collector; a line outside of the map costs the raster buffer a cycle.
        found.append(math.prod(sweep.grid) * math.prod(sweep.block) * words)
        if not sweep.raster:
            found.append(found[1] + sweep.grid[0] * sweep.block[0] - sweep.output[0])
    return max(found) * steps_of(stage)


def steps_of(stage: Stage) -> int:
    """Return how many maps a stage takes for each image: of one in a loop, its steps."""
    return min(stage.sources[0].steps, stage.output.steps)


def pool_interval(stage: PoolStage, words: int) -> int:
    """Return the cycles from one image to the next of a pool that reads ``words`` words a pixel.

    The windows' loads follow each other, each when its pixels are there.
    """
    node, size = stage.node, stage.sources[0].shape[1:]
    output = stage.output.shape[1:]
    sweep = Sweep(size=size, output=output, steps=output, stride=node.stride)
    source, load = Source(sweep, node.offsets, words), len(node.offsets) * words
    ends, start = [], FIRST_LOAD
    for image in range(3):
        start = source.restart(start) if image else start
        for step in range(math.prod(output)):
            start = source.present(step, start) + load
        ends.append(start)
    return ends[2] - ends[1]


def layer_interval(counted: CountedPass, words: int) -> float:
    """Return the cycles between images of a layer's tiles, the collector reading ``words`` words a step.

    A single image is taken as if it came again and again. Copies are not all at work in the first image, and some stand
    idle at its end, so theirs is the interval of later ones.
    """
    copied = counted.placement.copies > 1
    ends = counted.ends(words, again=1 if counted.images > 1 else SETTLED if copied else 2)
    first = len(ends) - 2 if counted.images == 1 else measured_from(len(ends))
    return (ends[-1] - ends[first]) / (len(ends) - 1 - first)


def slowest_stage(plan: NetworkPlan, counted: Mapping[str, CountedPass]) -> tuple[float, str]:
    """Return the cycles an image of the slowest stage, and its name; ``counted`` are the layers, one pass each.

    They are those of the images that throughput is measured over.
    """
    found = max((stage_interval(plan, stage), stage.name) for stage in plan.stages)
    layers = {stage.name: counted[stage.name].leaving.words(plan.lanes[stage.output.name]) for stage in plan.layers}
    steps = {stage.name: steps_of(stage) for stage in plan.layers}
    most = {name: _most(counted[name], words) * steps[name] for name, words in layers.items()}
    for name in sorted(most, key=lambda name: -most[name]):
        if most[name] <= found[0]:
            break
        found = max(found, (layer_interval(counted[name], layers[name]) * steps[name], name))
    return found


def _most(counted: CountedPass, words: int) -> float:
    """Return an upper bound of `layer_interval`, where one is known at once.

    A second image takes no longer than the first.
    """
    if counted.images > 1 or words != counted.words or counted.placement.copies > 1:
        return math.inf
    return max(tile.cycles for tile in counted.tiles)
