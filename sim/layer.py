"""Cycles of a whole layer: its tiles side by side, held up by the collector that adds what they have in common.

Written from the collector's timing table in ``docs/architecture.md``. Every tile is given its words directly.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mapping.drain import drain_plan
from mapping.placement import Placement, Tile
from sim.cycles import TileCycles, Timeline, drain_to_beat, tile_cycles, tile_reads

Integers = NDArray[np.int64]


class _Store:
    """Two steps of one tile's beats: a beat that finds no room waits at the tile's output, and its drain with it."""

    def __init__(self, placement: Placement, tile: Tile) -> None:
        plan = drain_plan(placement, tile)
        leaving = [k for k in range(plan.length) if any(k < len(b.beats) and b.beats[k].last for b in plan.banks)]
        self.length, self.first, self.last = plan.length, leaving[0], leaving[-1]
        self.to_beat = drain_to_beat(placement, tile)

    def step(self, begin: int, free: int) -> tuple[int, int]:
        """Last slot read of a drain that could begin at ``begin``, and the cycle in which its last beat is taken;
        the store takes beats from cycle ``free`` on."""
        end, stall = begin + self.length - 1, begin + self.first + self.to_beat
        if stall >= free:
            return end, begin + self.last + self.to_beat
        return end if end <= stall else free + end - stall, free + self.last - self.first


def layer_cycles(
    placement: Placement, tiles: tuple[Tile, ...], codes: Integers, words: int, *, skip: bool = True
) -> list[TileCycles]:
    """`tile_cycles` of ``tiles`` that share a collector of ``words`` words a step; tiles that are alike once.

    Padding-free, beats leave blocks later than their steps: there no collector is foreseen to hold a tile up.
    """
    kinds = [_likeness(tile) for tile in tiles]
    distinct = dict(zip(kinds, tiles, strict=True))
    if placement.sweep.overlap:
        known = {kind: tile_cycles(placement, tile, codes, skip=skip) for kind, tile in distinct.items()}
        return [known[kind] for kind in kinds]
    counted = [tile_reads(placement, tile, codes, skip=skip) for tile in distinct.values()]
    stores = [_Store(placement, tile) for tile in distinct.values()]
    drains = [
        Timeline(placement, tile).drains(reads, len(codes))
        for tile, (_, reads) in zip(distinct.values(), counted, strict=True)
    ]
    begin, taken = [next(own) for own in drains], [0] * len(drains)
    end, free, free_next = -1, 0, 0  # last word read; from when this step's beats and the next one's are taken
    for _ in range(counted[0][1].shape[2]):
        for k, (store, own) in enumerate(zip(stores, drains, strict=True)):
            last, taken[k] = store.step(begin[k], free)
            begin[k] = own.send(last)
        end = max(*taken, end) + words
        free, free_next = free_next, end + 1
    known = {
        kind: replace(counts, cycles=last + 1) for kind, (counts, _), last in zip(distinct, counted, taken, strict=True)
    }
    return [known[kind] for kind in kinds]


def _likeness(tile: Tile) -> tuple:
    """Tiles with the same one take the same cycles."""
    blocks = tuple(
        (
            *(index, block.row, block.column, block.significances, len(block.outputs)),
            *(block.window.tobytes(), block.shifts.tobytes(), _neighbours(tile, block.outputs)),
        )
        for index, array in enumerate(tile.arrays)
        for block in array.blocks
    )
    return tile.first_channel, tile.channels, tile.offsets, tile.slices, blocks


def _neighbours(tile: Tile, outputs: Integers) -> bytes:
    """Which outputs a block has, counted from the tile's first."""
    first = tile.arrays[0].blocks[0].outputs[0]
    return (outputs - first).tobytes()
