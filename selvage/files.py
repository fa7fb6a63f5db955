"""Output files appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spec.errors import InputError


def write_whole(path: Path, content: bytes) -> None:
    """Write beside ``path``, then rename, or straight into what is no file, as /dev/stdout and /dev/null are not.

    `InputError` when that cannot be done.
    """
    if _is_stream(path):
        try:
            path.write_bytes(content)
        except OSError as error:
            raise InputError(f"output {path} cannot be written: {error.strerror}") from None
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"output {path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise InputError(f"output {path} cannot be written: {error.strerror}") from None


def _is_stream(path: Path) -> bool:
    """Whether ``path`` is a device, a pipe or a socket: a file that takes its name would be no heir of it."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_places(names: Iterable[str], out: Path) -> None:
    """`InputError` where a file cannot be: a folder in ``out`` has its name, or a file that of its folder."""
    for path in (out / name for name in names):
        if path.is_dir():
            raise InputError(f"output {path} is a directory")
        above = next(own for own in path.parents if own.exists())
        if not above.is_dir():
            raise InputError(f"output {path} cannot be written: {above} is not a directory")


def write_changed(contents: Mapping[str, bytes], out: Path) -> list[Path]:
    """Write files by their path in ``out``, each whole; what is there with the same bytes is left alone. `InputError`
    before the first is written as far as that can be told (`check_places`)."""
    check_places(contents, out)
    for name, content in contents.items():
        if not _holds(out / name, content):
            write_whole(out / name, content)
    return [out / name for name in contents]


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def npy_bytes(array: NDArray[np.int64]) -> bytes:
    """The .npy file of an array."""
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def check_writable(path: Path | None) -> None:
    """`InputError` before any work is done, when ``path`` cannot become a file."""
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"output {path} is a directory")
    if not _is_stream(path):
        check_folder(path.parent, f"output {path}")


def check_folder(folder: Path, what: str) -> None:
    """`InputError` when no file can be made in ``folder``, or in the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{what} cannot be written: {folder}: {error.strerror}") from None
