"""What `auto` takes: the mapping and schedule of fewest cycles, by the cycle model on the layer's own activations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
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
        """The smallest is taken."""
        return self.cycles, self.reads, self.crossbars

    @property
    def label(self) -> str:
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
    """The candidate of fewest cycles for the first image of ``codes`` (N, C, H, W), zero point subtracted.

    Cycles are those of the slowest tile of each pass; with ``collected``, held up by the collector of a network.

    Of equal ones that of fewest OU reads, then of fewest crossbars, then the earlier. ``schedules`` None: all
    that the layer can have for schemes of ``every_schedule``, what `auto` means for the others. ``mappings`` None: all
    schemes, those that gain by zeros where `SPARSE` weights are zero, those that change weights with ``sme``.
    One that is slower by its plans alone is not counted.
    `InputError` when no candidate is possible: the reason of the first.
    """
    how = {"layer": layer, "weights": weights, "chip": chip, "input_format": input_format, "sme": sme}
    image, found = codes[:1], []
    best: _Counted | None = None
    for attempt in _tries(schedules, mappings, dynamic, how):
        own = attempt.candidate
        if not own.reason:
            own = _count(attempt, image, best.candidate.cycles if best else None, skip=skip, collected=collected)
        found.append(own.candidate if isinstance(own, _Counted) else own)
        if isinstance(own, _Counted) and (best is None or own.candidate.rank < best.candidate.rank):
            best = own
    if best is None:
        raise InputError(found[0].reason if found else "there is no mapping to choose from")
    return Choice(best.placement, best.weights, _note(best.candidate, found), found, best.counted)


def _tries(
    schedules: Sequence[str] | None, mappings: Sequence[str] | None, dynamic: Sequence[bool], how: dict
) -> Iterator[_Try]:
    """Candidates, likely ones first: what is slow is then ruled out soon."""
    layer, weights, sme = how["layer"], how["weights"], how["sme"]
    share = float((weights == 0).mean())
    known = schemes()
    names = list(mappings) if mappings is not None else [own.name for own in known.values() if own.exact or sme]
    usual = schedule_of(layer, "auto")
    every = schedules or (TRANSPOSED if layer.op == "conv_transpose" else (usual,))
    order = sorted(every, key=lambda name: name == "zero-padding")
    for schedule, forming, own in ((s, d, scheme(m)) for s in order for d in dynamic for m in names):
        if schedules is None and not own.every_schedule and schedule != usual:
            continue
        candidate = Candidate(own.name, schedule, forming)
        if own.sparse and mappings is None and share < SPARSE:
            candidate = replace(candidate, reason=f"{share:.0%} of the weights are zero, it is tried from {SPARSE:.0%}")
        planes = sme if own.planes and (mappings is not None or not own.exact) else None
        request = Request(**{**how, "sme": planes}, schedule=schedule, dynamic=forming)
        yield _Try(candidate, partial(own.place, request))


def _count(attempt: _Try, image: Integers, best: int | None, *, skip: bool, collected: bool) -> _Counted | Candidate:
    """The candidate with its counts, or with why it has none. ``best``: cycles to be had already."""
    candidate = attempt.candidate
    try:
        placement, weights = attempt.place()
    except InputError as error:
        return replace(candidate, reason=str(error))
    if best is not None and (least := _least(placement, len(image), skip=skip)) > best:
        return replace(candidate, at_least=least, reason=f"at least {least:,} cycles")
    counted = count_passes(placement, image, skip=skip) if collected else None
    if counted:
        cycles = [own.tiles for own in counted]
    else:
        cycles = in_passes(alone_cycles(placement, image, skip=skip), placement.chip)
    candidate = replace(
        candidate,
        cycles=sum(max(tile.cycles for tile in own) for own in cycles),
        reads=sum(tile.reads for own in cycles for tile in own),
        crossbars=placement.crossbars,
    )
    return _Counted(candidate, placement, weights, counted)


def _least(placement: Placement, images: int, *, skip: bool) -> int:
    """Cycles that all passes take at least, from their plans alone."""
    known: dict[tuple, int] = {}
    for tile in placement.tiles:
        if (kind := placement.likeness(tile)) not in known:
            known[kind] = least_cycles(placement, tile, images, skip=skip)
    return sum(max(known[placement.likeness(tile)] for tile in own) for own in placement.passes)


def _note(best: Candidate, found: list[Candidate]) -> str:
    """Why, in a line; empty when nothing else was possible."""
    others = [own for own in found if own is not best and (own.cycles or own.at_least)]
    tie = any(own.cycles == best.cycles for own in others)

    def told(own: Candidate, unit: str) -> str:
        if own.cycles is None:
            return f"{own.label} at least {own.at_least:,}"
        reads = f", {own.reads:,} reads" if tie and own.cycles == best.cycles else ""
        return f"{own.label} {own.cycles:,}{unit} on {own.crossbars:,} crossbars{reads}"

    return "; ".join([told(best, " cycles"), *(told(own, "") for own in others)]) if others else ""
