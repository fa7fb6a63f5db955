"""`selvage model shapes:NAME`: a known network without its weights, counted layer by layer.

Planes depend on weights, so weights are drawn for them. Where all is dense none are, and cycles are counted too.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import Layer
from selvage.compiler.chip_limits import check_signs
from selvage.compiler.copies_asked import CopiesAsked
from selvage.compiler.shape_cycles import Activations, model_network
from selvage.golden.sme import full_scale, quantise
from selvage.mapping.dense import dense_crossbars
from selvage.mapping.sme import SmeParameters, sme_crossbars, worth

BASELINES = {  # bits of a weight, bits of a cell, arrays of a weight
    "slc8": (8, 1, 2),
    "slc16": (16, 1, 2),
    "slc32": (32, 1, 2),
    "isaac": (16, 2, 1),
}


@dataclass(frozen=True)
class Synthetic:
    """Weights that are drawn: independent, of one distribution, the smallest pruned to ``sparsity``."""

    weights: str = "laplace"
    sparsity: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.weights not in ("gauss", "laplace", "t4"):
            raise InputError(f"--weights {self.weights!r} is none of gauss, laplace, t4")
        if not 0 <= self.sparsity < 1:
            raise InputError(f"--sparsity {self.sparsity} is outside 0 .. 1, 1 excluded")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} is below 0")

    def draw(self, layer: Layer, index: int) -> NDArray[np.float32]:
        """Draw the weights of layer ``index``, of ``layer.weight_shape``."""
        rng, shape = np.random.default_rng([self.seed, index]), layer.weight_shape
        values = rng.standard_normal(shape, np.float32)
        if self.weights == "laplace":
            values = np.copysign(rng.standard_exponential(shape, np.float32), values)
        elif self.weights == "t4":
            values /= np.sqrt(rng.standard_gamma(2, shape, np.float32) / 2)
        if self.sparsity:
            magnitudes = np.abs(values)
            values[magnitudes < np.quantile(magnitudes, self.sparsity)] = 0
        return values


@dataclass(frozen=True)
class LayerCount:
    """One layer's arrays."""

    name: str
    op: str
    mapping: str
    weights: int
    crossbars: int
    crossbars_dense: dict[str, int]
    sqnr_db: float | None  # None: nothing was drawn, or nothing is lost
    note: str


def check_network(chip: Chip, mapping: str, sme: SmeParameters | None) -> None:
    """Raise `InputError` when `count_network` cannot be asked this."""
    if mapping not in ("auto", "dense", "sme"):
        raise InputError(f"--mapping {mapping!r} is none of auto, dense, sme, pattern, those that shapes:NAME has")
    if sme and mapping == "dense":
        raise InputError("--squeeze, --significant-bits and what goes with them need --mapping sme or auto")
    if has_planes(mapping, sme):
        (sme or SmeParameters()).check(chip)
        check_signs(chip, "planes are counted with drawn weights, of both signs")


def has_planes(mapping: str, sme: SmeParameters | None) -> bool:
    """Return whether some layer may be mapped by planes."""
    return mapping == "sme" or sme is not None


def count_network(
    layers: list[Layer],
    chip: Chip,
    mapping: str,
    sme: SmeParameters | None,
    synthetic: Synthetic,
    tick: Callable[[], None] = lambda: None,
) -> dict:
    """Count arrays of every layer and of all, beside those of dense mappings, and the weight error over all layers.

    ``mapping``: ``sme`` maps every layer by planes, ``auto`` those that gain by it when ``sme`` is given,
    ``dense`` none, and then no weights are drawn.
    The error is of the weights as they are computed with, against those drawn, each layer at full
    scale: signal and noise of all layers, each weighted by its own power, add up.
    """
    check_network(chip, mapping, sme)
    drawn = has_planes(mapping, sme)
    mapping = mapping if drawn else "dense"
    sme = sme or SmeParameters()
    lines, signal, noise = [], 0.0, 0.0
    for index, layer in enumerate(layers):
        weights = synthetic.draw(layer, index) if drawn else None
        line, powers = _count_layer(layer, weights, chip, mapping, sme)
        lines.append(line)
        signal, noise = signal + powers[0], noise + powers[1]
        tick()
    dense = {name: sum(line.crossbars_dense[name] for line in lines) for name in BASELINES}
    total = sum(line.crossbars for line in lines)
    return {
        "crossbars": total,
        "crossbars_dense": dense,
        "ratios": {name: round(count / total, 4) for name, count in dense.items()},
        "sqnr_db": decibels(signal, noise),
        "chip": chip.name,
        "mapping": mapping,
        "sme": asdict(sme) if drawn else None,
        "synthetic": asdict(synthetic) if drawn else None,
        "layers": [asdict(line) for line in lines],
    }


def count_cycles(
    layers: list[Layer],
    chip: Chip,
    activations: Activations,
    *,
    skip: bool,
    dynamic: bool = False,
    copies: CopiesAsked | None = None,
    pipeline: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> dict:
    """Count the dense mapping as `count_network` does, and what `model_network` counts, of every layer and of all.

    ``crossbars`` are those of the placement, which may be some more than the plain formula of ``crossbars_dense``.
    """
    counts = count_network(layers, chip, "dense", None, Synthetic())
    how = {"skip": skip, "dynamic": dynamic, "copies": copies, "pipeline": pipeline}
    cycles = model_network(layers, chip, activations=activations, **how, tick=tick)
    lines = [line | more for line, more in zip(counts["layers"], cycles["layers"], strict=True)]
    dense, total = counts["crossbars_dense"], cycles["crossbars"]
    ratios = {name: round(count / total, 4) for name, count in dense.items()}
    return counts | cycles | {"ratios": ratios, "layers": lines}


def decibels(signal: float, noise: float) -> float | None:
    """Return the ratio of two powers in decibels; None where one of them is 0."""
    return round(float(10 * np.log10(signal / noise)), 3) if signal and noise else None


def _count_layer(
    layer: Layer, weights: NDArray | None, chip: Chip, mapping: str, sme: SmeParameters
) -> tuple[LayerCount, tuple[float, float]]:
    """Return one layer's line, and the powers of its weights and of their error; without ``weights`` all is dense."""
    baselines = {
        name: dense_crossbars(layer, chip, bits=bits, cell_bits=cell, polarities=polarities)
        for name, (bits, cell, polarities) in BASELINES.items()
    }
    size = int(np.prod(layer.weight_shape))
    dense = dense_crossbars(layer, chip, bits=chip.weight_bits, cell_bits=chip.cell_bits, polarities=chip.polarities)
    if weights is None:
        return LayerCount(layer.name, layer.op, "dense", size, dense, baselines, None, ""), (0.0, 0.0)
    note, chosen = "", "sme"
    scale = full_scale(weights, chip.weight_bits, sme.significant_bits)
    codes = quantise(weights, chip.weight_bits, sme.significant_bits, scale)
    count, effective = sme_crossbars(layer, codes, chip, sme)
    if mapping == "auto" and not worth(count, dense):
        note, chosen = f"kept dense: planes gain too little, {count} arrays instead of {dense}", "dense"
        scale = full_scale(weights, chip.weight_bits, chip.weight_bits)
        count, effective = dense, quantise(weights, chip.weight_bits, chip.weight_bits, scale)
    error = weights - effective * np.float32(scale)
    signal, noise = (float(np.square(part, dtype=np.float64).sum()) for part in (weights, error))
    line = LayerCount(layer.name, layer.op, chosen, size, count, baselines, decibels(signal, noise), note)
    return line, (signal, noise)
