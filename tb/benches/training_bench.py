"""Runs inside the simulator: the controller of training among stages that take any time."""

from collections import defaultdict
from typing import Any

import cocotb

from selvage.hw.training.dependency import places_layout
from selvage.mapping.training import TrainingSchedule, training_schedule
from selvage.sim.training import Timeline, timeline
from tb.benches.bench_run import told
from tb.benches.component_bench import Bench

ITERATIONS = 3


def expected(schedule: TrainingSchedule, times: Timeline) -> dict[int, dict[str, tuple[str, int]]]:
    """By logical cycle and stage: the pass, and the number of its sample."""
    found: dict[int, dict[str, tuple[str, int]]] = defaultdict(dict)
    for own, entered in zip(schedule.passes, times.entered, strict=True):
        for sample, time in enumerate(entered):
            for position, stage in enumerate(schedule.way(own)):
                at = found[time + position - 1]
                assert stage not in at, f"two samples in stage {stage} in cycle {time + position - 1}"
                at[stage] = own.name, sample
    for own, cycles in zip(schedule.updates, times.updated, strict=True):
        for iteration, time in enumerate(cycles):
            found[time][f"update {''.join(own.networks)}"] = "update", iteration
    return found


class Stages:
    """Plays all stages: each takes some clock cycles; watches which works, and where samples are kept."""

    def __init__(self, bench: Bench, schedule: TrainingSchedule, most: int) -> None:
        self.bench, self.s, self.most = bench, schedule, most
        self.names = [*schedule.stage_names, *(f"update {''.join(own.networks)}" for own in schedule.updates)]
        self.start, self.done = bench.output("start"), bench.input("done")
        self.passes, self.updates = bench.output("passes"), bench.output("updates")
        self.times = timeline(schedule, ITERATIONS)
        self.expected = expected(schedule, self.times)
        self.cycle = min(self.expected) - 1  # logical, as the model counts
        self.left = [0] * len(self.names)
        self.idle = True
        self.kept: dict[str, dict[int, tuple[str, int]]] = {own.name: {} for own in schedule.buffers}
        self.written: dict[str, tuple[int, tuple[str, int]]] = {}  # in the cycle before

    def drive(self) -> None:
        self.left = [max(0, left - 1) for left in self.left]
        done = sum(1 << k for k, left in enumerate(self.left) if left == 0)
        self.done.put(done)

    def active(self) -> dict[str, tuple[str, ...]]:
        """Stages that work, and for which passes."""
        raw, width = self.passes.get(), len(self.s.passes)
        found = {}
        for k, name in enumerate(self.s.stage_names):
            bits = raw >> k * width & 2**width - 1
            if bits:
                found[name] = tuple(own.name for bit, own in enumerate(self.s.passes) if bits >> bit & 1)
        updates = self.updates.get()
        return found | {
            name: ("update",) for k, name in enumerate(self.names[len(self.s.stage_names) :]) if updates >> k & 1
        }

    def sample(self) -> None:
        now = self.active()
        if self.start.get() and (now or not self.idle):
            self.idle = False
            self.cycle += 1
            self.left = [self.bench.rng.randint(0, self.most) for _ in self.names]
            wanted = {name: (own[0],) for name, own in self.expected.get(self.cycle, {}).items()}
            assert now == wanted, f"logical cycle {self.cycle}: {now}, not {wanted}"
            self.places()
        elif not self.idle:
            wanted = {name: (own[0],) for name, own in self.expected.get(self.cycle, {}).items()}
            assert now == wanted, f"logical cycle {self.cycle} changed before it was over"

    def places(self) -> None:
        """Check that every sample is where it was left, and that none is overwritten that is needed."""
        now, written = self.expected.get(self.cycle, {}), {}
        for buffer in self.s.buffers:
            shown = self.place(buffer)
            for own in self.s.passes:
                way, kept = self.s.way(own), self.kept[buffer.name]
                here = {way.index(stage): who for stage, who in now.items() if who[0] == own.name}
                ends = self.s.kept(buffer, own)
                free = here.get(ends[1]) if ends else None
                if free:
                    assert kept.pop(shown["back"], None) == free, f"{buffer.name}: sample {free} is not where it was"
                position = self.forward(buffer, own)
                if position is not None and position + 1 in here and buffer.layer < self.layers(buffer):
                    was = self.written.get(buffer.name)
                    assert was == (shown["forward"], here[position + 1]), f"{buffer.name}: the next layer reads {was}"
            for own in self.s.passes:
                position = self.forward(buffer, own)
                if position is None:
                    continue
                stage = self.s.way(own)[position]
                if now.get(stage, ("",))[0] == own.name:
                    written[buffer.name] = shown["writes"], now[stage]
                    assert shown["writes"] not in self.kept[buffer.name], f"{buffer.name}: a sample is overwritten"
                    if self.s.kept(buffer, own):
                        self.kept[buffer.name][shown["writes"]] = now[stage]
        self.written = written

    def layers(self, buffer: Any) -> int:
        """Layers behind the buffer's, in its network."""
        return self.s.generator if buffer.network == "G" else self.s.discriminator

    def forward(self, buffer: Any, own: Any) -> int | None:
        """Position of the stage that writes the buffer; None where the pass does not come by."""
        if buffer.network == "G":
            return buffer.layer if own.generator else None
        return self.s.entry(own) + buffer.layer if own.copy == buffer.copy else None

    def place(self, buffer: Any) -> dict[str, int]:
        raw = self.bench.output(f"places_{buffer.name}").get()
        return {key: raw >> field.offset & 2**field.width - 1 for key, field in places_layout(buffer.depth)}


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(case=[cocotb.Param(name, name) for name in told()], most=[0, 5])
async def follows_the_schedule(dut: Any, case: str, most: int) -> None:
    """Whatever time stages take, the same logical cycles; a reset in the middle, and all over again."""
    schedule = training_schedule(*told()[case][:4], overlap=told()[case][4])
    bench = Bench(dut, case)
    for after in (bench.rng.randint(10, 90), None):
        await bench.reset("done", "iterations")
        bench.input("iterations").put(ITERATIONS)
        stages = bench.add(Stages(bench, schedule, most))
        if after:
            await bench.cycles(after)
            continue
        last = max(stages.expected)
        while stages.cycle <= last:
            await bench.cycles(1)
        assert bench.output("ended").get() == ITERATIONS
        await bench.cycles(40)
        assert not stages.active(), "something goes on after the last iteration"
        assert not any(stages.kept.values()), "samples are left in buffers"
        counted = sum(1 for at in stages.expected.values() if set(at) - {"noise", "image"})
        assert bench.output("cycles").get() == counted
