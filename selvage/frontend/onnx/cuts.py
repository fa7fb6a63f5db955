"""Where a network is cut: operators between its layers that the host computes."""

from dataclasses import dataclass

from onnx import NodeProto

from selvage.base.graph import Tensor
from selvage.frontend.onnx.bodies import bodies, reads
from selvage.frontend.onnx.host import part
from selvage.frontend.onnx.hosted import Boundary, Entry, Hosted
from selvage.frontend.onnx.maps import MapReader
from selvage.frontend.onnx.read import is_operator, name_of
from selvage.frontend.onnx.reader import Value
from selvage.frontend.onnx.values import Head, Host, Map

HOSTED = (
    *("MatMul", "Softmax", "LogSoftmax", "LayerNormalization", "RMSNormalization", "GroupNormalization"),
    *("InstanceNormalization", "LpNormalization", "Div", "Pow", "Max", "Min", "Einsum", "Where", "ReduceMax"),
)
"""What is left to the host between layers without being asked: it has no weights, and no gateware."""


@dataclass(frozen=True, eq=False)
class Between:
    """The nodes between what the network makes and what it is given back, and the names that they begin with."""

    nodes: list[NodeProto]
    starts: list[str]
    origin: NodeProto  # the first that gateware has not
    why: str


class CutReader(MapReader):
    """What the host computes between layers."""

    partial: bool

    def between(self, end: NodeProto) -> Between | Host:
        """Return the nodes up to ``end``, which quantises, from what the network makes.

        `Host`: they need the model's own input, or one of them is not left to the host.
        """
        makers = {name: node for node in self.static.graph.node for name in node.output if name}
        taken, starts, waiting, origins = {end.output[0]}, [], list(reads(end)), []
        while waiting:
            name = waiting.pop(0)
            value = self.values.get(name)
            if name in self.static.constants or name in starts:
                continue
            if isinstance(value, Map):
                starts.append(name)
                continue
            maker = makers.get(name)
            if maker is None or isinstance(value, Head):
                return Host(end, "needs the model's input past what is quantised")
            if isinstance(value, Host):
                if not self.left_to_host(value.node):
                    return value
                origins.append((value.node, f"operator {value.node.op_type!r} {value.why}"))
            if maker.output[0] not in taken:
                taken.add(maker.output[0])
                waiting += reads(maker)
        nodes = [node for node in self.static.graph.node if node.output and node.output[0] in taken]
        return Between(nodes, starts, *origins[-1])

    def left_to_host(self, node: NodeProto) -> bool:
        """Return whether a node may stand between layers: it is one of `HOSTED`, or all are."""
        return not bodies(node) and (self.partial or is_operator(node, *HOSTED))

    def add_hosted(self, node: NodeProto, to: Tensor, found: Between) -> Value:
        """Add the step that makes ``to`` of the network's own tensors."""
        boundaries = []
        for name in found.starts:
            value = self.values[name]
            assert isinstance(value, Map), "a step begins with maps"
            boundaries.append(self.boundary(name, value))
        apart = frozenset(boundary.name for boundary in boundaries if boundary.apart)
        turned = self.static.shapes[to.name][:1] != (self.static.batch,)
        own = part(self.static, found.nodes, found.starts, [to.name], apart, single=turned)
        plain = [made.op_type for made in found.nodes if not is_operator(made, "QuantizeLinear", "DequantizeLinear")]
        where, names = Entry(to.name, to.shape), frozenset(made.output[0] for made in found.nodes)
        step = Hosted(name_of(found.origin), tuple(plain), found.why, tuple(boundaries), own, where, to, names)
        self.hosted[to.name] = step
        self.order.append(step)
        self.inputs[to.name] = self.tensors[to.name] = to
        return Map(to, real=False)

    def boundary(self, name: str, value: Map) -> Boundary:
        """Return a map of the network as the host reads it by ONNX's ``name``."""
        tensor, shape = value.tensor, self.static.shapes[name]
        apart = shape[:1] != (self.static.batch,)
        order = self.per_image(value.view.numbers, tensor.numbers) if value.view else None
        flat = None if order is None else order.reshape(-1)
        fill = value.view.fill if value.view else 0
        own = shape if apart else shape[1:]
        return Boundary(name, tensor, value.real, own, flat, fill, apart)
