"""The trained networks whole through RTL: every output against golden, accuracy beside onnxruntime's, the pipeline.

All layers work at once on a hundred test inputs, Verilator without Python. Throughput is in cycles between the last
words of images, beside those of the slowest layer alone (the cycle model, on the same images).
"""

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.report import Figure, emit, figures, table
from examples.digits.network import CLASSIFIER, PRUNED
from examples.digits.network import held_out as digits
from examples.digits_gan.layers import GENERATOR, noise
from examples.segmenter.data import held_out as canvases
from selvage.base.chip import load_chip
from selvage.commands.exits import leave
from selvage.commands.run_network import Flow, NodeReport, run_nodes, run_pipeline
from selvage.commands.tables import tell_fault
from selvage.compiler.compile_network import compile_network
from selvage.compiler.options import Options
from selvage.rtlsim.simulate import BUILD

IMAGES = 100
CHIP = "ou9x8"


@dataclass(frozen=True)
class Network:
    """A network, its test inputs, and the share of right answers among its outputs; None where nothing is right."""

    name: str
    path: Path
    inputs: Callable[[], NDArray]
    accuracy: Callable[[NDArray], float] | None


@dataclass(frozen=True)
class Result:
    """One network on one chip."""

    name: str
    images: int
    match: bool  # every output of RTL is golden's
    accuracy: float | None
    accuracy_onnxruntime: float | None
    equal: float  # share of outputs that are onnxruntime's to a hundred thousandth
    latency: int
    per_image: float
    bound: float
    slowest: str
    share: float
    seconds: float


def networks() -> list[Network]:
    """The shipped ones."""
    labels, masks = digits()[1], canvases()[1]
    return [
        *(
            Network(path.stem, path, lambda: digits()[0], lambda y: float((y.argmax(1) == labels[: len(y)]).mean()))
            for path in (CLASSIFIER, PRUNED)
        ),
        Network("generator", GENERATOR, lambda: noise(IMAGES, 1), None),
        Network(
            "segmenter",
            Path("examples/segmenter/segmenter.onnx"),
            lambda: canvases()[0],
            lambda y: float((y.argmax(1) == masks[: len(y)]).mean()),
        ),
    ]


def run(network: Network, chip: str, images: int, simulator: str) -> Result:
    """Through RTL, golden and onnxruntime."""
    started = time.monotonic()
    x = network.inputs()[:images]
    compiled = compile_network(str(network.path), load_chip(chip), x, Options(simulator=simulator), _nothing)
    flow: Flow = run_pipeline(compiled, Options(simulator=simulator), _nothing)
    tell_fault(flow.fault)
    (own,) = compiled.imported.leave(compiled.codes).values()
    session = onnxruntime.InferenceSession(network.path, providers=["CPUExecutionProvider"])
    truth = session.run(None, {session.get_inputs()[0].name: x})[0]
    accuracies = [network.accuracy(y) if network.accuracy else None for y in (own, truth)]
    return Result(
        name=network.name,
        images=len(x),
        accuracy=accuracies[0],
        accuracy_onnxruntime=accuracies[1],
        equal=float(np.isclose(own, truth, rtol=0, atol=1e-5).mean()),
        share=flow.share,
        seconds=round(time.monotonic() - started, 1),
        **{name: value for name, value in asdict(flow).items() if name in Result.__dataclass_fields__},
    )


def _nothing() -> None:
    """No progress bar."""


def summary(chip: str = CHIP, images: int = IMAGES, simulator: str = "verilator", only: str = "") -> dict:
    """All networks, or ``only`` one."""
    found = [run(network, chip, images, simulator) for network in networks() if only in ("", network.name)]
    own = []
    for result in found:
        own.append(Figure(f"{result.name}: outputs equal to golden", int(result.match), "==", 1))
        own.append(Figure(f"{result.name}: throughput over the slowest layer's", round(result.share, 4), ">=", 0.95))
        if result.accuracy is not None:
            apart = abs(result.accuracy - result.accuracy_onnxruntime) * 100
            own.append(Figure(f"{result.name}: points of accuracy from onnxruntime", round(apart, 4), "<=", 0.1))
    rows = [list(asdict(result).values()) for result in found]
    table(f"Trained networks on {chip}, {simulator}", list(Result.__dataclass_fields__), rows)
    figures("Trained networks", own)
    return {
        "benchmark": "trained",
        "chip": chip,
        "simulator": simulator,
        "networks": [asdict(result) for result in found],
        "targets": [figure.as_dict() for figure in own],
    }


def one_digit(chip: str = CHIP) -> dict:
    """One digit through the whole classifier under Icarus, Verilog and its compilation included."""
    shutil.rmtree(BUILD / "plain_icarus", ignore_errors=True)
    started = time.monotonic()
    compiled = compile_network(str(CLASSIFIER), load_chip(chip), digits()[0][:1], Options(), _nothing)
    found = run_nodes(compiled, Options(), {node.name: _nothing for node in compiled.graph.nodes})
    own = [
        Figure(
            "classifier: nodes of one digit that are golden's, cycles the model's", _matches(found), "==", len(found)
        ),
        Figure("classifier: seconds of one digit, Icarus", round(time.monotonic() - started, 1), "<=", 20),
    ]
    figures("One digit, node by node", own)
    return {"benchmark": "one digit", "chip": chip, "targets": [figure.as_dict() for figure in own]}


def _matches(found: list[NodeReport]) -> int:
    for report in found:
        tell_fault(report.fault)
    return sum(report.match for report in found)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.trained", description=__doc__)
    parser.add_argument("--chip", default=CHIP)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--simulator", default="verilator", choices=["icarus", "verilator"])
    parser.add_argument("--only", default="", choices=["", *(network.name for network in networks())])
    parser.add_argument("--one-digit", action="store_true", help="one image of the classifier under Icarus alone")
    a = parser.parse_args(argv)
    content = one_digit(a.chip) if a.one_digit else summary(a.chip, a.images, a.simulator, a.only)
    emit(content)
    return 0 if all(figure["met"] for figure in content["targets"]) else 1


if __name__ == "__main__":
    leave(main)
