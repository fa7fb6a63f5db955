"""The first part of a network that shows something else than the golden model, from waves of its streams."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selvage.base.graph import Tensor
from selvage.hw.network.network import NetworkParameters
from selvage.mapping.stages import (
    AddStage,
    ConcatStage,
    LayerStage,
    MultiplyStage,
    PoolStage,
    ReorderStage,
    ReshapeStage,
    ResizeStage,
    Stage,
    StateStage,
    TableStage,
)
from selvage.rtlsim.simulate import input_words
from selvage.rtlsim.waves.file import REFUSED, TRANSFER, UNKNOWN, Events, WaveFile, signed
from selvage.rtlsim.waves.signals import SIGNED, UNSIGNED

Integers = NDArray[np.int64]
COMPONENTS: dict[type[Stage], str] = {
    PoolStage: "pool",
    TableStage: "table of codes",
    AddStage: "sum of maps",
    MultiplyStage: "product of maps",
    ConcatStage: "concatenation",
    ResizeStage: "raster buffer",
    ReorderStage: "reorder buffer",
    ReshapeStage: "reshape",
    StateStage: "state of a loop",
}


@dataclass(frozen=True)
class NetworkFinding:
    """What is wrong first: of which stage and part, in which cycle, at which value, and what stood there."""

    stage: str
    component: str
    cycle: int | None
    reason: str
    image: int | None = None
    channel: int | None = None
    row: int | None = None
    column: int | None = None
    expected: int | None = None
    actual: int | None = None


@dataclass(frozen=True, eq=False)
class Truth:
    """What the golden model says: ``codes`` (N, C, H, W) by tensor, and ``sums`` of each layer, by its name."""

    codes: Mapping[str, Integers]
    sums: Mapping[str, Integers]


@dataclass(frozen=True, eq=False)
class Words:
    """A stream: what it must show, (words, lanes), where each value belongs, (words, lanes, 4), and what it showed."""

    stage: Stage
    component: str
    scope: str
    handshake: str
    expected: Integers
    places: Integers  # image, channel, row, column; -1 where there is none
    shown: Events
    taker: str = ""


def network_blame(p: NetworkParameters, waves: WaveFile, truth: Truth) -> NetworkFinding | None:
    """Return what is wrong first, in the order in which data flows; None where all streams are as they must be."""
    streams = list(_streams(p, waves, truth))
    for words in streams:
        if found := _mismatch(words):
            return found
    return _missing(p, streams, waves)


def _mismatch(words: Words) -> NetworkFinding | None:
    count = min(len(words.shown), len(words.expected))
    lanes = range(words.expected.shape[1])
    shown = np.stack([np.asarray(words.shown.fields[f"value_{j}"][:count], np.int64) for j in lanes], axis=1)
    due = words.expected[:count]
    wrong = np.argwhere((shown != due) & (due != UNKNOWN))
    if not len(wrong):
        if len(words.shown) > len(words.expected):
            cycle = int(words.shown.cycles[len(words.expected)])
            return NetworkFinding(words.stage.name, words.component, cycle, "a word comes, and nothing more is due")
        return None
    word, lane = wrong[0].tolist()
    image, channel, row, column = (None if k < 0 else int(k) for k in words.places[word, lane])
    actual = int(shown[word, lane])
    says = "X" if actual == UNKNOWN else f"{actual:,}"
    reason = f"due: {int(due[word, lane]):,}; shown: {says}, in word {word:,}"
    values = int(due[word, lane]), None if actual == UNKNOWN else actual
    cycle = int(words.shown.cycles[word])
    return NetworkFinding(words.stage.name, words.component, cycle, reason, image, channel, row, column, *values)


def _missing(p: NetworkParameters, streams: Sequence[Words], waves: WaveFile) -> NetworkFinding | None:
    """Return who does not go on: the first that offers nothing though it is offered something, or who refuses first."""
    refused: NetworkFinding | None = None
    whole = {words.stage.output.name for words in streams if len(words.shown) >= len(words.expected)}
    for words in streams:
        have, due = len(words.shown), len(words.expected)
        if have >= due:
            continue
        name = f"{words.scope}.{words.handshake}"
        state, since = waves.last(name), waves.since(name)
        if state == REFUSED:
            if refused is None or since < (refused.cycle or 0):
                told = f"refuses a word since then, {have:,} of {due:,} taken"
                refused = NetworkFinding(words.stage.name, words.taker, since, told)
            continue
        if words.component == "collector" or not _starved(p, words, waves, whole):
            told = f"offers nothing since then, and {have:,} of {due:,} words have left"
            return NetworkFinding(words.stage.name, words.component, since, told)
    return refused


def _starved(p: NetworkParameters, words: Words, waves: WaveFile, whole: set[str]) -> bool:
    """Return whether a stage is offered nothing by a source of which not all has come."""
    k = p.plan.stages.index(words.stage)
    given = whole | {tensor.name for tensor in p.plan.inputs}
    short = [n for n, source in enumerate(words.stage.sources) if source.name not in given]
    return any(waves.last(f"stage_{k}.source_{n}") < REFUSED for n in short)


def _streams(p: NetworkParameters, waves: WaveFile, truth: Truth) -> Iterator[Words]:
    for k, stage in enumerate(p.plan.stages):
        if isinstance(stage, LayerStage):
            yield from _layer(p, waves, truth, k, stage)
        if stage.output.name not in truth.codes:
            continue  # a part of a node, of which the golden model does not tell
        sums = isinstance(stage, LayerStage) and stage.requantization is None
        maps = truth.sums[stage.name] if sums else truth.codes[stage.output.name]
        lanes = p.plan.lanes[stage.output.name]
        component = COMPONENTS.get(type(stage), "raster buffer")
        if isinstance(stage, LayerStage) and p.layers[stage.name].raster is None:
            component = "requantizer" if stage.requantization else "collector"
        radix = SIGNED if p.signed(stage.output) else UNSIGNED
        shown = _shown(waves, f"stage_{k}", "leaves", lanes, radix)
        expected, places = _raster(maps, lanes)
        yield Words(stage, component, f"stage_{k}", "leaves", expected, places, shown, _takers(p, stage.output))


def _takers(p: NetworkParameters, tensor: Tensor) -> str:
    readers = [stage.name for stage, _ in p.plan.readers(tensor.name)]
    return f"what takes {tensor.name!r}: {', '.join(readers) or 'the bench'}"


def _shown(waves: WaveFile, scope: str, handshake: str, lanes: int, radix: str) -> Events:
    names = [f"value_{j}" for j in range(lanes)]
    found = waves.events(scope, handshake, names, high=TRANSFER)
    widths = {name: waves.width(f"{scope}.{name}") for name in names}
    return Events(found.cycles, {name: signed(found.fields[name], widths[name], radix) for name in names})


def _raster(maps: Integers, lanes: int) -> tuple[Integers, Integers]:
    """Return maps (N, C, H, W) as words in raster order, channels of a pixel in order, and each value's place."""
    order = (0, 2, 3, 1)
    places = np.moveaxis(np.indices(maps.shape), 0, -1)
    return maps.transpose(order).reshape(-1, lanes), places.transpose(*order, 4).reshape(-1, lanes, 4)


def _layer(p: NetworkParameters, waves: WaveFile, truth: Truth, k: int, stage: LayerStage) -> Iterator[Words]:
    own, source = p.layers[stage.name], stage.sources[0]
    if not p.direct and source.name in truth.codes:
        for j, tile in enumerate(own.tiles):
            bits, lanes = tile.buffer.format.raw_bits, tile.buffer.lanes
            raw, size = input_words(tile, truth.codes[source.name]), -(-bits * lanes // 8)
            numbers = [int.from_bytes(raw[at : at + size], "little") for at in range(0, len(raw), size)]
            shown = waves.events(f"stage_{k}_tiles", f"fed_{j}", [f"word_{j}"], high=TRANSFER)
            expected, found = _lanes(numbers, bits, lanes), _lanes(shown.fields[f"word_{j}"].tolist(), bits, lanes)
            used = tile.tile.channels
            if used % lanes:  # the last word of a pixel is filled up with anything
                expected.reshape(-1, tile.buffer.words, lanes)[:, -1, used % lanes :] = UNKNOWN
            fields = {f"value_{lane}": found[:, lane] for lane in range(lanes)}
            places = np.full((*expected.shape, 4), -1)
            component = f"packer and queue of tile {j}"
            events = Events(shown.cycles, fields)
            taker = f"tile {j}"
            yield Words(stage, component, f"stage_{k}_tiles", f"fed_{j}", expected, places, events, taker)
    collected, places = _in_steps(p, stage, truth.sums[stage.name])
    shown = _shown(waves, f"stage_{k}_collected", "leaves", own.leaving, SIGNED)
    after = "requantizer" if own.requantizer else "raster buffer" if own.raster else _takers(p, stage.output)
    yield Words(stage, "collector", f"stage_{k}_collected", "leaves", collected, places, shown, after)
    if own.requantizer:
        codes, places = _in_steps(p, stage, truth.codes[stage.output.name])
        radix = SIGNED if p.signed(stage.output) else UNSIGNED
        shown = _shown(waves, f"stage_{k}_requantized", "leaves", own.leaving, radix)
        after = "raster buffer" if own.raster else _takers(p, stage.output)
        yield Words(stage, "requantizer", f"stage_{k}_requantized", "leaves", codes, places, shown, after)


def _lanes(numbers: Sequence[int], bits: int, lanes: int) -> Integers:
    """Return words as their lanes."""
    mask = 2**bits - 1
    found = [[n >> lane * bits & mask if n >= 0 else UNKNOWN for lane in range(lanes)] for n in numbers]
    return np.array(found, np.int64).reshape(-1, lanes)


def _in_steps(p: NetworkParameters, stage: LayerStage, maps: Integers) -> tuple[Integers, Integers]:
    """Return maps (N, C, H, W) as the words that a collector yields step by step, and the place of each value."""
    sweep, m, lanes = stage.placement.sweep, stage.placement.layer.outputs, p.layers[stage.name].leaving
    phase, channel = np.divmod(stage.leaving.order, m)
    inside = np.array(sweep.phases)[phase]
    rows, columns = sweep.grid
    block = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    pixel = block[:, None] * np.array(sweep.block) + inside[None] - np.array(sweep.crop)  # (blocks, outputs, 2)
    exists = np.all((pixel >= 0) & (pixel < np.array(sweep.output)), axis=2)[None]
    image = np.arange(len(maps))[:, None, None]
    at = np.clip(pixel, 0, np.array(sweep.output) - 1)
    values = np.where(exists, maps[image, channel[None, None], at[None, ..., 0], at[None, ..., 1]], UNKNOWN)
    places = np.stack(
        np.broadcast_arrays(image, channel[None, None], pixel[None, ..., 0], pixel[None, ..., 1]), axis=-1
    )
    return values.reshape(-1, lanes), np.where(exists[..., None], places, -1).reshape(-1, lanes, 4)
