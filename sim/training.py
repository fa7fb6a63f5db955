"""The cycle model of training in logical cycles: when each pass and each update is, and how full buffers become.

Written from the rules of ``docs/training.md``, not from the gateware. `closed_form` is a third source: the formulas of
the papers.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from selvage.mapping.training import Pass, TrainingSchedule, Update


@dataclass(frozen=True)
class TrainingCycles:
    """Logical cycles, the first of which is 1.

    ``whole``: to the last update. ``steady``: of the last iteration, from the update that ended the one before to its
    own. ``reached``: the most samples that each buffer holds, in order of `TrainingSchedule.buffers`.
    """

    whole: int
    steady: int
    reached: tuple[int, ...]


@dataclass(frozen=True)
class Timeline:
    """Of each pass the cycles in which a sample is in its first stage, and of each update those in which it is."""

    entered: tuple[tuple[int, ...], ...]
    updated: tuple[tuple[int, ...], ...]


def timeline(schedule: TrainingSchedule, iterations: int) -> Timeline:
    """Return when everything is in so many iterations, one after the other as early as each rule allows."""
    entered: list[list[int]] = [[] for _ in schedule.passes]
    updated: list[list[int]] = [[] for _ in schedule.updates]
    events: dict[tuple[str, str], int] = {}  # the last cycle of each
    for _ in range(iterations):
        events = _iteration(schedule, events, entered)
        for own, cycles in zip(schedule.updates, updated, strict=True):
            cycles.append(events["update", own.networks[0]])
    return Timeline(tuple(map(tuple, entered)), tuple(map(tuple, updated)))


def training_cycles(schedule: TrainingSchedule, iterations: int) -> TrainingCycles:
    """Return the cycles of so many iterations and what their buffers reach."""
    found = timeline(schedule, iterations)
    ends = [0, *(max(cycles) for cycles in zip(*found.updated, strict=True))]
    return TrainingCycles(ends[-1], ends[-1] - ends[-2], tuple(_reached(schedule, found.entered)))


def _iteration(
    schedule: TrainingSchedule, before: dict[tuple[str, str], int], entered: list[list[int]]
) -> dict[tuple[str, str], int]:
    """Return the events of an iteration from those ``before`` it, of which the first has none."""
    now: dict[tuple[str, str], int] = {}
    pending: list[Pass | Update] = [*schedule.passes, *schedule.updates]
    while pending:
        own = next(item for item in pending if all(rule.before or (rule.what, rule.of) in now for rule in item.after))
        pending.remove(own)
        known = [((before if rule.before else now).get((rule.what, rule.of)), rule.cycles) for rule in own.after]
        at = max([1, *(cycle + later for cycle, later in known if cycle is not None)])
        if isinstance(own, Update):
            now |= {("update", name): at for name in own.networks}
            continue
        times = [at + schedule.spacing(own) * k for k in range(schedule.batch)]
        entered[schedule.passes.index(own)] += times
        now |= {("first", own.name): times[0], ("last", own.name): times[-1]}
    return now


def _reached(schedule: TrainingSchedule, entered: Sequence[Sequence[int]]) -> list[int]:
    """Return the most samples of each buffer: one is there behind its stage, until the stage that frees it ends."""
    found = []
    for buffer in schedule.buffers:
        changes: Counter[int] = Counter()
        for own, times in zip(schedule.passes, entered, strict=True):
            if stages := schedule.kept(buffer, own):
                for time in times:
                    changes[time + stages[0]] += 1
                    changes[time + stages[1]] -= 1
        most = now = 0
        for cycle in sorted(changes):
            now += changes[cycle]
            most = max(most, now)
        found.append(most)
    return found


def closed_form(generator: int, discriminator: int, batch: int, schedule: str, *, overlap: bool = False) -> int:
    """Return the logical cycles of an iteration by the published formulas; with ``overlap`` those of the steady state.

    ReGAN, ASP-DAC 2018, worked out for any sizes; one network (``generator`` 0): PipeLayer, HPCA 2017.
    """
    g, d, b = generator, discriminator, batch
    if not g:
        return (2 * d + 1) * b + 1 if schedule == "none" else 2 * d + b + 1
    if overlap:
        return {
            "pipeline": max(3 * b + 2 * d + 1, 2 * b + 4 * d + 2 * g + 2),
            "sp": 2 * b + 4 * d + 2 * g + 2,
            "cs": max(2 * b + 2 * d + 1, b + 2 * d + 2 * g + 1),
            "sp+cs": 2 * d + 2 * g + b + 1,
        }[schedule]
    return {
        "none": (6 * d + 3 * g + 3) * b + 2,
        "pipeline": 6 * d + 3 * g + 3 * b + 2,
        "pipeline+rf": 4 * d + 2 * g + 3 * b + max(0, g - b) + 2,
        "sp": 4 * d + 3 * g + 2 * b + 2,
        "cs": 4 * d + 2 * g + 2 * b + 1,
        "sp+cs": 2 * d + 2 * g + b + 1,
    }[schedule]
