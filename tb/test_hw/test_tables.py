"""Constants that a host loads: of another network of the same structure, and images that are refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from selvage.base.graph import LINEAR, Graph, Matrix, Node, Pool, Table, Tensor
from selvage.base.requantization import Requantization
from selvage.bundle.shell_bundle import tables_json
from selvage.golden.graph import run
from selvage.hw.lib.loadable import table_word
from selvage.hw.network.network import NetworkParameters
from selvage.hw.network.requantizer import RequantizerParameters
from selvage.hw.shell.programming import table_image
from selvage.hw.shell.shell import ShellParameters
from selvage.mapping.plan_network import plan_network
from tb.benches.bench_run import run_bench
from tb.models.shells import fields, sources_of, words_of
from tb.models.small_networks import LEAKY, SmallNetwork


def small_network() -> SmallNetwork:
    """All that is loaded: factors of both signs of sums, a table, a sum of maps, a mean, biases of every channel."""
    n = SmallNetwork.on("tiny", 21, images=2, input_bits=6, weight_bits=4)
    x = n.input(4, 4, 4)
    a = n.layer(x, 4, kernel=(2, 2), pads=(1, 1, 0, 0), activation=LEAKY)
    b = n.add(a, n.table(a))
    return n.leaves(n.pool(b, "average", (2, 2), (2, 2)))


def calibrated(graph: Graph, seed: int) -> Graph:
    """The same network with other scales, biases and entries, and other zero points where no buffer subtracts them."""
    rng = np.random.default_rng(seed)
    subtracted = {name for node in graph.nodes if isinstance(node, Matrix | Pool) for name in node.inputs}

    def tensor(own: Tensor) -> Tensor:
        numbers = own.format
        if own.name not in subtracted:
            numbers = replace(numbers, zero_point=int(rng.integers(*numbers.raw_range)))
        return replace(own, scale=float(np.float32(own.scale * rng.uniform(0.4, 4))), format=numbers)

    def node(own: Node) -> Node:
        own = replace(own, output=tensor(own.output))
        match own:
            case Matrix():
                scale = (own.weight_scale * rng.uniform(0.5, 2, own.weight_scale.shape)).astype(np.float32)
                return replace(own, bias=own.bias + rng.integers(-50, 50, own.bias.shape), weight_scale=scale)
            case Table():
                return replace(own, entries=rng.permutation(own.entries))
        return own

    return replace(graph, nodes=tuple(map(node, graph.nodes)))


def parameters(network: SmallNetwork, graph: Graph) -> NetworkParameters:
    return NetworkParameters(plan_network(graph, network.placements), constants="loaded", programmable=True)


def test_tables() -> None:
    """The network's own constants are not what the memories begin with."""
    network = small_network()
    graphs = [network.graph, *(calibrated(network.graph, seed) for seed in (1, 2))]
    built, *loaded = [parameters(network, graph) for graph in (graphs[2], *graphs[:2])]
    assert built.design == loaded[0].design == loaded[1].design
    assert len({own.table for own in (built, *loaded)}) == 3
    p = ShellParameters(built)
    told: dict[str, Any] = fields(network, p)
    inputs = {tensor.name: network.codes[tensor.name] for tensor in graphs[0].inputs}
    codes = [run(graph, inputs) for graph in graphs[:2]]
    outputs = [
        [words_of(own[t.name], frame) for t, frame in zip(p.network.plan.outputs, p.outputs, strict=True)]
        for own in codes
    ]
    assert outputs[0] != outputs[1] and all(a != b for a, b in zip(*outputs, strict=True))
    told |= {"outputs": outputs[0], "others": outputs[1], "design": built.design}
    told["tables"] = [table_image(p.programming, own.table) for own in loaded]
    assert run_bench("tables", sources_of(p), "harness", "tb.benches.tables_bench", told) == 5


def test_addresses() -> None:
    """Where `tables_json` says, there are the constants; a stage's factors below 0 stand beside those above."""
    network = small_network()
    p = parameters(network, network.graph)
    told, table = tables_json(p), p.table
    assert told["words"] == len(table) and int(told["design"], 16) == p.design
    layer, look, add, mean = p.plan.stages

    def found(stage: str, name: str) -> list[int]:
        own = told["stages"][stage][name]
        words = [table[own["address"] + k * own["step"]] for k in range(own["count"])]
        return [word - (word >> 31 << 32) for word in words]

    r = layer.requantization
    assert found(layer.name, "bias") == list(r.bias) and len(r.bias) == 4
    assert found(layer.name, "factor") == list(r.factors) and found(layer.name, "below") == list(r.below)
    assert found(layer.name, "low") + found(layer.name, "high") == [r.low, r.high]
    signed = look.sources[0].format.raw_signed
    entries = [look.entries[(code + 32) % 64 if signed else code] for code in range(64)]
    assert [code % 64 for code in found(look.name, "entries")] == [entry % 64 for entry in entries]
    assert found(add.name, "factor_1") == [add.factors[1]]
    assert found(add.name, "zero_point_0") == [add.sources[0].format.zero_point]
    assert found(mean.name, "factor") == list(mean.requantization.factors)
    assert found(mean.name, "odd") == [int(mean.requantization.halves_to_odd)]


def test_another_design() -> None:
    """A zero point that a buffer subtracts and a layer's activation belong to the design, names and scales do not."""
    network = small_network()
    own = parameters(network, network.graph)
    first = network.graph.nodes[0]
    others = [first, replace(first, activation=LINEAR)]
    other, straight = (
        NetworkParameters(
            plan_network(replace(network.graph, nodes=(node, *network.graph.nodes[1:])), network.placements),
            constants="loaded",
        )
        for node in others
    )
    assert other.design == own.design != straight.design
    moved = replace(network.inputs[0].format, zero_point=network.inputs[0].format.zero_point + 1)
    graph = replace(network.graph, inputs=(replace(network.inputs[0], format=moved),))
    assert parameters(network, graph).design != own.design


def test_refused() -> None:
    network = small_network()
    with pytest.raises(ValueError, match="'fixed' or 'loaded', not 'rom'"):
        NetworkParameters(network.plan, constants="rom")
    with pytest.raises(ValueError, match="lanes = 3 must be a power of two"):
        RequantizerParameters(Requantization((1,), 0, 0, 0, 1), 8, 3, 3, 4, "loaded")
    with pytest.raises(ValueError, match="32 bits with its sign"):
        table_word(2**31)
