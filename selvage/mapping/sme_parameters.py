"""How weights become planes."""

from dataclasses import dataclass

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.mapping.packing import check_signs_apart


@dataclass(frozen=True)
class SmeParameters:
    """How weights become planes.

    ``compact`` drops the rows that are empty in a plane and stacks the others: fewer arrays, a row list
    for each. ``sort`` orders rows by their shift, so that a block has one, applied after the ADC: no
    more input planes than without squeeze.
    """

    significant_bits: int = 3
    squeeze: int = 0  # top planes to empty
    truncate: bool = False  # instead of rounding
    compact: bool = False
    sort: bool = False

    def check(self, chip: Chip, schedule: str = "auto") -> None:
        """Raise `InputError` when ``chip`` cannot have weights like these, or planes the schedule."""
        bits = chip.weight_bits
        if not 1 <= self.significant_bits <= bits:
            raise InputError(
                f"--significant-bits {self.significant_bits} is outside 1 .. {bits}, weight_bits of chip {chip.name}"
            )
        if not 0 <= self.squeeze < bits:
            raise InputError(f"--squeeze {self.squeeze} is outside 0 .. {bits - 1}, below weight_bits = {bits}")
        if self.squeeze % chip.cell_bits:
            raise InputError(f"--squeeze {self.squeeze} is no multiple of cell_bits = {chip.cell_bits}")
        check_signs_apart("sme", chip, schedule, why=": offset codes fill the top planes")
