"""The chip: crossbar, operation unit, ADC, number formats, tile."""

import math
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from selvage.base.errors import InputError
from selvage.base.layer import Positive
from selvage.base.limits import TEXT
from selvage.base.reading import read_regular
from selvage.base.text import value

CHIPS = Path(__file__).parents[1] / "chips"


class Chip(BaseModel):
    """One chip description. All sizes are counts; latencies are clock cycles."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(description="how reports call the chip")
    rows: Annotated[int, Field(ge=1, le=4096)] = Field(description="word lines of an array")
    columns: Annotated[int, Field(ge=1, le=4096)] = Field(description="bit lines of an array")
    cell_bits: Annotated[int, Field(ge=1, le=4)] = Field(1, description="bits stored in one cell")
    ou_rows: Annotated[int, Field(ge=1, le=4096)] = Field(description="word lines that one read may drive")
    ou_cols: Annotated[int, Field(ge=1, le=4096)] = Field(
        description="bit lines that one read converts: ADC lanes of an array"
    )
    adc_bits: Annotated[int, Field(ge=1, le=16)] = Field(description="bits of one ADC code")
    full_range: bool = Field(
        False,
        description="whether sums hold any codes that the ADCs can yield, as of cells that are not ideal; else only "
        "what ideal cells add up to",
    )
    read_latency: Annotated[int, Field(ge=1, le=64)] = Field(1, description="cycles from an accepted read to its codes")
    input_bits: Annotated[int, Field(ge=1, le=16)] = Field(
        8, description="bits of one activation as it enters, before its zero point is subtracted"
    )
    input_signed: bool = Field(True, description="whether two's-complement activations are accepted")
    weight_bits: Annotated[int, Field(ge=1, le=16)] = Field(8, description="bits of one weight")
    weight_signed: bool = Field(True, description="whether negative weights are accepted")
    encoding: Literal["differential", "offset"] = Field(
        "differential",
        description="negative weights: magnitudes in a P and an N array, or offset by 2**(weight_bits-1) in one",
    )
    arrays_per_tile: Annotated[int, Field(ge=1, le=1024)] = Field(16, description="arrays that share one input buffer")
    tiles: Positive | None = Field(None, description="tiles of the chip; none: as many as a network takes")
    lanes: Annotated[int, Field(ge=1, le=256)] = Field(
        16, description="most activations in one word of the input buffer"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ou_rows > self.rows:
            raise ValueError(f"ou_rows = {self.ou_rows} is more than rows = {self.rows}")
        if self.ou_cols > self.columns:
            raise ValueError(f"ou_cols = {self.ou_cols} is more than columns = {self.columns}")
        if self.slices > self.columns:
            raise ValueError(
                f"weight_bits = {self.weight_bits} on cells of cell_bits = {self.cell_bits} takes {self.slices} "
                f"columns, more than columns = {self.columns}"
            )
        if self.encoding == "offset" and not self.weight_signed:
            raise ValueError("encoding = 'offset' needs weight_signed = true: there is nothing to offset")
        if self.arrays_per_tile < self.polarities:
            raise ValueError(
                f"arrays_per_tile = {self.arrays_per_tile} cannot hold the P and the N array of "
                f"encoding = 'differential' with weight_signed = true"
            )
        return self

    @property
    def slices(self) -> int:
        """Cells of one weight in one array."""
        return -(-self.weight_bits // self.cell_bits)

    @property
    def polarities(self) -> int:
        """Arrays that hold one weight: P and N, or one."""
        return 2 if self.encoding == "differential" and self.weight_signed else 1

    @property
    def weight_offset(self) -> int:
        """What is added to a weight before it is stored."""
        return 2 ** (self.weight_bits - 1) if self.encoding == "offset" else 0

    @property
    def weight_range(self) -> tuple[int, int]:
        """Smallest and largest storable weight.

        ``weight_bits`` are magnitude bits in the differential encoding, so it holds uint8 minus a
        zero point as well as int8; in offset encoding they are the bits of the two's complement.
        """
        top = 2**self.weight_bits - 1
        low = -top if self.polarities == 2 else -self.weight_offset
        return low, top - self.weight_offset

    def not_ideal(self) -> "Chip":
        """Return the chip whose sums hold whatever codes its ADCs yield."""
        return self.model_copy(update={"full_range": True})

    @property
    def lossless_adc_bits(self) -> int:
        """ADC bits with which no code can clip: ``ceil(log2(ou_rows * (2**cell_bits - 1) + 1))``."""
        return math.ceil(math.log2(self.ou_rows * (2**self.cell_bits - 1) + 1))


def one_sentence(error: ValidationError, what: str) -> str:
    """Return pydantic's first complaint as a sentence that names key, value and rule."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{what} has an unknown key {value(key)}"
    if first["type"] == "missing":
        return f"{what} lacks the key {key!r}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{what}: {key} = {value(first['input'])}: {message}" if key else f"{what}: {message}"


def read_toml(path: Path, what: str) -> dict:
    """Return the contents of a TOML file; `InputError`: why they cannot be read."""
    content = read_regular(path, f"{what} {path}", TEXT)
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError:
        raise InputError(f"{what} {path} is not UTF-8 text") from None
    except RecursionError:
        raise InputError(f"{what} {path} is nested too deeply") from None
    except ValueError as error:  # Python's own, of an integer of more digits than it reads, among them
        reason = str(error).split(";")[0].removeprefix("Exceeds the limit ")
        raise InputError(f"{what} {path} is not TOML: {reason}") from None


def ready_chips() -> list[str]:
    """Return the names of the chips in ``chips/``."""
    return sorted(path.stem for path in CHIPS.glob("*.toml"))


def load_chip(name: str) -> Chip:
    """Return the ready chip ``name``, or the chip that the TOML file ``name`` describes."""
    path = CHIPS / f"{name}.toml"
    if name not in ready_chips():
        path = Path(name)
        if path.suffix != ".toml" and not path.is_file():
            raise InputError(f"chip {name!r} is neither a ready chip ({', '.join(ready_chips())}) nor a TOML file")
    content = read_toml(path, "chip")
    try:
        return Chip(**{"name": path.stem, **content})
    except ValidationError as error:
        raise InputError(one_sentence(error, f"chip {path.stem}")) from None
