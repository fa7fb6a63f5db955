"""A GTKWave save file: the signals one looks at first, grouped, with states by name.

It names its neighbours as they lie beside it, and says what it is called itself: GTKWave then looks for them in the
folder that the save file lies in, be it moved.
"""

import math
from pathlib import Path

from selvage.base.files import write_whole
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.steps import step_layout
from selvage.rtlsim.job import PERIOD

# State of an array's walker: {row group in hand, request at the pins}.
ENGINE_STATES = {0b00: "idle", 0b01: "last read", 0b10: "waits", 0b11: "reads"}
# State of the input buffer: {whole image written, the last step's load has begun}.
BUFFER_STATES = {0b00: "fills", 0b10: "image in", 0b01: "windows out", 0b11: "next image"}

TILE = "harness.tile"
MARKERS = 27  # of a zoom line, none of them set


def write_save_file(p: TileParameters, fst: Path, cycles: int) -> Path:
    """Write ``NAME.gtkw`` and the names of the states beside ``NAME.fst``, waves of ``cycles`` cycles.

    Return the save file, which is written last.
    """
    path = save_file(fst)
    engine = _filter(fst.with_name("engine_states.txt"), ENGINE_STATES)
    buffer = _filter(fst.with_name("buffer_states.txt"), BUFFER_STATES)
    lines = [f'[savefile] "{path.name}"', f'[dumpfile] "{fst.name}"', "[timestart] 0", _zoom(cycles)]
    lines += _input(p, buffer)
    for index in range(len(p.macros)):
        lines += _array(p, index, engine)
    lines += _output(p)
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return path


def save_file(fst: Path) -> Path:
    """Return where the save file of ``fst`` is."""
    return fst.with_suffix(".gtkw")


def _zoom(cycles: int) -> str:
    """Fit the whole run into a window of 1000 pixels: minus the logarithm of the picoseconds in 200 of them."""
    exponent = math.log2(max(1, cycles) * PERIOD * 1000 / 5)
    return f"*{-exponent:.6f}" + " -1" * MARKERS


def _filter(path: Path, names: dict[int, str]) -> str:
    """Write the names of states, and return the file's name."""
    write_whole(path, "".join(f"{value:02b} {name}\n" for value, name in names.items()).encode())
    return path.name


def _group(title: str, signals: list[str]) -> list[str]:
    return [f"@800200\n-{title}", *signals, f"@1000200\n-{title}"]


def _bits(name: str, width: int = 1) -> str:
    return f"@28\n{TILE}.{name}" if width == 1 else f"@22\n{TILE}.{name}[{width - 1}:0]"


def _state(title: str, high: str, low: str, names: str) -> str:
    """Show two bits as one signal, its values by name."""
    return f"@2028\n^1 {names}\n#{{{title}}} {TILE}.{high} {TILE}.{low}"


def _stream(prefix: str, payload: str, width: int) -> list[str]:
    return [_bits(f"{prefix}__valid"), _bits(f"{prefix}__ready"), _bits(f"{prefix}__{payload}", width)]


def _input(p: TileParameters, names: str) -> list[str]:
    inside = "input_buffer"
    step = step_layout(p.buffer)
    return _group(
        "input buffer",
        [
            _bits("clk"),
            _bits("rst"),
            *_stream("i", "payload", p.buffer.lanes * p.buffer.format.raw_bits),
            _state("buffer", f"{inside}.writer.finished", f"{inside}.gate.over", names),
            # Of the step that the generator is at, up to four ahead of the one that is loaded next.
            *(_bits(f"{inside}.steps.{axis}_quotient", step[axis].width) for axis in ("row", "column")),
            _bits(f"{inside}.begins"),
            _bits(f"{inside}.load__valid"),
            _bits(f"{inside}.load__last"),
            _bits(f"{inside}.load__data", p.buffer.lanes * p.buffer.format.bits),
        ],
    )


def _array(p: TileParameters, index: int, names: str) -> list[str]:
    macro = p.macros[index]
    reader = next(k for k, arrays in enumerate(p.tile.read_together) if index in arrays)
    walker = f"engine_{reader}.walker"
    pins = f"crossbar_{index}"
    return _group(
        f"array {index}",
        [
            _state(f"array {index}", f"{walker}.have", f"{walker}.request__valid", names),
            _bits(f"engine_{reader}.rows.pending", len(macro.groups)),
            _bits(f"{walker}.plane", max(1, (macro.planes - 1).bit_length())),
            *_stream(f"{pins}__request", "payload", macro.rows + macro.column_group_bits),
            *_stream(f"{pins}__codes", "payload", macro.ou_cols * macro.adc_bits),
        ],
    )


def _output(p: TileParameters) -> list[str]:
    values = len(p.drain.banks) * p.weights
    width = values * (p.output_width + 1) + 1
    return _group(
        "output",
        [
            _bits("splice.go", len(p.accumulators)),
            _bits("splice.beat", max(1, (p.drain.length - 1).bit_length())),
            *_stream("o", "payload", width),
        ],
    )
