"""How often a placed network is right, run after run with crossbars drawn anew."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from selvage.base.errors import InputError
from selvage.base.graph import Matrix
from selvage.base.noise import Noise
from selvage.base.processes import end_with_parent
from selvage.compiler.compile_network import ImportedNetwork
from selvage.golden.graph import run as evaluate
from selvage.sim.devices import Devices
from selvage.sim.machine import run as run_crossbars

Integers = NDArray[np.int64]
CONFIDENCE = 0.95
ENTRIES = 2**26  # of the windows of a batch, at most


@dataclass(frozen=True, eq=False)
class Question:
    """A network, codes of its inputs by name, and the right answers: classes (N,), or of each pixel (N, H, W)."""

    compiled: ImportedNetwork
    inputs: dict[str, Integers]
    labels: Integers
    skip: bool = True

    @property
    def batches(self) -> list[slice]:
        """Images that are computed together."""
        entries = max(
            max(len(tile.offsets) * tile.channels for tile in placed.tiles) * placed.sweep.count
            for placed in self.compiled.placements.values()
        )
        each = max(1, ENTRIES // entries)
        return [slice(first, first + each) for first in range(0, len(self.labels), each)]

    def right(self, noise: Noise | None) -> int:
        """Return how many answers are right with crossbars drawn from ``noise``; None: ideal ones."""
        placements = self.compiled.placements
        drawn = {name: Devices(placed, noise) for name, placed in placements.items()} if noise else {}
        found = 0
        for batch, images in enumerate(self.batches):
            for devices in drawn.values():
                devices.begin(batch)
            answers = self._answers({name: codes[images] for name, codes in self.inputs.items()}, drawn)
            found += int((answers == self.labels[images]).sum())
        return found

    def _answers(self, inputs: dict[str, Integers], drawn: dict[str, Devices]) -> Integers:
        def sums(node: Matrix, codes: Integers) -> Integers:
            placed = self.compiled.placements[node.name]
            return run_crossbars(placed, codes, drawn.get(node.name), skip=self.skip)

        imported = self.compiled.imported
        (outputs,) = imported.leave(evaluate(self.compiled.graph, inputs, sums, imported.add_hosted)).values()
        return outputs.argmax(axis=1).reshape(len(outputs), *self.labels.shape[1:])


def check_labels(labels: NDArray, images: int, shape: Sequence[int]) -> Integers:
    """Return labels (N,) or (N, H, W) for outputs of ``shape`` (N, classes, ...). `InputError`: they do not fit."""
    wanted = (images, *shape[2:])
    if labels.dtype.kind not in "iu":
        raise InputError(f"--labels are {labels.dtype}, and must be whole numbers, the class of each image")
    if labels.shape != wanted and labels.shape != (images, *(side for side in shape[2:] if side != 1)):
        raise InputError(f"--labels have shape {labels.shape}, and for these inputs it must be {wanted}")
    if labels.size and not 0 <= labels.min() <= labels.max() < shape[1]:
        raise InputError(
            f"--labels go from {labels.min()} to {labels.max()}, and the network has the classes 0 .. {shape[1] - 1}"
        )
    return labels.astype(np.int64)


@dataclass(frozen=True)
class Accuracy:
    """Right answers of each run out of ``answers``."""

    runs: list[int]
    answers: int
    ideal: int

    def report(self) -> dict[str, Any]:
        """Return the JSON: shares with intervals: of the mean over runs by bootstrap, of ideal crossbars Wilson's."""
        shares = np.array(self.runs) / self.answers
        mean, low, high = mean_interval(shares)
        test = stats.binomtest(self.ideal, self.answers).proportion_ci(CONFIDENCE, method="wilson")
        return {
            "accuracy": mean,
            "interval": [low, high],
            "least": float(shares.min()),
            "most": float(shares.max()),
            "ideal": self.ideal / self.answers,
            "ideal_interval": [float(test.low), float(test.high)],
            "confidence": CONFIDENCE,
            "answers": self.answers,
            "runs": shares.tolist(),
        }


def mean_interval(shares: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean over runs, and between what it is with `CONFIDENCE`, by bootstrap; of one run no interval.

    Runs often are nearly all right or fail altogether, so they are far from normal.
    """
    mean = float(shares.mean())
    if len(shares) < 2 or not shares.std():
        return mean, mean, mean
    how = {"confidence_level": CONFIDENCE, "method": "percentile", "rng": np.random.default_rng(0)}
    found = stats.bootstrap((shares,), np.mean, **how).confidence_interval
    return mean, float(found.low), float(found.high)


_question: Question | None = None  # of the processes that ask it: it is large, and sent once


def _keep(question: Question) -> None:
    global _question
    end_with_parent()
    threadpool_limits(1)  # a process a core is enough: more threads only wait for each other
    _question = question


def _ask(noise: Noise) -> int:
    assert _question is not None, "a process is told what it asks before it is asked"
    return _question.right(noise)


def ask(
    question: Question, noise: Noise, runs: int, workers: int, tick: Callable[[], None] = lambda: None
) -> list[int]:
    """Return the right answers of each run, of seeds from the noise's own on, in ``workers`` processes."""
    drawn = [noise.seeded(noise.seed + run) for run in range(runs)]
    found = []
    for answer in _answers(question, drawn, workers):
        found.append(answer)
        tick()
    return found


def _answers(question: Question, drawn: list[Noise], workers: int) -> Iterator[int]:
    if workers == 1:
        yield from map(question.right, drawn)
        return
    with ProcessPoolExecutor(workers, initializer=_keep, initargs=(question,)) as pool:
        try:
            yield from pool.map(_ask, drawn)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
