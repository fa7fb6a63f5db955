"""Output files appear whole or not at all, and folders of them say when they are whole.

Whoever writes holds a lock, and gives a file its name when all of it is written.
"""

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.base.working import held, part_of

LISTING = "files.txt"
WAITING = ".files.txt.waiting"


def write_whole(path: Path, content: bytes) -> None:
    """Write beside ``path``, then rename, one run at a time; straight into what is no file, as /dev/stdout is not.

    `InputError` when that cannot be done.
    """
    if _is_stream(path):
        try:
            path.write_bytes(content)
        except OSError as error:
            raise InputError(f"output {path} cannot be written: {error.strerror}") from None
        return
    try:
        with held(_lock(path)):
            _write(path, content)
    except OSError as error:
        raise InputError(f"output {path} cannot be written: {error.strerror}") from None


def _write(path: Path, content: bytes) -> None:
    part = part_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"output {path} cannot be written: {error.strerror}") from None


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Hold folder ``out`` for `write_files`; where it was not there and nothing is written it is gone again.

    `InputError`: it cannot be written, or another run holds it.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(held(_lock(out / LISTING), wait=False))
            except TimeoutError:
                raise InputError(f"output {out} is being written by another run") from None
            except OSError as error:
                raise InputError(f"output {out} cannot be written: {error.strerror}") from None
            yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # something is in it
                folder.rmdir()


def write_files(groups: Iterable[Mapping[str, bytes]], out: Path) -> list[Path]:
    """Write the files of all groups, by their path in ``out``, each whole; what has the same bytes is left alone.

    One group at a time is in memory: files wait in a folder of their own until all have been made, and only then is
    what is there replaced. ``files.txt`` lists them and is written last: without it a folder is not whole. Files of an
    earlier run that this one has not are removed, and what a killed run left; others are not touched. From the first
    file that is replaced to the end ``files.txt.begun`` lists all that may be there, so that the run after a killed one
    knows them. `InputError` when a file cannot be written.
    """
    waiting, names = out / WAITING, {}
    try:
        _clear(waiting)
        for contents in groups:
            check_places(contents, out)
            names |= dict.fromkeys(contents)
            for name, content in contents.items():
                (waiting / name).unlink(missing_ok=True)
                if not _holds(out / name, content):
                    (waiting / name).parent.mkdir(parents=True, exist_ok=True)
                    (waiting / name).write_bytes(content)
        _replace(waiting, list(names), out)
    except OSError as error:
        place = str(error.filename or out).replace(f"{WAITING}/", "")
        raise InputError(f"output {place} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            _clear(waiting)
    return [out / path for path in (*names, LISTING)]


def _clear(waiting: Path) -> None:
    """Take away files that wait, be they of a run that was killed."""
    if waiting.is_symlink() or waiting.is_file():
        waiting.unlink()
    elif waiting.is_dir():
        shutil.rmtree(waiting)


def _replace(waiting: Path, names: list[str], out: Path) -> None:
    """Put the files that wait in their places, and take away what is left of an earlier run."""
    listing, begun = out / LISTING, out / f"{LISTING}.begun"
    known = {*_earlier(listing), *_earlier(begun)} - {LISTING}
    stale = sorted(known.difference(names))
    for folder in {(out / name).parent for name in (*names, *stale)}:
        check_folder(folder, f"output {folder}")
    _write(begun, lines(sorted(known.union(names))).encode())
    listing.unlink(missing_ok=True)
    for name in names:
        part_of(out / name).unlink(missing_ok=True)  # of a run that was killed
        if (waiting / name).exists():
            _put(waiting / name, out / name)
    for path in stale:
        for place in (out / path, part_of(out / path)):
            if not place.is_dir():
                place.unlink(missing_ok=True)
        _remove_empty((out / path).parent, out)
    _write(listing, lines(sorted([*names, LISTING])).encode())
    begun.unlink()


def _put(waiting: Path, path: Path) -> None:
    """Move a file to its place on the same disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting.replace(path)


def _remove_empty(folder: Path, out: Path) -> None:
    """Remove a folder below ``out`` in which nothing is left, and those above it."""
    while folder != out and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def lines(texts: Iterable[str]) -> str:
    """Return the lines, each with its end, as one text."""
    return "".join(f"{text}\n" for text in texts)


def json_text(content: Any, indent: str = "") -> str:
    """Return JSON whose objects have an entry a line; a list without objects in it is one line.

    A placement has lists of numbers by the million, which `json` writes quickly only where it need not indent.
    """
    inner = f"{indent} "
    if isinstance(content, Mapping) and content:
        parts = [f"{json.dumps(str(key))}: {json_text(value, inner)}" for key, value in content.items()]
        return f"{{\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}}}"
    if isinstance(content, list | tuple) and content and isinstance(content[0], Mapping):
        return f"[\n{inner}" + f",\n{inner}".join(json_text(value, inner) for value in content) + f"\n{indent}]"
    return json.dumps(content)


def _earlier(listing: Path) -> list[str]:
    """Return the files of the folder that a listing was written with."""
    try:
        found = listing.read_text().splitlines()
    except (OSError, ValueError):
        return []
    return [path for path in found if re.fullmatch(r"[\w-]+([./]+[\w-]+)*", path) and ".." not in path]


def _is_stream(path: Path) -> bool:
    """Return whether ``path`` is a device, a pipe or a socket, which no file may replace."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_places(names: Iterable[str], out: Path) -> None:
    """Raise `InputError` where a file cannot be: a folder in ``out`` has its name, or a file that of its folder."""
    for path in (out / name for name in names):
        if path.is_dir():
            raise InputError(f"output {path} is a directory")
        above = next(folder for folder in path.parents if folder.exists())
        if not above.is_dir():
            raise InputError(f"output {path} cannot be written: {above} is not a directory")


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def npy_bytes(array: NDArray[np.int64]) -> bytes:
    """Return the .npy file of an array."""
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def check_writable(path: Path | None) -> None:
    """Raise `InputError` before any work is done, when ``path`` cannot become a file."""
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"output {path} is a directory")
    if not _is_stream(path):
        check_folder(path.parent, f"output {path}")


def check_folder(folder: Path, what: str) -> None:
    """Raise `InputError` when no file can be made in ``folder``, or in the nearest one above that is there."""
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{what} cannot be written: {folder}: {error.strerror}") from None
