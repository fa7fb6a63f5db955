"""The choice of `auto`: the mapping and schedule of fewest cycles, by the cycle model on the layer's activations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.base.text import count_of
from selvage.mapping.placement import Placement, in_passes
from selvage.mapping.schedule import TRANSPOSED
from selvage.mapping.schedule import choose as schedule_of
from selvage.mapping.schemes import Request, scheme, schemes
from selvage.mapping.sme_parameters import SmeParameters
from selvage.sim.cycles import least_cycles
from selvage.sim.layer import CountedPass, alone_cycles, count_passes

Integers = NDArray[np.int64]

SPARSE = 0.3  # share of zero weights from which the mappings that leave them out are tried


@dataclass(frozen=True)
class Candidate:
    """A mapping on a schedule. Counts are of one image; of one that was left out they are None."""

    mapping: str
    schedule: str
    dynamic: bool
    cycles: int | None = None
    reads: int | None = None
    crossbars: int | None = None
    at_least: int | None = None  # cycles, of one that was ruled out before they were counted
    reason: str = ""  # why it was left out

    @property
    def rank(self) -> tuple[int, int, int]:
        """Cycles, reads, crossbars: the smallest is taken. ValueError: they were not counted."""
        if self.cycles is None or self.reads is None or self.crossbars is None:
            raise ValueError(f"{self.label} was not counted: {self.reason}")
        return self.cycles, self.reads, self.crossbars

    @property
    def label(self) -> str:
        """Name of the candidate, for people."""
        words = [self.mapping, *([self.schedule] if self.schedule in TRANSPOSED else [])]
        return " ".join([*words, *(["with dynamic OUs"] if self.dynamic else [])])


class Choice(NamedTuple):
    """The placement taken, the weights that it computes with, why, and all that was looked at."""

    placement: Placement
    weights: Integers
    note: str
    candidates: list[Candidate]
    counted: list[CountedPass] | None  # of the first image, where a collector was asked for


class _Try(NamedTuple):
    """A candidate, and what places it: the placement and its weights."""

    candidate: Candidate
    place: Callable[[], tuple[Placement, Integers]]


class _Counted(NamedTuple):
    """A candidate with its counts, as it is placed."""

    candidate: Candidate
    placement: Placement
    weights: Integers
    counted: list[CountedPass] | None


def choose(
    layer: Layer,
    weights: Integers,
    chip: Chip,
    codes: Integers,
    *,
    input_format: InputFormat,
    schedules: Sequence[str] | None = None,
    mappings: Sequence[str] | None = None,
    dynamic: Sequence[bool] = (False,),
    skip: bool = True,
    sme: SmeParameters | None = None,
    collected: bool = False,
) -> Choice:
    """Return the candidate of fewest cycles for the first image of ``codes`` (N, C, H, W), zero point subtracted.

    Cycles are those of the slowest tile of each pass; with ``collected``, held up by the collector of a network. Of
    equal candidates that of fewest OU reads is taken, then of fewest crossbars, then the earlier. One that is slower by
    its plans alone is not counted. ``schedules`` None: all that the layer can have for schemes of ``every_schedule``,
    what `auto` means for the others. ``mappings`` None: all schemes, those that gain by zeros where `SPARSE` weights
    are zero, those that change weights with ``sme``. `InputError`: no candidate is possible, for the reason of the
    first.
    """
    how = {"layer": layer, "weights": weights, "chip": chip, "input_format": input_format, "sme": sme}
    image, found = codes[:1], []
    best: _Counted | None = None
    for attempt in _tries(schedules, mappings, dynamic, how):
        tried = attempt.candidate
        if not tried.reason:
            tried = _count(attempt, image, best.candidate.cycles if best else None, skip=skip, collected=collected)
        found.append(tried.candidate if isinstance(tried, _Counted) else tried)
        if isinstance(tried, _Counted) and (best is None or tried.candidate.rank < best.candidate.rank):
            best = tried
    if best is None:
        raise InputError(found[0].reason if found else "there is no mapping to choose from")
    return Choice(best.placement, best.weights, _note(best.candidate, found), found, best.counted)


def _tries(
    schedules: Sequence[str] | None, mappings: Sequence[str] | None, dynamic: Sequence[bool], how: dict
) -> Iterator[_Try]:
    """Yield candidates, likely ones first: what is slow is then ruled out soon."""
    layer, weights, sme = how["layer"], how["weights"], how["sme"]
    share = float((weights == 0).mean())
    known = schemes()
    names = list(mappings) if mappings is not None else [kind.name for kind in known.values() if kind.exact or sme]
    usual = schedule_of(layer, "auto")
    every = schedules or (TRANSPOSED if layer.op == "conv_transpose" else (usual,))
    order = sorted(every, key=lambda name: name == "zero-padding")
    for schedule, forming, kind in ((s, d, scheme(m)) for s in order for d in dynamic for m in names):
        if schedules is None and not kind.every_schedule and schedule != usual:
            continue
        candidate = Candidate(kind.name, schedule, forming)
        if kind.sparse and mappings is None and share < SPARSE:
            candidate = replace(candidate, reason=f"{share:.0%} of the weights are zero, it is tried from {SPARSE:.0%}")
        planes = sme if kind.planes and (mappings is not None or not kind.exact) else None
        request = Request(**{**how, "sme": planes}, schedule=schedule, dynamic=forming)
        yield _Try(candidate, partial(kind.place, request))


def _count(attempt: _Try, image: Integers, best: int | None, *, skip: bool, collected: bool) -> _Counted | Candidate:
    """Return the candidate with its counts, or with why it has none. ``best``: cycles to be had already."""
    candidate = attempt.candidate
    try:
        placement, weights = attempt.place()
    except InputError as error:
        return replace(candidate, reason=str(error))
    if best is not None and (least := _least(placement, len(image), skip=skip)) > best:
        return replace(candidate, at_least=least, reason=f"at least {least:,} cycles")
    counted = count_passes(placement, image, skip=skip) if collected else None
    if counted:
        passes = [part.tiles for part in counted]
    else:
        passes = in_passes(alone_cycles(placement, image, skip=skip), placement.chip)
    candidate = replace(
        candidate,
        cycles=sum(max(tile.cycles for tile in tiles) for tiles in passes),
        reads=sum(tile.reads for tiles in passes for tile in tiles),
        crossbars=placement.crossbars,
    )
    return _Counted(candidate, placement, weights, counted)


def _least(placement: Placement, images: int, *, skip: bool) -> int:
    """Return the cycles that all passes take at least, from their plans alone."""
    known: dict[tuple, int] = {}
    for tile in placement.tiles:
        if (kind := placement.likeness(tile)) not in known:
            known[kind] = least_cycles(placement, tile, images, skip=skip)
    return sum(max(known[placement.likeness(tile)] for tile in tiles) for tiles in placement.passes)


def _note(best: Candidate, found: list[Candidate]) -> str:
    """Return why ``best`` was taken, in a line; nothing when nothing else was possible."""
    others = [other for other in found if other is not best and (other.cycles or other.at_least)]
    tie = any(other.cycles == best.cycles for other in others)

    def told(one: Candidate, unit: str) -> str:
        if one.cycles is None:
            return f"{one.label} at least {one.at_least:,}"
        reads = f", {one.reads:,} reads" if tie and one.cycles == best.cycles else ""
        return f"{one.label} {one.cycles:,}{unit} on {count_of(one.crossbars or 0, 'crossbar')}{reads}"

    return "; ".join([told(best, " cycles"), *(told(other, "") for other in others)]) if others else ""
