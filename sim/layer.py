"""Cycles of a whole layer: its tiles side by side, held up by the collector that adds what they have in common.

Written from the collector's timing table in ``docs/architecture.md``. Every tile is given its words directly.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mapping.drain import drain_plan
from mapping.placement import Placement, Tile
from sim.beats import BeatQueue
from sim.cycles import TileCycles, Timeline, tile_cycles, tile_reads

Integers = NDArray[np.int64]


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
    lines = [Timeline(placement, tile) for tile in distinct.values()]
    queues = [BeatQueue(drain_plan(placement, line.tile), line.to_beat) for line in lines]
    drains = [line.drains(reads, len(codes)) for line, (_, reads) in zip(lines, counted, strict=True)]
    begin, taken = [next(own) for own in drains], [0] * len(drains)
    end, free, free_next = -1, 0, 0  # last word read; from when this step's beats and the next one's are taken
    for _ in range(counted[0][1].shape[2]):
        for k, (queue, own) in enumerate(zip(queues, drains, strict=True)):
            begin[k] = own.send(queue.step(begin[k], free))
            taken[k] = queue.taken[-1]
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
