"""Random changes of bytes, and numbers that are at the ends of what formats can say."""

from typing import Any

import numpy as np

Files = dict[str, bytes]
Rng = np.random.Generator

HUGE = (
    0,
    1,
    -1,
    2,
    7,
    255,
    256,
    4097,
    2**15,
    2**20,
    10**9,
    2**31 - 1,
    2**31,
    2**32,
    2**62,
    2**63 - 1,
    -(2**31),
    -(2**63),
)


def pick(rng: Rng, options: Any) -> Any:
    """One of a sequence."""
    return options[int(rng.integers(len(options)))]


def noise(content: bytes, rng: Rng) -> bytes:
    """Some bytes flipped, left out, put in, said twice, or the end cut."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        start = int(rng.integers(len(data)))
        stop = min(len(data), start + int(rng.integers(1, 17)))
        match int(rng.integers(7)):
            case 0:
                data[start] ^= 1 << int(rng.integers(8))
            case 1:
                data[start:stop] = rng.bytes(stop - start)
            case 2:
                del data[start:stop]
            case 3:
                data[start:start] = rng.bytes(stop - start)
            case 4:
                data[start:start] = data[start:stop] * int(rng.integers(1, 9))
            case 5:
                del data[start:]
            case 6:
                width = pick(rng, (1, 2, 4, 8))
                data[start : start + width] = (pick(rng, HUGE) % 256**width).to_bytes(
                    width, pick(rng, ("little", "big"))
                )
    return bytes(data)
