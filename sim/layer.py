"""Cycles of a whole layer: its tiles side by side, held up by the collector that adds what they have in common.

Written from the collector's timing table in ``docs/architecture.md``. Every tile is given its words directly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.collect import Leaving
from selvage.mapping.placement import Placement, Tile
from selvage.sim.cycles import TileCycles, Timeline, every_read, share_of, tile_cycles
from selvage.sim.overlap import OverlapSink, PlainSink, block_steps

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CountedPass:
    """Tiles that work side by side, with the reads of ``images``; equal tiles are counted once."""

    placement: Placement  # of these tiles alone
    images: int
    kinds: tuple[tuple, ...]  # of every tile of a copy
    reads: dict[tuple, Integers]  # by kind, of the steps of all copies, as `every_read`

    def copied(self, placement: Placement) -> "CountedPass":
        """Return the same tiles, of which ``placement`` has another number of copies."""
        return replace(self, placement=replace(placement, tiles=self.placement.tiles))

    @cached_property
    def leaving(self) -> Leaving:
        """What the tiles yield."""
        return Leaving(self.placement)

    @cached_property
    def words(self) -> int:
        """Words of a step, where no reader narrows them."""
        return self.leaving.words(self.leaving.widest)

    @cached_property
    def tiles(self) -> list[TileCycles]:
        """Cycles and reads of every tile of every copy, behind them the collector of these tiles alone."""
        return self.cycles(self.words)

    def cycles(self, words: int) -> list[TileCycles]:
        """Return cycles and reads of every tile, behind them a collector of ``words`` words a step."""
        ends = zip(self.kinds_ends(words), self._shares, strict=True)
        known = {key: replace(counts, cycles=cycles[-1] + 1) for cycles, (key, _, counts, _) in ends}
        return [known[copy, kind] for copy in range(self.placement.copies) for kind in self.kinds]

    def ends(self, words: int, again: int = 1) -> list[int]:
        """Return for each image the cycle in which its last beat is taken, all images ``again`` times."""
        return [max(ends) for ends in zip(*self.kinds_ends(words, again), strict=True)]

    @cached_property
    def _shares(self) -> list[tuple[tuple[int, tuple], Placement, TileCycles, Integers]]:
        """What each kind of tile of each copy computes: copy and kind, placement, counts, reads."""
        distinct = dict(zip(self.kinds, self.placement.tiles, strict=True))
        return [
            ((copy, kind), share, *share_of(reads, share, distinct[kind], self.images))
            for copy, share in enumerate(self.placement.shares)
            for kind, reads in self.reads.items()
        ]

    def kinds_ends(self, words: int, again: int = 1) -> list[list[int]]:
        """Return what `ends` does, for each kind of tile of each copy."""
        distinct = dict(zip(self.kinds, self.placement.tiles, strict=True))
        images, sweep, copies = self.images * again, self.placement.sweep, self.placement.copies
        lines = [Timeline(share, distinct[kind]) for (_, kind), share, _, _ in self._shares]
        sink = OverlapSink if sweep.overlap else PlainSink
        sinks = [sink(self.placement, line.tile, line.to_beat) for line in lines]
        reads = [np.tile(array, again) for *_, array in self._shares]
        steps = [line.steps(array, images) for line, array in zip(lines, reads, strict=True)]
        last = [-1] * len(lines)  # entry read
        end = -1  # last word read
        # By copy: from when this block's beats and the next one's are taken, and its tiles.
        free, free_next = [0] * copies, [0] * copies
        each = len(self.reads)
        members = [range(copy * each, (copy + 1) * each) for copy in range(copies)]
        found: list[list[int]] = [[] for _ in sinks]
        blocks = list(zip(block_steps(sweep), cycle(range(copies)), strict=False))
        for _ in range(images):
            for stepped, copy in blocks:
                for k in members[copy]:
                    if stepped:
                        last[k] = sinks[k].drain(max(next(steps[k]), last[k] + 1), free[copy])
                        lines[k].drained.append(last[k])
                    else:
                        sinks[k].flush(free[copy])
                end = max(max(sinks[k].out for k in members[copy]), end) + words
                free[copy], free_next[copy] = free_next[copy], end + 1
            for ends, target in zip(found, sinks, strict=True):
                ends.append(target.out)
        return found


def count_passes(placement: Placement, codes: Integers, *, skip: bool = True) -> list[CountedPass]:
    """Return every pass of a layer (`Placement.passes`) for activations ``codes`` (N, C, H, W) less the zero point."""
    return [_counted(placement, tiles, codes, skip) for tiles in placement.passes]


def layer_cycles(
    placement: Placement, tiles: Sequence[Tile], codes: Integers, words: int, *, skip: bool = True
) -> list[TileCycles]:
    """Return `tile_cycles` of ``tiles`` that share a collector of ``words`` words a step."""
    return _counted(placement, tiles, codes, skip).cycles(words)


def alone_cycles(placement: Placement, codes: Integers, *, skip: bool = True) -> list[TileCycles]:
    """Return `tile_cycles` of every tile, none of which shares a collector.

    Equal tiles are counted once.
    """
    kinds = [kind_of(placement, tile) for tile in placement.tiles]
    distinct = dict(zip(kinds, placement.tiles, strict=True))
    known = {kind: tile_cycles(placement, tile, codes, skip=skip) for kind, tile in distinct.items()}
    return [known[kind] for kind in kinds]


def _counted(placement: Placement, tiles: Sequence[Tile], codes: Integers, skip: bool) -> CountedPass:
    kinds = tuple(kind_of(placement, tile) for tile in tiles)
    distinct = dict(zip(kinds, tiles, strict=True))
    reads = {kind: every_read(placement, tile, codes, skip=skip) for kind, tile in distinct.items()}
    return CountedPass(replace(placement, tiles=tuple(tiles)), len(codes), kinds, reads)


def kind_of(placement: Placement, tile: Tile) -> tuple:
    """Return a key: tiles of equal keys take the same cycles."""
    return tile.first_channel, placement.likeness(tile)
