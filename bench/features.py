"""What each feature costs: a tile with it and without, on an ECP5 (`bench.synth`) and in OSU cells (`bench.gates`).

One layer on one pair of arrays of ou9x8, P and N:
* zero skipping: reads that drive nothing are left out, or not;
* bit planes (SME), every plane a block of its own; and then shifts of rows (a squeeze of three planes), over none;
* scattered outputs of patterns, over the dense mapping of the same pruned weights;
* formed OUs (dynamic), over OUs that are row groups.
Carries count as LUTs, MHz is the median of the seeds. Gates are NAND2X1 of the logic, those of the memories apart, as
memories are flip-flops in cells; ns is the whole tile's critical path.
"""

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.gates import in_cells
from bench.gates import missing as missing_for_cells
from bench.liberty import OSU, CellLibrary, load_cells
from bench.report import emit, positive, table
from bench.synth import NEXTPNR, components, implement
from selvage.base.build import build_folder
from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.tile import Tile
from selvage.mapping.dense import place_dense
from selvage.mapping.pattern import place_pattern
from selvage.mapping.placement import Placement
from selvage.mapping.sme import SmeParameters, place_sme

BUILD = build_folder("features")
LAYER = Layer(name="cells", op="conv", channels=8, outputs=16, height=6, width=6, kernel=(3, 3), pads=(1, 1, 1, 1))
FORMAT = InputFormat(raw_bits=8, raw_signed=False)
FEATURES = {  # off, on
    "zero skipping": ("dense, all read", "dense"),
    "bit planes": ("dense", "planes"),
    "shifts of planes": ("planes", "planes, squeeze 3"),
    "pattern scatter": ("dense, pruned", "pattern"),
    "formed OUs": ("dense", "dense, formed"),
}
MASKS = np.array([[1, 1, 0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0, 1, 1]]).reshape(2, 3, 3)


def designs() -> dict[str, TileParameters]:
    """By name; the first tile of each placement has the first two arrays."""
    chip = load_chip("ou9x8").model_copy(update={"arrays_per_tile": 2})
    rng = np.random.default_rng(1)
    weights = rng.integers(-255, 256, LAYER.weight_shape)
    kernels = LAYER.weight_shape[:2]
    pruned = weights * MASKS[rng.integers(2, size=kernels)] * (rng.random(kernels) < 0.6)[:, :, None, None]

    def tile(placed: Placement, *, skip: bool = True) -> TileParameters:
        return TileParameters(placed, placed.tiles[0], skip=skip, counters=False)

    def planes(squeeze: int) -> Placement:
        return place_sme(LAYER, weights, chip, input_format=FORMAT, parameters=SmeParameters(3, squeeze))[0]

    dense = place_dense(LAYER, weights, chip, input_format=FORMAT)
    return {
        "dense": tile(dense),
        "dense, all read": tile(dense, skip=False),
        "dense, formed": tile(place_dense(LAYER, weights, chip, input_format=FORMAT, dynamic=True)),
        "planes": tile(planes(0)),
        "planes, squeeze 3": tile(planes(3)),
        "dense, pruned": tile(place_dense(LAYER, pruned, chip, input_format=FORMAT)),
        "pattern": tile(place_pattern(LAYER, pruned, chip, input_format=FORMAT)),
    }


def measure(p: TileParameters, where: Path, library: CellLibrary, seeds: int) -> dict[str, Any]:
    """Both ways of one tile."""
    fpga = implement(Tile(p), where, seeds, each=False)
    flat = json.loads((where / "tile.json").read_text())["modules"]["tile"]["cells"].values()
    kinds = [cell["type"] for cell in flat]
    (counts,) = components({"tile": {"num_cells_by_type": {kind: kinds.count(kind) for kind in set(kinds)}}}).values()
    cells = in_cells(Tile(p), where / "cells", library, each=False)
    return {
        "arrays": fpga.arrays,
        **counts,
        "mhz": statistics.median(fpga.megahertz),
        "gates": round(cells.gates(memory=False)),
        "gates_of_memories": round(cells.gates(memory=True)),
        "ns": cells.path.nanoseconds,
    }


def changes(off: dict[str, Any], on: dict[str, Any]) -> dict[str, float]:
    """Share by which each figure grows."""
    return {name: on[name] / off[name] - 1 for name in off if name != "arrays" and off[name]}


def summary(library: CellLibrary, names: list[str], seeds: int) -> dict[str, Any]:
    """The table."""
    wanted, found = designs(), {}
    for name in sorted({own for feature in names for own in FEATURES[feature]}):
        # Tiles of equal structure are the same Verilog: the dense ones of other weights.
        key = (wanted[name].structure, wanted[name].skip)
        twin = next((own for own in found if (wanted[own].structure, wanted[own].skip) == key), None)
        where = BUILD / name.replace(", ", "_").replace(" ", "_")
        found[name] = found[twin] if twin else measure(wanted[name], where, library, seeds)
    rows, content = [], []
    for feature in names:
        off, on = FEATURES[feature]
        change = changes(found[off], found[on])
        content.append({"feature": feature, "off": found[off], "on": found[on], "change": change})
        rows += [(f"{feature}: {name}", *found[name].values()) for name in (off, on)]
        rows.append(("", "", *(f"{100 * change[k]:+.1f} %" if k in change else "" for k in list(found[on])[1:])))
    heads = ("", "arrays", "LUTs", "registers", "memories", "MHz", "gates", "gates of memories", "ns")
    table("Features", heads, rows)
    return {"benchmark": "features", "features": content, "designs": found}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.features", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", nargs="+", choices=FEATURES, default=list(FEATURES))
    parser.add_argument("--seeds", type=positive, default=3, help="of place and route")
    parser.add_argument("--cells", type=Path, default=OSU, help="folder of the OSU cells")
    a = parser.parse_args(argv)
    sentence = missing_for_cells(a.cells)
    if not sentence and shutil.which(NEXTPNR) is None:
        sentence = f"selvage: {NEXTPNR} is not installed: pip install {NEXTPNR}"
    if sentence:
        print(sentence, file=sys.stderr)
        return 2
    emit(summary(load_cells(a.cells), a.features, a.seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
