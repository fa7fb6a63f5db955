"""Bundles of a small network, and their self-tests."""

import subprocess
from pathlib import Path

from selvage.bundle.verilog_bundle import (
    bundle_files,
    expected_codes,
)
from selvage.hw.network.network import NetworkParameters
from tb.models.small_networks import LEAKY, RELU, SmallNetwork


def small() -> SmallNetwork:
    """Two layers, a join with a queue, a table, two outputs, one of them raw sums."""
    n = SmallNetwork.on("tiny", 11)
    x = n.input(3, 4, 3)
    a = n.layer(x, 3, kernel=(2, 2), pads=(1, 1, 0, 0), activation=LEAKY)
    return n.leaves(n.add(a, n.table(x), RELU), n.layer(n.pool(a, "max", (2, 2)), 2, raw=True))


def files_of(network: SmallNetwork) -> dict[str, bytes]:
    graph, plan = network.graph, network.plan
    inputs = [network.codes[tensor.name] for tensor in graph.inputs]
    expected = expected_codes(graph, plan, inputs)
    return bundle_files(NetworkParameters(plan), inputs, [expected[name] for name in graph.outputs])


def run(command: list[str], where: Path) -> str:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def last_line(where: Path, listed: str, *plusargs: str) -> str:
    """Of what a file list's bench says, compiled without a word and run without a warning."""
    assert run(["iverilog", "-g2005", "-Wall", "-f", listed, "-o", "t"], where) == ""
    said = run(["vvp", "t", *plusargs], where).strip().split("\n")
    assert not any("WARNING" in line for line in said), said[0]
    return said[-1]
