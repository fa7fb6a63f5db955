"""A known network on a chip without its weights: cycles, OU reads, crossbars and buffers, layer by layer.

Every layer is placed densely, every tile goes through the cycle model with synthetic activations. Nothing is
sampled: tiles that differ in their outputs alone are counted once, times how many there are.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.compiler.copies import PacedLayer, Standing, assign, counts_asked, slowest
from selvage.compiler.copies_asked import CopiesAsked
from selvage.hw.tile.parameters import BufferParameters, TileParameters
from selvage.mapping.dense import dense_kinds
from selvage.mapping.load import words_of
from selvage.mapping.placement import Placement, in_passes, row_groups
from selvage.sim.cycles import Timeline, every_read, share_of
from selvage.sim.layer import CountedPass

BITS = 8  # of an activation, unless the chip takes fewer


@dataclass(frozen=True)
class Activations:
    """Activations that are drawn, unsigned as after a ReLU: a share of zeros, the others half a bell.

    The bell's deviation is a quarter of the range, so one value in 16 000 is cut at its end.
    """

    zeros: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.zeros <= 1:
            raise InputError(f"--zeros {self.zeros} is outside 0 .. 1")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} is below 0")

    def numbers(self, chip: Chip) -> InputFormat:
        """Return their format."""
        return InputFormat(raw_bits=min(BITS, chip.input_bits), raw_signed=False)

    def draw(self, layer: Layer, index: int, chip: Chip) -> NDArray[np.int64]:
        """Draw one image (1, C, H, W) for layer ``index``; the zero point is 0."""
        rng, top = np.random.default_rng([self.seed, index]), self.numbers(chip).raw_range[1]
        shape = (1, layer.channels, layer.height, layer.width)
        bell = np.abs(rng.standard_normal(shape, np.float32)) * np.float32((top + 1) / 4)
        kept = rng.random(shape, np.float32) >= self.zeros
        return (np.clip(np.rint(bell), 1, top) * kept).astype(np.int64)


@dataclass(frozen=True)
class BufferBits:
    """Bits of a tile's memories as the RTL has them, both banks of those that have two."""

    input: int = 0  # the line buffer
    rows: int = 0  # row registers
    sums: int = 0  # accumulators

    @classmethod
    def of(cls, parameters: TileParameters) -> "BufferBits":
        """Return the bits of a tile. Its load plan, which takes long for large layers, is not asked for."""
        placement, tile = parameters.placement, parameters.tile
        lanes, words = words_of(tile, placement)
        pixels = tuple((*offset, 0) for offset in tile.offsets)  # each is read, whatever the order
        buffer = BufferParameters(placement.sweep, placement.format, lanes, words, pixels)
        groups = (len(row_groups(array, placement)) for array in tile.readers)
        row_bits = placement.group_rows * placement.format.bits
        return cls(
            input=buffer.depth * lanes * placement.format.bits,
            rows=sum(2 * 2 ** max(1, (count - 1).bit_length()) * row_bits for count in groups),
            sums=sum(
                2 * 2**one.slot_bits * (one.lanes + bool(one.driven_bits)) * one.width
                for one in parameters.accumulators
            ),
        )

    @property
    def total(self) -> int:
        """Bits of all memories."""
        return self.input + self.rows + self.sums

    def __add__(self, other: "BufferBits") -> "BufferBits":
        return BufferBits(self.input + other.input, self.rows + other.rows, self.sums + other.sums)

    def times(self, count: int) -> "BufferBits":
        """Return the bits of ``count`` such tiles."""
        return BufferBits(self.input * count, self.rows * count, self.sums * count)


@dataclass(frozen=True)
class LayerCycles:
    """One layer and one image. Cycles are those of the slowest tile: tiles run side by side, passes one by one."""

    name: str
    op: str
    schedule: str
    steps: int
    cycles: int
    ou_reads: int
    ou_skipped: int
    fetched: int  # activation words accepted, all tiles
    crossbars: int
    tiles: int
    passes: int  # with more tiles than the chip has
    buffer_bits: BufferBits  # of all tiles
    buffer_bits_largest: BufferBits  # of the tile that has most
    copies: int = 1  # how often the layer stands; crossbars, tiles, words and buffers are those of all copies


@dataclass(frozen=True, eq=False)
class CountedShape:
    """A layer placed on a chip, with the reads of every step: a tile of each kind, and which kind each tile is."""

    placement: Placement
    order: list[int]
    counted: CountedPass
    skip: bool

    @property
    def paced(self) -> PacedLayer:
        """The layer for the choice of copies."""
        own = _standing(self.placement, self.order)
        return PacedLayer(own.name, own.placement, own.arrays, own.tiles, self.counted)

    def line(self, copies: int = 1) -> LayerCycles:
        """Return the counts with so many ``copies``."""
        placement, images = self.placement.copied(copies), self.counted.images
        times = np.bincount(self.order) * copies
        cycles, totals, bits = [], [], []
        known: dict[tuple, BufferBits] = {}
        for tile, reads in zip(placement.tiles, self.counted.reads.values(), strict=True):
            shares = [(share, *share_of(reads, share, tile, images)) for share in placement.shares]
            cycles.append(max(Timeline(share, tile).run(own, images) for share, _, own in shares))
            totals.append([counts for _, counts, _ in shares])
            if (like := placement.likeness(tile)) not in known:
                known[like] = BufferBits.of(TileParameters(placement.shares[0], tile, skip=self.skip))
            bits.append(known[like])

        def total(name: str) -> int:
            found = zip(totals, np.bincount(self.order).tolist(), strict=True)
            return sum(sum(getattr(counts, name) for counts in shares) * many for shares, many in found)

        passes = in_passes([cycles[kind] for kind in self.order], placement.chip)
        return LayerCycles(
            name=placement.layer.name,
            op=placement.layer.op,
            schedule=placement.schedule,
            steps=placement.steps * images,
            cycles=sum(map(max, passes)),
            ou_reads=total("reads"),
            ou_skipped=total("dense_reads") - total("reads"),
            fetched=total("fetched"),
            crossbars=self.paced.arrays * copies,
            tiles=len(self.order) * copies,
            passes=len(passes),
            buffer_bits=sum((own.times(many) for own, many in zip(bits, times.tolist(), strict=True)), BufferBits()),
            buffer_bits_largest=_largest(bits),
            copies=copies,
        )


def count_shape(placement: Placement, order: list[int], codes: NDArray[np.int64], skip: bool) -> CountedShape:
    """Count the reads of what `dense_kinds` placed with activations ``codes`` (N, C, H, W), zero point subtracted."""
    kinds = tuple((kind,) for kind in range(len(placement.tiles)))
    reads = {
        kind: every_read(placement, tile, codes, skip=skip) for kind, tile in zip(kinds, placement.tiles, strict=True)
    }
    return CountedShape(placement, order, CountedPass(placement, len(codes), kinds, reads), skip)


def model_layer(
    layer: Layer, chip: Chip, codes: NDArray[np.int64], numbers: InputFormat, skip: bool, *, dynamic: bool = False
) -> LayerCycles:
    """Count one layer, which stands once, with activations ``codes`` (N, C, H, W), zero point subtracted."""
    return count_shape(*dense_kinds(layer, chip, input_format=numbers, dynamic=dynamic), codes, skip).line()


def model_network(
    layers: list[Layer],
    chip: Chip,
    *,
    activations: Activations | None = None,
    skip: bool = True,
    dynamic: bool = False,
    copies: CopiesAsked | None = None,
    pipeline: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> dict:
    """Count every layer and all exactly: `sim.cycles.tile_cycles` of each tile, one image, schedule ``auto``.

    Totals are sums over layers, as if each had its own arrays and ran after the one before; the largest tile
    is that of any layer. ``skip``: OUs that drive nothing are left out; ``dynamic``: OUs of the rows that drive;
    ``copies``: how often layers stand. ``pipeline``: the pace of all layers at work at once, too. Raises `InputError`.
    """
    activations = activations or Activations()
    found, numbers = [], activations.numbers(chip)
    placed = [dense_kinds(layer, chip, input_format=numbers, dynamic=dynamic) for layer in layers]
    if pipeline:
        _check_at_once([order for _, order in placed], chip)
    if copies:
        counts_asked(copies, [_standing(*own) for own in placed])
    for index, (layer, own) in enumerate(zip(layers, placed, strict=True)):
        found.append(count_shape(*own, activations.draw(layer, index, chip), skip))
        tick()
    paced = [shape.paced for shape in found]
    counts = assign(copies, paced) if copies else [1] * len(found)
    lines = [shape.line(count) for shape, count in zip(found, counts, strict=True)]
    totals = ("cycles", "ou_reads", "ou_skipped", "steps", "fetched", "crossbars", "tiles")
    return {
        **{name: sum(getattr(line, name) for line in lines) for name in totals},
        "buffer_bits": asdict(sum((line.buffer_bits for line in lines), start=BufferBits())),
        "buffer_bits_largest": asdict(_largest([line.buffer_bits_largest for line in lines])),
        "chip": chip.name,
        "mapping": "dense",
        "ou_skip": skip,
        "dynamic_ou": dynamic,
        "activations": {**asdict(activations), "bits": numbers.bits},
        **({"pipeline": asdict(_pipeline(paced, lines))} if pipeline else {}),
        "layers": [asdict(line) for line in lines],
    }


@dataclass(frozen=True)
class ShapesPipeline:
    """All layers of shapes at work at once, in cycles.

    How layers are joined is not known: ``per_image`` is the pace of the slowest layer, behind its collector, and
    ``latency`` no more than all layers one after the other.
    """

    per_image: float
    slowest: str
    latency: int
    utilisation: float  # OU reads over the cycles of all arrays


def _pipeline(paced: list[PacedLayer], lines: list[LayerCycles]) -> ShapesPipeline:
    pace, name = slowest(paced, [line.copies for line in lines])
    reads, crossbars = (sum(getattr(line, name) for line in lines) for name in ("ou_reads", "crossbars"))
    return ShapesPipeline(pace, name, sum(line.cycles for line in lines), reads / (crossbars * pace))


def _standing(placement: Placement, order: list[int]) -> Standing:
    arrays = sum(len(placement.tiles[kind].arrays) for kind in order)
    return Standing(placement.layer.name, placement, arrays, len(order))


def _check_at_once(orders: list[list[int]], chip: Chip) -> None:
    """Raise `InputError` where the chip has fewer tiles than the ``orders`` of one copy of each layer."""
    need = sum(map(len, orders))
    if chip.tiles is not None and need > chip.tiles:
        raise InputError(
            f"a pipeline needs all layers on the chip at once: {need:,} tiles, and chip {chip.name} has tiles = "
            f"{chip.tiles}"
        )


def _largest(found: list[BufferBits]) -> BufferBits:
    return max(found, key=lambda bits: bits.total)
