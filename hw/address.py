"""Zero-skipping address generation: which word of the input buffer each cycle of a load reads."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.parameters import BufferParameters
from hw.tables import count_up, lookup, signed_lookup


class _Axis:
    """Position of the steps along one axis: base = quotient * insert + remainder.

    Without inserted zeros the remainder is always 0 and costs nothing.
    """

    def __init__(self, p: BufferParameters, axis: int) -> None:
        self.p, self.axis = p, axis
        self.insert, self.stride = p.sweep.insert[axis], p.sweep.stride[axis]
        self.size, self.steps = p.sweep.size[axis], p.sweep.steps[axis]
        reach = max(abs(read[axis]) for read in p.reads) + self.steps * self.stride + self.size
        self.width = reach.bit_length() + 1
        name = "row" if axis == 0 else "column"
        self.quotient = Signal(self.width, name=f"{name}_quotient")
        self.remainder = Signal(range(max(2, self.insert)), name=f"{name}_remainder")
        self.step = Signal(range(max(2, self.steps)), name=f"{name}_step")

    def next_carry(self) -> Value:
        """Whether the quotient grows with the next step."""
        return self.remainder == self.insert - 1 if self.insert > 1 else 1

    def advance(self, m: Module, enable: Value, pitch: int, modulo: int) -> tuple[Value, Signal]:
        """Move to the next step; returns whether this was the last, and quotient * pitch mod modulo."""
        linear = Signal(range(max(2, modulo)), name=f"{self.quotient.name}_address")
        last = count_up(m, self.step, self.steps, enable)
        # With inserted zeros the base moves one position, else `stride` pixels.
        jump = (1 if self.insert > 1 else self.stride) * pitch % modulo
        moved = linear + jump
        with m.If(enable):
            if self.insert > 1:
                m.d.sync += self.remainder.eq(Mux(self.next_carry(), 0, self.remainder + 1))
            with m.If(self.next_carry()):
                m.d.sync += self.quotient.eq(self.quotient + (1 if self.insert > 1 else self.stride))
                m.d.sync += linear.eq(Mux(moved >= modulo, moved - modulo, moved))
            with m.If(last):
                m.d.sync += [self.quotient.eq(0), self.remainder.eq(0), linear.eq(0)]
        return last, linear

    def edge(self, pick: object) -> Value:
        """Quotient of the window's first (``min``) or last (``max``) position at this step."""
        quotient, remainder = self.p.edge(self.axis, pick)
        carry = self.remainder + remainder >= self.insert if self.insert > 1 else 0
        return self.quotient + quotient + carry

    def next_edge(self) -> Value:
        """Quotient of the window's first position at the next step of this axis."""
        quotient, remainder = self.p.edge(self.axis, min)
        if self.insert == 1:
            return self.quotient + quotient + self.stride
        return self.quotient + quotient + (self.remainder + remainder + 1 >= self.insert)

    def at(self, index: Value) -> tuple[Value, Value]:
        """Of load cycle ``index``: whether the pixel is inside the map, and the carry of the quotient."""
        offsets = [divmod(read[self.axis], self.insert) for read in self.p.reads]
        total = self.remainder + lookup([r for _, r in offsets], index) if self.insert > 1 else None
        carry = total == self.insert if self.insert > 1 else 0
        position = self.quotient + signed_lookup([q for q, _ in offsets], index) + carry
        inside = (position >= 0) & (position < self.size)
        return (inside & ((total == 0) | carry) if self.insert > 1 else inside), carry


class AddressGenerator(wiring.Component):
    """Walks steps and, in each, the cycles of the load plan: counters and constants, no divider.

    A step begins when ``hold`` is low. Addresses come one cycle after their cycle of the plan, one a
    cycle. ``inside`` is low where the window reaches outside the map or meets an inserted zero: such
    a word is not fetched and not driven.

    Members
    -------
    o : address, inside, index of the plan's cycle, last of the step
    hold : keeps the next step from beginning
    begins : a step begins in this cycle
    first_row, first_column, last_row, last_column : the window of the step, in pixels, not clipped
    retires : the next row of steps no longer needs ``first_row``
    finished : all steps of the image are done; ``restart`` begins the next image
    """

    def __init__(self, parameters: BufferParameters) -> None:
        self.p = p = parameters
        self.y, self.x = _Axis(p, 0), _Axis(p, 1)
        edge = signed(max(self.y.width, self.x.width) + 2)
        super().__init__(
            {
                "o": Out(stream.Signature(address_layout(p))),
                "hold": In(1),
                "begins": Out(1),
                "first_row": Out(edge),
                "first_column": Out(edge),
                "last_row": Out(edge),
                "last_column": Out(edge),
                "retires": Out(1),
                "finished": Out(1),
                "restart": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, y, x = self.p, self.y, self.x
        index = Signal(p.index_bits)
        free = Signal()
        go = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            go.eq(free & ~self.finished & ~(self.hold & (index == 0))),
            self.begins.eq(go & (index == 0)),
            self.first_row.eq(y.edge(min)),
            self.last_row.eq(y.edge(max)),
            self.first_column.eq(x.edge(min)),
            self.last_column.eq(x.edge(max)),
            self.retires.eq((y.next_edge() > self.first_row) & (y.next_edge() > 0)),
        ]
        last = count_up(m, index, len(p.reads), go)
        row_end, column_base = x.advance(m, go & last, p.words, (x.steps * x.stride + 1) * p.words)
        image_end, row_base = y.advance(m, go & last & row_end, p.pitch, p.depth)
        with m.If(go & last & row_end & image_end):
            m.d.sync += self.finished.eq(1)
        with m.If(self.restart):
            m.d.sync += self.finished.eq(0)
        self._address(m, index, row_base, column_base, free, go, last)
        return m

    def _address(
        self, m: Module, index: Value, row_base: Value, column_base: Value, free: Value, go: Value, last: Value
    ) -> None:
        """Register the terms of the address; their sum is the output."""
        p = self.p
        (row_inside, row_carry), (column_inside, column_carry) = self.y.at(index), self.x.at(index)
        lines = [read[0] // p.sweep.insert[0] for read in p.reads]
        line = lookup([q % p.rows * p.pitch for q in lines], index)
        if p.sweep.insert[0] > 1:
            line = Mux(row_carry, lookup([(q + 1) % p.rows * p.pitch for q in lines], index), line)
        across = signed_lookup([read[1] // p.sweep.insert[1] * p.words + read[2] for read in p.reads], index)
        if p.sweep.insert[1] > 1:
            across = across + Mux(column_carry, p.words, 0)
        row = Signal(p.address_bits)
        column = Signal(signed(p.address_bits + 2))
        total = Signal(p.address_bits + 1)
        m.d.comb += [
            total.eq(row_base + line),
            self.o.payload.address.eq(row + column),
        ]
        with m.If(free):
            m.d.sync += self.o.valid.eq(go)
        with m.If(go):
            m.d.sync += [
                row.eq(Mux(total >= p.depth, total - p.depth, total)),
                column.eq(column_base + across),
                self.o.payload.inside.eq(row_inside & column_inside),
                self.o.payload.index.eq(index),
                self.o.payload.last.eq(last),
            ]


def address_layout(p: BufferParameters) -> data.StructLayout:
    """Payload of the address generator."""
    return data.StructLayout({"address": p.address_bits, "inside": 1, "index": p.index_bits, "last": 1})
