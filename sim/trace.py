"""What each component of a tile must show in one step, in order, from the golden crossbars. No clock here.

Written from `docs/architecture.md`, not from the gateware; waves of a run are compared with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.mapping.drain import DrainPlan
from selvage.mapping.load import LoadPlan
from selvage.mapping.placement import Placement, RowGroup, Tile, row_groups
from selvage.sim.crossbar import Crossbar
from selvage.sim.machine import step_windows, tile_outputs
from selvage.sim.reads import tile_sums

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Read:
    """One OU read of a reader: its row group, input plane, slot, the word lines and the column group at the pins."""

    group: int
    plane: int
    slot: int
    wordlines: int
    column_group: int
    driven: int  # word lines that are high


@dataclass(frozen=True)
class Fetched:
    """One word of a step's load: whether it lies inside the map, its number among the words of its image, its codes."""

    pixel: tuple[int, int]
    inside: bool
    word: int
    codes: tuple[int, ...]


@dataclass(eq=False)
class TileTrace:
    """The steps of one tile, for activations ``codes`` (N, C, H, W), zero point subtracted.

    Raises IndexError for a step beyond the last of all images.
    """

    placement: Placement
    tile: Tile
    load: LoadPlan
    drain: DrainPlan
    codes: Integers
    skip: bool = True
    devices: Any = None
    _groups: dict[int, tuple[RowGroup, ...]] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Steps of all images."""
        return len(self.codes) * len(self.placement.sweep.computed)

    def place(self, step: int) -> tuple[int, int, int]:
        """Return image, row and column of a step."""
        image, at = divmod(step, len(self.placement.sweep.computed))
        return image, *divmod(self.placement.sweep.computed[at], self.placement.sweep.steps[1])

    def window(self, step: int) -> Integers:
        """Return the window (pixels * channels,) of a step."""
        image, row, column = self.place(step)
        rows = step_windows(self.placement, self.tile, self.codes[image : image + 1], slice(row, row + 1))
        return rows[column]

    def base(self, step: int) -> tuple[int, int]:
        """Return row and column of a step's base in pixels; with inserted zeros the pixel at it or before it."""
        sweep, (_, *at) = self.placement.sweep, self.place(step)
        row, column = (k * stride // insert for k, stride, insert in zip(at, sweep.stride, sweep.insert, strict=True))
        return row, column

    def fetched(self, step: int) -> list[Fetched]:
        """Return the words of a step's load, in order."""
        sweep, tile, load = self.placement.sweep, self.tile, self.load
        image, *at = self.place(step)
        base = [k * stride for k, stride in zip(at, sweep.stride, strict=True)]
        kind = 0
        if sweep.kinds > 1:
            rest = [b % insert for b, insert in zip(base, sweep.insert, strict=True)]
            kind = rest[0] * sweep.insert[1] + rest[1]
        found = []
        for cycle in load.part(kind):
            pixel, word = load.reads[cycle]
            places = [
                divmod(b + o, insert) for b, o, insert in zip(base, tile.offsets[pixel], sweep.insert, strict=True)
            ]
            (row, between), (column, beside) = places
            inside = not between and not beside and 0 <= row < sweep.size[0] and 0 <= column < sweep.size[1]
            first = tile.first_channel + word * load.lanes
            last = min(first + load.lanes, tile.first_channel + tile.channels)
            codes = self.codes[image, first:last, row, column].tolist() if inside else [0] * (last - first)
            number = (row * sweep.size[1] + column) * load.words + word
            found.append(Fetched((row, column), inside, number, tuple(codes)))
        return found

    def groups(self, reader: int) -> tuple[RowGroup, ...]:
        """Return the row groups of a reader, in the order in which they are walked."""
        if reader not in self._groups:
            self._groups[reader] = row_groups(self.tile.readers[reader], self.placement)
        return self._groups[reader]

    def values(self, reader: int, group: int, window: Integers) -> list[int]:
        """Return the inputs of a row group's rows, unsigned; rows that the block does not have are 0."""
        array, here = self.tile.readers[reader], self.groups(reader)[group]
        block = array.blocks[here.block]
        first = here.row - block.row
        own = window[block.window[first : first + here.count]] & (2**self.placement.format.bits - 1)
        return [*own.tolist(), *[0] * (self.placement.group_rows - here.count)]

    def picked(self, reader: int, window: Integers) -> list[int]:
        """Return the row groups that are walked in a step: those with an active row, or all without skipping."""
        every = range(len(self.groups(reader)))
        return [group for group in every if not self.skip or any(self.values(reader, group, window))]

    def planes(self, reader: int, group: int, window: Integers) -> list[int]:
        """Return a mask of the active rows in each input plane of a row group."""
        array, numbers = self.tile.readers[reader], self.placement.format
        count, shifts = self.placement.planes(array), self.groups(reader)[group].shifts
        masks = [0] * count
        for row, value in enumerate(self.values(reader, group, window)):
            if numbers.signed and value >> numbers.bits - 1:
                value -= 1 << numbers.bits
            moved = value << (shifts[row] if row < len(shifts) else 0)
            for plane in range(count):
                masks[plane] |= (moved >> plane & 1) << row
        return masks

    def reads(self, reader: int, window: Integers) -> list[Read]:
        """Return the OU reads of a step: row group by row group, plane by plane, the last column group first."""
        found = []
        for group in self.picked(reader, window):
            here = self.groups(reader)[group]
            slot = self.drain.slots[reader][here.block]
            for plane, mask in enumerate(self.planes(reader, group, window)):
                for rows in self._units(mask):
                    lines, count = rows << here.row, rows.bit_count()
                    found += [
                        Read(group, plane, slot + column, lines, here.first_column_group + column, count)
                        for column in reversed(range(here.column_groups))
                    ]
        return found

    def _units(self, mask: int) -> list[int]:
        """Return the rows of each OU of a plane; formed ones take the lowest that are left."""
        if not self.placement.dynamic:
            return [mask] if mask or not self.skip else []
        rows, each = [k for k in range(mask.bit_length()) if mask >> k & 1], self.placement.chip.ou_rows
        units = [sum(1 << k for k in rows[first : first + each]) for first in range(0, len(rows), each)]
        return units or ([] if self.skip else [0])

    @cached_property
    def crossbars(self) -> list[Crossbar]:
        """The golden crossbars of the tile's arrays; ideal ones."""
        return [Crossbar(array.cells, self.placement.chip) for array in self.tile.arrays]

    def sums(self, reader: int, reads: list[Read], codes: Sequence[Sequence[int]]) -> dict[int, list[int]]:
        """Return the sums by slot of an accumulator after ``reads`` whose codes, of P less those of N, are given.

        Of offset-encoded weights the last one is of the driven word lines.
        """
        array, numbers = self.tile.readers[reader], self.placement.format
        lanes, more = self.placement.chip.ou_cols, bool(self.placement.weight_offset)
        addresses = self.drain.addresses[reader] if self.drain.addresses else None
        found: dict[int, list[int]] = {}
        top = self.placement.planes(array) - 1
        for read, own in zip(reads, codes, strict=True):
            scale = -(1 << read.plane) if numbers.signed and read.plane == top else 1 << read.plane
            values = [*own, *([read.driven] if more else [])]
            slots = [read.slot] * len(values) if addresses is None else [*addresses[read.slot], *[None] * more]
            for lane, (slot, value) in enumerate(zip(slots, values, strict=True)):
                if slot is not None:
                    found.setdefault(slot, [0] * (lanes + more))[lane] += scale * value
        return found

    def outputs(self, step: int) -> dict[int, int]:
        """Return the tile's share of each output id in a step."""
        found: dict[int, int] = {}
        windows = self.window(step)[None]
        for ids, sums, _ in tile_sums(self.placement, [self.tile], windows, None, skip=self.skip):
            for output, value in zip(np.asarray(ids).tolist(), np.asarray(sums)[0].tolist(), strict=True):
                found[output] = found.get(output, 0) + value
        return found

    @cached_property
    def maps(self) -> Integers:
        """The tile's share of all outputs (N, M, OH, OW)."""
        return tile_outputs(self.placement, self.tile, self.codes, self.devices, skip=self.skip)
