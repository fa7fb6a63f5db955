"""One layer under one schedule, all tiles of it or of a band of its input: simulated without Python, and judged.

Tiles of equal structure are compiled once and run one after the other in one process, each with its own cells and
channels. Their outputs add to the layer's, which are compared with golden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.layers import FORMAT, Integers, activations, weights
from selvage.base.chip import load_chip
from selvage.base.errors import SimulationError
from selvage.base.layer import Layer
from selvage.commands.difference import first_difference
from selvage.golden.layer import evaluate
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Placement
from selvage.rtlsim.plain_tile import build_plain_tile, run_plain_tile
from selvage.sim.cycles import tile_cycles

Outputs = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A layer on a chip under one schedule; with ``lines`` only those input lines of it, first and behind the last."""

    layer: Layer
    chip: str
    schedule: str
    lines: tuple[int, int] | None = None

    @property
    def own(self) -> Layer:
        """What is simulated: the layer, or the layer of the lines alone."""
        if self.lines is None:
            return self.layer
        return self.layer.model_copy(update={"height": self.lines[1] - self.lines[0]})

    @property
    def label(self) -> str:
        return "whole" if self.lines is None else f"input lines {self.lines[0]}-{self.lines[1] - 1}"

    @property
    def rows(self) -> tuple[slice, int]:
        """Rows of `own`'s output that are the whole layer's, for no other input line adds to them; and where there."""
        if self.lines is None:
            return slice(0, self.layer.output_size[0]), 0
        layer, (first, end) = self.layer, self.lines
        stride, reach, pad = layer.stride[0], layer.extent[0], layer.pads[0]
        moved = first * stride
        # Line i adds to the rows i * stride - pad and the reach - 1 after it.
        top = 0 if first == 0 else max(0, (first - 1) * stride + reach - pad - moved)
        whole = end == layer.height
        bottom = self.own.output_size[0] if whole else min(self.own.output_size[0], end * stride - pad - moved)
        return slice(top, bottom), moved

    def inputs(self) -> Integers:
        x = activations(self.layer)
        return x if self.lines is None else x[:, :, self.lines[0] : self.lines[1]]


@dataclass(frozen=True)
class Outcome:
    """Of tiles of one structure."""

    tiles: int
    cycles: int  # of all, one after the other
    slowest: int  # cycles of one
    reads: int  # at the pins of all macros
    differences: tuple[str, ...]  # from the cycle model
    compile_seconds: float
    run_seconds: float  # of the simulator alone


@lru_cache(maxsize=1)
def placed(part: Part) -> tuple[Placement, tuple[TileParameters, ...]]:
    """The part's placement and its tiles; a process keeps the last one, for it does kind after kind of it."""
    chip = load_chip(part.chip)
    values = weights(part.layer, chip)
    placement = place_dense(part.own, values, chip, input_format=FORMAT, schedule=part.schedule)
    return placement, tuple(TileParameters(placement, tile, counters=False) for tile in placement.tiles)


def kinds(part: Part) -> list[tuple[int, ...]]:
    """Tiles of equal structure, by their place in the placement."""
    found: dict[tuple, list[int]] = {}
    for index, p in enumerate(placed(part)[1]):
        found.setdefault(p.structure, []).append(index)
    return [tuple(own) for own in found.values()]


def simulate(part: Part, tiles: tuple[int, ...], simulator: str, build: Path) -> tuple[Outputs, Outcome]:
    """Compile what is equal in ``tiles``, run each, and compare its cycles and reads with the model.

    With the outcome comes the tiles' share of the outputs.
    """
    placement, parameters = placed(part)
    x = part.inputs()
    built = build_plain_tile(parameters[tiles[0]], simulator=simulator, build=build)
    y: Outputs = np.int64(0)
    results, differences = [], []
    for index in tiles:
        model = tile_cycles(placement, placement.tiles[index], x)
        try:
            result = run_plain_tile(parameters[index], built, x, cycles=model.cycles)
        except SimulationError as error:
            raise type(error)(f"{part.layer.name}, {part.schedule}, tile {index}: {error}") from None
        y = y + result.y
        results.append(result)
        expected = {"cycles": model.cycles, "reads": model.reads, "words": model.fetched}
        counted = {"cycles": result.cycles, "reads": result.reads[0], "words": result.counters["fetched"]}
        for name, value in counted.items():
            if value != expected[name]:
                differences.append(f"tile {index}: {name}: RTL {value}, model {expected[name]}")
    return y, Outcome(
        tiles=len(tiles),
        cycles=sum(result.cycles for result in results),
        slowest=max(result.cycles for result in results),
        reads=sum(result.reads[0] for result in results),
        differences=tuple(differences),
        compile_seconds=built.seconds,
        run_seconds=sum(result.seconds for result in results),
    )


def truths(part: Part) -> tuple[Outputs, Outputs]:
    """Golden outputs of what is simulated, and of the whole layer."""
    values = weights(part.layer, load_chip(part.chip))
    own = evaluate(part.own, part.inputs(), values)
    return own, own if part.lines is None else evaluate(part.layer, activations(part.layer), values)


def judge(part: Part, y: Outputs, outcomes: Sequence[Outcome], own: Outputs, whole: Outputs) -> dict[str, Any]:
    """A line of the report: ``y``, all tiles' outputs added, against golden's ``own`` and ``whole`` (`truths`)."""
    rows, moved = part.rows
    there = whole[:, :, rows.start + moved : rows.stop + moved]
    wrong = int((y != own).sum()) + int((y[:, :, rows] != there).sum())
    first = first_difference(part.layer.name, y, own) or first_difference(part.layer.name, y[:, :, rows], there)
    placement = placed(part)[0]
    return {
        "layer": part.layer.name,
        "chip": part.chip,
        "schedule": part.schedule,
        "part": part.label,
        "rows": [rows.start + moved, rows.stop + moved],  # of the whole layer's output, compared with it
        "steps": placement.steps,
        "tiles": sum(outcome.tiles for outcome in outcomes),
        "kinds": len(outcomes),
        "cycles": sum(outcome.cycles for outcome in outcomes),
        "slowest": max(outcome.slowest for outcome in outcomes),
        "reads": sum(outcome.reads for outcome in outcomes),
        "outputs": int(own.size),
        "wrong": wrong,
        "first": str(first or ""),  # of the wrong ones, as a sentence
        "exact": wrong == 0 and sum(outcome.tiles for outcome in outcomes) == len(placement.tiles),
        "differences": [text for outcome in outcomes for text in outcome.differences],
        "compile_seconds": round(sum(outcome.compile_seconds for outcome in outcomes), 1),
        "run_seconds": round(sum(outcome.run_seconds for outcome in outcomes), 1),
    }
