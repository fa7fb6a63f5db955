"""How the sums of a layer's tiles become one stream: order of the outputs, and where each tile has them."""

from dataclasses import dataclass
from functools import cached_property

from mapping.drain import drain_plan, leaving_outputs, weights_per_beat
from mapping.placement import Placement


@dataclass(frozen=True)
class CollectPlan:
    """Words of a step as they leave: block row by block row, pixel by pixel, channels in order.

    ``sources[t][w]`` is where tile t has word w, (beat, group of ``lanes`` values of the beat), or None. ``beats[t]``
    and ``values[t]`` are the beats of a step of tile t, and the values of each.
    """

    lanes: int
    sources: tuple[tuple[tuple[int, int] | None, ...], ...]
    beats: tuple[int, ...]
    values: tuple[int, ...]

    @property
    def words(self) -> int:
        """Of one step."""
        return len(self.sources[0])


@dataclass(frozen=True, eq=False)
class Leaving:
    """The beats of all tiles of a placement."""

    placement: Placement

    @cached_property
    def beats(self) -> list[list[list[int | None]]]:
        """By tile and beat, the output id of each value."""
        placement = self.placement
        return [leaving_outputs(placement, tile, drain_plan(placement, tile)) for tile in placement.tiles]

    @cached_property
    def order(self) -> list[int]:
        """Output ids of a step's output block in raster order, channels of a pixel in order."""
        sweep, m = self.placement.sweep, self.placement.layer.outputs
        inside = [
            (phase, index)
            for index, phase in enumerate(sweep.phases)
            if phase[0] < sweep.block[0] and phase[1] < sweep.block[1]
        ]
        return [index * m + channel for _, index in sorted(inside) for channel in range(m)]

    @cached_property
    def lanes(self) -> int:
        """Most channels of a word: neighbours that every tile has side by side, in a beat, or not at all."""
        lanes = min(weights_per_beat(self.placement, tile) for tile in self.placement.tiles)
        while self.plan(lanes) is None:
            lanes //= 2
        return lanes

    def plan(self, lanes: int) -> CollectPlan | None:
        """With so many channels a word; None where some tile does not have them side by side."""
        if self.placement.layer.outputs % lanes or lanes & lanes - 1:
            return None
        sources = []
        for beats in self.beats:
            at = {o: (k, lane) for k, ids in enumerate(beats) for lane, o in enumerate(ids) if o is not None}
            own = []
            for first in range(0, len(self.order), lanes):
                places = [at.get(output) for output in self.order[first : first + lanes]]
                if places[0] is None:
                    expected = [None] * lanes
                else:
                    beat, lane = places[0]
                    expected = [(beat, lane + k) for k in range(lanes)]
                if places != expected or (places[0] and places[0][1] % lanes):
                    return None
                own.append(places[0] and (places[0][0], places[0][1] // lanes))
            sources.append(tuple(own))
        beats = tuple(len(own) for own in self.beats)
        return CollectPlan(lanes, tuple(sources), beats, tuple(len(own[0]) for own in self.beats))
