"""The cycle model: the exact number of cycles the RTL takes, from a placement and its activations.

Written from the timing tables of ``docs/architecture.md``, not from the gateware; it knows nothing
of ``hw``. All times are clock cycles; cycle 0 is the first after reset, in which the first word is
offered. The source always offers, the sink always accepts, the macro answers after ``read_latency``.
"""

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.drain import drain_shape
from selvage.mapping.load import load_cycles, words_of
from selvage.mapping.placement import Array, Placement, Tile
from selvage.mapping.schedule import Sweep
from selvage.sim.beats import drain_to_beat
from selvage.sim.machine import group_reads, ou_reads, window_bands
from selvage.sim.overlap import OverlapSink, block_steps

Integers = NDArray[np.int64]
Offsets = Sequence[tuple[int, int]]  # of pixels of a window, from the base of its step

FIRST_LOAD = 3  # first cycle in which a step is known
WORD_TO_LOAD = 2  # a word is accepted to the first cycle of a load that needs it
STEP_TO_LIMIT = 3  # first cycle in which a step is the oldest to the first word that it makes room for
LOAD_TO_END = 3  # last cycle of an image's last load to the one in which the reader has finished
TAKEN_TO_LOAD = 2  # last row group taken to the first cycle of the load after the next
LOAD_TO_READ = 14  # last cycle of a load to the first read's decision
READ_TO_PINS = 2  # decision to request at the macro
DRAIN_TO_READ = 3  # last slot asked for to the first read of the step after the next
CODE_TO_SUM = 4  # codes at the pins to a finished sum
WAITING = -1  # in the place of a cycle that is not known yet


@dataclass(frozen=True)
class TileCycles:
    """What the model predicts of one tile."""

    cycles: int  # first word offered to last beat taken
    reads: int  # OU reads of all arrays
    dense_reads: int  # the same without skipping
    busiest: int  # sum over steps of the reads of the step's busiest array
    fetched: int  # words accepted
    steps: int


def tile_cycles(placement: Placement, tile: Tile, codes: Integers, *, skip: bool = True) -> TileCycles:
    """Return cycles and reads of ``tile`` for activations ``codes`` (N, C, H, W), zero point subtracted."""
    counts, reads = tile_reads(placement, tile, codes, skip=skip)
    return replace(counts, cycles=Timeline(placement, tile).run(reads, codes.shape[0]))


def tile_reads(placement: Placement, tile: Tile, codes: Integers, *, skip: bool = True) -> tuple[TileCycles, Integers]:
    """Return all counts but the cycles, and what `group_reads` says of each kind of array (2, kinds, steps)."""
    reads = every_read(placement, tile, codes, skip=skip)
    return share_of(reads, placement, tile, len(codes))


def share_of(reads: Integers, placement: Placement, tile: Tile, images: int) -> tuple[TileCycles, Integers]:
    """Return `tile_reads` of a copy's ``placement`` from the reads of all steps, those of `every_read`."""
    weights = distinct_arrays(tile)[1]
    computed = placement.sweep.computed
    if computed.step > 1:
        kinds = reads.shape[1]
        reads = reads.reshape(2, kinds, images, -1)[..., computed.start :: computed.step].reshape(2, kinds, -1)
    dense = int(np.dot(dense_reads(placement, tile)[0, :, 0], weights))
    counts = TileCycles(
        cycles=0,
        reads=int((reads[0] * weights[:, None]).sum()),
        dense_reads=dense * reads.shape[2],
        busiest=int(reads[0].max(axis=0).sum()),
        fetched=images * placement.layer.height * placement.layer.width * words_of(tile, placement)[1],
        steps=reads.shape[2],
    )
    return counts, reads


def dense_reads(placement: Placement, tile: Tile) -> Integers:
    """Return what `group_reads` says of each kind of array without skipping, (2, kinds, 1)."""
    every = np.full((1, len(tile.offsets) * tile.channels), -1)  # every row drives in every plane
    return np.stack([group_reads(placement, array, every, skip=False) for array in distinct_arrays(tile)[0]], axis=1)


def every_read(placement: Placement, tile: Tile, codes: Integers, *, skip: bool = True) -> Integers:
    """Return what `group_reads` says of each kind of array, of all steps of all copies (2, kinds, steps)."""
    kinds = distinct_arrays(tile)[0]
    if not skip and not placement.dynamic:
        return np.repeat(dense_reads(placement, tile), len(codes) * placement.sweep.count, axis=2)
    bands = [
        np.stack([group_reads(placement, array, windows, skip=skip) for array in kinds], axis=1)
        for windows in window_bands(placement, tile, narrow_codes(placement, kinds, codes))
    ]
    return np.concatenate(bands, axis=2)


def least_cycles(placement: Placement, tile: Tile, images: int, *, skip: bool = True) -> int:
    """Return the cycles that ``tile`` takes at least, whatever the activations: from its plans alone, at once.

    Every step loads, reads and drains in its turn, and each of the three does so one step after the other.
    """
    reads = 1
    if not skip:
        nothing = np.zeros((1, len(tile.offsets) * tile.channels), np.int64)
        reads = max(int(ou_reads(placement, array, nothing, skip=False)[0]) for array in distinct_arrays(tile)[0])
    loads, (drain, arrays) = step_loads(placement, tile), drain_shape(placement, tile)
    steps = images * len(loads)
    # With overlap the last beats of a drain may stay inside.
    once = 0 if placement.sweep.overlap else drain
    # A step without reads in its last array.
    fill = LOAD_TO_READ + CODE_TO_SUM + drain_to_beat(placement, tile, arrays)
    slowest = max(
        images * int(loads.sum()) + reads, int(loads[0]) + steps * reads, int(loads[0]) + reads + (steps - 1) * drain
    )
    return slowest + once + fill


def step_loads(placement: Placement, tile: Tile) -> Integers:
    """Return the cycles of the load of each step of an image."""
    return load_cycles(placement, tile)[placement.sweep.kind_of_steps()]


def narrow_codes(placement: Placement, arrays: Sequence[Array], codes: Integers) -> NDArray[Any]:
    """Return ``codes`` in the narrowest type that holds the low bits that ``arrays`` are driven by: no others count."""
    bits, kinds = max(placement.planes(array) for array in arrays), (np.uint8, np.uint16, np.uint32, np.uint64)
    return codes.astype(next(kind for kind in kinds if np.dtype(kind).itemsize * 8 >= bits))


def distinct_arrays(tile: Tile) -> tuple[list[Array], Integers]:
    """Return one array of each kind that differs in its reads, and how many there are of each kind."""
    kinds: dict[tuple, list[Array]] = {}
    for array in tile.arrays:
        key = tuple(
            (b.row, len(b.outputs), len(b.significances), array.slices, b.window.tobytes(), b.shifts.tobytes())
            for b in array.blocks
        )
        kinds.setdefault(key, []).append(array)
    return [arrays[0] for arrays in kinds.values()], np.array([len(arrays) for arrays in kinds.values()])


def window_edges(sweep: Sweep, offsets: Offsets, axis: int) -> tuple[Integers, Integers]:
    """Return first and last pixel along ``axis`` of the window of each step, not clipped."""
    base = np.arange(sweep.steps[axis]) * sweep.stride[axis]
    along = [offset[axis] for offset in offsets]
    return (base + min(along)) // sweep.insert[axis], (base + max(along)) // sweep.insert[axis]


def buffer_lines(sweep: Sweep, offsets: Offsets) -> int:
    """Return the lines of the input buffer: the tallest window, and what a new row of steps adds to it."""
    base, rows = np.arange(sweep.insert[0]), [offset[0] for offset in offsets]
    tall = int(((base + max(rows)) // sweep.insert[0] - (base + min(rows)) // sweep.insert[0]).max()) + 1
    tall += sweep.lines_ahead(column for _, column in offsets)
    return min(sweep.size[0], tall + (sweep.stride[0] - 1 if sweep.insert[0] == 1 else 0))


class Words(Protocol):
    """What a tile asks of its input stream: see `Source`. None: it is not known yet."""

    def present(self, step: int, cycle: int) -> int | None:
        """Return the first cycle from ``cycle`` in which a step's load may begin."""
        ...

    def restart(self, cycle: int) -> int | None:
        """Return the first cycle of the next image."""
        ...


class Source:
    """The input stream of windows of ``offsets``: one word a cycle, ``words`` a pixel, while the buffer has room."""

    def __init__(self, sweep: Sweep, offsets: Offsets, words: int) -> None:
        height, width = sweep.size
        pitch = width * words
        (top, bottom), (left, right) = (window_edges(sweep, offsets, axis) for axis in range(2))
        rows, columns = np.minimum(bottom, height - 1), np.minimum(right, width - 1)
        needed = (rows[:, None] * width + columns + 1) * words
        outside = ((bottom < 0) | (top >= height))[:, None] | ((right < 0) | (left >= width))
        computed = slice(sweep.first, None, sweep.every)
        self.need = np.where(outside, 1, np.maximum(needed, 1)).ravel()[computed].tolist()
        # The next row of steps starts lower, so what lies left of the window is dead.
        base = (np.arange(sweep.steps[0]) + 1) * sweep.stride[0]
        following = (base + min(offset[0] for offset in offsets)) // sweep.insert[0]
        low = np.clip(top, 0, height)
        retires = following > np.maximum(top, 0)
        limit_rows = low + buffer_lines(sweep, offsets)
        limit = limit_rows[:, None] * pitch + np.where(retires[:, None], np.clip(left, 0, width) * words, 0)
        self.total = height * pitch
        self.limit = np.minimum(limit, self.total).ravel()[computed].tolist()
        self.open = self.limit[0]
        self._begin(0)

    def _begin(self, cycle: int) -> None:
        """Begin an image, whose first word is offered in ``cycle``."""
        self.count, self.next, self.allowed = 0, cycle, self.open
        self.later: deque[tuple[int, int]] = deque()  # cycles from which other limits hold

    def _until(self, cycle: int, need: int) -> None:
        """Accept words in cycles before ``cycle``, no more than ``need``."""
        while self.next < cycle and self.count < need:
            end = min(cycle, self.later[0][0]) if self.later else cycle
            taken = max(0, min(end - self.next, min(self.allowed, need) - self.count))
            self.count += taken
            self.next = self.next + taken if self.count == need else end
            if self.later and self.next >= self.later[0][0]:
                self.allowed = self.later.popleft()[1]

    def _reach(self, need: int) -> int:
        """Return the cycle in which word ``need`` is accepted, which is not before `next`."""
        while self.count < need:
            self._until(self.later[0][0] if self.allowed < need else self.next + need - self.count, need)
        return self.next - 1

    def present(self, step: int, cycle: int) -> int:
        """Return the first cycle from ``cycle`` in which a step's load may begin, its pixels in the buffer.

        ``cycle`` is the step's first.
        """
        self._until(cycle - WORD_TO_LOAD + 1, self.total)
        if self.count == self.total:
            return cycle
        self.later.append((cycle + STEP_TO_LIMIT, self.limit[step]))
        need = self.need[step]
        return cycle if need <= self.count else self._reach(need) + WORD_TO_LOAD

    def restart(self, cycle: int) -> int:
        """End an image whose last load was over before ``cycle``; return the next image's first cycle."""
        self.later.append((cycle + STEP_TO_LIMIT, self.total))
        start = max(cycle + LOAD_TO_END - 1, self._reach(self.total) + 1) + 1
        self._begin(start)
        return start


class Timeline:
    """The steps of a tile one after the other; its arrays are vectors.

    ``drained`` has the cycle of the last entry read of each step: who takes the beats appends to it.
    """

    def __init__(self, placement: Placement, tile: Tile, source: Words | None = None) -> None:
        self.placement, self.tile = placement, tile
        self.loads, (self.drain, arrays) = step_loads(placement, tile).tolist(), drain_shape(placement, tile)
        self.to_beat = drain_to_beat(placement, tile, arrays)
        self.source: Words = source or Source(placement.sweep, tile.offsets, words_of(tile, placement)[1])
        self.drained: list[int] = []

    def run(self, reads: Integers, images: int) -> int:
        """Return the cycles of a tile whose beats are taken at once; ``reads`` are those of `tile_reads`."""
        steps, sweep, drained = self.steps(reads, images), self.placement.sweep, self.drained
        last = -1
        if not sweep.overlap:
            for complete in steps:
                last = max(complete, last + 1) + self.drain - 1
                drained.append(last)
            return last + self.to_beat + 1
        sink = OverlapSink(self.placement, self.tile, self.to_beat)
        for stepped in list(block_steps(sweep)) * images:
            if stepped:
                last = sink.drain(max(next(steps), last + 1), 0)
                drained.append(last)
            else:
                sink.flush(0)
        return sink.out + 1

    def steps(self, reads: Integers, images: int) -> Generator[int, None, None]:
        """Yield for each step the cycle in which its sums are complete.

        Of the step before the last, `drained` must be known by then. It yields `WAITING` where the source does not
        know yet when it has the words of a step, or `drained` is not known.
        """
        reads, last_group = binding(reads)
        steps = reads.shape[1]
        latency = READ_TO_PINS + self.placement.chip.read_latency
        per_image, loads, drained = steps // images, self.loads, self.drained
        some_empty = (reads == 0).any(axis=0).tolist()
        # Reads before those of a step's last row group; none where one group has them all.
        leads = (reads - last_group).T.tolist()
        last = [0] * len(reads)  # first cycle after the last read, per kind
        released = released_last = -1  # cycle in which the last kind has taken a step's last row group, of two steps
        popped = [-1] * len(reads)  # cycle in which the last tag left each queue; empty: it is as the reads were
        step_start = FIRST_LOAD
        for step, counts in enumerate(np.maximum(reads, 1).T.tolist()):
            at = step % per_image
            if step and at == 0:
                while (restarted := self.source.restart(step_start)) is None:
                    yield WAITING
                step_start = restarted
            while (present := self.source.present(at, step_start)) is None:
                yield WAITING
            step_start = max(present, released + TAKEN_TO_LOAD) + loads[at]
            arrival = step_start - 1 + LOAD_TO_READ
            while len(drained) < step - 1:
                yield WAITING
            ready = max(arrival, drained[step - 2] + DRAIN_TO_READ) if step > 1 else arrival
            firsts = [free if free > ready else ready for free in last]
            now = [first + count for first, count in zip(firsts, counts, strict=True)]
            taken = max(
                first + lead - 1 if lead else max(free, arrival) - 1
                for first, lead, free in zip(firsts, leads[step], last, strict=True)
            )
            if some_empty[step]:
                popped = [
                    free - 1 + latency if count else max(free + 1, tag + 1)
                    for free, count, tag in zip(
                        now, reads[:, step].tolist(), popped or [free - 1 + latency for free in last], strict=True
                    )
                ]
                complete = max(popped) + CODE_TO_SUM
            else:
                popped = []
                complete = max(now) - 1 + latency + CODE_TO_SUM
            last = now
            released, released_last = released_last, taken
            yield complete


def binding(reads: Integers) -> Integers:
    """Drop array kinds that cannot be critical from ``reads`` (2, kinds, steps).

    Kept are distinct ones, or only the dominating one. An array that never needs fewer reads than another, be it in
    whole or before its last row group, never ends, nor releases, nor completes a step before it.
    """
    whole, last = reads
    before = whole - last
    top = whole.max(axis=0), before.max(axis=0)
    for k in range(len(whole)):
        if np.array_equal(whole[k], top[0]) and np.array_equal(before[k], top[1]):
            return reads[:, k : k + 1]
    distinct = {reads[:, k].tobytes(): reads[:, k] for k in range(len(whole))}
    return np.stack(list(distinct.values()), axis=1)
