"""Products of two maps: what squeeze-and-excitation and the gates of recurrent layers multiply."""

from dataclasses import dataclass
from functools import cached_property

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.base.layer import InputFormat
from selvage.base.requantization import Requantization
from selvage.hw.lib.loadable import Constants, TableInterface, table_signature
from selvage.hw.network.components import Surroundings, component_of, parameters_of
from selvage.hw.network.maps import codes_layout, less_zero_point
from selvage.hw.network.requantizer import Requantizer, RequantizerParameters, TablesOfRequantizer
from selvage.mapping.stages import MultiplyStage


@dataclass(frozen=True)
class MultiplyParameters(TablesOfRequantizer):
    """Parameters of a `MultiplyMaps`: the formats of both maps, and the rounding of products of their codes."""

    sources: tuple[InputFormat, ...]
    requantization: Requantization
    channels: int
    lanes: int
    bits: int
    constants: Constants = "fixed"

    @property
    def width(self) -> int:
        """Bits of a product of two codes less their zero points."""
        return sum(numbers.raw_bits + 1 for numbers in self.sources)

    @cached_property
    def requantizer(self) -> RequantizerParameters:
        """Parameters of the requantisation of products."""
        settings = (self.width, self.lanes, self.channels, self.bits)
        return RequantizerParameters(self.requantization, *settings, self.constants)


class MultiplyMaps(wiring.Component):
    """The product of two maps as codes of a third: a cycle, and those of the requantiser. A word a cycle.

    ``table`` writes loaded factors and what belongs to them, a word a cycle.
    """

    i_0: stream.Interface
    i_1: stream.Interface
    o: stream.Interface
    table: TableInterface

    latency = 1 + Requantizer.latency

    def __init__(self, parameters: MultiplyParameters) -> None:
        self.p = p = parameters
        inputs = {
            f"i_{k}": In(stream.Signature(codes_layout(own.raw_bits, p.lanes))) for k, own in enumerate(p.sources)
        }
        table = {"table": In(table_signature(len(p.table)))} if p.table else {}
        super().__init__({**inputs, "o": Out(stream.Signature(codes_layout(p.bits, p.lanes))), **table})

    def elaborate(self, platform: object) -> Module:
        """Build the products and a register behind them, and the requantiser."""
        m = Module()
        p, inputs = self.p, (self.i_0, self.i_1)
        m.submodules.requantizer = requantizer = Requantizer(p.requantizer)
        if p.table:
            wiring.connect(m, wiring.flipped(self.table), requantizer.table)
        wiring.connect(m, requantizer.o, wiring.flipped(self.o))
        behind = requantizer.i
        enable, go = Signal(), Signal()
        m.d.comb += [enable.eq(~behind.valid | behind.ready), go.eq(enable & self.i_0.valid & self.i_1.valid)]
        m.d.comb += [i.ready.eq(go) for i in inputs]
        valid = Signal()
        m.d.comb += behind.valid.eq(valid)
        with m.If(enable):
            m.d.sync += valid.eq(go)
        for lane in range(p.lanes):
            values = [less_zero_point(i.payload[lane], own) for i, own in zip(inputs, p.sources, strict=True)]
            product = Signal(signed(p.width), name=f"product_{lane}")
            with m.If(enable):
                m.d.sync += product.eq(values[0] * values[1])
            m.d.comb += behind.payload[lane].eq(product)
        return m


@parameters_of.register
def _(stage: MultiplyStage, around: Surroundings) -> MultiplyParameters:
    channels = stage.output.shape[0]
    return MultiplyParameters(
        around.formats, stage.requantization, channels, around.lanes, around.bits, around.constants
    )


component_of.register(MultiplyParameters, MultiplyMaps)
