"""Small quantised networks made by hand: random weights, scales that suit the codes, placed on a chip."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip, load_chip
from selvage.base.graph import (
    LINEAR,
    Activation,
    Add,
    Concat,
    Graph,
    Matrix,
    Node,
    Pool,
    Reshape,
    Resize,
    Table,
    Tensor,
)
from selvage.base.layer import InputFormat, Layer
from selvage.golden.graph import evaluate_node
from selvage.golden.layer import evaluate
from selvage.hw.network.network import NetworkParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Placement
from selvage.mapping.plan_network import plan_network
from selvage.mapping.stages import NetworkPlan
from selvage.rtlsim.plain import Run, build_network, run_network
from selvage.sim.layer import CountedPass, count_passes
from selvage.sim.network import NetworkCycles, network_cycles

Integers = NDArray[np.int64]

LEAKY = Activation(slope=0.125)
RELU = Activation(low=0.0)


@dataclass(eq=False)
class SmallNetwork:
    """Grows node by node; each method returns its output's name. ``codes`` are the golden model's, of ``images``."""

    chip: Chip
    seed: int
    images: int = 2
    inputs: list[Tensor] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    placements: dict[str, Placement] = field(default_factory=dict)
    codes: dict[str, Integers] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, chip: str, seed: int, images: int = 2, **changes: Any) -> "SmallNetwork":
        """On a ready chip."""
        return cls(Chip(**{**load_chip(chip).model_dump(), **changes}), seed, images)

    @cached_property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    @property
    def graph(self) -> Graph:
        return Graph("small", tuple(self.inputs), tuple(self.nodes), tuple(self.outputs))

    @property
    def plan(self) -> NetworkPlan:
        return plan_network(self.graph, self.placements)

    def predicted(self, plan: NetworkPlan | None = None) -> NetworkCycles:
        """When the images leave the whole network, or ``plan`` of it, by the network model."""
        plan = plan or self.plan
        return network_cycles(plan, self.counted(plan), self.images)

    def counted(self, plan: NetworkPlan) -> dict[str, CountedPass]:
        """The reads of each layer, which takes one pass."""
        found = {}
        for stage in plan.layers:
            codes = self.codes[stage.sources[0].name] - stage.placement.format.zero_point
            (found[stage.name],) = count_passes(stage.placement, codes)
        return found

    def tensor(self, name: str) -> Tensor:
        return next(t for t in (*self.inputs, *(node.output for node in self.nodes)) if t.name == name)

    def format(self) -> InputFormat:
        """Of the chip's activations: signed or not, with any zero point."""
        bits, signed = self.chip.input_bits, bool(self.rng.integers(2))
        low = -(2 ** (bits - 1)) if signed else 0
        middle = low + 2 ** (bits - 1)
        return InputFormat(raw_bits=bits, raw_signed=signed, zero_point=middle + int(self.rng.integers(-20, 20)))

    def input(self, *shape: int) -> str:
        name = f"x_{len(self.inputs)}"
        tensor = Tensor(name, shape, 0.125, self.format())
        low, high = tensor.format.raw_range
        codes = self.rng.integers(low, high, (self.images, *shape), endpoint=True)
        # Half of them zero, or nothing would be skipped.
        zero = self.rng.random(codes.shape) < 0.5
        self.codes[name] = np.where(zero, tensor.format.zero_point, codes)
        self.inputs.append(tensor)
        return name

    def _add(self, node: Node) -> str:
        sources = [self.tensor(name) for name in node.inputs]
        self.codes[node.output.name] = evaluate_node(node, sources, [self.codes[name] for name in node.inputs])
        self.nodes.append(node)
        return node.output.name

    def _output(self, kind: str, shape: tuple[int, ...], scale: float) -> dict[str, Any]:
        name = f"{kind}_{len(self.nodes)}"
        return {"name": name, "output": Tensor(f"{name}.y", tuple(shape), float(np.float32(scale)), self.format())}

    def layer(
        self,
        source: str,
        outputs: int,
        *,
        op: str = "conv",
        schedule: str = "auto",
        activation: Activation = LINEAR,
        raw: bool = False,
        each: bool = False,
        turned: bool = False,
        **geometry: Any,
    ) -> str:
        """A layer on crossbars; ``each``: a bias and a scale for each output, ``turned``: scales below 0 too."""
        x = self.tensor(source)
        sides = {} if op == "dense" else {"height": x.shape[1], "width": x.shape[2]}
        layer = Layer(op=op, channels=x.shape[0], outputs=outputs, **sides, **geometry)
        high = min(127, self.chip.weight_range[1])
        weights = self.rng.integers(-high, high, layer.weight_shape, endpoint=True)
        shape = (outputs, *layer.output_size)
        own = shape if each else (outputs,)
        scales = self.rng.uniform(0.01, 0.02, own) * (self.rng.choice([-1, 1], own) if turned else 1)
        codes = self.codes[source] - x.format.zero_point
        sums = evaluate(layer, codes, weights)
        spread = max(float(np.abs(sums).std()), 1.0)
        bias = self.rng.integers(-int(spread) - 1, int(spread) + 2, own)
        made = self._output("layer", shape, spread * x.scale * 0.015 / 50)
        if raw:
            numbers = InputFormat(raw_bits=32, raw_signed=True)
            unit = (np.float32(x.scale) * scales).astype(np.float32).reshape(-1)
            made["output"] = Tensor(made["output"].name, shape, unit, numbers)
        self.placements[made["name"]] = place_dense(layer, weights, self.chip, input_format=x.format, schedule=schedule)
        return self._add(
            Matrix(
                **made,
                inputs=(source,),
                layer=layer,
                weights=weights,
                bias=bias,
                weight_scale=scales.astype(np.float32),
                activation=activation,
                raw=raw,
            )
        )

    def pool(
        self,
        source: str,
        kind: str,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> str:
        x = self.tensor(source)
        sides = [(x.shape[1 + k] + pads[k] + pads[k + 2] - kernel[k]) // stride[k] + 1 for k in range(2)]
        made = self._output("pool", (x.shape[0], *sides), x.scale / 2)
        if kind == "max":
            made["output"] = Tensor(made["output"].name, made["output"].shape, x.scale, x.format)
        given = {"kind": kind, "kernel": kernel, "stride": stride, "pads": pads}
        return self._add(Pool(**made, inputs=(source,), zero_first=True, **given))

    def table(self, source: str) -> str:
        made = self._output("table", self.tensor(source).shape, 0.1)
        entries = self.rng.integers(*made["output"].format.raw_range, 2**self.chip.input_bits, endpoint=True)
        return self._add(Table(**made, inputs=(source,), function="any", entries=entries))

    def add(self, first: str, second: str, activation: Activation = LINEAR) -> str:
        tensors = [self.tensor(name) for name in (first, second)]
        made = self._output("add", tensors[0].shape, sum(own.scale for own in tensors))
        return self._add(Add(**made, inputs=(first, second), activation=activation, zero_first=True))

    def concat(self, *sources: str) -> str:
        tensors = [self.tensor(name) for name in sources]
        shape = (sum(own.shape[0] for own in tensors), *tensors[0].shape[1:])
        made = self._output("concat", shape, tensors[0].scale)
        made["output"] = Tensor(made["output"].name, shape, tensors[0].scale, tensors[0].format)
        return self._add(Concat(**made, inputs=sources))

    def resize(self, source: str, *factor: int) -> str:
        x = self.tensor(source)
        made = self._output("resize", (x.shape[0], x.shape[1] * factor[0], x.shape[2] * factor[1]), x.scale)
        made["output"] = Tensor(made["output"].name, made["output"].shape, x.scale, x.format)
        return self._add(Resize(**made, inputs=(source,), factor=factor))

    def reshape(self, source: str, *shape: int) -> str:
        x = self.tensor(source)
        made = self._output("reshape", shape, x.scale)
        made["output"] = Tensor(made["output"].name, shape, x.scale, x.format)
        return self._add(Reshape(**made, inputs=(source,)))

    def leaves(self, *names: str) -> "SmallNetwork":
        """Ends the network."""
        self.outputs += names
        return self


def simulate_plan(plan: NetworkPlan, inputs: list[Integers], *, direct: bool = False, simulator: str = "icarus") -> Run:
    """A network through RTL, its macros with the cells of its placements."""
    p = NetworkParameters(plan, direct=direct)
    return run_network(p, build_network(p, simulator=simulator), inputs)


def found_outputs(graph: Graph, run: Run) -> dict[str, Integers]:
    """What a run brought, with the bias that the host adds to raw sums."""
    makers = {node.output.name: node for node in graph.nodes}
    found = {}
    for name, own in zip(graph.outputs, run.outputs, strict=True):
        node = makers[name]
        raw = isinstance(node, Matrix) and node.raw
        bias = node.bias if raw and node.bias.ndim == 3 else node.bias[:, None, None] if raw else 0
        found[name] = own + bias
    return found
