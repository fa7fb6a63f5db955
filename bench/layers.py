"""The six transposed convolutions that RED is measured on (Fan et al., DATE 2019), and numbers for them.

Sizes are the published ones and agree with the networks' own code (DCGAN, Improved GAN, SNGAN,
voc-fcn8s). Weights and activations are drawn: cycles without skipping do not depend on them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spec.chip import Chip
from spec.layer import InputFormat, Layer

Integers = NDArray[np.int64]

FORMAT = InputFormat(raw_bits=8, raw_signed=False)  # what leaves a ReLU


@dataclass(frozen=True)
class Reads:
    """Vector reads of a layer under each schedule, and of RED folded once."""

    zero_padding: int
    padding_free: int
    red: int
    folded: int | None = None

    def of(self, schedule: str, fold: int = 1) -> int:
        """Steps of ``schedule`` as the table prints them."""
        if fold > 1:
            if self.folded is None:
                raise ValueError(f"the table has no reads for fold {fold}")
            return self.folded
        return {"zero-padding": self.zero_padding, "padding-free": self.padding_free, "red": self.red}[schedule]


def _layer(name: str, size: int, channels: int, outputs: int, kernel: int, stride: int, pad: int, extra: int) -> Layer:
    return Layer(
        name=name,
        op="conv_transpose",
        channels=channels,
        outputs=outputs,
        height=size,
        width=size,
        kernel=(kernel, kernel),
        stride=(stride, stride),
        pads=(pad,) * 4,
        output_padding=(extra, extra),
    )


_LAYERS = (
    _layer("GAN_Deconv1", 8, 512, 256, 5, 2, 2, 1),  # DCGAN, LSUN
    _layer("GAN_Deconv2", 4, 512, 256, 5, 2, 2, 1),  # Improved GAN, CIFAR-10
    _layer("GAN_Deconv3", 4, 512, 256, 4, 2, 1, 0),  # SNGAN, CIFAR-10
    _layer("GAN_Deconv4", 6, 512, 256, 4, 2, 1, 0),  # SNGAN, STL-10
    _layer("FCN_Deconv1", 16, 21, 21, 4, 2, 0, 0),  # voc-fcn8s, twice
    _layer("FCN_Deconv2", 70, 21, 21, 16, 8, 0, 0),  # voc-fcn8s, eight times
)

LAYERS = {layer.name: layer for layer in _LAYERS}

READS = {
    "GAN_Deconv1": Reads(256, 64, 64),
    "GAN_Deconv2": Reads(64, 16, 16),
    "GAN_Deconv3": Reads(64, 16, 16),
    "GAN_Deconv4": Reads(144, 36, 36),
    "FCN_Deconv1": Reads(1156, 256, 289),
    "FCN_Deconv2": Reads(322624, 4900, 5041, folded=10082),
}


def full_layer(name: str) -> Layer:
    """The layer as published."""
    return LAYERS[name]


def part(name: str, channels: int, outputs: int) -> Layer:
    """The same map, kernel, stride and pads with fewer channels: as many steps, fewer reads in each."""
    return LAYERS[name].model_copy(update={"channels": channels, "outputs": outputs})


def shorter(layer: Layer, height: int, width: int) -> Layer:
    """The same kernel and channels on a smaller map: the same arrays, fewer steps."""
    return layer.model_copy(update={"height": height, "width": width})


def weights(layer: Layer, chip: Chip, seed: int = 1) -> Integers:
    """Integers over the whole range that ``chip`` can store."""
    low, high = chip.weight_range
    return np.random.default_rng([seed, 0]).integers(low, high + 1, layer.weight_shape)


def activations(layer: Layer, seed: int = 1, *, images: int = 1, dense: bool = False) -> Integers:
    """Activations in `FORMAT`: about half of them zero, as after a ReLU; or, ``dense``, uniform."""
    rng = np.random.default_rng([seed, 1])
    shape = (images, layer.channels, layer.height, layer.width)
    x = rng.integers(0, 256, shape)
    if dense:
        return x
    bell = np.rint(rng.normal(0, 64, shape)).astype(np.int64)
    return np.clip(bell, 0, 255)
