"""The cycle model: the exact number of cycles the RTL takes, from a placement and its activations.

Written from the timing tables of ``docs/architecture.md``, not from the gateware; it knows nothing
of ``hw``. All times are clock cycles; cycle 0 is the first after reset, in which the first word is
offered. The source always offers, the sink always accepts, the macro answers after ``read_latency``.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mapping.drain import DrainPlan, drain_cycles, drain_plan
from mapping.load import load_cycles, words_of
from mapping.placement import Array, Placement, Tile
from sim.machine import ou_reads, window_bands

Integers = NDArray[np.int64]

LOAD_TO_READ = 5  # last cycle of a load to the first read's decision
READ_TO_PINS = 1  # decision to request at the macro
CODE_TO_SUM = 2  # codes at the pins to a finished sum
DRAIN_TO_BEAT = 2  # slots read to a beat at the output


@dataclass(frozen=True)
class TileCycles:
    """What the model foretells of one tile."""

    cycles: int  # first word offered to last beat taken
    reads: int  # OU reads of all arrays
    dense_reads: int  # the same without skipping
    busiest: int  # sum over steps of the reads of the step's busiest array
    fetched: int  # words accepted
    steps: int


def tile_cycles(placement: Placement, tile: Tile, codes: Integers, *, skip: bool = True) -> TileCycles:
    """Cycles and reads of ``tile`` for activations ``codes`` (N, C, H, W), zero point subtracted."""
    counts, reads = tile_reads(placement, tile, codes, skip=skip)
    return replace(counts, cycles=Timeline(placement, tile).run(reads, codes.shape[0]))


def tile_reads(placement: Placement, tile: Tile, codes: Integers, *, skip: bool = True) -> tuple[TileCycles, Integers]:
    """All counts but the cycles, and the OU reads (kinds, steps) of each kind of array."""
    kinds, weights = distinct_arrays(tile)
    every = np.full((1, len(tile.offsets) * tile.channels), -1)  # every row drives in every plane
    dense = np.array([ou_reads(placement, array, every, skip=False) for array in kinds])
    if skip or placement.dynamic:
        narrow = codes.astype(_word_type(max(placement.planes(array) for array in kinds)))
        bands = [
            np.stack([ou_reads(placement, array, windows, skip=skip) for array in kinds])
            for windows in window_bands(placement, tile, narrow)
        ]
        reads = np.concatenate(bands, axis=1)
    else:
        reads = np.repeat(dense, len(codes) * placement.sweep.steps[0] * placement.sweep.steps[1], axis=1)
    images, steps = codes.shape[0], reads.shape[1]
    counts = TileCycles(
        cycles=0,
        reads=int((reads * weights[:, None]).sum()),
        dense_reads=int(np.dot(dense[:, 0], weights)) * steps,
        busiest=int(reads.max(axis=0).sum()),
        fetched=images * placement.layer.height * placement.layer.width * words_of(tile, placement)[1],
        steps=steps,
    )
    return counts, reads


def least_cycles(placement: Placement, tile: Tile, images: int, *, skip: bool = True) -> int:
    """Cycles that ``tile`` takes at least, whatever the activations: from its plans alone, in no time.

    Every step loads, reads and drains in its turn, and the slowest of the three does so one step after the other.
    """
    reads = 1
    if not skip:
        nothing = np.zeros((1, len(tile.offsets) * tile.channels), np.int64)
        reads = max(int(ou_reads(placement, array, nothing, skip=False)[0]) for array in distinct_arrays(tile)[0])
    load, drain = load_cycles(placement, tile), drain_cycles(placement, tile)
    steps = images * placement.sweep.steps[0] * placement.sweep.steps[1]
    # With overlap the last beats of a drain may stay inside.
    once = load + reads + (0 if placement.sweep.overlap else drain)
    fill = LOAD_TO_READ + CODE_TO_SUM + DRAIN_TO_BEAT - 1  # a step without reads in its last array
    return once + (steps - 1) * max(load, reads, drain) + fill


def _word_type(bits: int) -> type[np.unsignedinteger]:
    """The narrowest that holds the low ``bits`` of a number: reads depend on no others."""
    return next(kind for kind in (np.uint8, np.uint16, np.uint32, np.uint64) if np.dtype(kind).itemsize * 8 >= bits)


def distinct_arrays(tile: Tile) -> tuple[list[Array], Integers]:
    """One array of each kind that differs in its reads, and how many there are of it."""
    kinds: dict[tuple, list[Array]] = {}
    for array in tile.arrays:
        key = tuple(
            (b.row, len(b.outputs), len(b.significances), array.slices, b.window.tobytes(), b.shifts.tobytes())
            for b in array.blocks
        )
        kinds.setdefault(key, []).append(array)
    return [own[0] for own in kinds.values()], np.array([len(own) for own in kinds.values()])


def window_edges(placement: Placement, tile: Tile, axis: int) -> tuple[Integers, Integers]:
    """First and last pixel along ``axis`` of the window of each step, not clipped."""
    sweep = placement.sweep
    base = np.arange(sweep.steps[axis]) * sweep.stride[axis]
    offsets = [offset[axis] for offset in tile.offsets]
    return (base + min(offsets)) // sweep.insert[axis], (base + max(offsets)) // sweep.insert[axis]


def buffer_lines(placement: Placement, tile: Tile) -> int:
    """Lines of the input buffer: the tallest window, and the lines a new row of steps adds to it."""
    sweep = placement.sweep
    offsets = [offset[0] for offset in tile.offsets]
    base = np.arange(sweep.insert[0])
    tall = int(((base + max(offsets)) // sweep.insert[0] - (base + min(offsets)) // sweep.insert[0]).max()) + 1
    return min(sweep.size[0], tall + (sweep.stride[0] - 1 if sweep.insert[0] == 1 else 0))


class _Source:
    """The input stream: one word a cycle while the buffer has room."""

    def __init__(self, placement: Placement, tile: Tile, words: int) -> None:
        height, width = placement.sweep.size
        pitch = width * words
        (top, bottom), (left, right) = (window_edges(placement, tile, axis) for axis in range(2))
        rows, columns = np.minimum(bottom, height - 1), np.minimum(right, width - 1)
        needed = (rows[:, None] * width + columns + 1) * words
        outside = ((bottom < 0) | (top >= height))[:, None] | ((right < 0) | (left >= width))
        self.need = np.where(outside, 1, np.maximum(needed, 1)).ravel().tolist()
        # The next row of steps starts lower, so what lies left of the window is dead.
        sweep = placement.sweep
        base = (np.arange(sweep.steps[0]) + 1) * sweep.stride[0]
        following = (base + min(offset[0] for offset in tile.offsets)) // sweep.insert[0]
        low = np.clip(top, 0, height)
        retires = following > np.maximum(top, 0)
        limit_rows = low + buffer_lines(placement, tile)
        limit = limit_rows[:, None] * pitch + np.where(retires[:, None], np.clip(left, 0, width) * words, 0)
        self.total = height * pitch
        self.limit = np.minimum(limit, self.total).ravel().tolist()
        self.open = min(self.total, buffer_lines(placement, tile) * pitch)
        self.count, self.next, self.allowed, self.last = 0, 0, self.open, -1

    def until(self, cycle: int) -> None:
        """Accept words in cycles before ``cycle``."""
        taken = min(cycle - self.next, self.allowed - self.count)
        if taken > 0:
            self.count += taken
            self.next += taken
            self.last = self.next - 1
        if self.next < cycle:
            self.next = cycle

    def present(self, step: int, cycle: int) -> int:
        """First cycle from ``cycle``, the step's first, in which its pixels are in the buffer."""
        if self.count == self.total:
            return cycle
        need = self.need[step]
        self.until(cycle)
        if need > self.count:
            self.until(cycle + 1)  # the limit follows the step one cycle late
            self.allowed = self.limit[step]
            if need <= self.count:
                return cycle + 1
            self.until(self.next + need - self.count)
            return self.next
        self.until(cycle + 1)
        self.allowed = self.limit[step]
        return cycle

    def restart(self, cycle: int) -> int:
        """The image's last load was over before ``cycle``; returns the next image's first cycle."""
        self.until(cycle + 1)
        self.allowed = self.total
        self.until(self.next + self.total - self.count)
        start = max(cycle, self.last + 1) + 1
        self.count, self.next, self.allowed = 0, start, self.total
        return start


class Timeline:
    """Runs the steps of a tile one after the other; arrays are vectors."""

    def __init__(self, placement: Placement, tile: Tile) -> None:
        self.placement, self.tile = placement, tile
        self.load, self.drain = load_cycles(placement, tile), drain_cycles(placement, tile)
        self.source = _Source(placement, tile, words_of(tile, placement)[1])

    def run(self, reads: Integers, images: int) -> int:
        """Cycles of a tile whose beats are taken at once; ``reads`` (kinds, steps)."""
        overlap = self.placement.sweep.overlap
        sink = _Overlap(self.placement, drain_plan(self.placement, self.tile)) if overlap else None
        drains, out = self.drains(reads, images), 0
        first = next(drains)
        for step in range(reads.shape[1]):
            last = first + self.drain - 1
            last, out = sink.step(first, step) if sink else (last, last + DRAIN_TO_BEAT)
            first = drains.send(last)
        return out + 1

    def drains(self, reads: Integers, images: int) -> Generator[int, int, None]:
        """Of each step the first cycle in which its drain could begin; is sent the one of its last slot read.

        After the last step it yields once more, the cycle after the last drain.
        """
        reads = binding(reads)
        steps = reads.shape[1]
        latency = READ_TO_PINS + self.placement.chip.read_latency
        per_image, load = steps // images, self.load
        some_empty = (reads == 0).any(axis=0).tolist()
        before = last = [0] * len(reads)  # first cycle after the last read, of the last two steps, per kind
        popped = [-1] * len(reads)  # cycle in which the last tag left each queue; empty: it is as the reads were
        drained, drained_last = -(10**9), -(10**9)
        step_start = 0
        for step, own in enumerate(np.maximum(reads, 1).T.tolist()):
            at = step % per_image
            if step and at == 0:
                step_start = self.source.restart(step_start)
            step_start = max(self.source.present(at, step_start), max(before)) + load
            ready = max(step_start - 1 + LOAD_TO_READ, drained + 1)
            now = [(free if free > ready else ready) + count for free, count in zip(last, own, strict=True)]
            if some_empty[step]:
                popped = [
                    free - 1 + latency if count else max(free, tag + 1)
                    for free, count, tag in zip(
                        now, reads[:, step].tolist(), popped or [free - 1 + latency for free in last], strict=True
                    )
                ]
                complete = max(popped) + CODE_TO_SUM
            else:
                popped = []
                complete = max(now) - 1 + latency + CODE_TO_SUM
            before, last = last, now
            drained, drained_last = drained_last, (yield max(complete, drained_last + 1))
        yield drained_last + 1


def binding(reads: Integers) -> Integers:
    """Rows of ``reads`` (kinds, steps) that time can depend on: each once; one alone if no other exceeds it.

    An array that never reads less than another never ends, nor completes, a step before it.
    """
    top = reads.max(axis=0)
    for own in reads:
        if np.array_equal(own, top):
            return own[None]
    return np.array(list({own.tobytes(): own for own in reads}.values()))


class _Overlap:
    """Flush beats of the overlap buffer, and how they hold up the drain."""

    def __init__(self, placement: Placement, drain: DrainPlan) -> None:
        sweep, m = placement.sweep, placement.layer.outputs
        beats = drain.banks[0].beats
        whole = [index for index, beat in enumerate(beats) if beat.last]
        phases = [sweep.phases[beats[index].outputs[0] // m] for index in whole]
        self.length, self.first_whole, self.steps = len(beats), whole[0], sweep.steps
        leaving = [
            index for index, (y, x) in zip(whole, phases, strict=True) if y < sweep.block[0] and x < sweep.block[1]
        ]
        self.trailing = len(beats) - 1 - leaving[-1]  # beats after the last that leaves at once
        self.final = sum(y < sweep.block[0] and x < sweep.block[1] for y, x in phases)
        self.grid = [
            max(steps, -(-(crop + size) // block))
            for steps, crop, size, block in zip(sweep.steps, sweep.crop, sweep.output, sweep.block, strict=True)
        ]
        tall = max(y for y, _ in phases) + 1
        lines = -(-max(tall, sweep.block[0]) // sweep.block[0]) * sweep.block[0]
        channels = len({output % m for beat in beats for output in beat.outputs})
        self.busy_until = lines * self.grid[1] * sweep.block[1] * channels  # the clearing after reset

    def step(self, first: int, step: int) -> tuple[int, int]:
        """Last slot read of a drain that could begin at ``first``; cycle of the last beat that leaves."""
        if first + self.first_whole + DRAIN_TO_BEAT < self.busy_until:
            # The first beat waits at the output from `stall`; what is not read by then waits too.
            stall = first + self.first_whole + DRAIN_TO_BEAT
            last = first + self.length - 1
            last = last if last < stall else self.busy_until + last - stall
            taken = self.busy_until + self.length - 1 - self.first_whole
        else:
            last = first + self.length - 1
            taken = last + DRAIN_TO_BEAT
        rows, columns = self.steps
        at = step % (rows * columns)
        flushed = 0
        if at % columns == columns - 1:
            flushed = self.grid[1] - columns
            if at == rows * columns - 1:
                flushed += (self.grid[0] - rows) * self.grid[1]
        self.busy_until = taken + 1 + flushed * self.final
        return last, self.busy_until - (0 if flushed else self.trailing)
