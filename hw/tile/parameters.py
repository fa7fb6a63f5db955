"""Parameters of the components, all derived from a placement: shapes and tables, no cell contents."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

from selvage.base.chip import Chip
from selvage.base.layer import InputFormat
from selvage.mapping.drain import Addresses, DrainPlan, drain_plan, weights_per_beat
from selvage.mapping.load import LoadMove, LoadPlan, load_plan
from selvage.mapping.placement import Placement, RowGroup, Tile, row_groups
from selvage.mapping.schedule import Sweep
from selvage.mapping.widths import output_range, slot_range

LONG_PLAN = 1024  # reads of a step from which on a regular plan is counted, not a table of them all


@dataclass(frozen=True)
class BufferParameters:
    """Input buffer and address generator of one tile.

    ``reads[t]`` is (row offset, column offset, word) of cycle t of a step's load; offsets are from the
    step's base, in coordinates of the zero-inserted map. ``begins`` is of the load plan.
    """

    sweep: Sweep
    format: InputFormat
    lanes: int
    words: int  # of one pixel
    reads: tuple[tuple[int, int, int], ...]
    begins: tuple[int, ...] = (0,)
    probes: bool = False  # shows which words it reads, and where they lie

    def __post_init__(self) -> None:
        if not self.reads:
            raise ValueError("reads must not be empty: a step loads at least one word")

    def edge(self, axis: int, pick: Callable[..., int]) -> tuple[int, int]:
        """Return the smallest (``pick=min``) or largest offset along ``axis``, as (quotient, remainder) by insert."""
        return divmod(pick(read[axis] for read in self.reads), self.sweep.insert[axis])

    @cached_property
    def rows(self) -> int:
        """Lines the buffer holds: the window's height, and what a new row of steps needs beside it."""
        low, high = (pick(read[0] for read in self.reads) for pick in (min, max))
        insert, stride = self.sweep.insert[0], self.sweep.stride[0]
        tall = max((base + high) // insert - (base + low) // insert for base in range(insert)) + 1
        tall += self.sweep.lines_ahead(column for _, column, _ in self.reads)
        return min(self.sweep.size[0], tall + stride - 1 if insert == 1 else tall)

    @cached_property
    def period(self) -> int:
        """Reads after which a long plan begins anew with the next word of each pixel; 0 where it does not, or is short.

        Of such a plan there are tables of one period. All pixels of a pool's window, word by word, are one.
        """
        first = self.reads[0][2]
        period = next((k for k, read in enumerate(self.reads) if read[2] != first), len(self.reads))
        if len(self.reads) <= LONG_PLAN or period == len(self.reads) or len(self.begins) > 1:
            return 0
        regular = ((*self.reads[k % period][:2], first + k // period) for k in range(len(self.reads)))
        return period if len(self.reads) % period == 0 and tuple(regular) == self.reads else 0

    @property
    def pitch(self) -> int:
        """Words of one line."""
        return self.sweep.size[1] * self.words

    @property
    def depth(self) -> int:
        """Words of the buffer."""
        return self.rows * self.pitch

    @property
    def address_bits(self) -> int:
        """Bits of the address of a word."""
        return max(1, (self.depth - 1).bit_length())

    @property
    def index_bits(self) -> int:
        """Bits of the number of a cycle of the load plan."""
        return max(1, (len(self.reads) - 1).bit_length())


@dataclass(frozen=True)
class EngineParameters:
    """The engine of one array or of a pair. Engines with equal parameters are the same module."""

    rows: int
    columns: int
    ou_rows: int
    ou_cols: int
    adc_bits: int
    group_rows: int  # most rows of a row group
    dynamic: bool  # an OU is any ``ou_rows`` rows of a group that drive; else a group is an OU
    input_bits: int
    planes: int  # of a read: the bits of a code, and the places by which rows are shifted
    signed: bool  # shifted codes keep their sign; False where nothing is shifted
    lanes: int
    skip: bool  # leave out OUs whose driven bits are all zero
    driven_bits: int  # of the count of driven word lines (offset encoding); 0 without
    events: bool  # tells which row groups it reads
    probes: bool  # shows what passes between its parts
    groups: tuple[RowGroup, ...]
    slots: tuple[int, ...]  # first slot of each row group
    rotations: tuple[int, ...]  # that the tile's load plan uses
    gather: bool  # the load plan chooses a lane for each row instead
    written: tuple[tuple[int, ...], ...]  # by kind of step: of each row group a mask of the rows that its load writes

    @property
    def kinds(self) -> int:
        """Kinds of steps that write different rows (`Sweep.kinds`)."""
        return len(self.written)

    @property
    def slots_used(self) -> int:
        """Slots of the array's sums that its reads name."""
        return max(slot + group.column_groups for slot, group in zip(self.slots, self.groups, strict=True))

    @property
    def column_groups(self) -> int:
        """Column groups of the whole array."""
        return -(-self.columns // self.ou_cols)

    @property
    def column_group_bits(self) -> int:
        """Bits of the number of a column group."""
        return max(1, (self.column_groups - 1).bit_length())

    @property
    def group_bits(self) -> int:
        """Bits of the number of a row group."""
        return max(1, (len(self.groups) - 1).bit_length())


@dataclass(frozen=True)
class AccumulatorParameters:
    """One array's half of the splice: sums of codes per lane and slot."""

    lanes: int
    code_bits: int
    paired: bool  # codes of two arrays, a P's and an N's, whose differences are added
    width: int  # of one sum
    slots: int
    beats: tuple[int | None, ...]  # slots in the order in which they are drained; None where the array has no part
    addresses: Addresses  # slot of each lane by position, of scattered outputs; empty without
    planes: int  # of the input
    signed: bool  # the top input plane subtracts
    driven_bits: int  # of the count of driven word lines (offset encoding); 0 without
    latency: int  # of the macro: reads that are under way at full speed

    @property
    def slot_bits(self) -> int:
        """Bits of the number of a slot."""
        return max(1, (self.slots - 1).bit_length())

    @property
    def positions(self) -> int:
        """How many positions a read's tag may name: slots, or column groups of blocks of scattered outputs."""
        return len(self.addresses) or self.slots


@dataclass(frozen=True)
class TileParameters:
    """A tile and all its components."""

    placement: Placement
    tile: Tile
    skip: bool = True
    counters: bool = True  # performance counters at the tile's face
    events: bool = False  # and counters of what costs energy
    probes: bool = False  # what passes between its components is at its face, for waves (`hw.tile.probes`)
    like: "TileParameters | None" = field(default=None, compare=False, repr=False)
    """Of a tile of the same layer and `Tile.likeness`: it differs at most in outputs and in its share of the steps."""

    @property
    def chip(self) -> Chip:
        """The chip of the placement."""
        return self.placement.chip

    @cached_property
    def load(self) -> LoadPlan:
        """The load plan of a step."""
        return self.like.load if self.like else load_plan(self.placement, self.tile)

    @cached_property
    def drain(self) -> DrainPlan:
        """The drain plan of a step."""
        return drain_plan(self.placement, self.tile)

    @cached_property
    def buffer(self) -> BufferParameters:
        """Parameters of the input buffer."""
        if self.like:
            known = self.like.buffer
            return known if known.sweep == self.placement.sweep else replace(known, sweep=self.placement.sweep)
        load, placement = self.load, self.placement
        reads = tuple((*self.tile.offsets[pixel], word) for pixel, word in load.reads)
        form = placement.sweep, placement.format
        return BufferParameters(*form, load.lanes, load.words, reads, load.begins, self.probes)

    @cached_property
    def structure(self) -> tuple:
        """All that the hardware depends on: tiles of equal structure are the same Verilog."""
        m = self.placement.layer.outputs
        channels = sorted({output % m for bank in self.drain.banks for b in bank.beats for output in b.outputs})
        rank = {channel: index for index, channel in enumerate(channels)}
        banks = tuple(
            (
                bank.arrays,
                tuple((replace(b, outputs=()), *((o // m, rank[o % m]) for o in b.outputs)) for b in bank.beats),
            )
            for bank in self.drain.banks
        )
        polarities = tuple((array.polarity, array.paired) for array in self.tile.readers)
        parts = (self.buffer, self.engines, self.accumulators, self.load.moves, self.output_width)
        shown = self.counters, self.events, self.probes
        return (*parts, banks, polarities, self.tile.slices, self.placement.weight_offset, *shown)

    @property
    def weights(self) -> int:
        """Whole weights of one bank's beat."""
        return weights_per_beat(self.placement, self.tile)

    @cached_property
    def output_width(self) -> int:
        """Bits of an output of the tile."""
        return self.like.output_width if self.like else output_range(self.placement, self.tile, self.drain).width

    @property
    def driven_bits(self) -> int:
        """Bits of the count of active rows of a read; 0 without offset encoding."""
        return self.chip.ou_rows.bit_length() if self.placement.weight_offset else 0

    @cached_property
    def engines(self) -> tuple[EngineParameters, ...]:
        """Parameters of each engine, in order of readers."""
        chip, found = self.chip, []
        rotations = {move.rotation for moves in self.load.moves for move in moves if move}
        for array, slots, moves in zip(self.tile.readers, self.drain.slots, self.load.moves, strict=True):
            groups = row_groups(array, self.placement)
            found.append(
                EngineParameters(
                    rows=chip.rows,
                    columns=chip.columns,
                    ou_rows=chip.ou_rows,
                    ou_cols=chip.ou_cols,
                    adc_bits=chip.adc_bits,
                    group_rows=self.placement.group_rows,
                    dynamic=self.placement.dynamic,
                    input_bits=self.placement.format.bits,
                    planes=self.placement.planes(array),
                    signed=self.placement.format.signed and array.shift > 0,
                    lanes=self.load.lanes,
                    skip=self.skip,
                    driven_bits=self.driven_bits,
                    events=self.events,
                    probes=self.probes,
                    groups=groups,
                    slots=tuple(slots[group.block] for group in groups),
                    rotations=tuple(sorted(rotations)),
                    gather=self.load.gather,
                    written=_written(self.load, moves, groups),
                )
            )
        return tuple(found)

    @cached_property
    def macros(self) -> tuple[EngineParameters, ...]:
        """The engine that reads each array, by array."""
        return tuple(
            engine for engine, arrays in zip(self.engines, self.tile.read_together, strict=True) for _ in arrays
        )

    @cached_property
    def accumulators(self) -> tuple[AccumulatorParameters, ...]:
        """Parameters of each accumulator, in order of readers."""
        chip, numbers, found, beats = self.chip, self.placement.format, [], self._beats()
        addresses = self.drain.addresses or ((),) * len(self.tile.readers)
        for array, slots, order, lanes in zip(self.tile.readers, self.drain.counts, beats, addresses, strict=True):
            ranges = [slot_range(self.placement, array, scattered=self.tile.scattered)]
            if self.placement.weight_offset:
                ranges.append(slot_range(self.placement, array, reference=True))
            found.append(
                AccumulatorParameters(
                    lanes=chip.ou_cols,
                    code_bits=chip.adc_bits,
                    paired=array.paired,
                    width=max(r.width for r in ranges),
                    slots=slots,
                    beats=order,
                    addresses=lanes,
                    planes=self.placement.planes(array),
                    signed=numbers.signed,
                    driven_bits=self.driven_bits,
                    latency=chip.read_latency,
                )
            )
        return tuple(found)

    def _beats(self) -> list[tuple[int | None, ...]]:
        """Return for each reader the slot of every beat of a drain."""
        found: dict[int, tuple[int | None, ...]] = {}
        for bank in self.drain.banks:
            for k, array in enumerate(bank.arrays):
                idle = (None,) * (self.drain.length - len(bank.beats))
                found[array] = (*(beat.slots[k] for beat in bank.beats), *idle)
        return [found[array] for array in range(len(found))]


def _written(
    plan: LoadPlan, moves: tuple[LoadMove | None, ...], groups: tuple[RowGroup, ...]
) -> tuple[tuple[int, ...], ...]:
    """Return `EngineParameters.written` of the reader that takes ``moves``."""
    if len(plan.begins) == 1:
        return (tuple(2**group.count - 1 for group in groups),)
    found = [[0] * len(groups) for _ in plan.begins]
    for cycle, move in enumerate(moves):
        if move:
            found[plan.kind_at(cycle)][move.group] |= move.rows
    return tuple(map(tuple, found))
