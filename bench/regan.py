"""DCGANs on a training chip, by the cycle model, beside ReGAN's published 240x and 94x over a GPU platform.

ReGAN (Chen, Song, Chen, ASP-DAC 2018) gives averages alone: 240 times the speed, 94 times less energy. Here the same
comparison is worked out from layer shapes, a chip description and a few named constants (here and in
`bench.training_costs`, each with its source). For every schedule of training: a logical cycle is as long as the slowest
product of any layer, copies of each taken into account; an iteration has the logical cycles of the schedule.

Assumed: every OU is read, without zero-skipping; weights, activations and errors of eight bits; a copy of a product is
fed what its own steps need while others are; the discriminator's backward pass runs once for both labels where noise
is shared, for with one logit it is linear in that error. A stored operand is written before its first read, a word line
after the other unless ``--side-by-side``; in an update every array rewrites its own rows, all arrays at once.

Not counted: buffers, buses, routers and off-chip memory, functions between layers and batch normalisation, gradient
accumulators and update units, verifying writes, leakage and control; of the GPU, everything but multiply-adds.
Nothing here is met or missed but the logical cycles, which must be those of the published formulas.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean

from bench.dcgan import Gan, multiplications, networks, with_zeros
from bench.report import Figure, console, emit, figures, positive, table
from bench.training_costs import (
    ADC_BITS,
    ISAAC_ARRAYS,
    PRINTED_WRITE_PJ,
    Balance,
    Costs,
    Product,
    balanced,
    converter_pj,
    costs,
    products,
    stood,
)
from selvage.base.chip import Chip, load_chip
from selvage.commands.exits import leave
from selvage.mapping.training import OVERLAPPED, SCHEDULES, Pass, TrainingSchedule, training_schedule
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
    names = ("speed", "energy", "utilisation_for_speed", "utilisation_for_energy", "watts")
    means = (fmean(getattr(line, name) for line in lines) for name in names)
    return Mean(what, *means, too_large=sum(line.too_large for line in lines))


def variants(counted: Sequence[tuple[Gan, list[Product]]], chip: Chip, own: Costs, run: Run) -> list[Mean]:
    """What ReGAN's whole schedule comes to with other arrays, other writing, other converters, other counting."""
    printed, once = replace(own, write_pj=PRINTED_WRITE_PJ), replace(run, copies=1)
    eight = replace(own, read=replace(own.read, conversion=converter_pj(ADC_BITS)))
    at_once = replace(own, side_by_side=True)
    most = replace(run, copies=None, arrays=max(BUDGETS) * ISAAC_ARRAYS)
    kinds = [
        ("every product once", own, once),
        *(
            (
                f"{count} x ISAAC{', rows side by side' * cost.side_by_side}",
                cost,
                replace(most, arrays=count * ISAAC_ARRAYS),
            )
            for cost in (replace(own, side_by_side=False), at_once)
            for count in BUDGETS
        ),
        ("3.91 nJ written a cell", printed, run),
        ("3.91 nJ, every product once", printed, once),
        (f"conversions of {ADC_BITS} bits", eight, run),
        ("the GPU inserts zeros", own, replace(run, zeros=True)),
        (f"the same, {max(BUDGETS)} x ISAAC, side by side", at_once, replace(most, zeros=True)),
    ]
    found = []
    for what, cost, how in kinds:
        lines = [line for gan, each in counted for line in measure(gan, each, chip, cost, how)]
        found.append(mean(what, [line for line in lines if line.schedule == FULL]))
    return found


def show(gan: Gan, own: Sequence[Line], run: Run) -> None:
    """A table of a network on stderr."""
    rows = []
    for line in own:
        joules = (line.read_mj, line.stored_mj, line.update_mj, line.millijoules)
        shares = (line.utilisation_for_speed, line.utilisation_for_energy)
        texts = [f"{value:.1f}" for value in (line.cycle_us, line.iterations_a_second, *joules, line.watts)]
        ratios = [f"{value:.1f}" for value in (line.speed, line.energy)]
        rows.append([line.schedule, line.logical_cycles, *texts, *ratios, *(f"{share:.1%}" for share in shares)])
    flops = gpu_flops(gan, run.batch, zeros=run.zeros)
    seconds = flops / BOARD.peak / run.utilisation
    arrays = " / ".join(f"{count:,}" for count in sorted({line.arrays for line in own}))
    slow = dict.fromkeys(f"{line.slowest} ({line.written_us:.1f} us written)" for line in own)
    title = (
        f"{gan.name}: {gan.weights:,} weights, {arrays} arrays; slowest {' / '.join(slow)}; "
        f"GPU {flops / 1e9:,.0f} GFLOP, {1 / seconds:.2f} iterations/s, {seconds * BOARD.watts:.2f} J"
    )
    heads = ("schedule", "cycles", "us each", "iterations/s", "read mJ", "stored mJ", "update mJ", "all mJ", "W")
    table(title, (*heads, "speed x", "energy x", f"{SPEED:.0f}x at", f"{ENERGY:.0f}x at"), rows)


def show_means(title: str, found: Sequence[Mean]) -> None:
    rows = []
    for own in found:
        shares = [f"{share:.1%}" for share in (own.utilisation_for_speed, own.utilisation_for_energy)]
        ratios = [f"{own.speed:.1f}", f"{SPEED:.0f}", f"{own.energy:.1f}", f"{ENERGY:.0f}"]
        rows.append([own.what, *ratios, *shares, f"{own.watts:.0f}", own.too_large])
    shares = (f"{SPEED:.0f}x at", f"{ENERGY:.0f}x at")
    table(title, ("", "speed x", "ReGAN", "energy x", "ReGAN", *shares, "W", "too large"), rows)


def told(gans: Sequence[Gan], chip: Chip, own: Costs, run: Run) -> None:
    """The assumptions in words, on stderr."""
    stand = f"every product {run.copies} times" if run.copies else f"at most {run.arrays:,} arrays"
    rows = "of all arrays side by side" if own.side_by_side else "one after the other"
    operators = "with" if run.zeros else "without"
    for text in (
        f"GPU: {BOARD.name} (assumed), {BOARD.peak / 1e12:.2f} TFLOP/s, {run.utilisation:.0%} of it used (assumed), "
        f"{BOARD.watts:.0f} W; transposed convolutions {operators} inserted zeros.",
        f"Chip {chip.name}: a cycle of {own.clock_ns:.2f} ns, {stand}, batch {run.batch}; a conversion "
        f"{own.read.conversion:.3f} pJ, a driven row {own.read.row:.4f} pJ, a cell read {own.read.cell * 1e3:.2f} fJ, "
        f"a cell written {own.write_pj:.2f} pJ, a row in {own.write_ns:.2f} ns, rows of stored operands {rows}.",
        f"Both published figures together, whatever the utilisation: a chip of {SPEED / ENERGY:.2f} times the GPU's "
        f"power, {BOARD.watts * SPEED / ENERGY:.0f} W.",
        f"{SPEED:.0f}x at, {ENERGY:.0f}x at: the utilisation of the GPU with which the figure would be ReGAN's. "
        "Too large: networks of which every product once takes more arrays than that.",
        *(f"{gan.name}: {gan.source}." for gan in gans),
    ):
        console.print(text, markup=False, highlight=False)


def above_zero(text: str) -> float:
    """A number on the command line."""
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.regan", description=__doc__)
    parser.add_argument("--only", choices=[gan.name for gan in networks()], help="one network")
    parser.add_argument("--chip", choices=("isaac", "ou9x8"), default="isaac")
    parser.add_argument("--batch", type=positive, default=BATCH)
    parser.add_argument("--arrays", type=positive, default=CHIPS * ISAAC_ARRAYS, help="of all copies of all products")
    parser.add_argument("--copies", type=positive, help="of every product, no more than its steps; not balanced")
    parser.add_argument("--clock", type=above_zero, help="ns of a cycle, instead of the chip's")
    parser.add_argument("--write-ns", type=above_zero, help="ns of writing a row")
    parser.add_argument("--write-pj", type=above_zero, help="pJ of writing a cell")
    parser.add_argument("--side-by-side", action="store_true", help="all arrays write stored operands at once")
    parser.add_argument("--utilisation", type=above_zero, default=UTILISATION, help="of the GPU's peak")
    parser.add_argument("--gpu-zeros", action="store_true", help="the GPU multiplies inserted zeros, too")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    a = arguments(argv)
    chip, gans = load_chip(a.chip), [gan for gan in networks() if a.only in (None, gan.name)]
    own = costs(chip, clock_ns=a.clock)
    own = replace(own, side_by_side=a.side_by_side, write_ns=a.write_ns or own.write_ns)
    own = replace(own, write_pj=a.write_pj or own.write_pj)
    run = Run(a.batch, a.arrays, a.copies, a.utilisation, a.gpu_zeros)
    counted, lines = [(gan, products(gan, chip)) for gan in gans], []
    for gan, found in counted:
        lines += (own_lines := measure(gan, found, chip, own, run))
        show(gan, own_lines, run)
    names = dict.fromkeys(line.schedule for line in lines)
    means = [mean(name, [line for line in lines if line.schedule == name]) for name in names]
    others = variants(counted, chip, own, run)
    show_means("Means of the networks", means)
    show_means(f"{FULL}, means of the networks, with other assumptions", others)
    told(gans, chip, own, run)
    wrong = sum(line.logical_cycles != line.formula for line in lines)
    own_figures = [Figure("logical cycles that differ from their formula", wrong, "==", 0)]
    figures("ReGAN", own_figures)
    emit(
        {
            "benchmark": "regan",
            "chip": chip.name,
            "published": {"speed": SPEED, "energy": ENERGY},
            "board": asdict(BOARD) | {"peak": BOARD.peak, "assumed": True},
            "run": asdict(run),
            "costs": asdict(own),
            "networks": [{"network": gan.name, "source": gan.source, "weights": gan.weights} for gan in gans],
            "schedules": [asdict(line) | {"millijoules": line.millijoules} for line in lines],
            "means": [asdict(each) for each in means],
            "variants": [asdict(each) for each in others],
            "targets": [figure.as_dict() for figure in own_figures],
        }
    )
    return 0 if not wrong else 1


if __name__ == "__main__":
    leave(main)
