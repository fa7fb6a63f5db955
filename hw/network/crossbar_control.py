"""Control of a chip's crossbars by its shell: their cells are programmed, their reads let out in runs and counted.

The control is spread from the shell over the layers to the tiles, and what comes back is gathered on the way. No
module's pins grow with the number of crossbars, but for the bits of their number.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import total
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.streams import CrossbarInterface, crossbar_signature

HOPS = 2  # registers between the shell and a tile, each way: one of the network, one of the layer


class CrossbarControl(wiring.PureInterface):
    """Members of `control_signature`."""

    reset: Signal
    running: Signal
    go: Signal
    macro: Signal
    row: Signal
    levels: Signal
    write: Signal
    done: Signal
    cells: Signal
    busy: Signal
    reads: Signal


def control_signature(macros: int, rows: int, width: int) -> wiring.Signature:
    """Return the signature of the control of ``macros`` crossbars of ``rows`` rows of ``width`` bits, from above.

    ``go`` is high for a cycle: a row of crossbar ``macro`` is written, or read. ``macro``, ``row``, ``levels`` and
    ``write`` stay until ``done``, which is high for a cycle, with ``cells`` of a read. ``running``: requests may leave
    the tiles. ``busy``: requests were unanswered, ``reads`` were asked, `HOPS` + 1 cycles ago. ``reset`` is that of the
    crossbars, while the tiles around them are held in reset between runs.
    """
    return wiring.Signature(
        {
            "reset": Out(1),
            "running": Out(1),
            "go": Out(1),
            "macro": Out(range(max(2, macros))),
            "row": Out(range(max(2, rows))),
            "levels": Out(width),
            "write": Out(1),
            "done": In(1),
            "cells": In(width),
            "busy": In(1),
            "reads": In(range(macros + 1)),
        }
    )


def program_layout(rows: int, width: int) -> data.StructLayout:
    """Return the layout of a row to write, or to read (``levels`` then mean nothing)."""
    return data.StructLayout({"levels": width, "row": max(1, (rows - 1).bit_length()), "write": 1})


def program_signature(rows: int, width: int) -> wiring.Signature:
    """Return the signature of a crossbar's programming port, seen from who programs.

    ``cells`` answers each request that reads, in order.
    """
    return wiring.Signature(
        {
            "request": Out(stream.Signature(program_layout(rows, width))),
            "cells": In(stream.Signature(data.ArrayLayout(1, width))),
        }
    )


def spread(m: Module, control: CrossbarControl, parts: Sequence[tuple[CrossbarControl, int]]) -> None:
    """Pass ``control`` on to ``parts``, each with how many crossbars it has, and gather what they answer.

    Registers: of ``go`` and the number of the crossbar on the way down, of all that is answered on the way back. What
    else goes down has none.
    """
    reset, first = control.reset, 0
    answers = {name: [getattr(part, name) for part, _ in parts] for name in ("done", "cells", "busy", "reads")}
    gathered = [
        (control.done, Cat(answers["done"]).any()),
        (control.cells, _any(answers["cells"])),
        (control.busy, Cat(answers["busy"]).any()),
        (control.reads, total(answers["reads"])),
    ]
    for k, (answer, value) in enumerate(gathered):
        register = Signal(len(answer), reset_less=True, name=f"gathered_{k}")
        m.d.comb += answer.eq(register)
        m.d.sync += register.eq(value)
        with m.If(reset):
            m.d.sync += register.eq(0)
    for k, (part, count) in enumerate(parts):
        go, macro = (
            Signal(len(like), reset_less=True, name=f"{name}_{k}")
            for name, like in (("go", part.go), ("macro", part.macro))
        )
        of_part = (control.macro >= first) & (control.macro < first + count)
        m.d.sync += [go.eq(control.go & of_part & ~reset), macro.eq(control.macro - first)]
        m.d.comb += [part.go.eq(go), part.macro.eq(macro)]
        m.d.comb += [getattr(part, n).eq(getattr(control, n)) for n in ("reset", "running", "row", "levels", "write")]
        first += count


def _any(words: Sequence[Value]) -> Value:
    """Return words ORed bit by bit, as a tree."""
    if len(words) == 1:
        return words[0]
    half = len(words) // 2
    return _any(words[:half]) | _any(words[half:])


class TileControl(wiring.Component):
    """The control of one tile's crossbars: between the tile's pins and theirs, and at their programming ports.

    Requests leave only in runs; codes of reads that were under way when a run ended are dropped. A request to a
    programming port is there the cycle after ``go``, and ``done`` the cycle after it is taken, of a read after its
    cells have come. No cycle between tile and crossbar.

    Members
    -------
    control : of these crossbars
    tile_k : pins of the tile for crossbar k
    crossbar_k, program_k : pins of crossbar k
    """

    control: CrossbarControl

    def __init__(self, parameters: TileParameters, rows: int, width: int) -> None:
        self.p, self.width = parameters, width
        members = {"control": In(control_signature(len(parameters.macros), rows, width))}
        for k, macro in enumerate(parameters.macros):
            members[f"tile_{k}"] = In(crossbar_signature(macro))
            members[f"crossbar_{k}"] = Out(crossbar_signature(macro))
            members[f"program_{k}"] = Out(program_signature(rows, width))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Build the gates of requests, the count of what is under way, and the programming."""
        m = Module()
        control, count = self.control, len(self.p.macros)
        asked, came = (Signal(count, reset_less=True, name=name) for name in ("asked", "came"))
        most = count * (self.p.chip.read_latency + 4)
        under_way = Signal(range(most + 1), reset_less=True)
        for k in range(count):
            inner: CrossbarInterface = getattr(self, f"tile_{k}")
            outer: CrossbarInterface = getattr(self, f"crossbar_{k}")
            m.d.comb += [
                outer.request.valid.eq(inner.request.valid & control.running),
                outer.request.payload.eq(inner.request.payload),
                inner.request.ready.eq(outer.request.ready),
                inner.codes.valid.eq(outer.codes.valid & control.running),
                inner.codes.payload.eq(outer.codes.payload),
                outer.codes.ready.eq(inner.codes.ready | ~control.running),
            ]
            m.d.sync += [
                asked[k].eq(outer.request.valid & outer.request.ready),
                came[k].eq(outer.codes.valid & outer.codes.ready),
            ]
        m.d.comb += [
            control.reads.eq(total(list(asked))),
            control.busy.eq((under_way != 0) | asked.any() | came.any()),
        ]
        m.d.sync += under_way.eq(under_way + control.reads - total(list(came)))
        with m.If(control.reset):
            m.d.sync += [register.eq(0) for register in (asked, came, under_way)]
        self._programming(m)
        return m

    def _programming(self, m: Module) -> None:
        """Ask the port that is meant until it takes the request; of a read wait for the cells."""
        control, ports = self.control, [getattr(self, f"program_{k}") for k in range(len(self.p.macros))]
        asks, done = Signal(reset_less=True), Signal(reset_less=True)
        cells = Signal(self.width, reset_less=True)
        for k, port in enumerate(ports):
            m.d.comb += [
                port.request.valid.eq(asks & (control.macro == k)),
                port.request.payload.levels.eq(control.levels),
                port.request.payload.row.eq(control.row),
                port.request.payload.write.eq(control.write),
                port.cells.ready.eq(1),
            ]
        taken = Cat(port.request.valid & port.request.ready for port in ports).any()
        came = Cat(port.cells.valid for port in ports)
        answer = _any([port.cells.payload.as_value() & port.cells.valid.replicate(self.width) for port in ports])
        m.d.comb += [control.done.eq(done), control.cells.eq(cells)]
        m.d.sync += [done.eq((taken & control.write) | came.any()), cells.eq(answer)]
        with m.If(taken):
            m.d.sync += asks.eq(0)
        with m.If(control.go):
            m.d.sync += asks.eq(1)
        with m.If(control.reset):
            m.d.sync += [register.eq(0) for register in (asks, done, cells)]
