"""Operators of training without inserted zeros against those with them, in RTL cycles, all OUs read in both.

Of each GAN layer of RED, at its published size with the channels of `CHANNELS`: the transposed convolution forward, as
RED; the data gradient of the strided convolution that is its mirror, which is a transposed convolution; and its weight
gradient, activations stored in the arrays, for one channel of errors. Beside it the same with the zeros inserted:
zero-padding, and for the weight gradient a kernel with zeros between the activations. Outputs must equal golden, cycles
the model. The chip is ou9x8 with OUs of four rows and arrays of 256, for windows of 16 to 64 rows are cut into whole
OUs: with nine rows an OU, up to a third of the gain is lost in the last one. A missed target is told.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from bench.report import Figure, emit, figures, positive, table
from bench.whole_layer import run_whole
from examples.red_layers import RED_LAYERS
from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.commands.exits import leave
from selvage.mapping.backward import data_gradient_layer, weight_gradient_layer
from selvage.mapping.dense import place_dense

CHIP = load_chip("ou9x8").model_copy(update={"name": "ou4x8", "ou_rows": 4, "rows": 256, "adc_bits": 3})
FORMAT = InputFormat(raw_bits=8, raw_signed=True)
CHANNELS = {  # of the map before a transposed convolution, and after it; maps of 4 x 4 have few steps to fill
    "GAN_Deconv1": (32, 1),
    "GAN_Deconv2": (64, 2),
    "GAN_Deconv3": (64, 2),
    "GAN_Deconv4": (32, 1),
}
STORED = 8  # channels of stored activations
LAYERS = [name for name in RED_LAYERS if name.startswith("GAN")]
FORWARD, SHARE = 3.92, 0.98


@dataclass(frozen=True)
class Operator:
    """A layer with or without inserted zeros."""

    what: str
    name: str
    layer: Layer
    weights: np.ndarray
    schedule: str = "auto"


@dataclass(frozen=True)
class Counted:
    """RTL cycles, and whether outputs and cycles are as they must be."""

    cycles: int
    exact: bool


def pairs(name: str) -> list[tuple[Operator, Operator]]:
    """The three operators of a layer, without and with inserted zeros."""
    rng = np.random.default_rng(LAYERS.index(name))
    before, after = CHANNELS[name]
    up = RED_LAYERS[name].model_copy(update={"channels": before, "outputs": after})
    height, width = up.output_size
    how = {"kernel": up.kernel, "stride": up.stride, "pads": up.pads, "height": height, "width": width}
    down = Layer(name=f"{name}_mirror", op="conv", channels=after, outputs=before, **how)
    found = []
    for what, layer in (("T-CONV forward", up), ("S-CONV data gradient", data_gradient_layer(down))):
        weights = rng.integers(-127, 128, layer.weight_shape)
        red = Operator(what, name, layer, weights, "red")
        found.append((red, replace(red, schedule="zero-padding")))
    layer = weight_gradient_layer(up.model_copy(update={"channels": STORED}))
    stored = rng.integers(-127, 128, layer.weight_shape)
    inserted = layer.model_copy(update={"kernel": layer.extent, "dilation": (1, 1)})
    kernel = np.zeros(inserted.weight_shape, np.int64)
    kernel[:, :, :: layer.dilation[0], :: layer.dilation[1]] = stored
    free = Operator("T-CONV weight gradient", name, layer, stored)
    return [*found, (free, replace(free, layer=inserted, weights=kernel))]


def count(own: Operator) -> Counted:
    """Run all tiles of an operator in RTL, for one image without zeros."""
    layer = own.layer
    rng = np.random.default_rng(7)
    x = rng.integers(1, 128, (1, layer.channels, layer.height, layer.width)) * rng.choice([-1, 1])
    placed = place_dense(layer, own.weights, CHIP, input_format=FORMAT, schedule=own.schedule)
    whole = run_whole(placed, own.weights, x, skip=False)
    exact = np.array_equal(whole.run.outputs[0], whole.outputs) and whole.run.tiles == whole.cycles
    return Counted(max(whole.run.tiles), exact)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.training_operators", description=__doc__)
    parser.add_argument("--only", choices=LAYERS, help="one layer")
    parser.add_argument("--jobs", type=positive, default=2)
    a = parser.parse_args(argv)
    todo = [pair for name in ([a.only] if a.only else LAYERS) for pair in pairs(name)]
    with ProcessPoolExecutor(a.jobs) as pool:
        counted = list(pool.map(count, [own for pair in todo for own in pair]))
    rows, own = [], []
    for (free, _), less, more in zip(todo, counted[::2], counted[1::2], strict=True):
        ratio = more.cycles / less.cycles
        target = FORWARD
        if free.what.endswith("weight gradient"):
            target = SHARE * np.prod(free.layer.extent) / np.prod(free.layer.kernel)
        rows.append([free.name, free.what, f"{less.cycles:,}", f"{more.cycles:,}", f"{ratio:.3f}", f"{target:.3f}"])
        own.append(Figure(f"{free.name}: {free.what}", ratio, ">=", float(target)))
    own.append(Figure("operators that are not exact", sum(not each.exact for each in counted), "==", 0))
    table("RTL cycles", ("layer", "operator", "zero-free", "zeros inserted", "ratio", "target"), rows)
    figures("Operators of training", own)
    emit({"benchmark": "training_operators", "targets": [figure.as_dict() for figure in own]})
    return 0 if own[-1].met else 1


if __name__ == "__main__":
    leave(main)
