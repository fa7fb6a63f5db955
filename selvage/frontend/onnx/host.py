"""The parts of a model that the host computes: ONNX's own evaluation, in batches that the model allows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto
from onnx.reference import ReferenceEvaluator

from selvage.base.errors import InputError
from selvage.frontend.layer_file import one_line
from selvage.frontend.onnx.read import title_of
from selvage.frontend.onnx.static import Static


@dataclass(frozen=True, eq=False)
class Part:
    """Some nodes of a model. ``batch``: as many images are evaluated at once; ``None``: any number."""

    evaluator: ReferenceEvaluator | None
    title: str
    outputs: tuple[str, ...]
    batch: int | None
    single: bool = False  # an image at a time
    apart: frozenset[str] = frozenset()  # inputs without an axis of images, (N, *shape), of which one comes at a time

    def run(self, feeds: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Return the part's outputs by name, for its inputs by name, each of N images."""
        if self.evaluator is None:
            return {}
        count = len(next(iter(feeds.values())))
        step = 1 if self.apart or self.single else self.batch or count
        batches = [
            self._evaluated(self.evaluator, _chunk(feeds, start, step, self.apart)) for start in range(0, count, step)
        ]
        joined = {}
        for name, arrays in zip(self.outputs, zip(*batches, strict=True), strict=True):
            whole = arrays[0].ndim and arrays[0].shape[0] == step
            joined[name] = (
                np.concatenate(arrays)[:count] if whole else arrays[0] if len(arrays) == 1 else np.stack(arrays)
            )
        return joined

    def _evaluated(self, evaluator: ReferenceEvaluator, feeds: dict[str, NDArray]) -> list[NDArray]:
        try:
            with np.errstate(all="ignore"):
                return [np.asarray(value) for value in evaluator.run(list(self.outputs), feeds)]
        except Exception as error:  # onnx raises what comes to hand
            raise InputError(f"{self.title} cannot be evaluated by the host: {one_line(error)}") from None


def part(
    static: Static,
    nodes: Sequence[NodeProto],
    inputs: Sequence[str],
    outputs: Sequence[str],
    apart: frozenset[str] = frozenset(),
    *,
    single: bool = False,
) -> Part:
    """Return the part of a model between ``inputs`` and ``outputs``.

    `InputError`: ONNX cannot evaluate an operator of it.
    """
    if not outputs:
        return Part(None, "", (), None)
    evaluator = static.evaluator(nodes, inputs, outputs)
    title = f"the part from {title_of(nodes[0])} on" if nodes else "a constant output"
    return Part(
        evaluator, title, tuple(outputs), static.batch if static.each else None, single and static.batch == 1, apart
    )


def _chunk(feeds: Mapping[str, NDArray], start: int, step: int, apart: frozenset[str]) -> dict[str, NDArray]:
    """Return ``step`` images from ``start`` on, the last one again where there are no more."""
    rows = {name: np.minimum(np.arange(start, start + step), len(array) - 1) for name, array in feeds.items()}
    return {name: array[start] if name in apart else array[rows[name]] for name, array in feeds.items()}
