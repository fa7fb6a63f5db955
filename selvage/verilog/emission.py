"""Yosys' Verilog as people read it and as simulators that follow events want it. The cells stay the same.

Icarus evaluates an expression at each change of each operand: sums side by side are one function, which runs when all
have changed. It takes up each register in each cycle, changed or not: those of a clock share a block, and wide ones
that mostly keep their value stand behind their enables; the enables of parts of a word are looked at only when there
is one. What is done to nets and registers is done before there is Verilog (`verilog.nets`, `verilog.registers`).
"""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import groupby

from selvage.verilog.names import KEYWORDS, Names, natural

NAME = r"(?:\\[^ \n]+ |[A-Za-z_][\w$]*)"
# A number, text and system names are tokens so that nothing in them is taken for a name.
TOKEN = re.compile(rf'"(?:[^"\\\n]|\\.)*"|\d*\'s?[bdho][0-9a-fxz_]+|\$[a-z]\w*|\.?{NAME}')
MODULE = re.compile(rf"^module ({NAME}) ?\(([^)]*)\);\n(.*?)^endmodule\n", re.MULTILINE | re.DOTALL)
_DECLARATION = re.compile(
    rf"^  (input|output|inout|wire|reg)( signed)?(?: (\[[^\]]*\]))? ({NAME})(?: ?(\[[^\]]*\]))?(?: = ([^;]+))?;\n",
    re.MULTILINE,
)
_ASSIGNMENT = re.compile(rf"^  assign ({NAME}) = (.*);\n", re.MULTILINE)  # of whole signals; others stay as they are
_REGISTER = re.compile(
    rf"^  always @\((posedge|negedge) ({NAME})\)\n"
    rf"(?:    if \((?P<reset>{NAME})\) {NAME} *<= (?P<start>.*);\n    else|   ) ({NAME}) *<= (.*);\n",
    re.MULTILINE,
)
_PART = re.compile(rf"({NAME}) ?(?:\[(\d+)(?::(\d+))?\])?")
_SUM = re.compile(rf"({_PART.pattern}) ([-+]) ({_PART.pattern})")
_CHOICE = re.compile(rf"(?P<condition>{_PART.pattern}) \? (?P<yes>.+) : (?P<no>.+)")
_WRITES = re.compile(  # to parts of a word
    rf"    if \(({NAME}) ?\[\d+\]\)\n      .*;\n(?:    if \(\1 ?\[\d+\]\)\n      .*;\n){{3,}}"
)
_CASES = re.compile(  # of which each looks at one bit
    r"    casez \(s\)[^\n]*\n((?:      \d+'b[?1]+:\n        \S+ = [^;]+;\n)+)"
    r"      default:\n        (\S+) = a;\n    endcase\n"
)
_CONTENTS = re.compile(r"  initial begin\n((?:    \S+ ?\[\d+\] = [^;]+;\n)+)  end\n")
_CONCATENATION = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|\{ ([^{}(),"]+(?:, [^{}(),"]+)+) \}'
)  # of plain parts; or text, which stays
LANES = 4  # sums side by side that are worth a function
PARTS = 16  # of a word, at most, whose enables are looked at together
AGAIN = 3  # times that are worth a number
TOGETHER = 32  # parts of a concatenation: of as many more of them, each part would copy all before it


@dataclass
class Signal:
    """A signal as it is declared."""

    direction: str = ""  # input, output, inout, or nothing
    kind: str = "wire"  # or reg
    bits: str = ""  # as [high:0]
    depth: str = ""  # of a memory
    initial: str = ""

    @property
    def width(self) -> int:
        """Number of bits."""
        return int(self.bits[1:].split(":")[0]) + 1 if self.bits else 1


@dataclass(frozen=True)
class _Register:
    name: str
    value: str
    start: str  # what a reset gives it; empty without one


@dataclass(frozen=True)
class _Slice:
    name: str
    low: int
    width: int

    def __str__(self) -> str:
        bits = f"{self.low}" if self.width == 1 else f"{self.low + self.width - 1}:{self.low}"
        return f"{_written(self.name)}[{bits}]"


def raw_name(name: str) -> str:
    """Return a name of a Verilog text without its escape."""
    return name.removeprefix("\\").rstrip(" ")


def _written(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][\w$]*", name) and name not in KEYWORDS else f"\\{name} "


def rewrite(text: str, counts: Counter[str]) -> dict[str, str]:
    """Return the modules of a text, rewritten, by name; ``counts`` gains how often each step found something to do."""
    modules = [VerilogModule(found, counts) for found in MODULE.finditer(text)]
    return {module.name: module.text() for module in modules}


class VerilogModule:
    """A module of Yosys' text: its signals, assignments and registers, and apart from them the rest of it."""

    def __init__(self, found: re.Match[str], counts: Counter[str]) -> None:
        self.name, body = raw_name(found[1]), found[3]
        self.counts = counts
        self.signals: dict[str, Signal] = {name: Signal() for name in map(raw_name, _listed(found[2]))}
        self.taken = Names(raw_name(token) for token in TOKEN.findall(found[0]))
        for declared in _DECLARATION.finditer(body):
            self._declare(declared)
        body = _DECLARATION.sub("", body)
        self.assignments = [(raw_name(left), right) for left, right in _ASSIGNMENT.findall(body)]
        body = _ASSIGNMENT.sub("", body)
        self.clocks: dict[tuple[str, str], dict[str, list[_Register]]] = {}  # by edge and clock, and by reset
        for edge, clock, reset, start, name, value in _REGISTER.findall(body):
            of_reset = self.clocks.setdefault((edge, clock), {}).setdefault(reset, [])
            of_reset.append(_Register(raw_name(name), value, start))
        self.rest = _REGISTER.sub("", body)
        self._one_word_memories()
        self._name_registers()

    def _declare(self, declared: re.Match[str]) -> None:
        kind, _, bits, name, depth, initial = declared.groups()
        signal = self.signals.setdefault(raw_name(name), Signal())
        if kind in ("wire", "reg"):
            signal.kind, signal.depth, signal.initial = kind, depth or "", initial or ""
        else:
            signal.direction = kind
        signal.bits = bits or ""

    def text(self) -> str:
        """Return the module's text, written anew."""
        self._add_side_by_side()
        counted = self._reads()  # once: what moves into a block is read there as it was before
        blocks = "".join(self._block(*clock, registers, counted) for clock, registers in self.clocks.items())
        for step, pattern, change in (
            ("writes asked once", _WRITES, _asked_once),
            ("memories filled", _CONTENTS, self._filled),
            ("cases chained", _CASES, _chosen),
        ):
            self.rest, found = pattern.subn(change, self.rest)
            self.counts[step] += found
        assigned = "".join(f"  assign {_written(left)} = {right};\n" for left, right in self.assignments)
        body, found = _CONCATENATION.subn(_short, f"{assigned}{self.rest}{blocks}")
        self.counts["concatenations shortened"] += found
        return f"module {_written(self.name)} {self._ports()}{self._declared()}{body}endmodule\n"

    def _ports(self) -> str:
        ports = [
            f"  {signal.direction} {_spaced(signal.kind, signal.bits, _written(name))}"
            for name, signal in self.signals.items()
            if signal.direction
        ]
        return "(\n" + ",\n".join(ports) + "\n);\n"

    def _declared(self) -> str:
        rest = [(name, signal) for name, signal in self.signals.items() if not signal.direction]
        rest.sort(key=lambda found: (found[1].kind == "reg", bool(found[1].depth), natural(found[0])))
        lines = [f"  {_spaced(signal.kind, signal.bits, _written(name), signal.depth)};\n" for name, signal in rest]
        starts = sorted((name for name, signal in self.signals.items() if signal.initial), key=natural)
        begin = [f"    {_written(name)} = {self.signals[name].initial};\n" for name in starts]
        return "".join([*lines, *(["  initial begin\n", *begin, "  end\n"] if begin else [])])

    def _one_word_memories(self) -> None:
        """Make a register of a memory of one word."""
        for name, signal in self.signals.items():
            if signal.depth == "[0:0]":
                signal.depth = ""
                element = rf"(?<![\w$.\\]){re.escape(_written(name))} ?\[(?:0|1'h0)\]"
                self.rest = re.sub(element, lambda _, name=name: _written(name), self.rest)
                self.assignments = [
                    (left, re.sub(element, lambda _, name=name: _written(name), right))
                    for left, right in self.assignments
                ]

    def _name_registers(self) -> None:
        """Give registers that only Yosys numbers, those behind memories, the name of the wire that they drive."""
        for left, right in list(self.assignments):
            register, wire = self.signals.get(right), self.signals.get(left)
            if register is None or wire is None or register.kind != "reg" or not re.fullmatch(r"_\d+_", right):
                continue
            wire.kind, wire.initial = "reg", register.initial
            del self.signals[right]
            self.assignments.remove((left, right))
            self.rest = re.sub(rf"\b{right}", lambda _, left=left: _written(left), self.rest)
            self.assignments = [
                (to, re.sub(rf"\b{right}", lambda _, left=left: _written(left), of)) for to, of in self.assignments
            ]
            self.counts["registers named"] += 1

    def _slice(self, text: str) -> _Slice | None:
        """Return the slice that a text names, a signal or bits of it; None where it is neither."""
        found = _PART.fullmatch(text) or _PART.fullmatch(f"{text} ")
        signal = self.signals.get(raw_name(found[1])) if found else None
        if found is None or signal is None or signal.depth:
            return None
        if found[2] is None:
            return _Slice(raw_name(found[1]), 0, signal.width)
        low = int(found[3] or found[2])
        return _Slice(raw_name(found[1]), low, int(found[2]) - low + 1)

    def _reads(self) -> Counter[str]:
        """Return how often each name stands where it may be read."""
        texts = [self.rest, *(right for _, right in self.assignments)]
        texts += [f"{found.value} " for of in self.clocks.values() for registers in of.values() for found in registers]
        texts += [f"{clock} {' '.join(of)} " for (_, clock), of in self.clocks.items()]
        return Counter(raw_name(token) for text in texts for token in TOKEN.findall(text))

    def _drop(self, names: set[str]) -> None:
        """Drop wires and what drives them."""
        self.assignments = [(left, right) for left, right in self.assignments if left not in names]
        for name in names:
            del self.signals[name]

    def _is_net(self, name: str) -> bool:
        return name in self.signals and self.signals[name].kind == "wire" and not self.signals[name].direction

    def _add_side_by_side(self) -> None:
        """Make one function of sums of registers or ports that only stand side by side in a concatenation."""
        counted = self._reads()
        sums = {left: right for left, right in self.assignments if _SUM.fullmatch(right)}
        gone: set[str] = set()
        for index, (left, right) in enumerate(self.assignments):
            parts = [self._slice(part) for part in right[2:-2].split(", ")] if right[0] == "{" else []
            places = [
                part
                for part in parts
                if part and counted[part.name] == 1 and part.name in sums and self._is_net(part.name)
            ]
            if len(parts) < LANES or len(places) < len(parts):
                continue
            lanes = [lane for place in places if (lane := self._lane(sums[place.name], place))]
            if len(lanes) == len(places):
                self.assignments[index] = (left, self._function(sum(place.width for place in places), lanes))
                gone |= {place.name for place in places}
                self.counts["sums side by side"] += 1
        self._drop(gone)

    def _lane(self, text: str, place: _Slice) -> tuple[_Slice, str, _Slice] | None:
        """Return operands and sign of a sum whose lowest bits are at ``place``; None where it is no such sum."""
        found = _SUM.fullmatch(text)
        if found is None or place.low:
            return None
        first, second = self._operand(found[1], place.width), self._operand(found[6], place.width)
        return (first, found[5], second) if first and second else None

    def _operand(self, text: str, width: int) -> _Slice | None:
        """Return the slice that ``text`` names when it is ``width`` bits of an input or a register; else None."""
        found = self._slice(text.rstrip(" "))
        if found is None or found.width != width:
            return None
        signal = self.signals[found.name]
        return found if signal.direction == "input" or signal.kind == "reg" else None

    def _function(self, width: int, lanes: list[tuple[_Slice, str, _Slice]]) -> str:
        """Declare a function of ``lanes`` and return its call."""
        name = self.taken.take("sums")
        read = dict.fromkeys(operand.name for first, _, second in lanes for operand in (first, second))
        local = {operand: self.taken.take("operand") for operand in read}
        inputs = "".join(f"    input {_spaced(self.signals[operand].bits, local[operand])};\n" for operand in read)

        def written(part: _Slice) -> str:
            whole = part.width == self.signals[part.name].width
            return local[part.name] if whole else str(_Slice(local[part.name], part.low, part.width))

        parts = ", ".join(f"{written(first)} {sign} {written(second)}" for first, sign, second in lanes)
        self.rest = (
            f"  function [{width - 1}:0] {name};\n{inputs}    {name} = {{ {parts} }};\n  endfunction\n{self.rest}"
        )
        return f"{name}({', '.join(map(_written, read))})"

    def _block(self, edge: str, clock: str, registers: dict[str, list[_Register]], counted: Counter[str]) -> str:
        """Return one block of all registers of a clock, by their reset."""
        lines = []
        for reset, found in registers.items():
            if not reset:
                lines += self._stored(found, counted)
                continue
            starts = [f"      {_written(register.name)} <= {register.start};\n" for register in found]
            stored = [f"  {line}" for line in self._stored(found, counted)]
            lines += [f"    if ({reset}) begin\n", *starts, "    end else begin\n", *stored, "    end\n"]
        self.counts["registers in one block"] += sum(map(len, registers.values())) > 1
        return f"  always @({edge} {clock}) begin\n{''.join(lines)}  end\n"

    def _stored(self, registers: list[_Register], counted: Counter[str]) -> list[str]:
        """Return what registers store, those that mostly keep their value behind their enables."""
        choices = {left: _CHOICE.fullmatch(right) for left, right in self.assignments}
        lines: list[str] = []
        enabled: dict[str, list[str]] = {}
        gone: set[str] = set()
        for register in registers:
            choice = choices.get(raw_name(register.value))
            if not choice or register.name not in map(raw_name, choice.group("yes", "no")):
                lines.append(f"    {_written(register.name)} <= {register.value};\n")
                continue
            stays = raw_name(choice["yes"]) == register.name
            condition = f"! {choice['condition']}" if stays else choice["condition"]
            value = choice["no"] if stays else choice["yes"]
            enabled.setdefault(condition, []).append(f"      {_written(register.name)} <= {value};\n")
            if counted[raw_name(register.value)] == 1 and self._is_net(raw_name(register.value)):
                gone.add(raw_name(register.value))
        self._drop(gone)
        self.counts["enables"] += len(enabled)
        for condition, found in enabled.items():
            lines += [f"    if ({condition}) begin\n", *found, "    end\n"]
        return lines

    def _filled(self, found: re.Match[str]) -> str:
        """Fill a memory that starts with one word everywhere in a loop."""
        lines = [line.strip() for line in found[1].splitlines()]
        values = {line.split(" = ")[1] for line in lines}
        if len(lines) < 4 or len(values) > 1:
            return found[0]
        memory = lines[0][: lines[0].rindex("[")]
        block, index = self.taken.take(f"fill_{raw_name(memory)}"), self.taken.take("entry")
        return (
            f"  initial begin : {block}\n    integer {index};\n"
            f"    for ({index} = 0; {index} < {len(lines)}; {index} = {index} + 1)\n"
            f"      {memory}[{index}] = {values.pop()}\n  end\n"
        )


def _listed(text: str) -> list[str]:
    """Return the names of a list of ports."""
    return re.findall(NAME, f"{text} ")


def _spaced(*words: str) -> str:
    return " ".join(word for word in words if word)


def _chosen(found: re.Match[str]) -> str:
    """Write cases that each look at one bit as a chain of choices: no cases overlap."""
    values = re.findall(r" = ([^;]+);", found[1])
    chain = "".join(f"s[{bit}] ? {value} : " for bit, value in enumerate(values))
    return f"    {found[2]} = {chain}a;\n"


def _short(concatenation: re.Match[str]) -> str:
    """Shorten a concatenation.

    A part many times over is written once. Of many parts groups are made: Icarus copies what it has so far at each
    part.
    """
    if concatenation[1] is None:
        return concatenation[0]
    parts = []
    for part, same in groupby(concatenation[1].split(", ")):
        count = len(list(same))
        parts += [f"{{{count}{{{part}}}}}"] if count >= AGAIN else [part] * count
    if len(parts) <= 2 * TOGETHER:
        return _joined(parts)
    groups = [parts[at : at + TOGETHER] for at in range(0, len(parts), TOGETHER)]
    return _joined([_joined(group) for group in groups])


def _joined(parts: list[str]) -> str:
    """Return the concatenation of ``parts``, the highest first."""
    return f"{{ {', '.join(parts)} }}" if len(parts) > 1 else parts[0]


def _asked_once(writes: re.Match[str]) -> str:
    """Put writes to parts of a word in one condition that asks whether there are any.

    Not of many parts, which would take Yosys half an hour to read.
    """
    if writes[0].count("<=") > PARTS:
        return writes[0]
    return f"    if (| {writes[1]}) begin\n{re.sub('^', '  ', writes[0], flags=re.MULTILINE).rstrip(' ')}    end\n"
