"""Codes in another order: which word of a map each word of another is, and how many must be held for it."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from selvage.base.graph import Integers, Reorder, Shape


@dataclass(frozen=True)
class ReorderPlan:
    """A part of the source, ``words`` words, and the words that are made of it; then the next part, and so on.

    Word (line, column, k) that leaves is word ``rows[line] + columns[column] + channels[k]`` of the part, or none where
    one of them is -1. A map is one part, or as many as can be made one after the other: every few lines, every pixel.
    """

    words: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    channels: tuple[int, ...]

    @cached_property
    def numbers(self) -> Integers:
        """The word of the part that each word is, (lines, words of a line); -1 for none."""
        axes = np.ix_(self.rows, self.columns, self.channels)
        numbers = np.where(np.minimum.reduce(np.broadcast_arrays(*axes)) < 0, -1, sum(axes))
        return numbers.reshape(len(self.rows), -1)

    @cached_property
    def free(self) -> tuple[int, ...]:
        """By line, and behind the last one: the first word that is needed from there on."""
        lowest = np.where(self.numbers < 0, self.words, self.numbers).min(axis=1)
        return (*np.minimum.accumulate(lowest[::-1])[::-1].tolist(), self.words)

    @property
    def used(self) -> int:
        """Words up to the last that is needed: what comes behind it in the part is dropped."""
        return int(self.numbers.max()) + 1

    @cached_property
    def depth(self) -> int:
        """Words of the memory, a power of two: what a line needs, and what the next one needs beyond that."""
        ends = [min(free, self.used) for free in self.free]
        held = max(int(line.max()) + 1 - free for line, free in zip(self.numbers, self.free, strict=False))
        more = max(after - before for before, after in pairwise(ends))
        return 1 << max(max(held, 0) + max(more, 0) - 1, 1).bit_length()


def plan_reorder(node: Reorder, source: Shape, lanes: int) -> ReorderPlan:
    """Return the plan of a `Reorder` of a map of shape ``source`` for words of ``lanes`` channels."""
    axes = [np.where(own < 0, -1, own // lanes) for own in (node.rows, node.columns, node.channels[::lanes])]
    rows, columns, channels = ([int(word) for word in own] for own in axes)
    total = source[0] * source[1] * source[2] // lanes
    count = _parts(rows, total, max(columns) + max(channels))
    words, rows = total // count, rows[: len(rows) // count]
    if len(rows) == 1 and rows[0] >= 0:
        # Of a single line, every pixel may be a part of its own.
        pixels = _parts([rows[0] + own if own >= 0 else -1 for own in columns], words, max(channels))
        words, columns = words // pixels, columns[: len(columns) // pixels]
    return ReorderPlan(words, tuple(rows), tuple(columns), tuple(channels))


def _parts(addends: list[int], words: int, beyond: int) -> int:
    """Return into how many equal parts lines or pixels can be cut, each made of its own part of ``words`` alone."""
    for count in range(len(addends), 1, -1):
        each, size = len(addends) // count, words // count
        if len(addends) % count or words % count:
            continue
        first = addends[:each]
        own = all(word >= -1 and word + beyond < size for word in first)
        if own and addends == [word + part * size if word >= 0 else -1 for part in range(count) for word in first]:
            return count
    return 1


def fits_words(node: Reorder, lanes: int) -> bool:
    """Return whether words of ``lanes`` channels stay together: each is a whole word of the source, or ``fill``."""
    channels = node.channels.reshape(-1, lanes)
    together = np.where(channels[:, :1] < 0, channels == -1, channels == channels[:, :1] + np.arange(lanes))
    addends = (own[own >= 0] for own in (channels[:, 0], node.rows, node.columns))
    return bool(together.all()) and all(not (own % lanes).any() for own in addends)
