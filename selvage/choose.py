"""What `auto` takes: the mapping and schedule of fewest cycles, by the cycle model on the layer's own activations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapping.dense import dense_kinds, place_dense
from mapping.packing import weight_offset
from mapping.pattern import place_pattern
from mapping.placement import Placement
from mapping.schedule import TRANSPOSED
from mapping.schedule import choose as schedule_of
from mapping.sme import SmeParameters, place_sme
from mapping.sre import place_sre
from sim.cycles import least_cycles, tile_cycles
from spec.chip import Chip
from spec.errors import InputError
from spec.layer import InputFormat, Layer

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


@dataclass(frozen=True, eq=False)
class _Try:
    """A candidate as it is placed.

    ``kinds``: tiles that stand for all, and how often each; ``whole``: the placement and its weights.
    """

    candidate: Candidate
    kinds: Callable[[], tuple[Placement, list[int]]]
    whole: Callable[[], tuple[Placement, Integers]]


@dataclass(eq=False)
class _Once:
    """Calls ``make`` once, for what takes long to place."""

    make: Callable[[], tuple[Placement, Integers]]
    known: list[tuple[Placement, Integers]] = field(default_factory=list)

    def __call__(self) -> tuple[Placement, Integers]:
        if not self.known:
            self.known.append(self.make())
        return self.known[0]

    def kinds(self) -> tuple[Placement, list[int]]:
        """Every tile stands for itself."""
        placement, _ = self()
        return placement, [1] * len(placement.tiles)


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
) -> Choice:
    """The candidate of fewest cycles for the first image of ``codes`` (N, C, H, W), zero point subtracted.

    Of equal ones that of fewest OU reads, then of fewest crossbars, then the earlier. ``schedules`` None: all
    that the layer can have for ``dense``, what `auto` means for the others. ``mappings`` None: ``dense``;
    ``pattern`` and ``sre`` where `SPARSE` weights are zero; ``sme``, which changes weights, with its parameters.
    One that is slower by its plans alone is not counted.
    `InputError` when no candidate is possible: the reason of the first.
    """
    how = {"layer": layer, "weights": weights, "chip": chip, "input_format": input_format, "sme": sme}
    image, found = codes[:1], []
    best: tuple[Candidate, _Try] | None = None
    for attempt in _tries(schedules, mappings, dynamic, how):
        candidate = attempt.candidate
        if not candidate.reason:
            candidate = _count(attempt, image, best[0].cycles if best else None, skip=skip)
        found.append(candidate)
        if candidate.cycles is not None and (best is None or candidate.rank < best[0].rank):
            best = candidate, attempt
    if best is None:
        raise InputError(found[0].reason if found else "there is no mapping to choose from")
    placement, effective = best[1].whole()
    return Choice(placement, effective, _note(best[0], found), found)


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
            kinds, whole = _dense(layer, weights, chip, keys)
            yield _Try(candidate, kinds, whole)
        elif mapping in SPARSE_MAPPINGS:
            if mappings is None and share < SPARSE:
                candidate = replace(
                    candidate, reason=f"{share:.0%} of the weights are zero, it is tried from {SPARSE:.0%}"
                )
            once = _Once(lambda m=mapping, k=keys: (SPARSE_MAPPINGS[m](layer, weights, chip, **k), weights))
            yield _Try(candidate, once.kinds, once)
        elif mapping == "sme":
            once = _Once(lambda k=keys: _planes(layer, weights, chip, sme or SmeParameters(), k))
            yield _Try(candidate, once.kinds, once)
        else:
            raise InputError(f"mapping {mapping!r} is none of dense, {', '.join(SPARSE_MAPPINGS)}, sme")


def _dense(layer: Layer, weights: Integers, chip: Chip, keys: dict) -> tuple[Callable, Callable]:
    """`_Try.kinds` and `_Try.whole` of the dense mapping, which is counted without its cells."""

    def kinds() -> tuple[Placement, list[int]]:
        weight_offset(weights, chip)  # whether it can be placed at all
        return dense_kinds(layer, chip, **keys)

    return kinds, lambda: (place_dense(layer, weights, chip, **keys), weights)


def _planes(
    layer: Layer, weights: Integers, chip: Chip, parameters: SmeParameters, keys: dict
) -> tuple[Placement, Integers]:
    placement, effective = place_sme(layer, weights, chip, parameters=parameters, **keys)
    return placement, effective.astype(np.int64)


def _count(attempt: _Try, image: Integers, best: int | None, *, skip: bool) -> Candidate:
    """The candidate with its counts, or with why it has none. ``best``: cycles to be had already."""
    candidate = attempt.candidate
    try:
        placement, times = attempt.kinds()
    except InputError as error:
        return replace(candidate, reason=str(error))
    if best is not None:
        for tile in placement.tiles:
            least = least_cycles(placement, tile, len(image), skip=skip)
            if least > best:
                return replace(candidate, at_least=least, reason=f"at least {least:,} cycles")
    counted = [tile_cycles(placement, tile, image, skip=skip) for tile in placement.tiles]
    return replace(
        candidate,
        cycles=max(own.cycles for own in counted),
        reads=sum(own.reads * many for own, many in zip(counted, times, strict=True)),
        crossbars=sum(len(tile.arrays) * many for tile, many in zip(placement.tiles, times, strict=True)),
    )


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
