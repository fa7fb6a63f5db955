"""Time of the behavioural crossbars in NumPy: an ADC that can clip against one that cannot, one thread, in one run.

A 3x3 convolution 128 to 128 of 16x16 and a 4x4 transposed convolution of stride 2, 256 to 128 of 8x8 (RED), eight bits,
uniform weights and activations, on the chip ou9x8 with its lossless ADC of 4 bits, and with 3 and 2 bits. Processor
seconds, the least of several runs that alternate. The target is for 3 bits, one fewer than lossless; with 2 bits most
columns clip.
"""

import argparse
import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from bench.report import Figure, emit, figures, positive, table
from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.commands.exits import leave
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Placement
from selvage.sim.machine import run_counted

UP: dict[str, Any] = {"kernel": (4, 4), "stride": (2, 2), "pads": (1, 1, 1, 1)}
LAYERS = {
    "convolution": Layer(op="conv", channels=128, outputs=128, height=16, width=16, kernel=(3, 3), pads=(1, 1, 1, 1)),
    "transposed": Layer(op="conv_transpose", channels=256, outputs=128, height=8, width=8, **UP),
}
BITS = (4, 3, 2)
MOST = 3.0


def placed(layer: Layer, bits: int) -> Placement:
    """Return the layer on ou9x8 with an ADC of ``bits``; its cells are made here, not in what is timed."""
    chip = load_chip("ou9x8").model_copy(update={"adc_bits": bits})
    weights = np.random.default_rng(1).integers(-127, 128, layer.weight_shape)
    placement = place_dense(layer, weights, chip, input_format=InputFormat(raw_bits=8, raw_signed=False))
    assert all(array.cells.any() for tile in placement.tiles for array in tile.arrays)
    return placement


def seconds(placement: Placement, codes: np.ndarray) -> tuple[float, int]:
    """Return processor seconds of a run, and the conversions that are cut in it."""
    started = time.process_time()
    _, cut = run_counted(placement, codes)
    return time.process_time() - started, cut


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.machine_speed", description=__doc__)
    parser.add_argument("--runs", type=positive, default=3)
    runs = parser.parse_args(argv).runs
    lines, found = [], []
    with threadpool_limits(1):
        for name, layer in LAYERS.items():
            codes = np.random.default_rng(2).integers(0, 256, (1, layer.channels, layer.height, layer.width))
            places = {bits: placed(layer, bits) for bits in BITS}
            timed = [{bits: seconds(places[bits], codes) for bits in BITS} for _ in range(runs)]
            least = {bits: min(run[bits][0] for run in timed) for bits in BITS}
            for bits in BITS:
                ratio = least[bits] / least[BITS[0]]
                lines.append({"layer": name, "adc_bits": bits, "seconds": least[bits], "ratio": ratio})
                lines[-1]["cut"] = timed[0][bits][1]
            found.append(Figure(f"{name}: ADC of 3 bits over 4", least[3] / least[4], "<=", MOST))
    rows = [
        [line["layer"], line["adc_bits"], f"{line['seconds']:.3f}", f"{line['ratio']:.2f}", f"{line['cut']:,}"]
        for line in lines
    ]
    table("Behavioural crossbars", ("layer", "ADC bits", "seconds", "ratio", "cut"), rows)
    figures("Clipping", found)
    emit({"benchmark": "machine_speed", "runs": lines, "targets": [own.as_dict() for own in found]})
    return 0


if __name__ == "__main__":
    leave(main)
