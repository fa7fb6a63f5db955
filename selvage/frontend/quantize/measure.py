"""How far the outputs of a quantised model are from those of its float model, by onnxruntime."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from selvage.frontend.quantize.images import Images

EXACT_PRODUCTS = "session.x64quantprecision"
"""onnxruntime's switch against sums of products that saturate in 16 bits, on processors without VNNI.

With it, onnxruntime refuses some networks that it runs without, such as those of shared weights or of `QGemm` in int8.
"""


def session(model: bytes, *, exact: bool = False, optimised: bool = True) -> InferenceSession:
    """Return a session on the processor, which prints nothing."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    if exact:
        settings.add_session_config_entry(EXACT_PRODUCTS, "1")
    if not optimised:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return InferenceSession(model, settings, ["CPUExecutionProvider"])


def _exact(model: bytes) -> InferenceSession:
    return session(model, exact=True)


def _as_written(model: bytes) -> InferenceSession:
    return session(model, optimised=False)


WAYS: tuple[Callable[[bytes], InferenceSession], ...] = (_exact, _as_written, session)
"""How a quantised model is run, the best way first: operators as they are written make no sums of codes in 16 bits."""


@dataclass
class _Sums:
    """Sums over all elements of one float output, or of one of integers (``equal`` of ``count``)."""

    floats: bool
    count: int = 0
    equal: int = 0
    largest: float = 0.0
    total: float = 0.0
    noise: float = 0.0
    signal: float = 0.0

    def take(self, want: NDArray, got: NDArray) -> None:
        """Add the outputs of one batch."""
        self.count += want.size
        if not self.floats:
            self.equal += int((want == got).sum())
            return
        with np.errstate(all="ignore"):  # outputs that are not finite give a noise that is not
            error = np.abs(got.astype(np.float64) - want)
            self.largest = max(self.largest, float(error.max(initial=0)))
            self.total += float(error.sum())
            self.noise += float((error**2).sum())
            self.signal += float((want.astype(np.float64) ** 2).sum())

    def decibels(self) -> float | None:
        """Return signal to noise; ``None`` where one of them is 0."""
        if not math.isfinite(self.noise):
            return -math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal and self.noise else None


@dataclass(frozen=True)
class Measured:
    """How far outputs are apart; ``worst`` is the output of least SQNR.

    ``failure`` is onnxruntime's error where it cannot run the quantised model, and all else is ``None``.
    """

    distance: float | None = None
    mean_distance: float | None = None
    sqnr_db: float | None = None
    agreement: float | None = None
    worst: str | None = None
    failure: Exception | None = field(default=None, compare=False)


def measure(plain: InferenceSession, quantised: bytes, batches: list[Images]) -> Measured:
    """Compare the outputs on the same images, in whichever way the quantised model runs.

    `ArithmeticError`: an output of the float model is not finite.
    """
    failure: Exception | None = None
    for way in WAYS:
        try:
            return _summary(_compared(plain, way(quantised), batches))
        except ArithmeticError:
            raise
        except Exception as error:  # onnxruntime has no common class for what it cannot run
            failure = error
    return Measured(failure=failure)


def _compared(plain: InferenceSession, quantised: InferenceSession, batches: list[Images]) -> dict[str, _Sums]:
    """Return the sums of each output."""
    names = [output.name for output in plain.get_outputs()]
    sums: dict[str, _Sums] = {}
    for batch in batches:
        for name, want, got in _pairs(plain, quantised, names, batch):
            floats = want.dtype.kind == "f"
            if floats and not np.isfinite(want).all():
                raise ArithmeticError(f"has float outputs {name!r} that are not finite")
            sums.setdefault(name, _Sums(floats)).take(want, got)
    return sums


def _pairs(
    plain: InferenceSession, quantised: InferenceSession, names: list[str], batch: Images
) -> Iterator[tuple[str, NDArray, NDArray]]:
    """Yield what both make of one batch, by output; outputs that are no tensors are left out."""
    for name, want, got in zip(names, plain.run(names, batch), quantised.run(names, batch), strict=True):
        if isinstance(want, np.ndarray) and isinstance(got, np.ndarray):
            yield name, want, got


def _summary(sums: dict[str, _Sums]) -> Measured:
    floats = {name: output for name, output in sums.items() if output.floats}
    count = sum(output.count for output in floats.values())
    others = [output for output in sums.values() if not output.floats]
    compared = sum(output.count for output in others)
    ratios = {name: output.decibels() for name, output in floats.items()}
    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    worst = min(known, key=lambda name: known[name]) if known else None
    return Measured(
        distance=max(output.largest for output in floats.values()) if count else None,
        mean_distance=sum(output.total for output in floats.values()) / count if count else None,
        sqnr_db=known[worst] if worst is not None else None,
        agreement=sum(output.equal for output in others) / compared if compared else None,
        worst=worst,
    )
