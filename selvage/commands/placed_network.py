"""A network placed on a chip: counted, simulated, written as Verilog. Nothing is told here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selvage.base.chip import Chip
from selvage.base.errors import RtlError
from selvage.commands.placed_layer import no_progress
from selvage.commands.run_network import (
    Flow,
    NodeReport,
    predict_flow,
    predict_node,
    report_of,
    run_nodes,
    run_pipeline,
)
from selvage.compiler.compile_network import ImportedNetwork, Tick
from selvage.compiler.options import Options


@dataclass(frozen=True, eq=False)
class PlacedNetwork:
    """A network on a chip."""

    compiled: ImportedNetwork
    chip: Chip
    options: Options

    def count(self, started: float, *, pipeline: bool = False) -> tuple[list[NodeReport], dict[str, Any]]:
        """Return the cycle model's lines and the JSON report, of work ``started`` then (`time.monotonic`).

        ``pipeline``: that of all layers at work at once, too.
        """
        lines = [predict_node(self.compiled, node, self.options) for node in self.compiled.graph.nodes]
        flow = predict_flow(self.compiled, self.options) if pipeline else None
        return lines, report_of(self.compiled, self.chip, lines, flow, self.options, started)

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
        from selvage.bundle.shell_bundle import shell_files
        from selvage.bundle.verilog_bundle import write_verilog_bundle

        shell = shell_files(self.compiled, self.options, bus) if bus else None
        return write_verilog_bundle(self.compiled, self.options, out, shell)


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """What a run of a network showed: its lines, the pipeline's flow, what is wrong, and the JSON report."""

    lines: list[NodeReport]
    flow: Flow | None
    faults: list[str]
    content: dict[str, Any]
