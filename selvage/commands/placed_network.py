"""A network placed on a chip: counted, simulated, written as Verilog. Nothing is told here."""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from selvage.base.chip import Chip
from selvage.base.errors import RtlError
from selvage.base.files import alone_in
from selvage.commands.again import Again, never
from selvage.commands.network_waves import check_window, write_waves
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
from selvage.rtlsim.diagnosis import Diagnosis
from selvage.rtlsim.network_diagnosis import diagnose_node, diagnose_pipeline
from selvage.rtlsim.waves.window import file_names


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
        self,
        started: float,
        *,
        pipeline: bool = False,
        ticks: Mapping[str, Tick] | None = None,
        again: Again = never,
    ) -> "NetworkRun":
        """Run it through RTL, node by node or, as a ``pipeline``, all at once.

        What RTL itself raises is a fault of the result. ``ticks`` by node, once a pass; of a pipeline the first, twice.
        ``again``: the command that repeats a step of a tile. Waves are written where the options say.
        """
        waves = self.options.waves
        if waves and not pipeline:
            check_window(self.compiled, self.options)
        with alone_in(waves) if waves else contextlib.nullcontext():
            return self._simulate(started, ticks, again, pipeline=pipeline)

    def _simulate(
        self, started: float, ticks: Mapping[str, Tick] | None, again: Again, *, pipeline: bool
    ) -> "NetworkRun":
        flow, lines, faults, wrong, still = None, None, [], None, None
        called = ticks or dict.fromkeys((node.name for node in self.compiled.graph.nodes), no_progress)
        try:
            if pipeline:
                flow = run_pipeline(self.compiled, self.options, next(iter(called.values())))
                faults = [flow.fault]
            else:
                lines = run_nodes(self.compiled, self.options, called)
                faults = [line.fault for line in lines]
                wrong = next((line.name for line in lines if line.fault), None)
        except RtlError as error:
            wrong, still = error.node, error.still
            faults = [f"the pipeline: {error}" if pipeline else str(error)]
        if lines is None:  # what the report holds beside the verdict is the cycle model's
            lines, _ = self.count(started)
        faults = [fault for fault in faults if fault]
        content = report_of(self.compiled, self.chip, lines, flow, self.options, started)
        found = self._diagnosed(wrong, still, again, pipeline=pipeline) if faults else None
        content |= {"match": not faults, "fault": next(iter(faults), ""), "simulator": self.options.simulator}
        content["diagnosis"] = asdict(found) if found else None
        # A pipeline that ended early has no waves but those of the diagnosis.
        there = self.options.waves and (flow or not pipeline)
        saves = write_waves(self.compiled, self.options, pipeline=pipeline) if there else []
        return NetworkRun(lines, flow, faults, content, found, saves)

    def _diagnosed(self, wrong: str | None, still: int | None, again: Again, *, pipeline: bool) -> Diagnosis | None:
        """Return where node ``wrong``, or the pipeline, went wrong, if it does so once more."""
        if pipeline:
            found = diagnose_pipeline(self.compiled, self.options, still)
        else:
            nodes = self.compiled.graph.nodes
            names = zip(nodes, file_names([node.name for node in nodes]), strict=True)
            node, name = next((pair for pair in names if pair[0].name == wrong), (None, ""))
            found = diagnose_node(self.compiled, node, self.options, name) if node else None
        return replace(found, again=again(found.layer, found.tile, found.step)) if found else None

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
    diagnosis: Diagnosis | None  # where the first fault is
    saves: list[Path]  # of GTKWave
