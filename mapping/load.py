"""How a tile's window reaches its row registers: one word of the input buffer a cycle, for all arrays.

The window is read word by word; each array takes from the word the rows it stands on. Where a word
meets two row groups of an array it stays for two cycles. All arrays follow one counter, so there is
no handshake, and the number of cycles of a step's load is a constant of the tile.
"""

from dataclasses import dataclass

import numpy as np

from mapping.placement import Array, Placement, Tile

SHORTER = 1.5  # a lane selector for each row must save this much of the load


@dataclass(frozen=True)
class LoadMove:
    """What one array does in one cycle: ``rows`` (a mask over a row group's rows) of ``group`` are written.

    Row p of the group takes lane ``(p - rotation) mod lanes`` of the word, or of a plan that gathers
    lane ``lanes[p]``.
    """

    group: int
    rotation: int
    rows: int
    lanes: tuple[int, ...] = ()


@dataclass(frozen=True)
class LoadPlan:
    """The load of one step.

    Neighbouring rows of dense blocks are neighbouring channels, so a rotation of the word serves them. Rows
    of a list, or of a pattern, are any channels: such a plan *gathers*, each row its own lane.
    ``reads[t]`` is (pixel, word) read in cycle t; ``moves[a][t]`` what array a takes, or None.
    """

    lanes: int  # activations of a word
    words: int  # words of a pixel
    reads: tuple[tuple[int, int], ...]
    moves: tuple[tuple[LoadMove | None, ...], ...]
    gather: bool = False


def load_plan(placement: Placement, tile: Tile) -> LoadPlan:
    """The shortest plan that reads every needed word once; it gathers where that is `SHORTER`."""
    turning, gathering = (_plan(placement, tile, gather=gather) for gather in (False, True))
    return gathering if len(gathering.reads) * SHORTER <= len(turning.reads) else turning


def _plan(placement: Placement, tile: Tile, *, gather: bool) -> LoadPlan:
    chip = placement.chip
    words = -(-tile.channels // chip.lanes)
    lanes = -(-tile.channels // words)
    distinct: dict[tuple, dict[tuple[int, int], list[LoadMove]]] = {}
    per_array = []
    for array in tile.arrays:
        key = tuple((block.row, block.window.tobytes()) for block in array.blocks)
        if key not in distinct:
            distinct[key] = _moves(array, tile.channels, lanes, placement.group_rows, gather=gather)
        per_array.append(distinct[key])
    reads: list[tuple[int, int]] = []
    moves: list[list[LoadMove | None]] = [[] for _ in per_array]
    for word in sorted(set().union(*distinct.values())):
        cycles = max(len(own.get(word, ())) for own in distinct.values())
        reads += [word] * cycles
        for target, own in zip(moves, per_array, strict=True):
            chosen = own.get(word, [])
            target += [*chosen, *[None] * (cycles - len(chosen))]
    return LoadPlan(lanes, words, tuple(reads), tuple(tuple(own) for own in moves), gather)


def _moves(
    array: Array, channels: int, lanes: int, group_rows: int, *, gather: bool
) -> dict[tuple[int, int], list[LoadMove]]:
    """Per (pixel, word): the moves that bring it to the array's rows."""
    table, group = [], 0
    for block in array.blocks:
        row = np.arange(block.rows)
        pixel, channel = np.divmod(block.window, channels)
        word, lane = np.divmod(channel, lanes)
        place = row % group_rows
        rotation = np.zeros_like(row) if gather else (place - lane) % lanes
        table.append(np.stack([pixel, word, group + row // group_rows, rotation, place, lane], axis=1))
        group += -(-block.rows // group_rows)
    rows: dict[tuple[int, ...], dict[int, int]] = {}  # per move: lane of each row
    for *key, place, lane in np.concatenate(table).tolist():
        rows.setdefault(tuple(key), {})[place] = lane
    moves: dict[tuple[int, int], list[LoadMove]] = {}
    for (pixel, word, index, rotation), own in sorted(rows.items(), key=lambda item: item[0]):
        mask = sum(1 << place for place in own)
        chosen = tuple(own.get(place, 0) for place in range(group_rows)) if gather else ()
        moves.setdefault((pixel, word), []).append(LoadMove(index, rotation, mask, chosen))
    return moves
