"""A layer placed on a chip: counted, simulated, written as Verilog. Nothing is told here.

What runs RTL and what writes it is loaded by the methods that do so.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from selvage.base.errors import RtlError
from selvage.base.files import alone_in
from selvage.commands.again import Again, never
from selvage.commands.layer_report import LayerReport, report, summary
from selvage.compiler.compile_layer import Compiled, predict, tile_parameters
from selvage.compiler.options import Options

if TYPE_CHECKING:
    from selvage.rtlsim.simulate import TileResult

Tick = Callable[[], None]


@dataclass(frozen=True, eq=False)
class PlacedLayer:
    """A single layer on a chip."""

    compiled: Compiled
    options: Options

    def count(self, started: float) -> tuple[LayerReport, dict[str, Any]]:
        """Return the cycle model's line and the JSON report, of work ``started`` then (`time.monotonic`)."""
        line = report(self.compiled, predict(self.compiled, self.options), None)
        return line, summary([line], "model", started)

    def simulate(self, started: float, tick: Tick | None = None, again: Again = never) -> "LayerRun":
        """Run all tiles through RTL. What RTL itself raises is in the result, whose other figures are the model's.

        ``again``: the command that repeats a step. Waves, and what viewers need, are written where the options say.
        """
        waves = self.options.waves
        with alone_in(waves) if waves else contextlib.nullcontext():
            return self._simulate(started, tick, again)

    def _simulate(self, started: float, tick: Tick | None, again: Again) -> "LayerRun":
        from selvage.commands.run import diagnosed, save_files, simulate

        predicted, results, error = predict(self.compiled, self.options), None, None
        parameters = tile_parameters(self.compiled, self.options)
        try:
            results = simulate(self.compiled, parameters, self.options, tick or no_progress)
        except RtlError as raised:
            error = raised
        line = report(self.compiled, predicted, results, skip=self.options.skip)
        if error is not None:
            line = replace(line, match=False, fault=str(error))
        if line.match is False:
            found = diagnosed(self.compiled, parameters, self.options, results, error)
            if found:
                found = replace(found, again=again(found.layer, found.tile, found.step))
            line = replace(line, diagnosis=found)
        saves = save_files(self.compiled, parameters, self.options) if results else []
        return LayerRun(self.compiled, line, summary([line], self.options.simulator, started), results, error, saves)

    def write_verilog(self, out: Path, bus: str | None) -> list[Path]:
        """Write the bundle, with a shell for ``bus`` where one is named, and return its files."""
        from selvage.bundle.shell_bundle import shell_files
        from selvage.bundle.verilog_bundle import layer_network, write_layer_bundle

        shell = shell_files(layer_network(self.compiled), Options(skip=self.options.skip), bus) if bus else None
        return write_layer_bundle(self.compiled, self.options.skip, out, shell)


@dataclass(frozen=True, eq=False)
class LayerRun:
    """What a run of a layer showed: its line, the JSON report, the tiles' results, and what ended it early."""

    compiled: Compiled
    line: LayerReport
    content: dict[str, Any]
    results: "list[TileResult] | None"
    error: RtlError | None
    saves: list[Path]  # of GTKWave, one for each tile's waves

    @property
    def output(self) -> NDArray[Any]:
        """The outputs (N, M, OH, OW) of a run that ended."""
        from selvage.commands.run import output_maps

        assert self.results is not None, "the run ended early"
        return output_maps(self.compiled, self.results)


def no_progress() -> None:
    """Tell no progress."""
