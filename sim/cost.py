"""Energy and area: counted events and parts times a table of costs (`base.costs`), by component.

``docs/costs.md`` has the sums. Leakage and the clock tree are in none of them.
"""

from dataclasses import astuple, dataclass, fields

from selvage.base.chip import Chip
from selvage.base.costs import Costs
from selvage.sim.events import Events


@dataclass(frozen=True)
class Split:
    """One number for each component: pJ of an image, or um2."""

    array: float = 0.0
    adc: float = 0.0
    drivers: float = 0.0
    shift_and_add: float = 0.0
    buffers: float = 0.0
    control: float = 0.0

    def __add__(self, other: "Split") -> "Split":
        return Split(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def total(self) -> float:
        """All components."""
        return sum(astuple(self))


COMPONENTS = tuple(own.name for own in fields(Split))


@dataclass(frozen=True)
class Parts:
    """What stands on the chip for a layer, all copies."""

    arrays: int
    readers: int  # engines and accumulators: one for an array, or for a pair
    tiles: int
    input_bits: int  # of the input buffers
    row_bits: int  # of row registers
    sum_bits: int  # of the accumulators' memories
    cells: int  # programmed

    def __add__(self, other: "Parts") -> "Parts":
        return Parts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def energy_of(events: Events, tile_cycles: int, chip: Chip, costs: Costs) -> Split:
    """Return pJ by component: of ``events`` in so many clock cycles, those of all tiles added up."""
    words = events.fetched_bits + events.beats_bits
    return Split(
        array=events.cells * costs.cell.energy,
        adc=events.conversions * (costs.adc.conversion(chip.adc_bits) + costs.sample_hold.energy),
        drivers=events.rows * costs.driver.energy,
        shift_and_add=(events.shift_adds + events.splice_adds) * costs.shift_add.energy,
        buffers=(events.buffer_written_bits + events.buffer_reads_bits) * costs.input_buffer.energy
        + (events.rows_written_bits + events.groups_read_bits) * costs.row_registers.energy
        + (2 * events.sums_added_bits + events.sums_drained_bits) * costs.sums.energy
        + words * costs.wires.energy,
        control=tile_cycles * costs.control.energy,
    )


def area_of(parts: Parts, chip: Chip, costs: Costs) -> Split:
    """Return um2 by component. Cells of a whole array take room, used or not."""
    return Split(
        array=parts.arrays * chip.rows * chip.columns * costs.cell.area,
        adc=parts.arrays * (chip.ou_cols * costs.adc.converter(chip.adc_bits) + chip.columns * costs.sample_hold.area),
        drivers=parts.arrays * chip.rows * costs.driver.area,
        shift_and_add=parts.readers * chip.ou_cols * costs.shift_add.area,
        buffers=parts.input_bits * costs.input_buffer.area
        + parts.row_bits * costs.row_registers.area
        + parts.sum_bits * costs.sums.area
        + parts.tiles * costs.wires.area,
        control=parts.tiles * costs.control.area,
    )


def programming_of(parts: Parts, costs: Costs) -> float:
    """Return pJ of writing every cell once."""
    return parts.cells * costs.programming.pulses * costs.programming.pulse
