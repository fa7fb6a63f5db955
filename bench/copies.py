"""Copies of layers in a pipeline: how much faster with some arrays more, by the model and in RTL.

Known networks by the model, against one copy of each layer. Four small networks through RTL on several images, with
40 % more arrays: outputs exact, every image in the cycle that the network model predicts. Beside the throughput stands
how many arrays three copies of the slowest layer take, which is what more throughput costs where a layer is large.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from bench.report import Figure, emit, figures, table
from bench.trained import Network
from bench.trained import networks as trained
from selvage.base.chip import load_chip
from selvage.base.shapes import load_network
from selvage.commands.exits import leave
from selvage.commands.placed_layer import no_progress
from selvage.commands.run_network import predict_flow, run_pipeline
from selvage.compiler.compile_network import compile_network
from selvage.compiler.copies import PacedLayer, assign, slowest
from selvage.compiler.copies_asked import CopiesAsked
from selvage.compiler.options import Options
from selvage.compiler.shape_cycles import model_network
from selvage.sim.network import NetworkCycles
from tb.models.small_networks import RELU, SmallNetwork, found_outputs, simulate_plan

CHIP = "ou9x8"
IN_RTL = ("classifier", "generator", "segmenter")
TARGETS = {  # by network: percent of arrays more, times the throughput of one copy each
    "resnet18": ((10, 10.0), (25, 24.0)),
    "resnet50": ((10, 10.0), (25, 24.0)),
    "vgg16-imagenet": ((10, 50.0),),
    "mobilenet-v2": ((25, 18.0),),
}
MORE, TIMES, IMAGES = 40, 3.0, 5
USED = 0.36  # of the arrays' cycles in ResNet-18 with 25 % more arrays


@dataclass(frozen=True)
class ByModel:
    """A known network with ``percent`` more arrays."""

    network: str
    percent: int
    crossbars: int
    per_image: float
    times: float  # the throughput of one copy each
    utilisation: float
    seconds: float


def by_model(network: str, percents: Sequence[int]) -> list[ByModel]:
    """Count a known network with one copy of each layer, and with more arrays."""
    layers, chip, found = load_network(network), load_chip(CHIP), []
    for percent in (0, *percents):
        started = time.process_time()
        asked = CopiesAsked(auto=True, percent=Fraction(percent))
        content = model_network(layers, chip, copies=asked, pipeline=True)
        flow, seconds = content["pipeline"], round(time.process_time() - started, 2)
        once = found[0].per_image if found else flow["per_image"]
        times, used = once / flow["per_image"], flow["utilisation"]
        found.append(ByModel(network, percent, content["crossbars"], flow["per_image"], times, used, seconds))
    return found


def residual() -> SmallNetwork:
    """Ten layers with three ways round, each with a quarter of the pixels of the one before."""
    n = SmallNetwork.on(CHIP, 31, images=IMAGES)
    x = n.layer(n.input(3, 12, 12), 8, kernel=(3, 3), pads=(1, 1, 1, 1), activation=RELU)
    for channels, stride in ((8, 1), (16, 2), (32, 2)):
        three = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
        a = n.layer(x, channels, stride=(stride, stride), activation=RELU, **three)
        b = n.layer(a, channels, **three)
        x = n.add(b, x if stride == 1 else n.layer(x, channels, stride=(2, 2)), RELU)
    return n.leaves(n.layer(x, 10, kernel=n.tensor(x).shape[1:]))


@dataclass(frozen=True)
class InRtl:
    """A network in RTL with `MORE` percent of arrays more; ``once`` is of one copy each, by the network model."""

    network: str
    crossbars_once: int
    crossbars: int
    once: float  # cycles between images
    per_image: float
    per_image_model: float
    latency: int
    latency_model: int
    exact: bool  # all outputs, and the end of every image in its cycle
    largest: float  # share of the arrays of the layer that sets the pace with one copy each

    @property
    def times(self) -> float:
        """Times the throughput of one copy each."""
        return self.once / self.per_image

    @property
    def percent_for_three(self) -> int:
        """Percent of arrays more for `TIMES` copies of the slowest layer alone."""
        return int(100 * (TIMES - 1) * self.largest)


def in_rtl(network: Network) -> InRtl:
    """Run a trained network, whole, on its own test inputs."""
    chip, images = load_chip(CHIP), network.inputs()[:IMAGES]
    once = compile_network(str(network.path), chip, images, Options(simulator="verilator"), no_progress)
    before = predict_flow(once, Options())
    options = Options(simulator="verilator", copies=CopiesAsked(auto=True, percent=Fraction(MORE)))
    compiled = compile_network(str(network.path), chip, images, options, no_progress)
    flow = run_pipeline(compiled, options, no_progress)
    assert flow.per_image and flow.per_image_model, "several images"
    counts = [sum(p.crossbars for p in own.placements.values()) for own in (once, compiled)]
    largest = once.placements[before.slowest].crossbars / counts[0]
    model = (before.per_image, flow.per_image, flow.per_image_model, flow.latency, flow.latency_model)
    return InRtl(network.name, *counts, *model, flow.match, largest)


def residual_in_rtl() -> InRtl:
    """Run `residual`."""
    network = residual()
    reads = network.counted(network.plan)
    layers = [PacedLayer.of(name, network.placements[name], counted) for name, counted in reads.items()]
    once, before = network.predicted(), sum(layer.arrays for layer in layers)
    _, slow = slowest(layers, [1] * len(layers))
    counts = assign(CopiesAsked(auto=True, percent=Fraction(MORE)), layers)
    for layer, count in zip(layers, counts, strict=True):
        network.placements[layer.name] = network.placements[layer.name].copied(count)
    after, predicted = sum(p.crossbars for p in network.placements.values()), network.predicted()
    found = simulate_plan(network.plan, [network.codes["x_0"]], simulator="verilator")
    (codes,) = found_outputs(network.graph, found).values()
    exact = np.array_equal(codes, network.codes[network.outputs[0]]) and found.done == predicted.done
    cycles = NetworkCycles(found.done, 0, {})
    largest = next(layer.arrays for layer in layers if layer.name == slow) / before
    assert once.per_image and cycles.per_image and predicted.per_image, "several images"
    paces = (once.per_image, cycles.per_image, predicted.per_image, cycles.latency, predicted.latency)
    return InRtl("residual", before, after, *paces, exact, largest)


def summary(*, rtl: bool = True) -> dict[str, Any]:
    """Everything measured."""
    shapes = [line for name, wanted in TARGETS.items() for line in by_model(name, [own[0] for own in wanted])]
    columns = ("network", "percent", "crossbars", "per_image", "times", "utilisation", "seconds")
    table(f"{CHIP}, by the model", columns, [[getattr(own, name) for name in columns] for own in shapes])
    ran = [*(in_rtl(own) for own in trained() if own.name in IN_RTL), residual_in_rtl()] if rtl else []
    columns = ("network", "crossbars_once", "crossbars", "once", "per_image", "per_image_model", "times", "exact")
    table(f"In RTL, {MORE} % more arrays", columns, [[getattr(own, name) for name in columns] for own in ran])
    wanted = {(name, percent): times for name, own in TARGETS.items() for percent, times in own}
    found = [
        *(
            Figure(f"{own.network}, {own.percent} % more arrays: times the throughput", own.times, ">=", times)
            for own in shapes
            if (times := wanted.get((own.network, own.percent)))
        ),
        *(
            Figure(f"{own.network}, 25 % more arrays: share of cycles that are reads", own.utilisation, ">=", USED)
            for own in shapes
            if (own.network, own.percent) == ("resnet18", 25)
        ),
        *(Figure(f"{own.network} in RTL: exact and to the cycle", float(own.exact), "==", 1.0) for own in ran),
        *(
            Figure(f"{own.network} in RTL, or {own.percent_for_three} % for its slowest layer", own.times, ">=", TIMES)
            for own in ran
        ),
    ]
    figures("Copies", found)
    return {
        "benchmark": "copies",
        "by_model": [asdict(own) for own in shapes],
        "in_rtl": [asdict(own) | {"times": own.times, "percent_for_three": own.percent_for_three} for own in ran],
        "targets": [own.as_dict() for own in found],
    }


def main(argv: list[str] | None = None) -> int:
    """Print everything, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.copies", description=__doc__)
    parser.add_argument("--no-rtl", action="store_true", help="by the model alone")
    content = summary(rtl=not parser.parse_args(argv).no_rtl)
    emit(content)
    return 0 if all(figure["met"] for figure in content["targets"]) else 1


if __name__ == "__main__":
    leave(main)
