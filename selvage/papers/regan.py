"""DCGANs on a training chip, by the cycle model, beside ReGAN's published 240x and 94x over a GPU platform.

ReGAN (Chen, Song, Chen, ASP-DAC 2018) gives averages alone: 240 times the speed, 94 times less energy. Here the same
comparison is worked out from layer shapes, a chip description and a few named constants (here and in
`papers.training_costs`, each with its source). For every schedule of training: a logical cycle is as long as the
slowest product of any layer, copies of each taken into account; an iteration has the logical cycles of the schedule.

Assumed: every OU is read, without zero-skipping; weights, activations and errors of eight bits; a copy of a product is
fed what its own steps need while others are; the discriminator's backward pass runs once for both labels where noise
is shared, for with one logit it is linear in that error. A stored operand is written before its first read, a word line
after the other unless they are written side by side; in an update every array rewrites its own rows, all at once.

Not counted: buffers, buses, routers and off-chip memory, functions between layers and batch normalisation, gradient
accumulators and update units, verifying writes, leakage and control; of the GPU, everything but multiply-adds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from selvage.base.chip import Chip, load_chip
from selvage.mapping.training import OVERLAPPED, SCHEDULES, Pass, TrainingSchedule, training_schedule
from selvage.papers.dcgan import Gan, multiplications, networks, with_zeros
from selvage.papers.rows import Plot, Recomputed, Row, Tick
from selvage.papers.training_costs import ISAAC_ARRAYS, Balance, Costs, Product, balanced, costs, products, stood
from selvage.sim.training import closed_form, training_cycles

HOW = [(schedule, False) for schedule in SCHEDULES] + [(schedule, True) for schedule in OVERLAPPED]
ITERATIONS = 4  # until the pace of an iteration is steady, as in `bench.training_cycles`
SPEED, ENERGY = 240.0, 94.0  # times the GPU's, ReGAN's abstract
BATCH = 128  # Radford et al., arXiv 1511.06434, section 4
CHIPS = 4  # of ISAAC's size, for all products: LSUN's products once each take 1.8 with two discriminators
BUDGETS = (1, 2, 4, 8, 16)
FLOPS = 2  # of a multiplication and its addition
FULL = "sp+cs"  # all that ReGAN proposes


@dataclass(frozen=True)
class Board:
    """A GPU: single-precision multiply-adds a cycle, boost clock in hertz, board power in watts."""

    name: str
    cores: int
    hertz: float
    watts: float

    @property
    def peak(self) -> float:
        """FLOP a second."""
        return FLOPS * self.cores * self.hertz


# Which board ReGAN measured is not known here: its abstract says "GPU platform", and no more of its text was at hand. A
# GTX 1080 is assumed, which PipeLayer (HPCA 2017, of the same authors) had, as recalled. Figures: NVIDIA's data sheet.
BOARD = Board("GTX 1080", cores=2560, hertz=1.733e9, watts=180.0)
# Assumed as well, without a source; the tables say what it would have to be.
UTILISATION = 0.5


@dataclass(frozen=True)
class Run:
    """How the GPU is counted, and how often products stand: ``copies`` each, or as ``arrays`` allow."""

    batch: int
    arrays: int
    copies: int | None
    utilisation: float
    zeros: bool


def runs(own: Pass, product: Product, first: str) -> bool:
    """Whether a pass runs a product; ``first`` is the discriminator's first layer.

    The generator's images need the discriminator's error down to them; pass G leaves its weights alone.
    """
    if product.network == "G":
        return own.generator if product.kind == "forward" else own.back
    if product.kind == "data gradient":
        return own.back or product.layer != first
    return product.kind == "forward" or own.name != "G"


def gpu_flops(gan: Gan, batch: int, *, zeros: bool) -> float:
    """FLOP of an iteration: passes R, F and G as frameworks run them, nothing shared.

    cuDNN runs a transposed convolution as a convolution's data gradient, without inserted zeros; ``zeros`` counts them.
    """
    total = 0
    for own in training_schedule(len(gan.generator), len(gan.discriminator), batch, "pipeline").passes:
        for network, layers in (("G", gan.generator), ("D", gan.discriminator)):
            for index, layer in enumerate(layers):
                forward, data, weight = with_zeros(layer) if zeros else (multiplications(layer),) * 3
                if network == "G":
                    total += forward * own.generator + (weight + data * bool(index)) * own.back
                else:
                    total += forward + data * (own.back or bool(index)) + weight * (own.name != "G")
    return float(FLOPS * batch * total)


@dataclass(frozen=True)
class Line:
    """A network under a schedule. Times of the GPU are at the assumed utilisation, which the two last would replace."""

    network: str
    schedule: str
    logical_cycles: int
    formula: int
    cycle_us: float
    slowest: str
    written_us: float  # of the slowest
    arrays: int
    too_large: bool  # more arrays than asked for with every product once
    iterations_a_second: float
    read_mj: float
    stored_mj: float
    update_mj: float
    watts: float
    speed: float
    energy: float
    utilisation_for_speed: float
    utilisation_for_energy: float

    @property
    def millijoules(self) -> float:
        """Energy of an iteration."""
        return self.read_mj + self.stored_mj + self.update_mj


def energies(
    found: Sequence[Product], counts: Sequence[int], schedule: TrainingSchedule, own: Costs, first: str
) -> tuple[float, float, float]:
    """Joules of an iteration: reads, stored operands, updates."""
    read = stored = update = 0.0
    for product, copies in zip(found, counts, strict=True):
        samples = schedule.batch * sum(runs(each, product, first) for each in schedule.passes)
        read += samples * product.events.picojoules(own.read)
        stored += samples * product.stored_cells * copies * own.write_pj
        places = schedule.copies if product.network == "D" else 1
        update += product.weights * copies * places * own.write_pj
    return read * 1e-12, stored * 1e-12, update * 1e-12


def measure(gan: Gan, found: Sequence[Product], chip: Chip, own: Costs, run: Run) -> list[Line]:
    """All schedules of a network, whose products are ``found``."""
    sizes = len(gan.generator), len(gan.discriminator), run.batch
    flops, known, lines = gpu_flops(gan, run.batch, zeros=run.zeros), dict[int, Balance](), []
    for name, overlap in HOW:
        schedule = training_schedule(*sizes, name, overlap=overlap)
        if (places := schedule.copies) not in known:
            if run.copies:
                counts = [min(run.copies, product.steps) for product in found]
                known[places] = stood(found, counts, places, own, chip)
            else:
                known[places] = balanced(found, run.arrays, places, own, chip)
        balance, cycles = known[places], training_cycles(schedule, ITERATIONS).steady
        # An update is a logical cycle of its own, longer than the others where rows take longer to write.
        update = max(0.0, chip.rows * own.write_ns - balance.time)
        seconds = (cycles * balance.time + len(schedule.updates) * update) * 1e-9
        joules = energies(found, balance.copies, schedule, own, gan.discriminator[0].name)
        at_peak = flops / BOARD.peak
        faster, saved = at_peak / seconds, at_peak * BOARD.watts / sum(joules)
        lines.append(
            Line(
                network=gan.name,
                schedule=name + ", overlapped" * overlap,
                logical_cycles=cycles,
                formula=closed_form(*sizes, name, overlap=overlap),
                cycle_us=balance.time * 1e-3,
                slowest=balance.slowest,
                written_us=balance.written * 1e-3,
                arrays=balance.arrays,
                too_large=not run.copies and balance.arrays > run.arrays,
                iterations_a_second=1 / seconds,
                read_mj=joules[0] * 1e3,
                stored_mj=joules[1] * 1e3,
                update_mj=joules[2] * 1e3,
                watts=sum(joules) / seconds,
                speed=faster / run.utilisation,
                energy=saved / run.utilisation,
                utilisation_for_speed=faster / SPEED,
                utilisation_for_energy=saved / ENERGY,
            )
        )
    return lines


@dataclass(frozen=True)
class Mean:
    """Means over the networks, as the published figures are."""

    what: str
    speed: float
    energy: float
    utilisation_for_speed: float
    utilisation_for_energy: float
    watts: float
    too_large: int  # networks that need more arrays


def mean(what: str, lines: Sequence[Line]) -> Mean:
    """Return the means of ``lines``."""
    names = ("speed", "energy", "utilisation_for_speed", "utilisation_for_energy", "watts")
    means = (fmean(getattr(line, name) for line in lines) for name in names)
    return Mean(what, *means, too_large=sum(line.too_large for line in lines))


def recompute(*, rtl: bool, tick: Tick) -> Recomputed:
    """Return speed and energy of each schedule over the GPU, means of the networks; RTL has no part in them."""
    chip = load_chip("isaac")
    own, run, lines = costs(chip), Run(BATCH, CHIPS * ISAAC_ARRAYS, None, UTILISATION, zeros=False), []
    for gan in networks():
        lines += measure(gan, products(gan, chip), chip, own, run)
        tick()
    rows, speeds, energies_by = [], [], []
    assumed = (
        f"mean of four DCGANs, batch {BATCH}, {CHIPS} chips of ISAAC's size, {BOARD.name} (assumed) at "
        f"{UTILISATION:.0%} of its peak"
    )
    for name in dict.fromkeys(line.schedule for line in lines):
        found = mean(name, [line for line in lines if line.schedule == name])
        full = name == FULL
        for what, published, value, met in (
            ("times the GPU's speed", SPEED, found.speed, found.utilisation_for_speed),
            ("times less energy", ENERGY, found.energy, found.utilisation_for_energy),
        ):
            text = f"{assumed}; the published {published:.0f}x would be met at {met:.1%}"
            rows.append(Row("ReGAN", f"{name}: {what}", published if full else None, value, text))
        speeds.append((name, found.speed))
        energies_by.append((name, found.energy))
    wrong = sum(line.logical_cycles != line.formula for line in lines)
    rows.append(Row("ReGAN", "schedules whose logical cycles are not the formula's", 0.0, wrong, "exact"))
    series = {"speed": speeds, "energy": energies_by}
    return Recomputed(rows, [Plot("regan", "Training of DCGANs over a GPU", "schedule", "times better", series)])
