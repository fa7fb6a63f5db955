"""Faults planted in gateware, for tests: each function breaks one component."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from selvage.hw.network import requantizer as requantizer_rtl
from selvage.hw.tile.accumulator import Accumulator
from selvage.hw.tile.address import AddressGenerator
from selvage.hw.tile.buffer import Writer
from selvage.hw.tile.engine import ArrayEngine
from selvage.hw.tile.splice import BankSum
from selvage.rtlsim import fingerprint

Plant = Callable[[pytest.MonkeyPatch], None]


def another_version(patch: pytest.MonkeyPatch) -> None:
    """What was compiled of the program as it is in its files is not that of the program as a test changes it."""
    version = secrets.token_hex()
    patch.setattr(fingerprint, "gateware_version", lambda: version)


def around(patch: pytest.MonkeyPatch, owner: object, name: str, change: Callable[..., Any]) -> None:
    """``name`` of ``owner`` is ``change``, which is given the old one first."""
    another_version(patch)
    old = getattr(owner, name)
    patch.setattr(owner, name, lambda *given, **named: change(old, *given, **named))


def splice(patch: pytest.MonkeyPatch) -> None:
    """Every whole weight's output is one too large."""
    around(patch, BankSum, "_spliced", lambda old, *given: old(*given) + 1)


def dropped_plane(patch: pytest.MonkeyPatch) -> None:
    """Codes of input plane 1 are not added."""

    def drop(old: Callable, self: Accumulator, m: Module, codes: list[Value], plane: Value) -> Value:
        return old(self, m, [Mux(plane == 1, 0, code) for code in codes], plane)

    around(patch, Accumulator, "_shifted", drop)


def sign(patch: pytest.MonkeyPatch) -> None:
    """The top plane of signed inputs is added."""

    def unsigned(old: Callable, self: Accumulator, m: Module, codes: list[Value], plane: Value) -> Value:
        own, self.p = self.p, replace(self.p, signed=False)
        found = old(self, m, codes, plane)
        self.p = own
        return found

    around(patch, Accumulator, "_shifted", unsigned)


def table(patch: pytest.MonkeyPatch, name: str, change: Callable[[AddressGenerator, int], int]) -> None:
    """The address generator's table ``name`` is another."""

    def other(old: Callable, self: AddressGenerator, m: Module, own: str, values: list[int], ahead: Value) -> Signal:
        return old(self, m, own, [change(self, v) for v in values] if own == name else values, ahead)

    around(patch, AddressGenerator, "_table", other)


def address(patch: pytest.MonkeyPatch) -> None:
    """Words are read from behind the memory, where a simulator that has X shows X."""
    table(patch, "across", lambda self, word: word + self.p.depth)


def line_below(patch: pytest.MonkeyPatch) -> None:
    """A carry of the row leads one line too far."""
    table(patch, "line_below", lambda self, line: (line + 1) % self.p.rows)


def dead_input(patch: pytest.MonkeyPatch) -> None:
    """The input buffer takes five words and no more."""

    def stop(old: Callable, self: Writer, platform: object) -> Module:
        m = old(self, platform)
        taken = Signal(3)
        m.d.sync += taken.eq(taken + self.put)
        with m.If((taken == 5) | (self.put & (taken == 4))):
            m.d.sync += self.may_put.eq(0)
        return m

    around(patch, Writer, "elaborate", stop)


def dead_codes(patch: pytest.MonkeyPatch) -> None:
    """Accumulators take twenty codes and no more."""

    def stop(old: Callable, self: Accumulator, m: Module, taken: Value) -> tuple[Value, data.View]:
        there, tag = old(self, m, taken)
        count = Signal(5)
        m.d.sync += count.eq(count + taken)
        return there & (count != 20), tag

    around(patch, Accumulator, "_tags", stop)


def left_codes(patch: pytest.MonkeyPatch) -> None:
    """Accumulators go on, and tell the macro from the twentieth code on that they do not."""

    def stop(old: Callable, self: Accumulator, platform: object) -> Module:
        m = old(self, platform)
        taken = Signal(5)
        m.d.sync += taken.eq(taken + (self.codes.valid & self.codes.ready))
        with m.If(taken == 20):
            m.d.comb += self.codes.ready.eq(0)
        return m

    around(patch, Accumulator, "elaborate", stop)


def many_lines(patch: pytest.MonkeyPatch) -> None:
    """Word lines are high that do not drive."""

    def all_of_them(old: Callable, self: ArrayEngine, platform: object) -> Module:
        m = old(self, platform)
        m.d.comb += self.crossbar.request.payload.wordlines.eq(-1)
        return m

    around(patch, ArrayEngine, "elaborate", all_of_them)


def requantiser(patch: pytest.MonkeyPatch) -> None:
    """The lowest bit of every code is turned."""
    around(patch, requantizer_rtl, "round_and_clip", lambda old, *given: [code ^ 1 for code in old(*given)])
