"""The steps of an image in order: where each step's window lies, which pixels it needs and which it leaves behind."""

from collections.abc import Callable

from amaranth.hdl import Const, Module, Mux, Signal, Value, ValueLike, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Out

from selvage.hw.lib.tables import count_ahead, lookup
from selvage.hw.tile.parameters import BufferParameters
from selvage.mapping.schedule import Sweep

Pick = Callable[..., int]


def position_layout(p: BufferParameters) -> data.StructLayout:
    """Return the layout of a place in the image: column first, so that values compare in raster order."""
    most = [_Axis(p, axis).reach for axis in range(2)]
    return data.StructLayout({"column": most[1].bit_length(), "row": (most[0] + p.rows).bit_length()})


def step_layout(p: BufferParameters) -> data.StructLayout:
    """Return the layout of a step: its base along both axes, the pixels it needs, and what it leaves free.

    A base is also a line of the ring and a word of the line. The limit is what may be written while the step is the
    oldest.
    """
    axes = {}
    for axis, name in enumerate(("row", "column")):
        geometry = _Axis(p, axis)
        axes |= {
            name: signed(geometry.width),
            f"{name}_remainder": geometry.remainder_bits,
            f"{name}_base": range(max(2, geometry.places)),
        }
    return data.StructLayout(
        {
            **axes,
            "need": position_layout(p),  # the last pixel inside the map
            "outside": 1,  # the window needs no pixel
            "limit": position_layout(p),  # the first that must wait
            "last": 1,  # of the image
        }
    )


class _Axis:
    """Geometry of the steps along one axis: base = quotient * insert + remainder."""

    def __init__(self, p: BufferParameters, axis: int) -> None:
        self.p, self.axis = p, axis
        self.first = divmod(p.sweep.first, p.sweep.steps[1])[axis]  # of the first step
        self.name = "row" if axis == 0 else "column"
        self.insert, self.stride = p.sweep.insert[axis], p.sweep.stride[axis]
        self.size, self.steps = p.sweep.size[axis], p.sweep.steps[axis]
        # In pixels, or with inserted zeros in less: no position is further away.
        self.reach = max(abs(read[axis]) for read in p.reads) + (self.steps + 1) * self.stride + self.size
        self.width = (self.reach + p.rows).bit_length() + 2
        self.remainder_bits = (self.insert - 1).bit_length()
        # Of its base: lines of the ring, or words of a line.
        self.places = p.rows if axis == 0 else (self.steps * self.stride + 1) * p.words

    def offset(self, pick: Pick) -> int:
        """Return the smallest or largest offset of the window, in positions."""
        return pick(read[self.axis] for read in self.p.reads)

    @property
    def move(self) -> int:
        """Positions from step to step: with inserted zeros a position is not a pixel."""
        return 1 if self.insert > 1 else self.stride


class _Counters:
    """Registers of an axis. Each edge of the window has its own, so none is a sum of others.

    With ``enable`` the axis moves by as many steps as the first of ``hop`` says, or the second if ``wraps``; ``last``
    takes it back to the first step.
    """

    def __init__(self, m: Module, axis: _Axis, enable: Value, last: Value, hop: tuple[int, int], wraps: Value) -> None:
        self.m, self.axis, self.enable, self.last, self.hop, self.wraps = m, axis, enable, last, hop, wraps
        self.quotient, self.remainder, carries = self.position("", 0)
        self.base = self._base(carries)

    def moved(self, each: int) -> ValueLike:
        """Return the way from this step to the next, of ``each`` a step."""
        straight, wrapped = (steps * each for steps in self.hop)
        return straight if straight == wrapped else Mux(self.wraps, wrapped, straight)

    def position(self, name: str, offset: int) -> tuple[Signal, Signal, Value]:
        """Return base + ``offset`` as quotient and remainder of the insert, and whether the next step carries."""
        m, axis = self.m, self.axis
        quotient, remainder = divmod(offset + axis.first * axis.move, axis.insert)
        value = Signal(signed(axis.width), init=quotient, name=f"{axis.name}{name}_quotient")
        rest = Signal(axis.remainder_bits, init=remainder, name=f"{axis.name}{name}_remainder")
        carries: Value = rest == axis.insert - 1 if axis.insert > 1 else Const(1, 1)
        with m.If(self.enable):
            if axis.insert > 1:
                m.d.sync += rest.eq(Mux(carries, 0, rest + 1))
            with m.If(carries):
                m.d.sync += value.eq(value + self.moved(axis.move))
            with m.If(self.last):
                m.d.sync += [value.eq(quotient), rest.eq(remainder)]
        return value, rest, carries

    def edge(self, name: str, pick: Pick) -> Signal:
        """Return the pixel of the window's first or last position, not clipped."""
        return self.position(f"_{name}", self.axis.offset(pick))[0]

    def beyond(self, name: str, pick: Pick) -> Signal:
        """Return `edge`, counted from the first pixel behind the map."""
        axis = self.axis
        return self.position(f"_{name}", axis.offset(pick) - axis.size * axis.insert)[0]

    def _base(self, carries: Value) -> Signal:
        """Return where the quotient's pixel stands: its line of the ring, or its first word in the line."""
        m, axis = self.m, self.axis
        first = axis.first * axis.move
        init = first % axis.places if axis.axis == 0 else first * axis.p.words
        base = Signal(range(max(2, axis.places)), init=init, name=f"{axis.name}_base")
        if axis.axis == 0:
            ways = [
                lookup([(line + steps * axis.move) % axis.places for line in range(axis.places)], base)
                for steps in dict.fromkeys(self.hop)
            ]
            following = ways[0] if len(ways) == 1 else Mux(self.wraps, ways[1], ways[0])
        else:
            following = base + self.moved(axis.move * axis.p.words)
        with m.If(self.enable & self.last):
            m.d.sync += base.eq(init)
        with m.Elif(self.enable & carries):
            m.d.sync += base.eq(following)
        return base


class StepGenerator(wiring.Component):
    """The steps of an image that are computed, and then those of the next, without an end.

    One a cycle, the first after a cycle.

    It runs ahead of the loads, so what a step needs is in registers long before the step may begin.
    """

    o: stream.Interface

    def __init__(self, parameters: BufferParameters) -> None:
        self.p = parameters
        super().__init__({"o": Out(stream.Signature(step_layout(parameters)))})

    def elaborate(self, platform: object) -> Module:
        """Build the counters of both axes and the register of the step."""
        m = Module()
        o = self.o
        move = Signal()
        y, x, last = self._axes(m, move)
        m.d.comb += move.eq(~o.valid | o.ready)
        m.d.sync += o.valid.eq(1)
        payload = o.payload
        with m.If(move):
            for name, axis in (("row", y), ("column", x)):
                m.d.sync += [
                    payload[name].eq(axis.quotient),
                    payload[f"{name}_remainder"].eq(axis.remainder),
                    payload[f"{name}_base"].eq(axis.base),
                ]
            m.d.sync += payload.last.eq(last)
            self._needs(m, y, x)
            self._leaves(m, y, x)
        return m

    def _axes(self, m: Module, move: Value) -> tuple[_Counters, _Counters, Value]:
        """Return the counters of rows and columns, and whether the image ends with this step."""
        sweep = self.p.sweep
        axes = _Axis(self.p, 0), _Axis(self.p, 1)
        if sweep.every > 1:
            last, wraps = share_ends(m, sweep, move)
            hops = share_hops(sweep)
            y, x = (_Counters(m, axis, move, last, hop, wraps) for axis, hop in zip(axes, hops, strict=True))
            return y, x, last
        _, x_last = count_ahead(m, "column", axes[1].steps, move)
        _, y_last = count_ahead(m, "row", axes[0].steps, move & x_last)
        x = _Counters(m, axes[1], move, x_last, (1, 1), Const(0))
        y = _Counters(m, axes[0], move & x_last, y_last, (1, 1), Const(0))
        return y, x, x_last & y_last

    def _needs(self, m: Module, y: _Counters, x: _Counters) -> None:
        """Set the window's last pixel inside the map, and whether none is inside."""
        outside: Value = Const(0)
        for counters, last_pixel in ((y, self.o.payload.need.row), (x, self.o.payload.need.column)):
            size = counters.axis.size
            last = counters.edge("last", max)
            # Comparisons with 0 and the map's size are signs of registers that count from there.
            first_beyond = counters.beyond("first_beyond", min)
            outside = outside | last[-1] | ~first_beyond[-1]
            m.d.sync += last_pixel.eq(Mux(counters.beyond("last_beyond", max)[-1], last, size - 1))
        m.d.sync += self.o.payload.outside.eq(outside)

    def _leaves(self, m: Module, y: _Counters, x: _Counters) -> None:
        """Set the limit: the first entry of the line buffer that may not be overwritten yet.

        An entry may be overwritten once its old pixel, ``rows`` lines above the new one, lies above the window; if the
        next row of steps starts lower, also once it lies left of the window in its first line. Limits beyond the map do
        no harm.
        """
        p, limit, axis = self.p, self.o.payload.limit, y.axis
        top, _, lower = y.position("_top", axis.offset(min))
        free = y.position("_free", axis.offset(min) + p.rows * axis.insert)[0]
        left = x.edge("left", min)
        following = y.position("_following", axis.offset(min) + axis.move - axis.insert)[0]  # less one
        m.d.sync += [
            limit.row.eq(Mux(top[-1], p.rows, free)),
            limit.column.eq(Mux(left[-1] | ~lower | following[-1], 0, left)),
        ]


def share_hops(sweep: Sweep) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return by how many rows and by how many columns of steps a copy moves: within a row, and where it wraps."""
    rows, columns = divmod(sweep.every, sweep.steps[1])
    return (rows, rows + 1), (columns, columns - sweep.steps[1])


def share_ends(m: Module, sweep: Sweep, enable: Value) -> tuple[Value, Value]:
    """Return of a copy's present step whether it is the image's last, and whether the next wraps to a lower row.

    Both are registers, the second a sign: the column of the next step, counted from the row's end.
    """
    hop, size = share_hops(sweep)[1], sweep.steps[1]
    start = sweep.first % size + hop[0] - size
    beyond = Signal(range(-size, size), init=start, name="column_beyond")
    wraps = ~beyond[-1]
    _, last = count_ahead(m, "step", len(sweep.computed), enable)
    with m.If(enable):
        m.d.sync += beyond.eq(Mux(last, start, beyond + Mux(wraps, hop[1], hop[0])))
    return last, wraps


def first_limit(p: BufferParameters) -> dict[str, int]:
    """Return the ``limit`` of an image's first step."""
    y, x = _Axis(p, 0), _Axis(p, 1)
    left = max((x.offset(min) + x.first * x.move) // x.insert, 0)
    begin = y.offset(min) + y.first * y.move
    first, following = begin // y.insert, (begin + y.move) // y.insert
    return {"row": max(first, 0) + p.rows, "column": left if following > max(first, 0) else 0}
