"""A mapping is one class: a toy one runs through every part, and nothing else is told of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from selvage.base.errors import InputError
from selvage.mapping.schemes import scheme, schemes

LAYER = Path(__file__).parents[2] / "examples" / "layer" / "small.toml"
TOY = f"""
import sys
from dataclasses import replace
import selvage
from selvage.mapping.dense import place_dense
from selvage.mapping.schemes import Scheme

class Toy(Scheme):
    "As dense, in tiles of one array each."
    name, order = "toy", 0

    def place(self, request):
        chip = request.chip.model_copy(update=dict(arrays_per_tile=2))
        keys = dict(input_format=request.input_format, schedule=request.schedule, dynamic=request.dynamic)
        placement = place_dense(request.layer, request.weights, chip, **keys)
        return replace(placement, chip=request.chip, mapping="toy"), request.weights

    def index_bits(self, placement):
        return 4711

compiled = selvage.compile({str(LAYER)!r}, "ou9x8", mapping="toy", schedule="red", build=sys.argv[1])
counted, simulated = compiled.count(), compiled.simulate()
(line,) = simulated["layers"]
assert simulated["match"] and line["mapping"] == "toy" and line["index_bits"] == 4711, simulated
assert line["cycles"] == counted["cycles"] and line["tiles"] > 1
assert compiled.write_verilog(sys.argv[1] + "/v")
chosen = selvage.compile({str(LAYER)!r}, "ou9x8")
assert "toy red" in chosen.placed.note, chosen.placed.note
try:
    selvage.compile({str(LAYER)!r}, "tiny", mapping="toys")
except ValueError as error:
    assert "toy" in str(error)
"""


def test_a_toy_scheme_is_one_class(tmp_path: Path) -> None:
    """In a process of its own, for a scheme that is known stays known."""
    done = subprocess.run([sys.executable, "-c", TOY, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_schemes_are_found_without_a_list() -> None:
    assert list(schemes()) == ["dense", "pattern", "sre", "sme"]
    assert [name for name, own in schemes().items() if not own.exact] == ["sme"]
    with pytest.raises(InputError, match="mapping 'sparse' is none of dense, pattern, sre, sme"):
        scheme("sparse")
