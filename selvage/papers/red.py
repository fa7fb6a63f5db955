"""RED (Fan et al., DATE 2019; TCAD 2020): speed and energy of six transposed convolutions over inserted zeros.

Published are ranges alone: 3.69x to 31.15x and 8 % to 88.36 % saved (DATE), 4.0x to 56.16x (TCAD). Two terms explain
them, each with one constant that is fitted to one published figure and then holds for all layers:

* A read takes as long as its longest word line: ``1 + BETA * columns**2`` (the delay of a wire of so many cells goes
  with its square). RED's word lines span ``s*s*M/f`` bit lines, those of inserted zeros M. BETA is from 56.16x.
* A read charges each word line whether or not it drives, and each bit line that it converts:
  ``rows * ROW + columns``. RED charges as many bit lines and ``s*s/f`` times fewer rows. ROW is from 88.36 %.
"""

from dataclasses import dataclass

import numpy as np

from selvage.base.chip import Chip, load_chip
from selvage.base.costs import load_costs
from selvage.base.layer import InputFormat, Layer
from selvage.base.shapes import load_network
from selvage.compiler.cost import Way, way_of
from selvage.mapping.dense import dense_kinds, place_dense
from selvage.mapping.schedule import PAPER_BASELINE, sweep_of
from selvage.papers.rows import Plot, Recomputed, Row, Tick
from selvage.papers.tiles import tiles_in_rtl

PAPER = "RED"
FOLDS = {"FCN_Deconv2": 2}
LARGEST, UNFOLDED = "FCN_Deconv2", 56.16
SAVED = 0.8836
FORMAT = InputFormat(raw_bits=8, raw_signed=False)
SMALL = {  # side, channels, outputs of what RTL runs: the whole layers take hours
    "GAN_Deconv1": (8, 16, 2),
    "GAN_Deconv2": (4, 16, 2),
    "GAN_Deconv3": (4, 16, 2),
    "GAN_Deconv4": (6, 16, 2),
    "FCN_Deconv1": (8, 4, 2),
    "FCN_Deconv2": (4, 2, 2),
}


@dataclass(frozen=True)
class Charge:
    """Whole-array reads of a layer under a schedule: how many, and the word lines and bit lines of each."""

    reads: int
    rows: int
    columns: int

    @classmethod
    def of(cls, layer: Layer, schedule: str, fold: int = 1) -> "Charge":
        """Count it from the schedule's own counters; ``fold`` phases share rows."""
        sweep = sweep_of(layer, schedule)
        size = layer.kernel[0] * layer.kernel[1] * layer.channels
        if schedule != "red":
            return cls(sweep.count, size, layer.outputs)
        phases = layer.stride[0] * layer.stride[1]
        return cls(sweep.count * fold, size // fold, phases * layer.outputs // fold)

    def time(self, beta: float) -> float:
        """Return the time of all reads, in reads of the shortest word line."""
        return self.reads * (1 + beta * self.columns**2)

    def energy(self, row: float) -> float:
        """Return the energy of all reads, in bit lines converted."""
        return self.reads * (self.rows * row + self.columns)


def word_line(layers: dict[str, Layer]) -> float:
    """Return BETA, with which the largest layer unfolded is 56.16 times as fast."""
    zeros, own = Charge.of(layers[LARGEST], "zero-padding"), Charge.of(layers[LARGEST], "red")
    ratio = UNFOLDED * own.reads / zeros.reads  # of the times of a read, zeros over RED
    return (1 - ratio) / (ratio * own.columns**2 - zeros.columns**2)


def row_charge(layers: dict[str, Layer]) -> float:
    """Return ROW, with which the largest layer saves 88.36 %."""
    zeros = Charge.of(layers[LARGEST], "zero-padding")
    own = Charge.of(layers[LARGEST], "red", FOLDS[LARGEST])
    kept = 1 - SAVED
    columns = kept * zeros.reads * zeros.columns - own.reads * own.columns
    return columns / (own.reads * own.rows - kept * zeros.reads * zeros.rows)


def counted(layer: Layer, chip: Chip, schedule: str, *, skip: bool) -> Way:
    """Return a layer on a chip, by the cycle model; half of the activations are zero."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (1, layer.channels, layer.height, layer.width))
    x *= rng.random(x.shape) < 0.5
    placement, order = dense_kinds(layer, chip, input_format=FORMAT, schedule=schedule)
    return way_of(placement, x, skip=skip, order=order)


def rtl_speed(layer: Layer, chip: Chip) -> float:
    """Return cycles with the zeros inserted over RED's, of a small layer of the same geometry in RTL, all OUs read."""
    side, channels, outputs = SMALL[layer.name]
    small = layer.model_copy(update={"height": side, "width": side, "channels": channels, "outputs": outputs})
    rng, cycles = np.random.default_rng(1), []
    weights = rng.integers(-127, 128, small.weight_shape)
    x = rng.integers(0, 256, (1, channels, side, side))
    for schedule in (PAPER_BASELINE, "red"):
        placed = place_dense(small, weights, chip, input_format=FORMAT, schedule=schedule)
        cycles.append(max(run.cycles for run in tiles_in_rtl(placed, x, skip=False)))
    return cycles[0] / cycles[1]


def recompute(*, rtl: bool, tick: Tick) -> Recomputed:
    """Return speed-up and energy of the six layers."""
    layers = {layer.name: layer for layer in load_network("red")}
    chip, beta, row = load_chip("ou9x8"), word_line(layers), row_charge(layers)
    costs = load_costs("isaac")
    found: list[Row] = []
    speeds: dict[str, list] = {"reads alone": [], "with the word line": []}
    savings, fair = [], []
    for name, layer in layers.items():
        fold = FOLDS.get(name, 1)
        zeros, own = Charge.of(layer, "zero-padding"), Charge.of(layer, "red", fold)
        reads, with_line = zeros.reads / own.reads, zeros.time(beta) / own.time(beta)
        folded = f", {fold} phases on the same rows" if fold > 1 else ""
        measured = rtl_speed(layer, chip) if rtl else None
        what = "a clock of the same period: vector reads" + folded
        if measured:
            what += "; RTL: cycles of a small layer of this geometry, unfolded, all OUs read, ou9x8"
        found.append(Row(PAPER, f"{name}: times as fast, word line off", None, reads, what, measured))
        law = f"a read takes 1 + {beta:.2e} * columns^2, from 56.16x of {LARGEST} unfolded" + folded
        found.append(Row(PAPER, f"{name}: times as fast, word line on", None, with_line, law))
        saved = 1 - own.energy(row) / zeros.energy(row)
        law = f"a word line charged takes {row:.4f} of a converted bit line, from 88.36 % of {LARGEST}" + folded
        found.append(Row(PAPER, f"{name}: energy saved, %", None, 100 * saved, law))
        speeds["reads alone"].append((name, reads))
        speeds["with the word line"].append((name, with_line))
        savings.append((name, 100 * saved))
        ways = [counted(layer, chip, schedule, skip=True) for schedule in ("zero-padding", "red")]
        energies = [way.cost(costs).energy.total for way in ways]
        text = "ou9x8, half of the activations 0, both skip OUs that drive nothing, fairer than the paper's; isaac"
        found.append(Row(PAPER, f"{name}: times as fast, zeros skipped", None, ways[0].cycles / ways[1].cycles, text))
        saving = 100 * (1 - energies[1] / energies[0])
        found.append(Row(PAPER, f"{name}: energy saved, zeros skipped, %", None, saving, text))
        fair.append((name, saving))
        tick()
    lines = dict(speeds["with the word line"])
    least, most = min(lines.values()), max(lines.values())
    unfolded = Charge.of(layers[LARGEST], "zero-padding").time(beta) / Charge.of(layers[LARGEST], "red").time(beta)
    energy = dict(savings)
    found += [
        Row(PAPER, "least speed-up", 3.69, least, "the word line's delay on GAN layers"),
        Row(PAPER, "largest speed-up", 31.15, most, f"{LARGEST} folded, with the word line"),
        Row(PAPER, "largest speed-up, journal", UNFOLDED, unfolded, f"{LARGEST} unfolded; fitted"),
        Row(PAPER, "least speed-up, journal", 4.0, min(dict(speeds["reads alone"]).values()), "reads alone: s * s"),
        Row(PAPER, "least energy saved, %", 8.0, min(energy.values()), "the paper's layer and terms are not known"),
        Row(PAPER, "largest energy saved, %", 100 * SAVED, max(energy.values()), f"{LARGEST} folded; fitted"),
    ]
    plots = [
        Plot("red_speed", "RED over inserted zeros", "layer", "times as fast", speeds, logarithmic=True),
        Plot(
            "red_energy",
            "Energy that RED saves",
            "layer",
            "%",
            {"whole arrays, as in the paper": savings, "OUs, both skipping": fair},
        ),
    ]
    return Recomputed(found, plots)
