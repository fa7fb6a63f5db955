"""The first output in which RTL differs from the golden model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """The first of ``outputs`` that differ, in the order of images, channels, rows, columns."""

    layer: str
    outputs: int
    of: int
    image: int
    channel: int
    row: int
    column: int
    expected: int
    actual: int

    def __str__(self) -> str:
        return (
            f"layer {self.layer!r}: RTL differs from the golden model in {self.outputs:,} of {self.of:,} outputs, "
            f"first in output channel {self.channel}, row {self.row}, column {self.column} of image {self.image}: "
            f"{self.expected} is expected, RTL yields {self.actual}"
        )


def first_difference(layer: str, actual: Integers, expected: Integers) -> Difference | None:
    """Return the first difference of outputs (N, C, H, W); None where they are equal."""
    wrong = np.argwhere(actual != expected)
    if not len(wrong):
        return None
    image, channel, row, column = at = tuple(wrong[0].tolist())
    found = int(expected[at]), int(actual[at])
    return Difference(layer, len(wrong), expected.size, image, channel, row, column, *found)
