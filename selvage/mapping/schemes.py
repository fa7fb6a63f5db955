"""The mapping schemes by name: each is one class in this room, found without being listed anywhere."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from selvage import mapping as room
from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.base.registry import instances
from selvage.mapping.placement import Placement
from selvage.mapping.sme_parameters import SmeParameters

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Request:
    """What a scheme places: the weights of a layer, integers that the chip can store, on one schedule.

    ``dynamic``: OUs of the rows that are driven (`mapping.placement.Placement`). ``sme``: how weights become planes,
    where that is asked for.
    """

    layer: Layer
    weights: Integers
    chip: Chip
    input_format: InputFormat
    schedule: str
    dynamic: bool = False
    sme: SmeParameters | None = None


class Scheme(ABC):
    """One way of mapping weights onto crossbars. A subclass in a module of this room is all that a mapping needs."""

    name: ClassVar[str]  # of ``--mapping``, and of its placements
    order: ClassVar[int] = 10  # ``auto`` tries the scheme of the lowest first, and of equal ones takes it
    sparse: ClassVar[bool] = False  # gains by zero weights alone: ``auto`` tries it where there are many
    exact: ClassVar[bool] = True  # computes with the model's weights; ``auto`` takes no other unless it is asked to
    planes: ClassVar[bool] = False  # takes the options of planes
    every_schedule: ClassVar[bool] = False  # ``auto`` tries it on all schedules, others on the usual one

    @abstractmethod
    def place(self, request: Request) -> tuple[Placement, Integers]:
        """Return the placement and the weights that it computes with.

        Raises `InputError` for what the scheme, the chip or the schedule cannot have.
        """

    def check(self, chip: Chip, sme: SmeParameters | None) -> None:  # noqa: B027  which most schemes need not
        """Raise `InputError` for a chip or options that the scheme cannot have with any layer."""

    def index_bits(self, placement: Placement) -> int:
        """Return the bits of the tables that a reordering needs; 0 where the order is the layer's."""
        return 0


def schemes() -> dict[str, Scheme]:
    """Return all schemes by name, in the order in which ``auto`` tries them."""
    found = sorted(instances(Scheme, room), key=lambda scheme: (scheme.order, scheme.name))
    return {scheme.name: scheme for scheme in found}


def scheme(name: str) -> Scheme:
    """Return one scheme. `InputError`: there is none of that name."""
    found = schemes()
    if name not in found:
        raise InputError(f"mapping {name!r} is none of {', '.join(found)}")
    return found[name]
