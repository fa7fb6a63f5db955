"""Waves of a network: of every tile of its layers, each by itself, or of the streams of the pipeline."""

from pathlib import Path

from selvage.base.errors import InputError
from selvage.base.graph import Matrix
from selvage.base.text import count_of
from selvage.commands.run_network import PIPELINE
from selvage.commands.streams import warn
from selvage.compiler.compile_network import CompiledNetwork
from selvage.compiler.options import Options
from selvage.compiler.parts import tile_runs
from selvage.rtlsim.diagnosis import Suspect, watched
from selvage.rtlsim.simulate import workers
from selvage.rtlsim.waves.viewers import save_file
from selvage.rtlsim.waves.window import Window, file_names


def check_window(compiled: CompiledNetwork, options: Options) -> None:
    """Raise `InputError`: the window of the options begins behind the last step of all layers."""
    most = max((compiled.images * p.sweep.count for p in compiled.placements.values()), default=0)
    if options.waves_from >= most:
        raise InputError(
            f"--waves-from {options.waves_from} is beyond the {count_of(most, 'step')} of the longest layer"
        )


def write_waves(compiled: CompiledNetwork, options: Options, *, pipeline: bool) -> list[Path]:
    """Write waves of every tile in the folder of the options, and return GTKWave's files.

    Those of a ``pipeline`` are there by now. Raises `SimulationError`.
    """
    assert options.waves is not None
    if pipeline:
        return [save_file(options.waves / f"{PIPELINE}.fst")]
    found, jobs = [], []
    nodes = list(compiled.graph.nodes)
    names = file_names([node.name for node in nodes])
    with workers() as pool:
        for node, name in zip(nodes, names, strict=True):
            if not isinstance(node, Matrix):
                continue
            for index, (p, codes, devices) in enumerate(tile_runs(compiled, node, options)):
                steps = len(codes) * p.placement.sweep.count
                if options.waves_from >= steps:
                    few = count_of(steps, "step")
                    warn(f"layer {node.name!r} has {few}: none from --waves-from {options.waves_from} on")
                    break
                file = options.waves / f"{name}_tile{index}.fst"
                window = Window(file, options.waves_from, options.waves_steps, alone=True)
                window = window.within(steps, f"layer {node.name!r}")
                suspect = Suspect(p, index, codes, options.seed + 1, options.build / "sim", devices=devices)
                jobs.append(pool.submit(watched, suspect, window))
                found.append(save_file(file))
        for job in jobs:
            job.result()
    return found
