"""The cycles of an image in a network, roughly: what benches wait for before they say that one hangs."""

from selvage.mapping.stages import LayerStage, NetworkPlan, PoolStage, Stage
from selvage.sim.cycles import least_cycles


def image_cycles(plan: NetworkPlan) -> int:
    """Return the cycles that the stages take for an image, one after the other, with no OU skipped."""
    return sum(_cycles(plan, stage) * stage.output.steps for stage in plan.stages)


def _cycles(plan: NetworkPlan, stage: Stage) -> int:
    """Return the cycles of one stage: of what is no layer, a word a cycle, and for a pool all pixels of its windows."""
    moved = sum(tensor.numbers // plan.lanes[tensor.name] for tensor in (*stage.sources, stage.output))
    if isinstance(stage, LayerStage):
        return moved + max(least_cycles(stage.placement, tile, 1, skip=False) for tile in stage.placement.tiles)
    return moved * (stage.node.kernel[0] * stage.node.kernel[1] if isinstance(stage, PoolStage) else 1)
