"""What is recomputed of a paper: rows of figures beside the published ones, and plots."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Tick = Callable[[], None]


@dataclass(frozen=True)
class Row:
    """One figure. ``published`` and ``model`` are numbers, or words where the paper gives a range or nothing."""

    paper: str
    figure: str
    published: float | str | None
    model: float | None
    assumption: str
    rtl: float | None = None


@dataclass(frozen=True)
class Plot:
    """Curves by name over the same kind of x: numbers, or words, whose values are bars."""

    name: str  # of the file
    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[tuple[float | str, float]]]
    logarithmic: bool = False
    ranges: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)  # between what a curve may be


@dataclass(frozen=True)
class Recomputed:
    """All of a paper."""

    rows: list[Row]
    plots: list[Plot]
