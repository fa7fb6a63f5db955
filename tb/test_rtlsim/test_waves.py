"""The GTKWave save file: every signal it names is in the tile's Verilog, as wide as it says."""

import re
from pathlib import Path

import numpy as np
import pytest

from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.tile import Tile
from selvage.mapping.dense import place_dense
from selvage.rtlsim.waves import TILE, write_save_file
from selvage.verilog.convert import convert
from selvage.verilog.emission import NAME

LAYER = Layer(op="conv", channels=5, outputs=4, height=6, width=7, kernel=(3, 2), stride=(2, 1))
INSTANCE = re.compile(rf"^  ({NAME}) +({NAME}) \($", re.MULTILINE)
SIGNAL = re.compile(
    rf"^  (?:(?:input|output) )?(?:wire|reg)(?: \[(\d+):0\])? ({NAME})(?: ?\[[^\]]*\])?[;,]?$", re.MULTILINE
)


def signals(text: str) -> dict[str, int]:
    """Widths of all signals below module ``tile``, by path."""
    bodies = re.split(r"^module ", text, flags=re.MULTILINE)[1:]
    modules = {body.split(" ", 1)[0]: body for body in bodies}
    widths: dict[str, int] = {}

    def walk(module: str, path: str) -> None:
        for high, name in SIGNAL.findall(modules[module]):
            widths[f"{path}{name.strip()}"] = int(high or 0) + 1
        for of, name in INSTANCE.findall(modules[module]):
            walk(of.strip(), f"{path}{name.strip()}.")

    walk("tile", "")
    return widths


def named(save: Path) -> list[tuple[str, int]]:
    """Signals of the save file and their widths."""
    names = re.findall(rf"(?<![\w.]){re.escape(TILE)}\.([\w.]+)(?:\[(\d+):0\])?", save.read_text())
    return [(name, int(high or 0) + 1) for name, high in names]


@pytest.mark.parametrize(("chip", "arrays"), [("tiny", 8), ("ou9x8", 4)])
def test_every_signal_of_the_save_file_exists(chip: str, arrays: int, tmp_path: Path) -> None:
    there = load_chip(chip).model_copy(update={"arrays_per_tile": arrays})
    weights = np.random.default_rng(1).integers(-3, 4, LAYER.weight_shape)
    placed = place_dense(LAYER, weights, there, input_format=InputFormat(raw_bits=4, raw_signed=True))
    p = TileParameters(placed, placed.tiles[0])
    assert chip != "tiny" or len(p.tile.readers) > 1, "some signals have a bit for each reader"
    tile = Tile(p)
    widths = signals(convert(tile, "tile", tile.library.components))
    save = write_save_file(p, tmp_path / "tile.fst", 100)
    found = named(save)
    assert len(found) > 20
    wrong = {name: (width, widths.get(name)) for name, width in found if widths.get(name) != width}
    assert not wrong, "signals the file and the Verilog's widths differ in"
    check_neighbours(save)


def check_neighbours(save: Path) -> None:
    """Each file is named as it lies beside the save file, which names itself: then the folder may be moved. A window of
    1000 pixels shows the whole run, for a zoom of -n shows 2 ** n picoseconds in 200 of them."""
    lines = save.read_text().splitlines()
    files = [line.split()[1].strip('"') for line in lines if line.startswith(("[dumpfile]", "[savefile]", "^1"))]
    assert files[:2] == [save.name, "tile.fst"]
    assert {*files[2:]} == {"engine_states.txt", "buffer_states.txt"} and not any("/" in name for name in files)
    assert all((save.parent / name).is_file() for name in files[2:])
    (zoom,) = (line[1:].split() for line in lines if line.startswith("*"))
    assert round(2 ** -float(zoom[0]) * 5) == 100 * 10 * 1000 and set(zoom[1:]) == {"-1"}
