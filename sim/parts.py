"""Small parts between the stages of a network: when words leave them.

Written from the timing tables of ``docs/architecture.md`` and ``docs/pipelines.md``, not from the gateware.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from selvage.mapping.reorder import ReorderPlan
from selvage.mapping.schedule import Sweep
from selvage.sim.cycles import FIRST_LOAD, Offsets, Source
from selvage.sim.flow import Pipeline, Process, Simulation, Stream, Times
from selvage.sim.tiles import FedSource

LOAD_TO_WORD = 6  # last cycle of a pool's load of a word to the one in which its result enters the queue
ADDRESSES = 2  # cycles after a reset in which a reorder buffer has no address yet
BEYOND = 8  # words of a pool's queue beside those of two windows


@dataclass(frozen=True)
class Packing:
    """``own`` of a pixel's ``channels`` from ``first`` on are taken; words of ``lanes`` become words of ``packed``."""

    channels: int
    lanes: int
    first: int
    own: int
    packed: int


def packer(simulation: Simulation, stream: Stream, packing: Packing) -> Stream:
    """Return the words that leave a width converter; the stream itself where nothing is to do."""
    if (packing.lanes, packing.own) == (packing.packed, packing.channels):
        return stream
    pipe = Pipeline(simulation, 1)
    simulation.start(_pack(stream, pipe, packing))
    return pipe.out


def _pack(stream: Stream, pipe: Pipeline, packing: Packing) -> Process:
    first, last = packing.first // packing.lanes, (packing.first + packing.own) // packing.lanes - 1
    parts, per_pixel = packing.packed // packing.lanes, packing.channels // packing.lanes
    word = part = 0
    while True:
        while len(stream.offered) <= word:
            yield stream.offered
        taken = yield from pipe.moves(stream.offered[word])
        stream.taken.put(taken)
        at = word % per_pixel
        if first <= at <= last:
            part += 1
            if part == parts or at == last:
                pipe.out.offered.put(taken + 1)
                part = 0
        word += 1


def concat(simulation: Simulation, streams: Sequence[Stream], words: Sequence[int]) -> Stream:
    """Return the words of each stream, pixel by pixel, one stream's ``words`` after the other's. No cycle."""
    out = simulation.stream()
    simulation.start(_concat(streams, words, out))
    return out


def _concat(streams: Sequence[Stream], words: Sequence[int], out: Stream) -> Process:
    order = [k for k, count in enumerate(words) for _ in range(count)]
    word, at = 0, [0] * len(streams)
    while True:
        k = order[word % len(order)]
        stream = streams[k]
        while len(stream.offered) <= at[k]:
            yield stream.offered
        before = out.taken[word - 1] + 1 if word else 0
        out.offered.put(max(stream.offered[at[k]], before))
        while len(out.taken) <= word:
            yield out.taken
        stream.taken.put(out.taken[word])
        at[k] += 1
        word += 1


@dataclass(frozen=True)
class Raster:
    """A map of ``size`` pixels in ``grid`` blocks of ``block``, its first at ``crop``; each leaves ``repeat`` times."""

    grid: tuple[int, int]
    block: tuple[int, int]
    crop: tuple[int, int]
    size: tuple[int, int]
    repeat: tuple[int, int]
    words: int  # of a pixel


def raster(simulation: Simulation, stream: Stream, shape: Raster) -> Stream:
    """Return the words that leave a raster buffer, which holds two rows of blocks."""
    pipe = Pipeline(simulation, 1)
    read = simulation.times()
    simulation.start(_write(stream, read, shape))
    simulation.start(_read(stream, read, pipe, shape))
    return pipe.out


def _row(shape: Raster) -> int:
    return shape.grid[1] * shape.block[0] * shape.block[1] * shape.words


def _write(stream: Stream, read: Times, shape: Raster) -> Process:
    """Take words of a row of blocks from the cycle after the row two before it has been read."""
    word, each = 0, _row(shape)
    while True:
        row = word // each
        while row > 1 and len(read) <= row - 2:
            yield read
        while len(stream.offered) <= word:
            yield stream.offered
        stream.taken.put(max(stream.offered[word], read[row - 2] + 1 if row > 1 else 0))
        word += 1


def _read(stream: Stream, read: Times, pipe: Pipeline, shape: Raster) -> Process:
    """Read a row of blocks line by line, from the cycle after its last word came; a line outside takes a cycle."""
    band, cycle, each = 0, -1, _row(shape)
    line = shape.repeat[0] * shape.size[1] * shape.repeat[1] * shape.words
    while True:
        while len(stream.taken) < (band + 1) * each:
            yield stream.taken
        cycle = max(cycle, stream.taken[(band + 1) * each - 1])
        for row in range(shape.block[0]):
            at = band % shape.grid[0] * shape.block[0] + row - shape.crop[0]
            inside = 0 <= at < shape.size[0]
            for _ in range(line if inside else 1):
                cycle = yield from pipe.moves(cycle + 1)
                if inside:
                    pipe.out.offered.put(cycle + 1)
        read.put(cycle)
        band += 1


def state(simulation: Simulation, stream: Stream, out: Stream, words: int, steps: int) -> None:
    """Let ``out`` have what a loop remembers: ``words`` words it begins with, those that come back, but the last's."""
    simulation.start(_state(stream, out, words, steps))


def _state(stream: Stream, out: Stream, words: int, steps: int) -> Process:
    """Offer the first words at once, pass those of all steps but the last, and drop those: then begin again."""
    came = left = free = 0
    while True:
        for word in range(words * steps):
            first = word < words
            while not first and len(stream.offered) <= came:
                yield stream.offered
            out.offered.put(free if first else max(stream.offered[came], free))
            while len(out.taken) <= left:
                yield out.taken
            if not first:
                stream.taken.put(out.taken[left])
                came += 1
            free, left = out.taken[left] + 1, left + 1
        for _ in range(words):
            while len(stream.offered) <= came:
                yield stream.offered
            taken = max(stream.offered[came], free)
            stream.taken.put(taken)
            free, came = taken + 1, came + 1


def reorder(simulation: Simulation, stream: Stream, plan: ReorderPlan) -> Stream:
    """Return the words of each part of a map in the order of ``plan``."""
    pipe = Pipeline(simulation, 1)
    read = simulation.times()  # of each line, when its last word was read
    simulation.start(_hold(stream, read, plan))
    simulation.start(_take_in_order(stream, read, pipe, plan))
    return pipe.out


def _hold(stream: Stream, read: Times, plan: ReorderPlan) -> Process:
    """Take a word when the one whose place it takes is needed no more, or none: when its part is read."""
    word, line, lines = 0, 0, len(plan.rows)
    while True:
        while len(stream.offered) <= word:
            yield stream.offered
        part, at = divmod(word, plan.words)
        while line // lines * plan.words + plan.free[line % lines] + plan.depth <= word:
            if at >= plan.used and line == part * lines:
                break  # dropped, as its part is being read
            line += 1
        while len(read) < line:
            yield read
        stream.taken.put(max(stream.offered[word], read[line - 1] + 1 if line else 0))
        word += 1


def _take_in_order(stream: Stream, read: Times, pipe: Pipeline, plan: ReorderPlan) -> Process:
    """Read each word from the cycle after the source's was taken, the last of a part after all of the part."""
    cycle, part, numbers = ADDRESSES - 1, 0, plan.numbers.tolist()
    while True:
        for k, line in enumerate(numbers):
            for j, number in enumerate(line):
                last = k + 1 == len(numbers) and j + 1 == len(line)
                needed = part * plan.words + (plan.words - 1 if last else max(number, 0))
                while len(stream.taken) <= needed:
                    yield stream.taken
                cycle = yield from pipe.moves(max(cycle, stream.taken[needed]) + 1)
                pipe.out.offered.put(cycle + 1)
            read.put(cycle)
        part += 1


def pool(simulation: Simulation, stream: Stream, sweep: Sweep, offsets: Offsets, words: int, images: int) -> Stream:
    """Return the reduced words of each window of ``offsets``, of ``words`` words a pixel, behind the pool's queue."""
    source = FedSource(simulation, stream, Source(sweep, offsets, words), images)
    written = simulation.stream()
    out = simulation.queue(written, 2 * words + BEYOND)
    simulation.start(_load(source, written, out, sweep, len(offsets), words, images))
    return out


def _load(source: FedSource, written: Stream, out: Stream, sweep: Sweep, taps: int, words: int, images: int) -> Process:
    """Load window after window, each when its pixels are there and no more than a window's words wait in the queue."""
    cycle, entered = FIRST_LOAD, 0
    for image in range(images):
        if image:
            while (begin := source.restart(cycle)) is None:
                yield source.stream.taken
            cycle = begin
        for step in range(sweep.count):
            while (begin := source.present(step, cycle)) is None:
                yield source.stream.taken
            cycle = begin
            while True:
                while entered < len(written.offered) and written.offered[entered] < cycle:
                    entered += 1
                gone = entered - words  # words that must have left before
                if gone <= 0:
                    break
                while len(out.taken) < gone:
                    yield out.taken
                if out.taken[gone - 1] < cycle:
                    break
                cycle = out.taken[gone - 1] + 1
            for word in range(words):
                written.offered.put(cycle + (word + 1) * taps - 1 + LOAD_TO_WORD)
            cycle += words * taps
