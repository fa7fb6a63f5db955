"""How large things may be. Each size is looked at before memory is taken for what has it; README has the table.

The sizes are those of real networks with room above, and keep a slip or a hostile file from taking the machine:
``selvage --limits N`` accepts N times each of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import prod

from selvage.base.errors import InputError
from selvage.base.layer import Layer
from selvage.base.text import number

LARGEST_FACTOR = 2**10
"""The most that ``--limits`` takes."""


@dataclass(frozen=True)
class Limit:
    """``most`` of some ``unit`` are accepted."""

    most: int
    unit: str

    @property
    def now(self) -> int:
        """The most that is accepted, as often as `raised` says."""
        return self.most * _FACTOR.get()

    def check(self, count: int, what: str, verb: str = "has") -> None:
        """Raise `InputError` when ``count`` is too much for ``what``."""
        if count > self.now:
            factor = -(-count // self.most)
            way_out = f" (selvage --limits {factor} accepts it)" if factor <= LARGEST_FACTOR else ""
            raise InputError(f"{what} {verb} {number(count)} {self.unit}, and {number(self.now)} are accepted{way_out}")


TEXT = Limit(2**14, "bytes")
"""Of a chip or layer TOML. Python's reader takes a time that grows with the square of a dotted key's length."""
FILE = Limit(2**30, "bytes")
"""Of a model with its external data, or an archive of arrays."""
MEMBERS = Limit(2**14, "members")
"""Of an archive of arrays."""
STORED = Limit(2**27, "numbers")
"""Of an array in a file: weights, images."""
MAP = Limit(2**24, "numbers")
"""Of one image in one tensor of a model, the zeros that pads and strides insert included, and of all constants together
that an ONNX file computes where it could store them."""
NODES = Limit(2**16, "operators")
"""Of a model, its functions written out where they are called."""
IMAGES = Limit(2**27, "numbers")
"""Of all images in one tensor of a model."""

_FACTOR: ContextVar[int] = ContextVar("factor", default=1)


def raise_limits(factor: int) -> None:
    """Accept ``factor`` times every limit from now on. `InputError`: it is not within 1 .. `LARGEST_FACTOR`."""
    if not 1 <= factor <= LARGEST_FACTOR:
        raise InputError(f"--limits {factor} is not within 1 .. {LARGEST_FACTOR}")
    _FACTOR.set(factor)


@contextmanager
def raised(factor: int) -> Iterator[None]:
    """Accept ``factor`` times every limit within."""
    token = _FACTOR.set(factor)
    try:
        yield
    finally:
        _FACTOR.reset(token)


def check_layer(layer: Layer, what: str) -> None:
    """Raise `InputError` when weights, input or output of ``layer`` are beyond what is accepted."""
    STORED.check(prod(layer.weight_shape), what, "takes weights of")
    MAP.check(layer.channels * layer.height * layer.width, what, "reads a map of")
    if layer.op == "conv_transpose":
        # What pads crop is computed too, and as many phases as the stride has.
        sides = zip((layer.height, layer.width), layer.stride, layer.extent, layer.output_padding, strict=True)
        full = [max((side - 1) * step + span + more, step) for side, step, span, more in sides]
        MAP.check(layer.outputs * full[0] * full[1], what, "makes, before pads are cropped, a map of")
        return
    top, left, bottom, right = layer.pads
    padded = (layer.height + top + bottom) * (layer.width + left + right)
    MAP.check(layer.channels * padded, what, "reads, pads included, a map of")
    MAP.check(layer.outputs * prod(layer.output_size), what, "makes a map of")
