"""What `auto` takes: the mapping and schedule of fewest cycles, by the cycle model on the layer's own activations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.mapping.dense import place_dense
from selvage.mapping.pattern import place_pattern
from selvage.mapping.placement import Placement, in_passes
from selvage.mapping.schedule import TRANSPOSED
from selvage.mapping.schedule import choose as schedule_of
from selvage.mapping.sme import SmeParameters, place_sme
from selvage.mapping.sre import place_sre
from selvage.sim.cycles import least_cycles
from selvage.sim.layer import CountedPass, alone_cycles, count_passes

Integers = NDArray[np.int64]

SPARSE = 0.3  # share of zero weights from which the mappings that leave them out are tried
SPARSE_MAPPINGS = {"pattern": place_pattern, "sre": place_sre}


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
    that the layer can have for ``dense``, what `auto` means for the others. ``mappings`` None: ``dense``;
    ``pattern`` and ``sre`` where `SPARSE` weights are zero; ``sme``, which changes weights, with its parameters.
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
    layer, weights, chip, sme = (how[name] for name in ("layer", "weights", "chip", "sme"))
    share = float((weights == 0).mean())
    names = list(mappings) if mappings is not None else ["dense", *SPARSE_MAPPINGS, *(["sme"] if sme else [])]
    usual = schedule_of(layer, "auto")
    every = schedules or (TRANSPOSED if layer.op == "conv_transpose" else (usual,))
    order = sorted(every, key=lambda name: name == "zero-padding")
    for schedule, forming, mapping in ((s, d, m) for s in order for d in dynamic for m in names):
        if schedules is None and mapping != "dense" and schedule != usual:
            continue
        candidate = Candidate(mapping, schedule, forming)
        keys = {"input_format": how["input_format"], "schedule": schedule, "dynamic": forming}
        if mapping == "dense":
            yield _Try(candidate, lambda k=keys: (place_dense(layer, weights, chip, **k), weights))
        elif mapping in SPARSE_MAPPINGS:
            if mappings is None and share < SPARSE:
                candidate = replace(
                    candidate, reason=f"{share:.0%} of the weights are zero, it is tried from {SPARSE:.0%}"
                )
            yield _Try(candidate, lambda m=mapping, k=keys: (SPARSE_MAPPINGS[m](layer, weights, chip, **k), weights))
        elif mapping == "sme":
            yield _Try(candidate, lambda k=keys: _planes(layer, weights, chip, sme or SmeParameters(), k))
        else:
            raise InputError(f"mapping {mapping!r} is none of dense, {', '.join(SPARSE_MAPPINGS)}, sme")


def _planes(
    layer: Layer, weights: Integers, chip: Chip, parameters: SmeParameters, keys: dict
) -> tuple[Placement, Integers]:
    placement, effective = place_sme(layer, weights, chip, parameters=parameters, **keys)
    return placement, effective.astype(np.int64)


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
