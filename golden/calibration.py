"""Scales of training: powers of two from a calibration batch, and the shifts that follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.base.layer import Layer
from selvage.golden.fixed_point import code_range, saturated, shifted
from selvage.golden.gradients import data_gradient
from selvage.golden.layer import evaluate
from selvage.golden.training import Codes, Formats, FrozenNormalization, TrainedLayer, TrainedNetwork, Weights

FACTOR_BITS = 8
"""Of the factor of a frozen normalisation."""


@dataclass(frozen=True)
class Scale:
    """Bits behind the point of each tensor's codes: what enters each layer and leaves the last, weights, errors."""

    activations: tuple[int, ...]
    weights: tuple[int, ...]
    errors: tuple[int, ...]


def weight_codes(values: Sequence[NDArray[np.floating]], bits: int, headroom: int) -> tuple[Weights, tuple[int, ...]]:
    """Return codes of start weights and their bits behind the point; ``headroom`` bits are left for growth."""
    codes, points = [], []
    high = code_range(bits)[1]
    for value in values:
        point = _point(float(np.abs(value).max()), bits - headroom)
        codes.append(np.clip(np.rint(value * 2.0**point), -high, high).astype(np.int64))
        points.append(point)
    return tuple(codes), tuple(points)


def calibrated(
    layers: Sequence[tuple[Layer, int | None]],
    weights: Weights,
    points: tuple[int, ...],
    x: Codes,
    x_point: int,
    error: Codes,
    error_point: int,
    *,
    formats: Formats,
    rate: int,
    headroom: tuple[int, int] = (1, 1),
    last: int | None = None,
    gate: int | None = None,
    frozen: Sequence[int] = (),
) -> tuple[TrainedNetwork, Scale]:
    """Return the network whose scales hold a batch, and the bits behind the points.

    ``layers`` are geometries and leaks; ``x`` input codes with ``x_point`` bits behind the point, ``error`` those of
    what leaves, ``weights`` with ``points``. The learning rate is 2**-``rate``. ``headroom`` bits are left above the
    batch's largest activation and error; ``last`` fixes the bits behind the point of what leaves the last layer,
    ``gate`` is that layer's. Layers whose numbers are in ``frozen`` are normalised by the statistics of this batch.
    `InputError`: a shift would be below 0.
    """
    maps, at = [x], [x_point]
    made: list[TrainedLayer] = []
    for index, ((layer, leak), w) in enumerate(zip(layers, weights, strict=True)):
        maps[-1] = maps[-1].reshape(len(x), layer.channels, layer.height, layer.width)
        sums = evaluate(layer, maps[-1], w)
        own, bits = at[-1] + points[index], formats.activations - headroom[0]
        if index in frozen:
            scaled, point = _frozen(layer, sums, leak, bits)
        else:
            point = _point(float(np.abs(sums).max()) * 2.0**-own, bits)
            point = min(own, last if last is not None and index == len(layers) - 1 else point)
            scaled = TrainedLayer(layer, own - point, 0, 0, leak)
        made.append(scaled)
        at.append(point)
        maps.append(made[-1].activated(sums, formats.activations))
    errors, found = [error_point], []
    for index in reversed(range(len(layers))):
        layer, _ = layers[index]
        own = replace(made[index], gate=gate if index == len(layers) - 1 else None)
        passed = own.error_of_sums(error, maps[index + 1])
        sums = data_gradient(layer, passed, weights[index])
        at_sums = errors[-1]
        if own.normalization:  # 1 / deviation is what the factor stands for
            at_sums += at[index + 1] + own.shift - at[index] - points[index] - own.normalization.places
        of_sums = at_sums + points[index]
        point = min(of_sums, _point(float(np.abs(sums).max()) * 2.0**-of_sums, formats.errors - headroom[1]))
        update = at[index] + at_sums - points[index] + rate
        if update < 0:
            raise InputError(
                f"layer {layer.name!r} would need a shift below 0: a learning rate of 2**-{rate} is too high"
            )
        found.append(replace(own, error_shift=of_sums - point, update_shift=update))
        errors.append(point)
        error = saturated(shifted(sums, of_sums - point), formats.errors)
    network = TrainedNetwork(tuple(reversed(found)), formats)
    return network, Scale(tuple(at), points, tuple(reversed(errors)))


def _frozen(layer: Layer, sums: Codes, leak: int | None, bits: int) -> tuple[TrainedLayer, int]:
    """Return a layer normalised by a batch's sums, and the bits behind the point of what leaves it."""
    mean, deviation = sums.mean(axis=(0, 2, 3)), np.maximum(sums.std(axis=(0, 2, 3)), 1.0)
    normal = (sums - mean[:, None, None]) / deviation[:, None, None]
    point = _point(float(np.abs(normal).max()), bits)
    factors = 2.0**point / deviation
    shift = max(0, int(np.floor(np.log2((2**FACTOR_BITS - 1) / factors.max()))))
    codes = np.clip(np.rint(factors * 2.0**shift), 1, 2**FACTOR_BITS).astype(int)
    offsets = tuple(int(-own) for own in np.rint(mean))
    return TrainedLayer(
        layer, shift, 0, 0, leak, None, FrozenNormalization(tuple(codes.tolist()), offsets, FACTOR_BITS)
    ), point


def _point(largest: float, bits: int) -> int:
    """Return the most bits behind the point with which ``largest`` is a code of ``bits``."""
    if largest == 0:
        return bits - 1
    return int(np.floor(np.log2((2 ** (bits - 1) - 1) / largest)))
