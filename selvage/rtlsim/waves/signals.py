"""The signals of a tile's waves: names, groups, states by name; what `waves.monitor` dumps and viewers show.

A scope is a component; a *transfer* is a handshake with its fields, which are only worth reading in its cycles.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

from selvage.hw.tile.output import output_beats, output_layout
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.probes import probes_of
from selvage.hw.tile.streams import request_layout

# A handshake as two bits {valid, ready}.
HANDSHAKE = {0b00: "idle", 0b01: "nothing offered", 0b10: "REFUSED", 0b11: "transfer"}
BUFFER_STATES = {0b00: "fills", 0b10: "image in", 0b01: "all read", 0b11: "next image"}
ENGINE_STATES = {0b00: "idle", 0b01: "last read", 0b10: "waits", 0b11: "reads"}
BITS, UNSIGNED, SIGNED, HEX = "bits", "unsigned", "signed", "hex"


@dataclass(frozen=True)
class Shown:
    """One signal: its name in the waves, the Verilog it shows, its width; ``names`` of its values where it has some."""

    name: str
    source: str
    width: int = 1
    radix: str = UNSIGNED
    names: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scope:
    """The signals of a component. ``counters`` is Verilog that counts steps, and what else is no wire."""

    name: str
    title: str
    signals: tuple[Shown, ...]
    counters: str = ""


def tile_scopes(p: TileParameters) -> tuple[Scope, ...]:
    """Return the scopes of a tile with probes, in the order in which data goes through it."""
    readers = range(len(p.engines))
    arrays = [scope for k in readers for scope in (_reader(p, k), *(_macro(p, k, m) for m in p.tile.read_together[k]))]
    pairs = [_pair(p, k) for k in readers if p.accumulators[k].paired]
    return (_input(p), *arrays, *pairs, *(_sums(p, k) for k in readers), _splice(p), _output(p))


def _fields(layout: Any, source: str, first: int = 0, path: str = "") -> Iterator[Shown]:
    """Yield every leaf of a layout as a slice of ``source``."""
    for name, part in layout:
        inner, low = part.shape, first + part.offset
        label = f"{path}{name}"
        if isinstance(inner, data.Layout):
            yield from _fields(inner, source, low, f"{label}_")
        elif width := Shape.cast(inner).width:
            radix = SIGNED if Shape.cast(inner).signed else UNSIGNED
            yield Shown(label, f"{source}[{low} +: {width}]", width, radix if width > 1 else BITS)


def _probe(p: TileParameters, name: str) -> dict[str, Shown]:
    """Return the fields of a probe by name."""
    return {shown.name: shown for shown in _fields(probes_of(p)[name], name)}


def _lanes(source: str, name: str, count: int, width: int, radix: str, first: int = 0) -> list[Shown]:
    return [Shown(f"{name}_{k}", f"{source}[{first + k * width} +: {width}]", width, radix) for k in range(count)]


def _handshake(name: str, valid: str, ready: str) -> Shown:
    return Shown(name, f"{{{valid}, {ready}}}", 2, BITS, HANDSHAKE)


def _input(p: TileParameters) -> Scope:
    buffer, numbers = p.buffer, p.buffer.format
    probe, load = _probe(p, "probe_buffer"), _probe(p, "probe_load")
    words = [shown for name, shown in load.items() if name.startswith("data_")]
    coded = SIGNED if numbers.signed else UNSIGNED
    return Scope(
        "input_buffer",
        "input buffer: words in, the window's words out",
        (
            Shown("state", probe["state"].source, 2, BITS, BUFFER_STATES),
            _handshake("taken", "i__valid", "i__ready"),
            *_lanes(
                "i__payload", "activation", buffer.lanes, numbers.raw_bits, SIGNED if numbers.raw_signed else UNSIGNED
            ),
            Shown("words", "c.words", 32),
            Shown("free", probe["free"].source, probe["free"].width),
            Shown("begins", probe["begins"].source, 1, BITS),
            Shown("row", probe["row"].source, probe["row"].width, SIGNED),
            Shown("column", probe["column"].source, probe["column"].width, SIGNED),
            Shown("gives", probe["gives"].source, 1, BITS),
            Shown("gives_step", "c.given", 32),
            Shown("given_row", probe["given_row"].source, probe["given_row"].width, SIGNED),
            Shown("given_column", probe["given_column"].source, probe["given_column"].width, SIGNED),
            Shown("fetches", probe["fetch"].source, 1, BITS),
            Shown("in_map", probe["inside"].source, 1, BITS),
            Shown("address", probe["address"].source, probe["address"].width),
            Shown("loads", "c.loads_now", 1, BITS),
            Shown("step", "c.step_now", 32),
            *(Shown(f"code_{k}", word.source, word.width, coded) for k, word in enumerate(words)),
        ),
        _LOADS.format(valid=load["valid"].source, last=load["last"].source, gives=probe["gives"].source),
    )


def _reader(p: TileParameters, k: int) -> Scope:
    source, engine = f"probe_reader_{k}", p.engines[k]
    fields = _probe(p, source)
    values = fields["engine_values"]
    low = int(values.source.split("[")[1].split(" ")[0])
    coded = SIGNED if p.buffer.format.signed else UNSIGNED
    picked = ("group", "bank", "last", "none")
    formed = [name for name in fields if name.startswith("engine_formed_")]
    tag = [name for name in fields if name.startswith("tag_") and name not in ("tag_valid", "tag_ready")]
    return Scope(
        f"engine_{k}",
        f"array engine {k}: row groups picked, reads decided",
        (
            Shown("state", fields["engine_state"].source, 2, BITS, ENGINE_STATES),
            Shown("takes", fields["engine_takes"].source, 1, BITS),
            Shown("pending", fields["engine_pending"].source, fields["engine_pending"].width, BITS),
            Shown("takes_step", "c.takes_now", 32),
            Shown("picks", fields["engine_picks"].source, 2, BITS, HANDSHAKE),
            Shown("picks_step", "c.picks_now", 32),
            *(_renamed(fields[f"engine_pick_{name}"], f"pick_{name}") for name in picked),
            *_lanes(source, "value", engine.group_rows, engine.input_bits, coded, low),
            Shown("forms", fields["engine_forms"].source, 2, BITS, HANDSHAKE),
            Shown("forms_step", "c.forms_now", 32),
            *(_renamed(fields[name], name.removeprefix("engine_"), HEX) for name in formed),
            _handshake("decides", fields["tag_valid"].source, fields["tag_ready"].source),
            Shown("step", "c.step_now", 32),
            *(_renamed(fields[name], name) for name in tag),
        ),
        _TAGS.format(
            takes=fields["engine_takes"].source,
            picks=f"&{fields['engine_picks'].source}",
            pick_last=fields["engine_pick_last"].source,
            forms=f"&{fields['engine_forms'].source}",
            formed_last=fields["engine_formed_last"].source,
            decides=f"{fields['tag_valid'].source} && {fields['tag_ready'].source}",
            last=fields["tag_last"].source,
            none=fields["tag_none"].source,
            ring=_ring(p),
        ),
    )


def _renamed(shown: Shown, name: str, wide: str = HEX) -> Shown:
    return Shown(name, shown.source, shown.width, wide if shown.width > 16 else shown.radix)


def _ring(p: TileParameters) -> int:
    """Return how many steps may be between a read's decision and its codes: one a cycle, where none has a read."""
    return 2 ** (p.chip.read_latency + 63).bit_length()


def _macro(p: TileParameters, reader: int, k: int) -> Scope:
    request = {shown.name: shown for shown in _fields(request_layout(p.macros[k]), f"request_{k}")}
    bits, lanes = p.chip.adc_bits, p.chip.ou_cols
    return Scope(
        f"crossbar_{k}",
        f"crossbar {k}: OU reads at its pins",
        (
            _handshake("read", f"valid_{k}", f"request_ready[{k}]"),
            Shown("step", "c.asked_step", 32),
            Shown("wordlines", request["wordlines"].source, request["wordlines"].width, BITS),
            Shown("column_group", request["column_group"].source, request["column_group"].width),
            _handshake("converted", f"codes_valid[{k}]", f"ready_{k}"),
            Shown("codes_step", "c.told_step", 32),
            *_lanes("codes", "code", lanes, bits, UNSIGNED, k * lanes * bits),
        ),
        _READS.format(
            engine=f"engine_{reader}",
            asks=f"valid_{k} && request_ready[{k}]",
            tells=f"codes_valid[{k}] && ready_{k}",
            ring=_ring(p),
        ),
    )


def _pair(p: TileParameters, k: int) -> Scope:
    fields, bits, lanes = _probe(p, f"probe_reader_{k}"), p.chip.adc_bits, 2 * p.chip.ou_cols
    first = int(fields["codes"].source.split("[")[1].split(" ")[0])
    valid, ready = fields["codes_valid"].source, fields["codes_ready"].source
    return Scope(
        f"pair_{k}",
        f"pair {k}: codes of P and N side by side",
        (
            _handshake("joined", valid, ready),
            Shown("step", "c.told_step", 32),
            *_lanes(f"probe_reader_{k}", "code", lanes, bits, UNSIGNED, first),
        ),
        _READS.format(engine=f"engine_{k}", asks="1'b0", tells=f"{valid} && {ready}", ring=_ring(p)),
    )


def _sums(p: TileParameters, k: int) -> Scope:
    own = p.accumulators[k]
    source = f"probe_sums_{k}"
    lanes = _lanes(source, "sum", own.lanes + bool(own.driven_bits), own.width, SIGNED, 1)
    shown = (Shown("drains", "c.drains_now", 1, BITS), Shown("step", "c.step_now", 32), Shown("beat", "c.beat_now", 16))
    counters = _DRAINS.format(go=f"{source}[0]", length=p.drain.length)
    return Scope(f"accumulator_{k}", f"accumulator {k}: sums that are read out", (*shown, *lanes), counters)


def _splice(p: TileParameters) -> Scope:
    fields = _probe(p, "probe_splice")
    values = [shown for name, shown in fields.items() if name.startswith("beat_values")]
    keep = fields["beat_keep"]
    leave = sum(any(bank.beats[k].last for bank in p.drain.banks if k < len(bank.beats)) for k in range(p.drain.length))
    return Scope(
        "splice",
        "splice: sums over arrays and slices",
        (
            _handshake("beats", fields["valid"].source, fields["ready"].source),
            Shown("step", "c.step_now", 32),
            Shown("beat", "c.beat_now", 16),
            *(Shown(f"value_{k}", value.source, value.width, SIGNED) for k, value in enumerate(values)),
            Shown("keep", keep.source, keep.width, BITS),
        ),
        _BEATS.format(moves=f"{fields['valid'].source} && {fields['ready'].source}", length=leave),
    )


def _output(p: TileParameters) -> Scope:
    fields = {shown.name: shown for shown in _fields(output_layout(p), "o__payload")}
    values = [shown for name, shown in fields.items() if name.startswith("values")]
    lanes = range(len(values))
    return Scope(
        "leaving",
        "output stage: sums that leave the tile",
        (
            _handshake("beats", "o__valid", "o__ready"),
            Shown("step", "c.step_now", 32),
            Shown("beat", "c.beat_now", 16),
            *(Shown(f"phase_{k}", f"c.ids[c.beat_now * {len(lanes)} + {k}][63:32]", 32) for k in lanes),
            *(Shown(f"output_id_{k}", f"c.ids[c.beat_now * {len(lanes)} + {k}][31:0]", 32) for k in lanes),
            *(Shown(f"value_{k}", value.source, value.width, SIGNED) for k, value in enumerate(values)),
            Shown("keep", fields["keep"].source, fields["keep"].width, BITS),
            Shown("last", fields["last"].source, 1, BITS),
        ),
        _BEATS.format(moves="o__valid && o__ready", length=len(output_beats(p)))
        + _IDS.format(last=len(output_beats(p)) * len(lanes) - 1),
    )


def output_table(p: TileParameters) -> str:
    """Return the file that ``+ids`` names: phase and output id of each lane of each beat."""
    m = p.placement.layer.outputs
    ids = [0 if output is None else output for beat in output_beats(p) for output in beat]
    return "".join(f"{output // m:08x}{output:08x}\n" for output in ids)


# Tiles of equal structure are compiled once, and differ in their outputs.
_IDS = """\
        reg [63:0] ids [0:{last}];
        reg [8 * 1024:1] ids_file;
        initial if ($value$plusargs("ids=%s", ids_file)) $readmemh(ids_file, ids);
"""

# Words of the window are a cycle behind their valid.
_LOADS = """\
        reg [31:0] step_now, words, given;
        reg loads_now, last_now;
        always @(posedge clk) begin
          if (rst) given <= 0; else if ({gives}) given <= given + 1;
          if (rst) words <= 0; else if (i__valid && i__ready) words <= words + 1;
          loads_now <= !rst && {valid};
          last_now <= {last};
          if (rst) step_now <= 0; else if (loads_now && last_now) step_now <= step_now + 1;
        end
"""

# Reads of a step and those at the macro's pins are in the same order: ``ends`` has how many there are up to each step.
_TAGS = """\
        reg [31:0] takes_now, picks_now, forms_now, step_now, decided, ends [0:{ring} - 1];
        always @(posedge clk)
          if (rst) begin
            takes_now <= 0; picks_now <= 0; forms_now <= 0; step_now <= 0; decided <= 0;
          end else begin
            if ({takes}) takes_now <= takes_now + 1;
            if ({picks} && {pick_last}) picks_now <= picks_now + 1;
            if ({forms} && {formed_last}) forms_now <= forms_now + 1;
            if ({decides}) begin
              if (!{none}) decided <= decided + 1;
              if ({last}) begin
                ends[step_now % {ring}] <= decided + !{none};
                step_now <= step_now + 1;
              end
            end
          end
"""

_READS = """\
        reg [31:0] asked, told, asked_step, told_step;
        always @(posedge clk)
          if (rst) begin
            asked <= 0; told <= 0; asked_step <= 0; told_step <= 0;
          end else begin
            if ({asks}) asked <= asked + 1;
            if ({tells}) told <= told + 1;
          end
        always @(negedge clk) begin
          while (asked_step < {engine}.c.step_now && asked >= {engine}.c.ends[asked_step % {ring}])
            asked_step = asked_step + 1;
          while (told_step < {engine}.c.step_now && told >= {engine}.c.ends[told_step % {ring}])
            told_step = told_step + 1;
        end
"""

_DRAINS = """\
        reg [31:0] step_now;
        reg [15:0] beat_now;
        reg drains_now;
        always @(posedge clk) begin
          drains_now <= !rst && {go};
          if (rst) begin
            step_now <= 0; beat_now <= 0;
          end else if (drains_now) begin
            beat_now <= beat_now == {length} - 1 ? 0 : beat_now + 1;
            if (beat_now == {length} - 1) step_now <= step_now + 1;
          end
        end
"""

_BEATS = """\
        reg [31:0] step_now;
        reg [15:0] beat_now;
        always @(posedge clk)
          if (rst) begin
            step_now <= 0; beat_now <= 0;
          end else if ({moves}) begin
            beat_now <= beat_now == {length} - 1 ? 0 : beat_now + 1;
            if (beat_now == {length} - 1) step_now <= step_now + 1;
          end
"""
