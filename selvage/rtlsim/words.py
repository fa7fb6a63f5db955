"""Words of streams and cells as the lines of hexadecimal that `$readmemh` takes."""

import numpy as np
from numpy.typing import NDArray

from selvage.rtlsim.job import pack_words

Integers = NDArray[np.int64]


def raster_words(codes: Integers, bits: int, lanes: int) -> bytes:
    """Return maps (N, C, H, W) as words of ``lanes`` codes of a pixel, whole bytes each (`rtlsim.job.pack_words`)."""
    return pack_words(codes.transpose(0, 2, 3, 1).reshape(-1, lanes), bits)


def hex_lines(raw: bytes, bits: int) -> str:
    """Return little-endian words of ``bits`` bits in whole bytes as lines of as many digits as ``bits`` take."""
    size, digits = -(-bits // 8), -(-bits // 4)
    turned = np.frombuffer(raw, np.uint8).reshape(-1, size)[:, ::-1].tobytes()
    found = np.frombuffer(turned.hex().encode(), np.uint8).reshape(-1, 2 * size)
    lines = np.full((len(found), digits + 1), ord("\n"), np.uint8)
    lines[:, :-1] = found[:, 2 * size - digits :]
    return lines.tobytes().decode()


def lane_numbers(text: str, bits: int, lanes: int) -> Integers:
    """Return the unsigned numbers (words * lanes,) in lines of hexadecimal."""
    width = bits * lanes
    digits = -(-width // 8) * 2
    raw = bytes.fromhex("".join(line.zfill(digits) for line in text.split()))
    octets = np.frombuffer(raw, np.uint8).reshape(-1, digits // 2)[:, ::-1]
    planes = np.unpackbits(octets, axis=1, bitorder="little")[:, :width].reshape(-1, bits)
    return planes.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))
