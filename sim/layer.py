"""Cycles of a whole layer: its tiles side by side, held up by the collector that adds what they have in common.

Written from the collector's timing table in ``docs/architecture.md``. Every tile is given its words directly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.collect import Leaving
from selvage.mapping.placement import Placement, Tile
from selvage.sim.cycles import TileCycles, Timeline, tile_cycles, tile_reads
from selvage.sim.overlap import OverlapSink, PlainSink, block_steps

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CountedPass:
    """Tiles that work side by side, with the reads of ``images``; equal tiles are counted once."""

    placement: Placement  # of these tiles alone
    images: int
    kinds: tuple[tuple, ...]  # of every tile
    reads: dict[tuple, tuple[TileCycles, Integers]]  # by kind, as `tile_reads`

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
        """Cycles and reads of every tile, behind them the collector of these tiles alone."""
        return self.cycles(self.words)

    def cycles(self, words: int) -> list[TileCycles]:
        """Return cycles and reads of every tile, behind them a collector of ``words`` words a step."""
        ends = zip(self.kinds_ends(words), self.reads.items(), strict=True)
        known = {kind: replace(counts, cycles=cycles[-1] + 1) for cycles, (kind, (counts, _)) in ends}
        return [known[kind] for kind in self.kinds]

    def ends(self, words: int, again: int = 1) -> list[int]:
        """Return for each image the cycle in which its last beat is taken, all images ``again`` times."""
        return [max(ends) for ends in zip(*self.kinds_ends(words, again), strict=True)]

    def kinds_ends(self, words: int, again: int = 1) -> list[list[int]]:
        """Return what `ends` does, for each kind of tile."""
        distinct = dict(zip(self.kinds, self.placement.tiles, strict=True))
        images, sweep = self.images * again, self.placement.sweep
        lines = [Timeline(self.placement, distinct[kind]) for kind in self.reads]
        sink = OverlapSink if sweep.overlap else PlainSink
        sinks = [sink(self.placement, line.tile, line.to_beat) for line in lines]
        reads = [np.tile(array, again) for _, array in self.reads.values()]
        drains = [line.drains(array, images) for line, array in zip(lines, reads, strict=True)]
        begin = [next(drain) for drain in drains]
        end, free, free_next = -1, 0, 0  # last word read; from when this block's beats and the next one's are taken
        found: list[list[int]] = [[] for _ in sinks]
        blocks = list(block_steps(sweep))
        for _ in range(images):
            for stepped in blocks:
                for k, (target, steps) in enumerate(zip(sinks, drains, strict=True)):
                    if stepped:
                        begin[k] = steps.send(target.drain(begin[k], free))
                    else:
                        target.flush(free)
                end = max(*(sink.out for sink in sinks), end) + words
                free, free_next = free_next, end + 1
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
    kinds = [_kind(placement, tile) for tile in placement.tiles]
    distinct = dict(zip(kinds, placement.tiles, strict=True))
    known = {kind: tile_cycles(placement, tile, codes, skip=skip) for kind, tile in distinct.items()}
    return [known[kind] for kind in kinds]


def _counted(placement: Placement, tiles: Sequence[Tile], codes: Integers, skip: bool) -> CountedPass:
    kinds = tuple(_kind(placement, tile) for tile in tiles)
    distinct = dict(zip(kinds, tiles, strict=True))
    reads = {kind: tile_reads(placement, tile, codes, skip=skip) for kind, tile in distinct.items()}
    return CountedPass(replace(placement, tiles=tuple(tiles)), len(codes), kinds, reads)


def _kind(placement: Placement, tile: Tile) -> tuple:
    """Return a key: tiles of equal keys take the same cycles."""
    return tile.first_channel, placement.likeness(tile)
