"""Random chips, layers and activations, small enough to be simulated in a second or two."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from selvage.base.chip import Chip
from selvage.base.layer import InputFormat, Layer
from selvage.golden.layer import evaluate
from selvage.mapping.dense import place_dense
from selvage.mapping.pattern import place_pattern
from selvage.mapping.pattern_planes import place_pattern_planes
from selvage.mapping.placement import Placement
from selvage.mapping.schedule import TRANSPOSED, sweep_of
from selvage.mapping.sme import SmeParameters, place_sme
from selvage.mapping.sre import place_sre
from selvage.sim.cycles import tile_cycles
from selvage.sim.machine import run as run_crossbars
from tb.models.choices import Choices, Seeded

Integers = NDArray[np.int64]

LONGEST = 4000  # cycles of all tiles of a draw
TILES = 3
LARGEST = 2**20  # cells of all arrays, times the bits of a code
KINDS = {"small": 2, "zero": 1, "sparse": 3, "half": 5, "dense": 8, "extreme": 1}
"""Of activations, with how often each is drawn."""


@dataclass(frozen=True, eq=False)
class Draw:
    """One random case. ``x`` are raw activations, ``x - format.zero_point`` their codes."""

    placement: Placement
    weights: Integers
    x: Integers
    kind: str  # of the activations
    skip: bool
    seed: tuple[int, ...] = ()  # and number, where it is of `seeded`

    @property
    def codes(self) -> Integers:
        return self.x - self.placement.format.zero_point

    @property
    def sums(self) -> Integers:
        """Golden outputs (N, M, OH, OW); where codes clip, those of the crossbars, which alone know what is lost."""
        chip = self.placement.chip
        if chip.adc_bits < chip.lossless_adc_bits:
            return run_crossbars(self.placement, self.codes)
        return evaluate(self.placement.layer, self.codes, self.weights)

    def describe(self) -> dict[str, Any]:
        """Everything that was drawn but the values."""
        p = self.placement
        return {
            "seed": list(self.seed),
            "chip": p.chip.model_dump(),
            "layer": p.layer.model_dump(),
            "schedule": p.schedule,
            "fold": p.fold,
            "mapping": p.mapping,
            "dynamic": p.dynamic,
            "skip": self.skip,
            "format": [p.format.raw_bits, p.format.raw_signed, p.format.zero_point],
            "images": len(self.x),
            "activations": self.kind,
            "tiles": len(p.tiles),
            "arrays": p.crossbars,
        }

    def __repr__(self) -> str:
        return f"Draw({self.describe()}, weights={self.weights.tolist()}, x={self.x.tolist()})"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """Tell what was drawn where Hypothesis would tell the whole placement."""
        printer.text(repr(self))


def seeded(seed: int, index: int) -> Draw:
    """Draw ``index`` of ``seed``: the same whenever and wherever it is drawn."""
    choices = Seeded(seed, index)
    while True:
        found = draw_case(choices)
        if found is not None:
            return replace(found, seed=(seed, index))


def draw_case(choices: Choices) -> Draw | None:
    """A draw, or None when it is impossible or its simulation would take long."""
    try:
        chip, layer = draw_chip(choices), draw_layer(choices)
    except ValidationError:
        return None
    if np.prod(layer.output_size) * layer.outputs > 1200 or np.prod(layer.weight_shape) > 2500:
        return None
    numbers = draw_format(choices, chip)
    if choices.chance(0.4):  # patterns need whole weights in an OU
        bits = chip.cell_bits * choices.choice((1, 1, chip.ou_cols))
        chip = chip.model_copy(update={"weight_bits": min(bits, 16)})
    schedule, fold = draw_schedule(choices, layer, chip)
    weights = draw_weights(choices, layer, chip)
    placement, weights = draw_placement(choices, layer, weights, chip, numbers, schedule, fold)
    if len(placement.tiles) > TILES or max(placement.sweep.steps) > 40:
        return None
    if placement.crossbars * chip.rows * -(-chip.columns // chip.ou_cols) * chip.ou_cols * chip.adc_bits > LARGEST:
        return None
    kind = choices.choice([kind for kind, times in KINDS.items() for _ in range(times)])
    images = choices.integers(1, 2)
    x = draw_activations(choices, (images, layer.channels, layer.height, layer.width), numbers, kind)
    skip = choices.chance(0.7)
    codes = x - numbers.zero_point
    if sum(tile_cycles(placement, tile, codes, skip=skip).cycles for tile in placement.tiles) > LONGEST:
        return None
    return Draw(placement, weights, x, kind, skip)


def draw_chip(choices: Choices) -> Chip:
    """Every key over its whole range, most often small. Raises `ValidationError` where the numbers do not fit."""
    rows, columns = (choices.mostly(8, 40, 4096) for _ in range(2))
    cell_bits = choices.choice((1, 1, 2, 2, 3, 4))
    ou_rows = rows if choices.chance(0.15) else choices.mostly(1, min(rows, 16), rows)
    encoding, signed = choices.choice((("differential", True), ("offset", True), ("differential", False)))
    lossless = min(16, (ou_rows * (2**cell_bits - 1)).bit_length())
    return Chip(
        name="drawn",
        rows=rows,
        columns=columns,
        cell_bits=cell_bits,
        ou_rows=ou_rows,
        ou_cols=choices.mostly(1, min(columns, 12), columns),
        adc_bits=choices.integers(1, 16) if choices.chance(0.2) else lossless,
        full_range=rows % 3 == 1,  # drawn by what is drawn: seeds keep their chips
        read_latency=choices.mostly(1, 4, 64),
        input_bits=choices.choice((8, 8, 16, choices.integers(1, 16))),
        input_signed=not choices.chance(0.2),
        weight_bits=choices.choice((*[choices.integers(2, 8)] * 5, choices.integers(1, 16), 16)),
        weight_signed=signed,
        encoding=encoding,
        arrays_per_tile=choices.mostly(1, 8, 1024),
        tiles=choices.choice((None, 1, choices.size(8))),
        lanes=choices.mostly(1, 8, 256),
    )


def draw_layer(choices: Choices) -> Layer:
    """Raises `ValidationError` where the geometry is impossible."""
    op = choices.choice((*["conv"] * 3, *["conv_transpose"] * 3, "dense"))
    if op == "dense":
        return Layer(op=op, channels=choices.integers(1, 64), outputs=choices.integers(1, 16))
    groups = choices.choice((1, 1, 1, 2, 3))
    kernel, stride = choices.pair(1, 4), choices.pair(1, 3)
    dilation = choices.pair(1, 3) if choices.chance(0.4) else (1, 1)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = (0, 0, 0, 0)
    if choices.chance(0.7):
        pads = tuple(choices.integers(0, extent[axis] - 1 + choices.chance(0.1)) for axis in (0, 1, 0, 1))
    size = (1, 1) if choices.chance(0.1) else choices.pair(1, 6)
    extra = (0, 0)
    if op == "conv_transpose" and choices.chance(0.5):
        extra = tuple(choices.integers(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True))
    return Layer(
        op=op,
        channels=groups * choices.integers(1, 6),
        outputs=groups * choices.integers(1, 5),
        height=size[0],
        width=size[1],
        kernel=kernel,
        stride=stride,
        pads=pads,
        output_padding=extra,
        dilation=dilation,
        groups=groups,
    )


def draw_format(choices: Choices, chip: Chip) -> InputFormat:
    """Signed, unsigned, with and without a zero point, as wide as the chip takes or narrower."""
    bits, signed = choices.integers(1, chip.input_bits), chip.input_signed and choices.chance(0.5)
    low = -(2 ** (bits - 1)) if signed else 0
    zero = choices.integers(low, low + 2**bits - 1) if choices.chance(0.4) else 0
    return InputFormat(raw_bits=bits, raw_signed=signed, zero_point=zero)


def draw_schedule(choices: Choices, layer: Layer, chip: Chip) -> tuple[str, int]:
    """A schedule that the layer can have, and a fold."""
    if layer.op != "conv_transpose":
        return "auto", 1
    schedule = choices.choice(("red", *TRANSPOSED))
    most = min(len(sweep_of(layer, "red").phases), chip.rows)
    return schedule, choices.integers(1, most) if schedule == "red" and choices.chance(0.4) else 1


def draw_placement(
    choices: Choices, layer: Layer, weights: Integers, chip: Chip, numbers: InputFormat, schedule: str, fold: int
) -> tuple[Placement, Integers]:
    """By any mapping that the chip and the layer can have, with the weights that it computes with."""
    how: dict[str, Any] = {"input_format": numbers, "schedule": schedule, "dynamic": choices.chance(0.25)}
    sparse = chip.encoding == "differential" and schedule != "padding-free" and fold == 1
    pruned = sparse and layer.op != "dense" and choices.chance(0.5)
    if pruned:
        weights = draw_pruned(choices, weights)
    if sparse and choices.chance(0.5):
        place = place_pattern_planes if pruned else place_sme
        return place(layer, weights, chip, parameters=draw_sme(choices, chip), **how)
    if pruned:
        place = place_pattern if chip.ou_cols % chip.slices == 0 and choices.chance(0.6) else place_sre
        return place(layer, weights, chip, **how), weights
    return place_dense(layer, weights, chip, fold=fold, **how), weights


def draw_sme(choices: Choices, chip: Chip) -> SmeParameters:
    """Bit-sliced weights, squeezed by any number of planes."""
    return SmeParameters(
        significant_bits=choices.integers(1, chip.weight_bits),
        squeeze=choices.integers(0, chip.weight_bits - 1) // chip.cell_bits * chip.cell_bits,
        truncate=choices.chance(0.3),
        compact=choices.chance(0.3),
        sort=choices.chance(0.3),
    )


def draw_pruned(choices: Choices, weights: Integers) -> Integers:
    """Kernels of one, two or three masks, some of them deleted."""
    rng = choices.generator()
    masks = rng.random((choices.integers(1, 3), *weights.shape[2:])) < 0.5
    chosen = masks[rng.integers(len(masks), size=weights.shape[:2])]
    return weights * chosen * (rng.random(weights.shape[:2]) < 0.7)[:, :, None, None]


def draw_weights(choices: Choices, layer: Layer, chip: Chip) -> Integers:
    """The chip's whole range; at times its ends alone, at times many zeros."""
    low, high = chip.weight_range
    style, rng = choices.choice((*["whole"] * 14, *["zeros"] * 3, *["ends"] * 3)), choices.generator()
    weights = rng.integers(low, high + 1, layer.weight_shape)
    if style == "ends":
        weights = np.where(rng.random(layer.weight_shape) < 0.5, low, high)
    elif style == "zeros":
        weights = weights * (rng.random(layer.weight_shape) < 0.3)
    return weights.astype(np.int64)


def draw_activations(choices: Choices, shape: tuple[int, ...], numbers: InputFormat, kind: str) -> Integers:
    """Raw activations; zeros of any kind are zero codes, that is zero points."""
    (low, high), rng = numbers.raw_range, choices.generator()
    x = rng.integers(low, high + 1, shape)
    if kind == "small":
        x = np.clip(numbers.zero_point + rng.integers(-1, 2, shape), low, high)
    elif kind == "extreme":
        x = np.where(rng.random(shape) < 0.5, low, high)
    share = {"half": 0.5, "sparse": 0.9, "zero": 1.0}.get(kind, 0.0)
    return np.where(rng.random(shape) < share, numbers.zero_point, x).astype(np.int64)
