"""How ONNX sees a map: its codes turned, cut, padded or repeated, before anything has to be moved."""

from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto

from selvage.base.graph import Activation, Integers, Matrix, Node, Shape, Tensor
from selvage.frontend.onnx.values import Fresh, Pending


@dataclass(frozen=True, eq=False)
class View:
    """``numbers``, of ONNX's shape with the batch: which code of the map (N, C, H, W) each is; -1 is ``fill``.

    ``origin`` is the last node that moved something.
    """

    numbers: Integers
    fill: int
    origin: NodeProto


@dataclass(frozen=True, eq=False)
class Viewed(Pending):
    """A result whose codes are made before something moves them."""

    before: Pending
    view: View

    def nodes(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make the nodes of the value before, in its own order."""
        return self.before.nodes(replace(to, shape=self.before.shape), fresh)

    def note(self, to: Tensor, layer: Matrix) -> str:
        """Return the note of the value before."""
        return self.before.note(to, layer)

    def activated(self, activation: Activation) -> "Viewed | None":
        """Return the same with the activation at the value before, where it is one for all channels."""
        before = None if activation.by_channel else self.before.activated(activation)
        return None if before is None else replace(self, before=before, start=before.start)


def viewed(value: Pending, view: View | None) -> Pending:
    """Return a value as ``view`` has it."""
    if view is None:
        return value
    return Viewed(value.origin, value.name, value.shape, value.start, value, view, kernel=value.kernel)


def flowing(numbers: Integers, source: Shape) -> Integers:
    """Return numbers counted (C, H, W) as the words of a map flow: (H, W, C)."""
    channels, height, width = source
    c, pixel = np.divmod(numbers, height * width)
    return np.where(numbers < 0, -1, pixel * channels + c)


def factored(numbers: Integers) -> tuple[Integers, Integers, Integers] | None:
    """Return what channels, rows and columns add to the ``numbers`` (C, H, W) of a `Reorder`, -1 where there is none.

    ``None``: the numbers are no such sums.
    """
    inside = numbers >= 0
    axes = [np.asarray(inside.any(axis=tuple(k for k in range(3) if k != axis))) for axis in range(3)]
    if not inside.any():
        return tuple(np.full(side, -1) for side in numbers.shape)  # pyright: ignore[reportReturnType]
    if (inside != axes[0][:, None, None] & axes[1][:, None] & axes[2]).any():
        return None
    base = tuple(int(axis.argmax()) for axis in axes)
    first = numbers[base]
    found = []
    for axis, own in enumerate(axes):
        place = tuple(slice(None) if k == axis else at for k, at in enumerate(base))
        found.append(np.where(own, numbers[place] - first, 0))
    if ((sum(np.ix_(*found)) + first)[inside] != numbers[inside]).any():
        return None
    least = [int(own[kept].min()) for own, kept in zip(found, axes, strict=True)]
    shifted = [found[0] - least[0], found[1] + first + least[0] + least[2], found[2] - least[2]]
    channels, rows, columns = (np.where(kept, own, -1) for own, kept in zip(shifted, axes, strict=True))
    return channels, rows, columns


def padding(numbers: Integers, size: Shape) -> tuple[int, int, int, int] | None:
    """Return how many lines are around a whole map of ``size`` in (C, H, W) ``numbers``: top, left, bottom, right.

    ``None``: they are not that map with lines of -1 around it.
    """
    inside = np.argwhere(numbers[0] >= 0)
    if numbers.shape[0] != size[0] or not len(inside):
        return None
    (top, left), (bottom, right) = inside.min(axis=0).tolist(), inside.max(axis=0).tolist()
    own = numbers[:, top : bottom + 1, left : right + 1]
    whole = own.shape == size and (own.reshape(-1) == np.arange(own.size)).all()
    if not whole or (numbers >= 0).sum() != own.size:
        return None
    return top, left, numbers.shape[1] - 1 - bottom, numbers.shape[2] - 1 - right
