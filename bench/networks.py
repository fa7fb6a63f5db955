"""ResNet-50 through the cycle model on every ready chip: seconds of one core, memory, and tiles of it in RTL.

Each chip is a fresh process, interpreter and imports included. Of some layers the slowest tile runs through
RTL with drawn weights: its cycles, which are the layer's, and its reads must be the model's.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.layers import weights
from bench.report import Figure, emit, figures, table
from selvage.base.build import build_folder
from selvage.base.chip import load_chip, ready_chips
from selvage.base.shapes import load_network
from selvage.commands.exits import leave
from selvage.compiler.shape_cycles import Activations, model_layer, model_network
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.rtlsim.simulate import simulate_tile
from selvage.sim.cycles import tile_cycles
from selvage.sim.machine import tile_outputs

NETWORK = "resnet50"
BUILD = build_folder("networks")
SECONDS, MEGABYTES = 10, 500
IN_RTL = (("isaac", "layer4.2.conv3"), ("ou9x8", "fc"), ("tiny", "layer4.0.conv2"))  # few cycles, Icarus serves


@dataclass(frozen=True)
class InRtl:
    """The slowest tile of a layer in RTL, and what the model says of it and of the layer."""

    chip: str
    layer: str
    tile: int
    cycles: int
    reads: int
    cycles_tile: int
    reads_tile: int
    cycles_layer: int
    outputs_equal: bool
    seconds: float

    @property
    def differs(self) -> bool:
        same = self.cycles == self.cycles_tile == self.cycles_layer and self.reads == self.reads_tile
        return not (same and self.outputs_equal)


def count(chip: str) -> dict[str, Any]:
    """The network's totals on one chip, and this process's peak memory: what a timed process does."""
    found = model_network(load_network(NETWORK), load_chip(chip))
    del found["layers"]
    return found | {"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _timed(chip: str) -> dict[str, Any]:
    """`count` in a fresh process on one core, with its seconds from outside."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    one_core = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-m", "bench.networks", "--one", chip],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env=os.environ | one_core,
    )
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout) | {"wall_seconds": round(seconds, 2), "seconds": round(used, 2)}


def in_rtl(chip_name: str, name: str) -> InRtl:
    """The slowest tile of layer ``name``, weights and all."""
    chip, layers = load_chip(chip_name), load_network(NETWORK)
    index = next(index for index, layer in enumerate(layers) if layer.name == name)
    layer, activations = layers[index], Activations()
    codes, numbers = activations.draw(layer, index, chip), activations.numbers(chip)
    line = model_layer(layer, chip, codes, numbers, True)
    placement = place_dense(layer, weights(layer, chip), chip, input_format=numbers)
    predicted = [tile_cycles(placement, tile, codes) for tile in placement.tiles]
    slowest = int(np.argmax([own.cycles for own in predicted]))
    tile, started = placement.tiles[slowest], time.perf_counter()
    result = simulate_tile(TileParameters(placement, tile), codes, build=BUILD)
    return InRtl(
        chip=chip_name,
        layer=name,
        tile=slowest,
        cycles=result.cycles,
        reads=sum(result.reads),
        cycles_tile=predicted[slowest].cycles,
        reads_tile=predicted[slowest].reads,
        cycles_layer=line.cycles,
        outputs_equal=bool(np.array_equal(result.y, tile_outputs(placement, tile, codes))),
        seconds=round(time.perf_counter() - started, 2),
    )


def summary(chips: list[str] | None = None) -> dict[str, Any]:
    """Everything measured: what is printed as JSON."""
    counted = [_timed(chip) for chip in chips or ready_chips()]
    columns = ("chip", "cycles", "ou_reads", "crossbars", "tiles", "seconds", "megabytes")
    table(f"{NETWORK}, cycle model", columns, [[own[name] for name in columns] for own in counted])
    ran = [in_rtl(*case) for case in IN_RTL]
    columns = ("chip", "layer", "tile", "cycles", "cycles_layer", "reads", "reads_tile", "seconds")
    table(f"{NETWORK}, tiles in RTL", columns, [[getattr(own, name) for name in columns] for own in ran])
    found = [
        *(Figure(f"{NETWORK} on {own['chip']}: seconds of one core", own["seconds"], "<=", SECONDS) for own in counted),
        *(Figure(f"{NETWORK} on {own['chip']}: megabytes", own["megabytes"], "<=", MEGABYTES) for own in counted),
        Figure("layers whose RTL differs from the cycle model", sum(own.differs for own in ran), "==", 0),
    ]
    figures("Networks", found)
    return {
        "benchmark": "networks",
        "network": NETWORK,
        "chips": counted,
        "in_rtl": [asdict(own) | {"differs": own.differs} for own in ran],
        "targets": [own.as_dict() for own in found],
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.networks", description=__doc__)
    parser.add_argument("--one", choices=ready_chips(), help="count on this chip alone, as a timed process does")
    parser.add_argument("--chip", choices=ready_chips(), action="append", help="time these alone")
    a = parser.parse_args(argv)
    if a.one:
        print(json.dumps(count(a.one)))
        return 0
    content = summary(a.chip)
    emit(content)
    return 1 if any(own["differs"] for own in content["in_rtl"]) else 0


if __name__ == "__main__":
    leave(main)
