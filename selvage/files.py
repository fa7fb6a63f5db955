"""Output files appear whole or not at all."""

import os
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spec.errors import InputError


def write_whole(path: Path, content: bytes) -> None:
    """Write beside ``path``, then rename; `InputError` when that cannot be done."""
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


def write_changed(contents: Mapping[str, bytes], out: Path) -> list[Path]:
    """Write files by their path in ``out``, each whole; what is there with the same bytes is left alone."""
    for name, content in contents.items():
        path = out / name
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content)
    return [out / name for name in contents]


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
