"""The main job of ``make sim``: real layers on the default chip, against golden and against each other.

The transposed convolutions of the digits generator run whole, on the activations that really enter
them; the benchmark layers of RED at their published spatial size, with as many channels as two
minutes allow. Each runs as RED and with the zeros inserted, so the speed-up is between two
simulations. ``python -m bench.main_job`` exits with 1 on any difference.
"""

import time
from concurrent.futures import as_completed
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from examples.digits_gan.layers import transposed_layers
from examples.red_layers import RED_LAYERS, part
from selvage.base.chip import load_chip
from selvage.base.errors import RtlError
from selvage.base.layer import InputFormat, Layer
from selvage.commands.difference import first_difference
from selvage.commands.exits import leave
from selvage.commands.layer_report import miscounted
from selvage.commands.streams import progress, show
from selvage.commands.tables import table_of, tell_fault, verdict
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Placement, first_rows
from selvage.mapping.sme import SmeParameters, place_sme
from selvage.rtlsim.diagnosis import Suspect, diagnose, first_wrong
from selvage.rtlsim.installed import check_simulator
from selvage.rtlsim.simulate import BUILD, simulate_tile, workers
from selvage.sim.cycles import tile_cycles
from selvage.sim.machine import run

CHIP = "ou9x8"
CHANNELS = {
    "GAN_Deconv1": (14, 2),
    "GAN_Deconv2": (28, 2),
    "GAN_Deconv3": (32, 2),
    "GAN_Deconv4": (32, 2),
    "FCN_Deconv1": (8, 2),
    "FCN_Deconv2": (9, 2),
}
SQUEEZE = 3
# Of FCN_Deconv2, whose 568 x 568 outputs take too long here: rows of steps, and which tile.
SAMPLE = {"red": (3, 0), "zero-padding": (1, 0)}


@dataclass(frozen=True, eq=False)
class Case:
    """One layer under one schedule; when sampled, ``sample`` is a number of rows of steps, and the tile."""

    layer: Layer
    weights: NDArray[np.int64]
    x: NDArray[np.int64]
    numbers: InputFormat
    schedule: str
    sample: tuple[int, int] | None = None
    sme: SmeParameters | None = None  # None: dense

    def placed(self) -> tuple[Placement, NDArray[np.int64]]:
        """The placement, and the weights that it stands for."""
        how = {"input_format": self.numbers, "schedule": self.schedule}
        if self.sme:
            return place_sme(self.layer, self.weights, load_chip(CHIP), parameters=self.sme, **how)
        return place_dense(self.layer, self.weights, load_chip(CHIP), **how), self.weights

    def placement(self) -> Placement:
        return self.placed()[0]

    @property
    def how(self) -> str:
        """Schedule, and what else is not plain."""
        squeezed = f", sme, squeeze {self.sme.squeeze}" if self.sme else ""
        sampled = f", {self.sample[0]} of {self.placement().sweep.steps[0]} rows" if self.sample else ""
        return self.schedule + squeezed + sampled

    def part(self) -> tuple[Placement, NDArray[np.int64]]:
        """What RTL runs: the whole, or some rows of steps of a tile with the input rows they need."""
        placed = self.placement()
        if self.sample is None:
            return placed, self.x
        rows, index = self.sample
        part = replace(first_rows(placed, placed.tiles[index], rows), tiles=(placed.tiles[index],))
        return part, self.x[:, :, : part.sweep.size[0]]


@dataclass(frozen=True)
class Outcome:
    """Of one case: what RTL and model counted for the part that was run, and the model for the whole."""

    steps: int
    cycles: int
    cycles_model: int
    cycles_whole: int
    cycles_unskipped: int  # of the whole, all OUs read
    reads: int
    dense_reads: int
    fault: str  # in what RTL does not match


def cases() -> list[Case]:
    """The generator's layers under all schedules and by planes, the others under RED and with the zeros
    inserted; synthetic activations are half zeros, as after a ReLU."""
    found = []
    for layer in transposed_layers(count=1):
        own = Case(layer.geometry, layer.weights, layer.activations, layer.format, "red")
        found += [own, replace(own, sme=SmeParameters(squeeze=SQUEEZE))]
        # Padding-free leaves many small tiles of the wider layers, which take long to build.
        others = ("zero-padding", "padding-free") if layer.geometry.channels < 32 else ("zero-padding",)
        found += [replace(own, schedule=schedule) for schedule in others]
    for name in RED_LAYERS:
        layer = part(name, *CHANNELS[name])
        rng = np.random.default_rng(len(found))
        weights = rng.integers(-127, 128, layer.weight_shape)
        x = np.maximum(rng.integers(-255, 256, (1, layer.channels, layer.height, layer.width)), 0)
        numbers = InputFormat(raw_bits=8, raw_signed=False)
        for schedule in ("red", "zero-padding"):
            sample = SAMPLE[schedule] if layer.output_size[0] > 500 else None
            found.append(Case(layer, weights, x, numbers, schedule, sample))
    return found


def run_case(case: Case) -> Outcome:
    """All tiles through RTL, their sum against golden, their cycles against the model. Raises `RtlError`."""
    placement, x = case.part()
    codes = x - case.numbers.zero_point
    y, predicted, results, suspects = np.int64(0), [], [], []
    for index, tile in enumerate(placement.tiles):
        predicted.append(tile_cycles(placement, tile, codes))
        p = TileParameters(placement, tile, counters=False)
        try:
            results.append(simulate_tile(p, x))
        except RtlError as error:
            wrong = diagnose(Suspect(p, index, x, 1, BUILD, error.outputs, error.sent or 0))
            raise RtlError(f"layer {case.layer.name!r}, {case.how}, tile {index}: {error}; {wrong}") from None
        suspects.append(Suspect(p, index, x, 1, BUILD, results[-1].y))
        y = y + results[-1].y
    # A sample lacks the other tiles' shares: its truth is its own share, whose sum with theirs is tested.
    truth = evaluate(case.layer, codes, case.placed()[1]) if case.sample is None else run(placement, codes)
    wrong = first_difference(case.layer.name, y, truth)
    whole, codes = case.placement(), case.x - case.numbers.zero_point
    tiles = whole.tiles if case.sample is None else whole.tiles[:1]
    return Outcome(
        steps=placement.steps * len(x),
        cycles=max(result.cycles for result in results),
        cycles_model=max(tile.cycles for tile in predicted),
        cycles_whole=max(tile_cycles(whole, tile, codes).cycles for tile in tiles),
        cycles_unskipped=max(tile_cycles(whole, tile, codes, skip=False).cycles for tile in tiles),
        reads=sum(tile.reads for tile in predicted),
        dense_reads=sum(tile.dense_reads for tile in predicted),
        fault=f"{wrong}\n{first_wrong(suspects)}" if wrong else miscounted(case.layer.name, predicted, results),
    )


def row(case: Case, own: Outcome, base: Outcome) -> list[str]:
    """One line of the table; ``base`` is the same layer with the zeros inserted."""
    gain = [f"{base.cycles_whole / own.cycles_whole:.2f}", f"{base.cycles_unskipped / own.cycles_unskipped:.2f}"]
    return [
        case.layer.name,
        f"{case.layer.channels} to {case.layer.outputs}",
        case.how,
        f"{own.steps:,}",
        f"{own.cycles:,}",
        f"{own.cycles_model:,}",
        *gain,
        f"{own.reads:,}",
        f"{1 - own.reads / own.dense_reads:.1%}",
        verdict(not own.fault),
    ]


HEADS = (
    "layer",
    "channels",
    "schedule",
    "steps",
    "RTL cycles",
    "predicted",
    "speed-up",
    "unskipped",
    "OU reads",
    "skipped",
    "verdict",
)


def main() -> int:
    """Run all cases on all cores and print the table."""
    started = time.monotonic()
    check_simulator("icarus")
    todo = cases()
    done: dict[int, Outcome] = {}
    # The longest first, so that no core is left alone with it at the end.
    order = sorted(range(len(todo)), key=lambda k: -todo[k].layer.output_size[0] * todo[k].layer.channels)
    with workers() as pool, progress() as bar:
        task = bar.add_task("layers", total=len(todo))
        runs = {pool.submit(run_case, todo[k]): k for k in order}
        for finished in as_completed(runs):
            done[runs[finished]] = finished.result()
            bar.advance(task)
    bases = {case.layer.name: done[k] for k, case in enumerate(todo) if case.schedule == "zero-padding"}
    rows = [row(case, done[k], bases[case.layer.name]) for k, case in enumerate(todo)]
    show(table_of(f"selvage, chip {CHIP}, Icarus Verilog", HEADS, rows))
    show(
        "speed-up: over zero-padding, OUs that drive nothing skipped in both; unskipped: all OUs read in both, "
        "as in the papers, from the cycle model. Where RTL ran some rows of one tile, the whole is from the model."
    )
    for k, case in enumerate(todo):
        for line in f"{case.how}: {done[k].fault}".splitlines() if done[k].fault else ():
            tell_fault(line)
    show(f"{time.monotonic() - started:.0f} s")
    return 1 if any(outcome.fault for outcome in done.values()) else 0


if __name__ == "__main__":
    leave(main)
