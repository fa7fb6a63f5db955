"""Layouts and signatures of what passes between components."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from selvage.hw.tile.parameters import EngineParameters
from selvage.mapping.load import LoadMove


class LoadInterface(wiring.PureInterface):
    """Words of the window: members of `load_signature`."""

    valid: Signal
    last: Signal
    data: data.View
    nonzero: Signal


def load_signature(lanes: int, bits: int) -> wiring.Signature:
    """Return the signature of words on their way to every array: broadcast, never stalled.

    ``valid`` and ``last`` (of the step; only with ``valid``) come one cycle before their ``data`` and the lanes that
    are not zero.
    """
    return wiring.Signature(
        {"valid": Out(1), "last": Out(1), "data": Out(data.ArrayLayout(bits, lanes)), "nonzero": Out(lanes)}
    )


def move_layout(p: EngineParameters) -> data.StructLayout:
    """Return the layout of what an array does with a word (`mapping.load.LoadMove`), and the lanes it takes.

    ``kind`` is that of the step. It comes one cycle before the word.
    """
    lane = max(1, (p.lanes - 1).bit_length())
    source = {"lanes": data.ArrayLayout(lane, p.group_rows)} if p.gather else {"rotation": lane}
    kind = (p.kinds - 1).bit_length()
    return data.StructLayout({"group": p.group_bits, **source, "rows": p.group_rows, "takes": p.lanes, "kind": kind})


def move_value(p: EngineParameters, move: LoadMove | None, kind: int = 0) -> int:
    """Return a move of the load plan, of a step of ``kind``, as bits of `move_layout`."""
    layout = move_layout(p)
    if move is None:
        return layout.const({"kind": kind}).as_value().value
    source: dict[int | str, Any] = {"lanes": list(move.lanes)} if p.gather else {"rotation": move.rotation}
    rows = [row for row in range(p.group_rows) if move.rows >> row & 1]
    lanes = {move.lanes[row] if p.gather else (row - move.rotation) % p.lanes for row in rows}
    takes = sum(1 << lane for lane in lanes) if p.skip else 0
    source |= {"group": move.group, "rows": move.rows, "takes": takes, "kind": kind}
    return layout.const(source).as_value().value


def request_layout(p: EngineParameters) -> data.StructLayout:
    """Return the layout of an OU read: the input bit of each word line, and the columns to convert."""
    return data.StructLayout({"wordlines": p.rows, "column_group": p.column_group_bits})


class RequestInterface(wiring.PureInterface):
    """Pins of an engine to its macro: only the requests."""

    request: stream.Interface


class CrossbarInterface(wiring.PureInterface):
    """Pins of the crossbar macro: members of `crossbar_signature`."""

    request: stream.Interface
    codes: stream.Interface


def crossbar_signature(p: EngineParameters) -> wiring.Signature:
    """Return the signature of the macro's pins, seen from the tile; codes come in order, after any time."""
    codes = data.ArrayLayout(p.adc_bits, p.ou_cols)
    return wiring.Signature({"request": Out(stream.Signature(request_layout(p))), "codes": In(stream.Signature(codes))})


def tag_layout(slots: int, input_bits: int, driven_bits: int) -> data.StructLayout:
    """Return the layout of what the accumulator must know of a read.

    It says where the ADC codes go, their input plane, and how many rows are active.
    """
    return data.StructLayout(
        {
            "slot": max(1, (slots - 1).bit_length()),
            "plane": max(1, (input_bits - 1).bit_length()),
            "driven": driven_bits,
            "last": 1,  # of the step
            "none": 1,  # no read: the step needs none from this array
        }
    )


def second_register(m: Module, valid: Signal, word: Signal, ready: Value) -> tuple[Signal, Signal, Signal]:
    """Add a skid register behind ``word``; return (advance, occupied, output).

    ``valid`` and ``word`` may be loaded when ``advance`` is high; it comes from registers, does not depend
    combinationally on ``ready``, and stays until they are. ``occupied``: a word is kept, and is the next to leave.
    ``output``: the word that leaves, when one is valid or kept. No cycle.
    """
    spare = Signal(len(word), reset_less=True, name="spare")
    waits = Signal(name="waits")
    moves = Signal(name="moves")
    out = Signal(len(word), name="out")
    m.d.comb += [moves.eq(~waits | ~valid), out.eq(Mux(waits, spare, word))]
    with m.If(~waits):
        m.d.sync += spare.eq(word)
    m.d.sync += waits.eq((valid | waits) & ~ready)
    return moves, waits, out


class Relay(wiring.Component):
    """A two-entry skid buffer: valid, ready and payload are all registered.

    Latency 1 cycle, one word a cycle.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, layout: ShapeLike) -> None:
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        """Build the two registers of words."""
        m = Module()
        i, o = self.i, self.o
        word, spare = (Signal(len(i.payload.as_value()), reset_less=True, name=name) for name in ("word", "spare"))
        waits = Signal()
        m.d.comb += [i.ready.eq(~waits), o.payload.as_value().eq(word)]
        with m.If(~waits):
            m.d.sync += spare.eq(i.payload)
        with m.If(~o.valid | o.ready):
            m.d.sync += [word.eq(Mux(waits, spare, i.payload)), o.valid.eq(waits | i.valid)]
        m.d.sync += waits.eq((waits | i.valid) & o.valid & ~o.ready)
        return m


class Fork(wiring.Component):
    """A fork of one stream to ``count`` readers, each of which takes a word when it can. No cycle."""

    i: stream.Interface

    def __init__(self, layout: ShapeLike, count: int) -> None:
        self.count = count
        outputs = {f"o_{k}": Out(stream.Signature(layout)) for k in range(count)}
        super().__init__({"i": In(stream.Signature(layout)), **outputs})

    def elaborate(self, platform: object) -> Module:
        """Build a bit for each reader that has taken the word."""
        m = Module()
        outputs = [getattr(self, f"o_{k}") for k in range(self.count)]
        has = Signal(self.count)  # the word in hand already
        takes = Signal(self.count)
        m.d.comb += takes.eq(has | Cat(o.ready for o in outputs))
        m.d.comb += self.i.ready.eq(takes.all())
        for k, o in enumerate(outputs):
            m.d.comb += [o.valid.eq(self.i.valid & ~has[k]), o.payload.eq(self.i.payload)]
        with m.If(self.i.valid):
            m.d.sync += has.eq(Mux(self.i.ready, 0, takes))
        return m


class Queue(wiring.Component):
    """A queue of at most ``depth`` words of a stream, each a cycle later at the earliest; one a cycle.

    Whether there is room, and whether there is a word, comes from registers. ``counted``: who gives the words knows
    that there is room.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, layout: ShapeLike, depth: int, *, counted: bool = False) -> None:
        self.depth, self.counted = depth, counted
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        """Build the memory, its two counters and the count of words."""
        m = Module()
        i, o = self.i, self.o
        m.submodules.words = words = Memory(shape=len(i.payload.as_value()), depth=self.depth, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        count, stay = Signal(range(self.depth + 1)), Signal(range(self.depth + 2))
        more = Signal()  # than one word
        take = o.valid & o.ready
        m.d.comb += [
            write.en.eq(i.valid if self.counted else i.valid & i.ready),
            write.data.eq(i.payload),
            o.payload.as_value().eq(read.data),
            stay.eq(count + write.en),
        ]
        # Whether a word leaves is known last, and selects.
        m.d.sync += [
            count.eq(Mux(take, stay - 1, stay)),
            i.ready.eq(take | (stay != self.depth)),
            o.valid.eq(write.en | Mux(take, more, o.valid)),
            more.eq(Mux(take, stay > 2, stay > 1)),
        ]
        for address, move in ((write.addr, write.en), (read.addr, take)):
            with m.If(move):
                m.d.sync += address.eq(Mux(address == self.depth - 1, 0, address + 1))
        return m
