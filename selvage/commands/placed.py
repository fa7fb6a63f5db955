"""A model placed on a chip, a layer or a network: counted, simulated, written as Verilog. Nothing is told here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import RtlError
from selvage.bundle.shell_bundle import shell_files
from selvage.bundle.verilog_bundle import layer_network, write_layer_bundle, write_verilog_bundle
from selvage.commands.run import LayerReport, output_maps, report, simulate, summary
from selvage.commands.run_network import Flow, NodeReport, foretell_node, report_of, run_nodes, run_pipeline
from selvage.compiler.compile_layer import Compiled, foretell, tile_parameters
from selvage.compiler.compile_network import ImportedNetwork
from selvage.compiler.options import Options
from selvage.rtlsim.simulate import TileResult

Tick = Callable[[], None]


@dataclass(frozen=True, eq=False)
class PlacedLayer:
    """A single layer on a chip."""

    compiled: Compiled
    options: Options

    def count(self, started: float) -> tuple[LayerReport, dict[str, Any]]:
        """Return the cycle model's line and the JSON report, of work ``started`` then (`time.monotonic`)."""
        line = report(self.compiled, foretell(self.compiled, self.options), None)
        return line, summary([line], "model", started)

    def simulate(self, started: float, tick: Tick | None = None) -> "LayerRun":
        """Run all tiles through RTL. What RTL itself raises is in the result, whose other figures are the model's."""
        foretold, results, error = foretell(self.compiled, self.options), None, None
        parameters = tile_parameters(self.compiled, self.options)
        try:
            results = simulate(self.compiled, parameters, self.options, tick or no_progress)
        except RtlError as raised:
            error = raised
        line = report(self.compiled, foretold, results)
        if error is not None:
            line = replace(line, match=False, fault=str(error))
        return LayerRun(self.compiled, line, summary([line], self.options.simulator, started), results, error)

    def write_verilog(self, out: Path, bus: str | None) -> list[Path]:
        """Write the bundle, with a shell for ``bus`` where one is named, and return its files."""
        shell = shell_files(layer_network(self.compiled), Options(skip=self.options.skip), bus) if bus else None
        return write_layer_bundle(self.compiled, self.options.skip, out, shell)


@dataclass(frozen=True, eq=False)
class LayerRun:
    """What a run of a layer showed: its line, the JSON report, the tiles' results, and what ended it early."""

    compiled: Compiled
    line: LayerReport
    content: dict[str, Any]
    results: list[TileResult] | None
    error: RtlError | None

    @property
    def output(self) -> NDArray[Any]:
        """The outputs (N, M, OH, OW) of a run that ended."""
        assert self.results is not None, "the run ended early"
        return output_maps(self.compiled, self.results)


@dataclass(frozen=True, eq=False)
class PlacedNetwork:
    """A network on a chip."""

    compiled: ImportedNetwork
    chip: Chip
    options: Options

    def count(self, started: float) -> tuple[list[NodeReport], dict[str, Any]]:
        """Return the cycle model's lines and the JSON report, of work ``started`` then (`time.monotonic`)."""
        lines = [foretell_node(self.compiled, node, self.options) for node in self.compiled.graph.nodes]
        return lines, report_of(self.compiled, self.chip, lines, None, self.options, started)

    def simulate(
        self, started: float, *, pipeline: bool = False, ticks: Mapping[str, Tick] | None = None
    ) -> "NetworkRun":
        """Run it through RTL, node by node or, as a ``pipeline``, all at once.

        What RTL itself raises is a fault of the result. ``ticks`` by node, once a pass; of a pipeline the first, twice.
        """
        flow, lines, faults = None, None, []
        called = ticks or dict.fromkeys((node.name for node in self.compiled.graph.nodes), no_progress)
        try:
            if pipeline:
                flow = run_pipeline(self.compiled, self.options, next(iter(called.values())))
                faults = [flow.fault]
            else:
                lines = run_nodes(self.compiled, self.options, called)
                faults = [line.fault for line in lines]
        except RtlError as error:
            faults = [f"the pipeline: {error}" if pipeline else str(error)]
        if lines is None:  # what the report holds beside the verdict is the cycle model's
            lines, _ = self.count(started)
        faults = [fault for fault in faults if fault]
        content = report_of(self.compiled, self.chip, lines, flow, self.options, started)
        content |= {"match": not faults, "fault": next(iter(faults), ""), "simulator": self.options.simulator}
        return NetworkRun(lines, flow, faults, content)

    def write_verilog(self, out: Path, bus: str | None) -> list[Path]:
        """Write the bundle, with a shell for ``bus`` where one is named, and return its files."""
        shell = shell_files(self.compiled, self.options, bus) if bus else None
        return write_verilog_bundle(self.compiled, self.options, out, shell)


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """What a run of a network showed: its lines, the pipeline's flow, what is wrong, and the JSON report."""

    lines: list[NodeReport]
    flow: Flow | None
    faults: list[str]
    content: dict[str, Any]


def no_progress() -> None:
    """Tell no progress."""
