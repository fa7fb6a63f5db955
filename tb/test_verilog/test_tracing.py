"""Signals' names: whatever the statement, and none without a name in a whole tile."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
from amaranth import tracer

from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.tile import Tile
from selvage.mapping.dense import place_dense
from selvage.verilog.convert import convert
from selvage.verilog.tracing import get_var_name, traced

CALLS = {
    "a = made()": ["a"],
    "a = made()\n    later = a": ["a"],  # one instruction in Python 3.13
    "a, b = made(), made()": ["a", "b"],
    "a, (b, c) = [], (made(), made(\n        ))": ["b", "c"],
    "o.x, o.y = made(), made()": ["x", "y"],
    "o.first = second = made()": ["first"],
    "a: list = made()": ["a"],
    "[a := made()]": ["a"],
    "a = made() if o else made()": ["a"],
    "a = o.again(o.again(made()))": [None],
    "a = [made() for _ in range(2)]": [None, None],
    "return made()": [None],
}


@pytest.mark.parametrize("statement", CALLS)
def test_names(statement: str, tmp_path: Path) -> None:
    path = tmp_path / "source.py"
    path.write_text(f"def own(made, o):\n    {statement}\n")
    found: list[object] = []
    space: dict = {}
    exec(compile(path.read_text(), path, "exec"), space)

    class Anything:
        def again(self, value: object) -> object:
            return value

    space["own"](lambda: found.append(get_var_name(2, None)), Anything())
    assert found == CALLS[statement]


def test_every_signal_of_a_tile_has_a_name() -> None:
    layer = Layer(op="conv", channels=5, outputs=4, height=6, width=7, kernel=(3, 2), stride=(2, 1))
    weights = np.random.default_rng(1).integers(-7, 8, layer.weight_shape)
    numbers = InputFormat(raw_bits=8, raw_signed=False)
    placement = place_dense(layer, weights, load_chip("ou9x8"), input_format=numbers)
    tile = Tile(TileParameters(placement, placement.tiles[0]))
    text = convert(tile, "tile", tile.library.components)
    assert not re.findall(r"^  (?:wire|reg) .*?\\?\$(?:signal|signature)\S*", text, re.MULTILINE)


def test_amaranth_is_left_as_it_is() -> None:
    """Importing the gateware and converting it change no name of anybody else's design."""
    before = tracer.get_var_name
    importlib.import_module("selvage.hw.tile.tile")
    assert tracer.get_var_name is before
    with traced():
        assert tracer.get_var_name is get_var_name
    assert tracer.get_var_name is before and before is not get_var_name
