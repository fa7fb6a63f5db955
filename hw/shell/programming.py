"""Programming of a design: images of cells and of tables, and the gateware that writes them.

Rows of cells are written, read back, and written again where they differ; words of tables are only written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.loadable import TableInterface, table_signature
from selvage.hw.network.crossbar_control import CrossbarControl, control_signature
from selvage.hw.shell.registers import CODE_BITS, Code

MAGIC = 0x43564C53  # the bytes SLVC
TABLE_MAGIC = 0x54564C53  # SLVT
VERSION = 1
FAILED = data.StructLayout({"row": 16, "column": 16, "macro": 16, "wanted": 8, "found": 8})


@dataclass(frozen=True)
class ProgrammingParameters:
    """Crossbars of the same size, and the loads of a design; ``kept`` failed cells are queued for the host.

    ``tables``: words that are loaded beside the cells; ``design``: 32 bits that tell which.
    """

    macros: int
    rows: int
    columns: int
    cell_bits: int
    kept: int = 64
    tables: int = 0
    design: int = 0

    def __post_init__(self) -> None:
        for name, most in (("macros", 2**16 - 1), ("rows", 2**16 - 1), ("columns", 2**16 - 1), ("cell_bits", 8)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from 1 to {most}, not {getattr(self, name)}")
        if self.kept < 2:
            raise ValueError(f"kept must be at least 2, not {self.kept}")
        for name, bits in (("tables", 24), ("design", 32)):
            if not 0 <= getattr(self, name) < 2**bits:
                raise ValueError(f"{name} must have {bits} bits, not be {getattr(self, name)}")

    @property
    def width(self) -> int:
        """Bits of a row."""
        return self.columns * self.cell_bits

    @property
    def row_words(self) -> int:
        """Words of a row in an image."""
        return -(-self.width // 32)

    @property
    def header(self) -> tuple[int, ...]:
        """First words of an image of cells."""
        return MAGIC, VERSION << 24 | self.cell_bits << 16 | self.macros, self.rows | self.columns << 16

    @property
    def table_header(self) -> tuple[int, ...]:
        """First words of an image of tables, as many as of one of cells."""
        return TABLE_MAGIC, VERSION << 24 | self.tables, self.design


def cell_image(p: ProgrammingParameters, macros: Iterable[Iterable[Sequence[int]]]) -> list[int]:
    """Return the words of an image of cells: header, rows, checksum.

    ``macros`` has the levels of each macro's rows, column 0 first; it is lowest in the first word, and each row begins
    with a new word. The checksum is the CRC-32 of the bytes before, of each word the lowest first. ValueError: the
    levels are not the design's.
    """
    words, count = list(p.header), 0
    for macro in macros:
        rows, count = list(macro), count + 1
        if len(rows) != p.rows or any(len(row) != p.columns for row in rows):
            raise ValueError(f"a macro has {p.rows} rows of {p.columns} cells")
        for row in rows:
            levels = [int(level) for level in row]
            if min(levels) < 0 or max(levels) >= 2**p.cell_bits:
                raise ValueError(f"levels are from 0 to {2**p.cell_bits - 1}")
            whole = sum(level << k * p.cell_bits for k, level in enumerate(levels))
            words += [whole >> 32 * k & 0xFFFFFFFF for k in range(p.row_words)]
    if count != p.macros:
        raise ValueError(f"there are {p.macros} macros, not {count}")
    return _closed(words)


def table_image(p: ProgrammingParameters, table: Sequence[int]) -> list[int]:
    """Return the words of an image of tables: header, words by address, checksum as of `cell_image`.

    ValueError: there are not as many words as the design has.
    """
    if len(table) != p.tables:
        raise ValueError(f"there are {p.tables} words of tables, not {len(table)}")
    return _closed([*p.table_header, *table])


def _closed(words: list[int]) -> list[int]:
    return [*words, crc32(b"".join(word.to_bytes(4, "little") for word in words))]


def image_layout() -> data.StructLayout:
    """Return the layout of a word of an image on its way to the programmer."""
    return data.StructLayout({"word": 32, "last": 1})


class Programmer(wiring.Component):
    """The programmer of cells and tables.

    It writes an image of cells row by row, verifies each row, and writes it again up to ``retries`` times; an image of
    tables it writes word by word.

    A row of W words takes W + 3 cycles and those of two answers, of a write and a read, when it takes its cells at
    once; 3 and those of two answers for each further attempt; one for each of its cells when some failed. One request
    is under way at a time. A word of tables takes a cycle.

    Members
    -------
    begin : an image follows; only while it is not ``busy``
    tables : with ``begin``, where there are tables: they follow, not cells
    abort : the load ends when what is under way has ended; high for a cycle
    image : its words, the last one marked
    retries, tolerated : attempts beyond the first; failed cells with which the load is good
    busy : between ``begin`` and ``done``
    done : high for a cycle; then ``code`` says how the load ended
    failed : the oldest failed cell, 0 where there is none; those that find the queue full are only counted
    failed_count : cells that failed
    control : of the macros; only what programs them
    table : writes to the tables, where there are some
    """

    begin: Signal
    abort: Signal
    image: stream.Interface
    retries: Signal
    tolerated: Signal
    busy: Signal
    done: Signal
    code: Signal
    failed: stream.Interface
    failed_count: Signal
    tables: Signal
    table: TableInterface
    control: CrossbarControl

    def __init__(self, parameters: ProgrammingParameters) -> None:
        self.p = p = parameters
        ports = {"control": Out(control_signature(p.macros, p.rows, p.width))}
        if p.tables:
            ports |= {"tables": In(1), "table": Out(table_signature(p.tables))}
        super().__init__(
            {
                "begin": In(1),
                "abort": In(1),
                "image": In(stream.Signature(image_layout())),
                "retries": In(8),
                "tolerated": In(16),
                "busy": Out(1),
                "done": Out(1),
                "code": Out(CODE_BITS),
                "failed": Out(stream.Signature(FAILED)),
                "failed_count": Out(32),
                **ports,
            }
        )
        self.levels = Signal(p.width)  # of the row in hand
        self.cells = Signal(p.width)  # as read back
        self.macro, self.row = Signal(range(max(2, p.macros))), Signal(range(max(2, p.rows)))
        self.word = Signal(range(max(3, p.row_words)))
        self.attempt, self.column = Signal(8), Signal(range(max(2, p.columns)))
        self.of_tables, self.entry = Signal(), Signal(range(max(2, p.tables)))
        self.take, self.aborted, self.verdict = Signal(), Signal(), Signal(CODE_BITS)

    def elaborate(self, platform: object) -> Module:
        """Build the state machine, the checksum, the row in hand and the queue of failed cells."""
        m = Module()
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(data_width=32).create()
        m.d.comb += [
            self.take.eq(self.image.valid & self.image.ready),
            crc.start.eq(self.begin),
            crc.data.eq(self.image.payload.word),
            crc.valid.eq(self.take),
        ]
        with m.If(self.abort & self.busy):
            m.d.sync += self.aborted.eq(1)
        self._port(m)
        with m.FSM() as states:
            m.d.comb += self.busy.eq(~states.ongoing("IDLE"))
            with m.State("IDLE"), m.If(self.begin):
                m.d.sync += [
                    register.eq(0) for register in (self.aborted, self.verdict, self.macro, self.row, self.word)
                ]
                m.d.sync += self.failed_count.eq(0)
                if self.p.tables:
                    m.d.sync += [self.of_tables.eq(self.tables), self.entry.eq(0)]
                m.next = "HEADER"
            self._words(m)
            if self.p.tables:
                self._table(m)
            self._attempts(m)
            with m.State("VERDICT"):
                sound: Any = crc.match_detected  # there are no stubs of amaranth.lib.crc
                found = Mux(sound, Mux(self.failed_count > self.tolerated, Code.CELLS, 0), Code.CHECKSUM)
                ended = Mux(self.verdict != 0, self.verdict, found)
                m.d.comb += self.code.eq(Mux(self.aborted | self.abort, Code.ABORTED, ended))
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m

    def _port(self, m: Module) -> None:
        """Show the row in hand to the macros, and keep the cells that come back."""
        control = self.control
        m.d.comb += [
            control.macro.eq(self.macro),
            control.row.eq(self.row),
            control.levels.eq(self.levels),
        ]
        with m.If(control.done):
            m.d.sync += self.cells.eq(control.cells)

    def _word(self, m: Module) -> None:
        """Let a word be taken in this state, unless an abort is pending."""
        m.d.comb += self.image.ready.eq(~self.aborted)
        with m.If(self.aborted):
            m.next = "VERDICT"

    def _ends(self, m: Module, code: Code) -> None:
        """End a bad image with ``code``; what is left of it is passed over."""
        m.d.sync += self.verdict.eq(code)
        with m.If(self.image.payload.last):
            m.next = "VERDICT"
        with m.Else():
            m.next = "PASS"

    def _words(self, m: Module) -> None:
        """Build the states that take words."""
        p, payload = self.p, self.image.payload
        with m.State("HEADER"):
            self._word(m)
            expected = Signal(32)
            with m.Switch(self.word):
                for k, (word, of_tables) in enumerate(zip(p.header, p.table_header, strict=True)):
                    with m.Case(k):
                        m.d.comb += expected.eq(Mux(self.of_tables, of_tables, word) if p.tables else word)
            with m.If(self.take):
                m.d.sync += self.word.eq(self.word + 1)
                with m.If(payload.word != expected):
                    self._ends(m, Code.HEADER)
                with m.Elif(payload.last):
                    self._ends(m, Code.TRUNCATED)
                with m.Elif(self.word == len(p.header) - 1):
                    m.d.sync += self.word.eq(0)
                    m.next = "ROW"
                    if p.tables:
                        with m.If(self.of_tables):
                            m.next = "TABLE"
        with m.State("ROW"):
            self._word(m)
            with m.If(self.take):
                m.d.sync += [self.word.eq(self.word + 1), self.attempt.eq(0), self.column.eq(0)]
                with m.Switch(self.word):
                    for k in range(p.row_words):
                        with m.Case(k):
                            part = self.levels[32 * k : min(p.width, 32 * k + 32)]
                            m.d.sync += part.eq(payload.word)
                with m.If(payload.last):
                    self._ends(m, Code.TRUNCATED)
                with m.Elif(self.word == p.row_words - 1):
                    m.d.sync += self.word.eq(0)
                    m.next = "WRITE"
        with m.State("CHECKSUM"):
            self._word(m)
            with m.If(self.take):
                self._ends(m, Code.TOO_LONG)
                with m.If(payload.last):
                    m.d.sync += self.verdict.eq(Code.NONE)
        with m.State("PASS"):
            self._word(m)
            with m.If(self.take & payload.last):
                m.next = "VERDICT"

    def _table(self, m: Module) -> None:
        """Build the state that takes the words of tables; each goes out in the cycle in which it is taken."""
        m.d.comb += [self.table.address.eq(self.entry), self.table.data.eq(self.image.payload.word)]
        with m.State("TABLE"):
            self._word(m)
            m.d.comb += self.table.write.eq(self.take)
            with m.If(self.take):
                m.d.sync += self.entry.eq(self.entry + 1)
                with m.If(self.image.payload.last):
                    self._ends(m, Code.TRUNCATED)
                with m.Elif(self.entry == self.p.tables - 1):
                    m.next = "CHECKSUM"

    def _attempts(self, m: Module) -> None:
        """Build the states of one row: write, read, compare, tell the failed cells."""
        p, control = self.p, self.control
        for state, write, after in (("WRITE", 1, "READ"), ("READ", 0, "COMPARE")):
            with m.State(state):
                m.d.comb += [control.go.eq(1), control.write.eq(write)]
                m.next = f"{state} ENDS"
            with m.State(f"{state} ENDS"):
                m.d.comb += control.write.eq(write)
                with m.If(control.done):
                    m.next = after
        with m.State("COMPARE"):
            m.d.sync += self.attempt.eq(self.attempt + 1)
            with m.If(self.cells == self.levels):
                self._next_row(m)
            with m.Elif((self.attempt == self.retries) | self.aborted):
                m.next = "TELL"
            with m.Else():
                m.next = "WRITE"
        kept = fifo.SyncFIFOBuffered(width=FAILED.size, depth=p.kept)
        m.submodules.failed = ResetInserter(self.begin)(kept)
        m.d.comb += [
            self.failed.payload.as_value().eq(Mux(kept.r_rdy, kept.r_data, 0)),  # a memory's register has no reset
            self.failed.valid.eq(kept.r_rdy),
            kept.r_en.eq(self.failed.ready),
        ]
        wanted, found = self.levels[: p.cell_bits], self.cells[: p.cell_bits]
        cell = Signal(FAILED)
        m.d.comb += [
            cell.row.eq(self.row),
            cell.column.eq(self.column),
            cell.macro.eq(self.macro),
            cell.wanted.eq(wanted),
            cell.found.eq(found),
            kept.w_data.eq(cell.as_value()),
        ]
        with m.State("TELL"):
            m.d.comb += kept.w_en.eq(wanted != found)
            m.d.sync += [
                self.failed_count.eq(self.failed_count + (wanted != found)),
                self.column.eq(self.column + 1),
                self.levels.eq(self.levels >> p.cell_bits),
                self.cells.eq(self.cells >> p.cell_bits),
            ]
            with m.If(self.column == p.columns - 1):
                self._next_row(m)

    def _next_row(self, m: Module) -> None:
        p = self.p
        m.next = "ROW"
        m.d.sync += self.row.eq(self.row + 1)
        with m.If(self.row == p.rows - 1):
            m.d.sync += [self.row.eq(0), self.macro.eq(self.macro + 1)]
            with m.If(self.macro == p.macros - 1):
                m.next = "CHECKSUM"
