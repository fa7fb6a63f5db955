"""A pipeline spread over 1 to 64 chips: what each link must carry, what each chip holds, what binds first.

The network stands with copies for 25 % more arrays (`selvage model --copies auto --arrays +25%`); its layers follow
each other over the chips, each chip with as many arrays as the others, so a cut may fall inside a layer. Over a cut go

* between layers the map that enters the layer behind it, a byte a number;
* inside a layer the map that enters it, and a partial sum of 3 bytes of each output: its tiles stand on both sides,
  and the second chip adds up;
* behind the first layer of a residual block also the map that goes round the block.

Bits a cycle are these over the pace of the slowest layer: the fewest data pins at the core's clock. A link adds
latency and no pace, for it is a queue. Programming is that of the shell (`docs/shell.md`), one array at a time on each
chip, all chips side by side; a row's write pulse takes ``WRITE`` cycles, which is the macro's own and a guess. Buffers
bind where a chip has more bits than ``MEMORY``, the buffers of an ISAAC chip.
"""

import argparse
import sys
from dataclasses import asdict, dataclass, fields
from typing import Any

from bench.report import Figure, emit, figures, table
from selvage.base.chip import load_chip
from selvage.base.layer import Layer
from selvage.base.shapes import load_network
from selvage.compiler.copies_asked import copies_asked
from selvage.compiler.shape_cycles import model_network
from selvage.hw.network.crossbar_control import HOPS

CHIP, MORE = "ou9x8", "+25%"
NETWORKS = ("resnet50", "vgg16-imagenet")
CHIPS = (1, 2, 4, 8, 16, 32, 64)
CODE, SUM = 8, 24  # bits of a code, of a partial sum
WRITE, READ = 10, 2  # cycles of a macro's write pulse and of its answer
CLOCK = 200e6
PINS = 256  # data pins at a chip's edge, each way, for what is said to bind
MEMORY = 168 * 64 * 8 * 1024  # bits: 168 tiles with 64 KB of eDRAM each (Shafiee et al., ISCA 2016)


@dataclass(frozen=True)
class Spread:
    """A network on so many chips."""

    network: str
    chips: int
    arrays: int  # of a chip
    pace: int  # cycles an image
    cut: str  # the busiest
    bits: int  # over it, of an image
    pins: float  # bits a cycle over it
    megabits: float  # of buffers, on the chip that has most
    programming: float  # seconds
    binds: str


def crossing(layers: list[Layer], index: int, *, inside: bool) -> int:
    """Bits of an image over a cut before layer ``index``, or inside it."""
    layer = layers[index]
    numbers = layer.channels * layer.height * layer.width
    around = _around(layers, index)
    if not inside:
        return CODE * (numbers + around)
    outputs = layer.outputs * layer.output_size[0] * layer.output_size[1]
    return CODE * (numbers + around) + SUM * outputs


def _around(layers: list[Layer], index: int) -> int:
    """Numbers of the map that goes round a residual block which layer ``index`` is in, behind its first layer."""
    block = layers[index].name.rpartition(".")[0]
    first = next(k for k, own in enumerate(layers) if own.name.rpartition(".")[0] == block)
    if not block or first == index:
        return 0
    return layers[first].channels * layers[first].height * layers[first].width


def cuts(arrays: list[int], chips: int) -> list[tuple[int, bool]]:
    """The layer and whether inside it of each of ``chips`` - 1 cuts."""
    total, found = sum(arrays), []
    for k in range(1, chips):
        left, index = total * k / chips, 0
        while left > arrays[index]:
            left, index = left - arrays[index], index + 1
        found.append((index + (left == arrays[index]), left != arrays[index]))
    return found


def spread(network: str, layers: list[Layer], counted: dict[str, Any], chips: int) -> Spread:
    lines, pace = counted["layers"], counted["pipeline"]["per_image"]
    arrays = [line["crossbars"] for line in lines]
    each = -(-sum(arrays) // chips)
    over = [(crossing(layers, index, inside=inside), index, inside) for index, inside in cuts(arrays, chips)]
    first = layers[0]
    over.append((CODE * first.channels * first.height * first.width, 0, False))  # the picture
    bits, index, inside = max(over)
    share, filled = [0.0], 0
    for line in lines:  # bits of the buffers, array by array
        left, own = line["crossbars"], sum(line["buffer_bits"].values()) / line["crossbars"]
        while left:
            part = min(left, each - filled)
            share[-1], filled, left = share[-1] + part * own, filled + part, left - part
            if filled == each:
                share.append(0.0)
                filled = 0
    chip = load_chip(CHIP)
    words = -(-chip.columns * chip.cell_bits // 32)
    row = words + 3 + 2 * (2 * HOPS + 2) + WRITE + READ
    name = f"{'inside' if inside else 'before'} {layers[index].name}"
    pins = bits / pace
    return Spread(
        network=network,
        chips=chips,
        arrays=each,
        pace=round(pace),
        cut=name,
        bits=bits,
        pins=round(pins, 1),
        megabits=round(max(share) / 1e6, 1),
        programming=round(each * chip.rows * row / CLOCK, 3),
        binds=_binds(pins, max(share), name, counted["pipeline"]["slowest"]),
    )


def _binds(pins: float, memory: float, cut: str, slowest: str) -> str:
    found = [f"the link {cut}"] * (pins > PINS) + ["buffers"] * (memory > MEMORY)
    return " and ".join(found) or f"the reads of {slowest}"


def summary(names: list[str]) -> dict[str, Any]:
    found = []
    for name in names:
        layers = load_network(name)
        counted = model_network(layers, load_chip(CHIP), copies=copies_asked("auto", MORE), pipeline=True)
        found += [spread(name, layers, counted, chips) for chips in CHIPS]
    table(
        "A pipeline over several chips",
        [own.name for own in fields(Spread)],
        [list(asdict(own).values()) for own in found],
    )
    widest = max(own.pins for own in found)
    targets = [Figure(f"bits a cycle over the busiest link, of {PINS} pins", widest, "<=", PINS)]
    figures("Links", targets)
    return {
        "benchmark": "scale",
        "spread": [asdict(own) for own in found],
        "targets": [own.as_dict() for own in targets],
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=NETWORKS, action="append", help="these alone")
    a = parser.parse_args(argv)
    emit(summary(a.network or list(NETWORKS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
