"""One component of a tile, alone in a simulator: Verilog, compilation, bench."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from typing import Any
from zlib import crc32

import numpy as np
from amaranth.lib import wiring

from selvage.base.build import build_folder
from selvage.base.chip import Chip, load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.hw.tile.accumulator import Accumulator
from selvage.hw.tile.address import AddressGenerator
from selvage.hw.tile.buffer import InputBuffer
from selvage.hw.tile.engine import ArrayEngine
from selvage.hw.tile.output import OutputStage, OverlapAdd
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.splice import Splice
from selvage.hw.tile.steps import StepGenerator
from selvage.mapping.dense import place_dense
from selvage.verilog.convert import convert
from tb.benches.bench_run import CASES, run_alone

BUILD = build_folder("components")


@dataclass(frozen=True)
class Case:
    """A component of tile ``tile`` (of its array ``array``) of a layer on a chip, and nothing around it."""

    name: str
    component: str
    layer: dict[str, Any]
    chip: str = "tiny"
    changes: dict[str, Any] = field(default_factory=dict)  # to the chip
    schedule: str = "auto"
    fold: int = 1
    dynamic: bool = False
    raw_signed: bool = True
    zero_point: int = 0
    skip: bool = True
    tile: int = 0
    array: int = 0
    copies: int = 1
    copy: int = 0

    @property
    def bench(self) -> str:
        """Module of the bench."""
        return f"tb.benches.{self.component}_bench"

    @property
    def seed(self) -> int:
        return crc32(self.name.encode())

    @cached_property
    def parameters(self) -> TileParameters:
        """Of the tile. Weights are random; only an array's cells depend on them."""
        chip = Chip(**{**load_chip(self.chip).model_dump(), **self.changes})
        layer = Layer(**self.layer)
        low, high = chip.weight_range
        weights = np.random.default_rng(1).integers(low, high + 1, layer.weight_shape)
        numbers = InputFormat(raw_bits=chip.input_bits, raw_signed=self.raw_signed, zero_point=self.zero_point)
        placement = place_dense(
            layer, weights, chip, input_format=numbers, schedule=self.schedule, fold=self.fold, dynamic=self.dynamic
        )
        share = placement.copied(self.copies).shares[self.copy]
        return TileParameters(share, share.tiles[self.tile], skip=self.skip)

    def build(self) -> wiring.Component:
        """The component itself."""
        p = self.parameters
        match self.component:
            case "address":
                return AddressGenerator(p.buffer)
            case "steps":
                return StepGenerator(p.buffer)
            case "buffer":
                return InputBuffer(p.buffer)
            case "engine":
                return ArrayEngine(p.engines[self.array])
            case "accumulator":
                return Accumulator(p.accumulators[self.array])
            case "splice":
                return Splice(p)
            case "output":
                return OutputStage(p)
            case "overlap":
                return OverlapAdd(p)
        raise ValueError(f"{self.component!r} is no component")


@cache
def present_case(name: str) -> Case:
    """One of the cases that the simulator runs: for benches."""
    return next(Case(**told) for told in json.loads(os.environ[CASES]) if told["name"] == name)


def simulate(cases: Sequence[Case], simulator: str = "icarus") -> int:
    """Run the bench of ``cases``, which is the same, on all of them in one simulation; returns how many tests ran.

    A simulator starts in a second, of which hardly a part is the case's. Raises `SimulationError`.
    """
    (bench,) = {case.bench for case in cases}
    sources = {f"{case.name}.v": convert(case.build(), case.name) for case in cases}
    sources["dut.v"] = side_by_side({case.name: sources[f"{case.name}.v"] for case in cases})
    environment = {CASES: json.dumps([asdict(case) for case in cases])}
    return run_alone(BUILD / simulator / cases[0].name, sources, "dut", bench, cases[0].seed, environment, simulator)


def side_by_side(texts: Mapping[str, str]) -> str:
    """Module ``dut``: one instance of each module of ``texts``, whose pins have the module's name before theirs."""
    pins, parts = [], []
    for name, text in texts.items():
        (module,) = re.findall(rf"^module {name} .*?^endmodule", text, re.MULTILINE | re.DOTALL)
        found = re.findall(r"^  (input|output) (?:wire |reg )?((?:\[\d+:0\] )?)(\w+)", module, re.MULTILINE)
        pins += [f"  {way} {width}{name}__{pin}" for way, width, pin in found]
        joined = ", ".join(f".{pin}({name}__{pin})" for *_, pin in found)
        parts.append(f"  {name} {name} ({joined});\n")
    return "module dut(\n{}\n);\n{}endmodule\n".format(",\n".join(pins), "".join(parts))
