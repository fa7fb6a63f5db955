"""Beats on their way to a reader that pauses: the model's leaps against counting cycle by cycle."""

import random
from types import SimpleNamespace

import pytest

from selvage.sim.beats import BeatQueue


def asked_and_taken(leaving: list[bool], to_beat: int, steps: list[tuple[int, int]]) -> list[tuple[int, list[int]]]:
    """Of each step (``begin``, ``free``) the cycle in which its last slot is asked for, and when its beats are taken:
    row "a slot is asked for" of the timing table."""
    asked, taken, found, cycle = 0, [], [], 0
    for begin, free in steps:
        cycle, own = max(cycle, begin), []
        for leaves in leaving:
            while asked - sum(t <= cycle - 2 for t in taken) >= to_beat + 2:
                cycle += 1
            if leaves:
                asked += 1
                taken.append(max([cycle + to_beat, free, *(t + 1 for t in taken[-1:])]))
                own.append(taken[-1])
            cycle += 1
        found.append((cycle - 1, own))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_model_asks_and_takes_as_counted(seed: int) -> None:
    rng = random.Random(seed)
    length, to_beat = rng.randint(1, 9), rng.randint(4, 9)
    leaving = [rng.random() < 0.6 for _ in range(length - 1)] + [True]
    beats = [SimpleNamespace(last=own) for own in leaving]
    queue = BeatQueue(SimpleNamespace(length=length, banks=[SimpleNamespace(beats=beats)]), to_beat)
    begin, free, steps, found = 5, 0, [], []
    for _ in range(60):
        if rng.random() < 0.3:
            free = begin + rng.randint(0, 8 * length + 30)
        steps.append((begin, free))
        end = queue.step(begin, free)
        found.append((end, list(queue.taken)))
        # Often about the cycle in which a full queue has room again.
        later = (end + rng.randint(1, 3 * length), queue.takes[0] + rng.randint(-1, 2))
        begin = max(end + 1, rng.choice((end + 1, *later)))
    assert found == asked_and_taken(leaving, to_beat, steps)
