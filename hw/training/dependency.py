"""What decides in which logical cycle of training something begins: events before it, and samples that follow."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

ITERATION_BITS = 16


class Dependency(wiring.Component):
    """One rule: not earlier than some logical cycles after an event.

    Logical cycles pass with ``advance``. ``event`` and ``used`` are of the next one, as is ``there``. Events that were
    not used are counted, at most three; a second event comes no sooner than the first has arrived.

    Members
    -------
    advance : the logical cycle ends
    event : what is waited for is in the next cycle
    there : the rule holds in the next cycle
    used : what waited is in the next cycle
    """

    advance: Signal
    event: Signal
    there: Signal
    used: Signal

    def __init__(self, delay: int, *, fulfilled: bool) -> None:
        self.delay, self.fulfilled = delay, fulfilled
        super().__init__({"advance": In(1), "event": In(1), "there": Out(1), "used": In(1)})

    def elaborate(self, platform: object) -> Module:
        """Build the timer and the counter of events."""
        m = Module()
        unused = Signal(2, init=int(self.fulfilled))
        arrives: Value = self.event
        if self.delay:
            timer = Signal(range(self.delay + 1))
            arrives = timer == 1
            with m.If(self.advance):
                m.d.sync += timer.eq(Mux(self.event, self.delay, Mux(timer == 0, 0, timer - 1)))
        m.d.comb += self.there.eq((unused != 0) | arrives)
        with m.If(self.advance):
            m.d.sync += unused.eq(unused + arrives - self.used)
        return m


class Issue(wiring.Component):
    """The samples of a pass: which of them is in its load in the next logical cycle.

    Members
    -------
    advance : the logical cycle ends
    iterations : how many batches are wanted in all
    there : rules that hold, all of which the first sample needs
    sample, first, last : a sample is loaded in the next cycle; it is the first, or the last of its batch
    """

    advance: Signal
    iterations: Signal
    there: Signal
    sample: Signal
    first: Signal
    last: Signal

    def __init__(self, batch: int, spacing: int, rules: int) -> None:
        self.batch, self.spacing = batch, spacing
        super().__init__(
            {
                "advance": In(1),
                "iterations": In(ITERATION_BITS),
                "there": In(rules),
                "sample": Out(1),
                "first": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the counters of batches, of samples and of the cycles between them."""
        m = Module()
        begun = Signal(ITERATION_BITS)
        count = Signal(range(max(2, self.batch)))
        running: Value = count != 0
        due: Value = Const(1)
        if self.spacing > 1:
            wait = Signal(range(self.spacing))
            due = wait == 0
            with m.If(self.advance):
                m.d.sync += wait.eq(Mux(self.sample, self.spacing - 1, Mux(due, 0, wait - 1)))
        m.d.comb += [
            self.first.eq(~running & self.there.all() & (begun < self.iterations)),
            self.sample.eq(self.first | (running & due)),
            self.last.eq(self.sample & (count == self.batch - 1)),
        ]
        with m.If(self.advance & self.sample):
            m.d.sync += count.eq(Mux(self.last, 0, count + 1))
        with m.If(self.advance & self.first):
            m.d.sync += begun.eq(begun + 1)
        return m


def places_layout(depth: int) -> data.StructLayout:
    """Return the layout of what a buffer of ``depth`` shows (`Places`)."""
    place = range(max(2, depth))
    return data.StructLayout({"writes": place, "forward": place, "back": place, "reached": range(depth + 2)})


class Places(wiring.Component):
    """The places of a buffer of activations: a ring, whose samples leave in the order in which they came.

    A sample may be written into the place that another frees in the same logical cycle. What is written and not
    ``kept`` is there for the next cycle only.

    Members
    -------
    advance : the logical cycle ends
    kept, freed : with it a sample is kept, and the oldest is freed
    shown : the places ``writes``, for writing, ``forward``, of what was written in the cycle before, and ``back``, of
        the oldest; the most samples that it ``reached`` so far, 0 without counters
    """

    advance: Signal
    kept: Signal
    freed: Signal
    shown: data.View

    def __init__(self, depth: int, *, counters: bool) -> None:
        self.depth, self.counters = depth, counters
        super().__init__({"advance": In(1), "kept": In(1), "freed": In(1), "shown": Out(places_layout(depth))})

    def elaborate(self, platform: object) -> Module:
        """Build the two counters of places, and that of samples."""
        m = Module()
        shown = self.shown
        for place, moves in ((shown.writes, self.kept), (shown.back, self.freed)):
            with m.If(self.advance & moves):
                m.d.sync += place.eq(Mux(place == self.depth - 1, 0, place + 1))
        with m.If(self.advance):
            m.d.sync += shown.forward.eq(shown.writes)
        if self.counters:
            count = Signal(range(self.depth + 2))
            after = Signal.like(count)
            m.d.comb += after.eq(count + self.kept - self.freed)
            with m.If(self.advance):
                m.d.sync += count.eq(after)
                with m.If(after > shown.reached):
                    m.d.sync += shown.reached.eq(after)
        return m
