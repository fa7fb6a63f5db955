"""Parts of a network's gateware with drawn parameters, and the cases of their bench."""

import json
import os
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache, cached_property
from math import floor
from typing import Any

import numpy as np
from amaranth.lib import wiring

from selvage.base.layer import InputFormat
from selvage.base.requantization import Requantization
from selvage.golden.requantize import requantize
from selvage.hw.network.collector import Collector, CollectorParameters
from selvage.hw.network.components import component_of
from selvage.hw.network.raster import RasterBuffer, RasterParameters
from selvage.hw.network.requantizer import Requantizer, RequantizerParameters
from selvage.mapping.collect import CollectPlan, Gathering
from tb.benches.bench_run import CASES
from tb.benches.components import Case
from tb.benches.network_maps import (
    Adding,
    Concatenating,
    Forking,
    Integers,
    Looking,
    Multiplying,
    Packing,
    Part,
    Pooling,
    Reordering,
    Streams,
    Words,
    draw_maps,
    in_words,
)


class Requantizing:
    """Sums of ``pixels`` pixels an image; of several, each has an own bias, own factors, or both, as ``own`` says."""

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        channels: int = 4,
        lanes: int = 2,
        pixels: int = 1,
        own: str = "bias factors",
        width: int = 14,
        bits: int = 8,
        factor: int = 40,
        bias: int = 500,
        shift: int = 7,
        leaky: bool = False,
        single: bool = False,
        odd: int = 0,
        zero_first: bool = False,
        tie_bits: int = 0,
        clip: int = 0,
    ) -> None:
        many = 1 if single else channels * (pixels if "factors" in own else 1)
        factors = [tuple(rng.integers(-factor, factor, many, endpoint=True).tolist()) for _ in range(2)]
        if factor >= 2**20:  # the ends matter
            factors = [(*own[1:], rng.choice([-factor, factor]).item()) for own in factors]
        biases = rng.integers(-bias, bias, 1 if single else channels * (pixels if "bias" in own else 1), endpoint=True)
        signed = bool(rng.integers(2))
        low = -(2 ** (bits - 1)) if signed else 0
        zero = low + 2 * int(rng.integers(2 ** (bits - 1))) + odd
        self.p = RequantizerParameters(
            Requantization(
                factors[0],
                shift,
                zero,
                low + clip,
                low + 2**bits - 1 - clip,
                tuple(biases.tolist()),
                factors[1] if leaky else (),
                zero_first,
                tie_bits,
            ),
            width,
            lanes,
            channels,
            bits,
        )
        self.pixels = pixels

    def build(self) -> wiring.Component:
        return Requantizer(self.p)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        p, r = self.p, self.p.requantization
        # Sums of one pixel for all are as good as those of a map.
        shape = (10 * images, p.channels, 1, self.pixels) if self.pixels > 1 else (images, p.channels, 1, 40)
        top = 2 ** (p.width - 1)
        sums = np.where(
            rng.random(shape) < 0.7,
            rng.integers(-min(top, 1500), min(top, 1500), shape),
            rng.choice([-top, top - 1, 0, -1], shape),
        )
        codes = np.array([self._code(sums, at) for at in np.ndindex(shape)]).reshape(shape)
        largest = (top + max(map(abs, r.bias))) * max(map(abs, (*r.factors, *r.below)))
        if largest < 2**62:
            assert np.array_equal(requantize(sums, r), codes), "the golden function is not what the bench makes"
        words = in_words(sums, p.lanes)
        return Streams(
            {"i": words}, {"o": in_words(codes, p.lanes)}, [k + Requantizer.latency for k in range(len(words))]
        )

    def _code(self, sums: Integers, at: tuple[int, ...]) -> int:
        """By fractions, of any size."""
        r, side = self.p.requantization, sums.shape[3]

        def pick(values: tuple[int, ...]) -> int:
            if len(values) == 1:
                return values[0]
            return values[at[1] * side + at[3]] if len(values) > self.p.channels else values[at[1]]

        total = int(sums[at]) + pick(r.bias)
        factor = pick(r.below) if r.below and total < 0 else pick(r.factors)
        value = Fraction(total * factor, 2**r.shift)
        half = floor(value) + Fraction(1, 2)
        reach = Fraction(2**r.tie_bits, 2 ** (r.shift + 1)) if r.tie_bits else 0
        if any(-reach <= value - own < reach for own in (half - 1, half, half + 1)):
            value = next(own for own in (half - 1, half, half + 1) if -reach <= value - own < reach)
        code = round(value + r.zero_point) if r.zero_first else round(value) + r.zero_point
        return min(max(code, r.low), r.high)


class Collecting:
    """Tiles of made-up beats; some words are not in all of them, some values in no word.

    ``gather`` beats are stored as one word, a run of ``side`` values of each beside each other; ``copies`` have the
    ``steps`` of an image in turn.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        tiles: int,
        lanes: int,
        words: int,
        groups: int = 2,
        sparse: float = 0.3,
        gather: int = 1,
        side: int = 1,
        copies: int = 1,
        steps: int = 1,
    ) -> None:
        sources, beats = [], []
        for _ in range(tiles):
            count = max(1, -(-words // groups) + int(rng.integers(0, 2)))
            places = [(word, group) for word in range(count) for group in range(groups)]
            order = rng.permutation(len(places))[:words]
            sources.append(tuple(None if rng.random() < sparse else places[k] for k in order))
            # Of the last word some beats may be missing, if no word leaves of what they hold.
            whole = any(source and source[0] == count - 1 for source in sources[-1])
            beats.append(count * gather if whole else (count - 1) * gather + int(rng.integers(1, gather + 1)))
        values, how = groups * lanes // gather, Gathering(gather, side)
        plan = CollectPlan(
            lanes, tuple(sources), tuple(beats), (values,) * tiles, (how,) * tiles, copies=copies, steps=steps
        )
        self.p = CollectorParameters(plan, tuple(rng.integers(3, 13, tiles).tolist()))

    def build(self) -> wiring.Component:
        return Collector(self.p)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        plan = self.p.plan
        steps = 5 * images if plan.copies == 1 else plan.steps * images
        inputs: dict[str, Words] = {f"i_{k}": [] for k in range(len(plan.beats) * plan.copies)}
        outputs = np.zeros((steps, plan.words, plan.lanes), np.int64)
        for k, (sources, beats, values, width) in enumerate(
            zip(plan.sources, plan.beats, plan.values, self.p.widths, strict=True)
        ):
            numbers, how = InputFormat(raw_bits=width, raw_signed=True), plan.gatherings[k]
            for step in range(steps):
                copy = step % plan.steps % plan.copies
                own = draw_maps(rng, numbers, (beats, values))
                inputs[f"i_{copy * len(plan.beats) + k}"] += own.tolist()
                filled = np.concatenate([own, np.zeros((-beats % how.beats, values), np.int64)])
                runs = filled.reshape(-1, how.beats, values // how.side, how.side)
                stored = runs.swapaxes(1, 2).reshape(len(runs), -1)
                for word, source in enumerate(sources):
                    if source:
                        first = source[1] * plan.lanes
                        outputs[step, word] += stored[source[0], first : first + plan.lanes]
        return Streams(inputs, {"o": outputs.reshape(-1, plan.lanes).tolist()}, self._times(steps))

    def _times(self, steps: int) -> list[int]:
        """A word leaves two cycles after its turn, three with copies: all tiles have its step since the cycle before.

        A tile of a copy writes its step when its last but one has been read.
        """
        plan, late = self.p.plan, 2 + (self.p.plan.copies > 1)
        free = [[0] * len(plan.beats) for _ in range(plan.copies)]
        done = [[-1, -1] for _ in range(plan.copies)]
        times, turn = [], 0
        for step in range(steps):
            copy = step % plan.steps % plan.copies
            for k, beats in enumerate(plan.beats):
                free[copy][k] = max(free[copy][k], done[copy][-2] + 1) + beats
            turn = max(turn, *free[copy])
            times += [turn + k + late for k in range(plan.words)]
            turn += plan.words
            done[copy].append(turn - 1)
        return times


class Rastering:
    """Blocks of pixels, cropped; or pixels that leave several times."""

    def __init__(
        self, rng: np.random.Generator, *, words: int = 1, lanes: int = 2, bits: int = 8, **sides: Any
    ) -> None:
        sides = {name: tuple(own) for name, own in sides.items()}
        self.p = RasterParameters(**{"crop": (0, 0), "repeat": (1, 1)} | sides, words=words, lanes=lanes, bits=bits)

    def build(self) -> wiring.Component:
        return RasterBuffer(self.p)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        p = self.p
        sides = [grid * block for grid, block in zip(p.grid, p.block, strict=True)]
        maps = rng.integers(0, 2**p.bits, (images, *sides, p.words, p.lanes))
        blocks = maps.reshape(images, p.grid[0], p.block[0], p.grid[1], p.block[1], p.words, p.lanes)
        rows, columns = (slice(crop, crop + size) for crop, size in zip(p.crop, p.size, strict=True))
        leaving = maps[:, rows, columns].repeat(p.repeat[0], axis=1).repeat(p.repeat[1], axis=2)
        return Streams(
            {"i": blocks.transpose(0, 1, 3, 2, 4, 5, 6).reshape(-1, p.lanes).tolist()},
            {"o": leaving.reshape(-1, p.lanes).tolist()},
            self._times(images),
        )

    def _times(self, images: int) -> list[int]:
        """A word leaves the cycle after its turn: its row of blocks is whole since the cycle before."""
        p = self.p
        whole, turn, done, times = 0, 0, [-1, -1], []
        for band in range(images * p.grid[0]):
            whole = max(whole, done[band] + 1) + p.half
            turn = max(turn, whole)
            for row in range(p.block[0]):
                line = band % p.grid[0] * p.block[0] + row - p.crop[0]
                inside = 0 <= line < p.size[0]
                count = p.repeat[0] * p.size[1] * p.repeat[1] * p.words if inside else 0
                times += [turn + k + 1 for k in range(count)]
                turn += count or 1
            done.append(turn - 1)
        return times


class Loading:
    """A part of kind ``of`` that is built with other constants than it is loaded with."""

    CONSTANTS = ("requantization", "factors", "entries")

    def __init__(self, rng: np.random.Generator, *, of: str, **settings: Any) -> None:
        self.part, other = (KINDS[of](rng, **settings) for _ in range(2))
        self.p = replace(self.part.p, constants="loaded")
        changed = {name: getattr(other.p, name) for name in self.CONSTANTS if name in vars(self.p)}
        if "requantization" in changed:
            changed["requantization"] = replace(changed["requantization"], shift=self.p.requantization.shift ^ 5)
        self.built = replace(self.p, **changed)
        assert self.built.table != self.p.table and self.built.table_fields == self.p.table_fields

    @property
    def table(self) -> tuple[int, ...]:
        """Words to load."""
        return self.p.table

    def build(self) -> wiring.Component:
        return Requantizer(self.built) if isinstance(self.built, RequantizerParameters) else component_of(self.built)

    def streams(self, rng: np.random.Generator, images: int) -> Streams:
        return self.part.streams(rng, images)


KINDS: dict[str, type] = {
    "loaded": Loading,
    "requantizer": Requantizing,
    "collector": Collecting,
    "raster": Rastering,
    "fork": Forking,
    "packer": Packing,
    "table": Looking,
    "add": Adding,
    "concat": Concatenating,
    "multiply": Multiplying,
    "pool": Pooling,
    "reorder": Reordering,
}


@dataclass(frozen=True)
class PartCase(Case):
    """A part of kind ``component``, what ``settings`` leave open drawn from the name."""

    layer: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def bench(self) -> str:
        return "tb.benches.network_parts_bench"

    @cached_property
    def part(self) -> Part:
        return KINDS[self.component](np.random.default_rng(self.seed), **self.settings)

    def build(self) -> wiring.Component:
        return self.part.build()


@cache
def present_part(name: str) -> Part:
    """Of one of the cases that the simulator runs: for benches."""
    return next(PartCase(**told) for told in json.loads(os.environ[CASES]) if told["name"] == name).part
