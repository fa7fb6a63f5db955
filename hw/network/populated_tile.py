"""A tile with its crossbars in it: what repeats on a chip."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.shared import Library, ports_of
from selvage.hw.macro.macro_views import Macro
from selvage.hw.network.crossbar_control import CrossbarControl, TileControl, control_signature
from selvage.hw.tile.output import output_layout
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.tile import Tile


class PopulatedTile(wiring.Component):
    """A tile and its crossbars.

    Each crossbar is an instance of module ``macro.name``, which the process has. The periphery is a module of
    ``library``, as all that it consists of. Crossbars with a programming port are controlled from above
    (`hw.network.crossbar_control`).

    Members
    -------
    i, o : activations and outputs of the tile (`hw.tile.tile.Tile`)
    control : of the crossbars, where they can be programmed
    """

    i: stream.Interface
    o: stream.Interface
    control: CrossbarControl

    def __init__(self, parameters: TileParameters, macro: Macro, library: Library) -> None:
        self.p, self.macro = parameters, macro
        self.periphery = library.shared(
            (Tile, parameters.structure), lambda: Tile(parameters, library=library), "periphery"
        )
        members = {
            "i": In(stream.Signature(data.ArrayLayout(parameters.buffer.format.raw_bits, parameters.buffer.lanes))),
            "o": Out(stream.Signature(output_layout(parameters))),
        }
        if macro.programmable:
            members["control"] = In(control_signature(len(parameters.macros), macro.values["ROWS"], macro.row_width))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Connect periphery and crossbars, with the control between them where there is one."""
        m = Module()
        m.submodules.periphery = periphery = self.periphery
        wiring.connect(m, wiring.flipped(self.i), periphery.i)
        wiring.connect(m, periphery.o, wiring.flipped(self.o))
        pins: wiring.Component = periphery
        if self.macro.programmable:
            rows, width = self.macro.values["ROWS"], self.macro.row_width
            m.submodules.control = control = TileControl(self.p, rows, width)
            wiring.connect(m, wiring.flipped(self.control), control.control)
            for k in range(len(self.p.macros)):
                wiring.connect(m, getattr(periphery, f"crossbar_{k}"), getattr(control, f"tile_{k}"))
            pins = control
        for k in range(len(self.p.macros)):
            m.submodules[f"crossbar_{k}"] = self._crossbar(pins, k)
        return m

    def _crossbar(self, pins: wiring.Component, k: int) -> Instance:
        """Return crossbar ``k`` at ``pins``."""
        own = getattr(pins, f"crossbar_{k}")
        ports, reset = ports_of(own.signature.flip(), own), ResetSignal()
        if self.macro.programmable:
            port, reset = getattr(pins, f"program_{k}"), self.control.reset
            ports |= ports_of(port.signature.flip(), port, "program__")
        return Instance(self.macro.name, i_clk=ClockSignal(), i_rst=reset, **ports)
