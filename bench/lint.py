"""Bundles of small designs under four linters, each design's self-test, and what large ones cost to generate.

``--count`` random configurations, two networks of all kinds of stages on every ready chip; one layer of 16 and of 64
arrays of 128 x 128 on chip ou9x8, whose four tiles are the same module, and two pruned layers whose engines all differ.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.report import Figure, emit, figures, positive, table
from selvage.base.chip import load_chip, ready_chips
from selvage.base.files import write_files
from selvage.base.layer import InputFormat, Layer
from selvage.bundle.verilog_bundle import bundle_files, expected_codes, layer_graph
from selvage.compiler.compile_layer import Compiled
from selvage.golden.pattern import prune
from selvage.hw.network.network import NetworkParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.pattern import place_pattern
from selvage.mapping.placement import Placement
from selvage.mapping.plan_network import plan_network
from tb.benches.linters import lint, run_selftest
from tb.models.draws import seeded
from tb.models.small_networks import RELU, SmallNetwork

TOOLS = ("icarus", "verilator", "yosys", "pyslang")
LINES, SECONDS, GROWTH = 60_000, 5.0, 1.5
RUNS = 3
NUMBERS = InputFormat(raw_bits=8, raw_signed=False)
PARTS = ("ready", "random", "size")


def checked(files: dict[str, bytes], where: Path) -> dict[str, Any]:
    """Diagnostics of a bundle by tool, and what its self-test says."""
    write_files([files], where)
    found = lint(where, "network")
    told = {tool: own[:3] for tool, own in found.items() if own}
    counts = {tool: len(own) for tool, own in found.items()}
    return {**counts, "lines": lines_of(files), "selftest": run_selftest(where), **({"told": told} if told else {})}


def lines_of(files: dict[str, bytes]) -> int:
    """Of the design."""
    return sum(content.count(b"\n") for name, content in files.items() if name.startswith("rtl/"))


def network_on(chip: str, seed: int) -> dict[str, bytes]:
    """All kinds of stages, on small maps."""
    n = SmallNetwork.on(chip, seed, images=1)
    x = n.input(4, 5, 4)
    a = n.layer(x, 4, kernel=(3, 3), pads=(1, 1, 1, 1), activation=RELU)
    b = n.concat(n.add(a, n.table(a)), n.pool(x, "max", (3, 3), (1, 1), (1, 1, 1, 1)))
    up = {"op": "conv_transpose", "kernel": (3, 3), "stride": (2, 2), "pads": (1, 1, 0, 0)}
    c = n.layer(b, 2, schedule="red" if seed % 2 else "padding-free", **up)
    n.leaves(n.resize(c, 2, 1), n.layer(n.pool(a, "average", (2, 2)), 3, raw=True))
    p = NetworkParameters(n.plan)
    inputs = [n.codes[tensor.name] for tensor in n.graph.inputs]
    expected = expected_codes(n.graph, n.plan, inputs)
    return bundle_files(p, inputs, [expected[name] for name in n.graph.outputs])


def layer_files(compiled: Compiled, *, skip: bool) -> dict[str, bytes]:
    """Of a single layer."""
    graph, codes = layer_graph(compiled.placement, compiled.weights), compiled.maps
    plan = plan_network(graph, {graph.nodes[0].name: compiled.placement})
    expected = expected_codes(graph, plan, [codes])
    return bundle_files(NetworkParameters(plan, skip=skip, direct=True), [codes], [expected[graph.outputs[0]]])


def drawn(seed: int, index: int) -> dict[str, bytes]:
    """Bundle of a random layer on a random chip."""
    one = seeded(seed, index)
    compiled = Compiled(None, one.placement, one.x[:1], one.weights, one.placement)
    return layer_files(compiled, skip=one.skip)


def sized(outputs: int) -> dict[str, Any]:
    """Time and size of a layer with as many outputs, its arrays 128 x 128 and all alike."""
    layer = Layer(op="conv", channels=113, outputs=outputs, height=6, width=6, kernel=(3, 3), pads=(1, 1, 1, 1))
    weights = np.random.default_rng(1).integers(-255, 256, layer.weight_shape)
    return generated(layer, weights, place_dense(layer, weights, load_chip("ou9x8"), input_format=NUMBERS))


def unlike(outputs: int) -> dict[str, Any]:
    """Of a pruned layer, no two pairs of whose arrays are alike."""
    layer = Layer(op="conv", channels=32, outputs=outputs, height=6, width=6, kernel=(3, 3), pads=(1, 1, 1, 1))
    rng = np.random.default_rng(1)
    weights = prune(rng.integers(-255, 256, layer.weight_shape), 4, 0.44)[0]
    return generated(layer, weights, place_pattern(layer, weights, load_chip("ou9x8"), input_format=NUMBERS))


def generated(layer: Layer, weights: NDArray[np.int64], placement: Placement) -> dict[str, Any]:
    """Time and size of a layer's bundle."""
    x = np.random.default_rng(2).integers(0, 256, (1, layer.channels, layer.height, layer.width))
    compiled = Compiled(None, placement, x, weights, placement)
    seconds = []
    for _ in range(RUNS):  # the shortest: what else the machine does is not counted
        started = time.perf_counter()
        files = layer_files(compiled, skip=True)
        seconds.append(time.perf_counter() - started)
    engines = sum(re.fullmatch(r"rtl/array_engine_\d+\.v", name) is not None for name in files)
    sizes = {"lines": lines_of(files), "files": len(files), "distinct_engines": engines}
    return {"arrays": placement.crossbars, "seconds": round(min(seconds), 2), **sizes}


def summary(parts: list[str], count: int, seed: int) -> dict[str, Any]:
    """All that was asked for."""
    content: dict[str, Any] = {"benchmark": "lint"}
    targets: list[Figure] = []
    bundles: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        if "ready" in parts:
            for chip in ready_chips():
                for own in (1, 2):
                    bundles[f"{chip} {own}"] = checked(network_on(chip, own), Path(folder) / f"{chip}_{own}")
        for index in range(count) if "random" in parts else ():
            where = Path(folder) / f"random_{index}"
            bundles[f"random {seed}:{index}"] = checked(drawn(seed, index), where)
            shutil.rmtree(where)
    if bundles:
        columns = (*TOOLS, "lines", "selftest")
        table(
            "Diagnostics", ("bundle", *columns), [(name, *(own[c] for c in columns)) for name, own in bundles.items()]
        )
        targets += [
            Figure(f"diagnostics of {tool}", sum(own[tool] for own in bundles.values()), "==", 0) for tool in TOOLS
        ]
        failed = sum(own["selftest"] != "PASS" for own in bundles.values())
        targets.append(Figure("self-tests that fail", failed, "==", 0))
        content["bundles"] = bundles
    if "size" in parts:
        small, large = content["sizes"] = [sized(16), sized(64)]
        targets += [
            Figure("lines, 16 arrays", small["lines"], "<=", LINES),
            Figure("seconds, 16 arrays", small["seconds"], "<=", SECONDS),
            Figure("lines, 64 arrays over 16", round(large["lines"] / small["lines"], 3), "<=", GROWTH),
            Figure("seconds, 64 arrays over 16", round(large["seconds"] / small["seconds"], 3), "<=", GROWTH),
        ]
        few, many = content["unlike"] = [unlike(16), unlike(64)]
        more = many["distinct_engines"] / few["distinct_engines"]
        targets += [
            Figure(f"{what} of {more:.0f} times the distinct engines", round(many[what] / few[what], 3), "<=", more)
            for what in ("lines", "seconds")
        ]
    figures("Bundles", targets)
    content["targets"] = [own.as_dict() for own in targets]
    return content


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.lint", description=__doc__)
    parser.add_argument("--count", type=positive, default=50, help="random configurations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    asked = parser.parse_args(argv)
    missing = [tool for tool in ("iverilog", "yosys") if shutil.which(tool) is None]
    if missing:
        print(f"selvage: {missing[0]} is not installed", file=sys.stderr)
        return 2
    content = summary(asked.parts, asked.count, asked.seed)
    emit(content)
    return 0 if all(own["met"] for own in content["targets"]) else 1


if __name__ == "__main__":
    sys.exit(main())
