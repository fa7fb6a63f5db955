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
from selvage.hw.tile.parameters import BufferParameters, TileParameters
from selvage.mapping.dense import dense_kinds
from selvage.mapping.load import words_of
from selvage.mapping.placement import in_passes, row_groups
from selvage.sim.cycles import tile_cycles

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


def model_network(
    layers: list[Layer],
    chip: Chip,
    *,
    activations: Activations | None = None,
    skip: bool = True,
    dynamic: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> dict:
    """Count every layer and all exactly: `sim.cycles.tile_cycles` of each tile, one image, schedule ``auto``.

    Totals are sums over layers, as if each had its own arrays and ran after the one before; the largest tile
    is that of any layer. ``skip``: OUs that drive nothing are left out; ``dynamic``: OUs of the rows that drive.
    """
    activations = activations or Activations()
    lines, numbers = [], activations.numbers(chip)
    for index, layer in enumerate(layers):
        lines.append(model_layer(layer, chip, activations.draw(layer, index, chip), numbers, skip, dynamic=dynamic))
        tick()
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
        "layers": [asdict(line) for line in lines],
    }


def model_layer(
    layer: Layer, chip: Chip, codes: NDArray[np.int64], numbers: InputFormat, skip: bool, *, dynamic: bool = False
) -> LayerCycles:
    """Count one layer with activations ``codes`` (N, C, H, W), zero point subtracted."""
    placement, order = dense_kinds(layer, chip, input_format=numbers, dynamic=dynamic)
    found = [tile_cycles(placement, tile, codes, skip=skip) for tile in placement.tiles]
    times = np.bincount(order).tolist()
    passes = in_passes([found[kind].cycles for kind in order], chip)
    known: dict[tuple, BufferBits] = {}
    bits = []
    for tile in placement.tiles:
        if (kind := placement.likeness(tile)) not in known:
            known[kind] = BufferBits.of(TileParameters(placement, tile, skip=skip))
        bits.append(known[kind])
    reads = sum(tile.reads * many for tile, many in zip(found, times, strict=True))
    return LayerCycles(
        name=layer.name,
        op=layer.op,
        schedule=placement.schedule,
        steps=placement.steps * len(codes),
        cycles=sum(map(max, passes)),
        ou_reads=reads,
        ou_skipped=sum(tile.dense_reads * many for tile, many in zip(found, times, strict=True)) - reads,
        fetched=sum(tile.fetched * many for tile, many in zip(found, times, strict=True)),
        crossbars=sum(len(tile.arrays) * many for tile, many in zip(placement.tiles, times, strict=True)),
        tiles=len(order),
        passes=len(passes),
        buffer_bits=sum((tile.times(many) for tile, many in zip(bits, times, strict=True)), start=BufferBits()),
        buffer_bits_largest=_largest(bits),
    )


def _largest(found: list[BufferBits]) -> BufferBits:
    return max(found, key=lambda bits: bits.total)
