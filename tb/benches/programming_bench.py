"""Runs inside the simulator: the programmer against macros of which some cells are stuck, weak or slow."""

from collections.abc import Iterator
from typing import Any

import cocotb

from selvage.hw.shell.programming import ProgrammingParameters, cell_image, table_image
from selvage.hw.shell.registers import Code
from tb.benches.bench_run import told
from tb.benches.component_bench import Bench, Sink, Source, pack, unpack

PARAMETERS = ProgrammingParameters(**told())


ANSWER = 2  # cycles from ``go`` to ``done`` at full speed


class Macro:
    """Levels of one macro's cells, and what is wrong with them.

    ``stuck``: (row, column) to level; ``weak``: to the writes that it needs.
    """

    def __init__(self, bench: Bench) -> None:
        p = PARAMETERS
        self.levels = [[bench.rng.randrange(2**p.cell_bits) for _ in range(p.columns)] for _ in range(p.rows)]
        self.stuck: dict[tuple[int, int], int] = {}
        self.weak: dict[tuple[int, int], int] = {}
        self.writes = [0] * p.rows

    def write(self, row: int, levels: list[int]) -> None:
        self.writes[row] += 1
        for column, level in enumerate(levels):
            if self.writes[row] >= self.weak.get((row, column), 1):
                self.levels[row][column] = self.stuck.get((row, column), level)


class Control:
    """What carries the control to the macros: an answer comes when it likes."""

    def __init__(self, bench: Bench, macros: list[Macro], answers: Iterator[bool]) -> None:
        self.bench, self.macros, self.answers = bench, macros, answers
        self.pins = {name: bench.output(f"control__{name}") for name in ("go", "macro", "row", "levels", "write")}
        self.done, self.cells = bench.input("control__done"), bench.input("control__cells")
        self.asked: tuple[int, ...] | None = None
        self.since = 0
        self.answered = False

    def drive(self) -> None:
        due = self.asked is not None and self.bench.now - self.since >= ANSWER
        self.answered = due and next(self.answers)
        cells = self.bench.rng.getrandbits(PARAMETERS.width)
        if self.answered and self.asked:
            macro, row, levels, write = self.asked
            if write:
                self.macros[macro].write(row, unpack(levels, PARAMETERS.cell_bits, PARAMETERS.columns))
            else:
                cells = pack(self.macros[macro].levels[row], PARAMETERS.cell_bits)
        self.cells.put(cells)
        self.done.put(int(self.answered))

    def sample(self) -> None:
        shown = tuple(self.pins[name].get() for name in ("macro", "row", "levels", "write"))
        if self.asked is not None:
            assert shown == self.asked, "what is asked stays until it is answered"
            assert not self.pins["go"].get(), "one request at a time"
        if self.answered:
            self.asked = None
        elif self.pins["go"].get():
            self.asked, self.since = shown, self.bench.now


class Table:
    """What is written to the tables; ``words`` are of the last load, None where none was written."""

    def __init__(self, bench: Bench) -> None:
        self.pins = [bench.output(f"table__{name}") for name in ("write", "address", "data")]
        self.words: list[int | None] = [None] * PARAMETERS.tables

    def drive(self) -> None:
        pass

    def sample(self) -> None:
        write, address, data = self.pins
        if write.get():
            assert self.words[address.get()] is None, "written twice"
            self.words[address.get()] = data.get()


class Load:
    """A bench with macros and an image source, ready for one load after the other."""

    def __init__(self, dut: Any, pace: str = "never") -> None:
        self.bench = Bench(dut)
        self.pace, self.p = pace, PARAMETERS
        self.cells: list[list[list[int]]] = []
        self.macros: list[Macro] = []
        self.cycles = 0

    async def reset(self, retries: int = 2, tolerated: int = 0) -> None:
        bench = self.bench
        names = ("begin", "abort", "image__valid", "failed__ready", "tables")
        await bench.reset(*names, "control__done")
        bench.input("retries").put(retries)
        bench.input("tolerated").put(tolerated)
        self.macros = [Macro(bench) for _ in range(self.p.macros)]
        bench.add(Control(bench, self.macros, bench.pace(self.pace)))
        self.table = bench.add(Table(bench))

    def draw(self) -> list[int]:
        """Random cells; their image."""
        p, rng = self.p, self.bench.rng
        self.cells = [
            [[rng.randrange(2**p.cell_bits) for _ in range(p.columns)] for _ in range(p.rows)] for _ in range(p.macros)
        ]
        for macro in self.macros:
            macro.writes = [0] * p.rows
        return cell_image(p, self.cells)

    def draw_table(self) -> list[int]:
        """Random tables; their image."""
        self.words = [self.bench.rng.getrandbits(32) for _ in range(self.p.tables)]
        self.table.words = [None] * self.p.tables
        return table_image(self.p, self.words)

    async def load(
        self, words: list[int], abort_at: int = -1, stop_at: int = -1, *, tables: bool = False
    ) -> Code | None:
        """Give ``words``, the last one marked; the verdict. None after ``stop_at`` cycles without one."""
        bench = self.bench
        for value in (1, 0):  # the kind is told with ``begin`` alone
            bench.input("begin").put(value)
            bench.input("tables").put(value ^ (not tables))
            await bench.cycles(value)
        marked = [word | (k == len(words) - 1) << 32 for k, word in enumerate(words)]
        source = bench.add(Source(bench, "image", marked, bench.pace(self.pace)))
        busy, done, code = (bench.output(name) for name in ("busy", "done", "code"))
        begun, verdict = bench.now, None
        while verdict is None and bench.now - begun != stop_at:
            assert bench.now - begun < 100_000, "the programmer hangs"
            assert busy.get()
            bench.input("abort").put(int(bench.now - begun == abort_at))
            await bench.cycles(1)
            if done.get():
                verdict, self.cycles = Code(code.get()), bench.now - begun
        bench.agents.remove(source)
        bench.input("image__valid").put(0)
        await bench.cycles(1)
        assert verdict is None or not busy.get()
        return verdict

    def expected_failures(self) -> list[tuple[int, int, int, int, int]]:
        """(macro, row, column, wanted, found) in order."""
        rows = range(self.p.rows)
        return [
            (k, row, column, wanted, found)
            for k, macro in enumerate(self.macros)
            for row in rows
            for column, (wanted, found) in enumerate(zip(self.cells[k][row], macro.levels[row], strict=True))
            if wanted != found
        ]

    def check_written(self) -> None:
        assert [macro.levels for macro in self.macros] == self.cells
        assert all(macro.writes == [1] * self.p.rows for macro in self.macros)

    async def failures(self, count: int) -> list[tuple[int, ...]]:
        """Failed cells as the host sees them."""
        bench = self.bench

        def decode(raw: int) -> tuple[int, ...]:
            row, column, macro = (raw >> k & 0xFFFF for k in (0, 16, 32))
            return macro, row, column, raw >> 48 & 0xFF, raw >> 56

        sink = bench.add(Sink(bench, "failed", self.expected_failures()[:count], bench.pace(self.pace), decode))
        await bench.finish(sink)
        bench.agents.remove(sink)
        bench.input("failed__ready").put(0)
        return sink.items


@cocotb.test(timeout_time=600, timeout_unit="us")
@cocotb.parametrize(pace=["never", "half", "mostly"])
async def whole(dut: Any, pace: str) -> None:
    """Good images one after the other; at full speed in the cycles that docs/shell.md says."""
    load = Load(dut, pace)
    await load.reset()
    for _ in range(3):
        assert await load.load(load.draw()) == Code.NONE
        load.check_written()
        assert load.bench.output("failed_count").get() == 0
        if pace == "never":
            p = load.p
            assert load.cycles == 3 + p.macros * p.rows * (p.row_words + 3 + 2 * ANSWER) + 1


@cocotb.test(timeout_time=600, timeout_unit="us")
@cocotb.parametrize(pace=["never", "half"])
async def faults(dut: Any, pace: str) -> None:
    """Stuck cells are told, weak ones get their further writes; the bound decides; the next load forgets."""
    load = Load(dut, pace)
    rng, p = load.bench.rng, load.p
    for tolerated in (0, 1000):
        await load.reset(retries=2, tolerated=tolerated)
        image = load.draw()
        for k, macro in enumerate(load.macros):
            for column in range(0, p.columns, 3):
                row = rng.randrange(p.rows)
                macro.stuck[row, column] = load.cells[k][row][column] ^ 1
            for column in range(1, p.columns, 5):
                if (place := (rng.randrange(p.rows), column)) not in macro.stuck:
                    macro.weak[place] = 3
                    macro.levels[place[0]][column] = load.cells[k][place[0]][column] ^ 1
        verdict = await load.load(image)
        expected = load.expected_failures()
        assert expected and verdict == (Code.NONE if tolerated else Code.CELLS)
        assert load.bench.output("failed_count").get() == len(expected)
        assert not any((row, column) in load.macros[k].weak for k, row, column, *_ in expected)
        bad = {(k, row) for k, row, *_ in expected} | {(k, row) for k, m in enumerate(load.macros) for row, _ in m.weak}
        for k, macro in enumerate(load.macros):
            assert macro.writes == [3 if (k, row) in bad else 1 for row in range(p.rows)]
        if not tolerated:
            assert len(await load.failures(p.kept)) == min(p.kept, len(expected))
        for macro in load.macros:
            macro.stuck, macro.weak = {}, {}
        assert await load.load(load.draw()) == Code.NONE
        load.check_written()
        assert not load.bench.output("failed__valid").get()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def bad_images(dut: Any) -> None:
    """Truncated, too long, corrupted, of another chip: each refused with its code, and the next load is good."""
    load = Load(dut, "half")
    await load.reset()
    rng, head = load.bench.rng, len(PARAMETERS.header)
    lengths = sorted(
        {1, 2, head, head + 1, *(rng.randrange(1, len(load.draw())) for _ in range(4)), len(load.draw()) - 1}
    )
    for length in lengths:
        assert await load.load(load.draw()[:length]) == Code.TRUNCATED, length
    for more in (1, 7):
        assert await load.load(load.draw() + [rng.getrandbits(32) for _ in range(more)]) == Code.TOO_LONG
    for _ in range(6):
        image = load.draw()
        image[rng.randrange(head, len(image))] ^= 1 << rng.randrange(32)
        assert await load.load(image) == Code.CHECKSUM
    for k in range(head):
        image = load.draw()
        image[k] ^= 1 << rng.randrange(32)
        assert await load.load(image) == Code.HEADER
        assert not any(sum(macro.writes) for macro in load.macros)
    assert await load.load(load.draw()) == Code.NONE
    load.check_written()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def stopped(dut: Any) -> None:
    """Aborted or reset anywhere in a load; the next one is good."""
    load = Load(dut, "half")
    await load.reset()
    rng = load.bench.rng
    for _ in range(8):
        at = rng.randrange(60)
        verdict = await load.load(load.draw(), abort_at=at)
        assert verdict == (Code.ABORTED if load.cycles > at else Code.NONE)
        assert await load.load(load.draw()) == Code.NONE
        load.check_written()
    for _ in range(5):
        await load.load(load.draw(), stop_at=rng.randrange(1, 60))
        await load.reset()
        assert await load.load(load.draw()) == Code.NONE
        load.check_written()


@cocotb.test(timeout_time=600, timeout_unit="us")
async def tables(dut: Any) -> None:
    """Every word at its address and no cell touched; bad images with their codes; cells between."""
    load = Load(dut)
    await load.reset()
    rng, head, size = load.bench.rng, len(PARAMETERS.header), PARAMETERS.tables

    async def good() -> None:
        assert await load.load(load.draw_table(), tables=True) == Code.NONE
        assert load.table.words == load.words
        if load.pace == "never":
            assert load.cycles == 3 + size + 1

    await good()
    load.pace = "half"
    lengths = {1, head, *(rng.randrange(1, head + size + 1) for _ in range(4)), head + size}
    for length in sorted(lengths):
        assert await load.load(load.draw_table()[:length], tables=True) == Code.TRUNCATED, length
        written = max(0, length - head)
        assert load.table.words == load.words[:written] + [None] * (size - written)
    assert await load.load([*load.draw_table(), 0], tables=True) == Code.TOO_LONG
    for k in (*range(head), *(rng.randrange(head, head + size + 1) for _ in range(4))):
        image = load.draw_table()
        image[k] ^= 1 << rng.randrange(32)
        assert await load.load(image, tables=True) == (Code.HEADER if k < head else Code.CHECKSUM)
        assert k >= head or load.table.words == [None] * size
    assert await load.load(load.draw(), tables=True) == Code.HEADER
    assert not any(sum(macro.writes) for macro in load.macros)
    assert await load.load(load.draw_table()) == Code.HEADER
    assert load.table.words == [None] * size
    assert await load.load(load.draw_table(), abort_at=rng.randrange(size + 2), tables=True) == Code.ABORTED
    assert await load.load(load.draw()) == Code.NONE
    load.check_written()
    load.pace = "never"
    await good()
