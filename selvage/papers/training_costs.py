"""Time and energy of the products of a training chip, by the cycle model and published figures of the analog parts.

A product is one of a layer's three: forward, data gradient, weight gradient. Each is placed densely without weights,
and its cycles and reads are counted with every OU read. Every constant stands beside its source.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selvage.base.chip import Chip
from selvage.base.layer import InputFormat, Layer
from selvage.compiler.shape_cycles import count_shape
from selvage.mapping.backward import data_gradient_layer, weight_gradient_layer
from selvage.mapping.dense import dense_kinds
from selvage.mapping.placement import Placement, row_groups
from selvage.papers.dcgan import Gan
from selvage.sim.energy import ReadEnergy

KINDS = ("forward", "data gradient", "weight gradient")
FORMAT = InputFormat(raw_bits=8, raw_signed=True)  # errors have signs; activations may take the same eight planes

# ISAAC (ISCA 2016): all rows of a 128 x 128 array conduct for a read of 100 ns, in which every bit line is converted.
# Its read takes 30 pJ, a row driver 3.3 fJ a nanosecond (both as Accelergy's plug-ins carry the paper).
ISAAC_READ_NS, ISAAC_READ_PJ, ISAAC_ROW_PJ_NS = 100.0, 30.0, 0.0033
# An OU of 9 x 8 is read in 15.6 ns at 65 nm, scaled to 32 nm (Yu et al., arXiv 2010.06156, as recalled).
OU_READ_NS = 7.68
# ISAAC's 8-bit SAR converter of 1.2 GS/s takes 2 mW; energy grows with 2^b / (b + 1), its own rule of scaling.
ADC_PJ, ADC_BITS = 1.67, 8
SHIFT_ADD_PJ = 0.042  # of a conversion, 16 bits wide (ISAAC)
# PipeLayer (HPCA 2017) and GraphR (HPCA 2018) write in 50.88 ns, from Niu et al., ICCAD 2013 (as recalled).
WRITE_NS = 50.88
# A pulse of 2 V at 40 uA, GraphR's cell, for that time: 4.07 pJ. The same papers print 3.91 nJ "a spike", which one
# such cell cannot take: it would be 38 mA.
WRITE_VOLTS, WRITE_AMPERES = 2.0, 40e-6
WRITE_PJ = WRITE_VOLTS * WRITE_AMPERES * WRITE_NS * 1e3
PRINTED_WRITE_PJ = 3910.0
# A chip of ISAAC: 168 tiles of 12 IMAs of 8 arrays.
ISAAC_ARRAYS = 168 * 12 * 8


@dataclass(frozen=True)
class Costs:
    """Nanoseconds of a clock cycle, in which an array reads one OU, and of writing a row; picojoules of each event."""

    clock_ns: float
    read: ReadEnergy
    write_ns: float = WRITE_NS
    write_pj: float = WRITE_PJ
    side_by_side: bool = False  # every array writes its own rows of a stored operand, at once


def converter_pj(bits: int) -> float:
    """Energy of one conversion, and of the shift and add behind it."""
    return ADC_PJ * (2**bits / (bits + 1)) / (2**ADC_BITS / (ADC_BITS + 1)) + SHIFT_ADD_PJ


def costs(chip: Chip, clock_ns: float | None = None) -> Costs:
    """Return what events of ``chip`` cost. An OU as high as the array has ISAAC's figures, a lower one those of Yu."""
    conversion = converter_pj(chip.adc_bits)
    if chip.ou_rows < chip.rows:
        return Costs(clock_ns or OU_READ_NS, ReadEnergy(conversion=conversion))
    groups = -(-chip.columns // chip.ou_cols)  # share the time of one read of the array
    share, cell = ISAAC_READ_NS / groups, ISAAC_READ_PJ / (chip.rows * chip.columns)
    return Costs(clock_ns or share, ReadEnergy(conversion, ISAAC_ROW_PJ_NS * share, cell))


@dataclass(frozen=True)
class Events:
    """OU reads and what they do: bit lines converted, word lines driven, cells read."""

    reads: int
    conversions: int
    rows: int
    cells: int

    def times(self, count: int) -> "Events":
        """Return ``count`` times these."""
        return Events(*(count * own for own in (self.reads, self.conversions, self.rows, self.cells)))

    def picojoules(self, own: ReadEnergy) -> float:
        """Return the energy of them."""
        return own.of(self.conversions, self.rows, self.cells)


@dataclass(frozen=True)
class Product:
    """One product of a layer for one sample, its arrays standing once.

    ``steps`` are shared by copies. A weight gradient has ``stored_rows`` and ``stored_cells`` written before its first
    read, in every copy; the others have ``weights`` cells, which an update rewrites.
    """

    network: str  # G or D
    layer: str
    kind: str
    steps: int
    step_cycles: float
    fill: int  # cycles beside those of the steps
    arrays: int
    events: Events
    stored_rows: int = 0
    stored_cells: int = 0
    weights: int = 0

    @property
    def name(self) -> str:
        """The layer, and which of its products."""
        return f"{self.layer} {self.kind}"

    def written(self, own: Costs, chip: Chip) -> float:
        """Nanoseconds in which the stored operand is written."""
        return own.write_ns * (min(self.stored_rows, chip.rows) if own.side_by_side else self.stored_rows)

    def fixed(self, own: Costs, chip: Chip) -> float:
        """Nanoseconds that copies do not share."""
        return self.fill * own.clock_ns + self.written(own, chip)

    def time(self, copies: int, own: Costs, chip: Chip) -> float:
        """Nanoseconds of a sample."""
        return self.fixed(own, chip) + -(-self.steps // copies) * self.step_cycles * own.clock_ns

    def copies_for(self, time: float, own: Costs, chip: Chip) -> int:
        """Return the fewest copies that take no more than ``time``; 0: none are enough."""
        each = self.step_cycles * own.clock_ns
        turns = math.floor((time - self.fixed(own, chip)) / each + 1e-9)
        return -(-self.steps // turns) if turns > 0 else 0


def step_events(placement: Placement, order: Sequence[int]) -> Events:
    """Return what one step does: each OU drives its own rows and converts its own columns, in every bit plane."""
    reads = conversions = rows = cells = 0
    for tile, many in zip(placement.tiles, np.bincount(order).tolist(), strict=True):
        for array in tile.arrays:
            for group in row_groups(array, placement):
                block = array.blocks[group.block]
                columns = len(block.outputs) * array.slices * len(block.significances)
                times = many * placement.planes(array)
                reads += times * group.column_groups
                conversions += times * columns
                rows += times * group.count * group.column_groups
                cells += times * group.count * columns
    return Events(reads, conversions, rows, cells)


def product(network: str, layer: Layer, kind: str, chip: Chip) -> Product:
    """Count a product; ``kind``: forward, data gradient or weight gradient."""
    made = {"forward": lambda x: x, "data gradient": data_gradient_layer, "weight gradient": weight_gradient_layer}
    what: Layer = made[kind](layer)
    placement, order = dense_kinds(what, chip, input_format=FORMAT)
    once, twice = (
        count_shape(placement, order, np.ones((images, what.channels, what.height, what.width), np.int64), False).line()
        for images in (1, 2)
    )
    interval = twice.cycles - once.cycles  # of an image behind another
    cells = int(np.prod(what.weight_shape)) * chip.slices * chip.polarities
    images, stored_rows, stored, weights = 1, 0, 0, cells
    if kind == "weight gradient":  # an image for each channel of the map that is not stored
        images = layer.channels if layer.op == "conv" else layer.outputs
        stored_rows, stored, weights = what.kernel[0] * what.kernel[1], cells, 0
    step = step_events(placement, order)
    if step.reads * once.steps != once.ou_reads:
        raise ValueError(f"{layer.name} {kind}: {step.reads} reads a step are not the {once.ou_reads} of the model")
    return Product(
        network=network,
        layer=layer.name,
        kind=kind,
        steps=images * once.steps,
        step_cycles=interval / once.steps,
        fill=once.cycles - interval,
        arrays=once.crossbars,
        events=step.times(images * once.steps),
        stored_rows=stored_rows,
        stored_cells=stored,
        weights=weights,
    )


def products(gan: Gan, chip: Chip) -> list[Product]:
    """All products of both networks; the generator's first layer needs no data gradient, for noise has no error."""
    found = []
    for network, layers in (("G", gan.generator), ("D", gan.discriminator)):
        for index, layer in enumerate(layers):
            kinds = ["forward", "weight gradient"] if network == "G" and not index else KINDS
            found += [product(network, layer, kind, chip) for kind in kinds]
    return found


@dataclass(frozen=True)
class Balance:
    """How often each product stands, the arrays of all, and the nanoseconds of the slowest: ``written`` it writes."""

    copies: tuple[int, ...]
    arrays: int
    time: float
    slowest: str
    written: float


def arrays_of(found: Sequence[Product], copies: Sequence[int], discriminators: int) -> int:
    """Arrays on the chip, where the discriminator stands ``discriminators`` times."""
    times = {"G": 1, "D": discriminators}
    return sum(own.arrays * count * times[own.network] for own, count in zip(found, copies, strict=True))


def balanced(found: Sequence[Product], budget: int, discriminators: int, own: Costs, chip: Chip) -> Balance:
    """Return copies with which the slowest product is as fast as ``budget`` arrays allow; at least one of each."""
    low, high = 0.0, max(each.time(1, own, chip) for each in found)
    best = [1] * len(found)
    while high - low > 1e-3:
        middle = (low + high) / 2
        counts = [each.copies_for(middle, own, chip) for each in found]
        if all(counts) and arrays_of(found, counts, discriminators) <= budget:
            best, high = counts, middle
        else:
            low = middle
    return stood(found, best, discriminators, own, chip)


def stood(found: Sequence[Product], copies: Sequence[int], discriminators: int, own: Costs, chip: Chip) -> Balance:
    """Return what so many copies take."""
    times = [each.time(count, own, chip) for each, count in zip(found, copies, strict=True)]
    slowest = found[times.index(max(times))]
    arrays = arrays_of(found, copies, discriminators)
    return Balance(tuple(copies), arrays, max(times), slowest.name, slowest.written(own, chip))
