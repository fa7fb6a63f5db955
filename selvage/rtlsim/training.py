"""The controller of training, alone in a simulator: every stage is done at once, and logical cycles are counted."""

from dataclasses import dataclass
from pathlib import Path

from selvage.base.errors import RtlError
from selvage.hw.training.controller import ControllerParameters, TrainingController
from selvage.hw.training.dependency import places_layout
from selvage.mapping.training import TrainingSchedule
from selvage.rtlsim.cache import work_folder
from selvage.rtlsim.fingerprint import fingerprint
from selvage.rtlsim.plain import build_plain, call
from selvage.rtlsim.simulate import BUILD
from selvage.verilog.convert import convert

SOURCES = ("controller.v", "bench.v")
SLACK = 64  # clock cycles beyond those of a schedule that nothing overlaps


@dataclass(frozen=True)
class ControllerRun:
    """What was counted: logical cycles at the end of each iteration; the most samples of each buffer, in order."""

    ends: tuple[int, ...]
    reached: tuple[int, ...]

    @property
    def steady(self) -> int:
        """Logical cycles of the last iteration."""
        return self.ends[-1] - (0, *self.ends)[-2]


def run_controller(
    schedule: TrainingSchedule, iterations: int, *, simulator: str = "icarus", build: Path = BUILD
) -> ControllerRun:
    """Simulate the generated controller for so many iterations.

    Raises `SimulationError` for a tool that fails, and `RtlError` for a controller that does not end.
    """
    p = ControllerParameters(schedule)

    def verilog() -> dict[str, str]:
        texts = convert(TrainingController(p), "controller"), _bench(schedule, iterations)
        return dict(zip(SOURCES, texts, strict=True))

    built = build_plain("controller", fingerprint("controller", p, iterations), verilog, SOURCES, simulator, build)
    with work_folder(built.where.parent) as run:
        call(list(built.command), run, run / "log.txt")
        lines = [line.split() for line in (run / "log.txt").read_text().splitlines()]
    ends = tuple(int(line[1]) for line in lines if line[:1] == ["end"])
    reached = tuple(int(line[1]) for line in lines if line[:1] == ["reached"])
    if len(ends) != iterations or len(reached) != len(schedule.buffers):
        raise RtlError(f"the controller ended {len(ends)} of {iterations} iterations")
    return ControllerRun(ends, reached)


def _bench(schedule: TrainingSchedule, iterations: int) -> str:
    """Return the bench: it prints the count at the end of each iteration, then what buffers reached, and gives up."""
    stages = sum(schedule.stages(own) for own in schedule.passes)
    most = iterations * (schedule.batch * stages + SLACK)
    done = len(schedule.stage_names) + len(schedule.updates)
    wires, pins, tells = [], [], []
    for own in schedule.buffers:
        name, layout = f"places_{own.name}", places_layout(own.depth)
        reached = layout["reached"]
        wires.append(f"  wire [{layout.size - 1}:0] {name};")
        pins.append(f"    .{name}({name}),")
        tells.append(f'      $display("reached %0d", {name}[{reached.offset} +: {reached.width}]);')
    return _BENCH.format(
        wires="\n".join(wires),
        pins="\n".join(pins),
        tells="\n".join(tells),
        done=done,
        iterations=iterations,
        most=most,
    )


_BENCH = """\
`timescale 1ns / 1ps
module bench;
  reg clk = 1'b0, rst = 1'b1;
  always #5 clk = ~clk;
  wire [15:0] ended;
  wire [31:0] cycles;
{wires}
  controller dut (
    .clk(clk),
    .rst(rst),
    .iterations(16'd{iterations}),
    .done({{{done}{{1'b1}}}}),
{pins}
    .ended(ended),
    .cycles(cycles)
  );
  reg [15:0] seen = 16'd0;
  integer clocks = 0;
  initial begin
    repeat (4) @(posedge clk);
    #1 rst = 1'b0;
  end
  always @(negedge clk) if (!rst) begin
    clocks = clocks + 1;
    if (ended != seen) begin
      $display("end %0d", cycles);
      seen = ended;
    end
    if (ended == 16'd{iterations}) begin
{tells}
      $finish;
    end
    if (clocks > {most}) $finish;
  end
endmodule
"""
