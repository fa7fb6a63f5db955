"""The options of a run, from the command line or from Python."""

from dataclasses import dataclass
from pathlib import Path

from selvage.base.build import ROOT
from selvage.base.errors import InputError
from selvage.base.noise import Noise
from selvage.compiler.circulant import CirculantAsked
from selvage.compiler.copies_asked import CopiesAsked
from selvage.mapping.schedule import PAPER_BASELINE, TRANSPOSED, option_of
from selvage.mapping.schemes import schemes
from selvage.mapping.sme_parameters import SmeParameters


@dataclass(frozen=True)
class Options:
    """How a model is mapped and run; ``fold`` and ``waves`` are for single layers, ``shape`` is for networks."""

    schedule: str = "auto"
    mapping: str = "auto"
    fold: int = 1
    skip: bool = True  # OUs that drive nothing
    simulator: str = "icarus"
    seed: int = 0
    waves: Path | None = None  # folder
    waves_from: int = 0  # first step of the waves, of all images
    waves_steps: int | None = None  # how many of them; None: all
    lossless: bool = False
    sme: SmeParameters | None = None  # None: not asked for
    dynamic: bool = False  # OUs of the rows that drive
    build: Path = ROOT  # folder of what is compiled
    shape: tuple[int, ...] | None = None  # of the model's input, where sides are free
    copies: CopiesAsked | None = None  # of the layers of a network; None: each stands once
    noise: Noise | None = None  # of the crossbars; None: they are ideal
    circulant: CirculantAsked | None = None  # dense layers of circulant blocks; None: none
    partial: bool = False  # what has no gateware between layers is the host's

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("schedule", option_of(self.schedule), ("auto", *TRANSPOSED)),
            ("mapping", self.mapping, ("auto", *schemes())),
            ("simulator", self.simulator, ("icarus", "verilator")),
        ):
            if value not in allowed:
                raise InputError(f"--{name} {value!r} is none of {', '.join(allowed)}")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} is below 0")
        if self.waves_from < 0:
            raise InputError(f"--waves-from {self.waves_from} is below 0")
        if self.waves_steps is not None and self.waves_steps < 1:
            raise InputError(f"--waves-steps {self.waves_steps} is below 1")
        if self.waves is None and (self.waves_from or self.waves_steps is not None):
            raise InputError("--waves-from and --waves-steps are for --waves DIR, which is not given")
        if self.waves and self.simulator != "icarus":
            raise InputError(f"--waves {self.waves} needs --simulator icarus, which writes them")
        if self.sme and self.mapping != "auto" and not schemes()[self.mapping].planes:
            names = ", ".join(scheme.name for scheme in schemes().values() if scheme.planes)
            raise InputError(f"--squeeze, --significant-bits and what goes with them need --mapping {names} or auto")

    def check_network(self) -> None:
        """Raise `InputError` for an option that a network cannot have."""
        if self.fold != 1:
            raise InputError(f"--fold {self.fold} is for a single layer, and this model is a network")
        if self.noise and self.circulant:
            raise InputError("--noise is for layers as they are, and --circulant is given")
        if self.noise and self.copies:
            raise InputError("--noise is for layers that stand once, and --copies or --arrays is given")


def schedule_of(schedule: str, baseline: str) -> str:
    """Return the schedule that ``--schedule`` and ``--baseline`` name. `InputError`: the second does not fit."""
    if baseline not in ("skipping", "paper"):
        raise InputError(f"--baseline {baseline!r} is neither skipping nor paper")
    if schedule == PAPER_BASELINE:
        raise InputError(f"--schedule {schedule!r} is none of auto, {', '.join(TRANSPOSED)}")
    if baseline == "skipping":
        return schedule
    if schedule != "zero-padding":
        raise InputError(f"--baseline paper is of --schedule zero-padding, not {schedule}")
    return PAPER_BASELINE


def switch(name: str, value: str) -> bool:
    """Return whether a switch is ``on``. `InputError`: it is neither ``on`` nor ``off``."""
    if value not in ("on", "off"):
        raise InputError(f"--{name} {value!r} is neither on nor off")
    return value == "on"


def sme_of(
    squeeze: int | None, significant: int | None, compact: str, sort_rows: str, rounding: str
) -> SmeParameters | None:
    """Return how weights become planes by the options; None where none of them is given."""
    if rounding not in ("round", "truncate"):
        raise InputError(f"--rounding {rounding!r} is neither round nor truncate")
    given = SmeParameters(
        significant_bits=3 if significant is None else significant,
        squeeze=squeeze or 0,
        truncate=rounding == "truncate",
        compact=switch("compact", compact),
        sort=switch("sort-rows", sort_rows),
    )
    return None if squeeze is None and significant is None and given == SmeParameters() else given
