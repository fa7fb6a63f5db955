"""One tile of a benchmark layer: through RTL, through the cycle model, and both beside each other."""

import time
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bench.layers import FORMAT, Integers, activations, weights
from examples.red_layers import RED_LAYERS
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.base.layer import Layer
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.load import load_plan
from selvage.mapping.placement import Placement, first_rows
from selvage.rtlsim.installed import verilator_there
from selvage.rtlsim.simulate import build_tile, run_tile
from selvage.sim.cycles import TileCycles, tile_cycles
from selvage.sim.machine import tile_outputs

BUILD = build_folder("red")
LEAST_ROWS = 2  # rows of steps in a sample
ICARUS_LONGEST = 60_000  # cycles
WORTH_COMPILING = 300_000  # cycles times arrays from which Verilator's compile time is won back


@dataclass(frozen=True)
class Case:
    """The first tile of a layer on a chip, under one schedule.

    ``small`` replaces the layer's (side, inputs, outputs). Above ``longest`` cycles a sample is run:
    the first rows of steps. Which simulator ``auto`` is follows from the length of the run.
    """

    name: str
    chip: str
    schedule: str
    skip: bool
    fold: int = 1
    small: tuple[int, int, int] | None = None
    longest: int = 1_000_000
    simulator: str = "auto"

    @cached_property
    def layer(self) -> Layer:
        layer = RED_LAYERS[self.name]
        side, c, m = self.small or (layer.height, layer.channels, layer.outputs)
        return layer.model_copy(update={"height": side, "width": side, "channels": c, "outputs": m})

    @cached_property
    def weights(self) -> Integers:
        return weights(self.layer, load_chip(self.chip))

    def placement(self) -> Placement:
        chip = load_chip(self.chip)
        return place_dense(self.layer, self.weights, chip, input_format=FORMAT, schedule=self.schedule, fold=self.fold)


@dataclass(frozen=True)
class Run:
    """What RTL showed of a case, and what the models say.

    ``overhead`` is cycles per OU read of the step's busiest array, once buffers are filled: RTL cycles
    of the run, less the model's cycles of its first step alone, over the busiest reads of all other
    steps. Both terms hold one fill before the first read and one drain after the last, so they cancel
    and what is left runs from the last read of the first step to the last read of all.
    """

    case: Case
    steps: int  # of the whole layer
    tiles: int
    arrays: int  # of the tile
    rows: int | None  # rows of steps of a sample
    simulator: str
    cycles: int  # of what RTL ran
    cycles_model: int
    cycles_whole: int  # of the tile, all steps: the model's where RTL ran a sample
    busiest: int
    overhead: float
    counters: dict[str, int]
    reads_model: int
    fetched_expected: int
    outputs_equal: bool
    golden_equal: bool | None  # None: a sample, or a tile that is not the whole layer
    compile_seconds: float
    run_seconds: float

    @property
    def issue(self) -> float:
        """OU reads of the busiest array of each step, per cycle in which an OU read was left."""
        return self.busiest / self.counters["pending"]

    @property
    def issued(self) -> float:
        """Share of the cycles with an OU read left in some array in which some array read one."""
        return self.counters["issued"] / self.counters["pending"]

    @property
    def fetched_wrong(self) -> int:
        """Words of the input that were not fetched exactly once, from the RTL's counter."""
        return abs(self.counters["fetched"] - self.fetched_expected)

    @property
    def differences(self) -> list[str]:
        """Everything that should be equal and is not."""
        pairs = {
            "cycles": (self.cycles, self.cycles_model),
            "reads": (self.counters["reads"], self.reads_model),
            "fetched words": (self.counters["fetched"], self.fetched_expected),
        }
        found = [f"{name}: RTL {rtl}, expected {model}" for name, (rtl, model) in pairs.items() if rtl != model]
        found += [] if self.outputs_equal else ["outputs differ from the machine's"]
        return found + (["outputs differ from golden"] if self.golden_equal is False else [])


def sample(placed: Placement, x: Integers, rows: int) -> tuple[Placement, Integers]:
    """The first ``rows`` rows of steps of the first tile, with the input rows that they need."""
    part = first_rows(placed, placed.tiles[0], rows)
    return part, x[:, :, : part.sweep.size[0]]


def _overhead(placed: Placement, x: Integers, cycles: int, whole: TileCycles, skip: bool) -> float:
    """See `Run`."""
    first = replace(placed, sweep=replace(placed.sweep, steps=(1, 1)))
    alone = tile_cycles(first, placed.tiles[0], x, skip=skip)
    return (cycles - alone.cycles) / (whole.busiest - alone.busiest)


def _simulator(case: Case, work: int) -> str:
    if case.simulator != "auto":
        return case.simulator
    return "verilator" if verilator_there() and work >= WORTH_COMPILING else "icarus"


def measure(case: Case) -> Run:
    """The case through RTL and models."""
    placed, x = case.placement(), activations(case.layer)
    tile, rows = placed.tiles[0], None
    complete = model = tile_cycles(placed, tile, x, skip=case.skip)
    part, own = placed, x
    simulator = _simulator(case, min(complete.cycles, case.longest) * len(tile.arrays))
    longest = min(case.longest, ICARUS_LONGEST) if simulator == "icarus" else case.longest
    if complete.cycles > longest:
        rows = max(LEAST_ROWS, placed.sweep.steps[0] * longest // complete.cycles)
        part, own = sample(placed, x, rows)
        model = tile_cycles(part, tile, own, skip=case.skip)
    parameters = TileParameters(part, tile, skip=case.skip)
    started = time.perf_counter()
    image = build_tile(parameters, simulator=simulator, build=BUILD)
    compiled = time.perf_counter()
    result = run_tile(parameters, image, own)
    done = time.perf_counter()
    golden = None
    if rows is None and len(placed.tiles) == 1:
        golden = bool(np.array_equal(result.y, evaluate(case.layer, x, case.weights)))
    return Run(
        case=replace(case),  # without what it has cached
        steps=placed.steps,
        tiles=len(placed.tiles),
        arrays=len(tile.arrays),
        rows=rows,
        simulator=simulator,
        cycles=result.cycles,
        cycles_model=model.cycles,
        cycles_whole=result.cycles if rows is None else complete.cycles,
        busiest=model.busiest,
        overhead=_overhead(part, own, result.cycles, model, case.skip),
        counters=result.counters,
        reads_model=model.reads,
        fetched_expected=own.shape[0] * own.shape[2] * own.shape[3] * load_plan(placed, tile).words,
        outputs_equal=bool(np.array_equal(result.y, tile_outputs(part, tile, own))),
        golden_equal=golden,
        compile_seconds=round(compiled - started, 2),
        run_seconds=round(done - compiled, 2),
    )
