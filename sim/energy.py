"""Energy of the analog side of a read, by what is active: converted columns, driven rows, cells read.

Charged per active row and column, as a narrow OU drives and converts no more than its own. The figures
are those that pattern pruning on OUs is published with: one conversion 1.67 pJ, one driven row
0.0182 pJ, an OU of 9x8 cells 4.8 pJ.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadEnergy:
    """Picojoules of one event."""

    conversion: float = 1.67
    row: float = 0.0182
    cell: float = 4.8 / 72

    def of(self, conversions: float, rows: float, cells: float) -> float:
        """Return the picojoules of so many conversions, active rows and cells read."""
        return conversions * self.conversion + rows * self.row + cells * self.cell
