"""Arrays in .npy and .npz files: what they declare is looked at first, their numbers only when they are wanted."""

import io
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.base.limits import FILE, MEMBERS, STORED, Limit
from selvage.base.reading import open_regular, size_of
from selvage.base.text import number, shortened

UNREADABLE = (
    *(ValueError, TypeError, SyntaxError, EOFError, OverflowError, MemoryError, RecursionError),
    *(KeyError, IndexError, AttributeError, tokenize.TokenError, struct.error),
)
"""What NumPy raises at a file that holds no array, or one of Python objects."""
BROKEN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError, UnicodeError, struct.error)
"""What `zipfile` raises at an archive that is none, is encrypted, or is packed in a way that it does not know."""
WIDEST = 16
"""Bytes of one number."""
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How NumPy packs. Python unpacks the others without a bound: a few bytes become gigabytes at once."""
LONGEST_HEADER = 2**16
"""Bytes of an .npy file's header; NumPy writes some 128."""


@dataclass(frozen=True)
class Header:
    """What an .npy file says of its array, whose numbers begin at byte ``start``."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int

    @property
    def count(self) -> int:
        """Numbers of the array."""
        return prod(self.shape)

    @property
    def end(self) -> int:
        """Bytes of the whole file."""
        return self.start + self.count * self.dtype.itemsize


def read_header(file: IO[bytes]) -> Header:
    """Return the header of an .npy file that is read from its beginning.

    Raises what is in `UNREADABLE`.
    """
    start = file.read(12)
    version = tuple(start[6:8])
    if start[:6] != b"\x93NUMPY" or version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError("it does not begin as an .npy file does")
    length, size = (2, "<H") if version == (1, 0) else (4, "<I")
    (count,) = struct.unpack_from(size, start.ljust(12, b"\0"), 8)
    if count > LONGEST_HEADER:
        raise ValueError(f"its header of {count:,} bytes is too long")
    whole = start + file.read(max(0, 8 + length + count - len(start)))
    # NumPy's own reader of headers, given no more than the header.
    text = io.BytesIO(whole)
    if np.lib.format.read_magic(text) == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(text)
    else:
        # The third version is the second in UTF-8, for the names of fields, and an array of numbers has none.
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(text)
    if min(shape, default=0) < 0 or len(shape) > 32:
        raise ValueError("it has no shape that an array can have")
    if dtype.hasobject:
        raise ValueError("Object arrays are not read")
    return Header(tuple(map(int, shape)), dtype, bool(fortran), 8 + length + count)


def check_header(header: Header, what: str, limit: Limit = STORED) -> None:
    """Raise `InputError` when the array has too many numbers, or too wide ones."""
    limit.check(header.count, what)
    if header.dtype.itemsize > WIDEST:
        raise InputError(
            f"{what} holds items of {number(header.dtype.itemsize)} bytes, and numbers of at most {WIDEST} are read"
        )


def open_npy(path: str | Path, what: str) -> NDArray:
    """Return the array in an .npy file, its numbers still on disk.

    `InputError`: there is none, or one that is too large.
    """
    with open_regular(path, what) as file:
        try:
            header = read_header(file)
            present = size_of(file)
            if present < header.end:
                raise ValueError(f"it has {present:,} bytes, and its shape takes {number(header.end)}")
            check_header(header, what)
            return _mapped(file, header)
        except OSError as error:
            raise InputError(f"{what} cannot be read: {error.strerror or error}") from None
        except InputError:
            raise
        except UNREADABLE as error:
            raise InputError(f"{what} is not an .npy array of numbers: {one_line(error)}") from None


def _mapped(file: BinaryIO, header: Header) -> NDArray:
    order = "F" if header.fortran else "C"
    if not header.count or not header.dtype.itemsize:
        return np.zeros(header.shape, header.dtype, order)  # nothing can be mapped
    return np.memmap(file, header.dtype, "r", header.start, header.shape, order)


class Archive(Mapping[str, NDArray]):
    """The arrays of an .npz by name; only those that are asked for are read. `InputError`: one cannot be."""

    def __init__(self, path: str | Path, what: str) -> None:
        self.path, self.what = path, what
        with self._opened() as archive:
            infos = archive.infolist()
        names = [info.filename for info in infos]
        if any(info.compress_type not in PACKED for info in infos):
            raise InputError(f"{what} is packed in another way than NumPy packs an .npz file")
        self.members = {name.removesuffix(".npy"): name for name in names}
        if len(self.members) < len(names):
            raise InputError(f"{what} holds two arrays of one name")

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, name: object) -> bool:
        return name in self.members

    def header(self, name: str) -> Header:
        """Return the header of an array, whose numbers are not read."""
        with self._opened() as archive, archive.open(self.members[name]) as file:
            header = self._header(file)
        check_header(header, f"{self.what}: {name!r}")
        return header

    def __getitem__(self, name: str) -> NDArray:
        header = self.header(name)
        with self._opened() as archive, archive.open(self.members[name]) as file:
            try:
                content = file.read(header.end)
                if len(content) < header.end:
                    raise ValueError("it is cut short")
                file.read(1)  # the end, at which the checksum is compared
            except MemoryError as error:
                raise InputError(f"{self.what} holds an array that cannot be read: {one_line(error)}") from None
        flat = np.frombuffer(content, header.dtype, header.count, header.start)
        return flat.reshape(header.shape, order="F" if header.fortran else "C")

    def _header(self, file: IO[bytes]) -> Header:
        try:
            return read_header(file)
        except UNREADABLE as error:
            raise InputError(f"{self.what} holds an array that cannot be read: {one_line(error)}") from None

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        """Open the archive. `InputError`: it is none."""
        with open_regular(self.path, self.what) as file:
            FILE.check(size_of(file), self.what)
            try:
                MEMBERS.check(members(file), self.what)
                with zipfile.ZipFile(file) as archive:
                    yield archive
            except OSError as error:
                raise InputError(f"{self.what} cannot be read: {error.strerror or error}") from None
            except InputError:
                raise
            except (*BROKEN, *UNREADABLE) as error:
                raise InputError(f"{self.what} is not an .npz file: {one_line(error)}") from None


def declared(arrays: Mapping[str, NDArray], name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of one of some arrays; of an archive its numbers are not read."""
    array = arrays.header(name) if isinstance(arrays, Archive) else arrays[name]
    return array.shape, array.dtype


def read_npz(path: str | Path, what: str) -> Archive:
    """Return the arrays of an .npz by name."""
    return Archive(path, what)


def members(file: BinaryIO) -> int:
    """Return the most members that the directory of a zip file can hold, by the end of the file alone.

    `zipfile` takes memory for each.
    """
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - 2**16 - 22 - 20 - 56)
    file.seek(start)
    tail = file.read()
    file.seek(0)
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) < end + 22:
        raise zipfile.BadZipFile("File is not a zip file")
    (directory,) = struct.unpack_from("<I", tail, end + 12)
    if end >= 76 and tail[end - 20 : end - 16] == b"PK\6\7":
        (directory,) = struct.unpack_from("<Q", tail, end - 76 + 40)
    return directory // 46  # bytes of an entry without its name


def one_line(error: Exception) -> str:
    """Return the message of ``error`` on one line, shortened, or its name when it has none."""
    text = " ".join(str(error).split("\n\n==>")[0].split()).rstrip(".")
    return shortened(text) or type(error).__name__
