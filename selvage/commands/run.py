"""A compiled layer through RTL, tile by tile, and where it went wrong."""

from collections.abc import Callable
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import RtlError
from selvage.compiler.compile_layer import Compiled
from selvage.compiler.options import Options
from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.diagnosis import Diagnosis, Suspect, first_wrong
from selvage.rtlsim.simulate import Image, TileResult, build_tile, run_tile, workers
from selvage.rtlsim.waves.described import describe
from selvage.rtlsim.waves.viewers import save_file
from selvage.rtlsim.waves.window import Window, file_names

Integers = NDArray[np.int64]
Tick = Callable[[], None]


def output_maps(compiled: Compiled, results: list[TileResult]) -> Integers:
    """Return the outputs (N, M, OH, OW): partial sums of the tiles, and the bias."""
    y = sum((result.y for result in results), start=np.zeros_like(results[0].y))
    return y if compiled.model.bias is None else y + compiled.model.bias[:, None, None]


def simulate(
    compiled: Compiled,
    parameters: list[TileParameters],
    options: Options,
    tick: Tick = lambda: None,
    jobs: int | None = None,
) -> list[TileResult]:
    """Run every tile through RTL, ``jobs`` at a time; tiles of equal structure are compiled once.

    ``tick`` is called `work` times in all. Raises `SimulationError`, and `RtlError`, which names layer and tile.
    """
    waves = windows(compiled, options, parameters)
    for window in filter(None, waves):
        save_file(window.file).unlink(missing_ok=True)  # a save file stands for waves that are whole
    distinct = {p.structure: p for p in parameters}
    images: dict[tuple, Image] = {}
    with workers(jobs) as pool:
        builds = {
            pool.submit(
                build_tile,
                p,
                simulator=options.simulator,
                build=options.build / "sim",
            ): key
            for key, p in distinct.items()
        }
        for build in as_completed(builds):
            images[builds[build]] = build.result()
            tick()
        runs = {
            pool.submit(
                run_tile,
                p,
                images[p.structure],
                compiled.maps,
                seed=options.seed + 1,
                waves=waves[index],
                devices=compiled.devices,
            ): index
            for index, p in enumerate(parameters)
        }
        results: dict[int, TileResult] = {}
        for run in as_completed(runs):
            try:
                results[runs[run]] = run.result()
            except RtlError as error:
                tile, name = runs[run], compiled.model.layer.name
                raise RtlError(
                    f"layer {name!r}, tile {tile}: {error}", error.sent, tile, outputs=error.outputs
                ) from None
            tick()
    return [results[index] for index in range(len(parameters))]


def work(parameters: list[TileParameters]) -> int:
    """Return the number of ticks of `simulate`."""
    return len(parameters) + len({p.structure for p in parameters})


def windows(compiled: Compiled, options: Options, parameters: list[TileParameters]) -> list[Window | None]:
    """Return what is dumped of each tile. `InputError`: a window that begins behind the last step."""
    if options.waves is None:
        return [None] * len(parameters)
    found: list[Window | None] = []
    (name,) = file_names([compiled.model.layer.name])
    for index, p in enumerate(parameters):
        file = options.waves / f"{name}_tile{index}.fst"
        total = len(compiled.maps) * p.placement.sweep.count
        window = Window(file, options.waves_from, options.waves_steps)
        found.append(window.within(total, f"layer {p.placement.layer.name!r}"))
    return found


def save_files(compiled: Compiled, parameters: list[TileParameters], options: Options) -> list[Path]:
    """Write what viewers and `selvage explain` need beside each tile's waves; return GTKWave's files."""
    found = []
    for index, (p, window) in enumerate(zip(parameters, windows(compiled, options, parameters), strict=True)):
        if window:
            found.append(describe(p, window, index, len(compiled.maps)))
    return found


def diagnosed(
    compiled: Compiled,
    parameters: list[TileParameters],
    options: Options,
    results: list[TileResult] | None,
    error: RtlError | None,
) -> Diagnosis | None:
    """Return where the first tile that is wrong went wrong; None where none is, or it does not show."""
    suspects = []
    for index, p in enumerate(parameters):
        if results is None and (error is None or error.tile != index):
            continue
        y = results[index].y if results else error.outputs if error else None
        how = {"sent": error.sent or 0 if error else 0, "devices": compiled.devices}
        suspects.append(Suspect(p, index, compiled.maps, options.seed + 1, options.build / "sim", y, **how))
    return first_wrong(suspects, options.waves, file_names([compiled.model.layer.name])[0])
