"""Verilog of a placement: one file for each distinct tile, and a JSON that names everything."""

import json
from pathlib import Path

from hw.output import output_beats
from hw.parameters import TileParameters
from hw.tile import Tile
from hw.verilog import convert
from mapping.placement import Placement
from selvage.files import check_writable, write_whole


def write_bundle(placement: Placement, out: Path, *, skip: bool) -> list[Path]:
    """Write ``tile_k.v`` and ``names.json`` to ``out``; returns the files. Same text for the same input."""
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
    for name, text in files.items():
        path = out / name
        if not path.exists() or path.read_text() != text:
            write_whole(path, text.encode())
    return [out / name for name in files]


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
        "arrays": [
            {
                "polarity": array.polarity,
                "blocks": [
                    {
                        "row": block.row,
                        "column": block.column,
                        "window": block.window.tolist(),
                        "outputs": block.outputs.tolist(),
                    }
                    for block in array.blocks
                ],
            }
            for array in p.tile.arrays
        ],
    }
