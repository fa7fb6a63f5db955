"""The error unit: the sigmoid of each logit, from a table, less its label."""

from dataclasses import dataclass

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.golden.fixed_point import code_range
from selvage.golden.training import ErrorUnit
from selvage.hw.lib.tables import clipped
from selvage.hw.training.maps import codes


@dataclass(frozen=True)
class ErrorParameters:
    """The numbers of `golden.training.ErrorUnit`; ``branches`` errors of each logit, with a label each."""

    unit: ErrorUnit
    branches: int = 1


class ErrorStage(wiring.Component):
    """The error unit: a logit a cycle, its errors a cycle later.

    Members
    -------
    i : logits; taken at once
    label_k : of the logit that is taken, for branch k: from 0 to the code of one
    word, error_k : errors
    """

    i: stream.Interface
    word: Signal

    def __init__(self, parameters: ErrorParameters) -> None:
        self.p = p = parameters
        unit = p.unit
        members = {"i": In(codes(unit.logit_bits)), "word": Out(1)}
        for k in range(p.branches):
            members |= {f"label_{k}": In(range(unit.one + 1)), f"error_{k}": Out(signed(unit.error_bits))}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Look the sigmoid up, subtract the labels, saturate."""
        m = Module()
        unit = self.p.unit
        # The table's address is the code's bits: codes below 0 come last.
        entries = [*unit.table[2 ** (unit.logit_bits - 1) :], *unit.table[: 2 ** (unit.logit_bits - 1)]]
        m.submodules.table = table = memory.Memory(
            shape=unit.error_bits, depth=len(entries), init=[int(entry) for entry in entries]
        )
        read = table.read_port()
        m.d.comb += [self.i.ready.eq(1), read.addr.eq(self.i.payload[0]), read.en.eq(self.i.valid)]
        m.d.sync += self.word.eq(self.i.valid)
        for k in range(self.p.branches):
            label, error = Signal(range(unit.one + 1), name=f"kept_{k}"), Signal(signed(unit.error_bits + 2))
            m.d.sync += label.eq(getattr(self, f"label_{k}"))
            m.d.comb += error.eq(read.data - label)
            m.d.comb += getattr(self, f"error_{k}").eq(clipped(error, *code_range(unit.error_bits)))
        return m
