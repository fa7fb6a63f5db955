"""What every array of a tile did, cycle by cycle, from waves of its RTL."""

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from selvage.report.content import Interval, Timeline
from selvage.rtlsim.diagnosis import Suspect, watched
from selvage.rtlsim.waves.described import Described, load_description
from selvage.rtlsim.waves.file import TRANSFER, WaveFile
from selvage.rtlsim.waves.window import Window

STEPS = 6  # of a tile that a timeline shows
READS, SUMS, WORDS, MACRO = "reads", "waits for sums", "waits for words", "waits for the macro"
STATES = (READS, SUMS, WORDS, MACRO)
WALKS = 2  # bit of an engine's state: an OU is left


def timeline_of(suspect: Suspect, steps: int = STEPS) -> Timeline:
    """Run the first steps of a tile, compare its components, and return what its arrays did.

    Raises `SimulationError`.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tile.fst"
        found, compared = watched(suspect, Window(file, 0, min(steps, suspect.trace.steps), alone=True))
        waves, described = WaveFile(file), load_description(file)
        intervals = [
            own for k in range(len(described.arrays)) for own in _intervals(waves, described, k, len(compared))
        ]
    told = str(replace(found, waves=None)) if found else ""
    return Timeline(suspect.p.placement.layer.name, suspect.index, len(compared), found is None, told, intervals)


def _intervals(waves: WaveFile, described: Described, k: int, steps: int) -> list[Interval]:
    """Return the runs of cycles in which one array, or pair, did the same, up to its last read of these steps."""
    macro, name = described.arrays[k][0], " and ".join(map(str, described.arrays[k]))
    read, state = waves.levels(f"crossbar_{macro}.read"), waves.levels(f"engine_{k}.state")
    step = waves.levels(f"crossbar_{macro}.step")
    kinds = np.where(state & WALKS, STATES.index(SUMS), STATES.index(WORDS))
    kinds = np.where(read == TRANSFER - 1, STATES.index(MACRO), kinds)
    kinds = np.where(read == TRANSFER, STATES.index(READS), kinds)
    key = kinds * (int(step.max()) + 2) + np.where(kinds == 0, step, -1)
    edges = np.flatnonzero(np.diff(key)) + 1
    bounds = [0, *edges.tolist(), len(key)]
    cycles = waves.cycles
    tags = waves.events(f"engine_{k}", "decides", ["step", *_none(waves, k)], high=TRANSFER)
    real = tags.where(tags.fields["tag_none"] == 0) if "tag_none" in tags.fields else tags
    counts = dict(zip(*(own.tolist() for own in np.unique(real.fields["step"], return_counts=True)), strict=True))
    found = []
    for first, last in itertools.pairwise(bounds):
        kind, at = STATES[int(kinds[first])], int(step[first])
        if kind == READS and at >= steps:
            break
        skipped = described.dense[k] - counts.get(at, 0) if kind == READS else 0
        found.append(Interval(f"array {name}", int(cycles[first]), int(cycles[last - 1]) + 1, kind, at, skipped))
    return found


def _none(waves: WaveFile, k: int) -> list[str]:
    return [name for name in ("tag_none",) if name in waves.names(f"engine_{k}")]
