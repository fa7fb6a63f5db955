"""Random chips, layers and activations, small enough to be simulated in a second or two."""

from dataclasses import dataclass
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

Integers = NDArray[np.int64]

LONGEST = 4000  # cycles of all tiles of a draw
TILES = 3
LARGEST = 2**20  # cells of all arrays, times the bits of a code
KINDS = ("dense", "half", "sparse", "small", "extreme", "zero")


@dataclass(frozen=True, eq=False)
class Draw:
    """One random case. ``x`` are raw activations, ``x - format.zero_point`` their codes."""

    seed: tuple[int, int]
    placement: Placement
    weights: Integers
    x: Integers
    kind: str  # of the activations
    skip: bool

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


def draw(seed: int, index: int) -> Draw:
    """Draw ``index`` of ``seed``: the same whenever and wherever it is drawn."""
    rng = np.random.default_rng([seed, index])
    while True:
        found = _attempt(rng, (seed, index))
        if found is not None:
            return found


def _attempt(rng: np.random.Generator, seed: tuple[int, int]) -> Draw | None:
    """A draw, or None when it is impossible or its simulation would take long."""
    try:
        chip, layer = draw_chip(rng), draw_layer(rng)
    except ValidationError:
        return None
    if np.prod(layer.output_size) * layer.outputs > 1200 or np.prod(layer.weight_shape) > 2500:
        return None
    numbers = draw_format(rng, chip)
    if rng.random() < 0.4:  # patterns need whole weights in an OU
        bits = chip.cell_bits * _pick(rng, 1, 1, chip.ou_cols)
        chip = chip.model_copy(update={"weight_bits": min(bits, 16)})
    schedule, fold = draw_schedule(rng, layer, chip)
    weights = draw_weights(rng, layer, chip)
    dynamic = bool(rng.random() < 0.25)
    pruned = patterned(rng, chip, layer, schedule, fold)
    sme = draw_sme(rng, chip) if schedule != "padding-free" and fold == 1 else None
    if pruned:
        weights = draw_pruned(rng, weights)
    if sme and pruned:
        placement, weights = place_pattern_planes(
            layer, weights, chip, input_format=numbers, schedule=schedule, parameters=sme, dynamic=dynamic
        )
    elif pruned:
        place = place_pattern if chip.ou_cols % chip.slices == 0 and rng.random() < 0.6 else place_sre
        placement = place(layer, weights, chip, input_format=numbers, schedule=schedule, dynamic=dynamic)
    elif sme:
        placement, weights = place_sme(
            layer, weights, chip, input_format=numbers, schedule=schedule, parameters=sme, dynamic=dynamic
        )
    else:
        placement = place_dense(
            layer, weights, chip, input_format=numbers, schedule=schedule, fold=fold, dynamic=dynamic
        )
    if len(placement.tiles) > TILES or max(placement.sweep.steps) > 40:
        return None
    if placement.crossbars * chip.rows * -(-chip.columns // chip.ou_cols) * chip.ou_cols * chip.adc_bits > LARGEST:
        return None
    kind = KINDS[rng.choice(len(KINDS), p=[0.4, 0.25, 0.15, 0.1, 0.05, 0.05])]
    images = int(rng.integers(1, 3))
    x = draw_activations(rng, (images, layer.channels, layer.height, layer.width), numbers, kind)
    skip = bool(rng.random() < 0.7)
    codes = x - numbers.zero_point
    if sum(tile_cycles(placement, tile, codes, skip=skip).cycles for tile in placement.tiles) > LONGEST:
        return None
    return Draw(seed, placement, weights, x, kind, skip)


def _pick(rng: np.random.Generator, *values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def _pair(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    """Both from ``low`` to ``high``, equal in half of the cases."""
    first, second = (int(value) for value in rng.integers(low, high + 1, 2))
    return (first, first) if rng.random() < 0.5 else (first, second)


def _any(rng: np.random.Generator, high: int) -> int:
    """From 1 to ``high``, small numbers as often as large ones."""
    return min(high, int(np.exp(rng.uniform(0, np.log(high + 1)))))


def _mostly(rng: np.random.Generator, low: int, usual: int, high: int) -> int:
    """From ``low`` to ``usual``, at times from 1 to ``high``: a sum of rare things is not too rare."""
    return _any(rng, high) if rng.random() < 0.15 else int(rng.integers(low, max(low, min(usual, high)) + 1))


def draw_chip(rng: np.random.Generator) -> Chip:
    """Every key over its whole range, most often small. Raises `ValidationError` where the numbers do not fit."""
    rows, columns = (_mostly(rng, 8, 40, 4096) for _ in range(2))
    cell_bits = _pick(rng, 1, 1, 2, 2, 3, 4)
    ou_rows = rows if rng.random() < 0.15 else _mostly(rng, 1, min(rows, 16), rows)
    encoding, signed = _pick(rng, ("differential", True), ("offset", True), ("differential", False))
    lossless = min(16, (ou_rows * (2**cell_bits - 1)).bit_length())
    return Chip(
        name="drawn",
        rows=rows,
        columns=columns,
        cell_bits=cell_bits,
        ou_rows=ou_rows,
        ou_cols=_mostly(rng, 1, min(columns, 12), columns),
        adc_bits=lossless if rng.random() < 0.8 else int(rng.integers(1, 17)),
        read_latency=_mostly(rng, 1, 4, 64),
        input_bits=_pick(rng, 8, 8, 16, int(rng.integers(1, 17))),
        input_signed=bool(rng.random() < 0.8),
        weight_bits=_pick(rng, *rng.integers(2, 9, 5).tolist(), int(rng.integers(1, 17)), 16),
        weight_signed=signed,
        encoding=encoding,
        arrays_per_tile=_mostly(rng, 1, 8, 1024),
        tiles=_pick(rng, None, None, _any(rng, 8)),
        lanes=_mostly(rng, 1, 8, 256),
    )


def draw_layer(rng: np.random.Generator) -> Layer:
    """Raises `ValidationError` where the geometry is impossible."""
    op = _pick(rng, "conv", "conv", "conv", "conv_transpose", "conv_transpose", "conv_transpose", "dense")
    if op == "dense":
        return Layer(op=op, channels=int(rng.integers(1, 65)), outputs=int(rng.integers(1, 17)))
    groups = _pick(rng, 1, 1, 1, 2, 3)
    kernel, stride, dilation = _pair(rng, 1, 4), _pair(rng, 1, 3), _pair(rng, 1, 3)
    dilation = (1, 1) if rng.random() < 0.6 else dilation
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = [int(rng.integers(0, extent[axis] + (rng.random() < 0.1))) for axis in (0, 1, 0, 1)]
    size = (1, 1) if rng.random() < 0.1 else _pair(rng, 1, 6)
    transposed = op == "conv_transpose"
    extra = [int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True)]
    return Layer(
        op=op,
        channels=groups * int(rng.integers(1, 7)),
        outputs=groups * int(rng.integers(1, 6)),
        height=size[0],
        width=size[1],
        kernel=kernel,
        stride=stride,
        pads=(0, 0, 0, 0) if rng.random() < 0.3 else tuple(pads),
        output_padding=tuple(extra) if transposed and rng.random() < 0.5 else (0, 0),
        dilation=dilation,
        groups=groups,
    )


def draw_format(rng: np.random.Generator, chip: Chip) -> InputFormat:
    """Signed, unsigned, with and without a zero point, as wide as the chip takes or narrower."""
    bits, signed = int(rng.integers(1, chip.input_bits + 1)), bool(chip.input_signed and rng.random() < 0.5)
    low = -(2 ** (bits - 1)) if signed else 0
    zero = int(rng.integers(low, low + 2**bits)) if rng.random() < 0.4 else 0
    return InputFormat(raw_bits=bits, raw_signed=signed, zero_point=zero)


def draw_schedule(rng: np.random.Generator, layer: Layer, chip: Chip) -> tuple[str, int]:
    """A schedule that the layer can have, and a fold."""
    if layer.op != "conv_transpose":
        return "auto", 1
    schedule = _pick(rng, "red", *TRANSPOSED)
    most = min(len(sweep_of(layer, "red").phases), chip.rows)
    return schedule, int(rng.integers(1, most + 1)) if schedule == "red" and rng.random() < 0.4 else 1


def draw_sme(rng: np.random.Generator, chip: Chip) -> SmeParameters | None:
    """Bit-sliced weights in some of the draws on a chip that can have them."""
    if chip.encoding != "differential" or rng.random() < 0.5:
        return None
    return SmeParameters(
        significant_bits=int(rng.integers(1, chip.weight_bits + 1)),
        squeeze=int(rng.integers(0, chip.weight_bits)) // chip.cell_bits * chip.cell_bits,
        truncate=bool(rng.random() < 0.3),
        compact=bool(rng.random() < 0.3),
        sort=bool(rng.random() < 0.3),
    )


def patterned(rng: np.random.Generator, chip: Chip, layer: Layer, schedule: str, fold: int) -> bool:
    """Whether a draw is pruned and mapped by patterns or row lists, where it can be."""
    possible = chip.encoding == "differential" and layer.op != "dense"
    return possible and schedule != "padding-free" and fold == 1 and rng.random() < 0.5


def draw_pruned(rng: np.random.Generator, weights: Integers) -> Integers:
    """Kernels of one, two or three masks, some of them deleted."""
    masks = rng.random((int(rng.integers(1, 4)), *weights.shape[2:])) < 0.5
    chosen = masks[rng.integers(len(masks), size=weights.shape[:2])]
    return weights * chosen * (rng.random(weights.shape[:2]) < 0.7)[:, :, None, None]


def draw_weights(rng: np.random.Generator, layer: Layer, chip: Chip) -> Integers:
    """The chip's whole range; at times its ends alone, at times many zeros."""
    low, high = chip.weight_range
    weights = rng.integers(low, high + 1, layer.weight_shape)
    style = rng.random()
    if style < 0.15:
        weights = np.where(rng.random(layer.weight_shape) < 0.5, low, high)
    elif style < 0.3:
        weights = weights * (rng.random(layer.weight_shape) < 0.3)
    return weights.astype(np.int64)


def draw_activations(rng: np.random.Generator, shape: tuple[int, ...], numbers: InputFormat, kind: str) -> Integers:
    """Raw activations; zeros of any kind are zero codes, that is zero points."""
    low, high = numbers.raw_range
    x = rng.integers(low, high + 1, shape)
    if kind == "small":
        x = np.clip(numbers.zero_point + rng.integers(-1, 2, shape), low, high)
    elif kind == "extreme":
        x = np.where(rng.random(shape) < 0.5, low, high)
    share = {"half": 0.5, "sparse": 0.9, "zero": 1.0}.get(kind, 0.0)
    return np.where(rng.random(shape) < share, numbers.zero_point, x).astype(np.int64)
