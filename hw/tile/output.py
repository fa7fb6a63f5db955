"""The output stage: which outputs of a step exist; and, padding-free, where steps overlap, their sums."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.tables import count_up, lookup
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.splice import beat_layout
from selvage.hw.tile.steps import share_ends, share_hops
from selvage.mapping.drain import leaving_outputs


def output_layout(p: TileParameters) -> data.StructLayout:
    """Return the layout of a beat that leaves: raw sums, which of them exist, whether the image ends with it."""
    return data.StructLayout({**beat_layout(p).members, "last": 1})


class OutputStage(wiring.Component):
    """The output stage: counts steps and drops outputs outside of the output map. No cycle, one beat a cycle.

    Output blocks leave in order of the steps; within a step the beats of the drain plan. With overlap
    the input are the beats of `OverlapAdd`, which are whole blocks already.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, parameters: TileParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(p))),
                "o": Out(stream.Signature(output_layout(p))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the counters of beats and steps, and the comparison with the borders of the map."""
        m = Module()
        beats = output_beats(self.p)
        beat = Signal(range(max(2, len(beats))))
        move = self.i.valid & self.i.ready
        step_end = count_up(m, beat, len(beats), move)
        row, column, last = self._block(m, move & step_end)
        inside = [
            self._inside([self._phase(beats[k][lane])[axis] for k in range(len(beats))], axis, at, beat)
            for lane in range(len(beats[0]))
            for axis, at in ((0, row), (1, column))
        ]
        keep = Cat(a & b for a, b in zip(inside[::2], inside[1::2], strict=True))
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            self.o.payload.values.eq(self.i.payload.values),
            self.o.payload.keep.eq(self.i.payload.keep & keep),
            self.o.payload.last.eq(step_end & last),
        ]
        return m

    def _block(self, m: Module, move: Value) -> tuple[Signal, Signal, Value]:
        """Return row and column of the present output block, and whether it is the image's last; ``move`` to the next.

        A copy has a share of the blocks.
        """
        sweep, grid = self.p.placement.sweep, self.p.placement.sweep.grid
        first = divmod(sweep.first, grid[1])
        row, column = (
            Signal(range(max(2, size)), init=start, name=name)
            for name, size, start in zip(("row", "column"), grid, first, strict=True)
        )
        if sweep.every == 1:
            row_end = count_up(m, column, grid[1], move)
            return row, column, row_end & count_up(m, row, grid[0], move & row_end)
        last, wraps = share_ends(m, sweep, move)
        with m.If(move):
            for at, start, (straight, wrapped) in zip((row, column), first, share_hops(sweep), strict=True):
                m.d.sync += at.eq(Mux(last, start, at + Mux(wraps, wrapped, straight)))
        return row, column, last

    def _phase(self, output: int | None) -> tuple[int, int]:
        sweep = self.p.placement.sweep
        return sweep.phases[(output or 0) // self.p.placement.layer.outputs]

    def _inside(self, phases: list[int], axis: int, at: Value, beat: Value) -> Value:
        """Return whether row or column ``at * block + phase - crop`` of the output exists."""
        sweep = self.p.placement.sweep
        block, crop, size = sweep.block[axis], sweep.crop[axis], sweep.output[axis]
        low = [max(0, -(-(crop - phase) // block)) for phase in phases]
        high = [(crop + size - 1 - phase) // block + 1 for phase in phases]
        last = sweep.grid[axis]
        above = at >= lookup(low, beat) if any(low) else Const(1)
        below = at < lookup([max(0, h) for h in high], beat) if min(high) < last else Const(1)
        return above & below


def output_beats(p: TileParameters) -> list[list[int | None]]:
    """Return the output ids of the beats that leave the tile in a step; with overlap, in an output block."""
    return leaving_outputs(p.placement, p.tile, p.drain)


class OverlapAdd(wiring.Component):
    """Sums of what neighbouring steps give to the same output pixel (padding-free schedule).

    Lines of output pixels are kept in a ring, all banks in one word. Each beat of a step is added to
    its pixel: read, add, write, one beat a cycle. After a step its own output block is final: those
    beats leave, a cycle after they came, and zero is written behind them. Blocks beyond the last step
    of a row or of the map are flushed with beats of its own. After a reset the memory is cleared, one
    word a cycle, before the first beat.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, parameters: TileParameters) -> None:
        self.p = p = parameters
        sweep, m = p.placement.sweep, p.placement.layer.outputs
        first = p.drain.banks[0].beats
        outputs = [beat.outputs[0] for beat in first if beat.last]
        channels = sorted({output % m for output in outputs})
        self.grid = sweep.grid
        self.positions = [(*sweep.phases[o // m], channels.index(o % m)) for o in outputs]
        self.final = [int(y < sweep.block[0] and x < sweep.block[1]) for y, x, _ in self.positions]
        tall = max(y for y, _, _ in self.positions) + 1
        self.lines = -(-max(tall, sweep.block[0]) // sweep.block[0]) * sweep.block[0]
        self.channels = len(channels)
        self.pitch = self.grid[1] * sweep.block[1] * self.channels
        super().__init__({"i": In(stream.Signature(beat_layout(p))), "o": Out(stream.Signature(beat_layout(p)))})

    @property
    def depth(self) -> int:
        """Words of the ring: cycles of the clearing after a reset."""
        return self.lines * self.pitch

    @property
    def flushed(self) -> int:
        """Beats of a block that is flushed."""
        return sum(self.final)

    def elaborate(self, platform: object) -> Module:
        """Build the ring of lines and its read, add and write."""
        m = Module()
        layout = self.i.payload["values"].shape()
        m.submodules.ring = ring = Memory(shape=layout.size, depth=self.depth, init=[])
        write = ring.write_port()
        read = ring.read_port(transparent_for=(write,))
        added = Signal(layout)
        busy, leaves, drops = Signal(), Signal(), Signal()
        address = Signal(range(max(2, self.depth)))
        enable, move = Signal(), Signal()
        clear, cleared = self._clear(m)
        here = self._walk(m, move, enable & cleared)
        m.d.comb += [
            enable.eq(~self.o.valid | self.o.ready),
            read.addr.eq(here["address"]),
            read.en.eq(move),
            self.o.valid.eq(busy & leaves),
            self.o.payload.keep.eq(-1),
        ]
        total = data.View(layout, read.data)
        sums = [total[k] + added[k] for k in range(len(total))]
        m.d.comb += [out.eq(s) for out, s in zip(self.o.payload["values"], sums, strict=True)]
        with m.If(enable):
            m.d.sync += busy.eq(move)
        with m.If(move):
            m.d.sync += [
                added.eq(Mux(here["flush"], 0, self.i.payload["values"].as_value())),
                leaves.eq(here["final"]),
                drops.eq(here["drops"]),
                address.eq(here["address"]),
            ]
        zeros = Signal(layout.size)
        with m.If(~leaves):
            m.d.comb += zeros.eq(self.o.payload["values"].as_value())
        m.d.comb += [
            write.addr.eq(Mux(cleared, address, clear)),
            write.data.eq(Mux(cleared, zeros, 0)),
            write.en.eq(~cleared | (busy & enable & ~drops)),
        ]
        return m

    def _clear(self, m: Module) -> tuple[Signal, Signal]:
        """Return the address that is cleared after a reset, and whether all are."""
        clear = Signal(range(max(2, self.depth)))
        cleared = Signal()
        with m.If(~cleared):
            m.d.sync += cleared.eq(count_up(m, clear, self.depth, ~cleared))
        return clear, cleared

    def _walk(self, m: Module, move: Value, free: Value) -> dict[str, Value]:
        """Build counters over blocks and beats; return address and fate of the next beat, by name."""
        sweep, block = self.p.placement.sweep, self.p.placement.sweep.block
        beats = len(self.positions)
        column = Signal(range(max(2, self.grid[1])))
        row = Signal(range(max(2, self.grid[0])))
        beat = Signal(range(max(2, beats)))
        line = Signal(range(max(2, self.depth)))
        across = Signal(range(max(2, self.pitch)))
        finals = [k for k, final in enumerate(self.final) if final]
        flush = Signal()
        last = Signal()
        order = lookup(finals, beat) if len(finals) < beats else beat
        index = Mux(flush, order, beat)
        m.d.comb += [
            flush.eq((row >= sweep.steps[0]) | (column >= sweep.steps[1])),
            last.eq(beat == Mux(flush, len(finals) - 1, beats - 1)),
            move.eq(free & (flush | self.i.valid)),
            self.i.ready.eq(free & ~flush),
        ]
        row_end = count_up(m, column, self.grid[1], move & last)
        count_up(m, row, self.grid[0], move & last & row_end)
        moved = line + block[0] * self.pitch
        with m.If(move):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
        with m.If(move & last):
            m.d.sync += across.eq(Mux(row_end, 0, across + block[1] * self.channels))
            with m.If(row_end):
                ring_end = (moved == self.depth) | (row == self.grid[0] - 1)
                m.d.sync += line.eq(Mux(ring_end, 0, moved))
        offsets = [y * self.pitch + x * self.channels + c for y, x, c in self.positions]
        total = line + across + lookup(offsets, index)
        below = [self.grid[0] - y // block[0] for y, _, _ in self.positions]
        beyond = [self.grid[1] - x // block[1] for _, x, _ in self.positions]
        return {
            "address": Mux(total >= self.depth, total - self.depth, total)[: len(line)],
            "final": lookup(self.final, index),
            "flush": flush,
            "drops": (row >= lookup([max(0, k) for k in below], index))
            | (column >= lookup([max(0, k) for k in beyond], index)),
        }
