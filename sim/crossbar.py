"""The ideal crossbar: what the bit lines sum to, clipped by the ADC."""

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip


def driving(wordlines: int, rows: int) -> NDArray[np.intp]:
    """Return which of so many ``rows`` drive, in order: bits of ``wordlines``, row 0 the lowest."""
    packed = np.frombuffer(wordlines.to_bytes(-(-rows // 8), "little"), np.uint8)
    return np.flatnonzero(np.unpackbits(packed, bitorder="little"))


class Crossbar:
    """One array's cells (rows, columns) behind its pins.

    `read` answers a request at the pins. A code is the number of levels that the driven cells of a column hold, at
    most ``2**adc_bits - 1``.
    """

    def __init__(self, cells: NDArray[np.uint8], chip: Chip) -> None:
        self.chip = chip
        self.cells = cells.astype(np.int64)
        width = -(-chip.columns // chip.ou_cols) * chip.ou_cols
        self._padded = np.zeros((chip.rows, width), np.int64)
        self._padded[:, : chip.columns] = self.cells
        self._known: dict[int, list[int]] = {}

    repeatable = True  # the same read always gives the same codes

    def begin(self) -> None:
        """Begin anew: an ideal crossbar remembers nothing."""

    def read(self, wordlines: int, column_group: int) -> int:
        """Return the ADC codes of one OU read as bits, lane 0 lowest, ``adc_bits`` each."""
        known = self._known.get(wordlines)
        if known is None:
            known = self._known[wordlines] = self._every_group(wordlines)
            if len(self._known) > 200_000:
                self._known.clear()
        return known[column_group]

    def _every_group(self, wordlines: int) -> list[int]:
        chip = self.chip
        sums = self._padded[driving(wordlines, chip.rows)].sum(axis=0)
        codes = np.minimum(sums, 2**chip.adc_bits - 1).reshape(-1, chip.ou_cols)
        shifts = chip.adc_bits * np.arange(chip.ou_cols)
        if chip.adc_bits * chip.ou_cols < 63:
            return (codes << shifts).sum(axis=1).tolist()
        return [sum(c << s for c, s in zip(row, shifts.tolist(), strict=True)) for row in codes.tolist()]
