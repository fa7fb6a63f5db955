"""A factor and a shift for each channel of a map, as a layer of one weight a channel."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from selvage.base.graph import LINEAR, Activation, Matrix, Node, Tensor
from selvage.base.layer import Layer
from selvage.frontend.onnx.values import Fresh, Pending, Sums, composed, told_bias
from selvage.golden.requantize import all_codes, nearest

NEAR = 1e-6  # of a step: more than float64 rounds off
LARGEST_WEIGHT = 127


@dataclass(frozen=True, eq=False)
class Affine(Pending):
    """``factor`` (C,) times a map and ``shift`` (C,) more: a layer of one weight a channel."""

    source: Tensor
    factor: NDArray[np.float64]
    shift: NDArray[np.float64]
    activation: Activation = LINEAR

    def nodes(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make a depthwise layer with kernels of 1x1."""
        count, height, width = self.source.shape
        layer = Layer(
            name=self.name, op="conv", channels=count, outputs=count, groups=count, height=height, width=width
        )
        first = self.zero_first(to, self.activation)
        pairs = zip(self.factor, self.shift, strict=True)
        weights = np.array([one_weight(self.source, to, *pair, first) for pair in pairs], np.int64)
        codes, scale = weights.reshape(layer.weight_shape), 1 / weights
        zeros = np.zeros(count)
        plain = Sums(self.origin, self.name, self.shape, self.start, self.source, layer, codes, zeros, scale)
        folded = replace(plain.scaled(self.factor, self.shift), activation=self.activation)
        return [replace(folded.matrix(to), zero_first=first)]

    def note(self, to: Tensor, layer: Matrix) -> str:
        """Return what rounding the bias moves."""
        unit = np.float64(np.float32(self.source.scale)) * layer.weight_scale
        with np.errstate(all="ignore"):  # where a channel is as good as constant, its unit is as fine as that needs
            lost = np.where(unit == 0, 0, self.shift / unit - layer.bias)
        return told_bias(lost, unit, to)

    @property
    def read(self) -> tuple[Tensor, ...]:
        """The one map."""
        return (self.source,)

    def activated(self, activation: Activation) -> "Affine | None":
        """Return the same with both activations, where they are one."""
        both = composed(self.activation, activation)
        return None if both is None else replace(self, activation=both)


def one_weight(source: Tensor, to: Tensor, factor: float, shift: float, zero_first: bool) -> int:
    """Return the weight, 1 to 127, whose rounded bias gives most codes of ``source`` the right code of ``to``.

    Of equally good ones a power of two, by which a scale is divided exactly.
    """
    unit = factor * float(np.float32(source.scale))
    if unit == 0 or not abs(shift / unit) < 2**24:
        return 1  # as good as constant
    codes = (all_codes(source.format) - source.format.zero_point).astype(np.float64)
    tried, scale, zero = np.arange(1, LARGEST_WEIGHT + 1), float(np.float32(to.scale)), to.format.zero_point
    low, high = to.format.raw_range
    bias = np.rint(shift / unit * tried)
    base = zero if zero_first else 0  # of the numbers that are rounded
    low, high = low - zero + base, high - zero + base
    true = (codes * unit + shift) / scale + base
    wanted = np.clip(nearest(true, 0), low, high)
    # A rounded bias adds the same to every step: wrong are the codes that have less room, up or down.
    off = bias / tried - shift / unit
    more = off * (unit / scale)
    up = np.sort(np.where(wanted < high, wanted + 0.5 - true, np.inf))
    down = np.sort(np.where(wanted > low, true - wanted + 0.5, np.inf))
    wrong = np.searchsorted(up, more - NEAR) + np.searchsorted(down, -more - NEAR)
    most = np.searchsorted(up, more + NEAR) + np.searchsorted(down, NEAR - more)
    near = (wrong < most) & (wrong <= most.min())  # so near a half that the rule for halves decides
    if near.any():
        steps = (codes * tried[near, None] + bias[near, None]) * (unit / tried[near] / scale)[:, None] + base
        wrong[near] = (np.clip(nearest(steps, 0), low, high) != wanted).sum(axis=1)
    uneven = tried & (tried - 1) != 0
    return int(tried[np.lexsort((np.abs(off), uneven, wrong))[0]])
