"""What RED is measured on: the reads of its six layers as published, and numbers for them.

The layers are those of `examples.red_layers`. Weights and activations are drawn: cycles without
skipping do not depend on them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.layer import InputFormat, Layer

Integers = NDArray[np.int64]

FORMAT = InputFormat(raw_bits=8, raw_signed=False)  # what leaves a ReLU


@dataclass(frozen=True)
class Reads:
    """Vector reads of a layer under each schedule, and of RED with two phases on the same rows."""

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


READS = {
    "GAN_Deconv1": Reads(256, 64, 64),
    "GAN_Deconv2": Reads(64, 16, 16),
    "GAN_Deconv3": Reads(64, 16, 16),
    "GAN_Deconv4": Reads(144, 36, 36),
    "FCN_Deconv1": Reads(1156, 256, 289),
    "FCN_Deconv2": Reads(322624, 4900, 5041, folded=10082),
}


def weights(layer: Layer, chip: Chip, seed: int = 1) -> Integers:
    """Integers over the whole range that ``chip`` can store."""
    low, high = chip.weight_range
    return np.random.default_rng([seed, 0]).integers(low, high + 1, layer.weight_shape)


def activations(layer: Layer, seed: int = 1) -> Integers:
    """One image in `FORMAT`, about half of it zero, as after a ReLU."""
    rng = np.random.default_rng([seed, 1])
    bell = np.rint(rng.normal(0, 64, (1, layer.channels, layer.height, layer.width)))
    return np.clip(bell, 0, 255).astype(np.int64)
