"""The tiles of a layer in a network and their collector, step by step.

Written from the timing tables of ``docs/architecture.md`` and ``docs/copies.md``, not from the gateware.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.load import words_of
from selvage.mapping.placement import Placement, Tile
from selvage.sim.cycles import LOAD_TO_END, STEP_TO_LIMIT, WAITING, WORD_TO_LOAD, Source, Timeline, share_of
from selvage.sim.flow import Pipeline, Process, Simulation, Stream, Times
from selvage.sim.overlap import OverlapSink, PlainSink, block_steps

Integers = NDArray[np.int64]


class FedSource:
    """An input buffer whose words come from a stream: `sim.cycles.Words`."""

    def __init__(self, simulation: Simulation, stream: Stream, rules: Source, images: int) -> None:
        self.stream, self.rules, self.total = stream, rules, rules.total
        self.base = 0  # words of the images before this one
        self.step = -1  # that opened the buffer last
        self.starts = simulation.times()  # by image: from when on its words are taken
        self.opened = simulation.times()  # when more words may be taken than before
        self.limits: list[int] = []  # how many words of all images then
        self._open(0, rules.open)
        self.starts.put(0)
        simulation.start(self._take(images))

    def _open(self, cycle: int, limit: int) -> None:
        self.limits.append(self.base + limit)
        self.opened.put(cycle)

    def _take(self, images: int) -> Process:
        """Take words that fit; those of an image from its start on."""
        stream, limit = self.stream, 0
        for image in range(images):
            while len(self.starts) <= image:
                yield self.starts
            since = self.starts[image]
            for word in range(image * self.total, (image + 1) * self.total):
                while len(stream.offered) <= word:
                    yield stream.offered
                while self.limits[limit] <= word:
                    limit += 1
                    while len(self.limits) <= limit:
                        yield self.opened
                since = max(stream.offered[word], since, self.opened[limit])
                stream.taken.put(since)
                since += 1

    def present(self, step: int, cycle: int) -> int | None:
        """Return what `Source.present` does; None where a word that the step needs has not come yet."""
        if self.step != step:
            self.step = step
            self._open(cycle + STEP_TO_LIMIT, self.rules.limit[step])
        need = self.base + self.rules.need[step]
        taken = self.stream.taken
        return max(cycle, taken[need - 1] + WORD_TO_LOAD) if len(taken) >= need else None

    def restart(self, cycle: int) -> int | None:
        """Return what `Source.restart` does; None where the image's last word has not come yet."""
        if self.step != WAITING:
            self.step = WAITING
            self._open(cycle + STEP_TO_LIMIT, self.total)
        taken, end = self.stream.taken, self.base + self.total
        if len(taken) < end:
            return None
        start = max(cycle + LOAD_TO_END - 1, taken[end - 1] + 1) + 1
        self.base = end
        self._open(start, self.rules.open)
        self.starts.put(start)
        return start


class TileStream:
    """A tile that has its words from a stream: ``out`` has the cycle in which the last beat of each step is taken."""

    def __init__(
        self,
        simulation: Simulation,
        stream: Stream,
        share: Placement,
        tile: Tile,
        reads: Integers,
        images: int,
    ) -> None:
        rules = Source(share.sweep, tile.offsets, words_of(tile, share)[1])
        self.source = FedSource(simulation, stream, rules, images)
        self.line = Timeline(share, tile, self.source)
        self.line.drained = self.drained = simulation.times()
        given = reads.shape[2] // share.sweep.count
        own = share_of(np.tile(reads, images // given), share, tile, images)[1]
        self.complete, self.out = simulation.times(), simulation.times()
        simulation.start(self._compute(own, images))

    def _compute(self, reads: Integers, images: int) -> Process:
        """Let steps complete; what is waited for may be a word, or that the step before the last is read out."""
        for complete in self.line.steps(reads, images):
            if complete != WAITING:
                self.complete.put(complete)
                continue
            yield self._waits()

    def _waits(self) -> Times:
        """Return what must grow for the next step: entries read, where they lag, else words."""
        source = self.source
        need = source.base + (source.total if source.step == WAITING else source.rules.need[source.step])
        return source.stream.taken if len(source.stream.taken) < need else self.drained

    def drain(self, done: Times, stepped: Sequence[bool], images: int) -> Process:
        """Read out each block when its step is complete, its beats taken when the last but one is ``done``."""
        sink = (OverlapSink if self.line.placement.sweep.overlap else PlainSink)(
            self.line.placement, self.line.tile, self.line.to_beat
        )
        step, last = 0, -1
        for block, has_step in enumerate(list(stepped) * images):
            while block > 1 and len(done) <= block - 2:
                yield done
            free = done[block - 2] + 1 if block > 1 else 0
            if has_step:
                while len(self.complete) <= step:
                    yield self.complete
                last = sink.drain(max(self.complete[step], last + 1), free)
                self.drained.put(last)
                step += 1
            else:
                sink.flush(free)
            self.out.put(sink.out)


@dataclass(frozen=True)
class Collected:
    """What a collector does: ``words`` of each block of a placement whose copies have the blocks in turn."""

    placement: Placement
    words: int
    images: int


def collect(simulation: Simulation, tiles: list[list[TileStream]], collected: Collected) -> Stream:
    """Return the words that leave the collector of ``tiles``, by copy."""
    sweep, copies = collected.placement.sweep, collected.placement.copies
    blocks = list(block_steps(sweep))
    done = [simulation.times() for _ in range(copies)]
    for copy, own in enumerate(tiles):
        for tile in own:
            simulation.start(tile.drain(done[copy], blocks[copy::copies], collected.images))
    pipe = Pipeline(simulation, 2 if copies == 1 else 3)
    simulation.start(_collect(tiles, done, pipe, collected, len(blocks)))
    return pipe.out


def _collect(
    tiles: list[list[TileStream]], done: list[Times], pipe: Pipeline, collected: Collected, blocks: int
) -> Process:
    read, counts = -1, [0] * len(tiles)
    for _ in range(collected.images):
        for _, copy in zip(range(blocks), cycle(range(len(tiles))), strict=False):
            block = counts[copy]
            counts[copy] += 1
            for tile in tiles[copy]:
                while len(tile.out) <= block:
                    yield tile.out
            read = max(read, *(tile.out[block] for tile in tiles[copy]))
            for _ in range(collected.words):
                read = yield from pipe.enter(read + 1)
            done[copy].put(read)
