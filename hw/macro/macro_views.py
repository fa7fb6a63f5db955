"""The crossbar macro as flows want it: black box, model, Liberty, LEF, an outline in GDSII. All have the same pins.

Sizes and times are placeholders, there to be replaced by those of a real array: see `Physics`.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from selvage.hw.macro.macro import CROSSBAR, macro_parameters
from selvage.hw.macro.programmable import PROGRAMMABLE
from selvage.hw.tile.parameters import EngineParameters

# What Verilator says of a module without contents, its file called after it and what it is.
STUB_WAIVED = ("DECLFILENAME", "UNDRIVEN", "UNUSEDSIGNAL")


@dataclass(frozen=True)
class Physics:
    """Sizes, times and loads that no chip description holds: micrometres, nanoseconds, picofarads, volts."""

    cell_pitch: float = 0.5
    lane_width: float = 20.0  # of an ADC and its sample-and-hold, beside the cells
    driver_width: float = 15.0  # of the word lines' drivers
    pin_pitch: float = 1.36
    pin_width: float = 0.28
    pin_length: float = 1.0
    strap_width: float = 3.0
    halo: float = 2.0  # kept free of the obstruction along the edges
    setup: float = 0.5
    hold: float = 0.1
    clock_to_output: float = 1.0
    transition: float = 0.1
    pin_capacitance: float = 0.01
    largest_load: float = 0.5
    voltage: float = 1.8
    signal_layer: str = "met2"
    power_layer: str = "met4"
    layers: tuple[str, ...] = ("met1", "met2", "met3", "met4")
    power: str = "VPWR"
    ground: str = "VGND"


@dataclass(frozen=True)
class Pin:
    """A pin of ``width`` bits; with 0 it is a single bit without an index."""

    name: str
    output: bool
    width: int = 0

    @property
    def bits(self) -> list[str]:
        """Names of its bits, bit 0 first."""
        return [f"{self.name}[{bit}]" for bit in range(self.width)] if self.width else [self.name]


@dataclass(frozen=True)
class Macro:
    """Crossbar macro of one size; ``values`` are the parameters of `hw.macro.macro.CROSSBAR` but ``CELLS``.

    ``programmable``: with a programming port (`hw.macro.programmable.PROGRAMMABLE`), its cells unknown at first.
    """

    name: str
    values: Mapping[str, int]
    physics: Physics = Physics()
    programmable: bool = False

    @property
    def row_width(self) -> int:
        """Bits of the cells of one row."""
        return self.values["COLUMNS"] * self.values["CELL_BITS"]

    @property
    def row_bits(self) -> int:
        """Bits of a row's number at the programming port."""
        return max(1, (self.values["ROWS"] - 1).bit_length())

    @property
    def request_width(self) -> int:
        """Bits of a request: word lines and column group."""
        return self.values["ROWS"] + self.values["GROUP_BITS"]

    @property
    def codes_width(self) -> int:
        """Bits of the ADC codes of one read."""
        return self.values["OU_COLS"] * self.values["ADC_BITS"]

    @property
    def pins(self) -> list[Pin]:
        """The pins in the order of the module's ports."""
        return [
            Pin("clk", False),
            Pin("rst", False),
            Pin("request__valid", False),
            Pin("request__ready", True),
            Pin("request__payload", False, self.request_width),
            Pin("codes__valid", True),
            Pin("codes__ready", False),
            Pin("codes__payload", True, self.codes_width),
            *(self._programming if self.programmable else []),
        ]

    @property
    def _programming(self) -> list[Pin]:
        return [
            Pin("program__request__valid", False),
            Pin("program__request__ready", True),
            Pin("program__request__payload", False, self.row_width + self.row_bits + 1),
            Pin("program__cells__valid", True),
            Pin("program__cells__ready", False),
            Pin("program__cells__payload", True, self.row_width),
        ]

    @cached_property
    def sides(self) -> tuple[list[str], list[str]]:
        """Bits of the pins on the left edge, requests, and on the right edge, codes."""
        left = [bit for pin in self.pins if not pin.name.startswith("codes") for bit in pin.bits]
        return left, [bit for pin in self.pins if pin.name.startswith("codes") for bit in pin.bits]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in micrometres: cells, drivers and ADCs, and no less than the pins need."""
        physics, values = self.physics, self.values
        width = values["COLUMNS"] * physics.cell_pitch + physics.driver_width + physics.lane_width
        height = max(values["ROWS"] * physics.cell_pitch, (max(map(len, self.sides)) + 2) * physics.pin_pitch)
        return round(max(width, 8 * physics.strap_width), 2), round(max(height, 8 * physics.strap_width), 2)


def macro_of(engine: EngineParameters, cell_bits: int, latency: int, *, programmable: bool = False) -> Macro:
    """Return the macro of an engine's array: the same of all engines of a chip."""
    values = macro_parameters(engine, cell_bits, latency)
    name = f"crossbar_{values['ROWS']}x{values['COLUMNS']}" + "_programmable" * programmable
    return Macro(name, values, programmable=programmable)


def view_files(macro: Macro) -> dict[str, bytes]:
    """Return all views of a macro, by path."""
    texts = {"_stub.v": stub(macro), ".v": model(macro), ".lib": liberty(macro), ".lef": lef(macro)}
    views = {ending: text.encode() for ending, text in texts.items()} | {".gds": gds(macro)}
    return {f"macro/{macro.name}{ending}": content for ending, content in views.items()}


def stub(macro: Macro) -> str:
    """Return Verilog of the black box."""
    ports = ",\n".join(
        f"  {'output' if pin.output else 'input'} wire {f'[{pin.width - 1}:0] ' if pin.width else ''}{pin.name}"
        for pin in macro.pins
    )
    return (
        f"// {macro.name}: the crossbar macro as a black box; its model, Liberty and LEF have the same pins.\n\n"
        f"{lint('off', STUB_WAIVED)}"
        f"(* blackbox *)\nmodule {macro.name} (\n"
        f"{ports}\n);\nendmodule\n{lint('on', STUB_WAIVED)}"
    )


def lint(switch: str, kinds: Sequence[str]) -> str:
    """Return lines that turn kinds of Verilator's warnings ``on`` or ``off``."""
    return "".join(f"// verilator lint_{switch} {kind}\n" for kind in kinds)


def model(macro: Macro) -> str:
    """Return the ideal macro in plain Verilog, with this size as the defaults of its parameters."""
    ideal = f"{macro.name}_ideal" if macro.programmable else macro.name
    text = _sized(CROSSBAR.replace("module crossbar #(", f"module {ideal} #("), macro.values)
    if macro.programmable:
        wrapper = PROGRAMMABLE.replace("module programmable_crossbar #(", f"module {macro.name} #(")
        wrapper = wrapper.replace("(crossbar.v)", f"({ideal})").replace("  crossbar #(", f"  {ideal} #(")
        text += "\n" + _sized(wrapper, {**macro.values, "ROW_BITS": macro.row_bits})
    return f"// verilator lint_off WIDTH\n\n{text}\n// verilator lint_on WIDTH\n"


def _sized(text: str, values: Mapping[str, int]) -> str:
    """Return the Verilog ``text`` with ``values`` as the defaults of its parameters."""
    lines = []
    for line in text.splitlines(keepends=True):
        words = line.split()
        if words[:1] == ["parameter"] and words[1] in values:
            old = f"parameter {words[1]} = {words[3].rstrip(',')}"
            line = line.replace(old, f"parameter {words[1]} = {values[words[1]]}")
        lines.append(line)
    return "".join(lines)


def liberty(macro: Macro) -> str:
    """Return timing at the typical corner: setup and hold of each input, clock to output of each output."""
    physics = macro.physics
    widths = sorted({pin.width for pin in macro.pins if pin.width})
    types = "".join(
        f"  type (bus_{width}) {{\n    base_type : array;\n    data_type : bit;\n    bit_width : {width};\n"
        f"    bit_from : {width - 1};\n    bit_to : 0;\n    downto : true;\n  }}\n"
        for width in widths
    )
    pins = "".join(_liberty_pin(pin, physics) for pin in macro.pins)
    area = macro.size[0] * macro.size[1]
    return f"""\
/* {macro.name}: placeholder timing of the crossbar macro, times in ns, capacitances in pF, area in um2. */
library ({macro.name}) {{
  technology (cmos);
  delay_model : table_lookup;
  time_unit : "1ns";
  voltage_unit : "1V";
  current_unit : "1mA";
  pulling_resistance_unit : "1kohm";
  leakage_power_unit : "1nW";
  capacitive_load_unit (1, pf);
  nom_process : 1.0;
  nom_temperature : 25.0;
  nom_voltage : {physics.voltage:.2f};
  default_max_transition : 1.5;
  default_inout_pin_cap : {physics.pin_capacitance:.4f};
  default_input_pin_cap : {physics.pin_capacitance:.4f};
  default_output_pin_cap : 0.0;
  default_fanout_load : 1.0;
  default_cell_leakage_power : 0.0;
  default_leakage_power_density : 0.0;
  slew_lower_threshold_pct_fall : 20.0;
  slew_lower_threshold_pct_rise : 20.0;
  slew_upper_threshold_pct_fall : 80.0;
  slew_upper_threshold_pct_rise : 80.0;
  input_threshold_pct_fall : 50.0;
  input_threshold_pct_rise : 50.0;
  output_threshold_pct_fall : 50.0;
  output_threshold_pct_rise : 50.0;
  voltage_map ({physics.power}, {physics.voltage:.2f});
  voltage_map ({physics.ground}, 0.0);
  operating_conditions (typical) {{
    process : 1.0;
    temperature : 25.0;
    voltage : {physics.voltage:.2f};
  }}
  default_operating_conditions : typical;
  lu_table_template (delay) {{
    variable_1 : input_net_transition;
    variable_2 : total_output_net_capacitance;
    index_1 ("0.01, 1.0");
    index_2 ("0.001, {physics.largest_load:.3f}");
  }}
  lu_table_template (constraint) {{
    variable_1 : related_pin_transition;
    variable_2 : constrained_pin_transition;
    index_1 ("0.01, 1.0");
    index_2 ("0.01, 1.0");
  }}
{types}  cell ({macro.name}) {{
    area : {area:.2f};
    dont_touch : true;
    dont_use : true;
    is_macro_cell : true;
    interface_timing : true;
    pg_pin ({physics.power}) {{
      pg_type : primary_power;
      voltage_name : {physics.power};
    }}
    pg_pin ({physics.ground}) {{
      pg_type : primary_ground;
      voltage_name : {physics.ground};
    }}
{pins}  }}
}}
"""


def _liberty_pin(pin: Pin, physics: Physics) -> str:
    lines = [f"direction : {'output' if pin.output else 'input'};"]
    if pin.width:
        lines.insert(0, f"bus_type : bus_{pin.width};")
    if pin.output:
        lines.append(f"max_capacitance : {physics.largest_load:.4f};")
        late = physics.clock_to_output + physics.transition
        tables = {
            "cell_rise": (physics.clock_to_output, late),
            "cell_fall": (physics.clock_to_output, late),
            "rise_transition": (physics.transition, 5 * physics.transition),
            "fall_transition": (physics.transition, 5 * physics.transition),
        }
        lines += _arc("rising_edge", "delay", tables)
    else:
        lines.append(f"capacitance : {physics.pin_capacitance:.4f};")
        if pin.name == "clk":
            lines.append("clock : true;")
        else:
            for kind, value in (("setup", physics.setup), ("hold", physics.hold)):
                tables = {"rise_constraint": (value, value), "fall_constraint": (value, value)}
                lines += _arc(f"{kind}_rising", "constraint", tables)
    body = "".join(f"      {line}\n" for line in lines)
    return f"    {'bus' if pin.width else 'pin'} ({pin.name}) {{\n{body}    }}\n"


def _arc(kind: str, template: str, tables: Mapping[str, tuple[float, float]]) -> list[str]:
    lines = ["timing () {", '  related_pin : "clk";', f"  timing_type : {kind};"]
    for name, (first, last) in tables.items():
        row = f'"{first:.3f}, {last:.3f}"'
        lines += [f"  {name} ({template}) {{", f"    values ({row}, {row});", "  }"]
    return [*lines, "}"]


def lef(macro: Macro) -> str:
    """Return the outline as LEF: pins at the left and right edge, power straps between edges, the rest obstructed."""
    physics, (width, height) = macro.physics, macro.size
    outputs = {bit for pin in macro.pins if pin.output for bit in pin.bits}
    left, right = macro.sides
    parts = [
        f'VERSION 5.8 ;\nBUSBITCHARS "[]" ;\nDIVIDERCHAR "/" ;\n\nMACRO {macro.name}\n  CLASS BLOCK ;\n'
        f"  FOREIGN {macro.name} 0 0 ;\n  ORIGIN 0 0 ;\n  SIZE {width:.2f} BY {height:.2f} ;\n  SYMMETRY X Y R90 ;\n"
    ]
    for bits, edge in ((left, 0.0), (right, width - physics.pin_length)):
        for index, bit in enumerate(bits):
            low = physics.pin_pitch * (index + 1)
            use = "CLOCK" if bit == "clk" else "SIGNAL"
            box = (edge, low, edge + physics.pin_length, low + physics.pin_width)
            parts.append(_lef_pin(bit, "OUTPUT" if bit in outputs else "INPUT", use, physics.signal_layer, box))
    for name, use, at in ((physics.power, "POWER", width / 4), (physics.ground, "GROUND", 3 * width / 4)):
        low = round(at - physics.strap_width / 2, 2)
        parts.append(_lef_pin(name, "INOUT", use, physics.power_layer, (low, 0.0, low + physics.strap_width, height)))
    inner = (physics.halo, physics.halo, width - physics.halo, height - physics.halo)
    layers = [layer for layer in physics.layers if layer != physics.power_layer]
    parts.append(
        "  OBS\n" + "".join(f"    LAYER {layer} ;\n      {_rectangle(inner)}\n" for layer in layers) + "  END\n"
    )
    return "".join([*parts, f"END {macro.name}\n\nEND LIBRARY\n"])


def _lef_pin(name: str, direction: str, use: str, layer: str, box: tuple[float, ...]) -> str:
    return (
        f"  PIN {name}\n    DIRECTION {direction} ;\n    USE {use} ;\n    PORT\n      LAYER {layer} ;\n"
        f"        {_rectangle(box)}\n    END\n  END {name}\n"
    )


def _rectangle(box: tuple[float, ...]) -> str:
    return "RECT " + " ".join(f"{side:.3f}" for side in box) + " ;"


def gds(macro: Macro) -> bytes:
    """Return the outline as GDSII, on sky130's boundary layer (235/4).

    It is for flows that will not start without a layout.
    """
    width, height = (round(1000 * side) for side in macro.size)
    corners = (0, 0, width, 0, width, height, 0, height, 0, 0)
    name = macro.name.encode() + b"\0" * (len(macro.name) % 2)
    return b"".join(
        [
            _record(0x0002, struct.pack(">h", 600)),
            _record(0x0102, bytes(24)),  # when it was made: never
            _record(0x0206, name),
            _record(0x0305, _real(0.001) + _real(1e-9)),
            _record(0x0502, bytes(24)),
            _record(0x0606, name),
            _record(0x0800),
            _record(0x0D02, struct.pack(">h", 235)),
            _record(0x0E02, struct.pack(">h", 4)),
            _record(0x1003, struct.pack(">10i", *corners)),
            _record(0x1100),
            _record(0x0700),
            _record(0x0400),
        ]
    )


def _record(kind: int, content: bytes = b"") -> bytes:
    return struct.pack(">HH", 4 + len(content), kind) + content


def _real(value: float) -> bytes:
    """Return GDSII's eight-byte real: a power of 16 and a fraction of 56 bits."""
    exponent = 64
    while value < 1 / 16:
        value, exponent = value * 16, exponent - 1
    return struct.pack(">Q", exponent << 56 | round(value * 2**56))
