"""All OU reads of a tile at once: the sums of their codes, shifted and added over input planes and slices.

Exact whatever the ADC does, and never read by read:

* Where no code clips, sums of codes are sums of products, and cells are added up to weights first.
* An OU of few rows is driven in few ways, so its codes are a table over the patterns that occur, slices and the two
  arrays of a pair already added; each step adds an entry of it for each input plane, all at once a sparse matrix times
  the table. Of ideal crossbars only what the ADC cuts off is tabled, of patterns that can drive a column too high.
* OUs of many rows, and formed ones, are read plane by plane, only in steps that need it.
* With noise in every read there is no table: reads are made in the order in which the hardware makes them.
"""

from collections.abc import Callable, Iterator, Sequence
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
DENSE = 0.2  # share of reads from which it is faster to add nothing than to leave it out
CACHED = 2**17  # entries that a processor's second cache holds
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
    def uniform(self) -> bool:
        """Whether all members are one band of as many slices, whose sums are exact in float32."""
        chip, first = self.placement.chip, self.members[0].array.slices
        alike = all(len(own.block.significances) == 1 and own.array.slices == first for own in self.members)
        return alike and max(2**chip.adc_bits, chip.rows * 2**chip.cell_bits) << first * chip.cell_bits <= EXACT

    @cached_property
    def halves(self) -> bool:
        """Whether members are P arrays of all outputs, then N arrays of the same."""
        half = len(self.outputs)
        first, second = self.members[:half], self.members[half:]
        same = [own.block.outputs.tobytes() for own in first] == [own.block.outputs.tobytes() for own in second]
        signs = all(own.array.polarity > 0 for own in first) and all(own.array.polarity < 0 for own in second)
        return same and signs and not any(any(own.block.significances) for own in self.members)

    @cached_property
    def side_by_side(self) -> NDArray[np.float32] | None:
        """Levels of all members, (rows, bit lines), where a code is no more than a rounded sum of them; else None."""
        crossbars = [member.crossbar for member in self.members if member.crossbar]
        if not self.uniform or not all(own.sums_of(self.placement.group_rows) for own in crossbars):
            return None
        parts = []
        for member, crossbar in zip(self.members, crossbars, strict=True):
            lines = slice(member.block.row, member.block.row + member.block.rows)
            parts.append(crossbar.single[lines, columns_of(member.array, member.block, self.placement)])
        return np.concatenate(parts, axis=1)

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


def rows_of(placement: Placement, tiles: Sequence[Tile], crossbars: Sequence[NoisyCrossbar] | None) -> list[Rows]:
    """Return the blocks of tiles with the same window, those that are driven alike together."""
    found: dict[tuple, list[Member]] = {}
    arrays = [array for tile in tiles for array in tile.arrays]
    for array, crossbar in zip(arrays, crossbars or [None] * len(arrays), strict=True):
        for block in array.blocks:
            key = placement.planes(array), block.window.tobytes(), block.shifts.tobytes()
            found.setdefault(key, []).append(Member(array, block, crossbar))
    positive_first = {key: sorted(own, key=lambda member: -member.array.polarity) for key, own in found.items()}
    return [Rows(placement, key[0], tuple(members)) for key, members in positive_first.items()]


def tile_sums(
    placement: Placement,
    tiles: Sequence[Tile],
    windows: Integers,
    crossbars: Sequence[NoisyCrossbar] | None,
    *,
    skip: bool,
) -> Iterator[tuple[Integers, Integers, int]]:
    """Yield outputs, their sums (steps, outputs) and the conversions cut of them, for ``windows`` (steps, entries).

    All ``tiles`` have this window; ``crossbars`` are of their arrays, or None for ideal ones. Some outputs come more
    than once: they add. What is cut is counted of ideal crossbars alone.
    """
    chip = placement.chip
    if crossbars and not crossbars[0].repeatable:
        arrays = [array for tile in tiles for array in tile.arrays]
        for array, crossbar in zip(arrays, crossbars, strict=True):
            yield from _in_order(placement, array, crossbar, windows, skip)
        return
    for rows in rows_of(placement, tiles, crossbars):
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
    """Return ``values`` (n, columns of the block from its first) added over slices and bands, (n, outputs).

    They are whole numbers, and stay in float32 where that is exact.
    """
    chip, found = placement.chip, None
    wide, count = band_groups(array, block, chip) * chip.ou_cols, len(block.outputs)
    highest = max(2**chip.adc_bits, chip.rows * 2**chip.cell_bits)
    if highest << array.slices * chip.cell_bits + max(block.significances) + 1 > EXACT:
        values = values.astype(np.float64, copy=False)
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
        known[id(block)] = np.ascontiguousarray(spliced(array, block, cells.astype(np.float64), placement).T)
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
    table = np.concatenate([np.zeros((1, rows.width)), *entries])  # the first is of patterns that are not kept
    place = (np.cumsum(kept.ravel()).reshape(kept.shape) * kept).astype(np.int32)
    steps, planes, groups = len(sums), rows.planes, len(kept)
    columns = np.empty((steps, groups, planes), np.int32)
    for group, own in enumerate(patterns):
        columns[:, group] = place[group].take(own.T)
    columns = columns.reshape(steps, -1)
    data = np.tile(rows.signs().astype(np.float64), groups)
    there = columns != 0
    if there.mean() > DENSE:
        ends = np.arange(steps + 1) * columns.shape[1]
        chosen, data = columns.ravel(), np.broadcast_to(data, columns.shape).ravel()
    else:
        ends = np.concatenate([[0], np.cumsum(np.count_nonzero(there, axis=1))])
        chosen, data = columns[there], np.broadcast_to(data, columns.shape)[there]
    sums += (csr_array((data, chosen, ends), shape=(steps, len(table))) @ table).astype(np.int64)


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
    if rows.side_by_side is not None:
        levels, most = rows.side_by_side[group], np.float32(2**rows.placement.chip.adc_bits - 1)
        beyond = levels.sum(axis=0).max(initial=0) > most

        def read(part: NDArray) -> NDArray:
            current = part @ levels
            np.rint(current, out=current)
            # One number to compare with makes NumPy's minimum three times as slow as its clip.
            return np.clip(current, 0, most, out=current) if beyond else current

        return _at_once(rows, rows.members, bits.astype(np.float32), read)
    found = np.zeros((len(bits), rows.width))
    for member in rows.members:
        array, block = member.array, member.block
        assert member.crossbar is not None, "an ideal crossbar's codes are no table"
        lines = np.arange(block.row + group.start, block.row + group.stop)
        for reads in range(0, len(bits), 2048):
            part = slice(reads, reads + 2048)
            codes = member.crossbar.codes(bits[part], lines, columns_of(array, block, rows.placement))
            own = spliced(array, block, codes, rows.placement)
            found[part, rows.spans[block.outputs.tobytes()]] += array.polarity * own
    return found


def _at_once(
    rows: Rows, members: Sequence[Member], bits: NDArray, read: Callable[[NDArray], NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Return (reads, outputs) of what ``read`` returns for some reads, (reads, bit lines of all members), added up.

    Each member is one band of as many slices: its bit lines are whole weights. What is computed at a time stays in a
    cache.
    """
    placement, slices = rows.placement, members[0].array.slices
    scale = (2.0 ** (np.arange(slices) * placement.chip.cell_bits)).astype(np.float32)
    found = np.zeros((len(bits), rows.width))
    each = max(16, CACHED // max(1, sum(len(member.block.outputs) for member in members) * slices))
    for first in range(0, len(bits), each):
        part = slice(first, first + each)
        values = read(bits[part])
        values = values.reshape(len(values), -1, slices) @ scale
        if members is rows.members and rows.halves:
            np.subtract(values[:, : rows.width], values[:, rows.width :], out=found[part])
            continue
        at = 0
        for member in members:
            own = values[:, at : at + len(member.block.outputs)]
            at += len(member.block.outputs)
            target = found[part, rows.spans[member.block.outputs.tobytes()]]
            weight = member.array.polarity * 2.0 ** member.block.significances[0]
            target += own if weight == 1 else own * weight
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
    found, count = np.zeros((len(bits), rows.width)), [np.zeros(0, np.int64)]
    if not len(bits):
        return found, count[0]

    def held(member: Member) -> NDArray[np.float32]:
        lines = slice(member.block.row + group.start, member.block.row + group.stop)
        columns = columns_of(member.array, member.block, rows.placement)
        return member.array.cells[lines, columns].astype(np.float32)

    def read(part: NDArray) -> NDArray[np.float32]:
        over = part @ cells  # whole numbers far below 2**24
        over -= np.float32(most)
        np.clip(over, 0, EXACT, out=over)  # three times as fast as the maximum of it and a number
        count.append(np.count_nonzero(over, axis=1))
        return over

    bits = bits.astype(np.float32)
    if rows.uniform:
        cells = np.concatenate([held(member) for member in members], axis=1)
        return _at_once(rows, members, bits, read), np.concatenate(count)
    whole = np.zeros(len(bits), np.int64)
    for member in members:
        cells = held(member)
        own = spliced(member.array, member.block, read(bits), rows.placement)
        whole += count.pop()
        found[:, rows.spans[member.block.outputs.tobytes()]] += member.array.polarity * own
    return found, whole


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
    return spliced(array, block, crossbar.codes(read.bits, lines, columns, noise), placement).astype(np.int64)
