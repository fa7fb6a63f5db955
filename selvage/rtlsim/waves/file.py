"""Waves read again: what every component showed, event by event, sampled as the next register would see it."""

import contextlib
import math
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.rtlsim.job import PERIOD
from selvage.rtlsim.waves.signals import SIGNED

Values = NDArray[Any]
TICKS = 1000  # of the simulator in a nanosecond
TRANSFER, REFUSED = 3, 2  # valid and ready, valid alone
UNKNOWN = -(2**62)  # in the place of a value with an X; no signal has it
MAGIC = b"\x00\x00\x00\x00\x00\x00\x00\x01\x49"  # how an FST begins: its header block and that block's length
HEADER, ENDIAN = 330, 25  # bytes of the header, and where Euler's number tells the order of bytes
KINDS = range(9)  # of blocks (GTKWave's fstapi.h)


@dataclass(frozen=True)
class Events:
    """Events of one kind in the order of time: in which cycles, and each field's values then."""

    cycles: NDArray[np.int64]
    fields: dict[str, Values]

    def of_step(self, step: int, name: str = "step") -> "Events":
        """Return the events of one step."""
        return self.where(self.fields[name] == step)

    def where(self, chosen: NDArray[np.bool_]) -> "Events":
        """Return the events that are ``chosen``."""
        return Events(self.cycles[chosen], {name: values[chosen] for name, values in self.fields.items()})

    def __len__(self) -> int:
        return len(self.cycles)


class WaveFile:
    """An FST that `rtlsim.waves.monitor` has dumped. `InputError`: a file of another kind, or one that is cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found = _variables(path)
        self.top = next(iter(found), "").split(".")[0]  # the bench
        self._vars = {name.split(".", 1)[-1]: var for name, var in found.items()}
        for name in ("clk", "rst", "origin", "digest"):
            if name not in self._vars:
                raise InputError(f"waves {path} are not of a tile that selvage simulated: there is no {name!r} in them")
        self._known: dict[str, tuple[NDArray[np.int64], Values]] = {}

    @cached_property
    def digest(self) -> str:
        """The first letters of the fingerprint of the design that was simulated."""
        found = self._changes("digest")[1]
        number = int(found[0]) if len(found) else 0
        return number.to_bytes(-(-number.bit_length() // 8), "big").decode("ascii", "replace")

    @cached_property
    def _edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Times of the rising edges outside of resets, and the cycles that they end."""
        times, levels = self._changes("clk")
        rising = times[levels == 1]
        origins, origin = self._changes("origin")
        known = [(int(at), int(value)) for at, value in zip(origins, origin, strict=True) if value > 0]
        if not known or not len(rising):
            raise InputError(f"waves {self.path} hold no cycle after a reset")
        cycles = (rising - known[-1][1] * TICKS) // (PERIOD * TICKS)
        inside = (self._at("rst", rising) == 0) & (cycles >= 0)
        return rising[inside], cycles[inside]

    @property
    def cycles(self) -> NDArray[np.int64]:
        """The cycles in the window, in order."""
        return self._edges[1]

    @property
    def every_name(self) -> list[str]:
        """The names of all signals."""
        return list(self._vars)

    def names(self, scope: str) -> list[str]:
        """Return the signals of a scope."""
        return [name.split(".", 1)[1] for name in self._vars if name.startswith(f"{scope}.")]

    def events(self, scope: str, strobe: str, fields: Sequence[str], *, high: int = 1) -> Events:
        """Return the events of a scope: the cycles in which ``strobe`` is ``high``, with ``fields`` in these cycles."""
        times, cycles = self._edges
        there = np.flatnonzero(self._at(f"{scope}.{strobe}", times) == high)
        at = times[there]
        return Events(cycles[there], {name: self._at(f"{scope}.{name}", at) for name in fields})

    def levels(self, name: str) -> Values:
        """Return a signal's value in each of `cycles`."""
        return self._at(name, self._edges[0])

    def width(self, name: str) -> int:
        """Return the bits of a signal. `InputError`: there is none of that name."""
        if name not in self._vars:
            raise InputError(f"waves {self.path} are of another design: there is no {name!r} in them")
        return self._vars[name].bitwidth

    def last(self, name: str) -> int:
        """Return the value of a signal in the last cycle."""
        return int(self._at(name, self._edges[0][-1:])[0])

    def since(self, name: str) -> int:
        """Return the cycle from which on a signal has the value that it has in the last one."""
        times, cycles = self._edges
        values = self._at(name, times)
        changed = np.flatnonzero(values[1:] != values[:-1])
        return int(cycles[changed[-1] + 1] if len(changed) else cycles[0])

    def _at(self, name: str, times: NDArray[np.int64]) -> Values:
        """Return the values just before ``times``."""
        changes, values = self._changes(name)
        index = np.searchsorted(changes, times, side="left") - 1
        if not len(values):
            return np.full(len(times), UNKNOWN)
        found = values[np.maximum(index, 0)]
        return np.where(index < 0, UNKNOWN, found) if (index < 0).any() else found

    def _changes(self, name: str) -> tuple[NDArray[np.int64], Values]:
        if name not in self._known:
            if name not in self._vars:
                raise InputError(f"waves {self.path} are of another design: there is no {name!r} in them")
            with _reading(self.path):
                self._known[name] = _arrays(self._vars[name])
        return self._known[name]


def _arrays(var: Any) -> tuple[NDArray[np.int64], Values]:
    """Return times and values of a variable's changes; X is `UNKNOWN`."""
    changes = var.tv
    times = np.fromiter((time for time, _ in changes), np.int64, len(changes))
    values = [UNKNOWN if isinstance(value, str) else value for _, value in changes]
    wide = any(abs(value) >= 2**62 for value in values if value != UNKNOWN)
    return times, np.array(values, object if wide else np.int64)


def signed(values: Values, width: int, radix: str) -> Values:
    """Return unsigned values of a signal as two's complements where it is signed."""
    if radix != SIGNED:
        return values
    return np.where(values == UNKNOWN, UNKNOWN, values - ((values >> width - 1 & 1) << width))


def _variables(path: Path) -> dict[str, Any]:
    """Return the variables of an FST by name; of the same net under several names each."""
    try:
        with path.open("rb") as file:
            whole = _chained(file)
    except OSError as error:
        raise InputError(f"waves {path} cannot be read: {error.strerror}") from None
    if whole is None:
        raise InputError(f"waves {path} are no FST")
    if not whole:
        raise InputError(f"waves {path} are cut or damaged")
    import pywellen

    with _reading(path):
        return {str(var.full_name): var for var in pywellen.Waveform(str(path)).all_vars()}  # pyright: ignore[reportAttributeAccessIssue]


def _chained(file: BinaryIO) -> bool | None:
    """Return whether an FST is a chain of whole blocks from its header to its end; None where it is no FST.

    A block is its kind, the length of what follows in eight bytes, which count themselves, and that. The library
    that reads it trusts these lengths.
    """
    start = file.read(HEADER)
    if start[: len(MAGIC)] != MAGIC:
        return None
    size = file.seek(0, os.SEEK_END)
    if start[ENDIAN : ENDIAN + 8] != struct.pack("<d", math.e):
        return False
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(9)
        if len(head) < 9 or head[0] not in KINDS:
            return False
        length = int.from_bytes(head[1:], "big")
        at += 1 + length
        if length < 8:
            return False
    return at == size


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise `InputError` where the library fails, be it by a panic, which is no Exception and writes by itself."""
    with tempfile.TemporaryFile() as sink:
        kept = os.dup(2)
        try:
            os.dup2(sink.fileno(), 2)
            yield
        except (KeyboardInterrupt, SystemExit, InputError):
            raise
        except BaseException:
            raise InputError(f"waves {path} are cut or damaged") from None
        finally:
            os.dup2(kept, 2)
            os.close(kept)
