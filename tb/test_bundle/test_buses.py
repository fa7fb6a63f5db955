"""A bus is a class of gateware and one of the bundle: a toy one passes its self-test, and nothing else knows of it."""

import subprocess
import sys
from pathlib import Path

from selvage.bundle.buses import bus_files
from selvage.hw.shell.buses import buses

LAYER = Path(__file__).parents[2] / "examples" / "layer" / "small.toml"
TOY = f"""
import sys
import selvage
from selvage.bundle.buses import BusFiles
from selvage.bundle.bus_axi import AxiFiles
from selvage.hw.shell.bus_axi import Axi
from selvage.hw.shell.buses import Bus

class Toy(Bus):
    name, framed, queues = "toy", True, False
    members, registers, enter, leave = Axi.members, Axi.registers, Axi.enter, Axi.leave

class ToyFiles(BusFiles):
    name, title, stream = "toy", "the toy bus", "toy"
    page, ends, turn, entered, waits = AxiFiles.page, AxiFiles.ends, AxiFiles.turn, AxiFiles.entered, AxiFiles.waits
    refused_in, refused_out, withdraw = AxiFiles.refused_in, AxiFiles.refused_out, AxiFiles.withdraw
    parts, rewind, dropping = AxiFiles.parts, AxiFiles.rewind, AxiFiles.dropping

selvage.compile({str(LAYER)!r}, "ou9x8", schedule="red").write_verilog(sys.argv[1], bus="toy")
"""


def test_a_toy_bus_is_two_classes(tmp_path: Path) -> None:
    """In a process of its own, for a bus that is known stays known."""
    done = subprocess.run([sys.executable, "-c", TOY, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where = tmp_path / "shell"
    assert "(the toy bus)" in (where / "README.md").read_text()
    subprocess.run(["iverilog", "-g2005", "-f", "selftest.f", "-o", "t"], cwd=where, check=True)
    found = subprocess.run(["vvp", "t"], cwd=where, capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[-2] == "PASS"


def test_every_bus_has_gateware_and_files() -> None:
    assert list(buses()) == list(bus_files()) == ["axi", "wishbone"]
