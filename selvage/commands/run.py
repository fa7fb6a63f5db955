"""A compiled layer through RTL, tile by tile."""

import re
from collections.abc import Callable
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import RtlError
from selvage.compiler.compile_layer import Compiled
from selvage.compiler.options import Options
from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.simulate import Image, TileResult, build_tile, run_tile, workers
from selvage.rtlsim.waves import save_file, write_save_file

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
    waves = [None] * len(parameters) if options.waves is None else _waves(options.waves, parameters)
    for path in filter(None, waves):
        save_file(path).unlink(missing_ok=True)  # a save file stands for waves that are whole
    distinct = {p.structure: p for p in parameters}
    images: dict[tuple, Image] = {}
    with workers(jobs) as pool:
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
                raise RtlError(f"layer {compiled.model.layer.name!r}, tile {runs[run]}: {error}") from None
            tick()
    return [results[index] for index in range(len(parameters))]


def work(parameters: list[TileParameters]) -> int:
    """Return the number of ticks of `simulate`."""
    return len(parameters) + len({p.structure for p in parameters})


def _waves(folder: Path, parameters: list[TileParameters]) -> list[Path]:
    """Return the file of each tile's waves."""
    # A node's name is any text, often with slashes: never a path.
    names = (re.sub(r"[^A-Za-z0-9.-]+", "_", p.placement.layer.name) for p in parameters)
    return [folder / f"{name}_tile{index}.fst" for index, name in enumerate(names)]


def save_files(parameters: list[TileParameters], options: Options, results: list[TileResult]) -> list[Path]:
    """Write a GTKWave save file beside each tile's waves, and return these files; none where no waves are written."""
    if options.waves is None:
        return []
    waves = _waves(options.waves, parameters)
    return [write_save_file(p, wave, result.cycles) for p, wave, result in zip(parameters, waves, results, strict=True)]
