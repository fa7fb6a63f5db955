"""Two arrays behind one engine: the same reads of both, their codes side by side."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.tile.parameters import EngineParameters
from selvage.hw.tile.streams import CrossbarInterface, Fork, crossbar_signature, request_layout


class Pair(wiring.Component):
    """The join of a differential pair: requests go to both macros, their codes come back side by side.

    Each macro may be ready when it likes. No cycle, a read a cycle.

    A weight's magnitude stands in one of two arrays, the other holds zero there, so both take the same inputs to the
    same outputs, and one engine and one accumulator serve for both.

    Members
    -------
    request : of the engine
    crossbar_0, crossbar_1 : pins of the macros
    codes : of macro 0, then those of macro 1
    """

    request: stream.Interface
    crossbar_0: CrossbarInterface
    crossbar_1: CrossbarInterface
    codes: stream.Interface

    def __init__(self, parameters: EngineParameters) -> None:
        self.p = p = parameters
        codes = data.ArrayLayout(p.adc_bits, 2 * p.ou_cols)
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(p))),
                "crossbar_0": Out(crossbar_signature(p)),
                "crossbar_1": Out(crossbar_signature(p)),
                "codes": Out(stream.Signature(codes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the fork of requests and the registers of codes that come first."""
        m = Module()
        macros = (self.crossbar_0, self.crossbar_1)
        m.submodules.fork = fork = Fork(request_layout(self.p), 2)
        wiring.connect(m, wiring.flipped(self.request), fork.i)
        values, there = [], []
        for k, macro in enumerate(macros):
            full = Signal(name=f"full_{k}")
            kept = Signal(data.ArrayLayout(self.p.adc_bits, self.p.ou_cols), name=f"kept_{k}")
            # Ready whatever the other macro does: codes that come first are kept.
            wiring.connect(m, getattr(fork, f"o_{k}"), wiring.flipped(macro.request))
            m.d.comb += macro.codes.ready.eq(~full)
            there.append(macro.codes.valid | full)
            m.d.sync += full.eq(there[k] & ~(self.codes.valid & self.codes.ready))
            with m.If(~full):
                m.d.sync += kept.eq(macro.codes.payload)
            values.append(Mux(full, kept.as_value(), macro.codes.payload.as_value()))
        m.d.comb += [
            self.codes.valid.eq(there[0] & there[1]),
            self.codes.payload.as_value().eq(Cat(values)),
        ]
        return m
