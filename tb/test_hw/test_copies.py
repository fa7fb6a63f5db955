"""Layers that stand several times, in RTL: exact outputs, and cycles of every tile of every copy as predicted."""

import numpy as np
import pytest

from selvage.golden.graph import run
from tb.models.small_networks import RELU, SmallNetwork, found_outputs, simulate_plan
from tb.models.tile_check import check, placed

CASES = [
    ("strided convolution", 2),  # rows of three steps: copies change columns
    ("strided convolution", 4),  # more than a row
    ("rows left over", 4),  # as many as steps
    ("odd padding", 3),  # RED, whose blocks reach beyond the map
]


@pytest.mark.parametrize(("name", "copies"), CASES)
def test_copies_of_a_layer(name: str, copies: int) -> None:
    placement, weights, x = placed(name)
    check(placement.copied(copies), weights, x)


def several() -> SmallNetwork:
    """Copies before and behind a pool and a join, of RED, and a layer of many tiles."""
    n = SmallNetwork.on("tiny", 13, images=3, weight_bits=4)
    a = n.layer(n.input(3, 6, 5), 4, kernel=(3, 3), pads=(1, 1, 1, 1), activation=RELU)
    b = n.layer(n.pool(a, "max", (2, 2), (1, 1), (0, 0, 1, 1)), 4, kernel=(3, 3), pads=(1, 1, 1, 1))
    c = n.add(b, a)
    d = n.layer(c, 2, op="conv_transpose", kernel=(3, 3), stride=(2, 2), pads=(1, 1, 0, 1), schedule="red")
    return n.leaves(n.layer(d, 3, kernel=(2, 2), stride=(2, 2)))


def test_copies_in_a_network() -> None:
    """All at work at once on successive images; words of copied layers are wider."""
    network = several()
    names = [node.name for node in network.graph.matrices]
    once = network.plan.lanes
    for name, copies in zip(names, (3, 2, 4, 5), strict=True):
        network.placements[name] = network.placements[name].copied(copies)
    plan = network.plan
    assert plan.lanes[plan.layers[0].output.name] > once[plan.layers[0].output.name]
    inputs = {tensor.name: network.codes[tensor.name] for tensor in network.graph.inputs}
    expected = run(network.graph, inputs)
    found = simulate_plan(plan, list(inputs.values()))
    assert found.done == network.predicted().done
    for output, codes in found_outputs(network.graph, found).items():
        np.testing.assert_array_equal(codes, expected[output])
