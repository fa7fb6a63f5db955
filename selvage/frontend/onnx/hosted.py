"""What passes between a network and the host: what enters, what leaves, and what the host makes in between."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from selvage.base.graph import Reorder, Shape, Tensor
from selvage.frontend.onnx.host import Part
from selvage.frontend.onnx.nodes import type_of
from selvage.golden.graph import reordered
from selvage.golden.requantize import dequantise

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Boundary:
    """A tensor of the network that the host reads: ``real`` where as real numbers, ``shape`` ONNX's of one image.

    ``tensor`` is the network's. ``order``: which of its numbers each is, where they are turned; -1 is the code
    ``fill``. ``apart``: no axis of the shape is that of images.
    """

    name: str
    tensor: Tensor
    real: bool
    shape: tuple[int, ...]
    order: NDArray[np.int64] | None = None
    fill: int = 0
    apart: bool = False

    def ordered(self, codes: Codes) -> Codes:
        """Return codes (N, C, H, W) as ONNX sees them, (N, *shape)."""
        flat = codes.reshape(len(codes), -1)
        if self.order is not None:
            flat = np.where(self.order < 0, self.fill, flat[:, self.order])
        return flat.reshape(len(codes), *self.shape)

    def given(self, codes: Codes) -> NDArray:
        """Return what the host reads, for codes (N, C, H, W)."""
        if not self.real:
            return self.ordered(codes).astype(type_of(self.tensor.format))
        if self.order is None:  # sums have a scale for each channel
            return dequantise(codes, self.tensor).reshape(len(codes), *self.shape)
        return dequantise(self.ordered(codes), self.tensor)


@dataclass(frozen=True, eq=False)
class Entry:
    """A tensor that enters the network: the model's ``name`` of it, and the ``reorder`` that the host does."""

    name: str
    shape: Shape
    reorder: Reorder | None = None

    def ordered(self, codes: Codes) -> Codes:
        """Return codes of the model's tensor as the network takes them, (N, C, H, W)."""
        maps = codes.astype(np.int64).reshape(-1, *self.shape)
        return reordered(self.reorder, maps) if self.reorder else maps


@dataclass(frozen=True, eq=False)
class Hosted:
    """A step between layers that the host makes: codes of ``boundaries`` come, and codes of ``output`` go back."""

    name: str
    operators: tuple[str, ...]
    why: str
    boundaries: tuple[Boundary, ...]
    part: Part
    entry: Entry
    output: Tensor
    nodes: frozenset[str] = frozenset()  # ONNX's, by their first outputs

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that it reads."""
        return tuple(dict.fromkeys(boundary.tensor.name for boundary in self.boundaries))

    def compute(self, codes: Mapping[str, Codes]) -> Codes:
        """Return the codes (N, C, H, W) of the output, for those of the tensors by name."""
        feeds = {boundary.name: boundary.given(codes[boundary.tensor.name]) for boundary in self.boundaries}
        return self.entry.ordered(self.part.run(feeds)[self.entry.name])

    def told(self) -> str:
        """Return why it is the host's, and what it moves of one image."""
        read = sum(boundary.tensor.numbers for boundary in self.boundaries)
        made = self.output.numbers
        return f"{self.why}; the network is cut here: {read:,} codes an image go to the host and {made:,} come back"

    def reordering(self, node: Reorder) -> "Hosted":
        """Return the same whose codes come back in the order of a node that reads them."""
        return replace(self, output=node.output, entry=replace(self.entry, reorder=node))
