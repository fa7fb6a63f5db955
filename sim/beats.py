"""Beats of a tile's drains on their way to a reader that does not always take them.

Written from the drain's timing table in ``docs/architecture.md``, not from the gateware.
"""

from collections import deque
from collections.abc import Callable

from selvage.mapping.drain import DrainPlan
from selvage.mapping.placement import Placement, Tile


def drain_to_beat(placement: Placement, tile: Tile, arrays: int) -> int:
    """Return the cycles from the request of slots to their beat at the output.

    These are four registers, and two adder trees: over the ``arrays`` that share outputs, and over the lanes that share
    weights.
    """
    lanes, slices = placement.chip.ou_cols, tile.slices
    together = lanes if tile.scattered or lanes % slices else slices
    return 4 + (arrays - 1).bit_length() + (together - 1).bit_length()


class BeatQueue:
    """Model of the splice's queue of beats: each comes ``to_beat`` cycles after its slots' request, at the earliest.

    No more slots are asked for than there is room for: ``depth`` beats are under way or wait.
    """

    def __init__(self, plan: DrainPlan, to_beat: int) -> None:
        self.length, self.to_beat = plan.length, to_beat
        self.leaving = [k for k in range(plan.length) if any(k < len(b.beats) and b.beats[k].last for b in plan.banks)]
        depth = to_beat + 2  # so that one can leave each cycle
        self.takes: deque[int] = deque([-(10**9)] * depth, maxlen=depth)  # cycles in which the last beats were taken
        self.gaps = [place - before for before, place in zip([-1, *self.leaving], self.leaving, strict=False)]

    def step(self, begin: int, free: int) -> int:
        """Simulate one readout that may start at ``begin`` with a sink ready from ``free``; return its last request.

        The sink takes a beat a cycle. ``taken`` then holds the cycle in which each beat was accepted.
        """
        first = begin + self.leaving[0] + self.to_beat
        if first >= free and first > self.takes[-1] and begin > self.takes[0] + 1:
            self.taken = [begin + self.to_beat + place for place in self.leaving]
            self.takes.extend(self.taken)
            return begin + self.length - 1
        return self.one_by_one(begin, lambda index, cycle: max(cycle, free))

    def one_by_one(self, begin: int, take: Callable[[int, int], int]) -> int:
        """Simulate one readout as `step` does, with a sink that answers beat by beat.

        ``take(index, cycle)`` returns in which cycle beat ``index``, there in ``cycle``, is accepted.
        """
        end, taken, self.taken = begin - 1, self.takes[-1], []
        for index, gap in enumerate(self.gaps):
            # A beat that was taken makes room from the second cycle after it on.
            end = max(end, self.takes[0] + 1) + gap
            taken = take(index, max(end + self.to_beat, taken + 1))
            self.takes.append(taken)
            self.taken.append(taken)
        return end
