"""Words for masks and numbers as they stand in waves."""

from selvage.rtlsim.waves.file import UNKNOWN


def masked(value: int, width: int) -> int:
    """Return a number as the unsigned value of so many bits."""
    return value & 2**width - 1


def rows_of_mask(mask: int) -> str:
    """Return which bits of a mask are set, runs of them by their ends."""
    if mask < 0:
        return "X"
    rows = [k for k in range(mask.bit_length()) if mask >> k & 1]
    runs: list[list[int]] = []
    for row in rows:
        if runs and row == runs[-1][1] + 1:
            runs[-1][1] = row
        else:
            runs.append([row, row])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in runs) or "none"


def two_complement(value: int, width: int) -> int:
    """Return an unsigned value of so many bits as a signed number; X stays as it is."""
    return value - ((value >> width - 1 & 1) << width) if value != UNKNOWN else value
