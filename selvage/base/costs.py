"""Tables of what each component takes: energy of an event, area of a part, each with its unit and its source."""

import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from selvage.base.chip import one_sentence, read_toml
from selvage.base.errors import InputError

COSTS = Path(__file__).parents[1] / "costs"
MOST = 1e12  # of any figure, in its unit
NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*", re.ASCII)
UNIT = r"[A-Za-zµμ]{1,30}(?:\^\d|\*\*\d|[²³])?"
UNITS = re.compile(rf"{UNIT}(?:\s*[*/]\s*{UNIT}){{0,4}}")
NODES = {180: 1.8, 65: 1.1, 32: 0.9}  # nm: volts of the supply


@cache
def _units() -> Any:
    import pint  # a third of a second, for who asks what something costs

    return pint.UnitRegistry()


def _quantity(unit: str, *, least: float = 0.0) -> Callable[[Any], float]:
    """Return a validator that reads a number with its unit, as it is written, in ``unit``."""

    def read(text: Any) -> float:
        if not isinstance(text, str):
            raise ValueError(f"has no unit; write it as text, such as '1.5 {unit}'")
        import pint

        # A number and a unit are told apart here: the library alone would compute whatever is written.
        parts = NUMBER.fullmatch(text)
        if parts and not parts[2]:
            raise ValueError(f"has no unit; write it as '{float(parts[1]):g} {unit}'")
        if not parts or not UNITS.fullmatch(parts[2]):
            raise ValueError(f"is no number with a unit, such as '1.5 {unit}'")
        try:
            found = _units().Quantity(float(parts[1]), parts[2])
            if found.unitless:
                raise ValueError(f"has no unit; write it as '{found.magnitude:g} {unit}'")
            number = float(found.to(unit).magnitude)
        except pint.UndefinedUnitError:
            raise ValueError(f"is no number with a unit, such as '1.5 {unit}'") from None
        except (pint.PintError, ArithmeticError, AttributeError):
            raise ValueError(f"is not in a unit such as {unit}") from None
        if not math.isfinite(number) or not least <= number <= MOST:
            raise ValueError(f"is not from {least:g} to {MOST:g} {unit}")
        return number

    return read


Energy = Annotated[float, BeforeValidator(_quantity("pJ"))]
Area = Annotated[float, BeforeValidator(_quantity("um^2"))]
Time = Annotated[float, BeforeValidator(_quantity("ns", least=1e-3))]
Points = Annotated[dict[Annotated[int, Field(ge=1, le=16)], Energy], Field(min_length=1)]
AreaPoints = Annotated[dict[Annotated[int, Field(ge=1, le=16)], Area], Field(min_length=1)]
LAWS: dict[str, Callable[[int], float]] = {
    "2^b/(b+1)": lambda bits: 2**bits / (bits + 1),
    "b^2": lambda bits: float(bits**2),
}


class Entry(BaseModel):
    """What all entries have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Annotated[str, Field(min_length=1, description="where the figures come from")]
    scales: bool = Field(True, description="whether the figures follow the node: logic and converters do, cells do not")


class Part(Entry):
    """A part: pJ of one of its events, um2 of one of it."""

    energy: Energy = Field(description="of one event, such as '0.042 pJ'")
    area: Area = Field(description="of one part, such as '60 um^2'")


class Adc(Entry):
    """The converters of a bit line, by resolution: points, and the law that other resolutions follow."""

    energy: Points = Field(description="of one conversion, by bits: { 8 = '1.67 pJ' }")
    area: AreaPoints = Field(description="of one converter, by bits")
    law: Literal["2^b/(b+1)", "b^2"] | None = Field(
        None,
        description="of the energy of other resolutions, from the highest point; none: between points, in logarithm",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.law and len(self.energy) > 1:
            raise ValueError(f"law = {self.law!r} needs one point of energy, and there are {len(self.energy)}")
        return self

    def conversion(self, bits: int) -> float:
        """Return pJ of one conversion."""
        if self.law:
            ((known, energy),) = self.energy.items()
            return energy * LAWS[self.law](bits) / LAWS[self.law](known)
        return _between(self.energy, bits)

    def converter(self, bits: int) -> float:
        """Return um2 of one converter."""
        return _between(self.area, bits)


def _between(points: dict[int, float], bits: int) -> float:
    """Return a point's value; else between two neighbours, or beyond the last two, a straight line in logarithm."""
    if bits in points or len(points) == 1:
        return points.get(bits, next(iter(points.values())))
    known = sorted(points)
    above = min(max(1, sum(own < bits for own in known)), len(known) - 1)
    low, high = known[above - 1], known[above]
    if not points[low] or not points[high]:
        return points[low] + (points[high] - points[low]) * (bits - low) / (high - low)
    return points[low] * (points[high] / points[low]) ** ((bits - low) / (high - low))


class Programming(Entry):
    """Writing of cells."""

    pulse: Energy = Field(description="of one pulse on one cell")
    pulses: Annotated[float, Field(ge=1, le=1e6)] = Field(description="pulses that a cell takes, on average")


class Cycle(Entry):
    """The clock."""

    time: Time = Field(description="of a clock cycle, in which an array reads an OU, such as '7.68 ns'")


class Costs(BaseModel):
    """A table of costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    node: Literal[180, 65, 32] = Field(description="nm that the figures are for")
    cell: Part = Field(description="a cell on a driven word line and a converted bit line of one read; its area")
    driver: Part = Field(description="a word line's driver, one bit of input on it")
    adc: Adc
    sample_hold: Part = Field(description="of a converted bit line; one stands at each bit line")
    shift_add: Part = Field(description="an addition of a code or a sum; one stands behind each converter")
    input_buffer: Part = Field(description="of one bit, written or read")
    row_registers: Part = Field(description="of one bit, written or read")
    sums: Part = Field(description="of one bit of the accumulators' memories, written or read")
    wires: Part = Field(description="of one bit moved into a tile or out of it; the area is of a tile's share")
    control: Part = Field(description="of a tile in one clock cycle")
    programming: Programming
    cycle: Cycle

    def at(self, node: int) -> "Costs":
        """Return the table for another node, by the rules of ``docs/costs.md``: E ~ L V^2, A ~ L^2, t ~ L.

        `InputError`: there are no rules for it.
        """
        if node not in NODES:
            raise InputError(f"--node {node} is none of {', '.join(map(str, NODES))}")
        if node == self.node:
            return self
        length = node / self.node
        energy = length * (NODES[node] / NODES[self.node]) ** 2
        parts = {name: own for name, own in self if isinstance(own, Part)}
        found: dict[str, Any] = {name: _scaled(own, energy, length**2) for name, own in parts.items()}
        found["node"] = node
        if self.adc.scales:
            points = {bits: value * energy for bits, value in self.adc.energy.items()}
            areas = {bits: value * length**2 for bits, value in self.adc.area.items()}
            found["adc"] = self.adc.model_copy(update={"energy": points, "area": areas})
        if self.programming.scales:
            found["programming"] = self.programming.model_copy(update={"pulse": self.programming.pulse * energy})
        if self.cycle.scales:
            found["cycle"] = self.cycle.model_copy(update={"time": self.cycle.time * length})
        return self.model_copy(update=found)


def _scaled(part: Part, energy: float, area: float) -> Part:
    if not part.scales:
        return part
    return part.model_copy(update={"energy": part.energy * energy, "area": part.area * area})


def ready_costs() -> list[str]:
    """Return the names of the tables in ``costs/``."""
    return sorted(path.stem for path in COSTS.glob("*.toml"))


def load_costs(name: str) -> Costs:
    """Return the ready table ``name``, or the one in the TOML file ``name``. `InputError`: why it is none."""
    path = COSTS / f"{name}.toml"
    if name not in ready_costs():
        path = Path(name)
        if path.suffix != ".toml" and not path.is_file():
            raise InputError(f"--costs {name!r} is neither a ready table ({', '.join(ready_costs())}) nor a TOML file")
    content = read_toml(path, "cost table")
    try:
        return Costs.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise InputError(one_sentence(error, f"cost table {path.stem}")) from None
