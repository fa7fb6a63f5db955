"""How often each layer of a pipeline stands on the chip, so that the slowest is as fast as the arrays allow."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from selvage.base.errors import InputError
from selvage.compiler.copies_asked import CopiesAsked
from selvage.mapping.drain import drain_shape
from selvage.mapping.load import load_cycles, words_of
from selvage.mapping.placement import Placement
from selvage.sim.layer import CountedPass
from selvage.sim.pipeline import layer_interval

STEP = 100  # cycles, more than a step takes beside its load, reads, drain and words


@dataclass(eq=False)
class Standing:
    """A layer that may stand several times, before its reads are counted.

    ``placement`` is of one copy, which needs ``arrays`` and ``tiles``; ``name`` is what messages call it.
    """

    name: str
    placement: Placement
    arrays: int
    tiles: int

    @property
    def steps(self) -> int:
        """Steps of an image: the most copies there can be."""
        return self.placement.sweep.count


@dataclass(eq=False)
class PacedLayer(Standing):
    """A layer that may stand several times, its pace counted exactly when it is asked for.

    ``counted`` has the reads of all its steps.
    """

    counted: CountedPass
    _known: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, placement: Placement, counted: CountedPass) -> "PacedLayer":
        """Return a layer of which ``placement`` has every tile."""
        return cls(name, placement, placement.crossbars, len(placement.tiles), counted)

    @cached_property
    def most(self) -> int:
        """Most copies: as many as steps, one where the schedule or passes rule copies out."""
        try:
            self.placement.copied(max(2, self.steps))
        except InputError:
            return 1
        return self.steps

    @cached_property
    def _work(self) -> tuple[int, int, int]:
        """Cycles of an image: those that copies share, at least and, one step after the other, at most; words in."""
        placement, images = self.placement, self.counted.images
        sweep, tiles = placement.sweep, dict(zip(self.counted.kinds, placement.tiles, strict=True))
        least = most = 0
        for kind, tile in tiles.items():
            reads = self.counted.reads[kind][0]
            load, drain = int(load_cycles(placement, tile).max()), drain_shape(placement, tile)[0]
            each = max(load, 0 if sweep.overlap else drain)
            least = max(least, int(reads.sum(axis=1).max()) // images, each * self.steps)
            serial = load + drain * (1 + sweep.overlap) + self.counted.words + STEP
            most = max(most, int(reads.max(axis=0).sum()) // images + serial * self.steps)
        entering = sweep.size[0] * sweep.size[1] * max(words_of(tile, placement)[1] for tile in placement.tiles)
        return least, most, entering

    def least(self, copies: int) -> float:
        """Return what `pace` is not below, at once."""
        least, _, entering = self._work
        return max(least / copies * (1 - 1 / self.steps), entering)

    def at_most(self) -> float:
        """Return what `pace` is not above, whatever the copies, at once: steps one after the other."""
        _, most, entering = self._work
        return most + 2 * entering

    def pace(self, copies: int) -> float:
        """Return the cycles from image to image with so many ``copies``."""
        if copies not in self._known:
            counted = self.counted.copied(self.placement.copied(copies))
            self._known[copies] = max(layer_interval(counted, counted.words), self._work[2])
        return self._known[copies]

    def copies_for(self, pace: float, most: int) -> int | None:
        """Return the fewest copies, up to ``most``, with which an image takes no more than ``pace``; None: too many."""
        most = min(most, self.most)
        if self.at_most() <= pace:
            return 1
        copies = self.least_copies(pace)
        while copies is not None and copies <= most:
            if self.pace(copies) <= pace:
                return copies
            copies += 1
        return None

    def least_copies(self, pace: float) -> int | None:
        """Return the copies without which ``pace`` cannot be reached; None: it cannot at all."""
        if self.least(self.most) > pace:
            return None
        copies = min(self.most, max(1, int(self.least(1) / max(pace, 1))))
        while self.least(copies) > pace:
            copies += 1
        return copies


class Room(NamedTuple):
    """What the layers of a pipeline share: tiles and arrays; None: as many as there need to be."""

    tiles: int | None
    arrays: int | None

    def left(self, layers: Sequence[Standing], counts: Sequence[int]) -> "Room | None":
        """Return what is left when ``layers`` stand so often; None where there is not so much."""
        found = []
        for name, have in zip(self._fields, self, strict=True):
            need = sum(getattr(layer, name) * count for layer, count in zip(layers, counts, strict=True))
            if have is not None and need > have:
                return None
            found.append(None if have is None else have - need)
        return Room(*found)

    def most(self, layer: PacedLayer) -> int:
        """Return how often ``layer`` would find room."""
        each = zip(self, (layer.tiles, layer.arrays), strict=True)
        return min((have // need for have, need in each if have is not None), default=layer.most)


def assign(asked: CopiesAsked, layers: Sequence[PacedLayer], floor: float = 0) -> list[int]:
    """Return how often each of ``layers`` stands, none of them faster than is worth it at ``floor`` cycles an image.

    Raises `InputError`: what is asked cannot be had.
    """
    counts = counts_asked(asked, layers)
    if counts is not None:
        return counts
    tiles = layers[0].placement.chip.tiles if layers else None
    return allocate(layers, Room(tiles, asked.budget(sum(layer.arrays for layer in layers))), floor)


def counts_asked(asked: CopiesAsked, layers: Sequence[Standing]) -> list[int] | None:
    """Return how often each of ``layers`` stands where that is said; None where the budget decides.

    Raises `InputError`: what is asked cannot be had.
    """
    arrays = asked.budget(sum(layer.arrays for layer in layers))
    if asked.auto:
        return None
    check_names(asked.by_layer, [layer.name for layer in layers])
    counts = [asked.by_layer.get(layer.name, min(asked.every, layer.steps)) for layer in layers]
    if asked.every > max((layer.steps for layer in layers), default=1):
        raise InputError(f"--copies {asked.every} is more than the steps of any layer")
    for layer, count in zip(layers, counts, strict=True):
        layer.placement.copied(count)
    tiles, need = (
        sum(getattr(layer, name) * count for layer, count in zip(layers, counts, strict=True)) for name in Room._fields
    )
    if arrays is not None and need > arrays:
        raise InputError(f"the copies asked for need {need} arrays, and --arrays leaves {arrays}")
    chip = layers[0].placement.chip if layers else None
    if chip and chip.tiles is not None and tiles > chip.tiles and max(counts) > 1:
        raise InputError(f"the copies asked for need {tiles} tiles, and chip {chip.name} has tiles = {chip.tiles}")
    return counts


def check_names(asked: Iterable[str], names: Sequence[str]) -> None:
    """Raise `InputError` for a name that no layer has."""
    for name in asked:
        if name not in names:
            have = f"the layers are {', '.join(names)}" if names else "the network has no layers on crossbars"
            raise InputError(f"--copies names layer {name!r}, and {have}")


def allocate(layers: Sequence[PacedLayer], room: Room, floor: float = 0) -> list[int]:
    """Return the copies of each layer with which the slowest is as fast as the ``room`` allows.

    For a pace each layer takes the fewest copies that reach it; bisection finds the smallest pace that finds room. That
    is exact, for the layers share nothing but the room. Lower bounds come first, which cost nothing, so that few
    paces are counted. ``floor``: what other stages take, below which nothing is gained.
    """
    if room.left(layers, [1] * len(layers)) is None or not layers:
        return [1] * len(layers)
    low, found = _bisect(lambda pace: _bounded(layers, pace, room), floor - 1, max(one.at_most() for one in layers))
    high = max(floor, slowest(layers, found or [1] * len(layers))[0])
    pace, _ = _bisect(lambda pace: _fewest(layers, pace, room), low - 1, high)
    best = _fewest(layers, pace, room)
    assert best is not None, "the slowest pace fits"
    return best


def _bisect(fits: Callable[[float], list[int] | None], low: float, high: float) -> tuple[float, list[int] | None]:
    """Return the smallest whole pace between ``low``, which none fits, and ``high`` that fits, and what does."""
    best = None
    while high - low > 1:
        middle = (high + low) // 2
        found = fits(middle)
        if found is None:
            low = middle
        else:
            best, high = found, middle
    return high, best


def slowest(layers: Sequence[PacedLayer], counts: Sequence[int]) -> tuple[float, str]:
    """Return the pace of the slowest layer, which stand so often, and its name."""
    found = (0.0, "")
    for layer, count in sorted(zip(layers, counts, strict=True), key=lambda pair: -pair[0].least(pair[1])):
        if layer.at_most() > found[0]:
            found = max(found, (layer.pace(count), layer.name))
    return found


def _bounded(layers: Sequence[PacedLayer], pace: float, room: Room) -> list[int] | None:
    """Return the copies without which no layer reaches ``pace``, by lower bounds; None where there is no room."""
    counts = [layer.least_copies(pace) for layer in layers]
    known = [count for count in counts if count is not None]
    return known if len(known) == len(counts) and room.left(layers, known) is not None else None


def _fewest(layers: Sequence[PacedLayer], pace: float, room: Room) -> list[int] | None:
    """Return the fewest copies of each layer that reach ``pace``; None where there is no room for them."""
    left = room.left(layers, [1] * len(layers))
    found: dict[int, int] = {}
    for layer in sorted(layers, key=lambda layer: -layer.least(1)):  # those that need most are found too many first
        count = layer.copies_for(pace, 1 + left.most(layer)) if left else None
        if count is None or left is None:
            return None
        left = left.left([layer], [count - 1])
        found[id(layer)] = count
    return [found[id(layer)] for layer in layers]
