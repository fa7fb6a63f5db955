"""The rows of a layer's weight matrix under a schedule: what every mapping starts from."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from selvage.base.layer import Layer
from selvage.mapping.placement import Integers
from selvage.mapping.schedule import Sweep, Tap


@dataclass(frozen=True, eq=False)
class RowSet:
    """Rows whose currents may add, and the weights that stand on them.

    ``taps`` (t,) pixel offsets; ``outputs`` (n,) output ids; ``weights`` (t, c, n) of the group's
    channels, which begin at channel ``first``.
    """

    taps: tuple[tuple[int, int], ...]
    outputs: Integers
    weights: NDArray
    first: int

    @property
    def rows(self) -> int:
        """Rows of the set."""
        return len(self.taps) * self.weights.shape[1]

    def chosen(self, columns: Integers) -> "RowSet":
        """Return the set with some of its columns."""
        return RowSet(self.taps, self.outputs[columns], self.weights[:, :, columns], self.first)

    def order(self, lanes: int) -> tuple[Integers, Integers, Integers]:
        """Return rows by channel word, then tap, then channel: positions in (t * c), pixel offsets, channels.

        So neighbouring arrays, and a tile, need few channels of many pixels, in whole words.
        """
        by_word, tap, channel = _by_word(*self.weights.shape[:2], lanes)
        return by_word, np.array(self.taps)[tap], self.first + channel


@lru_cache
def _by_word(taps: int, channels: int, lanes: int) -> tuple[Integers, Integers, Integers]:
    """Return positions of rows in the order of `RowSet.order`, their taps and channels, the same for all groups."""
    channel, tap = np.tile(np.arange(channels), taps), np.repeat(np.arange(taps), channels)
    by_word = np.lexsort((channel, tap, channel // lanes))
    return by_word, tap[by_word], channel[by_word]


def kernel_view(layer: Layer, weights: NDArray) -> NDArray:
    """Return weights as (groups, KH, KW, C per group, M per group), without a copy."""
    c, m, g = layer.channels // layer.groups, layer.outputs // layer.groups, layer.groups
    if layer.op == "dense":
        return weights.reshape(1, 1, 1, c, m)
    if layer.op == "conv_transpose":
        return weights.reshape(g, c, m, *layer.kernel).transpose(0, 3, 4, 1, 2)
    return weights.reshape(g, m, c, *layer.kernel).transpose(0, 3, 4, 2, 1)


def row_sets(layer: Layer, weights: NDArray, taps: list[Tap], sweep: Sweep, group: int) -> list[RowSet]:
    """Return the row sets of one group of channels: one a phase; padding-free, one for all its taps."""
    kernel = kernel_view(layer, weights)[group]
    c, m = kernel.shape[2:]
    outputs = group * m + np.arange(m)
    by_phase = taps_by_phase(taps, sweep)
    values = {phase: np.stack([kernel[tap.kernel] for tap in tapped]) for phase, tapped in by_phase.items()}
    if sweep.overlap:
        ids = np.concatenate([phase * layer.outputs + outputs for phase in by_phase])
        return [RowSet(((0, 0),), ids, np.concatenate([values[p] for p in by_phase], axis=2), group * c)]
    return [
        RowSet(tuple(tap.offset for tap in tapped), phase * layer.outputs + outputs, values[phase], group * c)
        for phase, tapped in sorted(by_phase.items())
    ]


def taps_by_phase(taps: list[Tap], sweep: Sweep) -> dict[int, list[Tap]]:
    """Return the taps of each phase, in order."""
    by_phase: dict[int, list[Tap]] = {}
    for tap in taps:
        by_phase.setdefault(sweep.phases.index(tap.phase), []).append(tap)
    return by_phase
