"""Where a tile's run went wrong: it runs again with waves of the first wrong step, and its components are compared."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selvage.hw.tile.output import output_beats
from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.cache import work_folder
from selvage.rtlsim.simulate import build_tile, dump_tile
from selvage.rtlsim.waves.blame import Finding, blame
from selvage.rtlsim.waves.boundaries import wrong_output
from selvage.rtlsim.waves.described import describe
from selvage.rtlsim.waves.file import WaveFile
from selvage.rtlsim.waves.viewers import save_file
from selvage.rtlsim.waves.window import Window
from selvage.sim.devices import Devices
from selvage.sim.trace import TileTrace

Integers = NDArray[np.int64]
# What only adds up and hands on: what it was given was right.
BEHIND_CODES = ("splice", "output stage", "overlap adder", "collector", "requantizer", "raster buffer")
AHEAD = 8  # steps behind the first that did not leave, in which a fault that ends a run may lie


@dataclass(frozen=True)
class Wrong:
    """The first value that is wrong, of a tile in the order of its steps. ``actual`` is None where it is X."""

    image: int
    phase: int
    output_id: int
    channel: int
    pixel: tuple[int, int]
    expected: int
    actual: int | None


@dataclass(frozen=True)
class Diagnosis:
    """Where a run went wrong. Places that are not known, or that a component does not have, are None.

    ``row`` and ``column`` are those of the step. ``component`` is empty where no component shows anything wrong when
    the step runs again.
    """

    layer: str
    component: str
    cycle: int | None
    reason: str
    image: int | None = None
    tile: int | None = None
    step: int | None = None
    row: int | None = None
    column: int | None = None
    output: Wrong | None = None
    array: int | None = None
    block: int | None = None
    row_group: int | None = None
    plane: int | None = None
    column_group: int | None = None
    waves: str | None = None  # that hold the step
    again: str = ""  # a command that runs this step alone, with waves

    def __str__(self) -> str:
        when = "" if self.cycle is None else f" in cycle {self.cycle:,}"
        lines = [f"first wrong: {self.component or 'nothing that repeats'}{when}, {self._place}: {self.reason}"]
        if out := self.output:
            owner = "its" if self.tile is None else "the tile's"
            shown = "X" if out.actual is None else f"{out.actual:,}"
            lines.append(
                f"{owner} first wrong value: phase {out.phase}, output id "
                f"{out.output_id}, channel {out.channel}, pixel ({out.pixel[0]}, {out.pixel[1]}) of image {out.image}: "
                f"{out.expected:,} expected, {shown} found"
            )
        names = {"array": self.array, "block": self.block, "row group": self.row_group, "plane": self.plane}
        names["column group"] = self.column_group
        trail = ", ".join(f"{name} {value}" for name, value in names.items() if value is not None)
        if self.component in BEHIND_CODES:
            trail = "all codes before it were right"
        if trail:
            lines.append(f"the sum's trail: {trail}")
        if self.waves:
            lines.append(f"waves of it: gtkwave {save_file(Path(self.waves))}")
        if self.again:
            lines.append(f"repeat it: {self.again}")
        return "\n".join(lines)

    @property
    def _place(self) -> str:
        if self.tile is None or self.step is None:
            return f"layer {self.layer!r}"
        step = f"step {self.step:,} (image {self.image}, row {self.row}, column {self.column})"
        return f"layer {self.layer!r}, tile {self.tile}, {step}"


@dataclass(frozen=True, eq=False)
class Suspect:
    """A tile whose run went wrong, for activations ``x`` (N, C, H, W), as they come.

    ``y`` are its outputs, or None where the run ended early, when ``sent`` beats had left it.
    """

    p: TileParameters
    index: int
    x: Integers
    seed: int
    build: Path
    y: Integers | None = None
    sent: int = 0
    devices: Devices | None = None

    @cached_property
    def trace(self) -> TileTrace:
        """What its components must show."""
        p, codes = self.p, self.x - self.p.placement.format.zero_point
        return TileTrace(p.placement, p.tile, p.load, p.drain, codes, p.skip, self.devices)

    def steps(self) -> Iterator[int]:
        """Yield the steps that may be wrong first, in order."""
        sweep, total = self.p.placement.sweep, self.trace.steps
        if self.y is None:
            block = self.sent // len(output_beats(self.p))
            first = self._first_of_block(block) if sweep.overlap else block
            first = min(first, max(0, total - AHEAD))  # all may have left, and something is wrong behind them
            yield from range(first, min(first + AHEAD + self._reach, total))
            return
        places = self._wrong_places()
        if not len(places):
            yield from range(total)
            return
        if not sweep.overlap:
            yield int(places[0, 0])
            return
        first = self._first_of_block(int(places[0, 0]))
        yield from range(first, min(first + self._reach, total))

    @property
    def _reach(self) -> int:
        """Steps that may have a part in one output, behind the first of them."""
        sweep = self.p.placement.sweep
        tall, wide = (-(-(max(p[a] for p in sweep.phases) + 1) // sweep.block[a]) for a in range(2))
        return (tall - 1) * sweep.steps[1] + wide if sweep.overlap else 1

    def _first_of_block(self, block: int) -> int:
        """Return the first step that has a part in an output block, of all images."""
        sweep = self.p.placement.sweep
        image, at = divmod(block, sweep.grid[0] * sweep.grid[1])
        row, column = divmod(at, sweep.grid[1])
        tall, wide = (-(-(max(p[a] for p in sweep.phases) + 1) // sweep.block[a]) for a in range(2))
        first = max(0, row - tall + 1) * sweep.steps[1] + max(0, column - wide + 1)
        return min(image * sweep.count + first, self.trace.steps - 1)

    def _wrong_places(self) -> Integers:
        """Return (wrong, 5): step (overlapping: block), image, channel, row and column of wrong outputs, in order."""
        sweep = self.p.placement.sweep
        assert self.y is not None
        image, channel, row, column = np.argwhere(self.y != self.trace.maps).T
        across = sweep.grid[1]
        at = (row + sweep.crop[0]) // sweep.block[0] * across + (column + sweep.crop[1]) // sweep.block[1]
        each = sweep.grid[0] * across
        if sweep.every > 1:  # a copy has a share of the steps
            at, each = (at - sweep.first) // sweep.every, len(sweep.computed)
        found = np.stack([image * each + at, image, channel, row, column], axis=1)
        return found[np.lexsort(found.T[::-1])]

    def wrong(self) -> Wrong | None:
        """Return the first wrong output; None where there is none, or the run ended early."""
        if self.y is None or not len(places := self._wrong_places()):
            return None
        sweep, m = self.p.placement.sweep, self.p.placement.layer.outputs
        _, image, channel, *pixel = places[0].tolist()
        inside = tuple((k + crop) % block for k, crop, block in zip(pixel, sweep.crop, sweep.block, strict=True))
        phase = sweep.phases.index(inside) if inside in sweep.phases else 0
        at = image, channel, *pixel
        values = int(self.trace.maps[at]), int(self.y[at])
        return Wrong(image, phase, phase * m + channel, channel, (pixel[0], pixel[1]), *values)

    def window(self, file: Path) -> Window:
        """Return the window that holds the steps which may be wrong first."""
        steps = list(self.steps())
        ends = self.y is not None and len(steps) < self.trace.steps
        return Window(file, steps[0], len(steps) if ends else None, alone=ends)


def diagnose(suspect: Suspect, folder: Path | None = None, name: str = "") -> Diagnosis:
    """Run a tile once more and return where it went wrong.

    Waves of the window, with what viewers need, stay in ``folder`` as ``name``. Raises `SimulationError`.
    """
    with work_folder(suspect.build) as work:
        steps = list(suspect.steps())
        file = folder / f"{name}_step{steps[0]}.fst" if folder else work / "step.fst"
        found, wrong = _dumped(suspect, suspect.window(file), steps, kept=folder is not None)
        step, kept = found.step if found else steps[0], str(file) if folder else None
        return _diagnosis(suspect, step, found, suspect.wrong() or wrong, kept)


def first_wrong(suspects: Iterable[Suspect], folder: Path | None = None, name: str = "") -> Diagnosis | None:
    """Return where the first of some tiles that is wrong went wrong; None where all outputs are as they must be.

    Waves of it stay in ``folder``, called after ``name`` and the tile.
    """
    for suspect in suspects:
        if suspect.y is None or suspect.wrong() is not None:
            return diagnose(suspect, folder, f"{name}_tile{suspect.index}")
    return None


def watched(suspect: Suspect, window: Window) -> tuple[Diagnosis | None, list[int]]:
    """Run a tile as far as a window goes, and keep its waves, with what viewers need.

    Return where it went wrong, if it did, and the steps that were compared. Raises `SimulationError`.
    """
    total = suspect.trace.steps
    last = total if window.steps is None else min(window.first + window.steps, total)
    steps = list(range(window.first, last))
    found, wrong = _dumped(suspect, window, steps, kept=True)
    return _diagnosis(suspect, found.step, found, wrong, str(window.file)) if found else None, steps


def _dumped(suspect: Suspect, window: Window, steps: list[int], *, kept: bool) -> tuple[Finding | None, Wrong | None]:
    """Dump a window and return the first finding in ``steps``, and the first wrong output of its step.

    What viewers need is written where the waves are ``kept``.
    """
    p = replace(suspect.p, probes=True, like=None)
    image = build_tile(p, build=suspect.build)
    dump_tile(p, image, suspect.x, window, seed=suspect.seed, devices=suspect.devices)
    waves = WaveFile(window.file)
    found = next(filter(None, (blame(p, suspect.trace, waves, step) for step in steps)), None)
    if kept:
        describe(p, window, suspect.index, len(suspect.x), marker=found.cycle if found else None)
    output = wrong_output(p, suspect.trace, waves, found.step) if found else None
    if output is None or found is None:
        return found, None
    phase, channel = divmod(output[0], p.placement.layer.outputs)
    return found, Wrong(suspect.trace.place(found.step)[0], phase, output[0], channel, *output[1:])


def _diagnosis(suspect: Suspect, step: int, found: Finding | None, wrong: Wrong | None, waves: str | None) -> Diagnosis:
    image, row, column = suspect.trace.place(step)
    missing = Finding("", None, step, "when the step runs again every component shows what it must")
    own = found or missing
    return Diagnosis(
        layer=suspect.p.placement.layer.name,
        tile=suspect.index,
        step=step,
        image=image,
        row=row,
        column=column,
        output=wrong,
        component=own.component,
        cycle=own.cycle,
        reason=own.reason,
        array=own.array,
        block=own.block,
        row_group=own.row_group,
        plane=own.plane,
        column_group=own.column_group,
        waves=waves,
    )
