"""What random cases are drawn from: a seed, or Hypothesis (`tb.models.strategies`), which makes a failure small."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Choices(ABC):
    """Where a case takes its numbers from, one after the other.

    A failure shrinks towards the lowest number, the first value and what has no chance, so those are the simplest.
    """

    @abstractmethod
    def integers(self, low: int, high: int) -> int:
        """From ``low`` to ``high``, both included."""

    def choice(self, values: Sequence[T]) -> T:
        """One of ``values``; what stands there several times is as many times as likely."""
        return values[self.integers(0, len(values) - 1)]

    def chance(self, share: float) -> bool:
        """True in a ``share`` of the cases, in whole percent."""
        return self.integers(0, 99) >= 100 - round(100 * share)

    def pair(self, low: int, high: int) -> tuple[int, int]:
        """Both from ``low`` to ``high``, equal in more than half of the cases."""
        first = self.integers(low, high)
        return (first, self.integers(low, high)) if self.chance(0.5) else (first, first)

    def size(self, high: int) -> int:
        """From 1 to ``high``, small numbers as often as large ones."""
        least = 1 << self.integers(0, high.bit_length() - 1)
        return self.integers(least, min(2 * least - 1, high))

    def mostly(self, low: int, usual: int, high: int) -> int:
        """From ``low`` to ``usual``, at times from 1 to ``high``: a sum of rare things is not too rare."""
        return self.size(high) if self.chance(0.15) else self.integers(low, max(low, min(usual, high)))

    def generator(self) -> np.random.Generator:
        """What fills an array, whose numbers one by one would be too many choices."""
        return np.random.default_rng(self.integers(0, 2**32 - 1))


class Seeded(Choices):
    """The same whenever and wherever it is drawn."""

    def __init__(self, *seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def integers(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, high, endpoint=True))
