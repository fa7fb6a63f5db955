"""All techniques on one network, one after the other: what each step gains in cycles, reads, energy and crossbars.

No paper has this. A step's mapping is taken for a layer where it lowers the layer's energy, else the layer stays as it
was. Trained networks run on one image and, with RTL, first and last step run tile by tile. DCGAN and FCN-8s are counted
by the model on their shapes with an eighth of the channels and half the side, with drawn weights of which kernels keep
patterns: at full width minutes become hours. Squeezed planes change weights; what that costs in accuracy is not here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip, load_chip
from selvage.base.costs import load_costs
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer
from selvage.base.shapes import load_network
from selvage.compiler.compile_network import compile_network
from selvage.compiler.cost import Way, way_of
from selvage.compiler.options import Options
from selvage.compiler.pruned_network import Pruning
from selvage.compiler.shape_cycles import Activations
from selvage.mapping.placement import Placement
from selvage.mapping.schedule import PAPER_BASELINE
from selvage.mapping.schemes import Request, scheme
from selvage.mapping.sme_parameters import SmeParameters
from selvage.papers.rows import Plot, Recomputed, Row, Tick
from selvage.papers.tiles import reads_of, tiles_in_rtl
from selvage.rtlsim.installed import verilator_there

PAPER = "combined"
Integers = NDArray[np.int64]
ROOT = Path(__file__).parents[2]
TRAINED = (
    "examples/digits/classifier_pruned.onnx",
    "examples/digits_gan/generator.onnx",
    "examples/segmenter/segmenter.onnx",
)
SHAPES = ("dcgan", "fcn8s")
THINNER, SMALLER = 8, 2
PATTERNS, DELETED, KEPT = 10, 0.44, 0.39  # of kernels: kinds with the empty one, share deleted, share of weights kept
LONG = 10_000_000  # cycles times arrays from which Verilator is faster, its compile time included
PLANES = SmeParameters(significant_bits=3, squeeze=1)


@dataclass(frozen=True)
class Step:
    """A technique on top of those before it."""

    name: str
    transposed: str  # schedule of transposed convolutions
    mapping: str = "dense"
    skip: bool = True
    dynamic: bool = False
    sme: SmeParameters | None = None


STEPS = (
    Step("dense, zeros inserted, every OU read", PAPER_BASELINE, skip=False),
    Step("OUs that drive nothing skipped", "zero-padding"),
    Step("RED", "red"),
    Step("patterns", "red", "pattern"),
    Step("planes", "red", "pattern", sme=PLANES),
    Step("formed OUs", "red", "pattern", dynamic=True, sme=PLANES),
)


@dataclass(frozen=True, eq=False)
class Given:
    """A layer with its weights, and activations as they come."""

    layer: Layer
    weights: Integers
    numbers: InputFormat
    x: Integers

    @property
    def codes(self) -> Integers:
        """Activations less the zero point."""
        return self.x - self.numbers.zero_point


def trained(path: Path, chip: Chip) -> list[Given]:
    """Return the layers of a quantised network, for one drawn image."""
    compiled = compile_network(str(path), chip, None, Options(mapping="dense"), lambda: None)
    found = []
    for node in compiled.graph.matrices:
        source = compiled.graph.tensors[node.inputs[0]]
        layer = node.layer.model_copy(update={"name": node.name})
        found.append(Given(layer, np.asarray(node.weights, np.int64), source.format, compiled.codes[node.inputs[0]]))
    return found


def drawn(name: str, chip: Chip) -> list[Given]:
    """Return the layers of known shapes, thinner and smaller, with drawn weights and activations."""
    found, activations = [], Activations()
    for index, layer in enumerate(load_network(name)):
        size = layer.kernel[0] * layer.kernel[1]
        small = {
            "channels": layer.channels if layer.channels <= 3 else max(1, layer.channels // THINNER),
            "outputs": layer.outputs if layer.outputs <= 3 else max(1, layer.outputs // THINNER),
        }
        if layer.op != "dense":
            small |= {side: max(1, getattr(layer, side) // SMALLER) for side in ("height", "width")}
        layer = layer.model_copy(update=small)
        rng = np.random.default_rng([1, index])
        weights = np.rint(np.clip(rng.laplace(0, 20, layer.weight_shape), -127, 127)).astype(np.int64)
        if size > 1:
            as_convolution = layer.model_copy(update={"op": "conv", "output_padding": (0, 0)})
            pruning = Pruning(PATTERNS, DELETED, max(1.0, KEPT * size))
            masks = pruning.masks(as_convolution, index + 1)
            kept = masks.swapaxes(0, 1) if layer.op == "conv_transpose" else masks
            weights = np.where(kept, np.where(weights, weights, 1), 0)
        found.append(Given(layer, weights, activations.numbers(chip), activations.draw(layer, index, chip)))
    return found


def placed(given: Given, step: Step, chip: Chip) -> Placement:
    """Return a layer as a step maps it. `InputError`: it cannot."""
    schedule = step.transposed if given.layer.op == "conv_transpose" else "auto"
    kernel = given.layer.kernel[0] * given.layer.kernel[1] > 1
    name = step.mapping if kernel or step.mapping == "dense" else ("sme" if step.sme else "dense")
    request = Request(given.layer, given.weights, chip, given.numbers, schedule, step.dynamic, step.sme)
    return scheme(name).place(request)[0]


def ladder(layers: list[Given], chip: Chip) -> Iterator[tuple[Step, list[Way]]]:
    """Yield after each step how every layer is placed."""
    costs = load_costs("isaac")
    present: list[Way | None] = [None] * len(layers)
    for step in STEPS:
        for index, given in enumerate(layers):
            before = present[index]
            try:
                way = way_of(placed(given, step, chip), given.codes, skip=step.skip)
            except InputError:
                continue
            if before is None or way.cost(costs).energy.total < before.cost(costs).energy.total:
                present[index] = way
        yield step, [own for own in present if own is not None]


def totals(ways: list[Way]) -> dict[str, float]:
    """Return what is compared."""
    costs = load_costs("isaac")
    return {
        "cycles": float(sum(way.cycles for way in ways)),
        "OU reads": float(sum(way.events.reads for way in ways)),
        "energy": sum(way.cost(costs).energy.total for way in ways),
        "crossbars": float(sum(way.parts.arrays for way in ways)),
    }


def in_rtl(layers: list[Given], ways: list[Way]) -> dict[str, float]:
    """Return cycles and OU reads of all tiles in RTL."""
    found = {"cycles": 0.0, "OU reads": 0.0}
    for given, way in zip(layers, ways, strict=True):
        work = way.tile_cycles * way.parts.arrays
        simulator = "verilator" if work > LONG and verilator_there() else "icarus"
        runs = tiles_in_rtl(way.placement, given.x, skip=way.skip, simulator=simulator)
        found["cycles"] += max(run.cycles for run in runs)
        found["OU reads"] += reads_of(runs)
    return found


def recompute(*, rtl: bool, tick: Tick) -> Recomputed:
    """Return each network's ladder."""
    chip, rows = load_chip("ou9x8"), []
    curves: dict[str, list[tuple[float | str, float]]] = {}
    networks = {Path(name).stem: ROOT / name for name in TRAINED if (ROOT / name).is_file()}
    given = {name: trained(path, chip) for name, path in networks.items()}
    given |= {f"{name} (thin)": drawn(name, chip) for name in SHAPES}
    for name, layers in given.items():
        first: dict[str, float] = {}
        measured_first: dict[str, float] = {}
        for step, ways in ladder(layers, chip):
            found = totals(ways)
            first = first or found
            measured: dict[str, float] = {}
            if rtl and name in networks and step in (STEPS[0], STEPS[-1]):
                own = in_rtl(layers, ways)
                measured_first = measured_first or own
                measured = {what: measured_first[what] / own[what] for what in own}
            for what, value in found.items():
                text = f"{step.name}, where it lowers a layer's energy (isaac); over {STEPS[0].name}; ou9x8"
                figure = f"{name}: {what}, times fewer with {step.name}"
                rows.append(Row(PAPER, figure, None, first[what] / value, text, measured.get(what)))
            curves.setdefault(name, []).append((step.name, first["energy"] / found["energy"]))
            tick()
    title = "Energy, each technique on top of those before it"
    return Recomputed(rows, [Plot("combined", title, "", "times less", curves)])
