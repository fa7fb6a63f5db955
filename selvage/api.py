"""The interface for notebooks and scripts: compile a model for a chip, then count, simulate, or write Verilog."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip, load_chip
from selvage.base.errors import InputError, RtlError
from selvage.base.files import LISTING, alone_in, check_writable
from selvage.bundle.shell_bundle import check_bus, shell_files
from selvage.bundle.verilog_bundle import layer_network, write_layer_bundle, write_verilog_bundle
from selvage.commands import run as layers
from selvage.commands.network_command import is_network, report_of
from selvage.commands.run_network import foretell_node, run_nodes, run_pipeline
from selvage.compiler.compile_layer import Compiled, compile_layer, foretell, tile_parameters
from selvage.compiler.compile_network import ImportedNetwork, compile_network
from selvage.compiler.model_file import checked_input, draw_input, load_model
from selvage.compiler.options import Options
from selvage.compiler.parts import check_fits

__all__ = ["CompiledModel", "compile", "load_chip"]

Images = NDArray[Any] | Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A model placed on a chip, with the images it is counted and simulated for.

    ``placed`` is a `Compiled` layer or an `ImportedNetwork`.
    """

    placed: Compiled | ImportedNetwork
    chip: Chip
    options: Options

    def count(self) -> dict[str, Any]:
        """Return the cycle model's report, as ``selvage model --json`` writes it: cycles, OU reads and crossbars."""
        started = time.monotonic()
        if isinstance(self.placed, Compiled):
            line = layers.report(self.placed, foretell(self.placed, self.options), None)
            return layers.summary([line], "model", started)
        reports = [foretell_node(self.placed, node, self.options) for node in self.placed.graph.nodes]
        return report_of(self.placed, self.chip, reports, None, self.options, started)

    def simulate(self, *, pipeline: bool = False) -> dict[str, Any]:
        """Run the model through RTL and return the report that ``selvage sim --json`` writes.

        ``pipeline``: all layers of a network at work at once; otherwise node by node. ``match`` says whether all
        outputs are those of the golden model and all cycles those of the cycle model; ``fault`` says what is wrong.
        Raises `InputError` where the simulator is missing and `SimulationError` where it fails.
        """
        started = time.monotonic()
        layers.check_simulator(self.options.simulator)
        if isinstance(self.placed, Compiled):
            return self._simulate_layer(self.placed, started)
        flow, reports, fault = None, None, ""
        try:
            if pipeline:
                check_fits(self.placed)
                flow = run_pipeline(self.placed, self.options, _nothing)
            else:
                ticks = dict.fromkeys((node.name for node in self.placed.graph.nodes), _nothing)
                reports = run_nodes(self.placed, self.options, ticks)
            fault = flow.fault if flow else next((node.fault for node in reports or () if node.fault), "")
        except RtlError as error:
            fault = f"the pipeline: {error}" if pipeline else str(error)
        reports = reports or [foretell_node(self.placed, node, self.options) for node in self.placed.graph.nodes]
        content = report_of(self.placed, self.chip, reports, flow, self.options, started)
        return {**content, "match": not fault, "fault": fault, "simulator": self.options.simulator}

    def _simulate_layer(self, placed: Compiled, started: float) -> dict[str, Any]:
        foretold = foretell(placed, self.options)
        try:
            results = layers.simulate(placed, tile_parameters(placed, self.options), self.options)
            line = layers.report(placed, foretold, results)
        except RtlError as error:
            line = replace(layers.report(placed, foretold, None), match=False, fault=str(error))
        return layers.summary([line], self.options.simulator, started)

    def write_verilog(self, folder: str | Path, bus: str | None = None) -> list[Path]:
        """Write the bundle of ``selvage verilog`` to ``folder`` and return its files.

        ``bus``: a shell for ``axi`` or ``wishbone`` too, in ``folder/shell``.
        """
        out = Path(folder)
        check_bus(bus)
        check_writable(out / LISTING)
        layer = isinstance(self.placed, Compiled)
        network = layer_network(self.placed) if isinstance(self.placed, Compiled) else self.placed
        how = Options(skip=self.options.skip) if layer else self.options
        with alone_in(out):
            shell = shell_files(network, how, bus) if bus else None
            if isinstance(self.placed, Compiled):
                return write_layer_bundle(self.placed, self.options.skip, out, shell)
            return write_verilog_bundle(network, self.options, out, shell)


def compile(
    model: str | Path, chip: str | Chip = "ou9x8", *, images: Images | None = None, **options: Any
) -> CompiledModel:
    """Place ``model``, an ONNX file or a layer TOML, on ``chip``, the name of a ready one or a TOML file.

    ``images`` are the model's activations in ONNX's layout, by name where it has several inputs; without them they are
    drawn. ``options`` are the fields of `Options`: ``schedule``, ``mapping``, ``skip``, ``seed``, ``simulator`` and so
    on, folders as paths or words. Raises `InputError`, whose message is one sentence.
    """
    for name in ("build", "waves"):
        if options.get(name) is not None:
            options[name] = Path(options[name])
    path, loaded, asked = str(model), load_chip(chip) if isinstance(chip, str) else chip, Options(**options)
    if is_network(path):
        asked.check_network()
        return CompiledModel(compile_network(path, loaded, images, asked, _nothing), loaded, asked)
    if isinstance(images, Mapping):
        raise InputError(f"images are given by name, and model {path!r} is a single layer, which takes one array")
    layer = load_model(path, None if images is None else np.shape(images))
    x = draw_input(layer, loaded, asked.seed) if images is None else checked_input(layer, np.asarray(images), "images")
    return CompiledModel(compile_layer(layer, loaded, x, asked), loaded, asked)


def _nothing() -> None:
    """Tell no progress."""
