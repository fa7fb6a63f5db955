"""Runs inside the simulator: the accumulator of an array against sums in Python."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import cocotb

from selvage.hw.tile.parameters import AccumulatorParameters
from selvage.hw.tile.streams import tag_layout
from selvage.mapping.placement import row_groups
from tb.benches.component_bench import Bench, Source, as_signed, every_case, pack, unpack
from tb.benches.components import Case, present_case

STEPS = 14
INPUTS = ("tag__valid", "tag__payload", "codes__valid", "codes__payload", "go")
CODE_TO_SUM = 4


def reads_of(case: Case) -> list[dict[str, int]]:
    """All reads that a step may make of the array: slot, plane, largest code and most driven rows."""
    p = case.parameters
    array, chip, found = p.tile.readers[case.array], p.chip, []
    for group in row_groups(array, p.placement):
        most = min(group.count * (2**chip.cell_bits - 1), 2**chip.adc_bits - 1)
        for plane in range(p.placement.planes(array)):
            for column in range(group.column_groups):
                slot = p.drain.slots[case.array][group.block] + column
                found.append({"slot": slot, "plane": plane, "most": most, "rows": group.count})
    return found


class Steps:
    """Random steps: words of both streams, and each step's sums per slot."""

    def __init__(self, bench: Bench, case: Case, own: AccumulatorParameters, count: int) -> None:
        self.p, self.rng, self.case = own, bench.rng, case
        self.layout = tag_layout(own.positions, own.planes, own.driven_bits)
        self.tags: list[int] = []
        self.step_of: list[int] = []  # of each tag
        self.none: list[bool] = []  # of each tag
        self.codes: list[int] = []
        self.tag_of: list[int] = []  # of each code
        self.sums: list[dict[int, list[int]]] = []
        for step in range(count):
            self._step(step)

    def _step(self, step: int) -> None:
        """Reads in any order; some steps reach the ends of the range, some have no read."""
        reads = reads_of(self.case)
        kind = self.rng.choice(["some", "some", "few", "none", "lowest", "highest"])
        self.rng.shuffle(reads)
        top = self.p.planes - 1
        if kind in ("lowest", "highest") and not self.p.paired:
            negative = kind == "lowest" and self.p.signed
            reads = [r for r in reads if not self.p.signed or (r["plane"] == top) == negative]
        else:
            share = {"few": 3, "none": 0}.get(kind, len(reads))
            least = share if kind in ("lowest", "highest") else min(1, share)
            reads = reads[: self.rng.randint(least, share)]
        self.sums.append({})
        for k, read in enumerate(reads):
            self._read(step, read, kind, k == len(reads) - 1)
        if not reads:
            self._tag(step, {"last": 1, "none": 1})

    def _read(self, step: int, read: dict[str, int], kind: str, last: bool) -> None:
        full = kind in ("lowest", "highest")
        most, rows = read["most"], read["rows"]
        weight = 2 ** read["plane"]
        if self.p.signed and read["plane"] == self.p.planes - 1:
            weight = -weight
        least = -most if self.p.paired else 0
        end = least if self.p.paired and (kind == "lowest") == (weight > 0) else most
        codes = [end if full else self.rng.randint(least, most) for _ in range(self.p.lanes)]
        driven = (rows if full else self.rng.randint(0, rows)) if self.p.driven_bits else 0
        tag = {"slot": read["slot"], "plane": read["plane"], "driven": driven, "last": int(last), "none": 0}
        self._tag(step, tag)
        first = [self.rng.randint(max(0, code), most + min(0, code)) for code in codes] if self.p.paired else codes
        second = [own - code for own, code in zip(first, codes, strict=True)] if self.p.paired else []
        self.codes.append(pack([*first, *second], self.p.code_bits))
        self.tag_of.append(len(self.tags) - 1)
        parts = [*codes, driven] if self.p.driven_bits else codes
        sums = self.sums[step].setdefault(read["slot"], [0] * len(parts))
        self.sums[step][read["slot"]] = [s + weight * part for s, part in zip(sums, parts, strict=True)]

    def _tag(self, step: int, tag: dict[str, int]) -> None:
        self.tags.append(sum(tag.get(name, 0) << f.offset for name, f in self.layout))
        self.step_of.append(step)
        self.none.append(bool(tag["none"]))


class Drain:
    """Plays the splice: reads all beats of a finished step. Watches ``ended`` and ``freed``."""

    def __init__(self, bench: Bench, steps: Steps, tags: Source, codes: Source, pattern: Iterator[bool]) -> None:
        self.bench, self.steps, self.tags, self.codes, self.pattern = bench, steps, tags, codes, pattern
        self.go, self.freed = bench.input("go"), bench.output("freed")
        self.ended, self.sums = bench.output("ended"), bench.output("sums")
        self.beat, self.done, self.reads = 0, 0, False
        self.shown = None  # sums that must be seen, with what they are of
        self.gone = False  # a step's last beat was read in the cycle before
        self.complete = 0  # steps
        self.ends: list[int] = []  # cycle from which each step is complete
        self.popped, self.last_pop = 0, -1

    def drive(self) -> None:
        self.reads = self.complete > self.done and next(self.pattern)
        self.go.put(int(self.reads))

    def sample(self) -> None:
        assert self.ended.get() == int(self.bench.now + 1 in self.ends), f"cycle {self.bench.now}: ended is wrong"
        assert self.freed.get() == int(self.gone), f"cycle {self.bench.now}: freed is wrong"
        self.complete += int(self.bench.now + 1 in self.ends)
        own = self.steps.p
        lanes = own.lanes + bool(own.driven_bits)
        if self.shown is not None:
            got = [as_signed(s, own.width) for s in unpack(self.sums.get(), own.width, lanes)]
            step, beat, want = self.shown
            assert got == want, f"step {step}, beat {beat}"
        self.shown, self.gone = None, False
        if self.reads:
            self.shown = self.done, self.beat, self.steps.sums[self.done].get(own.beats[self.beat], [0] * lanes)
            self.beat = (self.beat + 1) % len(own.beats)
            self.gone = self.beat == 0
            self.done += int(self.gone)
        self._follow()

    def _follow(self) -> None:
        """When each tag meets its codes; the sum is there four cycles later."""
        while self.popped < self.tags.sent:
            if self.steps.none[self.popped]:
                self.last_pop = max(self.tags.times[self.popped] + 2, self.last_pop + 1)
            else:
                code = self.popped - sum(self.steps.none[: self.popped])
                if code >= self.codes.sent:
                    return
                self.last_pop = self.codes.times[code]
            step = self.steps.step_of[self.popped]
            self.popped += 1
            if self.popped == len(self.steps.tags) or self.steps.step_of[self.popped] > step:
                self.ends.append(self.last_pop + CODE_TO_SUM)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@every_case(
    (("tag", "codes", "drain"), [("never", "never", "never"),
                                 ("mostly", "never", "never"),
                                 ("never", "mostly", "never"),
                                 ("never", "never", "mostly"),
                                 ("half", "half", "half")]),
)  # fmt: skip
async def adds_every_code(dut: Any, case_name: str, tag: str, codes: str, drain: str) -> None:
    """Two steps are in flight; codes come after their tags, whenever they like."""
    bench, case = Bench(dut, case_name), present_case(case_name)
    await bench.reset(*INPUTS)
    steps = Steps(bench, case, case.parameters.accumulators[case.array], STEPS)

    latency = 2 + case.parameters.chip.read_latency  # the request follows its tag two cycles later

    def begun(index: int) -> bool:  # the engine's promise: at most two steps are not drained
        return steps.step_of[index] < drained.done + 2

    def asked(index: int) -> bool:
        tag = steps.tag_of[index]
        return tag < tags.sent and bench.now >= tags.times[tag] + latency

    tags = bench.add(Source(bench, "tag", steps.tags, bench.pace(tag), allowed=begun))
    given = bench.add(Source(bench, "codes", steps.codes, bench.pace(codes), allowed=asked))
    drained = bench.add(Drain(bench, steps, tags, given, bench.pace(drain)))
    while drained.done < STEPS:
        await bench.cycles(1)
    await bench.cycles(40)
    assert tags.sent == len(steps.tags) and given.sent == len(steps.codes), "words were left over"
    if tag == codes == "never":
        assert all(given.times[k] == tags.times[t] + latency for k, t in enumerate(steps.tag_of)), "codes waited"
        gaps = [b - a for a, b in pairwise(tags.times)]
        within = [a == b for a, b in pairwise(steps.step_of)]
        assert all(gap == 1 for gap, same in zip(gaps, within, strict=True) if same), "tags waited"
