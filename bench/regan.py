"""DCGANs on a training chip, by the cycle model, beside ReGAN's published 240x and 94x over a GPU platform.

ReGAN (Chen, Song, Chen, ASP-DAC 2018) gives averages alone: 240 times the speed, 94 times less energy. Here the same
comparison is worked out from layer shapes, a chip description and a few named constants (`selvage.papers.regan` and
`selvage.papers.training_costs`, each with its source). For every schedule of training: a logical cycle is as long as
the slowest product of any layer, copies of each taken into account; an iteration has the schedule's logical cycles.

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
from dataclasses import asdict, replace

from bench.report import Figure, console, emit, figures, positive, table
from selvage.base.chip import Chip, load_chip
from selvage.commands.exits import leave
from selvage.papers.dcgan import Gan, networks
from selvage.papers.regan import (
    BATCH,
    BOARD,
    BUDGETS,
    CHIPS,
    ENERGY,
    FULL,
    SPEED,
    UTILISATION,
    Line,
    Mean,
    Run,
    gpu_flops,
    mean,
    measure,
)
from selvage.papers.training_costs import (
    ADC_BITS,
    ISAAC_ARRAYS,
    PRINTED_WRITE_PJ,
    Costs,
    Product,
    converter_pj,
    costs,
    products,
)


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
