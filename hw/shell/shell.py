"""A network behind a bus: registers, loading of its cells and tables, runs of images, an interrupt."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.loadable import TableInterface
from selvage.hw.lib.shared import ports_of
from selvage.hw.network.crossbar_control import CrossbarControl
from selvage.hw.network.network import Network, NetworkParameters
from selvage.hw.shell.axi import FrameParameters, StreamIn, StreamOut
from selvage.hw.shell.buses import buses
from selvage.hw.shell.programming import Programmer, ProgrammingParameters
from selvage.hw.shell.registers import Code, RegisterFile, RegisterParameters
from selvage.hw.shell.run import Run

NETWORK = "network"  # module of the bare network, which the shell instantiates


@dataclass(frozen=True, eq=False)
class ShellParameters:
    """Parameters of a `Shell`.

    ``queue``: words that wait at each input and output where data pass through registers.
    """

    network: NetworkParameters
    bus: str = "axi"  # of `buses`
    retries: int = 3
    queue: int = 16

    def __post_init__(self) -> None:
        if self.bus not in buses():
            raise ValueError(f"bus must be one of {', '.join(buses())}, not {self.bus!r}")
        if self.queue < 2:
            raise ValueError(f"queue must be at least 2, not {self.queue}")
        if self.network.direct:
            raise ValueError("a shell needs a whole network, not a direct one")
        if not self.network.programmable:
            raise ValueError("a shell needs crossbars that can be programmed")
        if self.network.macro is None:
            raise ValueError("a shell needs a network with a layer on crossbars")

    @cached_property
    def programming(self) -> ProgrammingParameters:
        """Parameters of the programmer."""
        macro, words = self.network.macro, len(self.network.table)
        assert macro, "there is a layer on crossbars"
        sides = (len(self.network.crossbars), *(macro.values[name] for name in ("ROWS", "COLUMNS", "CELL_BITS")))
        return ProgrammingParameters(*sides, tables=words, design=self.network.design if words else 0)

    @cached_property
    def registers(self) -> RegisterParameters:
        """Parameters of the registers."""
        p = self.programming
        sides = (p.macros, p.rows, p.columns, p.cell_bits)
        counts = (len(self.network.inputs), len(self.network.outputs))
        return RegisterParameters(*sides, self.retries, *counts, buses()[self.bus].queues, bool(p.tables), p.design)

    @cached_property
    def inputs(self) -> tuple[FrameParameters, ...]:
        """Frames of each input: an image."""
        tensors = zip(self.network.plan.inputs, self.network.inputs, strict=True)
        return tuple(FrameParameters(bits, lanes, tensor.numbers // lanes) for tensor, (bits, lanes) in tensors)

    @cached_property
    def outputs(self) -> tuple[FrameParameters, ...]:
        """Frames of each output: an image."""
        tensors = zip(self.network.plan.outputs, self.network.outputs, strict=True)
        return tuple(FrameParameters(bits, lanes, tensor.numbers // lanes) for tensor, (bits, lanes) in tensors)


class NetworkPins(wiring.PureInterface):
    """Ports of a `Network` that are not numbered; the numbered ones are looked up by name."""

    table: TableInterface
    control: CrossbarControl


class Contained(wiring.Component):
    """An instance of module ``name`` with the ports of ``component``, and a reset of its own."""

    pins: NetworkPins
    reset: Signal

    def __init__(self, component: wiring.Component, name: str) -> None:
        self.name, self.inner = name, component.signature
        super().__init__({"pins": Out(component.signature), "reset": In(1)})

    def elaborate(self, platform: object) -> Instance:
        """Return the instance itself: there is no module around it."""
        return Instance(self.name, i_clk=ClockSignal(), i_rst=self.reset, **ports_of(self.inner, self.pins))


class Shell(wiring.Component):
    """A network with its registers on a bus. Its reset is synchronous and active high, whatever the bus.

    The network is held in reset outside runs, with the queues around it, so nothing of one run is left for the next.

    Members
    -------
    s_axil_x, s_axis_k_x, m_axis_k_x : registers, frames of input k and of output k: of an AXI shell
    wb_x : registers, data among them: of a Wishbone shell
    interrupt_request : a level: what INTERRUPT_STATUS has and INTERRUPT_ENABLE allows
    """

    interrupt_request: Signal

    def __init__(self, parameters: ShellParameters) -> None:
        self.p = p = parameters
        self.network = Network(p.network)
        self.bus = buses()[p.bus]
        self.modules = {**self.network.library.components, NETWORK: self.network}  # to emit before the shell
        super().__init__({**self.bus.members(p.inputs, p.outputs), "interrupt_request": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect the network with bus, registers, programmer, runs, inputs and outputs."""
        m = Module()
        p = self.p
        m.submodules.registers = registers = RegisterFile(p.registers)
        m.submodules.run = run = Run(p.programming.macros, bool(p.programming.tables))
        m.submodules.programmer = programmer = Programmer(p.programming)
        m.submodules.network = network = Contained(self.network, NETWORK)
        m.d.comb += network.reset.eq(~run.running)
        wiring.connect(m, self.bus.registers(m, self), registers.bus)
        self._programming(m, registers, run, programmer)
        self._tables(m, network.pins, run, programmer)
        self._crossbars(m, network.pins.control, run, programmer.control)
        entering = [self._input(m, k, network.pins, registers, run) for k in range(len(p.inputs))]
        leaving = [self._output(m, k, network.pins, registers, run) for k in range(len(p.outputs))]
        self._status(m, registers, run, programmer, entering)
        early, late = (Cat(getattr(frames, name) for frames in entering).any() for name in ("early", "late"))
        m.d.comb += [
            run.settled.eq(~run.endless & Cat(frames.images == run.limit for frames in (*entering, *leaving)).all()),
            run.begun.eq(_choose([frames.begun for frames in entering], lambda a, b: a > b)),
            run.empty.eq(~Cat(frames.axi.tvalid for frames in leaving).any()),
            run.fault.eq(Mux(early, Code.EARLY_LAST, Mux(late, Code.LATE_LAST, Code.NONE))),
            registers.images_done_count.eq(_choose([frames.images for frames in leaving], lambda a, b: a < b)),
        ]
        return m

    def _status(
        self, m: Module, registers: RegisterFile, run: Run, programmer: Programmer, entering: list[StreamIn]
    ) -> None:
        r = registers
        commands = ["start", "stop", "abort", "load", "next_failed"]
        commands += ["load_tables"] if self.p.programming.tables else []
        raised: dict[str, Value] = {"done": run.done, "error": run.error, "loaded": run.good}
        if self.bus.framed:
            raised["dropped"] = Cat(frames.dropped for frames in entering).any()
            m.d.comb += [
                run.dropping.eq(Cat(frames.dropping for frames in entering).any()),
                r.status_dropping.eq(run.dropping),
            ]
        m.d.comb += [
            run.command.eq(Cat(getattr(r, f"control_{name}") for name in commands)),
            r.control_refusal.eq(run.refusal),
            r.images_refusal.eq(run.locked),
            r.programming_refusal.eq(run.locked),
            run.images.eq(r.images_count),
            run.refused.eq(Mux(r.bus.valid & r.bus.ready, r.code, Code.NONE)),
            run.flagged.eq(r.interrupt_status_error),
            r.status_state.eq(run.state),
            r.status_load_ready.eq(programmer.image.ready),
            r.status_failed.eq(programmer.failed.valid),
            r.status_cells.eq(run.cells_loaded),
            r.status_tables.eq(run.tables_loaded),
            r.status_code.eq(run.code),
            r.status_load_code.eq(run.last_load),
            Cat(r.cycles_low_count, r.cycles_high_count).eq(run.cycles),
            Cat(r.reads_low_count, r.reads_high_count).eq(run.reads),
            *(getattr(r, f"interrupt_status_{name}_set").eq(value) for name, value in raised.items()),
        ]
        lines = [getattr(r, f"interrupt_status_{name}") & getattr(r, f"interrupt_enable_{name}") for name in raised]
        m.d.sync += self.interrupt_request.eq(Cat(lines).any())

    def _programming(self, m: Module, registers: RegisterFile, run: Run, programmer: Programmer) -> None:
        r, word = registers, programmer.image
        shown = programmer.failed.payload
        m.d.comb += [
            programmer.begin.eq(run.load),
            programmer.abort.eq(run.abort_load),
            programmer.retries.eq(r.programming_retries),
            programmer.tolerated.eq(r.programming_tolerated),
            run.loaded.eq(programmer.done),
            run.load_code.eq(programmer.code),
            word.valid.eq((r.load_word_access | r.load_last_access) & (run.unloadable == Code.NONE)),
            word.payload.word.eq(r.load_word_value | r.load_last_value),  # 0 but in an access
            word.payload.last.eq(r.load_last_access),
            programmer.failed.ready.eq(run.next_failed),
            r.failed_count_count.eq(programmer.failed_count),
            Cat(r.failed_cell_row, r.failed_cell_column).eq(Cat(shown.row, shown.column)),
            Cat(r.failed_levels_macro, r.failed_levels_wanted, r.failed_levels_found).eq(shown.as_value()[32:]),
        ]
        for name in ("load_word", "load_last"):
            m.d.comb += getattr(r, f"{name}_refusal").eq(run.unloadable)
            m.d.comb += getattr(r, f"{name}_ready").eq(word.ready)

    def _tables(self, m: Module, pins: NetworkPins, run: Run, programmer: Programmer) -> None:
        """Pass writes to tables on to the network through a register, for they spread over all of it."""
        if not self.p.programming.tables:
            return
        m.d.comb += programmer.tables.eq(run.load_tables)
        m.d.sync += [
            pins.table.write.eq(programmer.table.write),
            pins.table.address.eq(programmer.table.address),
            pins.table.data.eq(programmer.table.data),
        ]

    def _crossbars(self, m: Module, control: CrossbarControl, run: Run, programmed: CrossbarControl) -> None:
        """Let requests to the crossbars out only in runs, and the programmer at their cells.

        Their reset is the shell's, for what is under way when a run ends is still to be answered.
        """
        m.d.comb += [
            control.reset.eq(ResetSignal()),
            control.running.eq(run.running),
            *(getattr(control, n).eq(getattr(programmed, n)) for n in ("go", "macro", "row", "levels", "write")),
            programmed.done.eq(control.done),
            programmed.cells.eq(control.cells),
            run.busy.eq(control.busy),
            run.asked.eq(control.reads),
        ]

    def _input(self, m: Module, k: int, pins: NetworkPins, registers: RegisterFile, run: Run) -> StreamIn:
        m.submodules[f"input_{k}"] = frames = StreamIn(self.p.inputs[k], framed=self.bus.framed)
        names = ("running", "start", "forget", "hold", "endless", "limit")
        m.d.comb += [getattr(frames, name).eq(getattr(run, name)) for name in names]
        self.bus.enter(m, self, k, frames, getattr(pins, f"i_{k}"), registers, run)
        return frames

    def _output(self, m: Module, k: int, pins: NetworkPins, registers: RegisterFile, run: Run) -> StreamOut:
        m.submodules[f"output_{k}"] = frames = StreamOut(self.p.outputs[k])
        m.d.comb += [frames.running.eq(run.running), frames.start.eq(run.start)]
        self.bus.leave(m, self, k, frames, getattr(pins, f"o_{k}"), registers, run)
        return frames


def _choose(values: list[Value], better: Callable[[Value, Value], Value]) -> Value:
    """Return the value that is ``better`` than all others."""
    best, *rest = values
    for value in rest:
        best = Mux(better(value, best), value, best)
    return best
