"""Runs inside the simulator: an array engine between a bench that loads it and one that is its macro."""

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.streams import request_layout, tag_layout
from selvage.mapping.placement import row_groups
from selvage.sim.machine import step_windows
from tb.benches.component_bench import Bench, Sink, every_case, fields, pack, random_codes, unpack
from tb.benches.components import Case, present_case

STEPS = 14
LOAD_TO_TAG = 10  # from the load's last `valid` to the first tag; its request follows two cycles later
INPUTS = ("load__valid", "load__last", "load__data", "load__nonzero", "move", "drained",
          "crossbar__request__ready", "tag__ready")  # fmt: skip


def step_values(bench: Bench, p: TileParameters, steps: int) -> tuple[NDArray[np.int64], list[int]]:
    """Windows of random maps of which parts are zero, among them a few that are zero throughout, and kinds of steps."""
    numbers = p.buffer.format
    low, high = (bound - numbers.zero_point for bound in numbers.raw_range)
    shape = (4, p.placement.layer.channels, *p.placement.sweep.size)
    maps = [random_codes(bench.rng, int(np.prod(shape[1:])), low, high, zeros=zeros) for zeros in (0, 0.6, 0.95, 1)]
    windows = step_windows(p.placement, p.tile, np.array(maps, np.int64).reshape(shape))
    chosen = [bench.rng.randrange(len(windows)) for _ in range(steps)]
    kinds = p.placement.sweep.kind_of_steps()
    return windows[chosen], kinds[np.array(chosen) % len(kinds)].tolist()


def step_reads(case: Case, window: list[int]) -> tuple[list[Any], list[Any], int]:
    """Requests (word lines, column group) and tags of one step, in order; how many are not of its last row group."""
    p = case.parameters
    chip, array = p.chip, p.tile.readers[case.array]
    requests, tags, lead = [], [], 0
    for group in row_groups(array, p.placement):
        block = array.blocks[group.block]
        first = group.row - block.row
        rows = slice(first, first + group.count)
        before = len(tags)
        values = [window[k] << s for k, s in zip(block.window[rows], block.shifts[rows].tolist(), strict=True)]
        for plane in range(p.placement.planes(array)):
            ones = [row for row, value in enumerate(values) if value >> plane & 1]
            if p.skip and not ones:
                continue
            units = [ones[k : k + chip.ou_rows] for k in range(0, len(ones), chip.ou_rows)] or [[]]
            for unit, column in itertools.product(units, reversed(range(group.column_groups))):
                driven = sum(1 << row for row in unit)
                requests.append((driven << group.row, group.first_column_group + column))
                slot = p.drain.slots[case.array][group.block] + column
                tags.append((slot, plane, len(unit) if p.placement.weight_offset else 0, 0, 0))
        lead = before if len(tags) > before else lead
    if tags:
        tags[-1] = (*tags[-1][:3], 1, 0)
    return requests, tags or [(None, None, None, 1, 1)], lead


class Loader:
    """Plays the input buffer: step by step the words of the load plan, when the engine has room."""

    def __init__(
        self,
        bench: Bench,
        case: Case,
        windows: NDArray[np.int64],
        kinds: list[int],
        steps: Iterator[bool],
        words: Iterator[bool],
    ) -> None:
        self.bench, p = bench, case.parameters
        self.steps, self.words = steps, words
        names = ("load__valid", "load__last", "load__data", "load__nonzero", "move")
        self.lanes, self.bits = p.load.lanes, p.buffer.format.bits
        self.pins = {name: bench.input(name) for name in names}
        self.releases = bench.output("releases")
        self.released = 0  # steps
        self.noise = len(bench.pin("load__data"))
        self.moves = [self._move(p, case.array, index) for index in range(len(p.load.reads))]
        self.data = [self._words(p, window) for window in windows.tolist()]
        self.parts = [p.load.part(kind) for kind in kinds]
        self.go = self._go()
        # Step and cycle of the plan whose `valid`, and whose data, are due.
        self.next: tuple[int, int] | None = None
        self.shown: tuple[int, int] | None = None
        self.beginning = False
        self.loaded: list[int] = []  # cycle of each step's last `valid`
        self.begun = 0

    @staticmethod
    def _move(p: TileParameters, array: int, index: int) -> int:
        own, move = p.engines[array], p.load.moves[array][index]
        lane = max(1, (own.lanes - 1).bit_length())
        before_kind = own.group_bits + (own.group_rows if own.gather else 1) * lane + own.group_rows + own.lanes
        kind = sum(index >= begin for begin in p.load.begins[1:]) << before_kind
        if move is None:
            return kind
        source = [move.rotation] if not own.gather else list(move.lanes)
        value, at = move.group, own.group_bits
        for part in source:
            value, at = value | part << at, at + lane
        takes = [
            lane
            for lane in range(own.lanes)
            for row in range(own.group_rows)
            if move.rows >> row & 1 and lane == (move.lanes[row] if own.gather else (row - move.rotation) % own.lanes)
        ]
        value, at = value | move.rows << at, at + own.group_rows
        return kind | value | sum(1 << lane for lane in set(takes)) * own.skip << at

    def _words(self, p: TileParameters, window: list[int]) -> list[int]:
        """Words of the plan; lanes without a channel are noise."""
        words, (lanes, bits, channels) = [], (p.load.lanes, p.buffer.format.bits, p.tile.channels)
        for pixel, word in p.load.reads:
            own = window[pixel * channels + word * lanes : pixel * channels + min((word + 1) * lanes, channels)]
            filler = [self.bench.rng.getrandbits(bits) for _ in range(lanes - len(own))]
            words.append(pack(own + filler, bits))
        return words

    def _go(self) -> Iterator[tuple[int, int] | None]:
        """In each cycle the step and cycle of the plan that the address generator is at."""
        for step in range(len(self.data)):
            while not (next(self.steps) and self.begun - self.released < 2):
                yield None
            for index in self.parts[step]:
                while index != self.parts[step][0] and not next(self.words):
                    yield None
                yield step, index
        while True:
            yield None

    def drive(self) -> None:
        before, shown, self.next = self.shown, self.next, next(self.go)
        self.shown = shown
        self.beginning = self.next is not None and self.next[1] == self.parts[self.next[0]][0]
        last = shown is not None and shown[1] == self.parts[shown[0]][-1]
        self.pins["load__valid"].put(int(shown is not None))
        self.pins["load__last"].put(int(last))
        self.pins["move"].put(self.moves[shown[1]] if shown else self.bench.rng.choice(self.moves))
        word = self.data[before[0]][before[1]] if before else self.bench.rng.getrandbits(self.noise)
        self.pins["load__data"].put(word)
        self.pins["load__nonzero"].put(pack(map(bool, unpack(word, self.bits, self.lanes)), 1))
        if last:
            self.loaded.append(self.bench.now)

    def sample(self) -> None:
        self.begun += int(self.beginning)
        self.released += self.releases.get()


class Drains:
    """Plays the splice: a step is drained some cycles after its last tag. Watches ``releases``."""

    def __init__(self, bench: Bench, tags: Sink, loader: Loader, leads: list[int], delay: int) -> None:
        self.bench, self.tags, self.loader, self.leads, self.delay = bench, tags, loader, leads, delay
        self.drained = bench.input("drained")
        self.due: deque[int] = deque()
        self.times: list[int] = []
        self.started, self.ended = 0, 0  # steps, by their tags
        self.seen, self.begun = 0, 0

    def drive(self) -> None:
        for item in self.tags.items[self.seen :]:
            if self.started == self.ended:
                self.started += 1
            if item[3]:
                self.ended += 1
                self.due.append(self.bench.now + self.bench.rng.randint(0, self.delay))
        self.seen = len(self.tags.items)
        pulse = bool(self.due) and self.due[0] <= self.bench.now
        self.drained.put(int(pulse))
        if pulse:
            self.due.popleft()
            self.times.append(self.bench.now)
        self.begun = self.loader.begun

    def sample(self) -> None:
        # A step's bank is released when its last row group is taken: after the reads before it, and before its own.
        taken = sum(self.seen >= lead for lead in self.leads[: len(self.loader.loaded)])
        assert self.ended <= self.loader.released <= taken, f"cycle {self.bench.now}: a step's release is wrong"
        assert self.started - len(self.times) <= 2, f"cycle {self.bench.now}: a third step is in flight"


def start(bench: Bench, case: Case, load: str, macro: str, tag: str) -> tuple[Loader, Sink, Sink, Drains, list[int]]:
    """All agents, for fresh windows; also the number of tags of each step."""
    p = case.parameters
    windows, kinds = step_values(bench, p, STEPS)
    requests, tags, counts, leads = [], [], [], []
    for window in windows.tolist():
        own, own_tags, lead = step_reads(case, window)
        leads.append(len(tags) + lead)
        requests += own
        tags += own_tags
        counts.append(len(own_tags))
    engine = p.engines[case.array]
    layouts = request_layout(engine), tag_layout(engine.slots_used, engine.planes, engine.driven_bits)

    def request_of(raw: int) -> tuple[Any, ...]:
        o = fields(layouts[0], raw)
        return o["wordlines"], o["column_group"]

    def tag_of(raw: int) -> tuple[Any, ...]:
        o = fields(layouts[1], raw)
        read = (None, None, None) if o["none"] else (o["slot"], o["plane"], o["driven"])
        return (*read, o["last"], o["none"])

    loader = bench.add(Loader(bench, case, windows, kinds, bench.pace(load), bench.pace(load)))
    asked = bench.add(Sink(bench, "crossbar__request", requests, bench.pace(macro), request_of))
    told = bench.add(Sink(bench, "tag", tags, bench.pace(tag), tag_of))
    drains = bench.add(Drains(bench, told, loader, leads, 0 if tag == "never" else 90))
    return loader, asked, told, drains, counts


def check_times(loader: Loader, asked: Sink, told: Sink, drains: Drains, counts: list[int]) -> None:
    """At full speed a step's reads are in consecutive cycles and begin as early as they may."""
    end, want = -1, []
    for step, count in enumerate(counts):
        drained = drains.times[step - 2] if step >= 2 else -1
        first = max(end + 1, loader.loaded[step] + LOAD_TO_TAG, drained + 1)
        end = first + count - 1
        want += range(first, end + 1)
    assert told.times == want, "a bubble between tags"
    reads = [time + 2 for time, tag in zip(told.times, told.items, strict=True) if not tag[4]]
    assert asked.times == reads, "requests do not follow their tags"


@cocotb.test(timeout_time=3, timeout_unit="ms")
@every_case(
    (("load", "macro", "tag"), [("never", "never", "never"),
                                ("mostly", "never", "never"),
                                ("never", "mostly", "never"),
                                ("never", "half", "half")]),
)  # fmt: skip
async def reads_what_drives(dut: Any, case_name: str, load: str, macro: str, tag: str) -> None:
    """Requests and tags in the documented order."""
    bench, case = Bench(dut, case_name), present_case(case_name)
    await bench.reset(*INPUTS)
    loader, asked, told, drains, counts = start(bench, case, load, macro, tag)
    await bench.finish(asked, told)
    assert drains.ended == STEPS and not bench.output("left").get()
    if macro == tag == "never":
        check_times(loader, asked, told, drains, counts)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@every_case()
async def forgets_at_reset(dut: Any, case_name: str) -> None:
    """A reset in the middle of a load, of a read, of a stall; then all from the beginning."""
    bench, case = Bench(dut, case_name), present_case(case_name)
    for macro in ("never", "mostly", "half", "never"):
        await bench.reset(*INPUTS)
        start(bench, case, "never", macro, "half")
        await bench.cycles(bench.rng.randint(5, 150))
    await bench.reset(*INPUTS)
    _, asked, told, drains, _ = start(bench, case, "half", "never", "half")
    await bench.finish(asked, told)
    assert drains.ended == STEPS
