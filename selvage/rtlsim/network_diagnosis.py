"""Where a network's run went wrong: in a tile of a layer, or between its parts."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from selvage.base.errors import RtlError
from selvage.base.graph import Matrix, Node
from selvage.compiler.compile_network import CompiledNetwork
from selvage.compiler.options import Options
from selvage.compiler.parts import Part, parts, tile_runs
from selvage.hw.network.network import NetworkParameters
from selvage.rtlsim.cache import work_folder
from selvage.rtlsim.diagnosis import Diagnosis, Suspect, Wrong, first_wrong
from selvage.rtlsim.plain import build_network, run_network
from selvage.rtlsim.simulate import simulate_tile
from selvage.rtlsim.waves.file import WaveFile
from selvage.rtlsim.waves.network_blame import NetworkFinding, Truth, network_blame
from selvage.rtlsim.waves.network_signals import network_scopes
from selvage.rtlsim.waves.viewers import write_save_files
from selvage.sim.machine import run as run_crossbars

STANDS = 50  # cycles that are looked at after the last in which something moved


def diagnose_node(compiled: CompiledNetwork, node: Node, options: Options, name: str) -> Diagnosis | None:
    """Return where a node that ran alone went wrong: its tiles first, each by itself, then what is behind them.

    ``name``: of its waves, which stay where the options say. None: nothing of it is wrong when it runs again.
    """
    if isinstance(node, Matrix) and (found := first_wrong(_again(compiled, node, options), options.waves, name)):
        return found
    for number, part in enumerate(parts(compiled, node, options)):
        truth = _truth(compiled, [node] if isinstance(node, Matrix) else [], part)
        if found := _run_again(part.parameters, part.inputs, truth, options, f"{name}_pass{number}"):
            return found
    return None


def _again(compiled: CompiledNetwork, node: Matrix, options: Options) -> Iterator[Suspect]:
    """Run each tile of a layer by itself."""
    build = options.build / "sim"
    for index, (p, codes, devices) in enumerate(tile_runs(compiled, node, options)):
        y, sent = None, 0
        try:
            y = simulate_tile(p, codes, seed=options.seed + 1, build=build, devices=devices).y
        except RtlError as error:
            y, sent = error.outputs, error.sent or 0
        yield Suspect(p, index, codes, options.seed + 1, build, y, sent, devices)


def diagnose_pipeline(compiled: CompiledNetwork, options: Options, still: int | None = None) -> Diagnosis | None:
    """Return where the whole network went wrong: the first of its streams, and in a layer the tile that is to blame.

    ``still``: the cycle from which on nothing moved, of one that hangs.
    """
    p = NetworkParameters(compiled.plan, skip=options.skip)
    inputs = [compiled.codes[tensor.name] for tensor in compiled.graph.inputs]
    truth = _truth(compiled, compiled.graph.matrices)
    found = _run_again(p, inputs, truth, options, "pipeline", still)
    if found and found.component == "collector":
        # What is wrong in its sums may have come from a tile.
        node = next(node for node in compiled.graph.matrices if node.name == found.layer)
        return diagnose_node(compiled, node, options, "pipeline") or found
    return found


def _truth(compiled: CompiledNetwork, layers: Sequence[Matrix], part: Part | None = None) -> Truth:
    """Return what the golden model says of some layers; of one, of the tiles of a pass alone."""
    sums = {}
    for node in layers:
        placement = compiled.placements[node.name]
        if part:
            placement = replace(placement, tiles=part.plan.layers[0].placement.tiles)
        sums[node.name] = run_crossbars(placement, compiled.codes[node.inputs[0]] - placement.format.zero_point)
    return Truth(compiled.codes, sums)


def _run_again(
    p: NetworkParameters, inputs: list, truth: Truth, options: Options, name: str, still: int | None = None
) -> Diagnosis | None:
    """Run a network with waves of its streams, and return where they are wrong."""
    shown = replace(p, probes=True)
    with work_folder(options.build / "sim") as work:
        file = (options.waves or work) / f"{name}.fst"
        built = build_network(shown, build=options.build / "sim")
        with contextlib.suppress(RtlError):  # that is why it runs again
            run_network(shown, built, inputs, waves=file, until=None if still is None else still + STANDS)
        found = network_blame(shown, WaveFile(file), truth)
        if found and options.waves:
            write_save_files(network_scopes(shown), file, marker=found.cycle)
    return _diagnosis(shown, found, str(file) if options.waves else None) if found else None


def _diagnosis(p: NetworkParameters, found: NetworkFinding, waves: str | None) -> Diagnosis:
    output = None
    if found.expected is not None and found.channel is not None and found.row is not None:
        place = found.image or 0, 0, found.channel, found.channel, (found.row, found.column or 0)
        output = Wrong(*place, found.expected, found.actual)
    stage = next(stage for stage in p.plan.stages if stage.name == found.stage)
    return Diagnosis(
        stage.node_name, found.component, found.cycle, found.reason, found.image, output=output, waves=waves
    )
