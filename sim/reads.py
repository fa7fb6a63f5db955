"""All OU reads of a tile at once: the sums of their codes, shifted and added over input planes and slices.

Exact whatever the ADC does, and never read by read:

* Where no code clips, sums of codes are sums of products, and cells are added up to weights first.
* An OU of few rows is driven in few ways, so its codes are a table over the patterns that occur, slices and the two
  arrays of a pair already added; each step adds an entry of it for each input plane, all at once a sparse matrix times
  the table. Of ideal crossbars only what the ADC cuts off is tabled, of patterns that can drive a column too high.
* OUs of many rows, and formed ones, are read plane by plane, only in steps that need it.
* With noise in every read there is no table: reads are made in the order in which the hardware makes them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from selvage.mapping.placement import Array, Block, Placement, Tile, band_groups, column_groups
from selvage.sim.devices import NoisyCrossbar

Integers = NDArray[np.int64]
TABLED = 12  # rows of an OU, at most, whose patterns are tabled
EXACT = 2**24  # whole numbers below are exact in float32
BAND = 2**22  # entries of what is computed at once
_WEIGHTS: WeakKeyDictionary[Array, dict] = WeakKeyDictionary()
_PEAKS: WeakKeyDictionary[Array, dict] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Member:
    """A block of one array, and what reads it; None: an ideal crossbar."""

    array: Array
    block: Block
    crossbar: NoisyCrossbar | None


@dataclass(frozen=True, eq=False)
class Rows:
    """Blocks of a tile that are driven alike: by the same window indices, shifts and planes."""

    placement: Placement
    planes: int
    members: tuple[Member, ...]

    @property
    def block(self) -> Block:
        """The first."""
        return self.members[0].block

    @cached_property
    def outputs(self) -> list[Integers]:
        """Different lists of outputs of the members."""
        found = {member.block.outputs.tobytes(): member.block.outputs for member in self.members}
        return list(found.values())

    @cached_property
    def spans(self) -> dict[bytes, slice]:
        """Where each of `outputs` stands when all are side by side."""
        found, first = {}, 0
        for own in self.outputs:
            found[own.tobytes()] = slice(first, first + len(own))
            first += len(own)
        return found

    @property
    def width(self) -> int:
        """Outputs side by side."""
        return sum(map(len, self.outputs))

    @cached_property
    def groups(self) -> list[slice]:
        """Rows of the block that are read together, or of formed OUs all that they are formed of."""
        each = self.placement.group_rows
        return [slice(first, min(first + each, self.block.rows)) for first in range(0, self.block.rows, each)]

    def signs(self) -> Integers:
        """Return what each input plane counts."""
        found = 2 ** np.arange(self.planes, dtype=np.int64)
        if self.placement.format.signed:
            found[-1] *= -1
        return found


def rows_of(placement: Placement, tile: Tile, crossbars: list[NoisyCrossbar] | None) -> list[Rows]:
    """Return the blocks of a tile, those that are driven alike together."""
    found: dict[tuple, list[Member]] = {}
    for index, array in enumerate(tile.arrays):
        for block in array.blocks:
            key = placement.planes(array), block.window.tobytes(), block.shifts.tobytes()
            found.setdefault(key, []).append(Member(array, block, crossbars[index] if crossbars else None))
    return [Rows(placement, key[0], tuple(members)) for key, members in found.items()]


def tile_sums(
    placement: Placement, tile: Tile, windows: Integers, crossbars: list[NoisyCrossbar] | None, *, skip: bool
) -> Iterator[tuple[Integers, Integers, int]]:
    """Yield outputs, their sums (steps, outputs) and the conversions cut of them, for ``windows`` (steps, entries).

    ``crossbars`` of the tile's arrays, or None for ideal ones. Some outputs come more than once: they add. What is cut
    is counted of ideal crossbars alone.
    """
    chip = placement.chip
    if crossbars and not crossbars[0].repeatable:
        for array, crossbar in zip(tile.arrays, crossbars, strict=True):
            yield from _in_order(placement, array, crossbar, windows, skip)
        return
    for rows in rows_of(placement, tile, crossbars):
        driven = windows.T[rows.block.window]
        if rows.block.shifts.any():
            driven = driven << rows.block.shifts[:, None]
        cut = 0
        if crossbars:
            sums = np.zeros((driven.shape[1], rows.width), np.int64)
            _add_codes(rows, driven, sums, skip)
        else:
            sums = _products(rows, driven)
            if chip.adc_bits < chip.lossless_adc_bits:
                cut = _take_excess(rows, driven, sums)
        if placement.weight_offset:
            ones = driven.sum(axis=0, dtype=np.int64)[:, None] * placement.weight_offset
            for member in rows.members:
                sums[:, rows.spans[member.block.outputs.tobytes()]] -= ones * member.array.polarity
        for own in rows.outputs:
            yield own, sums[:, rows.spans[own.tobytes()]], cut
            cut = 0


def spliced(array: Array, block: Block, values: NDArray, placement: Placement) -> NDArray:
    """Return ``values`` (n, columns of the block from its first) added over slices and bands, (n, outputs)."""
    chip, found = placement.chip, None
    wide, count = band_groups(array, block, chip) * chip.ou_cols, len(block.outputs)
    scale = (2.0 ** (np.arange(array.slices) * chip.cell_bits)).astype(values.dtype)
    for band, significance in enumerate(block.significances):
        own = values[:, band * wide : band * wide + count * array.slices]
        own = own if array.slices == 1 else own.reshape(len(values), count, array.slices) @ scale
        own = own * values.dtype.type(2.0**significance) if significance else own
        found = own if found is None else found + own
    assert found is not None, "a block has a band"
    return found


def columns_of(array: Array, block: Block, placement: Placement) -> slice:
    """Return the bit lines of a block, from the first of its first band to the last of its last one."""
    chip = placement.chip
    wide = band_groups(array, block, chip) * chip.ou_cols
    return slice(
        block.column,
        block.column + wide * (len(block.significances) - 1) + len(block.outputs) * array.slices,
    )


def weights_of(array: Array, block: Block, placement: Placement) -> NDArray[np.float64]:
    """Return what the cells of a block spell, (outputs, rows), kept as long as the array is."""
    known = _WEIGHTS.setdefault(array, {})
    if id(block) not in known:
        cells = array.cells[block.row : block.row + block.rows, columns_of(array, block, placement)]
        known[id(block)] = np.ascontiguousarray(spliced(array, block, cells.astype(float), placement).T)
    return known[id(block)]


def _products(rows: Rows, driven: Integers) -> Integers:
    """Return (steps, outputs): all reads at once, for where no code clips, sums of codes are sums of products."""
    weights = np.zeros((rows.width, rows.block.rows))
    for member in rows.members:
        own = rows.spans[member.block.outputs.tobytes()]
        weights[own] += member.array.polarity * weights_of(member.array, member.block, rows.placement)
    # A narrow product is twice as fast, where it is exact.
    largest = max(int(driven.max(initial=0)), -int(driven.min(initial=0)))
    narrow = largest * float(np.abs(weights).sum(axis=1).max(initial=0)) < EXACT
    kind = np.float32 if narrow else np.float64
    return (weights.astype(kind) @ driven.astype(kind)).T.astype(np.int64)


def _patterns(rows: Rows, driven: Integers, groups: Sequence[slice]) -> NDArray[np.uint16]:
    """Return (groups, planes, steps): which rows of a group drive in a plane, the first in the lowest bit."""
    each = rows.placement.group_rows
    values = np.zeros((len(groups), each, 1, driven.shape[1]), np.uint16 if rows.planes <= 16 else np.uint32)
    for index, group in enumerate(groups):
        values[index, : group.stop - group.start, 0] = driven[group]
    bits = values >> np.arange(rows.planes, dtype=values.dtype)[:, None] & values.dtype.type(1)
    bits <<= np.arange(each, dtype=values.dtype)[:, None, None]
    return np.bitwise_or.reduce(bits, axis=1).astype(np.uint16)


def _bits(patterns: NDArray, rows: int) -> NDArray[np.float32]:
    """Return (patterns, rows) of 0 and 1."""
    return (patterns[:, None] >> np.arange(rows) & 1).astype(np.float32)


def _add_table(
    rows: Rows, patterns: NDArray[np.uint16], kept: NDArray[np.bool_], entries: list[NDArray], sums: Integers
) -> None:
    """Add to ``sums`` (steps, outputs) the entries of each plane's pattern, of all groups at once.

    ``entries`` of a group has a row for each of its patterns that is ``kept`` (groups, patterns), in order.
    """
    place = np.cumsum(kept.ravel()).reshape(kept.shape) - 1  # in the table, of those that are kept
    groups = np.arange(len(kept))[:, None, None]
    there = kept[groups, patterns]
    steps, group, plane = np.nonzero(there.transpose(2, 0, 1))  # by steps, as a sparse matrix has them
    data = rows.signs()[plane].astype(np.float64)
    columns = place[group, patterns[group, plane, steps]]
    ends = np.concatenate([[0], np.cumsum(there.sum(axis=(0, 1)))])
    table = np.concatenate(entries).astype(np.float64)
    sums += (csr_array((data, columns, ends), shape=(len(sums), len(table))) @ table).astype(np.int64)


def _occurring(rows: Rows, patterns: NDArray[np.uint16]) -> Integers:
    """Return (groups, patterns): in how many planes of how many steps each pattern of a group drives."""
    size = 2**rows.placement.group_rows
    return np.stack([np.bincount(own.ravel(), minlength=size) for own in patterns])


def _add_codes(rows: Rows, driven: Integers, sums: Integers, skip: bool) -> None:
    """Add the codes of crossbars that are not ideal to ``sums`` (steps, outputs)."""
    if rows.placement.dynamic or rows.placement.group_rows > TABLED:
        for steps, bits, group, plane in _plane_reads(rows, driven, 0 if not skip else 1):
            sums[steps] += rows.signs()[plane] * _codes(rows, bits, group).astype(np.int64)
        return
    each = max(1, BAND // (len(rows.groups) * rows.planes))
    for first in range(0, len(sums), each):
        part = slice(first, first + each)
        patterns = _patterns(rows, driven[:, part], rows.groups)
        kept = _occurring(rows, patterns) > 0
        kept[:, 0] &= not skip
        entries = [
            _codes(rows, _bits(np.flatnonzero(own), group.stop - group.start), group)
            for own, group in zip(kept, rows.groups, strict=True)
        ]
        _add_table(rows, patterns, kept, entries, sums[part])


def _codes(rows: Rows, bits: NDArray, group: slice) -> NDArray:
    """Return (reads, outputs): codes of rows ``group`` of all members, slices and polarities added."""
    found = np.zeros((len(bits), rows.width))
    for member in rows.members:
        array, block = member.array, member.block
        assert member.crossbar is not None, "an ideal crossbar's codes are no table"
        lines = np.arange(block.row + group.start, block.row + group.stop)
        for reads in range(0, len(bits), 2048):
            part = slice(reads, reads + 2048)
            codes = member.crossbar.codes(bits[part], lines, columns_of(array, block, rows.placement))
            own = spliced(array, block, codes.astype(np.float64, copy=False), rows.placement)
            found[part, rows.spans[block.outputs.tobytes()]] += array.polarity * own
    return found


def _take_excess(rows: Rows, driven: Integers, sums: Integers) -> int:
    """Subtract from ``sums`` (steps, outputs) what the ADC cuts off in ideal crossbars; return how many it cuts."""
    placement, most = rows.placement, 2**rows.placement.chip.adc_bits - 1
    peaks = [peaks_of(member.array, member.block, placement) for member in rows.members]
    most_driven = np.max([peak[0] for peak in peaks], axis=0)
    fewest, cut = most // int(max(peak[1] for peak in peaks)) + 1, 0
    if placement.dynamic or placement.group_rows > TABLED:
        for steps, bits, group, plane in _plane_reads(rows, driven, fewest):
            excess, count = _excess(rows, rows.members, bits, group)
            sums[steps] -= rows.signs()[plane] * excess.astype(np.int64)
            cut += int(count.sum())
        return cut
    places = np.flatnonzero(most_driven > most)  # others hold too little in every column
    if not len(places):
        return 0
    groups = [rows.groups[place] for place in places]
    patterns = _patterns(rows, driven, groups)
    occurring = _occurring(rows, patterns)
    kept = (occurring > 0) & (np.bitwise_count(np.arange(occurring.shape[1])) >= fewest)
    if not kept.any():
        return 0
    entries = []
    for own, often, place, group in zip(kept, occurring, places, groups, strict=True):
        high = [member for member, peak in zip(rows.members, peaks, strict=True) if peak[0][place] > most]
        bits = _bits(np.flatnonzero(own), group.stop - group.start)
        excess, count = _excess(rows, high, bits, group)
        entries.append(-excess)
        cut += int(count @ often[own])
    _add_table(rows, patterns, kept, entries, sums)
    return cut


def peaks_of(array: Array, block: Block, placement: Placement) -> tuple[Integers, int]:
    """Return what the fullest column of each row group of a block holds, and its highest cell, at least 1.

    Kept as long as the array is.
    """
    known, key = _PEAKS.setdefault(array, {}), (id(block), placement.group_rows)
    if key not in known:
        cells = array.cells[block.row : block.row + block.rows, columns_of(array, block, placement)]
        sums = np.add.reduceat(cells, range(0, block.rows, placement.group_rows), axis=0, dtype=np.int64)
        known[key] = sums.max(axis=1), max(1, int(cells.max()))
    return known[key]


def _excess(rows: Rows, members: Sequence[Member], bits: NDArray, group: slice) -> tuple[NDArray, Integers]:
    """Return what the ADC cuts off, (reads, outputs), slices and polarities added, and in how many conversions."""
    most = 2**rows.placement.chip.adc_bits - 1
    found, count = np.zeros((len(bits), rows.width)), np.zeros(len(bits), np.int64)
    if not len(bits):
        return found, count
    bits = bits.astype(np.float32)
    for member in members:
        array, block = member.array, member.block
        lines = slice(block.row + group.start, block.row + group.stop)
        cells = array.cells[lines, columns_of(array, block, rows.placement)]
        over = bits @ cells.astype(np.float32) - most  # whole numbers far below 2**24
        np.maximum(over, 0, out=over)
        count += np.count_nonzero(over, axis=1)
        own = spliced(array, block, over.astype(np.float64), rows.placement)
        found[:, rows.spans[block.outputs.tobytes()]] += array.polarity * own
    return found, count


def _plane_reads(rows: Rows, driven: Integers, fewest: int) -> Iterator[tuple[NDArray[np.intp], NDArray, slice, int]]:
    """Yield reads plane by plane: steps in which ``fewest`` rows or more drive, what they drive, the rows, the plane.

    Of formed OUs the OU of each driving row is that of its place among the rows that drive.
    """
    for group in rows.groups:
        for plane in range(rows.planes):
            bits = (driven[group] >> plane & 1).T
            if not rows.placement.dynamic:
                steps = np.flatnonzero(bits.sum(axis=1) >= fewest)
                if len(steps):
                    yield steps, bits[steps], group, plane
                continue
            unit = np.where(bits, (bits.cumsum(axis=1) - 1) // rows.placement.chip.ou_rows, -1)
            for number in range(max(1, int(unit.max(initial=-1)) + 1)):
                formed = unit == number
                steps = np.flatnonzero(formed.sum(axis=1) >= (fewest if number == 0 else max(1, fewest)))
                if len(steps):
                    yield steps, formed[steps].astype(np.int8), group, plane


@dataclass(frozen=True, eq=False)
class _Read:
    """Reads of one row group, plane and OU, one in each of some steps, in a band of steps."""

    block: Block
    group: slice
    plane: int
    steps: NDArray[np.intp]
    bits: NDArray


def _in_order(
    placement: Placement, array: Array, crossbar: NoisyCrossbar, windows: Integers, skip: bool
) -> Iterator[tuple[Integers, Integers, int]]:
    """Yield as `tile_sums` of one array whose reads all have noise of their own.

    The hardware reads step by step, row group by row group, plane by plane, OU by OU, the last column group first.
    """
    planes = placement.planes(array)
    crossbar.begin()
    sums = [np.zeros((len(windows), len(block.outputs)), np.int64) for block in array.blocks]
    each = max(1, BAND // max(1, planes * sum(block.rows for block in array.blocks)))
    for first in range(0, len(windows), each):
        band = windows[first : first + each]
        reads: list[tuple[int, _Read]] = []
        for index, block in enumerate(array.blocks):
            driven = band.T[block.window] << block.shifts[:, None]
            own = Rows(placement, planes, (Member(array, block, crossbar),))
            found = _plane_reads(own, driven, 1 if skip else 0)
            reads += [(index, _Read(block, group, plane, steps, bits)) for steps, bits, group, plane in found]
        # By step, then in the order in which they were found: of one step that is the hardware's.
        counts = np.zeros((len(band), len(reads)), np.int64)
        for place, (_, read) in enumerate(reads):
            counts[read.steps, place] = column_groups(array, read.block, placement.chip)
        ends = counts.cumsum().reshape(counts.shape) if counts.size else counts
        drawn = crossbar.draw(int(counts.sum()))
        signs = Rows(placement, planes, (Member(array, array.blocks[0], crossbar),)).signs()
        for place, (index, read) in enumerate(reads):
            codes = _noisy(placement, array, crossbar, read, ends[read.steps, place], drawn)
            sums[index][first + read.steps] += signs[read.plane] * codes
    for block, own in zip(array.blocks, sums, strict=True):
        if placement.weight_offset:
            ones = (windows.T[block.window] << block.shifts[:, None]).sum(axis=0, dtype=np.int64)[:, None]
            own -= placement.weight_offset * ones
        yield block.outputs, own * array.polarity, 0


def _noisy(
    placement: Placement, array: Array, crossbar: NoisyCrossbar, read: _Read, ends: Integers, drawn: NDArray
) -> Integers:
    """Return (reads, outputs) of codes, each with its own noise: ``ends`` is one behind the last of its draws."""
    chip, block = placement.chip, read.block
    columns = columns_of(array, block, placement)
    at = np.arange(columns.start, columns.stop)
    group = at // chip.ou_cols - block.column // chip.ou_cols  # the last one is read first
    noise = drawn[ends[:, None] - 1 - group, at % chip.ou_cols]
    lines = np.arange(block.row + read.group.start, block.row + read.group.stop)
    codes = crossbar.codes(read.bits, lines, columns, noise)
    return spliced(array, block, codes.astype(np.float64, copy=False), placement).astype(np.int64)
