"""What a tile does that costs energy: events by kind, counted from a placement and its activations.

Written from the timing tables of ``docs/architecture.md``, not from the gateware; ``docs/costs.md`` says what each
kind is.
"""

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.drain import DrainPlan, drain_plan, lanes_used, leaving_outputs
from selvage.mapping.load import words_of
from selvage.mapping.placement import Array, Placement, Tile, column_groups
from selvage.mapping.widths import output_range, slot_range
from selvage.sim.cycles import narrow_codes, step_loads
from selvage.sim.machine import block_planes, window_bands

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Events:
    """Events of one tile, or of several. Of a pair of arrays both are read, and differences are added.

    Each has a counter in gateware (``hw.tile.counters``) but `splice_adds` and those in bits, which are events times
    the sums or the bits of a word.
    """

    reads: int = 0  # OU reads of all arrays
    rows: int = 0  # word lines that a read drives
    cells: int = 0  # at a driven word line, in a converted column
    conversions: int = 0  # of a column
    shift_adds: int = 0  # of a code or a pair's difference; with offset weights of the count of driven rows too
    sums_added: int = 0  # words of the accumulators' memories read, added to and written
    sums_drained: int = 0  # words of theirs read by the splice
    fetched: int = 0  # words written to the input buffer
    buffer_reads: int = 0  # words read from it
    rows_written: int = 0  # values written to row registers
    groups_read: int = 0  # row groups read from them
    beats: int = 0  # words that leave
    splice_adds: int = 0  # of the sums in drained words
    sums_added_bits: int = 0
    sums_drained_bits: int = 0
    fetched_bits: int = 0  # as they come
    buffer_written_bits: int = 0  # as they are stored, less the zero point
    buffer_reads_bits: int = 0
    rows_written_bits: int = 0
    groups_read_bits: int = 0
    beats_bits: int = 0

    def __add__(self, other: "Events") -> "Events":
        return Events(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def times(self, count: int) -> "Events":
        """Return the events of ``count`` such tiles."""
        return Events(*(a * count for a in astuple(self)))


def tile_events(placement: Placement, tile: Tile, codes: Integers, *, skip: bool = True) -> Events:
    """Return the events of ``tile`` in all its copies, for activations ``codes`` (N, C, H, W) less the zero point."""
    images, plan, sweep = len(codes), drain_plan(placement, tile), placement.sweep
    lanes, words = words_of(tile, placement)
    fetched = images * placement.copies * placement.layer.height * placement.layer.width * words
    loads = images * sum(int(step_loads(share, tile).sum()) for share in placement.shares)
    leaving = leaving_outputs(placement, tile, plan)
    beats = images * len(leaving) * sweep.grid[0] * sweep.grid[1]
    drained = images * sweep.count * plan.length
    word = lanes * placement.format.bits
    found = Events(
        fetched=fetched,
        buffer_reads=loads,
        sums_drained=drained * len(tile.readers),
        beats=beats,
        fetched_bits=fetched * lanes * placement.format.raw_bits,
        buffer_written_bits=fetched * word,
        buffer_reads_bits=loads * word,
        beats_bits=beats * len(leaving[0]) * output_range(placement, tile, plan).width,
    )
    activity = _Activity.of(placement, tile, codes, skip)
    written = _rows_written(placement, tile)
    bits = placement.format.bits
    for index, (array, active) in enumerate(zip(tile.readers, activity.blocks, strict=True)):
        sums = _Sums.of(placement, tile, index, plan)
        found += _block_events(placement, array, active, sums, plan.slots[index])
        rows, cells = _driven(placement, array, activity)
        both = 1 + array.paired
        found += Events(
            rows=rows * both,
            cells=cells * both,
            rows_written=images * written[index],
            rows_written_bits=images * written[index] * bits,
            splice_adds=drained * sums.word_bits // sums.width,
            sums_drained_bits=drained * sums.word_bits,
        )
    return found


@dataclass(frozen=True, eq=False)
class _Activity:
    """What activations do in a tile, over all steps.

    ``blocks`` has for each reader and block the OUs that each column group is read in, and the row groups read;
    ``ones`` of each window index the bits that are 1 in the ``format.bits`` of a code, ``negative`` the codes below 0.
    """

    blocks: list[list[tuple[int, int]]]
    ones: Integers
    negative: Integers

    @classmethod
    def of(cls, placement: Placement, tile: Tile, codes: Integers, skip: bool) -> "_Activity":
        """Count it; readers that differ in nothing that is counted here are counted once."""
        bits = placement.format.bits
        kinds: dict[tuple, int] = {}
        order, arrays = [], []
        for array in tile.readers:
            key = tuple((block.window.tobytes(), block.shifts.tobytes()) for block in array.blocks)
            if key not in kinds:
                kinds[key] = len(arrays)
                arrays.append(array)
            order.append(kinds[key])
        found = [np.zeros((len(array.blocks), 2), np.int64) for array in arrays]
        ones, negative = np.zeros((2, len(tile.offsets) * tile.channels), np.int64)
        for windows in window_bands(placement, tile, narrow_codes(placement, arrays, codes)):
            for counts, array in zip(found, arrays, strict=True):
                for own, (_, planes) in zip(counts, block_planes(placement, array, windows, skip=skip), strict=True):
                    own += planes.sum(dtype=np.int64), np.count_nonzero(planes)
            ones += np.bitwise_count(windows & (2**bits - 1)).sum(axis=0, dtype=np.int64)
            if placement.format.signed:
                negative += np.count_nonzero(windows >> (bits - 1) & 1, axis=0)
        blocks = [[(int(planes), int(groups)) for planes, groups in counts] for counts in found]
        return cls([blocks[kind] for kind in order], ones, negative)


@dataclass(frozen=True, eq=False)
class _Sums:
    """The memories of a reader's sums: what a read of each slot or position adds to."""

    lanes: tuple[int, ...]  # codes
    words: tuple[int, ...]
    bits: tuple[int, ...]  # of these words
    width: int  # of a sum
    word_bits: int  # of all memories side by side
    more: int  # sums of driven rows

    @classmethod
    def of(cls, placement: Placement, tile: Tile, index: int, plan: DrainPlan) -> "_Sums":
        """Return those of reader ``index``."""
        array, lanes, more = tile.readers[index], placement.chip.ou_cols, int(placement.weight_offset > 0)
        ranges = [slot_range(placement, array, scattered=tile.scattered)]
        if more:
            ranges.append(slot_range(placement, array, reference=True))
        width = max(own.width for own in ranges)
        used = lanes_used(placement, tile, plan)[index]
        whole = (lanes + more) * width
        if not plan.addresses:
            return cls(used, (1,) * len(used), (whole,) * len(used), width, whole, more)
        # Neighbouring lanes whose codes always go to the same slot share a memory.
        table = plan.addresses[index]
        by_lane = list(zip(*table, strict=True))
        runs = [[0]]
        for lane in range(1, lanes):
            if by_lane[lane] == by_lane[lane - 1]:
                runs[-1].append(lane)
            else:
                runs.append([lane])
        added = [[run for run in runs if slots[run[0]] is not None] for slots in table]
        bits = tuple(sum(map(len, own)) * width for own in added)
        return cls(used, tuple(map(len, added)), bits, width, whole, more)


def _block_events(
    placement: Placement, array: Array, active: list[tuple[int, int]], sums: _Sums, slots: tuple[int, ...]
) -> Events:
    """Return the events of a reader's reads, from what its blocks are read in."""
    found, both, each = Events(), 1 + array.paired, placement.group_rows * placement.format.bits
    for block, first, (planes, groups) in zip(array.blocks, slots, active, strict=True):
        count = column_groups(array, block, placement.chip)
        places = slice(first, first + count)
        lanes = sum(sums.lanes[places])
        found += Events(
            reads=planes * count * both,
            conversions=planes * lanes * both,
            shift_adds=planes * (lanes + count * sums.more),
            sums_added=planes * sum(sums.words[places]),
            sums_added_bits=planes * sum(sums.bits[places]),
            groups_read=groups,
            groups_read_bits=groups * each,
        )
    return found


def _driven(placement: Placement, array: Array, activity: _Activity) -> tuple[int, int]:
    """Return word lines that reads of an array drive, and cells of converted columns on them."""
    rows = cells = 0
    for block in array.blocks:
        ones = activity.ones[block.window]
        if placement.format.signed:  # the sign fills the planes above
            ones = ones + activity.negative[block.window] * (array.shift - block.shifts)
        driven = int(ones.sum())
        rows += driven * column_groups(array, block, placement.chip)
        cells += driven * len(block.outputs) * array.slices * len(block.significances)
    return rows, cells


def _rows_written(placement: Placement, tile: Tile) -> list[int]:
    """Return how many values the loads of an image write to each reader's rows."""
    sweep = placement.sweep
    pixels = sweep.kind_of_pixels(tile.offsets)
    steps = np.bincount(sweep.kind_of_steps(), minlength=sweep.kinds)
    return [
        int(sum(steps[pixels[block.window // tile.channels]].sum() for block in array.blocks)) for array in tile.readers
    ]
