"""The first component of a tile that shows something else than the golden model, from waves of its run.

Components are looked at in the order in which data goes through them, so what goes into the one that is named was
right. Where nothing is wrong and something is missing, the run hangs: then it is who neither offers nor takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.waves.boundaries import boundaries_of
from selvage.rtlsim.waves.boundary import Boundary
from selvage.rtlsim.waves.file import REFUSED, UNKNOWN, WaveFile
from selvage.sim.trace import TileTrace


@dataclass(frozen=True)
class Finding:
    """What is wrong first: in which component, cycle and step, and what stood in the place of what."""

    component: str
    cycle: int | None
    step: int
    reason: str
    array: int | None = None  # crossbar
    block: int | None = None
    row_group: int | None = None
    plane: int | None = None
    column_group: int | None = None

    def __str__(self) -> str:
        when = "" if self.cycle is None else f" in cycle {self.cycle:,}"
        return f"{self.component}, step {self.step:,}{when}: {self.reason}"


def blame(p: TileParameters, trace: TileTrace, waves: WaveFile, step: int) -> Finding | None:
    """Return what is wrong first in ``step``, or None where all components showed what they must."""
    boundaries = list(boundaries_of(p, trace, waves, step))
    short: set[int] = set()  # readers of which something is missing: what they lead to says nothing
    for boundary in boundaries:
        if boundary.settled and (boundary.reader in short or (boundary.reader < 0 and short)):
            continue
        if found := _mismatch(boundary, step):
            return found
        if len(boundary.shown) < len(boundary.expected):
            short.add(boundary.reader)
    return _missing(boundaries, waves, step)


def _mismatch(boundary: Boundary, step: int) -> Finding | None:
    """Return the first entry that is wrong; one that is missing is no mismatch as long as nothing comes after it."""
    shown = boundary.entries()
    for k, (found, wanted) in enumerate(zip(shown, boundary.expected, strict=False)):
        wrong = [a for a, b in zip(found, wanted, strict=True) if a != b and b != UNKNOWN]
        if wrong:
            says = "X" if UNKNOWN in wrong else boundary.told(found)
            reason = f"due: {boundary.told(wanted)}; shown: {says}{_field(boundary, found, wanted)}"
            return Finding(boundary.component, int(boundary.shown.cycles[k]), step, reason, **boundary.place(k))
    if len(shown) > len(boundary.expected):
        k = len(boundary.expected)
        reason = f"due: nothing more; shown: {boundary.told(shown[k])}"
        return Finding(boundary.component, int(boundary.shown.cycles[k]), step, reason)
    return None


def _field(boundary: Boundary, found: Sequence[int], wanted: Sequence[int]) -> str:
    """Return which field is wrong, where there are several."""
    if len(boundary.names) == 1:
        return ""
    wrong = next(k for k, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b and b != UNKNOWN)
    name = boundary.names[wrong].replace("_", " ")
    number = f" {wrong + 1} of {len(boundary.names)}" if len(set(boundary.names)) > 8 else ""
    return f" ({name}{number} differs)"


def _missing(boundaries: Sequence[Boundary], waves: WaveFile, step: int) -> Finding | None:
    """Return who does not go on: the first that offers nothing though it has what it needs, or else who refuses."""
    refused: dict[int, Finding] = {}
    for boundary in boundaries:
        have, due = len(boundary.shown), len(boundary.expected)
        if have >= min(due, due if boundary.fed is None else boundary.fed):
            continue
        what = f"{have} of {due} in this step, and this does not come: {boundary.told(boundary.expected[have])}"
        if not boundary.handshake:
            since = waves.since(boundary.since) if boundary.since else None
            return Finding(boundary.component, since, step, f"stands since then: {what}", **boundary.place(have))
        state, since = waves.last(boundary.handshake), waves.since(boundary.handshake)
        if state == REFUSED:
            # Of an array it is who is the furthest behind: he makes those before him stand.
            told = f"refuses {boundary.told(boundary.expected[have])} since then, {have} of {due} taken in this step"
            refused[boundary.reader] = Finding(boundary.taker, since, step, told, **boundary.place(have))
            continue
        return Finding(boundary.component, since, step, f"offers nothing since then: {what}", **boundary.place(have))
    # Who stands still first makes other arrays stand.
    return min(refused.values(), key=lambda own: own.cycle or 0, default=None)
