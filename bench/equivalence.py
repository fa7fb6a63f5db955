"""Every module of the ready chips' bundles and of the trained networks, proved equal to what it was rewritten from.

Yosys' equivalence checker takes each module as it was before its Verilog was rewritten and the file that stands for it
(`tb.models.equivalence`). A module that is the same in several designs is proved once. It takes some minutes, the layer
on `isaac`, whose words have 512 bits, more than five. Exits with 1 when one is not proved.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import wiring

from bench.report import Figure, console, emit, figures
from selvage.base.chip import load_chip
from selvage.base.layer import InputFormat, Layer
from selvage.bundle.verilog_bundle import layer_graph
from selvage.commands.exits import leave
from selvage.compiler.compile_network import compile_network
from selvage.compiler.options import Options
from selvage.compiler.parts import node_parts
from selvage.hw.network.network import Network, NetworkParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.plan_network import plan_network
from selvage.verilog.modules import delivered_rtlil, rewritten
from tb.models.equivalence import unproven

TRAINED = ("examples/digits/classifier.onnx", "examples/digits_gan/generator.onnx", "examples/segmenter/segmenter.onnx")
CHIPS = ("tiny", "ou9x8", "yu", "isaac")
LAYER = Layer(op="conv_transpose", channels=3, outputs=2, height=4, width=4, kernel=(3, 3), stride=(2, 2))
FORMAT = InputFormat(raw_bits=4, raw_signed=False)

Components = Mapping[str, wiring.Component]


def _designs(asked: str) -> Iterator[tuple[str, str, Components]]:
    """Yield what is proved, the name of its top, and its components: a small layer on each chip, trained networks.

    Only those whose name has ``asked`` in it.
    """
    for chip in (chip for chip in CHIPS if asked in f"a layer on {chip}"):
        weights = np.random.default_rng(1).integers(0, 2, LAYER.weight_shape)
        placed = place_dense(LAYER, weights, load_chip(chip), input_format=FORMAT)
        graph = layer_graph(placed, weights)
        plan = plan_network(graph, {graph.nodes[0].name: placed})
        yield f"a layer on {chip}", *_network(NetworkParameters(plan, direct=True))
    for path in (path for path in TRAINED if asked in path):
        options = Options()
        compiled = compile_network(path, load_chip("ou9x8"), None, options, lambda: None)
        if compiled.fits:
            yield path, *_network(NetworkParameters(compiled.plan))
        for folder, part in node_parts(compiled, options) if not compiled.fits else ():
            yield f"{path}: {folder}", *_network(part.parameters)


def _network(p: NetworkParameters) -> tuple[str, Components]:
    network = Network(p)
    return "network", {**network.library.components, "network": network}


def measure(name: str, top: str, components: Components, proven: set[str]) -> dict[str, Any]:
    """Prove one design: how many modules it has, how many files, which are not proved, and the seconds."""
    started = time.monotonic()
    before = delivered_rtlil(components, top)
    counts: Counter[str] = Counter()
    names, texts = rewritten(before, top, "", counts)
    with tempfile.TemporaryDirectory() as folder:
        wrong = unproven(before, names, texts, Path(folder), proven)
    console.print(f"{name}: {len(names.modules)} modules in {len(texts)} files, {len(wrong)} not proved")
    return {
        "design": name,
        "modules": len(names.modules),
        "files": len(texts),
        "unproven": wrong,
        "steps": dict(counts),
        "seconds": time.monotonic() - started,
    }


def main() -> int:
    """Prove all designs and print what was found as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.equivalence", description=__doc__)
    parser.add_argument("--only", default="", help="designs whose name has this in it")
    asked = parser.parse_args().only
    proven: set[str] = set()
    results = [measure(*design, proven) for design in _designs(asked)]
    wrong = sum(len(result["unproven"]) for result in results)
    found = [Figure("modules not proved equal to the netlist before rewriting", wrong, "==", 0)]
    figures("Equivalence of what is delivered", found)
    emit({"benchmark": "equivalence", "designs": results, "targets": [figure.as_dict() for figure in found]})
    return int(wrong > 0)


if __name__ == "__main__":
    leave(main)
