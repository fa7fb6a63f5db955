"""Small stages between layers with drawn parameters, and what they make of drawn words."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray

from selvage.base import graph
from selvage.base.layer import InputFormat
from selvage.golden.graph import evaluate_node, mean_requantization, product_requantization, sum_factors
from selvage.golden.requantize import all_codes
from selvage.hw.network.maps import (
    AddMaps,
    AddParameters,
    CodeTable,
    ConcatMaps,
    ConcatParameters,
    Packer,
    PackerParameters,
    TableParameters,
    codes_layout,
)
from selvage.hw.network.multiply import MultiplyMaps, MultiplyParameters
from selvage.hw.network.pool import Pool, PoolParameters
from selvage.hw.network.reorder import ReorderBuffer, ReorderParameters
from selvage.hw.network.requantizer import Requantizer
from selvage.hw.tile.streams import Fork
from selvage.mapping.stages import ReorderStage
from selvage.sim.cycles import Source

Integers = NDArray[np.int64]
Words = list[list[int | None]]  # lanes of each; None: anything


def _identity(count: int, step: int = 1) -> list[int]:
    return [k * step for k in range(count)]


ORDERS: dict[str, Callable[[int, int, int], tuple]] = {  # shape; numbers of channels, rows and columns
    "crop": lambda c, h, w: ((c, h - 3, w - 2), _identity(c), _identity(h, w * c)[2:-1], _identity(w, c)[1:-1]),
    "top": lambda c, h, w: ((c, 1, w), _identity(c), [0], _identity(w, c)),
    "pad": lambda c, h, w: (
        (c, h + 3, w + 2),
        _identity(c),
        [-1, *_identity(h, w * c), -1, -1],
        [-1, *_identity(w, c), -1],
    ),
    "reflect": lambda c, h, w: (
        (c, h + 2, w + 2),
        _identity(c),
        [w * c, *_identity(h, w * c), (h - 2) * w * c],
        [c, *_identity(w, c), (w - 2) * c],
    ),
    "shuffle": lambda c, h, w: (
        (c, h, w),
        [k % 2 * (c // 2) + k // 2 for k in range(c)],
        _identity(h, w * c),
        _identity(w, c),
    ),
    "half": lambda c, h, w: ((c // 2, h, w), _identity(c)[c // 2 :], _identity(h, w * c), _identity(w, c)),
    "turn": lambda c, h, w: ((c, w, h), _identity(c), _identity(w, c), _identity(h, w * c)),
    "rows_as_channels": lambda c, h, w: ((h, c, w), _identity(h, w * c), _identity(c), _identity(w, c)),
    "flip": lambda c, h, w: ((c, h, w), _identity(c), _identity(h, w * c)[::-1], _identity(w, c)),
    "repeat": lambda c, h, w: ((c, 4, 3), _identity(c), [0] * 4, [0] * 3),
    "depth_to_space": lambda c, h, w: (
        (c // 4, 2 * h, 2 * w),
        _identity(c // 4),
        [y // 2 * w * c + y % 2 * (c // 2) for y in range(2 * h)],
        [x // 2 * c + x % 2 * (c // 4) for x in range(2 * w)],
    ),
}
REDUCED = 8  # cycles from the last pixel of a pool's window to its word at the output, without a mean's rounding


@dataclass(frozen=True)
class Streams:
    """Words of each input and output, and the cycle in which each output word leaves when nothing pauses."""

    inputs: dict[str, Words]
    outputs: dict[str, Words]
    times: list[int]


class Part(Protocol):
    """A component with its parameters drawn; `streams` draws some images."""

    def build(self) -> wiring.Component: ...
    def streams(self, rng: np.random.Generator, images: int) -> Streams: ...


def in_words(maps: Integers, lanes: int) -> Words:
    """Maps (N, C, H, W) as a stream: raster order, channels of a pixel in order."""
    return maps.transpose(0, 2, 3, 1).reshape(-1, lanes).tolist()


def draw_maps(rng: np.random.Generator, numbers: InputFormat, shape: tuple[int, ...]) -> Integers:
    """Codes, a quarter of them at an end of their range."""
    codes = rng.integers(*numbers.raw_range, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.25, rng.choice(numbers.raw_range, shape), codes)


def draw_format(rng: np.random.Generator, bits: int = 8, signed: bool | None = None) -> InputFormat:
    """Signed or not, with any zero point."""
    signed = bool(rng.integers(2)) if signed is None else signed
    low = -(2 ** (bits - 1)) if signed else 0
    return InputFormat(raw_bits=bits, raw_signed=signed, zero_point=int(rng.integers(low, low + 2**bits)))


def draw_tensor(rng: np.random.Generator, shape: tuple[int, int, int], name: str = "x", **numbers: Any) -> graph.Tensor:
    """A tensor of some scale near 1/8."""
    return graph.Tensor(name, shape, float(np.float32(rng.uniform(0.05, 0.2))), draw_format(rng, **numbers))


class Forking:
    """Noise to several readers."""

    def __init__(self, rng: np.random.Generator, *, count: int, lanes: int = 2) -> None:
        self.count, self.lanes = count, lanes

    def build(self) -> wiring.Component:
        return Fork(codes_layout(8, self.lanes), self.count)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        words = rng.integers(0, 256, (40 * images, self.lanes)).tolist()
        return Streams({"i": words}, {f"o_{k}": words for k in range(self.count)}, list(range(len(words))))


class Packing:
    """Some channels of each pixel, in wider words."""

    def __init__(self, rng: np.random.Generator, **own: int) -> None:
        self.p = PackerParameters(**own, bits=8)

    def build(self) -> wiring.Component:
        return Packer(self.p)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        p, pixels = self.p, 12 * images
        codes = rng.integers(0, 256, (pixels, p.channels))
        leaving: Words = []
        times = []
        for pixel in range(pixels):
            for first in range(p.first, p.first + p.own, p.packed):
                beyond = min(first + p.packed, p.first + p.own)
                own = codes[pixel, first:beyond].tolist()
                leaving.append(own + [None] * (p.packed - len(own)))
                times.append((pixel * p.channels + beyond) // p.lanes)
        return Streams({"i": codes.reshape(-1, p.lanes).tolist()}, {"o": leaving}, times)


class Looking:
    """Any function of a code."""

    def __init__(self, rng: np.random.Generator, *, signed: bool, bits: int = 8, to: int = 8, lanes: int = 2) -> None:
        source = draw_format(rng, bits, signed)
        target = draw_format(rng, to, not signed)
        self.x, self.y = graph.Tensor("x", (2 * lanes, 3, 5), 1.0, source), graph.Tensor("y", (6, 3, 5), 1.0, target)
        self.entries = rng.integers(*target.raw_range, len(all_codes(source)), endpoint=True)
        self.p = TableParameters(tuple(self.entries.tolist()), source, to, lanes)

    def build(self) -> wiring.Component:
        return CodeTable(self.p)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        node = graph.Table(name="table", inputs=("x",), output=self.y, function="any", entries=self.entries)
        codes = draw_maps(rng, self.x.format, (images, *self.x.shape))
        words = in_words(codes, self.p.lanes)
        leaving = in_words(evaluate_node(node, [self.x], [codes]), self.p.lanes)
        return Streams({"i": words}, {"o": leaving}, [k + 1 for k in range(len(words))])


class Adding:
    """Maps of any scales; ``even``: of ``scales`` that make halves, the maps' and their sum's."""

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        signed: tuple[bool, ...],
        lanes: int = 2,
        even: bool = False,
        scales: tuple[float, float] = (0.0625, 0.25),
        coefficients: tuple[str, ...] = (),
    ) -> None:
        shape = (2 * lanes, 3, 5)
        self.sources = [draw_tensor(rng, shape, f"x_{k}", signed=own) for k, own in enumerate(signed)]
        output = draw_tensor(rng, shape, "y")
        activation = graph.LINEAR if even else graph.Activation(low=-6.5 * output.scale)
        if even:
            self.sources = [graph.Tensor(own.name, shape, scales[0], own.format) for own in self.sources]
            output = graph.Tensor("y", shape, scales[1], output.format)
        names = tuple(tensor.name for tensor in self.sources)
        own = {"inputs": names, "output": output, "activation": activation}
        own |= {"zero_first": bool(rng.integers(2)), "coefficients": tuple(map(Fraction, coefficients))}
        self.node = graph.Add(name="add", **own)
        factors, r = sum_factors(self.node, self.sources)
        self.p = AddParameters(factors, tuple(own.format for own in self.sources), r, 8, lanes)

    def build(self) -> wiring.Component:
        return AddMaps(self.p)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        codes = [draw_maps(rng, own.format, (images, *own.shape)) for own in self.sources]
        leaving = in_words(evaluate_node(self.node, self.sources, codes), self.p.lanes)
        inputs = {f"i_{k}": in_words(own, self.p.lanes) for k, own in enumerate(codes)}
        return Streams(inputs, {"o": leaving}, [k + AddMaps.latency for k in range(len(leaving))])


class Multiplying:
    """Two maps of any scales; ``even``: of scales of which products make halves."""

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        signed: tuple[bool, bool],
        lanes: int = 2,
        even: bool = False,
        slope: float = 1,
    ) -> None:
        shape = (2 * lanes, 3, 5)
        self.sources = [draw_tensor(rng, shape, f"x_{k}", signed=own) for k, own in enumerate(signed)]
        output = draw_tensor(rng, shape, "y")
        if even:
            self.sources = [graph.Tensor(own.name, shape, 0.0625, own.format) for own in self.sources]
        output = graph.Tensor("y", shape, 0.5 if even else 40 * output.scale, output.format)
        own = {"inputs": ("x_0", "x_1"), "output": output, "activation": graph.Activation(slope=slope)}
        self.node = graph.Multiply(name="multiply", zero_first=bool(rng.integers(2)), **own)
        how = product_requantization(self.node, self.sources)
        self.p = MultiplyParameters(tuple(own.format for own in self.sources), how, 2 * lanes, lanes, 8)

    def build(self) -> wiring.Component:
        return MultiplyMaps(self.p)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        codes = [draw_maps(rng, own.format, (images, *own.shape)) for own in self.sources]
        leaving = in_words(evaluate_node(self.node, self.sources, codes), self.p.lanes)
        inputs = {f"i_{k}": in_words(own, self.p.lanes) for k, own in enumerate(codes)}
        return Streams(inputs, {"o": leaving}, [k + MultiplyMaps.latency for k in range(len(leaving))])


class Concatenating:
    """Maps of different numbers of channels."""

    def __init__(self, rng: np.random.Generator, *, words: Iterable[int], lanes: int = 2) -> None:
        self.p = ConcatParameters(tuple(words), 8, lanes)

    def build(self) -> wiring.Component:
        return ConcatMaps(self.p)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        p = self.p
        maps = [rng.integers(0, 256, (images, own * p.lanes, 3, 4)) for own in p.words]
        leaving = in_words(np.concatenate(maps, axis=1), p.lanes)
        inputs = {f"i_{k}": in_words(own, p.lanes) for k, own in enumerate(maps)}
        return Streams(inputs, {"o": leaving}, list(range(len(leaving))))


class Reordering:
    """A map of ``shape`` in the order that ``how`` names."""

    def __init__(self, rng: np.random.Generator, *, how: str, shape: tuple[int, int, int], lanes: int = 2) -> None:
        self.x = draw_tensor(rng, tuple(shape))
        to, *axes = ORDERS[how](*shape)
        output = graph.Tensor("y", to, self.x.scale, self.x.format)
        channels, rows, columns = (np.array(own, np.int64) for own in axes)
        own = {"inputs": ("x",), "output": output, "fill": self.x.format.zero_point}
        self.node = graph.Reorder(name="reorder", channels=channels, rows=rows, columns=columns, **own)
        stage = ReorderStage("reorder", (self.x,), output, self.node)
        words = dict.fromkeys("xy", lanes)
        stage.agree(words)
        self.p = ReorderParameters(stage.plan(words["y"]), self.node.fill, words["y"], 8)

    def build(self) -> wiring.Component:
        return ReorderBuffer(self.p)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        codes = draw_maps(rng, self.x.format, (images, *self.x.shape))
        incoming = in_words(codes, self.p.lanes)
        leaving = in_words(evaluate_node(self.node, [self.x], [codes]), self.p.lanes)
        return Streams({"i": incoming}, {"o": leaving}, self._times(len(incoming), len(leaving)))

    def _times(self, count: int, leaving: int) -> list[int]:
        """Cycle by cycle, as the design page has it: words come as there is room, and leave when theirs has come."""
        plan = self.p.plan
        order = [(line, own) for line, words in enumerate(plan.numbers.tolist()) for own in words]
        came, word, part, times = 0, 0, 0, []
        for cycle in range(100 * (count + leaving)):
            if word < leaving:
                line, own = order[word % len(order)]
                room = came < part * plan.words + plan.free[line] + plan.depth
                dropped = part * plan.words + plan.used <= came < (part + 1) * plan.words
                last = (word + 1) % len(order) == 0
                needed = (part + 1) * plan.words if last else part * plan.words + max(own, 0) + 1
                if cycle >= 2 and came >= needed:
                    times.append(cycle + 1)
                    word, part = word + 1, part + last
                came += came < count and (room or dropped)
        return times


class Pooling:
    """Windows of a small map; ``same_scale``: means with the scale of the map, which have true halves."""

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        kind: str,
        size: tuple[int, int],
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        channels: int = 2,
        lanes: int = 2,
        signed: bool | None = None,
        zero_first: bool = False,
        same_scale: bool = False,
    ) -> None:
        size, kernel, stride = tuple(size), tuple(kernel), tuple(stride)
        sides = zip(size, kernel, stride, range(2), strict=True)
        output = tuple((side + pads[k] + pads[k + 2] - own) // step + 1 for side, own, step, k in sides)
        self.x = draw_tensor(rng, (channels, *size), signed=signed)
        to = draw_tensor(rng, (channels, *output), "y") if kind == "average" else self.x
        to = graph.Tensor("y", (channels, *output), self.x.scale if same_scale else to.scale, to.format)
        self.node = graph.Pool(
            name="pool",
            inputs=("x",),
            output=to,
            kind=kind,
            kernel=kernel,
            stride=stride,
            pads=tuple(pads),
            zero_first=zero_first,
        )
        how = mean_requantization(self.node, self.x) if kind == "average" else None
        self.p = PoolParameters(
            kind, kernel, stride, tuple(pads[:2]), size, output, channels, lanes, self.x.format, 8, how
        )

    def build(self) -> wiring.Component:
        return Pool(self.p)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        codes = draw_maps(rng, self.x.format, (images, *self.x.shape))
        leaving = evaluate_node(self.node, [self.x], [codes])
        outputs = {"o": in_words(leaving, self.p.lanes)}
        return Streams({"i": in_words(codes, self.p.lanes)}, outputs, self._times(images))

    def _times(self, images: int) -> list[int]:
        """Windows load one after the other, as soon as their pixels are there."""
        p, start, times = self.p, 0, []
        offsets = tuple((row, column) for row, column, _ in p.buffer.reads)
        source = Source(p.buffer.sweep, offsets, p.words)
        latency = REDUCED + (Requantizer.latency if p.requantization else 0)
        for step in range(images * p.output[0] * p.output[1]):
            at = step % (p.output[0] * p.output[1])
            if step and at == 0:
                start = source.restart(start)
            start = source.present(at, start)
            times += [start + (word + 1) * p.taps - 1 + latency for word in range(p.words)]
            start += p.words * p.taps
        return times
