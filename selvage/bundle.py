"""Verilog of a placement: one file for each distinct tile, and a JSON that names everything."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hw.output import output_beats
from hw.parameters import TileParameters
from hw.tile import Tile
from hw.verilog import convert
from mapping.placement import Placement
from mapping.placement import Tile as PlacedTile
from selvage.files import check_writable, npy_bytes, write_whole


def write_bundle(placement: Placement, weights: NDArray, out: Path, *, skip: bool) -> list[Path]:
    """Write Verilog, names and contents to ``out``; returns the files. The same bytes for the same input.

    ``tile_k.v``, one for each distinct tile; ``names.json``; ``weights.npy``, the weights that the
    placement computes with, in ONNX's layout; ``cells_k.npy``, (arrays, rows, columns), of tile k.
    """
    check_writable(out / "names.json")
    kinds: dict[tuple, str] = {}
    texts: dict[str, str] = {}
    tiles = []
    for tile in placement.tiles:
        p = TileParameters(placement, tile, skip=skip)
        if p.structure not in kinds:
            name = f"tile_{len(kinds)}"
            kinds[p.structure] = name
            component = Tile(p, prefix=f"{name}_")
            texts[name] = convert(component, name, component.library.components)
        tiles.append(_describe(p, kinds[p.structure]))
    files = {f"{name}.v": text for name, text in texts.items()}
    files["names.json"] = json.dumps(_names(placement, tiles), indent=1) + "\n"
    contents = {name: text.encode() for name, text in files.items()} | {"weights.npy": npy_bytes(weights)}
    for index, tile in enumerate(placement.tiles):
        contents[f"cells_{index}.npy"] = npy_bytes(np.stack([array.cells for array in tile.arrays]))
    for name, content in contents.items():
        path = out / name
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content)
    return [out / name for name in contents]


def _names(placement: Placement, tiles: list[dict]) -> dict:
    sweep = placement.sweep
    return {
        "layer": placement.layer.model_dump(),
        "chip": placement.chip.model_dump(),
        "schedule": placement.schedule,
        "mapping": placement.mapping,
        "steps": sweep.steps,
        "block": sweep.block,
        "crop": sweep.crop,
        "phases": sweep.phases,
        "tiles": tiles,
    }


def _describe(p: TileParameters, module: str) -> dict:
    """Of one tile: its module, what its streams carry, and where the weights lie."""
    return {
        "module": module,
        "file": f"{module}.v",
        "input": {
            "first_channel": p.tile.first_channel,
            "channels": p.tile.channels,
            "lanes": p.buffer.lanes,
            "words_per_pixel": p.buffer.words,
            "bits": p.buffer.format.raw_bits,
        },
        "output": {"bits": p.output_width, "beats": output_beats(p)},
        "arrays": describe_arrays(p.tile),
    }


def describe_arrays(tile: PlacedTile) -> list[dict]:
    """Where the weights lie in each array."""
    return [
        {
            "polarity": array.polarity,
            "slices": array.slices,
            "blocks": [
                {
                    "row": block.row,
                    "column": block.column,
                    "window": block.window.tolist(),
                    "shifts": block.shifts.tolist(),
                    "outputs": block.outputs.tolist(),
                    "significances": block.significances,
                }
                for block in array.blocks
            ],
        }
        for array in tile.arrays
    ]
