"""Opening the user's files: regular ones only, without waiting, and no larger than is accepted."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from selvage.base.errors import InputError
from selvage.base.limits import Limit

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | Path, what: str) -> BinaryIO:
    """Open the file ``path`` for reading.

    `InputError`: it cannot be read, or is none that holds bytes.
    """
    if "\0" in str(path):
        raise InputError(f"{what} cannot be read: no file's name has a zero byte")
    try:
        _check_kind(os.stat(path).st_mode, what)  # first, for to open some devices already does something
        # A FIFO that took the file's place since would keep a plain open waiting for its other end.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise InputError(f"{what} cannot be read: {error.strerror or error}") from None
    file = os.fdopen(handle, "rb")
    try:
        _check_kind(os.fstat(handle).st_mode, what)
    except InputError:
        file.close()
        raise
    return file


def _check_kind(mode: int, what: str) -> None:
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise InputError(f"{what} cannot be read: it is {kind}, and a regular file is needed")


def size_of(file: BinaryIO) -> int:
    """Return the bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_regular(path: str | Path, what: str, limit: Limit) -> bytes:
    """Return all bytes of the file ``path``.

    `InputError`: as `open_regular`, or there are more than ``limit`` allows.
    """
    with open_regular(path, what) as file:
        size = size_of(file)
        limit.check(size, what)
        try:
            content = file.read(size + 1)  # as much memory is taken, so no more is asked for; one, to see it grow
        except OSError as error:
            raise InputError(f"{what} cannot be read: {error.strerror or error}") from None
    if len(content) > size:
        raise InputError(f"{what} cannot be read: it is being written")
    return content


def beside(folder: Path, name: str, what: str) -> Path:
    """Return the file ``name`` that a file in ``folder`` asks for: inside that folder, and no link on the way.

    One rule for a layer's weights and for a model's external data: who opens a file of a stranger's reads nothing
    but what came with it. `InputError`: the name leads elsewhere.
    """
    parts = Path(name).parts
    if not parts or "\0" in name or Path(name).is_absolute() or ".." in parts:
        raise InputError(f"{what} must lie in the folder of the file that names it, or below")
    path = folder
    for part in parts:
        path = path / part
        if os.path.islink(path):  # that of a path may raise, for a name that is too long
            raise InputError(
                f"{what} is reached by a link, which may lead out of its folder: put a copy in its place "
                f"(`cp -rL {folder} COPY` makes a folder without links)"
            )
    return path
