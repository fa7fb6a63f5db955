"""Loops over the rows of a map: a Scan whose body is quantised is a loop of small stages with states between steps."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper

from selvage.base.graph import Integers, Loop, Node, Sequence, State, Steps, Tensor
from selvage.frontend.onnx import nodes as nodes_of
from selvage.frontend.onnx.bodies import bodies, captured
from selvage.frontend.onnx.cuts import CutReader
from selvage.frontend.onnx.nodes import error
from selvage.frontend.onnx.read import name_of
from selvage.frontend.onnx.reader import Value, Values, handles
from selvage.frontend.onnx.static import static_of
from selvage.frontend.onnx.values import Constant, Host, Map
from selvage.frontend.onnx.views import View


@dataclass(frozen=True, eq=False)
class Body:
    """What a loop's body is as a network of its own: nodes, and the tensors that enter and leave, in ONNX's order."""

    nodes: tuple[Node, ...]
    inputs: tuple[Tensor | None, ...]  # None: nothing reads it
    outputs: tuple[Tensor, ...]


class LoopReader(CutReader):
    """What Scan is: its states are constants in the first step, its sequences maps whose rows are the steps."""

    def run(self) -> None:
        """Give every name of the graph its value (`frontend.onnx.importer`)."""
        raise NotImplementedError

    @handles("Scan")
    def scan(self, node: NodeProto, inputs: Values) -> Value | list[Value]:
        """Read Scan of quantised codes."""
        operator = nodes_of.operator_of(node)
        sequences = operator.attribute("num_scan_inputs", 1)
        states = len(node.input) - sequences
        ranks = [len(self.onnx_shape(name, node)) for name in node.input[states:]]
        axes = [
            axis % rank
            for axis, rank in zip(operator.attribute("scan_input_axes", (0,) * sequences), ranks, strict=True)
        ]
        values = [inputs[states + k] for k in range(sequences)]
        if not all(isinstance(value, Map) for value in values) or not sequences:
            return Host(node, "takes its steps from what is no quantised map")
        if any(isinstance(value, Map) and value.real for value in values):
            return Host(node, "takes real numbers, and its steps must be codes")
        if not all(isinstance(value, Constant) for value in inputs[:states]):
            return Host(node, "begins with states that are not constant")
        if self.static.batch != 1:
            raise error(
                node,
                f"the model's first axis has {self.static.batch} images, and a loop is of one: "
                "put an axis of 1 image before that of the steps",
            )
        steps = {self.onnx_shape(name, node)[axis] for name, axis in zip(node.input[states:], axes, strict=True)}
        if len(steps) != 1:
            raise error(node, f"its sequences have {sorted(steps)} steps, and must have equally many")
        return _LoopMaker(self, node, axes, steps.pop()).values(values, inputs[:states])

    def body_of(self, node: NodeProto, shapes: list[tuple[int, ...]], kinds: list[int]) -> Body:
        """Return the body of a Scan, its inputs of these ``shapes`` and ONNX's element types."""
        own = GraphProto()
        own.CopyFrom(bodies(node)[0])
        for info, shape, kind in zip(own.input, shapes, kinds, strict=True):
            info.CopyFrom(helper.make_tensor_value_info(info.name, kind, shape))
        for name in captured(node):
            if name not in self.static.constants:
                raise error(node, f"its body reads {name!r}, which is not constant")
            own.initializer.append(nodes_of.stored(self.static.constants[name], name))
        proto = ModelProto(ir_version=10)
        proto.graph.CopyFrom(own)
        proto.opset_import.extend(self.static.opsets)
        inner = type(self)(static_of(proto, f"{self.static.path}: the body of {name_of(node)}"))
        inner.run()
        outputs = []
        for name in inner.static.outputs:
            value = inner.values[name]
            if not isinstance(value, Map) or value.real or value.view:
                raise error(node, f"its body makes {name!r}, and what leaves a step must be codes of a QuantizeLinear")
            outputs.append(value.tensor)
        if inner.hosted or inner.loops:
            raise error(node, "its body holds what the host would have to compute in every step")
        self.notes |= inner.notes
        found = (inner.inputs.get(info.name) for info in own.input)
        return Body(tuple(inner.nodes), tuple(found), tuple(outputs))


class _LoopMaker:
    """The nodes of one loop."""

    def __init__(self, reader: LoopReader, node: NodeProto, axes: list[int], steps: int) -> None:
        self.reader, self.node, self.axes, self.steps = reader, node, axes, steps
        operator, count = nodes_of.operator_of(node), len(axes)
        self.states = states = len(node.input) - count
        self.turned = self.directions(operator.attribute("scan_input_directions", (0,) * count), count)
        left = len(node.output) - states
        self.out_axes = operator.attribute("scan_output_axes", (0,) * left)
        self.out_turned = self.directions(operator.attribute("scan_output_directions", (0,) * left), left)
        self.title = name_of(node)

    def directions(self, given: tuple[int, ...], count: int) -> tuple[int, ...]:
        """Return directions. `InputError`: there are not as many as sequences, or one is neither 0 nor 1."""
        if len(given) != count or set(given) - {0, 1}:
            raise error(
                self.node, f"its directions are {tuple(given)}, and must be 0 or 1 for each of {count} sequences"
            )
        return given

    def values(self, sequences: list[Value | None], initial: Values) -> list[Value]:
        """Add the nodes, and return what the node's results stand for: final states, then sequences."""
        static = self.reader.static
        names = self.node.input
        shapes = [static.shapes[name] for name in names]
        for k, axis in enumerate(self.axes):
            own = list(shapes[self.states + k])
            own.pop(axis)
            shapes[self.states + k] = tuple(own)
        body = self.reader.body_of(self.node, shapes, [self.kind(name) for name in names])
        known: dict[str, Tensor] = {}
        made = {tensor.name: self.inside(tensor) for tensor in (node.output for node in body.nodes)}
        for k, tensor in enumerate(body.inputs):
            if tensor is not None and k >= self.states:
                known[tensor.name] = self.steps_of(k - self.states, sequences[k - self.states], tensor)
        first = len(self.reader.nodes)
        for k, tensor in enumerate(body.inputs[: self.states]):
            if tensor is not None:
                known[tensor.name] = self.state(initial[k], tensor, body.outputs[k], made | known)
        known |= made
        for node in body.nodes:
            inputs = tuple(known[name].name for name in node.inputs)
            name = self.named(node.name)
            self.reader.add(replace(node, name=name, inputs=inputs, output=made[node.output.name]))
        inside = frozenset(node.name for node in self.reader.nodes[first:])
        self.reader.loops.append(Loop(self.title, self.steps, inside))
        return self.results([known[tensor.name] for tensor in body.outputs])

    def kind(self, name: str) -> int:
        """Return the element type of what the node reads."""
        static = self.reader.static
        if name in static.constants:
            return helper.np_dtype_to_tensor_dtype(static.constants[name].dtype)
        return static.types[name]

    def inside(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the body as one of the network."""
        return replace(tensor, name=self.named(tensor.name), steps=self.steps)

    def named(self, name: str) -> str:
        """Return a name of the body as one of the network's, which says where it is."""
        return self.reader.names.fresh(name if name.startswith(f"{self.title}/") else f"{self.title}/{name}")

    def steps_of(self, k: int, value: Value | None, tensor: Tensor) -> Tensor:
        """Return the steps of sequence ``k``, which the body reads as ``tensor``."""
        assert isinstance(value, Map), "a sequence is a map"
        name = self.node.input[self.states + k]
        self.check(name, value.tensor, tensor)
        seen = self.reader.as_seen(self.node, value, self.states + k)
        axis = self.axes[k] - (len(self.reader.static.shapes[name]) - seen.ndim)
        rows = np.moveaxis(seen, axis, -1).reshape(-1, self.steps)
        rows = rows[:, ::-1] if self.turned[k] else rows
        source = self.reader.in_order(self.node, value, rows, (len(rows), 1, self.steps))
        to = self.inside(tensor)
        self.reader.add(Steps(name=self.reader.names.fresh(f"{self.title}/steps"), inputs=(source.name,), output=to))
        return to

    def state(self, initial: Value | None, tensor: Tensor, back: Tensor, known: dict[str, Tensor]) -> Tensor:
        """Return the state that the body reads as ``tensor``, and which it makes as ``back``."""
        assert isinstance(initial, Constant), "states begin with constants"
        self.check(tensor.name, back, tensor)
        codes = initial.array.astype(np.int64).reshape(-1)
        if tensor.shape[1:] != (1, 1) or back.shape != tensor.shape or len(codes) != tensor.shape[0]:
            sizes = f"{tensor.shape}, is made as {back.shape} and begins with {len(codes)} codes"
            raise error(
                self.node, f"its state {tensor.name!r} is read as {sizes}, and states must be vectors of one size"
            )
        to = self.inside(tensor)
        source = known[back.name].name if back.name in known else back.name
        name = self.named(tensor.name)
        self.reader.add(State(name=name, inputs=(source,), output=to, initial=codes, steps=self.steps))
        return to

    def check(self, name: str, found: Tensor, wanted: Tensor) -> None:
        """Raise `InputError` where the body reads codes by another scale than they are made with."""
        if (found.scale, found.format) != (wanted.scale, wanted.format):
            raise error(self.node, f"its body reads {name!r} by another scale or zero point than that was made with")

    def results(self, tensors: list[Tensor]) -> list[Value]:
        """Return the final states, then the sequences, as ONNX sees them."""
        whole: dict[str, Tensor] = {}
        found: list[Value] = []
        for k, (name, tensor) in enumerate(zip(self.node.output, tensors, strict=False)):
            if not name:
                found.append(Host(self.node, "leaves this result out"))
                continue
            if tensor.shape[1:] != (1, 1):
                raise error(self.node, f"its body makes {tensor.shape}, and what leaves a step must be a vector")
            if tensor.name not in whole:
                shape = (tensor.shape[0], 1, self.steps)
                to = replace(tensor, name=self.reader.names.fresh(f"{name}/sequence"), shape=shape, steps=1)
                title = self.reader.names.fresh(f"{self.title}/sequence")
                self.reader.add(Sequence(name=title, inputs=(tensor.name,), output=to))
                whole[tensor.name] = to
            numbers = np.arange(tensor.shape[0] * self.steps).reshape(-1, self.steps)
            view = View(self.seen(k, name, numbers), 0, self.node)
            found.append(Map(whole[tensor.name], real=False, view=view))
        return found

    def seen(self, k: int, name: str, numbers: Integers) -> NDArray[np.int64]:
        """Return the numbers of result ``k`` in ONNX's shape: of a state the last step's."""
        shape = self.reader.onnx_shape(name, self.node)
        if math.prod(shape) != (len(numbers) if k < self.states else numbers.size):
            raise error(self.node, f"its body makes {len(numbers)} codes of {name!r} a step, which is to have {shape}")
        if k < self.states:
            return numbers[:, -1].reshape(shape)
        axis = self.out_axes[k - self.states] % len(shape)
        numbers = numbers[:, ::-1] if self.out_turned[k - self.states] else numbers
        rest = [side for k, side in enumerate(shape) if k != axis]
        return np.moveaxis(numbers.reshape(*rest, self.steps), -1, axis)
