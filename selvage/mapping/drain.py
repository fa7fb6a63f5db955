"""How a step's sums leave the arrays: banks that drain side by side, one beat a cycle.

Codes are accumulated per ADC lane and *slot*: a column group of a block. Blocks of an array with the
same outputs on the same columns, at the same significances, share their slots. A beat reads neighbouring
columns of one slot and yields whole weights, or a part of one that lies in several slots, be it side by
side or, with planes of a weight in several bands of the array, the more significant first.
Arrays that share an output form a bank; their sums add in the same cycle.
"""

from collections import Counter
from dataclasses import dataclass

from selvage.base.chip import Chip
from selvage.mapping.placement import Array, Block, Placement, Tile, band_groups, column_groups

Addresses = tuple[tuple[int | None, ...], ...]  # by position and lane
SlotKey = tuple[int, tuple[int, ...], tuple[int, ...]]  # column, outputs, significances


@dataclass(frozen=True)
class DrainBeat:
    """One cycle of one bank.

    ``slots[k]`` is the slot that array ``arrays[k]`` of the bank reads, ``significances[k]`` of its
    block; None when it has no part in the beat. Column j of the beat is in lane ``rotation + j``.
    ``slice`` is the slice of the first column; ``outputs`` the ids of the weights that the beat holds,
    whose sums begin when ``first`` and are complete when ``last``.
    """

    slots: tuple[int | None, ...]
    significances: tuple[int | None, ...]
    rotation: int
    columns: int
    slice: int
    outputs: tuple[int, ...]
    first: bool
    last: bool


@dataclass(frozen=True)
class Bank:
    """Arrays that share an adder tree (a reduction group), and the beats of their readout."""

    arrays: tuple[int, ...]
    beats: tuple[DrainBeat, ...]


@dataclass(frozen=True)
class DrainPlan:
    """``slots[a][b]`` is the first slot of block b of array a; ``counts[a]`` the slots of array a.

    Of a scattered tile (`mapping.placement.Tile.scattered`) ``slots`` are *positions*, the column groups of
    all blocks one after the other, and ``addresses[a][position][lane]`` is the slot where a lane's code
    belongs: of one output at one significance. None: the lane is not the block's.
    """

    banks: tuple[Bank, ...]
    slots: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    addresses: tuple[Addresses, ...] = ()

    @property
    def length(self) -> int:
        """Cycles of one step's drain."""
        return max(len(bank.beats) for bank in self.banks)


@dataclass(frozen=True)
class _Segment:
    """Outputs that stand on neighbouring columns; by array its bands of them: significance, first slot."""

    outputs: tuple[int, ...]
    slots: dict[int, list[tuple[int, int]]]


def weights_per_beat(placement: Placement, tile: Tile) -> int:
    """Return how many weights one beat of a bank yields.

    There are several only where slots hold whole ones, and where the outputs need not go one by one to different pixels
    (overlap).
    """
    many, rest = divmod(placement.chip.ou_cols, tile.slices)
    return many if rest == 0 and not placement.sweep.overlap and not tile.scattered else 1


def drain_plan(placement: Placement, tile: Tile) -> DrainPlan:
    """Return slots, banks and beats of a tile's readout."""
    if tile.scattered:
        return _scattered_plan(placement, tile)
    slots, counts = [], []
    segments: dict[tuple[int, ...], _Segment] = {}
    for index, array in enumerate(tile.readers):
        firsts, count = _slots(array, placement)
        per_band = {slot_key(block): band_groups(array, block, placement.chip) for block in array.blocks}
        slots.append(tuple(firsts[slot_key(block)] for block in array.blocks))
        counts.append(count)
        for key, first in firsts.items():
            segment = segments.setdefault(key[1], _Segment(key[1], {}))
            bands = [(significance, first + band * per_band[key]) for band, significance in enumerate(key[2])]
            segment.slots.setdefault(index, []).extend(bands)
    groups = _overlap_groups(placement, segments) if placement.sweep.overlap else _connected(segments)
    banks = tuple(_bank(group, placement, tile) for group in groups)
    return DrainPlan(banks, tuple(slots), tuple(counts))


def _scattered_plan(placement: Placement, tile: Tile) -> DrainPlan:
    """Return the plan of a scattered tile: each lane of an array adds to any output, a segment of its own."""
    segments: dict[int, _Segment] = {}
    slots, counts, addresses = [], [], []
    for index, array in enumerate(tile.readers):
        keys = sorted({(block.significances[0], int(o)) for block in array.blocks for o in block.outputs})
        local = {key: slot for slot, key in enumerate(keys)}
        for (significance, output), slot in local.items():
            segment = segments.setdefault(output, _Segment((output,), {}))
            segment.slots.setdefault(index, []).append((significance, slot))
        first, table = [], []
        for block in array.blocks:
            first.append(len(table))
            table += _lanes(array, block, local, placement.chip)
        slots.append(tuple(first))
        counts.append(len(local))
        addresses.append(tuple(table))
    ordered = {(output,): segments[output] for output in sorted(segments)}
    banks = tuple(_bank(group, placement, tile) for group in _connected(ordered))
    return DrainPlan(banks, tuple(slots), tuple(counts), tuple(addresses))


def drain_cycles(placement: Placement, tile: Tile) -> int:
    """Return ``drain_plan(placement, tile).length``."""
    return drain_shape(placement, tile)[0]


def drain_shape(placement: Placement, tile: Tile) -> tuple[int, int]:
    """Return the cycles of a drain, and the most arrays that share a bank; of a scattered tile without the plan."""
    if not tile.scattered:
        plan = drain_plan(placement, tile)
        return plan.length, max(len(bank.arrays) for bank in plan.banks)
    rounds: dict[int, int] = {}  # by output: significances that an array has of it, at most
    joined = list(range(len(tile.readers)))  # the bank of each array
    owner: dict[int, int] = {}  # by output: an array that holds it
    for index, array in enumerate(tile.readers):
        pairs = {(block.significances[0], output) for block in array.blocks for output in block.outputs.tolist()}
        for output, many in Counter(output for _, output in pairs).items():
            rounds[output] = max(many, rounds.get(output, 0))
            old, new = joined[owner.setdefault(output, index)], joined[index]
            if old != new:
                joined = [new if bank == old else bank for bank in joined]
    totals: Counter[int] = Counter()
    for output, many in rounds.items():
        totals[joined[owner[output]]] += many
    length = max(totals.values()) * -(-tile.slices // placement.chip.ou_cols)
    return length, max(Counter(joined).values())


def lanes_used(placement: Placement, tile: Tile, plan: DrainPlan) -> tuple[tuple[int, ...], ...]:
    """Return for each reader how many lanes hold columns of a block, by the slot or position that a read names."""
    if plan.addresses:
        return tuple(tuple(sum(slot is not None for slot in lanes) for lanes in table) for table in plan.addresses)
    found, chip = [], placement.chip
    for array, slots, count in zip(tile.readers, plan.slots, plan.counts, strict=True):
        lanes = [0] * count
        for block, first in zip(array.blocks, slots, strict=True):
            columns, groups = len(block.outputs) * array.slices, band_groups(array, block, chip)
            for k in range(len(block.significances) * groups):
                lanes[first + k] = min(chip.ou_cols, columns - k % groups * chip.ou_cols)
        found.append(tuple(lanes))
    return tuple(found)


def _lanes(array: Array, block: Block, local: dict[tuple[int, int], int], chip: Chip) -> list[tuple[int | None, ...]]:
    """Return the addresses of a block's positions."""
    start, columns = block.column % chip.ou_cols, len(block.outputs) * array.slices
    slots = [local[block.significances[0], int(output)] for output in block.outputs]
    lanes: list[int | None] = [None] * start + [slots[k // array.slices] for k in range(columns)]
    lanes += [None] * (-len(lanes) % chip.ou_cols)
    return [tuple(lanes[k : k + chip.ou_cols]) for k in range(0, len(lanes), chip.ou_cols)]


def slot_key(block: Block) -> SlotKey:
    """Return a key: blocks of an array with equal keys add in the same slots."""
    return block.column, tuple(block.outputs.tolist()), block.significances


def _slots(array: Array, placement: Placement) -> tuple[dict[SlotKey, int], int]:
    """Return the first slot of each key of an array, and the number of its slots."""
    slots: dict[SlotKey, int] = {}
    used = 0
    for block in array.blocks:
        if slot_key(block) not in slots:
            slots[slot_key(block)] = used
            used += column_groups(array, block, placement.chip)
    return slots, used


def _connected(segments: dict[tuple[int, ...], _Segment]) -> list[list[_Segment]]:
    """Return segments joined to banks: those that share an array, which is read at one slot a cycle."""
    groups: list[tuple[set[int], list[_Segment]]] = []
    for segment in segments.values():
        arrays, members = set(segment.slots), [segment]
        rest = []
        for other_arrays, other in groups:
            if other_arrays & arrays:
                arrays |= other_arrays
                members = other + members
            else:
                rest.append((other_arrays, other))
        groups = [*rest, (arrays, members)]
    return [members for _, members in sorted(groups, key=lambda group: min(group[0]))]


def _overlap_groups(placement: Placement, segments: dict[tuple[int, ...], _Segment]) -> list[list[_Segment]]:
    """Return banks that feed the same pixels in the same order, for one overlap buffer; else a single bank.

    Positions of the output block that no tap feeds are appended: they have to leave all the same.
    """
    m, block = placement.layer.outputs, placement.sweep.block

    def whole(group: list[_Segment]) -> list[_Segment]:
        have = [output for segment in group for output in segment.outputs]
        empty = [
            _Segment((phase * m + channel,), {})
            for phase, (y, x) in enumerate(placement.sweep.phases)
            if y < block[0] and x < block[1]
            for channel in sorted({output % m for output in have})
            if phase * m + channel not in have
        ]
        return [*group, *empty]

    groups = [whole(group) for group in _connected(segments)]
    phases = {tuple(o // m for segment in group for o in segment.outputs) for group in groups}
    channels = [{o % m for segment in group for o in segment.outputs} for group in groups]
    if len(phases) == 1 and len(set().union(*channels)) == sum(map(len, channels)):
        return groups
    return [whole(list(segments.values()))]


def _bank(segments: list[_Segment], placement: Placement, tile: Tile) -> Bank:
    arrays = tuple(sorted({index for segment in segments for index in segment.slots}))
    beats = [beat for segment in segments for beat in _beats(segment, arrays, placement, tile)]
    return Bank(arrays, tuple(beats))


def _beats(segment: _Segment, arrays: tuple[int, ...], placement: Placement, tile: Tile) -> list[DrainBeat]:
    """Return the beats of segments; none crosses a slot, and more significant bands of an array come first."""
    chip, slices = placement.chip, tile.slices
    rounds = max((len(slots) for slots in segment.slots.values()), default=1)
    sources = {array: sorted(bands, reverse=True) for array, bands in segment.slots.items()}
    beats, weight = [], 0
    while weight < len(segment.outputs):
        column = weight * slices
        many = 1
        while (
            many < weights_per_beat(placement, tile)
            and weight + many < len(segment.outputs)
            and column % chip.ou_cols + (many + 1) * slices <= chip.ou_cols
        ):
            many += 1
        end, start = column + many * slices, column
        while column < end:
            slot, rotation = divmod(column, chip.ou_cols)
            stop = min(end, (slot + 1) * chip.ou_cols)
            for turn in range(rounds):
                read = [(sources.get(array, [])[turn : turn + 1] or [(None, None)])[0] for array in arrays]
                beats.append(
                    DrainBeat(
                        slots=tuple(None if first is None else first + slot for _, first in read),
                        significances=tuple(significance for significance, _ in read),
                        rotation=rotation,
                        columns=stop - column,
                        slice=column - start,
                        outputs=segment.outputs[weight : weight + many],
                        first=column == start and turn == 0,
                        last=stop == end and turn == rounds - 1,
                    )
                )
            column = stop
        weight += many
    return beats


def beat_outputs(placement: Placement, tile: Tile, plan: DrainPlan) -> list[list[int | None]]:
    """Return for each beat that leaves the tile the output id of each value, bank by bank, None where it is empty.

    Beats in which no bank completes a weight do not leave.
    """
    many, beats = weights_per_beat(placement, tile), []
    for k in range(plan.length):
        ids: list[int | None] = []
        for bank in plan.banks:
            beat = bank.beats[k] if k < len(bank.beats) else None
            whole = list(beat.outputs) if beat and beat.last else []
            ids += whole + [None] * (many - len(whole))
        if any(output is not None for output in ids):
            beats.append(ids)
    return beats


def leaving_outputs(placement: Placement, tile: Tile, plan: DrainPlan) -> list[list[int | None]]:
    """Return `beat_outputs` of a step, or with overlap of an output block, whose beats leave when sums are whole."""
    beats, sweep = beat_outputs(placement, tile, plan), placement.sweep
    if not sweep.overlap:
        return beats

    def final(ids: list[int | None]) -> bool:
        first = ids[0]
        assert first is not None, "with overlap every beat that leaves has a first output"
        y, x = sweep.phases[first // placement.layer.outputs]
        return y < sweep.block[0] and x < sweep.block[1]

    return [ids for ids in beats if final(ids)]
