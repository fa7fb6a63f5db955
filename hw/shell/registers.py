"""The shells' registers, all from ``registers.rdl``: the register file, its HTML pages, its C header."""

import re
import tempfile
from dataclasses import asdict, dataclass
from enum import EnumMeta, IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from peakrdl_cheader.exporter import CHeaderExporter
from peakrdl_html import HTMLExporter
from systemrdl.compiler import RDLCompiler
from systemrdl.node import AddrmapNode, FieldNode, RegNode

SOURCE = Path(__file__).with_suffix(".rdl")
ADDRESS_BITS = 12  # of a byte's address in a shell: a page of which most is empty


@dataclass(frozen=True)
class RegisterParameters:
    """What the registers need to know of a design.

    ``queues``: data pass through registers; ``loaded``: so do tables, those of a design of this ``structure``.
    """

    macros: int
    rows: int
    columns: int
    cell_bits: int
    retries: int = 3
    inputs: int = 1
    outputs: int = 1
    queues: bool = False
    loaded: bool = False
    structure: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("macros", 1, 2**16 - 1),
            ("rows", 1, 2**16 - 1),
            ("columns", 1, 2**16 - 1),
            ("cell_bits", 1, 8),
            ("retries", 0, 255),
            ("inputs", 1, 16),
            ("outputs", 1, 16),
            ("structure", 0, 2**32 - 1),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} must be from {least} to {most}, not {value}")

    @cached_property
    def model(self) -> AddrmapNode:
        """The compiled source."""
        compiler = RDLCompiler()
        compiler.compile_file(str(SOURCE))
        return compiler.elaborate(parameters={name.upper(): value for name, value in asdict(self).items()}).top

    @cached_property
    def registers(self) -> tuple["Register", ...]:
        """All registers, in the order of the source."""
        return registers_of(self.model)

    @cached_property
    def addresses(self) -> dict[str, int]:
        """Byte address of each register, by name."""
        return {register.name: register.address for register in self.registers}


@dataclass(frozen=True)
class Field:
    """A field of a register; ``kind`` is what the register file has for it, see `RegisterFile`."""

    name: str
    low: int
    width: int
    kind: str
    reset: int


@dataclass(frozen=True)
class Register:
    """A register; names of arrays end in ``_k``."""

    name: str
    address: int
    fields: tuple[Field, ...]
    readable: bool
    writable: bool
    guarded: bool
    external: bool


def _field(node: FieldNode) -> Field:
    if node.get_property("singlepulse"):
        kind = "command"
    elif node.get_property("hwset"):
        kind = "event"
    elif node.implements_storage and node.is_sw_readable:
        kind = "setting"
    else:
        kind = "status" if node.is_hw_writable else "constant"
    reset = node.get_property("reset")
    return Field(node.inst_name, node.low, node.width, kind, reset if isinstance(reset, int) else 0)


def _register(node: RegNode) -> Register:
    name = node.get_path_segment(array_suffix="_{index:d}").lower()
    fields = tuple(map(_field, node.fields()))
    guarded = bool(node.get_property("guarded", default=False))
    return Register(
        name, node.absolute_address, fields, node.has_sw_readable, node.has_sw_writable, guarded, node.external
    )


def _values(path: str) -> dict[str, int]:
    """Return the members of the enumeration of a field, by name."""
    field = RegisterParameters(1, 1, 1, 1).model.find_by_path(path)
    assert field is not None
    return {member.name.upper(): member.value for member in field.get_property("encode")}


if TYPE_CHECKING:  # only registers.rdl knows the members

    class _Encoded(EnumMeta):
        def __getattr__(cls, name: str) -> Any: ...

    class State(IntEnum, metaclass=_Encoded):
        """States of the shell: values of STATUS.state."""

    class Code(IntEnum, metaclass=_Encoded):
        """Status codes: values of STATUS.code."""

else:
    State = IntEnum("State", _values("STATUS.state"))
    Code = IntEnum("Code", _values("STATUS.code"))
CODE_BITS = max(Code).bit_length()


class BusInterface(wiring.PureInterface):
    """Pins of the bus: members of `bus_signature`."""

    valid: Signal
    write: Signal
    address: Signal
    data: Signal
    strobe: Signal
    ready: Signal
    answer: Signal
    error: Signal


def bus_signature() -> wiring.Signature:
    """Return the signature of accesses to the registers, one at a time, seen from the bus.

    An access happens in the cycle in which ``valid`` and ``ready`` are high; ``answer`` and ``error`` belong to that
    cycle. What is not ready has no effect and may be withdrawn.
    """
    return wiring.Signature(
        {
            "valid": Out(1),
            "write": Out(1),
            "address": Out(ADDRESS_BITS),
            "data": Out(32),
            "strobe": Out(4),
            "ready": In(1),
            "answer": In(32),
            "error": In(1),
        }
    )


class RegisterFile(wiring.Component):
    """The registers on a bus. An access takes one cycle, or as many as an external register asks for.

    Members, for register ``r`` and field ``f``
    -------
    bus : the accesses
    code : why the access of this cycle is refused; `Code.NONE` else
    r_f : a setting's value (out), a status (in), a command that is being written (out, whether refused or not),
        an event's state (out)
    r_f_set : raises an event; it wins over a write that clears it
    r_refusal : of guarded registers: the code with which an access would be refused now
    r_access, r_ready : of external registers: an access is there, refused or not; it may happen
    r_value : of external registers: what is written (out) or read (in)
    """

    bus: BusInterface
    code: Signal

    def __init__(self, parameters: RegisterParameters) -> None:
        self.p = parameters
        members = {"bus": In(bus_signature()), "code": Out(CODE_BITS)}
        for register in parameters.registers:
            members |= self._members(register)
        super().__init__(members)

    if TYPE_CHECKING:  # the ports are those that registers.rdl asks for

        def __getattr__(self, name: str) -> Any: ...

    @staticmethod
    def _members(register: Register) -> dict[str, wiring.Member]:
        name, found = register.name, {}
        if register.guarded:
            found[f"{name}_refusal"] = In(CODE_BITS)
        if register.external:
            value = Out(32) if register.writable else In(32)
            return {**found, f"{name}_access": Out(1), f"{name}_ready": In(1), f"{name}_value": value}
        for field in register.fields:
            pin = f"{name}_{field.name}"
            match field.kind:
                case "setting":
                    found[pin] = Out(field.width, init=field.reset)  # pyright: ignore[reportCallIssue]  # stubs lack it
                case "command" | "event":
                    found[pin] = Out(field.width)
                case "status":
                    found[pin] = In(field.width)
            if field.kind == "event":
                found[f"{pin}_set"] = In(field.width)
        return found

    def elaborate(self, platform: object) -> Module:
        """Build the fields of all registers and the access by address."""
        m = Module()
        bus = self.bus
        go = Signal()  # a write that happens
        mask = Cat(strobe.replicate(8) for strobe in bus.strobe)
        m.d.comb += [
            self.code.eq(Code.ADDRESS),
            bus.ready.eq(1),
            bus.error.eq(self.code != Code.NONE),
            go.eq(bus.valid & bus.write & bus.ready & ~bus.error),
        ]
        for register in self.p.registers:
            for field in register.fields:
                if field.kind == "event":
                    self._event(m, f"{register.name}_{field.name}")
        with m.Switch(bus.address[2:]):
            for register in self.p.registers:
                with m.Case(register.address // 4):
                    self._access(m, register, go, mask)
        return m

    def _event(self, m: Module, name: str) -> None:
        with m.If(getattr(self, f"{name}_set")):
            m.d.sync += getattr(self, name).eq(1)

    def _access(self, m: Module, register: Register, go: Signal, mask: Value) -> None:
        bus, name = self.bus, register.name
        allowed = Mux(bus.write, int(register.writable), int(register.readable))
        whole = bus.strobe.all() | ~bus.write
        refusal = getattr(self, f"{name}_refusal") if register.guarded else Const(Code.NONE, CODE_BITS)
        if register.guarded and register.readable and register.writable:
            refusal = Mux(bus.write, refusal, Code.NONE)  # it can be read at any time
        fine = allowed & whole if register.external else allowed
        m.d.comb += self.code.eq(Mux(fine, refusal, Code.ADDRESS))
        if register.external:
            value = getattr(self, f"{name}_value")
            m.d.comb += getattr(self, f"{name}_access").eq(bus.valid & fine)
            m.d.comb += bus.ready.eq(getattr(self, f"{name}_ready") | (self.code != Code.NONE))
            m.d.comb += value.eq(bus.data) if register.writable else bus.answer.eq(value)
            return
        for field in register.fields:
            self._field(m, name, field, go, mask)

    def _field(self, m: Module, name: str, field: Field, go: Signal, mask: Value) -> None:
        """Build what an access of its register does with a field."""
        bus = self.bus
        port: Any = getattr(self, f"{name}_{field.name}", None)  # a constant has no port
        part = slice(field.low, field.low + field.width)
        written, new = mask[part], bus.data[part]
        match field.kind:
            case "constant":
                m.d.comb += bus.answer[part].eq(field.reset)
            case "command":
                m.d.comb += port.eq(Mux(bus.valid & bus.write, new & written, 0))
            case "status":
                m.d.comb += bus.answer[part].eq(port)
            case "setting":
                m.d.comb += bus.answer[part].eq(port)
                with m.If(go):
                    m.d.sync += port.eq((new & written) | (port & ~written))
            case "event":
                m.d.comb += bus.answer[part].eq(port)
                with m.If(go):
                    m.d.sync += port.eq((port & ~(new & written)) | getattr(self, f"{name}_{field.name}_set"))


def registers_of(model: AddrmapNode) -> tuple["Register", ...]:
    """Return the registers of a compiled source."""
    return tuple(_register(node) for node in model.children(unroll=True) if isinstance(node, RegNode))


def register_views(p: RegisterParameters) -> dict[str, bytes]:
    """Return the C header, the status codes as a second one, the HTML pages and the source, by path.

    The same parameters give the same bytes.

    Of the page's fonts only the form that browsers take is kept; its time stamp and its script from afar are not.
    """
    found = {"registers.rdl": _source(p), "selvage_codes.h": _codes_header()}
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        CHeaderExporter().export(p.model, str(where / "selvage.h"), reuse_typedefs=False)
        title: Any = "selvage registers"  # PeakRDL annotates its keywords as dictionaries
        HTMLExporter().export(p.model, str(where / "html"), title=title)
        for path in sorted(where.rglob("*")):
            name = path.relative_to(where).as_posix()
            unwanted = "launcher" in name or ("/fonts/" in name and path.suffix != ".woff2")
            if path.is_file() and not unwanted:
                found[name] = path.read_bytes()
    page = found["html/index.html"]
    built = re.search(rb"BUILD_TS = (\d+)", page)
    assert built, "the page has no time stamp"
    page = page.replace(built[1], b"0")
    found["html/index.html"] = re.sub(rb"<script async src=\"https:[^<]*</script>\n", b"", page)
    return found


def _source(p: RegisterParameters) -> bytes:
    """Return the source with the values of this design, so that other tools need not be told them."""
    text = SOURCE.read_text()
    for name, value in asdict(p).items():
        given = str(value).lower() if isinstance(value, bool) else str(value)
        text, count = re.subn(rf"(?m)^(  .*\b{name.upper()} = )\w+(,?)$", rf"\g<1>{given}\g<2>", text)
        assert count == 1, f"{name} is not a parameter of {SOURCE.name}"
    return text.encode()


def _codes_header() -> bytes:
    """Return states and status codes as C constants, which PeakRDL's header leaves out."""
    lines = ["// Values of the fields of STATUS: generated from registers.rdl", "#pragma once"]
    for kind in (State, Code):
        lines += [f"#define SELVAGE_{kind.__name__.upper()}_{member.name} {member.value}" for member in kind]
    return "\n".join([*lines, ""]).encode()
