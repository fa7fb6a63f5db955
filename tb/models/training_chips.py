"""Small training chips, and what golden and the cycle model say of their iterations."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from selvage.base.chip import Chip, load_chip
from selvage.base.layer import Layer
from selvage.golden.calibration import calibrated, weight_codes
from selvage.golden.training import ErrorUnit, Formats, Gan, State, Supervised, TrainedNetwork, Weights
from selvage.hw.training.chip_parameters import ChipParameters
from selvage.mapping.backward import data_gradient_weights
from selvage.mapping.dense import place_dense
from selvage.mapping.training import training_schedule
from selvage.mapping.training_chip import TrainingPlan
from selvage.rtlsim.training_chip import TrainingRun, build_chip, holders, run_chip
from selvage.sim.training_chip import ChipCycles

OU9X8 = load_chip("ou9x8")
UNIT = ErrorUnit(8, 4, 8)
REAL = 112
PADS = (1, 1, 1, 1)
# Most cycles go by while rows of cells are written: the two networks have as few channels as tell them apart.
GENERATOR = (
    (Layer(name="g1", op="conv_transpose", channels=3, outputs=2, kernel=(2, 2), stride=(2, 2)), 1),
    (
        Layer(
            name="g2", op="conv_transpose", channels=2, outputs=1, height=2, width=2, kernel=(4, 4), stride=(2, 2),
            pads=PADS,
        ),
        None,
    ),
)  # fmt: skip
DISCRIMINATOR = (
    (Layer(name="d1", op="conv", channels=1, outputs=2, height=4, width=4, kernel=(3, 3), pads=PADS), 2),
    (Layer(name="d2", op="conv", channels=2, outputs=1, height=4, width=4, kernel=(4, 4)), None),
)
CLASSIFIER = (
    (Layer(name="d1", op="conv", channels=1, outputs=3, height=4, width=4, kernel=(3, 3), pads=PADS), 2),
    (Layer(name="d2", op="conv", channels=3, outputs=4, height=4, width=4, kernel=(4, 4)), 0),
    (Layer(name="d3", op="dense", channels=4, outputs=3), None),
)


@dataclass(frozen=True)
class Case:
    """A chip and its schedule; one network without a ``generator``."""

    schedule: str
    overlap: bool = False
    generator: tuple = GENERATOR
    batch: int = 3
    iterations: int = 1
    stochastic: bool = False
    weight_bits: int = 8
    chip: Chip = OU9X8
    skip: bool = True
    seed: int = 1
    unit_error: bool = False
    frozen: tuple[int, ...] = ()  # layers that are normalised
    how: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Wanted:
    """What must be: the state after each iteration, and the clock cycles of each logical cycle."""

    states: list[State]
    cycles: list[int]


def network(
    layers: tuple, x: np.ndarray, error: np.ndarray, case: Case, last: int | None
) -> tuple[TrainedNetwork, Weights]:
    """A network whose updates change much, and its weights."""
    rng = np.random.default_rng(case.seed)
    values = [rng.normal(0, 0.4, layer.weight_shape) for layer, _ in layers]
    codes, points = weight_codes(values, case.weight_bits, 1)
    formats = Formats(weights=case.weight_bits)
    gate = 8 if layers is GENERATOR else None
    how = {"formats": formats, "rate": 1, "last": last, "gate": gate, "frozen": case.frozen}
    found, _ = calibrated(layers, codes, points, x, 7, error, 7, **how)
    if gate:  # what leaves is saturated here and there
        last_layer = found.layers[-1]
        found = replace(found, layers=(*found.layers[:-1], replace(last_layer, shift=last_layer.shift - 3)))
    return found, codes


def parameters(case: Case) -> tuple[ChipParameters, dict[str, Weights], dict[str, Any]]:
    """The chip, its first weights, and what enters: of more iterations the first are the same, on the same chip."""
    rng, chance = np.random.default_rng(case.seed), np.random.default_rng([case.seed, 1])
    count = case.batch * case.iterations
    images = rng.integers(-128, 128, (count, 1, 4, 4))
    first = slice(case.batch)
    single = not case.generator
    layers = CLASSIFIER if single else DISCRIMINATOR
    errors = chance.integers(-120, 120, (case.batch, layers[-1][0].outputs, 1, 1))
    discriminator = network(layers, images[first], errors, case, 4)
    networks, weights = {"D": discriminator[0]}, {"D": discriminator[1]}
    entering: dict[str, Any] = {"images": images}
    if single:
        entering["labels"] = chance.integers(0, 3, count)
    else:
        ways = 1 if "cs" in case.schedule else 2
        errors = chance.integers(-60, 60, (case.batch, 1, 4, 4))
        entering["noise"] = chance.integers(-128, 128, (count * ways, 3, 1, 1))
        networks["G"], weights["G"] = network(case.generator, entering["noise"][first], errors, case, None)
    sizes = len(case.generator), len(layers), case.batch, case.schedule
    schedule = training_schedule(*sizes, overlap=case.overlap)
    plan = TrainingPlan(networks, UNIT, REAL, schedule, case.chip, case.unit_error)
    if case.stochastic:
        entering["seeds"] = {name: 40 + k for k, name in enumerate(networks)}
    return ChipParameters(plan, skip=case.skip, stochastic=case.stochastic), weights, entering


def wanted(case: Case) -> Wanted:
    """What golden and the cycle model say."""
    p, weights, entering = parameters(case)
    networks, seeds = p.plan.networks, entering.get("seeds", {})
    state = State(weights.get("G", ()), weights["D"], (seeds.get("G", 0), seeds.get("D", 0)))
    states, ways = [], []
    for k in range(case.iterations):
        images = entering["images"][k * case.batch : (k + 1) * case.batch]
        if not case.generator:
            labels = entering["labels"][k * case.batch : (k + 1) * case.batch]
            state, way = Supervised(networks["D"], UNIT).followed(state, images, labels)
        else:
            shared = "cs" in case.schedule
            descent = "simultaneous" if shared else "alternating"
            gan = Gan(networks["G"], networks["D"], UNIT, REAL, descent, case.unit_error)
            each = np.split(entering["noise"], case.iterations)[k]
            state, way = gan.followed(state, images, [each] if shared else np.split(each, 2))
        states.append(state)
        ways.append(way)
    return Wanted(states, ChipCycles(p.plan, skip=case.skip).cycles(ways))


def run(case: Case, **how: Any) -> TrainingRun:
    """The same in RTL."""
    p, weights, entering = parameters(case)
    images = entering.pop("images")
    return run_chip(p, build_chip(p), weights, images, iterations=case.iterations, **entering, **case.how, **how)


def differences(case: Case, found: TrainingRun, *, cycles: bool = True) -> list[str]:
    """What differs: weights after each iteration, the cells of every copy, the clock cycles."""
    p, *_ = parameters(case)
    must, told = wanted(case), []
    for k, state in enumerate(must.states):
        for name in found.weights:
            own = state.generator if name == "G" else state.discriminator
            for layer, (a, b) in enumerate(zip(found.weights[name][k], own, strict=True), 1):
                if not np.array_equal(a, b):
                    told.append(f"weights of {name}{layer} after iteration {k + 1}")
    for name, (product, _) in holders(p).items():
        stage = name.split(".")[0]
        last = must.states[-1].generator if stage[0] == "G" else must.states[-1].discriminator
        index = int(stage[-1]) - 1
        own = p.plan.network(stage.split("_")[0]).layers[index].layer
        codes = last[index] if "_f" in name else data_gradient_weights(own, last[index])
        numbers = product.placement.format
        placed = place_dense(product.placement.layer, codes, case.chip, input_format=numbers)
        arrays = [array for _, tile in placed.standing for array in tile.arrays]
        used = {(row.array + side, row.row) for row in product.cells for side in (0, 1)}
        for k, array in enumerate(arrays):
            rows = [row for array_, row in used if array_ == k]
            if not np.array_equal(found.cells[name][k][rows], array.cells[rows]):
                told.append(f"cells of {name}, array {k}")
    if cycles and found.cycles != must.cycles:
        told.append(f"cycles: {found.cycles} in RTL, {must.cycles} by the model")
    return told
