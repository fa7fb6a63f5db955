"""What a placement takes when every row drives: of one step and one input plane, all arrays."""

from collections.abc import Iterator
from dataclasses import dataclass

from selvage.base.layer import Layer
from selvage.mapping.placement import Block, Placement, row_groups


@dataclass(frozen=True)
class StaticCounts:
    """OU reads, converted columns, driven word lines, cells read."""

    reads: int
    conversions: int
    driven: int
    cells: int

    @classmethod
    def of(cls, placement: Placement) -> "StaticCounts":
        """Count what one read of every OU of ``placement`` takes."""
        chip = placement.chip
        reads = conversions = driven = cells = 0
        for tile in placement.tiles:
            for array in tile.arrays:
                for group in row_groups(array, placement):
                    block = array.blocks[group.block]
                    columns = len(block.outputs) * array.slices * len(block.significances)
                    units = -(-group.count // chip.ou_rows)
                    reads += units * group.column_groups
                    conversions += units * columns
                    driven += group.count * group.column_groups
                    cells += group.count * columns
        return cls(reads, conversions, driven, cells)


def table_bits(layer: Layer) -> tuple[int, int]:
    """Return the bits of a kernel's output id, and of a pattern block's mask, channel and number of kernels."""
    channel, output = (max(1, (count - 1).bit_length()) for count in (layer.channels, layer.outputs))
    return output, layer.kernel[0] * layer.kernel[1] + channel + output + 1


def positive_blocks(placement: Placement) -> Iterator[Block]:
    """Yield the blocks of the arrays of polarity +1, which those of polarity -1 share their tables with."""
    for tile in placement.tiles:
        for array in tile.arrays:
            if array.polarity > 0:
                yield from array.blocks
