"""Cycles that RTL may take: what the cycle model predicts of a tile, and a bound of a network's stages."""

import numpy as np
from numpy.typing import NDArray

from selvage.hw.network.network import NetworkParameters
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.stages import LayerStage, PoolStage, Stage
from selvage.sim.cycles import tile_cycles
from selvage.sim.layer import layer_cycles


def predicted_of_tile(p: TileParameters, x: NDArray[np.int64]) -> int:
    """Return the cycles for activations ``x`` (N, C, H, W), as they come, when no stream pauses."""
    return tile_cycles(p.placement, p.tile, x - p.placement.format.zero_point, skip=p.skip).cycles


def bound_of_stages(p: NetworkParameters) -> list[int]:
    """Return the most cycles that each stage takes for one image, whatever its codes.

    No stream pauses, and stages work one after the other.
    """
    return [_bound(p, stage) * stage.output.steps for stage in p.plan.stages]


def _bound(p: NetworkParameters, stage: Stage) -> int:
    """Return the most cycles of a stage: one for each number of its maps, in a pool for each pixel of its window."""
    numbers = sum(source.numbers for source in stage.sources) + stage.output.numbers
    if isinstance(stage, PoolStage):
        return numbers * stage.node.kernel[0] * stage.node.kernel[1]
    if not isinstance(stage, LayerStage):
        return numbers
    placement, words = stage.placement, p.layers[stage.name].collector.plan.words
    layer = placement.layer
    every = np.full((1, layer.channels, layer.height, layer.width), -1)  # every row drives in every plane
    tiles = layer_cycles(placement, placement.tiles, every, words, skip=False)
    return numbers + max(tile.cycles for tile in tiles)
