"""Random inputs of the exported networks, drawn by a seed. Needs numpy only."""

import numpy as np
from numpy.typing import NDArray

SHAPES = {
    "residual": (3, 12, 12),
    "encoder_decoder": (2, 8, 8),
    "separable": (3, 10, 10),
    "fake_quantised": (2, 8, 8),
}


def inputs(network: str, count: int, seed: int) -> NDArray[np.float32]:
    """Standard normal images of a network, count x C x H x W."""
    return np.random.default_rng(seed).standard_normal((count, *SHAPES[network]), dtype=np.float32)
