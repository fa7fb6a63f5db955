"""A design's Verilog as files of one module each: plain names, equal modules once, a header that says what it is."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial

from amaranth.lib import wiring

from selvage.verilog.convert import to_rtlil
from selvage.verilog.emission import rewrite
from selvage.verilog.module_text import (
    ASSIGNMENT,
    INSTANCE,
    MODULE,
    NAME,
    TARGET,
    TOKEN,
    ParsedModule,
    parse_module,
    raw_name,
)
from selvage.verilog.names import KEYWORDS, Names, is_plain, natural, plain_names
from selvage.verilog.yosys import run_yosys

# As `verilog.convert.SCRIPT`, and: what a `Shared` stands in is dissolved (`_keep`), nothing is kept that nothing
# reads, and no comparison is left whose result is known (-fine).
SCRIPT = """
attrmap -modattr -remove top
flatten
proc -norom
memory_collect
opt_expr -fine
opt_merge
opt_clean -purge
opt_expr -fine
opt_clean -purge
attrmap -remove generator -remove top -remove keep_hierarchy
attrmap -modattr -remove generator -remove keep_hierarchy
write_verilog -noattr
"""

CONNECTION = re.compile(  # of a port to a signal, a part of one, or one with zeros above it
    rf"    \.({NAME}) ?\((?:\{{ \d+'h0+, )?({NAME}) ?(?:\[(\d+)(?::(\d+))?\])?(?: ?\}})?\),?"
)
NAMELESS = re.compile(r"port\$|_\d+_$|piece|next_|state_")
CHOICE = re.compile(
    r"    casez \(s\)[^\n]*\n((?:      \d+'b[?1]+:\n        \S+ = [^;]+;\n)+)"
    r"      default:\n        (\S+) = a;\n    endcase\n"
)
CONTENTS = re.compile(r"  initial begin\n((?:    \S+ ?\[\d+\] = [^;]+;\n)+)  end\n")


@dataclass(frozen=True)
class ModuleFile:
    """One module: its text with the header, and the places in the hierarchy that its text stands for."""

    name: str
    text: str
    origins: tuple[str, ...]


def convert_modules(
    component: wiring.Component,
    name: str,
    shared: Mapping[str, wiring.Component] | None = None,
    *,
    generator: str,
    notes: Mapping[str, str] | None = None,
    prefix: str = "",
) -> list[ModuleFile]:
    """Return ``component`` as module ``name`` with all that it instantiates, modules before those that use them.

    ``notes`` say what a place in the hierarchy (``network.stage_0``) is; ``prefix`` begins all names but ``name``.
    """
    components = {**(shared or {}), name: component}
    text = _keep(to_rtlil(components))
    text = rewrite(run_yosys(text, SCRIPT, name))
    modules = {module.raw: module for module in map(parse_module, MODULE.finditer(text))}
    for module in modules.values():
        _untangle(module, modules)
    order = _children_first(modules, name)
    for raw in reversed(order):
        _tell_ports(modules[raw], modules)
    inner = Names(instance for module in modules.values() for _, instance in module.instances if is_plain(instance))
    for module in modules.values():
        module.names = _signal_names(module, inner)
    tops = Names([name])
    plain = plain_names((f"{prefix}{raw}" for raw in order if raw != name), tops)
    called = {raw: plain.get(f"{prefix}{raw}", name) for raw in order}
    seen: dict[str, str] = {}  # name by text
    texts, origins = {}, {}
    for raw in order:
        rendered = _render(modules[raw], modules, called)
        if rendered in seen and raw != name:
            called[raw] = seen[rendered]
        else:
            seen[rendered] = called[raw]
            texts[called[raw]] = rendered
        origins.setdefault(called[raw], []).append(raw)
    return [
        ModuleFile(
            raw,
            _header(raw, sorted(origins[raw], key=natural), components, notes or {}, generator)
            + f"module {raw} {text}endmodule\n\n// verilator lint_on WIDTH\n",
            tuple(sorted(origins[raw], key=natural)),
        )
        for raw, text in texts.items()
    ]


def _keep(text: str) -> str:
    """Keep the hierarchy of all modules but those that only hold a shared one (`hw.lib.shared.Shared`)."""
    found = []
    for part in re.split(r"(?<=\nend\n)", text):
        stands_in = re.search(r"^  cell \S+ \\shared$", part, re.MULTILINE)
        found.append(
            part if stands_in else re.sub(r"^module ", "attribute \\\\keep_hierarchy 1\nmodule ", part, flags=8)
        )
    return "".join(found)


def _untangle(module: ParsedModule, modules: Mapping[str, ParsedModule]) -> None:
    """Give what is driven a second wire where bits of a wire are copies of its other bits: no loop.

    Of copies that follow from copies the last ones come first, and the others are those of the second wire.
    """
    elsewhere: dict[str, set[int]] = {}  # of second wires, bits that are copies and not in them
    while copied := _copied(module):
        _second_wires(module, modules, copied, elsewhere)
        elsewhere |= {f"{name}$given": bits | elsewhere.get(name, set()) for name, bits in copied.items()}


def _copied(module: ParsedModule) -> dict[str, set[int]]:
    """Return by wire bits that follow from others of it; those that follow from such bits, where there are any."""
    found: dict[str, list[tuple[set[int], set[int]]]] = {}  # of each assignment bits that are set, and read
    for left, right in ASSIGNMENT.findall(module.body):
        for name in _own_copies(left, right):
            found.setdefault(name, []).append((_bits(name, left), _bits(name, right)))
    copied = {}
    for name, copies in found.items():
        every = set().union(*(bits for bits, _ in copies))
        last = [bits for bits, read in copies if read & every]
        copied[name] = set().union(*last) if 0 < len(last) < len(copies) else every
    return copied


def _bits(name: str, text: str) -> set[int]:
    """Return the bits of a wire in one side of an assignment."""
    parts = [found for found in TARGET.finditer(text) if raw_name(found[1]) == name]
    return {bit for part in parts for bit in range(int(part[3] or part[2]), int(part[2]) + 1)}


def _second_wires(
    module: ParsedModule,
    modules: Mapping[str, ParsedModule],
    copied: Mapping[str, set[int]],
    elsewhere: Mapping[str, set[int]],
) -> None:
    """Return a second wire for each of ``copied``, with what is driven, of which these bits are copies."""

    def given(text: str, names: Iterable[str]) -> str:
        return TOKEN.sub(
            lambda token: f"\\{raw_name(token[0])}$given " if raw_name(token[0]) in names else token[0], text
        )

    child, lines = None, []
    for line in module.body.splitlines(keepends=True):
        instance, assignment = INSTANCE.match(line), ASSIGNMENT.fullmatch(line)
        if instance:
            child = modules[raw_name(instance[1])]
        elif child and line.startswith("    ."):
            port, rest = line.split("(", 1)
            if child.signals[raw_name(port.strip()[1:])].direction == "output":
                line = f"{port}({given(rest, copied)}"
        elif assignment:
            left, right = assignment.groups()
            copies = _own_copies(left, right)
            stays = {name for name in copies if _bits(name, left) <= copied[name]}
            line = f"  assign {given(left, set(copied) - stays)} = {given(right, copies)};\n"
        child = None if line == "  );\n" else child
        lines.append(line)
    for name, bits in copied.items():
        signal = module.signals[name]
        module.signals[f"{name}$given"] = replace(signal, direction="", name=f"{name}$given")
        driven = set(range(int(signal.width[1:].split(":")[0]) + 1)) - bits - elsewhere.get(name, set())
        for low, high in _runs(driven):
            lines.append(f"  assign \\{name} [{high}:{low}] = \\{name}$given [{high}:{low}];\n")
    module.body = "".join(lines)


def _own_copies(left: str, right: str) -> set[str]:
    """Return the wires of which an assignment sets some bits and reads others."""
    return {raw_name(token) for token in TOKEN.findall(left)} & {raw_name(token) for token in TOKEN.findall(right)}


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return first and last of those that follow each other."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _signal_names(module: ParsedModule, inner: Names) -> dict[str, str]:
    """Return names of signals and instances.

    What is no port has no instance's name: it would hide it from what stands below.
    """
    ports = [signal.name for signal in module.signals.values() if signal.direction]
    names = Names()
    found = plain_names((port for port in ports if port not in module.meanings), names)
    found |= {port: names.take(module.meanings[port]) for port in ports if port in module.meanings}
    names.taken |= inner.taken
    found |= plain_names((signal for signal in module.signals if signal not in found), names)
    names.taken -= inner.taken - {plain.lower() for plain in found.values()} - KEYWORDS
    instances = plain_names((instance.removesuffix(".shared") for _, instance in module.instances), names)
    return found | {f"{instance} ": plain for instance, plain in instances.items()}


def _tell_ports(module: ParsedModule, modules: Mapping[str, ParsedModule]) -> None:
    """Name the nameless ports of the modules below after the signal, or its part, that they are joined to.

    Amaranth passes a part of a signal to where it is read by a port of its own, with a number for a name.
    """
    child = None
    for line in module.body.splitlines():
        instance, joined = INSTANCE.match(line), CONNECTION.fullmatch(line)
        if instance:
            child = modules[raw_name(instance[1])]
        elif child and joined and joined[1].startswith("\\port$"):
            name = raw_name(joined[2])
            base = module.meanings.get(name, name)
            if not NAMELESS.match(base):
                bits = "".join(f"_{bit}" for bit in joined.group(3, 4) if bit)
                child.meanings.setdefault(raw_name(joined[1]), f"{base}{bits}")


def _children_first(modules: Mapping[str, ParsedModule], top: str) -> list[str]:
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in order:
            for kind, _ in modules[name].instances:
                visit(kind)
            order[name] = None

    visit(top)
    return list(order)


def _render(module: ParsedModule, modules: Mapping[str, ParsedModule], called: Mapping[str, str]) -> str:
    """Return the text of a module without its name."""
    child: ParsedModule | None = None
    lines = []
    for line in _contents(module).splitlines(keepends=True):
        instance = INSTANCE.match(line)
        if instance:
            child = modules[raw_name(instance[1])]
            plain = module.names[f"{raw_name(instance[2]).removesuffix('.shared')} "]
            lines.append(f"  {called[child.raw]} {plain} (\n")
            continue
        lines.append(TOKEN.sub(partial(_renamed, module=module, child=child), line))
        if line == "  );\n":
            child = None
    ports = [f"  {port.direction} {port.kind}{_spaced(port.width)} {module.names[port.name]}" for port in module.ports]
    rest = [signal for signal in module.signals.values() if not signal.direction]
    rest.sort(key=lambda signal: (signal.kind == "reg", bool(signal.depth), natural(module.names[signal.name])))
    declared = [
        f"  {signal.kind}{_spaced(signal.width)} {module.names[signal.name]}{_spaced(signal.depth)};\n"
        for signal in rest
    ]
    starts = [signal for signal in module.signals.values() if signal.initial is not None]
    starts.sort(key=lambda signal: natural(module.names[signal.name]))
    begin = [f"    {module.names[signal.name]} = {signal.initial};\n" for signal in starts]
    initial = ["  initial begin\n", *begin, "  end\n"] if begin else []
    return "(\n" + ",\n".join(ports) + "\n);\n" + "".join([*declared, *initial, *lines])


def _spaced(text: str) -> str:
    return f" {text}" if text else ""


def _renamed(match: re.Match[str], module: ParsedModule, child: ParsedModule | None) -> str:
    token: str = match[0]
    if token[0] == ".":
        assert child is not None, "a connection stands in an instance"
        return f".{child.names[raw_name(token[1:])]}"
    return token if token in KEYWORDS else module.names.get(raw_name(token), token)


def _contents(module: ParsedModule) -> str:
    """Return the body; a memory that starts with one word everywhere is filled in a loop, and no cases overlap."""
    names = Names(module.names.values())

    def loop(found: re.Match) -> str:
        lines = [line.strip() for line in found[1].splitlines()]
        values = {line.split(" = ")[1] for line in lines}
        if len(lines) < 4 or len(values) > 1:
            return found[0]
        memory = lines[0][: lines[0].rindex("[")]
        block, index = names.take(f"fill_{module.names[raw_name(memory)]}"), names.take("entry")
        return (
            f"  initial begin : {block}\n    integer {index};\n"
            f"    for ({index} = 0; {index} < {len(lines)}; {index} = {index} + 1)\n"
            f"      {memory}[{index}] = {values.pop()}\n  end\n"
        )

    def choose(found: re.Match) -> str:
        values = re.findall(r" = ([^;]+);", found[1])
        chain = "".join(f"s[{bit}] ? {value} : " for bit, value in enumerate(values))
        return f"    {found[2]} = {chain}a;\n"

    return CHOICE.sub(choose, CONTENTS.sub(loop, module.body))


def _header(
    name: str,
    origins: list[str],
    components: Mapping[str, wiring.Component],
    notes: Mapping[str, str],
    generator: str,
) -> str:
    """Return what the module is, its parameters, its generator; no date, no path."""
    lines = []
    for origin in origins[:3]:
        note = notes.get(origin) or _purpose(components.get(origin)) or _place(origin)
        if note not in lines:
            lines.append(note)
    lines[0] = f"{name}: {lines[0]}"
    values = [value for origin in origins for value in _parameters(components.get(origin))]
    if values:
        lines.append("Parameters: " + ", ".join(values) + ".")
    lines.append(f"Generated by {generator}.")
    return "".join(f"// {line}\n" for line in lines) + "\n// verilator lint_off WIDTH\n\n"


def _purpose(component: wiring.Component | None) -> str:
    """Return the first sentence of what the component says of itself."""
    text = " ".join((type(component).__doc__ or "").split("\n\n")[0].split()) if component else ""
    return text if len(text) < 110 else text.split(". ")[0].removesuffix(".") + "."


def _place(origin: str) -> str:
    parent, _, leaf = origin.rpartition(".")
    return f"{leaf} of {parent}." if parent else f"{leaf}."


def _parameters(component: wiring.Component | None) -> list[str]:
    """Return the numbers and switches among a component's parameters."""
    parameters = getattr(component, "p", None)
    if parameters is None or not hasattr(parameters, "__dataclass_fields__"):
        return []
    found = {entry.name: getattr(parameters, entry.name) for entry in fields(parameters)}
    return [f"{key} = {int(value)}" for key, value in found.items() if isinstance(value, int)]
