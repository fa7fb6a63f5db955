"""How the sums of a layer's tiles become one stream: order of the outputs, and where each tile has them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selvage.mapping.drain import drain_plan, leaving_outputs, weights_per_beat
from selvage.mapping.placement import Integers, Placement

WIDEST = 16  # most channels of a word between stages


@dataclass(frozen=True)
class Gathering:
    """Beats of a tile that are stored as one word, ``beats`` of them; ``side`` neighbouring values of each stay so."""

    beats: int = 1
    side: int = 1

    def order(self, values: int) -> list[tuple[int, int]]:
        """Return (beat, value of the beat) of each value of a stored word, of beats of so many ``values``."""
        runs = range(0, values, self.side)
        return [(beat, run + k) for run in runs for beat in range(self.beats) for k in range(self.side)]

    def arranged(self, ids: Integers) -> Integers:
        """Return the stored words of a step whose beats have ``ids`` (beats, values); -1 fills up the last word."""
        words = -(-len(ids) // self.beats)
        filled = np.full((words * self.beats, ids.shape[1]), -1)
        filled[: len(ids)] = ids
        beat, value = np.array(self.order(ids.shape[1])).T
        return filled.reshape(words, self.beats, -1)[:, beat, value]


@dataclass(frozen=True)
class CollectPlan:
    """Words of a step as they leave: block row by block row, pixel by pixel, channels in order.

    ``sources[t][w]`` is where tile t has word w, (stored word, group of ``lanes`` of its values), or None. ``beats[t]``
    and ``values[t]`` are the beats of a step of tile t, and the values of each; ``gatherings[t]`` is how they are
    stored. All are the same for each of the ``copies``, which have ``steps`` steps of an image in turn.
    """

    lanes: int
    sources: tuple[tuple[tuple[int, int] | None, ...], ...]
    beats: tuple[int, ...]
    values: tuple[int, ...]
    gatherings: tuple[Gathering, ...]
    copies: int
    steps: int

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
        """Most channels of a word: neighbours that every tile has side by side, in a beat, or not at all.

        Of k copies k times as many, where a power of two: they have words k times as often, and beats are gathered.
        """
        lanes = min(weights_per_beat(self.placement, tile) for tile in self.placement.tiles)
        if self.placement.copies > 1:
            lanes = min(WIDEST, 1 << (lanes * self.placement.copies - 1).bit_length())
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

    def places(self, lanes: int) -> list[tuple[Gathering, Integers]] | None:
        """Return by tile how beats are stored, and for each word of a step the place of its first value.

        Places are among those of all stored words, -1 where the tile does not have the word. None: some tile does not
        have so many channels side by side.
        """
        if self.placement.layer.outputs % lanes or lanes & lanes - 1:
            return None
        found, known = [], {}
        for tile, beats in zip(self.placement.tiles, self.beats, strict=True):
            kind = self.placement.likeness(tile)
            gatherings = known.get(kind) or self._gatherings(lanes, beats.shape[1])
            tried = ((how, self._first_values(lanes, how.arranged(beats))) for how in gatherings)
            fitting = next(((how, places) for how, places in tried if places is not None), None)
            if fitting is None:
                return None
            known.setdefault(kind, [fitting[0]])
            found.append(fitting)
        return found

    def _gatherings(self, lanes: int, values: int) -> list[Gathering]:
        """Return the ways to store beats of so many ``values``, the smallest first; layers of one copy gather none."""
        if self.placement.copies == 1:
            return [Gathering()]
        powers = [1 << k for k in range(lanes.bit_length())]
        return [Gathering(beats, side) for beats in powers for side in powers if values % side == 0]

    def _first_values(self, lanes: int, stored: Integers) -> Integers | None:
        """Return the place in ``stored`` of the first value of each word, or None where one is not side by side."""
        words = self.order.reshape(-1, lanes)
        at = np.full(len(self.placement.sweep.phases) * self.placement.layer.outputs, -1)
        places = np.arange(stored.size)[stored.ravel() >= 0]
        at[stored.ravel()[places]] = places
        ids = at[words]
        first = ids[:, :1]
        if (ids != np.where(first < 0, -1, first + np.arange(lanes))).any():
            return None
        place = first % stored.shape[1]
        if (((place % lanes != 0) | (place + lanes > stored.shape[1])) & (first >= 0)).any():
            return None
        return first[:, 0]

    def plan(self, lanes: int) -> CollectPlan | None:
        """Return the plan with ``lanes`` channels a word; None where some tile lacks them side by side."""
        if (places := self.places(lanes)) is None:
            return None
        sources = []
        for beats, (how, first) in zip(self.beats, places, strict=True):
            word, value = np.divmod(first, beats.shape[1] * how.beats)
            pairs = zip(first.tolist(), word.tolist(), (value // lanes).tolist(), strict=True)
            sources.append(tuple(None if place < 0 else (word, group) for place, word, group in pairs))
        (rows, columns), gatherings = self.placement.sweep.grid, tuple(how for how, _ in places)
        return CollectPlan(lanes, tuple(sources), *self.shape, gatherings, self.placement.copies, rows * columns)

    @property
    def shape(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Beats of a step by tile, and values of each."""
        return tuple(len(beats) for beats in self.beats), tuple(beats.shape[1] for beats in self.beats)
