"""How a tile's window reaches its row registers: one word of the input buffer a cycle, for all arrays.

The window is read word by word; each array takes from the word the rows it stands on. Where a word
meets two row groups of an array it stays for two cycles. All arrays follow one counter, so there is
no handshake, and the number of cycles of a step's load is a constant of the tile. Where zeros are
inserted, each kind of step (`Sweep.kinds`) has a part of the plan, with the pixels that are real in it.
"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.placement import Array, Placement, Tile

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
    """The load of one step of each kind.

    Neighbouring rows of dense blocks are neighbouring channels, so a rotation of the word serves them. Rows
    of a list, or of a pattern, are any channels: such a plan *gathers*, each row its own lane.
    ``reads[t]`` is (pixel, word) read in cycle t; ``moves[a][t]`` what reader a takes, or None.
    """

    lanes: int  # activations of a word
    words: int  # words of a pixel
    reads: tuple[tuple[int, int], ...]
    moves: tuple[tuple[LoadMove | None, ...], ...]
    gather: bool = False
    begins: tuple[int, ...] = (0,)  # first cycle of the part of each kind of step

    def kind_at(self, cycle: int) -> int:
        """Return the kind of step to whose part a cycle belongs."""
        return bisect_right(self.begins, cycle) - 1

    def part(self, kind: int) -> range:
        """Return the cycles of a step of ``kind``; at least one."""
        return range(self.begins[kind], (*self.begins, len(self.reads))[kind + 1])


def load_plan(placement: Placement, tile: Tile) -> LoadPlan:
    """Return the shortest plan that reads every needed word once; it gathers where that is `SHORTER`."""
    return _plan(placement, tile, gather=_word_cycles(placement, tile)[1])


def load_cycles(placement: Placement, tile: Tile) -> NDArray[np.int64]:
    """Return the cycles of the load of a step of each kind: the lengths of the parts of `load_plan`, without moves."""
    cycles, _ = _word_cycles(placement, tile)
    words = len(cycles) // len(tile.offsets)
    sweep = placement.sweep
    kinds = np.repeat(sweep.kind_of_pixels(tile.offsets), words)
    return np.maximum(np.bincount(kinds, cycles, minlength=sweep.kinds).astype(np.int64), 1)


def _word_cycles(placement: Placement, tile: Tile) -> tuple[NDArray[np.int64], bool]:
    """Return how many cycles each word of the window stays, pixel by pixel, and whether the plan gathers."""
    lanes, words = words_of(tile, placement)
    turning, gathering = (np.zeros(len(tile.offsets) * words, np.int64) for _ in range(2))
    distinct = {tuple((block.row, block.window.tobytes()) for block in array.blocks): array for array in tile.readers}
    for array in distinct.values():
        pixel, word, group, rotation, *_ = _table(array, tile.channels, lanes, placement.group_rows).T
        groups = int(group.max()) + 1
        at = (pixel * words + word) * groups + group
        for most, moves, each in ((turning, at * lanes + rotation, groups * lanes), (gathering, at, groups)):
            np.maximum(most, np.bincount(np.unique(moves) // each, minlength=len(most)), out=most)
    gathers = gathering.sum() * SHORTER <= turning.sum()
    return gathering if gathers else turning, bool(gathers)


def words_of(tile: Tile, placement: Placement) -> tuple[int, int]:
    """Return activations of a word, and words of a pixel: as few as hold the tile's channels, no wider than need be."""
    words = -(-tile.channels // placement.chip.lanes)
    return -(-tile.channels // words), words


def _plan(placement: Placement, tile: Tile, *, gather: bool) -> LoadPlan:
    lanes, words = words_of(tile, placement)
    distinct: dict[tuple, dict[tuple[int, int], list[LoadMove]]] = {}
    per_array = []
    for array in tile.readers:
        key = tuple((block.row, block.window.tobytes()) for block in array.blocks)
        if key not in distinct:
            distinct[key] = _moves(array, tile.channels, lanes, placement.group_rows, gather=gather)
        per_array.append(distinct[key])
    reads: list[tuple[int, int]] = []
    moves: list[list[LoadMove | None]] = [[] for _ in per_array]
    kinds = placement.sweep.kind_of_pixels(tile.offsets).tolist()
    needed = sorted(set().union(*distinct.values()))
    begins = []
    for kind in range(placement.sweep.kinds):
        begins.append(len(reads))
        # Where no pixel of the window is real there is a cycle that nobody takes anything in.
        for word in [word for word in needed if kinds[word[0]] == kind] or needed[:1]:
            present = [waiting.get(word, []) if kinds[word[0]] == kind else [] for waiting in per_array]
            cycles = max(1, *map(len, present))
            reads += [word] * cycles
            for target, chosen in zip(moves, present, strict=True):
                target += [*chosen, *[None] * (cycles - len(chosen))]
    return LoadPlan(lanes, words, tuple(reads), tuple(tuple(reader) for reader in moves), gather, tuple(begins))


def _moves(
    array: Array, channels: int, lanes: int, group_rows: int, *, gather: bool
) -> dict[tuple[int, int], list[LoadMove]]:
    """Return for each (pixel, word) the moves that bring it to the array's rows."""
    table = _table(array, channels, lanes, group_rows)
    if gather:
        table[:, 3] = 0
    rows: dict[tuple[int, ...], dict[int, int]] = {}  # per move: lane of each row
    for *key, place, lane in table.tolist():
        rows.setdefault(tuple(key), {})[place] = lane
    moves: dict[tuple[int, int], list[LoadMove]] = {}
    for (pixel, word, index, rotation), placed in sorted(rows.items(), key=lambda item: item[0]):
        mask = sum(1 << place for place in placed)
        chosen = tuple(placed.get(place, 0) for place in range(group_rows)) if gather else ()
        moves.setdefault((pixel, word), []).append(LoadMove(index, rotation, mask, chosen))
    return moves


def _table(array: Array, channels: int, lanes: int, group_rows: int) -> NDArray[np.int64]:
    """Return for each row: pixel, word, row group of the array, rotation, place in the group, lane."""
    table, group = [], 0
    for block in array.blocks:
        row = np.arange(block.rows)
        pixel, channel = np.divmod(block.window, channels)
        word, lane = np.divmod(channel, lanes)
        place = row % group_rows
        table.append(np.stack([pixel, word, group + row // group_rows, (place - lane) % lanes, place, lane], axis=1))
        group += -(-block.rows // group_rows)
    return np.concatenate(table)
