"""Crossbars and cycles of a 1024 x 1024 dense layer of circulant blocks, beside the same layer dense.

``python -m bench.circulant`` prints JSON: by the models, and with a small layer of each block size through RTL. What
reads need: the OU reads of the busiest array, for an array reads one a cycle.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import selvage
from bench.onnx_models import Build, saved
from bench.report import Figure, emit, figures
from selvage.api import CompiledModel
from selvage.commands.exits import leave
from selvage.compiler.circulant import circulant_asked
from selvage.rtlsim.installed import check_simulator

SIDE, SIZES = 1024, (2, 4, 8, 16, 32, 64)
SMALL = 64  # side of the layer that runs through RTL


def network(side: int, size: int, folder: Path) -> str:
    """A dense layer of blocks of ``size``, its activations half zeros as behind a ReLU."""
    random = np.random.default_rng(size)
    own = random.integers(-127, 128, (side // size, side // size, size)).astype(np.int8)
    at = np.indices((side, side))
    weights = own[at[0] // size, at[1] // size, (at[1] - at[0]) % size]
    build = Build()
    x = build.through(build.input("x", (1, side)), 0.05, 0)
    x = build.add("MatMul", x, build.weights(weights, 0.01), name="fc")
    build.output(build.through(x, 3.0, 128), rank=2)
    return saved(build.model(), folder)


def placed(path: str, side: int, size: int | None, folder: Path) -> CompiledModel:
    """The layer on the default chip, for one drawn image."""
    images = np.maximum(np.random.default_rng(1).standard_normal((1, side)), 0).astype(np.float32) * 4
    asked = circulant_asked(str(size)) if size else None
    return selvage.compile(path, "ou9x8", images=images, circulant=asked, build=str(folder / "build"))


def counted(model: CompiledModel) -> dict[str, Any]:
    """Crossbars and cycles of the layer, and the reads of its busiest array."""
    (node,) = model.placed.graph.matrices
    (own,) = model.placed.counted(node, skip=True)
    busiest = max(int(reads[0].sum(axis=1).max()) for reads in own.reads.values())
    return {
        "crossbars": own.placement.crossbars,
        "cycles": max(tile.cycles for tile in own.tiles),
        "reads_of_busiest": busiest,
    }


def main() -> int:
    check_simulator("icarus")
    found: dict[str, Any] = {}
    matching = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = network(SIDE, 64, folder)
        found["dense"] = counted(placed(path, SIDE, None, folder))
        for size in SIZES:
            found[str(size)] = counted(placed(network(SIDE, size, folder), SIDE, size, folder))
            small = placed(network(SMALL, size, folder), SMALL, size, folder).simulate(pipeline=True)
            matching += small["match"]
    sixteen = found["16"]
    crossbars = sixteen["crossbars"] / found["dense"]["crossbars"]
    cycles = sixteen["cycles"] / sixteen["reads_of_busiest"]
    targets = [
        Figure("crossbars of blocks of 16, of the dense layer's", crossbars, "<=", 1 / 12),
        Figure("cycles of blocks of 16, of what its reads need", cycles, "<=", 1.1),
        Figure("block sizes exact in RTL", matching, "==", len(SIZES)),
    ]
    figures("Circulant blocks", targets)
    emit({"benchmark": "circulant", "layers": found, "targets": [own.as_dict() for own in targets]})
    return 0 if all(own.met for own in targets) else 1


if __name__ == "__main__":
    leave(main)
