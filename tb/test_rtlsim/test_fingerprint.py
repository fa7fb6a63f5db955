"""What a design is made from, as a digest: whatever changes its Verilog changes it, and cells do not."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from selvage.hw.network.network import NetworkParameters
from selvage.mapping.plan_network import plan_network
from selvage.rtlsim.fingerprint import fingerprint
from selvage.rtlsim.plain import network_verilog
from tb.models.small_networks import RELU, SmallNetwork


def network(seed: int = 1, *, kernel: int = 2, bias: int = 0) -> NetworkParameters:
    """A layer whose weights come of ``seed``; its bias is moved by ``bias`` codes."""
    n = SmallNetwork.on("tiny", seed)
    n.leaves(n.layer(n.input(2, 3, 3), 2, kernel=(kernel, 1), activation=RELU))
    node = n.graph.nodes[0]
    moved = replace(node, bias=np.full_like(node.bias, 100 * bias), weight_scale=np.full_like(node.weight_scale, 0.01))
    return NetworkParameters(plan_network(replace(n.graph, nodes=(moved,)), n.placements))


def test_what_changes_the_verilog_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same twice; another kernel, bias or option is another design. The program counts as well."""
    first = network()
    assert fingerprint("network", first) == fingerprint("network", network())
    others = [network(kernel=3), network(bias=1), replace(first, skip=False), replace(first, constants="loaded")]
    digests = [fingerprint("network", p) for p in (first, *others)]
    assert len(set(digests)) == len({str(network_verilog(p)) for p in (first, *others)}) == 5
    monkeypatch.setattr("selvage.rtlsim.fingerprint.gateware_version", lambda: "of another version")
    assert fingerprint("network", first) not in digests


def test_cells_are_no_part_of_it() -> None:
    first = network()
    (stage,) = first.plan.layers
    (tile,) = stage.placement.tiles
    arrays = tuple(replace(a, stored=tuple(1 - np.asarray(c) for c in a.stored)) for a in tile.arrays)
    placement = replace(stage.placement, tiles=(replace(tile, arrays=arrays),))
    other = NetworkParameters(replace(first.plan, stages=(replace(stage, placement=placement),)))
    assert np.any(other.plan.arrays[0].cells != first.plan.arrays[0].cells)
    assert fingerprint(first) == fingerprint(other) and network_verilog(first) == network_verilog(other)


@pytest.mark.parametrize(
    ("first", "other"),
    [(1, 1.0), (1, True), (1, "1"), ((1, 2), ((1, 2),)), ([[], [1]], [[1], []]), (None, "None"), ({1: 2}, (1, 2))],
)
def test_no_two_contents_read_the_same(first: object, other: object) -> None:
    assert fingerprint(first) != fingerprint(other)
    arrays = np.zeros((2, 3), np.int32), np.zeros((3, 2), np.int32), np.zeros((2, 3), np.int64)
    assert len({fingerprint(array) for array in arrays}) == 3


@dataclass(frozen=True)
class Foreign:
    """A kind of stage that somebody else wrote, and changes."""

    value: int = 1


def test_what_comes_from_outside_is_never_found_again() -> None:
    assert fingerprint(Foreign()) != fingerprint(Foreign())


def test_what_it_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match=r"function .*cannot be part of a fingerprint"):
        fingerprint([1, lambda: 0])
