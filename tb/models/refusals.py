"""How files that are too large or hostile must be refused, and archives as large as they say."""

import io
import signal
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from selvage.base.errors import InputError

LITTLE = 4 * 2**20  # bytes that are taken to refuse a file
LAYER = 'op = "conv"\nchannels = 4\noutputs = 3\nheight = 4\nwidth = 4\nweights = "w.npz"\n'
GOOD = np.ones((3, 4, 1, 1))


@contextmanager
def refused(message: str) -> Iterator[None]:
    """`InputError` of one line that holds ``message``, for which little memory is taken and nothing is waited for."""

    def waited(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(120)
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert peak < LITTLE


def npy(shape: tuple[int, ...], kind: str = "<f8", content: bytes = b"") -> bytes:
    """The .npy file that says so."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_2_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + content


def layer(folder: Path, members: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> str:
    """A layer whose weights are these members of an archive."""
    with zipfile.ZipFile(folder / "w.npz", "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    (folder / "net.toml").write_text(LAYER)
    return str(folder / "net.toml")
