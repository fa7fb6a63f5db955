"""Small networks in RTL under plain Verilog: whole, and node by node, against the golden model and the cycle model."""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest

from selvage.base.errors import RtlError
from selvage.base.graph import Matrix
from selvage.golden.graph import run
from selvage.mapping.drain import drain_cycles
from selvage.mapping.plan_network import plan_network
from selvage.mapping.stages import LayerStage, NetworkPlan
from selvage.rtlsim.plain import Run
from selvage.sim.cycles import tile_cycles
from selvage.sim.layer import count_passes, layer_cycles
from selvage.sim.pipeline import measured_from, slowest_stage
from tb.models.small_networks import LEAKY, RELU, SmallNetwork, found_outputs, simulate_plan

LOWER = {"rows": 32, "columns": 64, "ou_rows": 32, "adc_bits": 7}
"""ISAAC's array with fewer rows, which are most of its Verilog; `autoencoder` has all of them."""


def straight() -> SmallNetwork:
    """Strided, depthwise and grouped convolutions, both pools, a dense layer on a map with raw sums."""
    n = SmallNetwork.on("tiny", 1, images=3, weight_bits=4)
    a = n.layer(n.input(3, 7, 6), 4, kernel=(3, 3), pads=(1, 1, 1, 1), activation=LEAKY, turned=True)
    b = n.layer(a, 4, kernel=(2, 3), stride=(2, 1), groups=4, activation=RELU)
    c = n.layer(n.pool(b, "max", (2, 2), (1, 1), (0, 1, 0, 0)), 6, groups=2)
    d = n.pool(c, "average", (2, 2), (1, 2))
    return n.leaves(n.layer(d, 3, kernel=n.tensor(d).shape[1:], raw=True))


def residual() -> SmallNetwork:
    """A sum with a short way round, a concatenation of several scales, two outputs, an input read three times."""
    n = SmallNetwork.on("ou9x8", 2, images=3)
    x = n.input(4, 6, 5)
    a = n.layer(x, 6, kernel=(3, 3), pads=(1, 1, 1, 1), activation=RELU)
    b = n.layer(a, 6, kernel=(3, 3), pads=(2, 2, 2, 2), dilation=(2, 2))
    c = n.add(b, a, RELU)
    d = n.concat(c, x, n.pool(x, "max", (3, 3), (1, 1), (1, 1, 1, 1)))
    return n.leaves(n.layer(d, 3, activation=LEAKY), n.resize(c, 2, 3))


def generator() -> SmallNetwork:
    """A dense layer that becomes a map, each output with its bias; transposed convolutions under every schedule."""
    n = SmallNetwork.on("tiny", 3, weight_bits=4)
    a = n.layer(n.input(5, 1, 1), 4, op="conv_transpose", kernel=(3, 2), each=True, activation=RELU)
    up = {"op": "conv_transpose", "kernel": (3, 3), "stride": (2, 2)}
    b = n.layer(a, 2, schedule="red", **up, pads=(1, 1, 0, 1), activation=RELU)
    c = n.layer(n.table(b), 2, schedule="padding-free", op="conv_transpose", kernel=(2, 3), pads=(0, 1, 1, 0))
    return n.leaves(n.layer(c, 1, schedule="zero-padding", **up, pads=(2, 1, 1, 1), output_padding=(1, 0)))


def wide() -> SmallNetwork:
    """Several channels a word; every schedule with several phases and channels; joins of them."""
    n = SmallNetwork.on("isaac", 4, **LOWER)
    x = n.input(8, 2, 3)
    a = n.layer(x, 8, kernel=(3, 3), pads=(1, 1, 1, 1), activation=LEAKY)
    up = {"op": "conv_transpose", "kernel": (3, 3), "stride": (2, 2), "pads": (1, 0, 0, 1)}
    red, free, zeros = (n.layer(a, 4, schedule=own, **up) for own in ("red", "padding-free", "zero-padding"))
    d = n.concat(n.add(red, zeros), n.resize(x, 2, 2))
    return n.leaves(n.pool(d, "average", (4, 6)), n.pool(free, "max", (3, 3), (2, 2), (1, 1, 1, 1)))


def heavy() -> SmallNetwork:
    """Layers of many tiles, whose sums add, and which divide the outputs."""
    n = SmallNetwork.on("tiny", 5, arrays_per_tile=2, weight_bits=4)
    a = n.layer(n.input(10, 4, 3), 6, kernel=(2, 2), pads=(1, 1, 0, 0), activation=RELU)
    return n.leaves(n.layer(a, 7, kernel=(4, 1)), n.layer(a, 5, raw=True))


def tall() -> SmallNetwork:
    """Tiles of one layer that hold different rows of the kernel: none may starve the others of lines."""
    n = SmallNetwork.on("tiny", 9, images=2, weight_bits=4)
    return n.leaves(
        n.layer(n.layer(n.input(4, 6, 6), 2, kernel=(5, 5), pads=(2, 2, 2, 2)), 2, kernel=(5, 5), pads=(2, 2, 2, 2))
    )


def shared() -> SmallNetwork:
    """The same map as both sides of a join, plain and by way of stages of the same length; several words a pixel."""
    n = SmallNetwork.on("isaac", 6, images=3, **LOWER)
    x = n.input(6, 3, 4)
    a = n.concat(n.table(x), n.table(x))
    b = n.concat(x, x)
    t = n.table(x)
    c = n.add(n.concat(x, t), n.concat(t, n.table(x)))
    return n.leaves(n.layer(n.add(a, b), 2), n.add(x, x), n.concat(n.resize(x, 2, 1), n.resize(x, 2, 1)), c)


def two() -> SmallNetwork:
    """Two inputs that meet behind different ways."""
    n = SmallNetwork.on("ou9x8", 7)
    x, y = n.input(3, 5, 4), n.input(2, 5, 4)
    a = n.layer(x, 2, kernel=(5, 3), pads=(2, 1, 2, 1), activation=RELU)
    return n.leaves(n.add(a, y), n.table(n.concat(y, a)))


def ways() -> SmallNetwork:
    """Ways that hold as much but need different lines: windows that lie above a pixel and below it."""
    n = SmallNetwork.on("ou9x8", 8)
    x = n.input(1, 5, 20)
    above, below = ({"kernel": (3, 1), "pads": own} for own in ((2, 0, 0, 0), (0, 0, 2, 0)))
    a = n.add(n.layer(x, 1, **above), n.layer(x, 1, **below))
    return n.leaves(a, n.add(n.pool(x, "max", **below), n.pool(x, "max", **above)))


def autoencoder() -> SmallNetwork:
    """A dense layer that reads a map and makes another, of several words a pixel; a concatenation of one map."""
    n = SmallNetwork.on("isaac", 10, images=3)
    a = n.layer(n.input(3, 4, 5), 4, kernel=(3, 3), activation=RELU)
    b = n.layer(a, 6 * 3 * 2, kernel=n.tensor(a).shape[1:], activation=LEAKY)
    return n.leaves(n.layer(n.concat(n.reshape(b, 6, 3, 2)), 2, kernel=(2, 2), pads=(1, 0, 0, 1)))


NETWORKS: dict[str, Callable[[], SmallNetwork]] = {
    own.__name__: own for own in (straight, residual, generator, wide, heavy, tall, shared, two, ways, autoencoder)
}


NODES = ("straight", "generator", "heavy")  # of which layers, pools, tables, and tiles whose sums add


@pytest.mark.parametrize("name", NETWORKS)
def test_whole(name: str) -> None:
    """All stages at work on successive images."""
    network = NETWORKS[name]()
    graph, plan = network.graph, network.plan
    inputs = {tensor.name: network.codes[tensor.name] for tensor in graph.inputs}
    expected = run(graph, inputs)
    for output in graph.outputs:
        codes = expected[output]
        assert len(np.unique(codes)) > min(8, codes.size - 1), f"{output} has hardly any values: it shows nothing"
    found = simulate_plan(plan, list(inputs.values()))
    for output, codes in found_outputs(graph, found).items():
        assert np.array_equal(codes, expected[output]), f"{output} is not the golden model's"
    assert found.done == network.predicted().done, "images have not left when the network model says"
    for stage, words in zip(plan.stages, found.words, strict=True):
        all_of_them = network.images * stage.output.numbers // plan.lanes[stage.output.name]
        # Last words that no window needs may be under way.
        assert words == all_of_them if stage.output.name in graph.outputs else words <= all_of_them, stage.name


def test_several_channels_a_word() -> None:
    """Where a beat holds several weights, words of layers are as wide."""
    plan = wide().plan
    lanes = {stage.placement.schedule: plan.lanes[stage.output.name] for stage in plan.layers}
    assert lanes == {"conv": 2, "red": 2, "padding-free": 1, "zero-padding": 2}


def check_cycles(network: SmallNetwork, stage: LayerStage, lanes: int, found: Run) -> None:
    """Cycles and reads of every tile are the cycle model's, with the collector that may hold tiles up.

    A single tile that need not wait takes the cycles of the tile alone.
    """
    placement, words = stage.placement, stage.leaving.plan(lanes).words
    codes = network.codes[stage.sources[0].name] - placement.format.zero_point
    alone = [tile_cycles(placement, tile, codes) for tile in placement.tiles]
    predicted = [own.cycles for own in layer_cycles(placement, placement.tiles, codes, words)]
    assert sum(found.reads) == sum(tile.reads for tile in alone), stage.name
    assert found.tiles == predicted, stage.name
    if len(alone) == 1 and words <= drain_cycles(placement, placement.tiles[0]) and not placement.sweep.overlap:
        assert predicted == [alone[0].cycles], stage.name


@pytest.mark.parametrize("name", NODES)
def test_node_by_node(name: str) -> None:
    """Each node alone, layers with an input for each tile."""
    network = NETWORKS[name]()
    for node in network.graph.nodes:
        graph = network.graph.only(node)
        plan = plan_network(graph, network.placements)
        inputs = [network.codes[tensor.name] for tensor in graph.inputs]
        found = simulate_plan(plan, inputs, direct=isinstance(node, Matrix))
        (codes,) = found_outputs(graph, found).values()
        assert np.array_equal(codes, network.codes[node.output.name]), f"{node.name} is not the golden model's"
        for stage in plan.layers:
            check_cycles(network, stage, plan.lanes[stage.output.name], found)


def pooled() -> SmallNetwork:
    """A pool sets the pace, whose windows have more pixels than the layer before it has cycles for each."""
    n = SmallNetwork.on("isaac", 11, images=1, **LOWER)
    return n.leaves(n.pool(n.layer(n.input(2, 5, 5), 4), "max", (5, 5), (1, 1), (2, 2, 2, 2)))


def layerless() -> SmallNetwork:
    """No layer on crossbars at all; the mean sets the pace."""
    n = SmallNetwork.on("isaac", 12, images=1, **LOWER)
    return n.leaves(n.table(n.pool(n.input(2, 6, 6), "average", (3, 3), (1, 1), (1, 1, 1, 1))))


BOUNDS: dict[str, tuple[Callable[[], SmallNetwork], str, float]] = {  # what sets the pace; a share of the bound
    "pooled": (pooled, "pool_1", 0.9),
    "layerless": (layerless, "pool_0", 1.0),
    "shared": (shared, "concat_14", 1.0),  # a word a cycle through a join
    "ways": (ways, "layer_1", 0.8),
    "straight": (straight, "layer_0", 1.0),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_no_faster_than_its_slowest_stage(name: str) -> None:
    """One image again and again: the cycles between images are no less than the bound, and near it."""
    make, slowest, share = BOUNDS[name]
    network, times = make(), 4
    plan, codes = network.plan, {key: own[:1] for key, own in network.codes.items()}
    counted = {
        stage.name: count_passes(stage.placement, codes[stage.sources[0].name] - stage.sources[0].format.zero_point)[0]
        for stage in plan.layers
    }
    bound, stage = slowest_stage(plan, counted)
    assert stage == slowest
    run = simulate_plan(plan, [codes[tensor.name].repeat(times, axis=0) for tensor in plan.inputs])
    done = [max(own[image] for own in run.done) for image in range(times)]
    counts = np.diff(done[measured_from(times) :])
    assert counts.min() >= bound, f"{counts} a image, and no less than {bound} was predicted"
    assert bound >= share * counts.mean(), f"{counts} a image, far from {bound}"


def test_layers_of_many_tiles() -> None:
    """Some tiles of a layer share their outputs, some do not."""
    stage = heavy().plan.layers[0]
    outputs = [{o for a in tile.arrays for b in a.blocks for o in b.outputs.tolist()} for tile in stage.placement.tiles]
    assert any(a & b for k, a in enumerate(outputs) for b in outputs[:k]), "no sums of tiles add"
    assert any(not a & b for k, a in enumerate(outputs) for b in outputs[:k]), "no tiles divide the outputs"


class Shallow(NetworkPlan):
    """A network whose queues hold two words at most."""

    @property
    def depths(self) -> dict[tuple[str, int], int]:
        return {key: min(depth, 2) for key, depth in super().depths.items()}


def test_too_small_a_queue_is_reported() -> None:
    """A join whose shorter way holds too little stops the network, and the run says which stream stopped."""
    network = residual()
    plan = Shallow(**{own.name: getattr(network.plan, own.name) for own in fields(network.plan)})
    assert max(network.plan.depths.values()) > 10 and max(plan.depths.values()) == 2
    with pytest.raises(RtlError, match=r"the RTL hangs, .*: offered, and the RTL refuses i_0 of 'x_0'"):
        simulate_plan(plan, [network.codes["x_0"]])


def long_way() -> SmallNetwork:
    """A short way round two layers, on a map of many lines."""
    n = SmallNetwork.on("tiny", 21, images=2, weight_bits=4)
    x = n.input(2, 30, 4)
    pads = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
    return n.leaves(n.add(n.layer(n.layer(x, 2, activation=RELU, **pads), 2, **pads), x))


def with_depth(plan: NetworkPlan, depth: int) -> NetworkPlan:
    """The network with a queue of ``depth`` before its join."""

    class Other(NetworkPlan):
        @property
        def depths(self) -> dict[tuple[str, int], int]:
            return {key: depth if own else 0 for key, own in plan.depths.items()}

    return Other(**{own.name: getattr(plan, own.name) for own in fields(plan)})


def test_queues_before_joins_are_long_enough() -> None:
    """A queue is as long as its way lags, not a whole image, and a longer one is no faster.

    The network model says from which length on the network does not stand still. At that length RTL takes the cycles of
    the model, one word less and it hangs.
    """
    network = long_way()
    plan = network.plan
    (depth,) = (own for own in plan.depths.values() if own)
    assert depth < plan.inputs[0].numbers // plan.lanes[plan.inputs[0].name], "a whole image"
    assert network.predicted().done == network.predicted(with_depth(plan, 10**6)).done, "a longer queue is faster"
    least = next(depth for depth in range(1, depth) if not network.predicted(with_depth(plan, depth)).stuck)
    codes = [network.codes["x_0"]]
    found = simulate_plan(with_depth(plan, least), codes)
    assert found.done == network.predicted(with_depth(plan, least)).done
    with pytest.raises(RtlError, match="the RTL hangs"):
        simulate_plan(with_depth(plan, least - 1), codes)


def test_wrong_bias_shows() -> None:
    """The comparison is one: a bias that is a code off in one channel changes some output."""
    network = straight()
    (node,) = (own for own in network.nodes if own.name == "layer_3")
    off = np.zeros_like(node.bias)
    off[2] = round(4 * node.output.scale / (network.tensor(node.inputs[0]).scale * node.weight_scale[2]))
    graph = network.graph.only(node)
    wrong = replace(graph, nodes=(replace(node, bias=node.bias + off),))
    inputs = [network.codes[node.inputs[0]]]
    for own, same in ((graph, True), (wrong, False)):
        found = simulate_plan(plan_network(own, network.placements), inputs, direct=True)
        (codes,) = found_outputs(own, found).values()
        assert np.array_equal(codes, network.codes[node.output.name]) == same
