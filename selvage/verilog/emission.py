"""Yosys' Verilog rewritten so that a simulator that follows events has little to do. The cells stay the same.

Icarus resolves a net that is driven in pieces bit by bit, with strengths: nets are driven whole. It evaluates an
expression at each change of each operand: sums side by side are one function, which runs when all have changed. It
takes up each register in each cycle, changed or not: narrow registers share a vector, and all of a module one block;
the enables of parts of a word are looked at only when there is one.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from selvage.verilog.module_text import ASSIGNMENT, DECLARATION, NAME, TOKEN

REGISTER = re.compile(rf"^  always @\(posedge clk\)\n    ({NAME}) *<= (.*);\n", re.MULTILINE)
PART = re.compile(rf"({NAME}) ?(?:\[(\d+)(?::(\d+))?\])?")
SUM = re.compile(rf"({PART.pattern}) ([-+]) ({PART.pattern})")
CHOICE = re.compile(rf"(?P<condition>{PART.pattern}) \? (?P<yes>.+) : (?P<no>.+)")
WRITES = re.compile(  # to parts of a word
    rf"    if \(({NAME}) ?\[\d+\]\)\n      .*;\n(?:    if \(\1 ?\[\d+\]\)\n      .*;\n){{3,}}"
)
START = re.compile(r"\d+'h([0-9a-f]+)")
NARROW = 40  # bits of a register that is worth a place in a vector
VECTOR = 64  # bits that Icarus keeps without allocating memory
LANES = 4  # sums side by side that are worth a function
PARTS = 16  # of a word, at most, whose enables are looked at together
CONCATENATION = re.compile(r"\{ ([^{}(),]+(?:, [^{}(),]+)+) \}")  # of plain parts
AGAIN = 3  # times that are worth a number
TOGETHER = 32  # parts of a concatenation: of as many more of them, each part would copy all before it


@dataclass(frozen=True)
class _Slice:
    name: str
    low: int
    width: int


_Register = tuple[str, str]  # name, what it takes
_Copy = tuple[list[_Register], _Slice]


@dataclass
class _Signal:
    kinds: set[str]  # input, output, wire, reg
    width: int
    plain: bool  # neither signed nor a memory
    start: int | None  # of a register


def rewrite(text: str) -> str:
    """Rewrite all modules of a text."""
    parts = re.split(r"(?<=^endmodule\n)", text, flags=re.MULTILINE)
    return "".join(_Module(part).text() if "\nendmodule" in part else part for part in parts)


def _raw(name: str) -> str:
    return name.rstrip(" ")


def _written(name: str) -> str:
    return f"{name} " if name[0] == "\\" else name


def _short(concatenation: re.Match) -> str:
    """Shorten a concatenation.

    A part many times over is written once. Of many parts groups are made: Icarus copies what it has so far at each
    part.
    """
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


def _asked_once(writes: re.Match) -> str:
    """Put writes to parts of a word in one condition that asks whether there are any.

    Not of many parts, which would take Yosys half an hour to read.
    """
    if writes[0].count("<=") > PARTS:
        return writes[0]
    return f"    if (| {writes[1]}) begin\n{re.sub('^', '  ', writes[0], flags=re.MULTILINE).rstrip(' ')}    end\n"


class _Module:
    """A module, its signals, assignments and registers apart from the rest of it."""

    def __init__(self, text: str) -> None:
        start = text.index(");\n") + 3
        self.head, (body, self.tail) = text[:start], re.split(r"(?=^endmodule)", text[start:], flags=re.MULTILINE)
        self.names = {_raw(token) for token in TOKEN.findall(text)}
        self.numbers: Counter[str] = Counter()  # of new names, by base
        self.signals: dict[str, _Signal] = {}
        self.declarations: list[tuple[str, str, str]] = []  # name, kind, text
        for found in DECLARATION.finditer(body):
            kind, signed, bits, name, depth, value = found.groups()
            width = int(bits[2:].split(":")[0]) + 1 if bits else 1
            signal = self.signals.setdefault(_raw(name), _Signal(set(), width, True, None))
            signal.kinds.add(kind)
            signal.plain &= not (signed or depth)
            begins = START.fullmatch(value or "")
            signal.start = int(begins[1], 16) if begins else signal.start
            self.declarations.append((_raw(name), kind, found[0]))
        body = DECLARATION.sub("", body)
        self.assignments = ASSIGNMENT.findall(body)
        body = ASSIGNMENT.sub("", body)
        self.registers = [(_raw(name), value) for name, value in REGISTER.findall(body)]
        self.rest = WRITES.sub(_asked_once, REGISTER.sub("", body))
        self.enabled: dict[str, list[_Register]] = {}  # by condition, registers that keep their value without it

    def text(self) -> str:
        self._drive_whole()
        self._drop_unread()
        self._add_side_by_side()
        self._share_vectors()
        self._enable_wide()
        declared = "".join(line for _, _, line in self.declarations)
        assigned = "".join(f"  assign {left} = {right};\n" for left, right in self.assignments)
        lines = "".join(f"    {_written(name)} <= {value};\n" for name, value in self.registers)
        for condition, registers in self.enabled.items():
            inner = "".join(f"      {_written(name)} <= {value};\n" for name, value in registers)
            lines += f"    if ({condition}) begin\n{inner}    end\n"
        block = f"  always @(posedge clk) begin\n{lines}  end\n" if lines else ""
        return CONCATENATION.sub(_short, f"{self.head}{declared}{assigned}{self.rest}{block}{self.tail}")

    def _fresh(self, base: str) -> str:
        """Return a new name: ``base`` and a number."""
        name = f"{base}_{self.numbers[base]}"
        while name in self.names:
            self.numbers[base] += 1
            name = f"{base}_{self.numbers[base]}"
        self.names.add(name)
        return name

    def _declare(self, kind: str, base: str, width: int, start: int | None = None) -> str:
        """Declare a new signal and return its name."""
        name = self._fresh(base)
        self.signals[name] = _Signal({kind}, width, True, start)
        value = "" if start is None else f" = {width}'h{start:x}"
        bits = f" [{width - 1}:0]" if width > 1 else ""
        self.declarations.append((name, kind, f"  {kind}{bits} {name}{value};\n"))
        return name

    def _slice(self, text: str) -> _Slice | None:
        """Return the slice that a text names, a signal or bits of it; None where it is neither."""
        found = PART.fullmatch(text) or PART.fullmatch(f"{text} ")
        signal = self.signals.get(_raw(found[1])) if found else None
        if found is None or signal is None or not signal.plain:
            return None
        if found[2] is None:
            return _Slice(_raw(found[1]), 0, signal.width)
        low = int(found[3] or found[2])
        return _Slice(_raw(found[1]), low, int(found[2]) - low + 1)

    def _targets(self, left: str) -> list[_Slice | None]:
        return [self._slice(part[0].rstrip(" ")) for part in PART.finditer(left)]

    def _drive_whole(self) -> None:
        """Drive each net whose pieces are assigned one by one by a concatenation of nets."""
        targets = [self._targets(left) for left, _ in self.assignments]
        wholes = self._driven_in_pieces(targets)
        pieces: dict[str, dict[int, str]] = defaultdict(dict)  # by net and lowest bit
        kept = []
        for (left, right), slices in zip(self.assignments, targets, strict=True):
            parts = [part for part in slices if part]
            if not parts or len(parts) < len(slices) or parts[0].name not in wholes:
                kept.append((left, right))
                continue
            at = total = sum(part.width for part in parts)
            single = len(parts) == 1 and (self._slice(right) or START.fullmatch(right))
            source = right if single else self._declare("wire", "piece", total)
            if not single:
                kept.append((source, right))
            for part in parts:
                at -= part.width
                pieces[part.name][part.low] = source if single else self._text(_Slice(source, at, part.width))
        for name, found in pieces.items():
            kept.append((_written(name), _joined([found[low] for low in sorted(found, reverse=True)])))
        self.assignments = kept

    def _driven_in_pieces(self, targets: list[list[_Slice | None]]) -> set[str]:
        """Return the nets whose every bit is driven by part-select assigns.

        They do not depend on themselves, and share an assignment only with such nets.
        """
        found: dict[str, set[int]] = defaultdict(set)
        beside: list[set[str]] = []
        out: set[str] = set()
        for (left, right), slices in zip(self.assignments, targets, strict=True):
            names = {_raw(part[1]) for part in PART.finditer(left)}
            parts = [part for part in slices if part]
            if len(parts) < len(slices):
                out |= names
            elif len(parts) > 1 or parts[0].width < self.signals[parts[0].name].width:
                for part in parts:
                    found[part.name] |= set(range(part.low, part.low + part.width))
                beside.append(names)
                if names & {_raw(token) for token in TOKEN.findall(right)}:
                    out |= names
        out |= {name for name, bits in found.items() if len(bits) < self.signals[name].width}
        while more := [names for names in beside if names & out and names - out]:
            out.update(*more)
        return set(found) - out

    def _drop_unread(self) -> None:
        """Drop nets that nothing reads, which are what is left of wider ones."""
        counted = Counter(_raw(token) for token in TOKEN.findall(self.head + self.rest))
        reads = [{_raw(token) for token in TOKEN.findall(right)} for _, right in self.assignments]
        for tokens in [*reads, *({_raw(token) for token in TOKEN.findall(value)} for _, value in self.registers)]:
            counted.update(tokens)
        driver = {_raw(left): index for index, (left, _) in enumerate(self.assignments)}
        idle = [name for name in driver if not counted[name] and self._is_net(name)]
        gone: set[str] = set()
        while idle:
            name = idle.pop()
            gone.add(name)
            for read in reads[driver[name]]:
                counted[read] -= 1
                if not counted[read] and read in driver and self._is_net(read):
                    idle.append(read)
        self._remove(gone)

    def _is_net(self, name: str) -> bool:
        return name in self.signals and self.signals[name].kinds == {"wire"}

    def _remove(self, names: set[str]) -> None:
        """Remove nets and what drives them."""
        self.assignments = [assignment for assignment in self.assignments if _raw(assignment[0]) not in names]
        self.declarations = [declaration for declaration in self.declarations if declaration[0] not in names]

    def _add_side_by_side(self) -> None:
        """Make one function of sums of registers or ports that only stand side by side in a concatenation."""
        counted = Counter(_raw(token) for text in self._texts() for token in TOKEN.findall(text))
        sums = {_raw(left): right for left, right in self.assignments if SUM.fullmatch(right)}
        gone: set[str] = set()
        for index, (left, right) in enumerate(self.assignments):
            parts = [self._slice(part) for part in right[2:-2].split(", ")] if right[0] == "{" else []
            places = [part for part in parts if part and counted[part.name] == 1 and part.name in sums]
            if len(parts) < LANES or len(places) < len(parts):
                continue
            lanes = [lane for place in places if (lane := self._lane(sums[place.name], place))]
            if len(lanes) == len(places):
                self.assignments[index] = (left, self._function(sum(place.width for place in places), lanes))
                gone |= {place.name for place in places}
        self._remove(gone)

    def _lane(self, text: str, place: _Slice) -> tuple[_Slice, str, _Slice] | None:
        """Return operands and sign of a sum whose lowest bits are at ``place``; None where it is no such sum."""
        found = SUM.fullmatch(text)
        if found is None or place.low:
            return None
        first, second = self._operand(found[1], place.width), self._operand(found[6], place.width)
        return (first, found[5], second) if first and second else None

    def _operand(self, text: str, width: int) -> _Slice | None:
        """Return the slice that ``text`` names when it is ``width`` bits of an input or a register; else None."""
        found = self._slice(text.rstrip(" "))
        if found is None or found.width != width or not self.signals[found.name].kinds & {"input", "reg"}:
            return None
        return found

    def _function(self, width: int, lanes: list[tuple[_Slice, str, _Slice]]) -> str:
        """Declare a function of ``lanes`` and return its call."""
        name = self._fresh("sums")
        read = dict.fromkeys(operand.name for first, _, second in lanes for operand in (first, second))
        local = {operand: self._fresh("operand") for operand in read}
        inputs = "".join(f"    input [{self.signals[operand].width - 1}:0] {local[operand]};\n" for operand in read)
        parts = ", ".join(
            f"{self._text(first, local)} {sign} {self._text(second, local)}" for first, sign, second in lanes
        )
        self.rest = (
            f"  function [{width - 1}:0] {name};\n{inputs}    {name} = {{ {parts} }};\n  endfunction\n{self.rest}"
        )
        return f"{name}({', '.join(map(_written, read))})"

    def _share_vectors(self) -> None:
        """Make narrow registers names of parts of vectors."""
        counted = Counter(name for name, _ in self.registers)
        narrow, wide = [], []
        for name, value in self.registers:
            own = self.signals.get(name)
            fits = own and own.plain and own.start is not None and own.width <= NARROW and counted[name] == 1
            (narrow if fits else wide).append((name, value))
        place: dict[str, _Slice] = {}  # by register
        self.registers = wide
        while narrow:
            copies, narrow = self._copies(narrow, place)
            if not copies:
                break
            for own, bits in copies:
                self.registers.append((self._vector(own, place), self._text(bits)))
        for own in self._vectors(narrow):
            if len(own) == 1:
                self.registers += own
                continue
            vector = self._vector(own, place)
            following = self._declare("wire", "next", self.signals[vector].width)
            self.assignments.append((following, _joined([value for _, value in reversed(own)])))
            self.registers.append((vector, following))
        self.assignments += [(_written(name), self._text(part)) for name, part in place.items()]

    def _copies(self, registers: list[_Register], place: dict[str, _Slice]) -> tuple[list[_Copy], list[_Register]]:
        """Return registers that take neighbouring bits of one net, which need no concatenation, and the others."""
        runs: list[tuple[list[_Register], _Slice | None]] = []
        for name, value in registers:
            bits = self._slice(value)
            if bits and bits.name in place:
                within = place[bits.name]
                bits = replace(bits, name=within.name, low=within.low + bits.low)
            last = runs[-1][1] if runs else None
            if bits and last and bits.name == last.name and bits.low == last.low + last.width:
                runs[-1] = ([*runs[-1][0], (name, value)], replace(last, width=last.width + bits.width))
            else:
                runs.append(([(name, value)], bits))
        copies = [(run, bits) for run, bits in runs if bits and len(run) > 1]
        return copies, [entry for run, bits in runs if not bits or len(run) == 1 for entry in run]

    def _vectors(self, registers: list[_Register]) -> list[list[_Register]]:
        """Return groups of registers, as many to a vector as fit."""
        found: list[list[_Register]] = []
        size = VECTOR
        for register in registers:
            width = self.signals[register[0]].width
            size += width
            if size > VECTOR:
                found.append([])
                size = width
            found[-1].append(register)
        return found

    def _vector(self, registers: list[_Register], place: dict[str, _Slice]) -> str:
        """Merge ``registers`` into one vector register, the first lowest; return its name.

        Each is a wire from now on that aliases its slice.
        """
        at = start = 0
        for name, _ in registers:
            signal = self.signals[name]
            place[name] = _Slice("", at, signal.width)
            assert signal.start is not None, f"register {name} has no value to start with"
            start |= signal.start << at
            at += signal.width
            signal.kinds = signal.kinds - {"reg"} | {"wire"}
        vector = self._declare("reg", "state", at, start)
        for name, _ in registers:
            place[name] = replace(place[name], name=vector)
        gone = {name for name, _ in registers}
        for index, (name, kind, line) in enumerate(self.declarations):
            if name in gone and kind == "reg":
                self.declarations[index] = (name, "wire", re.sub(" = [^;]*;", ";", line.replace("  reg", "  wire", 1)))
        return vector

    def _enable_wide(self) -> None:
        """Move wide registers that mostly keep their value behind their enables, where they cost nothing meanwhile."""
        counted = Counter(_raw(token) for text in self._texts() for token in TOKEN.findall(text))
        choices = {_raw(left): CHOICE.fullmatch(right) for left, right in self.assignments}
        kept, gone = [], set()
        for name, value in self.registers:
            choice = choices.get(_raw(value))
            if not choice or name not in map(_raw, choice.group("yes", "no")):
                kept.append((name, value))
                continue
            stays = _raw(choice["yes"]) == name
            condition = choice["condition"]
            register = (name, choice["no"] if stays else choice["yes"])
            self.enabled.setdefault(f"! {condition}" if stays else condition, []).append(register)
            if counted[_raw(value)] == 1 and self._is_net(_raw(value)):
                gone.add(_raw(value))
        self.registers = kept
        self._remove(gone)

    def _texts(self) -> list[str]:
        """Return all texts in which a net may be read."""
        return [
            self.rest,
            *(right for _, right in self.assignments),
            *(value for _, value in self.registers),
        ]

    def _text(self, part: _Slice, names: Mapping[str, str] | None = None) -> str:
        """Return the shortest text of a slice; signals by other ``names``."""
        name = _written((names or {}).get(part.name, part.name))
        if part.width == self.signals[part.name].width:
            return name
        bits = f"{part.low}" if part.width == 1 else f"{part.low + part.width - 1}:{part.low}"
        return f"{name}[{bits}]"
