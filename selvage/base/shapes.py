"""Layer tables of known networks: shapes without weights, one CSV file each in ``shapes/``."""

import csv
from pathlib import Path

from pydantic import ValidationError

from selvage.base.chip import one_sentence
from selvage.base.errors import InputError
from selvage.base.layer import Layer

SHAPES = Path(__file__).parents[1] / "shapes"


def ready_networks() -> list[str]:
    """Return the names of the tables in ``shapes/``."""
    return sorted(path.stem for path in SHAPES.glob("*.csv"))


def load_network(name: str) -> list[Layer]:
    """Return the layers of the network ``name``, in order.

    A line that begins with # names the source.

    Columns: name, op, channels, outputs, height, width (of the input), kernel, stride, pad,
    output_padding, groups; square kernels, the same pad on all sides. `InputError`: no such table.
    """
    if name not in ready_networks():
        raise InputError(f"network {name!r} is none of {', '.join(ready_networks())}")
    lines = (SHAPES / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    try:
        return [_layer(row) for row in rows]
    except ValidationError as error:
        raise InputError(one_sentence(error, f"network {name}")) from None


def _layer(row: dict[str, str]) -> Layer:
    numbers = {key: int(value) for key, value in row.items() if key not in ("name", "op")}
    pairs = {key: (numbers.pop(key),) * 2 for key in ("kernel", "stride", "output_padding")}
    pads = (numbers.pop("pad"),) * 4
    return Layer.model_validate({"name": row["name"], "op": row["op"], "pads": pads, **pairs, **numbers})
