"""What viewers need to show a tile's waves: a GTKWave save file, and a command file for Surfer.

Both name their neighbours as they lie beside them, so the folder may be moved. Surfer's state files change with each of
its 0.x versions, and its commands are documented, so it gets commands.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from selvage.base.files import write_whole
from selvage.base.text import visible
from selvage.rtlsim.job import PERIOD
from selvage.rtlsim.waves.file import WaveFile
from selvage.rtlsim.waves.signals import BITS, HEX, SIGNED, Scope, Shown

MARKERS = 26  # of a zoom line, behind the first
# GTKWave's flags of a trace: its radix, and that values have names from a file.
RADIX = {BITS: "@28", HEX: "@22", SIGNED: "@420"}
UNSIGNED, NAMED = "@24", "@2028"
TICKS = PERIOD * 1000  # picoseconds of a cycle
RESET = 25_000  # picoseconds until the edge that ends cycle 0


def save_file(fst: Path) -> Path:
    """Return where GTKWave's save file of ``fst`` is."""
    return fst.with_suffix(".gtkw")


def command_file(fst: Path) -> Path:
    """Return where Surfer's commands for ``fst`` are."""
    return fst.with_suffix(".sucl")


def write_save_files(scopes: Sequence[Scope], fst: Path, *, marker: int | None = None) -> Path:
    """Write what viewers need to show ``scopes`` of the waves ``fst``; return GTKWave's file, which is written last.

    ``marker``: a cycle that is marked.
    """
    waves = WaveFile(fst)
    top, first, last = waves.top, int(waves.cycles[0]), int(waves.cycles[-1])
    filters = _filters(fst, scopes)
    lines = [f'[savefile] "{save_file(fst).name}"', f'[dumpfile] "{fst.name}"', f"[timestart] {first * TICKS}"]
    lines.append(_zoom(last - first, marker))
    lines += [f"{RADIX[BITS]}\n{top}.clk", f"{RADIX[BITS]}\n{top}.rst"]
    commands = [f"load_file {fst.name}", f"variable_add {top}.clk"]
    for scope in scopes:
        lines += [f"@800200\n-{visible(scope.title)}"]
        commands += [f"divider_add {visible(scope.title)}"]
        for shown in scope.signals:
            lines += _trace(f"{top}.{scope.name}", shown, filters)
            commands.append(f"variable_add {top}.{scope.name}.{shown.name}")
        lines += [f"@1000200\n-{visible(scope.title)}"]
    commands += [] if marker is None else [f"cursor_set {time_of(marker)}"]
    write_whole(command_file(fst), ("\n".join([*commands, "zoom_fit"]) + "\n").encode())
    write_whole(save_file(fst), ("\n".join(lines) + "\n").encode())
    return save_file(fst)


def time_of(cycle: int) -> int:
    """Return the time in picoseconds of the edge that ends a cycle."""
    return RESET + cycle * TICKS


def _zoom(cycles: int, marker: int | None) -> str:
    """Fit the window into 1000 pixels: minus the logarithm of the picoseconds in 200 of them; then the markers."""
    exponent = math.log2(max(1, cycles) * TICKS / 5)
    return f"*{-exponent:.6f} {-1 if marker is None else time_of(marker)}" + " -1" * MARKERS


def _trace(scope: str, shown: Shown, filters: dict[tuple, str]) -> Iterator[str]:
    name = f"{scope}.{shown.name}" + (f"[{shown.width - 1}:0]" if shown.width > 1 else "")
    if shown.names:
        yield f"{NAMED}\n^1 {filters[tuple(shown.names.items())]}\n{name}"
    else:
        yield f"{RADIX.get(shown.radix, UNSIGNED)}\n{name}"


def _filters(fst: Path, scopes: Sequence[Scope]) -> dict[tuple, str]:
    """Write a file for each set of names of values, and return the files' names."""
    found: dict[tuple, str] = {}
    for shown in (shown for scope in scopes for shown in scope.signals if shown.names):
        key = tuple(shown.names.items())
        if key not in found:
            # The same names stand beside other waves of the folder under the same name.
            path = fst.with_name(f"names_of_{'_'.join(shown.names.values()).lower().replace(' ', '-')}.txt")
            digits = f"0{shown.width}b"
            write_whole(path, "".join(f"{value:{digits}} {name}\n" for value, name in key).encode())
            found[key] = path.name
    return found
