"""Schedules: which pixels a step needs, and which output pixels it feeds.

A convolution has one schedule. A transposed convolution has three (RED, DATE 2019): with the zeros
inserted, padding-free, and RED's pixel-wise mapping.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.base.layer import Layer

TRANSPOSED = ("red", "zero-padding", "padding-free")
PAPER_BASELINE = "zero-padding-paper"  # zero-padding as the papers have it: every step loads its inserted zeros too
INSERTING = ("zero-padding", PAPER_BASELINE)


def option_of(schedule: str) -> str:
    """Return the value of ``--schedule`` by which a schedule is asked for."""
    return "zero-padding" if schedule == PAPER_BASELINE else schedule


@dataclass(frozen=True)
class Tap:
    """One kernel position: the pixel it reads and the output pixel it feeds, both relative to a step."""

    kernel: tuple[int, int]
    offset: tuple[int, int]  # from the step's base, in coordinates of the zero-inserted map
    phase: tuple[int, int]  # row and column within the step's output block


@dataclass(frozen=True)
class Sweep:
    """The counters of a layer. All pairs are (rows, columns).

    The base of step (by, bx) is (by, bx) * stride in a map that holds one input pixel every
    ``insert`` positions and zeros between. Phase (py, px) of the step is output pixel
    (by, bx) * block + (py, px) - crop, dropped when outside the output. With ``overlap`` the same
    output pixel is fed by several steps and their sums add. Steps are numbered in raster order, and only ``first``,
    ``first`` + ``every``, ... are computed: the share of one of several copies.
    """

    size: tuple[int, int]  # of the input map
    output: tuple[int, int]  # of the output map
    steps: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    insert: tuple[int, int] = (1, 1)
    block: tuple[int, int] = (1, 1)
    crop: tuple[int, int] = (0, 0)
    overlap: bool = False
    phases: tuple[tuple[int, int], ...] = ((0, 0),)
    first: int = 0
    every: int = 1
    loads_inserted: bool = False  # every step loads the inserted zeros of its window too

    @property
    def kinds(self) -> int:
        """Kinds of steps that load different pixels of the window: as many as a base has remainders by ``insert``.

        Kind ``row * insert[1] + column`` has these remainders. One where every step loads its whole window.
        """
        return 1 if self.loads_inserted else self.insert[0] * self.insert[1]

    def kind_of_steps(self) -> NDArray[np.int64]:
        """Return the kind of each computed step of an image."""
        row, column = np.divmod(np.asarray(self.computed), self.steps[1])
        if self.kinds == 1:
            return np.zeros_like(row)
        bases = (at * stride for at, stride in zip((row, column), self.stride, strict=True))
        row, column = (base % insert for base, insert in zip(bases, self.insert, strict=True))
        return row * self.insert[1] + column

    def kind_of_pixels(self, offsets: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Return the kind of steps in which each pixel of the window is real; in all others it is an inserted zero."""
        if self.kinds == 1:
            return np.zeros(len(offsets), np.int64)
        row, column = -np.asarray(offsets).T % np.asarray(self.insert)[:, None]
        return row * self.insert[1] + column

    @property
    def count(self) -> int:
        """Steps of an image, those of all copies."""
        return self.steps[0] * self.steps[1]

    @property
    def computed(self) -> range:
        """Numbers of the steps that are computed, of one image."""
        return range(self.first, self.count, self.every)

    def lines_ahead(self, columns: Iterable[int]) -> int:
        """Return the lines that a copy holds beyond its window, whose pixels have these offsets along a row.

        While it computes a step the stream reaches what the other copies need; a line but for the window's own width is
        there for that already (docs/copies.md).
        """
        if self.every == 1:
            return 0
        along = list(columns)
        wide = max(along) - min(along)
        return (self.every - 1 - (-wide // self.stride[1])) // self.steps[1] * self.stride[0]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of output blocks that leave: the steps; with overlap what holds every output pixel too."""
        if not self.overlap:
            return self.steps
        sides = zip(self.steps, self.crop, self.output, self.block, strict=True)
        rows, columns = (max(steps, -(-(crop + size) // block)) for steps, crop, size, block in sides)
        return rows, columns

    @property
    def raster(self) -> bool:
        """Whether outputs leave in raster order: blocks of one pixel, all of which exist."""
        return self.block == (1, 1) and self.crop == (0, 0) and self.grid == self.output


def choose(layer: Layer, schedule: str) -> str:
    """Return the schedule that ``auto`` means, or ``schedule`` itself when the layer can have it."""
    usual = layer.op if layer.op != "conv_transpose" else "red"
    if schedule == "auto" or schedule == usual:
        return usual
    if option_of(schedule) not in TRANSPOSED:
        raise InputError(f"schedule {schedule!r} is none of auto, {', '.join(TRANSPOSED)}")
    if layer.op != "conv_transpose":
        asked = option_of(schedule)
        raise InputError(f"schedule {asked!r} is for transposed convolutions, {layer.name!r} is a {layer.op}")
    return schedule


def _pairs(count: tuple[int, int]) -> list[tuple[int, int]]:
    return [(y, x) for y in range(count[0]) for x in range(count[1])]


def taps_of(layer: Layer, schedule: str) -> list[Tap]:
    """Return all taps in kernel order."""
    stride, dilation, pads = layer.stride, layer.dilation, layer.pads[:2]
    taps = []
    for kernel in _pairs(layer.kernel):
        at = [k * d for k, d in zip(kernel, dilation, strict=True)]
        lag = [a - p for a, p in zip(at, pads, strict=True)]
        if schedule in ("conv", "dense"):
            offset, phase = lag, [0, 0]
        elif schedule in INSERTING:  # output o meets input pixel i where s*i = o - (k*d - p)
            offset, phase = [-a for a in lag], [0, 0]
        elif schedule == "padding-free":
            offset, phase = [0, 0], at
        else:
            offset = [-(a // s) for a, s in zip(lag, stride, strict=True)]
            phase = [a % s for a, s in zip(lag, stride, strict=True)]
        taps.append(Tap(kernel, (offset[0], offset[1]), (phase[0], phase[1])))
    return taps


def sweep_of(layer: Layer, schedule: str) -> Sweep:
    """Return the counters of ``layer`` under ``schedule``."""
    size, output = (layer.height, layer.width), layer.output_size
    if schedule in ("conv", "dense"):
        return Sweep(size=size, output=output, steps=output, stride=layer.stride)
    if schedule in INSERTING:
        whole = schedule == PAPER_BASELINE
        return Sweep(size=size, output=output, steps=output, insert=layer.stride, loads_inserted=whole)
    if schedule == "red":
        steps = (-(-output[0] // layer.stride[0]), -(-output[1] // layer.stride[1]))
        phases = tuple(_pairs(layer.stride))
        return Sweep(size=size, output=output, steps=steps, block=layer.stride, phases=phases)
    block = _pairs(layer.stride)
    taps = [tap.phase for tap in taps_of(layer, schedule)]
    return Sweep(
        size=size,
        output=output,
        steps=size,
        block=layer.stride,
        crop=layer.pads[:2],
        overlap=True,
        phases=tuple(taps + [position for position in block if position not in taps]),
    )
