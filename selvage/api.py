"""The interface for notebooks and scripts: compile a model for a chip, then count, simulate, or write Verilog."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip, load_chip
from selvage.base.costs import load_costs
from selvage.base.errors import InputError
from selvage.base.files import LISTING, alone_in, check_writable
from selvage.commands.placed_layer import PlacedLayer, no_progress
from selvage.commands.placed_network import PlacedNetwork
from selvage.compiler.compile_layer import Compiled, compile_layer
from selvage.compiler.compile_network import ImportedNetwork, compile_network
from selvage.compiler.cost import network_cost
from selvage.compiler.model_file import checked_input, draw_input, load_model
from selvage.compiler.options import Options
from selvage.frontend.kinds import is_network
from selvage.rtlsim.installed import check_simulator

__all__ = ["CompiledModel", "compile", "load_chip"]

Images = NDArray[Any] | Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A model placed on a chip, with the images it is counted and simulated for."""

    model: PlacedLayer | PlacedNetwork

    @property
    def placed(self) -> Compiled | ImportedNetwork:
        """The placed layer, or the placed network."""
        return self.model.compiled

    def count(self) -> dict[str, Any]:
        """Return the cycle model's report, as ``selvage model --json`` writes it: cycles, OU reads and crossbars."""
        return self.model.count(time.monotonic())[1]

    def simulate(self, *, pipeline: bool = False) -> dict[str, Any]:
        """Run the model through RTL and return the report that ``selvage sim --json`` writes.

        ``pipeline``: all layers of a network at work at once; otherwise node by node. ``match`` says whether all
        outputs are those of the golden model and all cycles those of the cycle model; ``fault`` says what is wrong.
        Raises `InputError` where the simulator is missing and `SimulationError` where it fails.
        """
        started = time.monotonic()
        check_simulator(self.model.options.simulator)
        if isinstance(self.model, PlacedLayer):
            return self.model.simulate(started).content
        return self.model.simulate(started, pipeline=pipeline).content

    def cost(self, costs: str | Path = "isaac", node: int | None = None) -> dict[str, Any]:
        """Return energy, area and time, as ``selvage cost --json`` writes them.

        ``costs``: a ready table or a TOML file; ``node``: nm that it is scaled to. Raises `InputError`.
        """
        from selvage.commands.cost_command import placed_ways

        table = load_costs(str(costs))
        layers, fits = placed_ways(self.model)
        return network_cost(layers, table if node is None else table.at(node), side_by_side=fits)

    def write_verilog(self, folder: str | Path, bus: str | None = None) -> list[Path]:
        """Write the bundle of ``selvage verilog`` to ``folder`` and return its files.

        ``bus``: a shell for ``axi`` or ``wishbone`` too, in ``folder/shell``.
        """
        from selvage.bundle.shell_bundle import check_bus

        out = Path(folder)
        check_bus(bus)
        check_writable(out / LISTING)
        with alone_in(out):
            return self.model.write_verilog(out, bus)


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
        return CompiledModel(PlacedNetwork(compile_network(path, loaded, images, asked, no_progress), loaded, asked))
    if isinstance(images, Mapping):
        raise InputError(f"images are given by name, and model {path!r} is a single layer, which takes one array")
    layer = load_model(path, None if images is None else np.shape(images))
    x = draw_input(layer, loaded, asked.seed) if images is None else checked_input(layer, np.asarray(images), "images")
    return CompiledModel(PlacedLayer(compile_layer(layer, loaded, x, asked), asked))
