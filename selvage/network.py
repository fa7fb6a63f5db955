"""`selvage model shapes:NAME`: a known network with synthetic weights, counted layer by layer."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from golden.sme import full_scale, quantise
from mapping.dense import dense_crossbars
from mapping.sme import SmeParameters, sme_crossbars, worth
from spec.chip import Chip
from spec.errors import InputError
from spec.layer import Layer

PREFIX = "shapes:"
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
        """Weights of layer ``index``, of ``layer.weight_shape``."""
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
    sqnr_db: float | None  # None: nothing is lost but the rounding to weight_bits, or nothing was drawn
    note: str


def check_network(chip: Chip, mapping: str, sme: SmeParameters | None) -> None:
    """`InputError` when `count_network` cannot be asked this."""
    if mapping not in ("auto", "dense", "sme"):
        raise InputError(f"--mapping {mapping!r} is none of auto, dense, sme, pattern, those that shapes:NAME has")
    if sme and mapping == "dense":
        raise InputError("--squeeze, --significant-bits and what goes with them need --mapping sme or auto")
    if sme or mapping == "sme":
        (sme or SmeParameters()).check(chip)


def count_network(
    layers: list[Layer],
    chip: Chip,
    mapping: str,
    sme: SmeParameters | None,
    synthetic: Synthetic,
    tick: Callable[[], None] = lambda: None,
) -> dict:
    """Arrays of every layer and of all, beside those of dense mappings; weight error over all layers.

    ``mapping``: ``sme`` maps every layer by planes, ``auto`` those that gain by it when ``sme`` is given,
    ``dense`` none.
    The error is of the weights as they are computed with, against those drawn, each layer at full
    scale: signal and noise of all layers, each weighted by its own power, add up.
    """
    check_network(chip, mapping, sme)
    mapping = "dense" if mapping == "auto" and sme is None else mapping
    sme = sme or SmeParameters()
    lines, signal, noise = [], 0.0, 0.0
    for index, layer in enumerate(layers):
        line, powers = _count_layer(layer, synthetic.draw(layer, index), chip, mapping, sme)
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
        "sme": asdict(sme) if mapping != "dense" else None,
        "synthetic": asdict(synthetic),
        "layers": [asdict(line) for line in lines],
    }


def decibels(signal: float, noise: float) -> float | None:
    """Of two powers; None where there is no noise."""
    return round(float(10 * np.log10(signal / noise)), 3) if signal and noise else None


def _count_layer(
    layer: Layer, weights: NDArray, chip: Chip, mapping: str, sme: SmeParameters
) -> tuple[LayerCount, tuple[float, float]]:
    """One layer's line, and the powers of its weights and of their error."""
    dense = dense_crossbars(layer, chip, bits=chip.weight_bits, cell_bits=chip.cell_bits, polarities=chip.polarities)
    note, found = "", None
    if mapping != "dense":
        scale = full_scale(weights, chip.weight_bits, sme.significant_bits)
        codes = quantise(weights, chip.weight_bits, sme.significant_bits, scale)
        found = (*sme_crossbars(layer, codes, chip, sme), scale)
        if mapping == "auto" and not worth(found[0], dense):
            note, found = f"kept dense: planes gain too little, {found[0]} arrays instead of {dense}", None
    chosen = "sme" if found else "dense"
    if found is None:
        scale = full_scale(weights, chip.weight_bits, chip.weight_bits)
        found = dense, quantise(weights, chip.weight_bits, chip.weight_bits, scale), scale
    count, effective, scale = found
    error = weights - effective * np.float32(scale)
    signal, noise = (float(np.square(part, dtype=np.float64).sum()) for part in (weights, error))
    baselines = {
        name: dense_crossbars(layer, chip, bits=bits, cell_bits=cell, polarities=polarities)
        for name, (bits, cell, polarities) in BASELINES.items()
    }
    line = LayerCount(layer.name, layer.op, chosen, weights.size, count, baselines, decibels(signal, noise), note)
    return line, (signal, noise)
