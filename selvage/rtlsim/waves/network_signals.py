"""The signals of a network's waves: the streams between its stages, and inside its layers."""

from collections.abc import Iterator

from selvage.hw.network.network import NetworkParameters
from selvage.hw.network.probes import network_probes
from selvage.mapping.stages import LayerStage
from selvage.rtlsim.waves.signals import BITS, HANDSHAKE, HEX, SIGNED, UNSIGNED, Scope, Shown

Field = tuple[int, int]  # offset and width


def network_scopes(p: NetworkParameters) -> tuple[Scope, ...]:
    """Return the scopes of a network with probes, stage by stage."""
    return tuple(scope for k in range(len(p.plan.stages)) for scope in _stage(p, k))


def _stage(p: NetworkParameters, k: int) -> Iterator[Scope]:
    stage = p.plan.stages[k]
    layouts = network_probes(p)
    if isinstance(stage, LayerStage):
        yield from _layer(p, k)
    fields = {name: (part.offset, part.width) for name, part in layouts[f"probe_{k}"]}
    lanes, bits = p.plan.lanes[stage.output.name], p.bits(stage.output.name)
    channels, height, width = stage.output.shape
    radix = SIGNED if p.signed(stage.output) else UNSIGNED
    first = fields["word"][0]
    words = channels // lanes
    place = {
        "image": f"c.count / {words * height * width}",
        "row": f"c.count / {words * width} % {height}",
        "column": f"c.count / {words} % {width}",
        "channel": f"c.count % {words} * {lanes}",
    }
    sources = [n for n in fields if n.startswith("source_")]
    yield Scope(
        f"stage_{k}",
        f"stage {stage.name}: words that leave it",
        (
            *(_pair(name, f"probe_{k}", fields[name]) for name in sources),
            Shown("leaves", f"{{probe_{k}[0], probe_{k}[1]}}", 2, BITS, HANDSHAKE),
            Shown("words", "c.count", 32),
            *(Shown(name, source, 32) for name, source in place.items()),
            *(Shown(f"value_{j}", f"probe_{k}[{first + j * bits} +: {bits}]", bits, radix) for j in range(lanes)),
        ),
        _COUNT.format(moves=f"probe_{k}[0] && probe_{k}[1]"),
    )


def _pair(name: str, source: str, place: Field) -> Shown:
    """Return a handshake whose two bits stand side by side, {valid, ready}."""
    return Shown(name, f"{source}[{place[0]} +: 2]", 2, BITS, HANDSHAKE)


def _layer(p: NetworkParameters, k: int) -> Iterator[Scope]:
    stage = p.plan.stages[k]
    own = p.layers[stage.name]
    fields = {name: (part.offset, part.width) for name, part in network_probes(p)[f"inside_{k}"]}
    source = f"inside_{k}"
    fed = range(len(own.tiles))
    yield Scope(
        f"stage_{k}_tiles",
        f"layer {stage.name}: words that its tiles take",
        tuple(
            shown
            for j in fed
            for shown in (
                _pair(f"fed_{j}", source, fields[f"fed_{j}"]),
                Shown(
                    f"word_{j}",
                    f"{source}[{fields[f'word_{j}'][0]} +: {fields[f'word_{j}'][1]}]",
                    _width(fields, j),
                    HEX,
                ),
            )
        ),
    )
    lanes = own.leaving
    for name, payload, title in (("collected", "sums", "sums of all tiles"), ("requantized", "codes", "codes")):
        first, width = fields[payload]
        bits = width // lanes
        radix = SIGNED if name == "collected" or p.signed(stage.output) else UNSIGNED
        at = fields[name][0]
        yield Scope(
            f"stage_{k}_{name}",
            f"layer {stage.name}: {title}, step by step",
            (
                _pair("leaves", source, fields[name]),
                Shown("words", "c.count", 32),
                *(Shown(f"value_{j}", f"{source}[{first + j * bits} +: {bits}]", bits, radix) for j in range(lanes)),
            ),
            _COUNT.format(moves=f"{source}[{at}] && {source}[{at + 1}]"),
        )


def _width(fields: dict[str, Field], tile: int) -> int:
    return fields[f"word_{tile}"][1]


_COUNT = """\
        reg [31:0] count;
        always @(posedge clk) if (rst) count <= 0; else if ({moves}) count <= count + 1;
"""
