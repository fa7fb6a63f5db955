"""Verilog as Yosys writes it, read: modules, their signals and instances."""

import re
from dataclasses import dataclass, field

from selvage.verilog.names import is_plain, natural

NAME = r"(?:\\\S+ |[A-Za-z_][\w$]*)"
# A number, text and system names are tokens so that nothing in them is taken for a name.
TOKEN = re.compile(rf'"[^"\n]*"|\d*\'s?[bdho][0-9a-fxz_]+|\$[a-z]\w*|\.?{NAME}')
DECLARATION = re.compile(
    rf"^  (input|output|wire|reg)( signed)?( \[[^\]]*\])? ({NAME})( ?\[[^\]]*\])?(?: = ([^;]+))?;\n", re.MULTILINE
)
INSTANCE = re.compile(rf"^  ({NAME}) ({NAME}) ?\($", re.MULTILINE)
MODULE = re.compile(rf"^module ({NAME}) ?\(([^)]*)\);\n(.*?)^endmodule\n", re.MULTILINE | re.DOTALL)
ASSIGNMENT = re.compile(r"^  assign (.*?) = (.*);\n", re.MULTILINE)
TARGET = re.compile(rf"({NAME}) ?\[(\d+)(?::(\d+))?\]")


@dataclass
class ParsedSignal:
    """A signal as it is declared."""

    direction: str  # input, output, or nothing
    width: str
    kind: str  # wire, reg
    depth: str  # of a memory
    initial: str | None
    name: str


@dataclass
class ParsedModule:
    """A module: ``body`` is all of it but declarations."""

    raw: str
    signals: dict[str, ParsedSignal]
    body: str
    instances: list[tuple[str, str]]  # raw names of module and instance
    names: dict[str, str] = field(default_factory=dict)  # plain names by raw ones
    meanings: dict[str, str] = field(default_factory=dict)  # of ports without a name of their own, what they carry

    @property
    def ports(self) -> list[ParsedSignal]:
        """Clock and reset first, the others by name."""
        ports = [signal for signal in self.signals.values() if signal.direction]
        return sorted(ports, key=lambda s: (s.name not in ("clk", "rst"), natural(self.names[s.name])))


def raw_name(name: str) -> str:
    """Return a name without its escape."""
    return name.removeprefix("\\").rstrip(" ")


def parse_module(match: re.Match) -> ParsedModule:
    """Return the module of a match of `MODULE`."""
    signals: dict[str, ParsedSignal] = {}

    def declared(found: re.Match) -> str:
        kind, _, width, name, depth, initial = found.groups()
        signal = signals.setdefault(
            raw_name(name), ParsedSignal("", (width or "").strip(), "wire", "", None, raw_name(name))
        )
        if kind in ("input", "output"):
            signal.direction = kind
        else:
            signal.kind, signal.depth, signal.initial = kind, (depth or "").strip(), initial
        return ""

    body = DECLARATION.sub(declared, match[3])
    for signal in signals.values():
        if signal.depth == "[0:0]":  # a memory of one word is a register
            signal.depth = ""
            written = signal.name if is_plain(signal.name) else f"\\{signal.name} "
            element = rf"(?<![\w$.]){re.escape(written)} ?\[(?:0|1'h0)\]"
            body = re.sub(element, lambda _, written=written: written, body)
    instances = [(raw_name(kind), raw_name(name)) for kind, name in INSTANCE.findall(body)]
    return ParsedModule(raw_name(match[1]), signals, body, instances)
