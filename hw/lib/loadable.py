"""Constants that a host loads: how they are addressed, and the registers that hold single ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from amaranth.hdl import Module, Shape, ShapeLike, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

Constants = Literal["fixed", "loaded"]
TABLE_BITS = 32  # of a word of tables, and of what has one for itself: a factor, a bias


@dataclass(frozen=True)
class TableField:
    """Numbers of one meaning: ``count`` words, every ``step``-th from ``address`` on."""

    name: str
    address: int
    step: int = 1
    count: int = 1


@dataclass(frozen=True)
class TablePart:
    """Tables of one stage.

    Attributes: ``stage``, its name; ``base``, the first address; ``words``, the values that the design starts with;
    ``fields``, with addresses that count from 0.
    """

    stage: str
    base: int
    words: tuple[int, ...]
    fields: tuple[TableField, ...]


def check_constants(constants: str) -> None:
    """Raise `ValueError` unless ``constants`` is 'fixed' or 'loaded'."""
    if constants not in ("fixed", "loaded"):
        raise ValueError(f"constants must be 'fixed' or 'loaded', not {constants!r}")


def table_word(value: int) -> int:
    """Return a signed number as a word of `TABLE_BITS` bits.

    ValueError: it needs more bits.
    """
    if not -(2 ** (TABLE_BITS - 1)) <= value < 2 ** (TABLE_BITS - 1):
        raise ValueError(f"a loaded constant must have {TABLE_BITS} bits with its sign, and {value} has more")
    return value % 2**TABLE_BITS


class TableInterface(wiring.PureInterface):
    """Port of loaded tables: members of `table_signature`."""

    write: Signal
    address: Signal
    data: Signal


def table_signature(words: int) -> wiring.Signature:
    """Return the signature of writes to ``words`` words, seen from the writer.

    A word is written in every cycle in which ``write`` is high.
    """
    address = max(1, (words - 1).bit_length())
    return wiring.Signature({"write": Out(1), "address": Out(address), "data": Out(TABLE_BITS)})


def split_table(m: Module, table: TableInterface, sizes: Sequence[int]) -> list[TableInterface]:
    """Return a write port for each part of a table; the parts follow each other and have ``sizes`` words.

    Each part counts its addresses from 0. No cycle.
    """
    base, parts = 0, []
    for k, size in enumerate(sizes):
        part = TableInterface(table_signature(size), path=(f"part_{k}",))
        write = table.write
        if base:
            write &= table.address >= base
        if k < len(sizes) - 1:
            write &= table.address < base + size
        m.d.comb += [part.write.eq(write), part.address.eq(table.address - base), part.data.eq(table.data)]
        parts.append(part)
        base += size
    return parts


def loaded_registers(
    m: Module, table: TableInterface, fields: Mapping[str, tuple[ShapeLike, int]]
) -> dict[str, Signal]:
    """Return a register for each field, by name; each is a word of the table, in order.

    ``fields`` has the shape and the first value of each. A reset leaves them alone, for a network is held in reset
    between runs.
    """
    found = {}
    for k, (name, (shape, init)) in enumerate(fields.items()):
        found[name] = register = Signal(Shape.cast(shape), init=init, reset_less=True, name=name)
        with m.If(table.write & (table.address == k)):
            m.d.sync += register.eq(table.data)
    return found
