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

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from selvage.mapping.placement import Placement, Tile
from selvage.sim.devices import EXACT, NoisyCrossbar
from selvage.sim.read_order import BAND, in_order, plane_reads
from selvage.sim.rows import Member, Rows, driven_of, lines_of, peaks_of, rows_of, spliced, weights_of

Integers = NDArray[np.int64]
TABLED = 12  # rows of an OU, at most, whose patterns are tabled
DENSE = 0.2  # share of reads from which it is faster to add nothing than to leave it out
CACHED = 2**17  # entries that a processor's second cache holds


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
            yield from in_order(placement, array, crossbar, windows, skip)
        return
    for rows in rows_of(placement, tiles, crossbars):
        driven, cut = driven_of(rows.block, windows), 0
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


def _bands(rows: Rows, steps: int) -> Iterator[slice]:
    """Yield steps whose patterns are in memory at a time."""
    each = max(1, BAND // (len(rows.groups) * rows.planes))
    yield from (slice(first, first + each) for first in range(0, steps, each))


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
        for steps, bits, group, plane in plane_reads(rows, driven, 0 if not skip else 1):
            sums[steps] += rows.signs()[plane] * _codes(rows, bits, group).astype(np.int64)
        return
    for part in _bands(rows, len(sums)):
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
        word_lines, columns = lines_of(array, block, rows.placement)
        lines = np.arange(word_lines.start, word_lines.stop)[group]
        for reads in range(0, len(bits), 2048):
            part = slice(reads, reads + 2048)
            codes = member.crossbar.codes(bits[part], lines, columns)
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
        for steps, bits, group, plane in plane_reads(rows, driven, fewest):
            excess, count = _excess(rows, rows.members, bits, group)
            sums[steps] -= rows.signs()[plane] * excess.astype(np.int64)
            cut += int(count.sum())
        return cut
    places = np.flatnonzero(most_driven > most)  # others hold too little in every column
    if not len(places):
        return 0
    groups = [rows.groups[place] for place in places]
    highs = [
        [member for member, peak in zip(rows.members, peaks, strict=True) if peak[0][place] > most] for place in places
    ]
    for part in _bands(rows, len(sums)):
        patterns = _patterns(rows, driven[:, part], groups)
        occurring = _occurring(rows, patterns)
        kept = (occurring > 0) & (np.bitwise_count(np.arange(occurring.shape[1])) >= fewest)
        if not kept.any():
            continue
        entries = []
        for own, often, high, group in zip(kept, occurring, highs, groups, strict=True):
            bits = _bits(np.flatnonzero(own), group.stop - group.start)
            excess, count = _excess(rows, high, bits, group)
            entries.append(-excess)
            cut += int(count @ often[own])
        _add_table(rows, patterns, kept, entries, sums[part])
    return cut


def _excess(rows: Rows, members: Sequence[Member], bits: NDArray, group: slice) -> tuple[NDArray, Integers]:
    """Return what the ADC cuts off, (reads, outputs), slices and polarities added, and in how many conversions."""
    most = 2**rows.placement.chip.adc_bits - 1
    found, count = np.zeros((len(bits), rows.width)), [np.zeros(0, np.int64)]
    if not len(bits):
        return found, count[0]

    def held(member: Member) -> NDArray[np.float32]:
        return member.array.cells[lines_of(member.array, member.block, rows.placement)][group].astype(np.float32)

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
