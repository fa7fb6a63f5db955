"""A quantised network on a chip: its stages, what passes between them, and the buffers of what waits."""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from selvage.base.graph import Pool, Reorder, Tensor
from selvage.base.requantization import Requantization
from selvage.mapping.collect import WIDEST, Leaving
from selvage.mapping.load import words_of
from selvage.mapping.placement import Array, Placement
from selvage.mapping.reorder import ReorderPlan, fits_words, plan_reorder

STEPS_AHEAD = 8  # pixels under way in a stage: loaded, read, drained, collected, requantised


@dataclass(frozen=True, eq=False)
class Stage:
    """One node of the network in gateware, or a part of one.

    ``sources`` and ``output`` are tensors, ``name`` no other stage has. ``part_of``: the node's name, where it is
    another.
    """

    name: str
    sources: tuple[Tensor, ...]
    output: Tensor
    part_of: str = field(default="", kw_only=True)

    @property
    def node_name(self) -> str:
        """Name of the node that it is a part of."""
        return self.part_of or self.name

    @property
    def subtracts_zero_points(self) -> bool:
        """Whether the zero points of its sources are part of its structure, not of what may be loaded."""
        return False

    @property
    def structure(self) -> tuple:
        """What of it, beside tensors, cannot be loaded."""
        return ()

    @property
    def lines_held(self) -> int:
        """Lines of its input that its first outputs need, but the one under way."""
        return 0

    @property
    def lines_behind(self) -> Fraction:
        """Lines of its input, below the one that an output pixel lies in, that it takes to make the pixel."""
        return Fraction()

    @property
    def lines_taken(self) -> int:
        """Lines of its input that it may have taken beyond those of the outputs that have left it."""
        return 1

    def agree(self, lanes: dict[str, int]) -> None:
        """Reduce the channels of a word of each of its tensors, by name, to what it takes and yields.

        What does not gather channels passes words on as wide as they come.
        """
        names = [*(source.name for source in self.sources), self.output.name]
        lanes.update(dict.fromkeys(names, min(lanes[name] for name in names)))


@dataclass(frozen=True, eq=False)
class LayerStage(Stage):
    """A layer on crossbars; its sums leave as they are without ``requantization``."""

    placement: Placement
    requantization: Requantization | None

    @cached_property
    def leaving(self) -> Leaving:
        """What its tiles yield."""
        return Leaving(self.placement)

    @property
    def subtracts_zero_points(self) -> bool:
        """True: an input buffer subtracts them."""
        return True

    @property
    def structure(self) -> tuple:
        """The layer and how it is placed."""
        placement = self.placement
        how = (placement.mapping, placement.schedule, *([placement.copies] if placement.copies > 1 else []))
        return sorted(placement.layer.model_dump().items()), *how

    @property
    def lines_held(self) -> int:
        """The kernel's lines, pads taken off; of a transposed convolution those that an output pixel is made of."""
        layer = self.placement.layer
        if layer.op == "conv_transpose":
            return -(-layer.extent[0] // layer.stride[0])
        return max(layer.extent[0] - layer.pads[0], 0)

    @property
    def lines_behind(self) -> Fraction:
        """As the lowest window of its tiles reaches, and a row of blocks where they leave whole."""
        sweep = self.placement.sweep
        below = max(row for tile in self.placement.tiles for row, _ in tile.offsets)
        cropped = Fraction(sweep.crop[0] * sweep.stride[0], sweep.block[0])
        whole = 0 if sweep.raster else sweep.stride[0]
        return (below + cropped + whole) / sweep.insert[0]

    @property
    def lines_taken(self) -> int:
        """Those of its input buffers, as many of the next image, and two rows of blocks where they leave whole."""
        sweep = self.placement.shares[0].sweep
        offsets = [offset for tile in self.placement.tiles for offset in tile.offsets]
        rows = [row // sweep.insert[0] for row, _ in offsets]
        ahead = sweep.lines_ahead(column for _, column in offsets)
        buffer = max(rows) - min(rows) + 1 + sweep.stride[0] + ahead
        return 2 * buffer + (0 if sweep.raster else 2 * sweep.stride[0]) + 1

    def agree(self, lanes: dict[str, int]) -> None:
        """Take whole words a tile, and yield what its collector gathers."""
        (source,) = self.sources
        lanes[self.output.name] = min(lanes[self.output.name], self.leaving.lanes)
        for tile in self.placement.tiles:
            for number in (tile.first_channel, tile.channels, words_of(tile, self.placement)[0]):
                while number % lanes[source.name]:
                    lanes[source.name] //= 2


@dataclass(frozen=True, eq=False)
class PoolStage(Stage):
    """Largest or mean of a window; the mean is requantised."""

    node: Pool
    requantization: Requantization | None

    @property
    def subtracts_zero_points(self) -> bool:
        """Whether it is a mean, whose input buffer subtracts them."""
        return self.node.kind == "average"

    @property
    def structure(self) -> tuple:
        """The window."""
        node = self.node
        more = () if node.dilation == (1, 1) else (node.dilation,)
        return (node.kind, node.kernel, node.stride, node.pads, *more)

    @property
    def lines_held(self) -> int:
        """The window's lines, pads taken off."""
        return max(self.node.extent[0] - self.node.pads[0], 0)

    @property
    def lines_behind(self) -> Fraction:
        """The window's lines below its pads and the first."""
        return Fraction(self.node.extent[0] - 1 - self.node.pads[0])

    @property
    def lines_taken(self) -> int:
        """Those of its input buffer."""
        return self.node.extent[0] + self.node.stride[0]


@dataclass(frozen=True, eq=False)
class TableStage(Stage):
    """A code for each code, the smallest first."""

    entries: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class AddStage(Stage):
    """The sum of maps, each times its factor, requantised."""

    factors: tuple[int, ...]
    requantization: Requantization

    @property
    def structure(self) -> tuple:
        """Which maps are subtracted, where some are: factors are loaded without a sign."""
        signs = tuple(factor < 0 for factor in self.factors)
        return signs if any(signs) else ()


@dataclass(frozen=True, eq=False)
class MultiplyStage(Stage):
    """The product of two maps, requantised."""

    requantization: Requantization

    @property
    def subtracts_zero_points(self) -> bool:
        """True: they are taken off before the product."""
        return True


@dataclass(frozen=True, eq=False)
class ConcatStage(Stage):
    """Channels one map after the other."""


@dataclass(frozen=True, eq=False)
class ResizeStage(Stage):
    """Each pixel ``factor`` times, rows and columns."""

    factor: tuple[int, int]


@dataclass(frozen=True, eq=False)
class ReorderStage(Stage):
    """Codes in another order, from a memory that holds what later ones need."""

    node: Reorder

    def plan(self, lanes: int) -> ReorderPlan:
        """Return which word of the source each word of ``lanes`` channels is."""
        return plan_reorder(self.node, self.sources[0].shape, lanes)

    @property
    def structure(self) -> tuple:
        """The order."""
        axes = (self.node.channels, self.node.rows, self.node.columns)
        return (*(tuple(own.tolist()) for own in axes), self.node.fill)

    @property
    def lines_held(self) -> int:
        """Lines up to the last that the first line of the output needs, which may wait for all."""
        return -(-max(self._needed[0], 1) // self._pitch) - 1

    @property
    def lines_behind(self) -> Fraction:
        """As far as a line of the output needs lines below the one that it lies in."""
        step = Fraction(self.sources[0].shape[1], len(self._needed))
        return max(Fraction(need, self._pitch) - 1 - line * step for line, need in enumerate(self._needed))

    @property
    def lines_taken(self) -> int:
        """Those that its memory holds."""
        plan = self.plan(1)
        return -(-plan.depth // self._pitch) + 1

    @property
    def _pitch(self) -> int:
        """Codes of a line of the source."""
        return self.sources[0].shape[0] * self.sources[0].shape[2]

    @cached_property
    def _needed(self) -> list[int]:
        """Codes of the source that have come before a line of the output is whole."""
        return (self.node.numbers.max(axis=(0, 2)) + 1).tolist()

    def agree(self, lanes: dict[str, int]) -> None:
        """Reduce words until each is a whole word of the source, or all ``fill``."""
        super().agree(lanes)
        while not fits_words(self.node, lanes[self.output.name]):
            lanes.update(dict.fromkeys((self.sources[0].name, self.output.name), lanes[self.output.name] // 2))


@dataclass(frozen=True, eq=False)
class StateStage(Stage):
    """What a loop of ``steps`` remembers: ``initial`` codes, then those that come back from each step but the last."""

    initial: tuple[int, ...]
    steps: int

    @property
    def structure(self) -> tuple:
        """The loop, and what it begins with."""
        return self.steps, self.initial


@dataclass(frozen=True, eq=False)
class ReshapeStage(Stage):
    """Words of a pixel as words of a map."""


@dataclass(frozen=True, eq=False)
class NetworkPlan:
    """All stages in an order in which data flows; ``outputs`` leave. ``widest``: the most channels of a word."""

    name: str
    inputs: tuple[Tensor, ...]
    stages: tuple[Stage, ...]
    outputs: tuple[Tensor, ...]
    widest: int = WIDEST

    @property
    def layers(self) -> tuple[LayerStage, ...]:
        """The stages on crossbars."""
        return tuple(stage for stage in self.stages if isinstance(stage, LayerStage))

    @property
    def arrays(self) -> list[Array]:
        """Arrays of all layers, tile by tile: the order of the macros at a network's pins."""
        return [array for stage in self.layers for _, tile in stage.placement.standing for array in tile.arrays]

    def readers(self, name: str) -> list[tuple[Stage, int]]:
        """Return the stages that read tensor ``name``, and as which of their sources."""
        return [(s, k) for s in self.stages for k, source in enumerate(s.sources) if source.name == name]

    @cached_property
    def lanes(self) -> dict[str, int]:
        """Channels of a word of each tensor: a power of two that its maker yields and all its readers take."""
        tensors = [*self.inputs, *(stage.output for stage in self.stages)]
        lanes = dict.fromkeys((tensor.name for tensor in tensors), self.widest)
        for tensor in tensors:
            while tensor.shape[0] % lanes[tensor.name]:
                lanes[tensor.name] //= 2
        before = None
        while before != lanes:
            before = dict(lanes)
            for stage in self.stages:
                stage.agree(lanes)
        return lanes

    @cached_property
    def depths(self) -> dict[tuple[str, int], int]:
        """Words that wait before a stage that joins streams, by (stage, source); 0 where none need to.

        As many as the longer way may have taken beyond what has left it, so that the fork never waits for the join for
        ever, nor the longer way for words that it has room for. That is no more than an image and as much as the longer
        way lags behind. Ways that hold the same may still need different pixels before they yield one. A
        concatenation's maps may come word by word from one fork, and it takes a whole pixel of one before the next: so
        a pixel of each waits.
        """
        names = [tensor.name for tensor in self.inputs]
        held = dict.fromkeys(names, 0.0)  # images between input and tensor, before it yields
        taken = dict.fromkeys(names, 0.0)  # of these, what the way may have taken beyond what has left
        lag = dict.fromkeys(names, Fraction())  # and what it needs before it yields
        depths: dict[tuple[str, int], int] = {}
        for stage in self.stages:
            if isinstance(stage, StateStage):  # begins a step as an input does, and what it reads is made behind it
                depths[stage.name, 0] = 0
                held[stage.output.name] = taken[stage.output.name] = 0.0
                lag[stage.output.name] = Fraction()
                continue
            longest, most = (max(way[source.name] for source in stage.sources) for way in (held, taken))
            last = max(lag[source.name] for source in stage.sources)
            for k, source in enumerate(stage.sources):
                late = max(longest - held[source.name], float(last - lag[source.name]))
                words = source.numbers // self.lanes[source.name]
                pixel = source.shape[0] // self.lanes[source.name]
                depth = -(-int((1 + late) * words * 16) // 16) if late else 0
                beyond = max(late, most - taken[source.name])
                depth = min(depth, -(-int(beyond * words * 16) // 16) + STEPS_AHEAD * pixel)
                if isinstance(stage, ConcatStage) and k and pixel > 1:
                    depth = max(depth, pixel)
                depths[stage.name, k] = depth
            lines = stage.sources[0].shape[1]
            held[stage.output.name] = longest + min(1.0, (stage.lines_held + 1) / lines)
            taken[stage.output.name] = most + stage.lines_taken / lines
            lag[stage.output.name] = last + stage.lines_behind / lines
        return depths

    @cached_property
    def fed_together(self) -> tuple[tuple[int, ...], ...]:
        """Inputs, by number, that meet in a stage: one of them a whole image ahead waits for the other for ever."""
        groups = [{k} for k in range(len(self.inputs))]
        above = {tensor.name: {k} for k, tensor in enumerate(self.inputs)}
        for stage in self.stages:
            met = set().union(*(above.get(source.name, set()) for source in stage.sources))
            above[stage.output.name] = met
            joined = [group for group in groups if group & met]
            groups = [group for group in groups if not group & met] + [set().union(*joined)]
        return tuple(sorted(tuple(sorted(group)) for group in groups if len(group) > 1))
