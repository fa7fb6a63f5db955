"""The runs of a shell: its state, the commands that it heeds, its counters and its first error."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.network.crossbar_control import HOPS
from selvage.hw.shell.registers import CODE_BITS, Code, State


class Run(wiring.Component):
    """The state of a shell: what may be commanded, when a run ends, what it counts, what was wrong.

    Members
    -------
    command, refusal : bits of a write to CONTROL, refused or not; why it is refused
    images : of a run that begins; 0 for any number
    settled, begun : ``limit`` images have entered and left; most images of which a word entered an input
    empty : no word waits at an output
    dropping : an input drops what is left of a frame
    fault, refused : what is wrong with a frame, with an access, in this cycle
    loaded, load_code : the programmer is done, and how; ``last_load`` keeps it
    cells_loaded, tables_loaded : the last image of each was good; where no tables are loaded the latter is high
    flagged : the host has not cleared the last error
    busy, asked : some read was unanswered, so many were asked, `HOPS` + 1 cycles ago
    locked, unloadable : why settings and words of an image are refused now
    limit, endless, hold : images that may enter; any number may; no word may enter in this cycle
    start, load, abort_load, next_failed : commands that are heeded, for a cycle
    load_tables : with ``load``, it is one of tables
    running, aborting : images are computed; a run ends early
    forget : for a cycle: the host waits no more for what is left of a frame, nor for words to be taken
    done, error, good : for a cycle: a run ended, something was wrong, a load ended well
    code : the first error of those not cleared
    cycles, reads : of this run or the last one
    """

    command: Signal
    refusal: Signal
    images: Signal
    settled: Signal
    begun: Signal
    empty: Signal
    dropping: Signal
    fault: Signal
    refused: Signal
    loaded: Signal
    load_code: Signal
    last_load: Signal
    cells_loaded: Signal
    tables_loaded: Signal
    flagged: Signal
    busy: Signal
    asked: Signal
    locked: Signal
    unloadable: Signal
    limit: Signal
    endless: Signal
    hold: Signal
    start: Signal
    load: Signal
    abort_load: Signal
    next_failed: Signal
    load_tables: Signal
    running: Signal
    aborting: Signal
    forget: Signal
    done: Signal
    error: Signal
    good: Signal
    state: Signal
    code: Signal
    cycles: Signal
    reads: Signal

    def __init__(self, macros: int, tables: bool = False) -> None:
        self.tables = tables
        inputs = {"command": 5 + tables, "images": 32, "settled": 1, "begun": 32, "empty": 1, "dropping": 1}
        inputs |= {"fault": CODE_BITS, "refused": CODE_BITS, "loaded": 1, "load_code": CODE_BITS, "flagged": 1}
        inputs |= {"busy": 1, "asked": range(macros + 1)}
        outputs = {"refusal": CODE_BITS, "locked": CODE_BITS, "unloadable": CODE_BITS, "last_load": CODE_BITS}
        outputs |= {"state": 3, "code": CODE_BITS, "limit": 32, "cycles": 64, "reads": 64}
        strobes = ("endless", "hold", "start", "load", "abort_load", "next_failed", "running", "aborting", "forget")
        strobes += ("load_tables", "cells_loaded", "tables_loaded")
        outputs |= dict.fromkeys((*strobes, "done", "error", "good"), 1)
        members = {name: In(width) for name, width in inputs.items()}
        super().__init__(members | {name: Out(width) for name, width in outputs.items()})

    def elaborate(self, platform: object) -> Module:
        """Build the state machine of runs and loads, counters and the error register."""
        m = Module()
        stop, abort = Signal(), Signal()
        self._commands(m, stop, abort)
        quiet, whole = self._counters(m), self._images(m)
        ended = self.fault.any() | (abort & self.running)
        early = Signal()  # the run did not end by itself
        m.d.comb += [
            self.running.eq(self.state == State.RUNNING),
            self.aborting.eq((self.state == State.STOPPING) & early),
            self.forget.eq(self.start | (abort & ~self.running)),
        ]
        with m.Switch(self.state):
            with m.Case(State.EMPTY, State.READY):
                with m.If(self.load):
                    m.d.sync += self.state.eq(State.LOADING)
                with m.Elif(self.start):
                    m.d.sync += [self.state.eq(State.RUNNING), early.eq(0), self.hold.eq(0)]
                    m.d.sync += [self.limit.eq(self.images), self.endless.eq(self.images == 0)]
            with m.Case(State.LOADING), m.If(self.loaded):
                m.d.sync += [self.state.eq(Mux(whole, State.READY, State.EMPTY)), self.last_load.eq(self.load_code)]
            with m.Case(State.RUNNING):
                m.d.sync += self.hold.eq(stop)
                with m.If(self.hold):  # nothing enters, so what has begun stays so
                    m.d.sync += [self.limit.eq(self.begun), self.endless.eq(0)]
                with m.If(ended | self.settled):
                    m.d.sync += [self.state.eq(State.STOPPING), early.eq(ended)]
            with m.Case(State.STOPPING), m.If(quiet & self.empty):
                m.d.sync += self.state.eq(State.READY)
                m.d.comb += self.done.eq(~early)
        self._errors(m, abort & (self.state != State.LOADING))  # the programmer tells of a load
        return m

    def _images(self, m: Module) -> Value:
        """Keep which images are loaded; return whether, with a load that ends in this cycle, all are.

        From the begin of its next load on an image counts as not loaded, however that load ends.
        """
        of_tables = Signal()
        m.d.comb += self.good.eq(self.loaded & (self.load_code == Code.NONE))
        if not self.tables:
            m.d.comb += self.tables_loaded.eq(1)
        with m.If(self.load):
            m.d.sync += of_tables.eq(self.load_tables)
        kinds = [(self.cells_loaded, 0), *([(self.tables_loaded, 1)] if self.tables else [])]
        for flag, kind in kinds:
            with m.If(self.load & (self.load_tables == kind)):
                m.d.sync += flag.eq(0)
            with m.Elif(self.good & (of_tables == kind)):
                m.d.sync += flag.eq(1)
        return self.good & Mux(of_tables, self.cells_loaded, self.tables_loaded)

    def _commands(self, m: Module, stop: Signal, abort: Signal) -> None:
        """Decide which command is heeded, and the status code of one that is not."""
        at, command = self.state, self.command
        computing = (at == State.RUNNING) | (at == State.STOPPING)
        loading = at == State.LOADING
        refused = Mux(computing, Code.BUSY, Code.NOT_LOADED)
        load_cells = Signal()
        reasons = [
            (self.start, Mux(at == State.READY, Code.NONE, refused)),
            (stop, Mux(at == State.RUNNING, Code.NONE, Code.NOT_RUNNING)),
            (abort, Mux(self.running | self.aborting | loading | self.dropping, Code.NONE, Code.NOT_RUNNING)),
            (load_cells, self.locked),
            (self.next_failed, Const(Code.NONE, CODE_BITS)),
        ]
        if self.tables:
            reasons.append((self.load_tables, self.locked))
        m.d.comb += self.load.eq(load_cells | self.load_tables)
        m.d.comb += self.refusal.eq(Code.MALFORMED)
        with m.Switch(command):
            for k, (heeded, reason) in enumerate(reasons):
                with m.Case(1 << k):
                    m.d.comb += [self.refusal.eq(reason), heeded.eq(reason == Code.NONE)]
        m.d.comb += [
            self.abort_load.eq(abort & loading),
            self.locked.eq(Mux(computing | loading, Code.BUSY, Code.NONE)),
            self.unloadable.eq(Mux(loading, Code.NONE, Mux(computing, Code.BUSY, Code.NOT_LOADING))),
        ]

    def _counters(self, m: Module) -> Value:
        """Count cycles and reads; return whether every read has been answered."""
        untold = Signal(HOPS + 1)  # of what was asked in the run's last cycles
        m.d.sync += untold.eq(Cat(self.running, untold))
        computing = self.running | (self.state == State.STOPPING)
        with m.If(self.start):
            m.d.sync += [self.cycles.eq(0), self.reads.eq(0)]
        with m.Else():
            m.d.sync += [self.cycles.eq(self.cycles + computing), self.reads.eq(self.reads + self.asked)]
        return ~self.busy & ~untold.any()

    def _errors(self, m: Module, aborted: Value) -> None:
        found = Signal(CODE_BITS)
        with m.If(self.fault.any()):
            m.d.comb += found.eq(self.fault)
        with m.Elif(self.loaded & (self.load_code != Code.NONE)):
            m.d.comb += found.eq(self.load_code)
        with m.Elif(aborted):
            m.d.comb += found.eq(Code.ABORTED)
        with m.Else():
            m.d.comb += found.eq(self.refused)
        m.d.comb += self.error.eq(found != Code.NONE)
        with m.If(~self.flagged):
            m.d.sync += self.code.eq(found)
