"""Where a tile's beats go: padding-free through a buffer in which steps overlap, else out as they come.

Written from the tables of ``docs/architecture.md``, not from the gateware.
"""

from collections.abc import Iterator

from selvage.mapping.drain import drain_plan
from selvage.mapping.placement import Placement, Tile
from selvage.mapping.schedule import Sweep
from selvage.sim.beats import BeatQueue


def block_steps(sweep: Sweep) -> Iterator[bool]:
    """Yield for the output blocks of an image, as they leave, whether each has a step; others are flushed."""
    rows, columns = sweep.grid
    for row in range(rows):
        yield from (row < sweep.steps[0] and column < sweep.steps[1] for column in range(columns))


class PlainSink:
    """A tile whose beats leave as they come. ``out`` is the cycle in which the last one was taken."""

    def __init__(self, placement: Placement, tile: Tile, to_beat: int) -> None:
        self.queue, self.out = BeatQueue(drain_plan(placement, tile), to_beat), 0

    def drain(self, begin: int, free: int) -> int:
        """Return the last request of a readout that may start at ``begin``, beats being taken from ``free`` on."""
        last = self.queue.step(begin, free)
        self.out = self.queue.taken[-1]
        return last

    def flush(self, free: int) -> None:
        """Refuse: without overlap every block has a step."""
        raise NotImplementedError


class OverlapSink(PlainSink):
    """A sink with an overlap buffer, and a register behind it, which a final beat leaves when it is taken."""

    def __init__(self, placement: Placement, tile: Tile, to_beat: int) -> None:
        super().__init__(placement, tile, to_beat)
        sweep, m = placement.sweep, placement.layer.outputs
        beats = drain_plan(placement, tile).banks[0].beats
        phases = [sweep.phases[beats[index].outputs[0] // m] for index in self.queue.leaving]
        self.final = [y < sweep.block[0] and x < sweep.block[1] for y, x in phases]
        tall = max(y for y, _ in phases) + 1
        lines = -(-max(tall, sweep.block[0]) // sweep.block[0]) * sweep.block[0]
        channels = len({output % m for beat in beats for output in beat.outputs})
        self.next = lines * sweep.grid[1] * sweep.block[1] * channels  # the clearing after reset

    def drain(self, begin: int, free: int) -> int:
        """Return the last slot's request of a readout, the buffer taking its beats and letting final ones out."""
        if free <= self.next:  # nothing waits behind the buffer
            last = self.queue.step(begin, self.next)
            taken = self.queue.taken
            self.out = max(cycle for cycle, final in zip(taken, self.final, strict=True) if final) + 1
            self.next = taken[-1] + 1
            return last
        return self.queue.one_by_one(begin, lambda index, cycle: self._take(cycle, free, final=self.final[index]))

    def flush(self, free: int) -> None:
        """Flush a block without a step: a beat a cycle."""
        for _ in range(sum(self.final)):
            self._take(self.next, free, final=True)

    def _take(self, cycle: int, free: int, *, final: bool) -> int:
        """Return the cycle in which the buffer takes a beat that is there in ``cycle``."""
        taken = max(cycle, self.next)
        self.next = taken + 1
        if final:
            self.next = self.out = max(taken + 1, free)
        return taken
