"""How the sums of a layer's tiles become one stream: order of the outputs, and where each tile has them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selvage.mapping.drain import drain_plan, leaving_outputs, weights_per_beat
from selvage.mapping.placement import Integers, Placement

WIDEST = 16  # most channels of a word between stages


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
        """Words of one step."""
        return len(self.sources[0])


@dataclass(frozen=True, eq=False)
class Leaving:
    """The beats that leave all tiles of a placement."""

    placement: Placement

    @cached_property
    def beats(self) -> list[Integers]:
        """The output id of each value by tile, (beats, values of a beat), -1 where there is none."""
        placement, found, known = self.placement, [], {}
        for tile in placement.tiles:
            first = int(tile.arrays[0].blocks[0].outputs[0])
            kind = placement.likeness(tile)
            if kind not in known:
                ids = leaving_outputs(placement, tile, drain_plan(placement, tile))
                known[kind] = first, np.array([[-1 if o is None else o for o in beat] for beat in ids])
            other, outputs = known[kind]
            found.append(np.where(outputs < 0, -1, outputs + first - other))
        return found

    @cached_property
    def order(self) -> Integers:
        """Output ids of a step's output block in raster order, channels of a pixel in order."""
        sweep, m = self.placement.sweep, self.placement.layer.outputs
        inside = [
            (phase, index)
            for index, phase in enumerate(sweep.phases)
            if phase[0] < sweep.block[0] and phase[1] < sweep.block[1]
        ]
        phases = np.array([index for _, index in sorted(inside)])
        return (phases[:, None] * m + np.arange(m)).ravel()

    @cached_property
    def lanes(self) -> int:
        """Most channels of a word: neighbours that every tile has side by side, in a beat, or not at all."""
        lanes = min(weights_per_beat(self.placement, tile) for tile in self.placement.tiles)
        while self.places(lanes) is None:
            lanes //= 2
        return lanes

    @property
    def widest(self) -> int:
        """Channels of a word where no reader takes fewer."""
        return min(WIDEST, self.lanes)

    def words(self, lanes: int) -> int:
        """Return the words of a step, with ``lanes`` channels each."""
        return len(self.order) // lanes

    def places(self, lanes: int) -> list[Integers] | None:
        """Return by tile, for each word of a step, the place of its first value among those of all beats.

        It is -1 where the tile does not have the word. None: some tile does not have so many channels side by side.
        """
        if self.placement.layer.outputs % lanes or lanes & lanes - 1:
            return None
        words, found = self.order.reshape(-1, lanes), []
        for beats in self.beats:
            at = np.full(len(self.placement.sweep.phases) * self.placement.layer.outputs, -1)
            places = np.arange(beats.size)[beats.ravel() >= 0]
            at[beats.ravel()[places]] = places
            ids = at[words]
            first = ids[:, :1]
            if (ids != np.where(first < 0, -1, first + np.arange(lanes))).any():
                return None
            if ((first % beats.shape[1] % lanes != 0) & (first >= 0)).any():
                return None
            found.append(first[:, 0])
        return found

    def plan(self, lanes: int) -> CollectPlan | None:
        """Return the plan with ``lanes`` channels a word; None where some tile lacks them side by side."""
        if (places := self.places(lanes)) is None:
            return None
        sources = []
        for beats, first in zip(self.beats, places, strict=True):
            beat, value = np.divmod(first, beats.shape[1])
            pairs = zip(first.tolist(), beat.tolist(), (value // lanes).tolist(), strict=True)
            sources.append(tuple(None if place < 0 else (beat, group) for place, beat, group in pairs))
        return CollectPlan(lanes, tuple(sources), *self.shape)

    @property
    def shape(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Beats of a step by tile, and values of each."""
        return tuple(len(beats) for beats in self.beats), tuple(beats.shape[1] for beats in self.beats)
