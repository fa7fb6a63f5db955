"""What is not ideal in a crossbar: a TOML file, checked."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from selvage.base.chip import one_sentence, read_toml
from selvage.base.errors import InputError

Rate = Annotated[float, Field(ge=0, lt=1)]
Sigma = Annotated[float, Field(ge=0, le=10)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Cells(_Part):
    """The cells: what they hold, and how far off."""

    on_off: Annotated[float, Field(ge=1.001, le=1e9)] = Field(
        default=1e9, description="conductance of the highest level over the lowest"
    )
    distribution: Literal["normal", "lognormal"] = Field(
        default="lognormal",
        description="of the conductance, cell by cell: normal about it, sigma a share of the highest, cut at 0; or "
        "lognormal with it as mean, sigma of the natural logarithm",
    )
    spread: Sigma = Field(default=0.0, description="sigma of the distribution")
    stuck_on: Rate = Field(default=0.0, description="share of cells that stay at the highest level")
    stuck_off: Rate = Field(default=0.0, description="share of cells that stay at the lowest level")

    @model_validator(mode="after")
    def _some_left(self) -> Self:
        if self.stuck_on + self.stuck_off >= 1:
            raise ValueError(
                f"stuck_on = {self.stuck_on:g} and stuck_off = {self.stuck_off:g} leave no cell that can be programmed"
            )
        return self


class Drift(_Part):
    """Drift of the conductance: times (time / start)**-exponent, the exponent cell by cell."""

    exponent: Annotated[float, Field(ge=0, le=1)] = Field(default=0.0, description="mean of the exponent")
    spread: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="sigma of the exponent, which is normal"
    )
    ratio: Annotated[float, Field(ge=1, le=1e12)] = Field(
        default=1.0, description="time since programming over the time at which levels were right"
    )


class Wires(_Part):
    """Resistance of the wires, in ohms a cell."""

    word_line: Annotated[float, Field(ge=0, le=1e6)] = Field(default=0.0, description="ohms between two bit lines")
    bit_line: Annotated[float, Field(ge=0, le=1e6)] = Field(default=0.0, description="ohms between two word lines")
    cell: Annotated[float, Field(gt=0, le=1e12)] = Field(default=1e4, description="ohms of a cell at the highest level")


class Converters(_Part):
    """The ADCs: one for each lane of a column group, drawn once each."""

    offset: Sigma = Field(default=0.0, description="sigma of the offset, in codes")
    gain: Annotated[float, Field(ge=0, le=0.3)] = Field(default=0.0, description="sigma of the gain about 1")
    nonlinearity: Sigma = Field(
        default=0.0,
        description="sigma of the bow, in codes in the middle of the range: a parabola that is 0 at both ends",
    )
    read_noise: Sigma = Field(
        default=0.0, description="sigma of what is added to each read before it is converted, in codes"
    )


class Remedies(_Part):
    """What is done about it."""

    reference: bool = Field(
        default=True, description="a column of lowest levels is subtracted before the ADC, so that they count as 0"
    )
    spare_columns: Annotated[int, Field(ge=0, le=4096)] = Field(
        default=0, description="bit lines of an array that stand in for those that stuck cells harm most"
    )
    calibration: bool = Field(
        default=False,
        description="offset and gain of each ADC are trimmed, in steps of an eighth of a code and of 1/64",
    )


class Noise(_Part):
    """A crossbar that is not ideal. Everything is drawn from ``seed``."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    cells: Cells = Cells()
    drift: Drift = Drift()
    wires: Wires = Wires()
    adc: Converters = Converters()
    remedies: Remedies = Remedies()

    @model_validator(mode="after")
    def _levels(self) -> Self:
        kept = self.drift.ratio**-self.drift.exponent
        # The lowest level drifts as well; what is left of the distance to it is the signal.
        if kept * self.cells.on_off - kept < 1e-3 * (self.cells.on_off - 1):
            raise ValueError(
                f"drift.exponent = {self.drift.exponent:g} over drift.ratio = {self.drift.ratio:g} leaves "
                f"{kept:.2g} of a level: no level is left"
            )
        return self

    def seeded(self, seed: int) -> "Noise":
        """Return it drawn anew."""
        return self.model_copy(update={"seed": seed})


def load_noise(path: str | Path) -> Noise:
    """Return what the TOML file ``path`` describes. `InputError`: why it is none."""
    content: dict[str, Any] = read_toml(Path(path), "noise")
    try:
        return Noise.model_validate(content)
    except ValidationError as error:
        raise InputError(one_sentence(error, f"noise {path}")) from None
