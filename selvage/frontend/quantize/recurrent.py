"""LSTM, GRU and RNN in eight bits: a Scan over the steps, whose body is quantised between all operators.

onnxruntime's static quantiser leaves them in float. Each becomes for each direction a Scan of codes: dense layers of
the gates, tables of their functions, products and sums, every result with the range that it has on the calibration
images. The equations are those of ONNX's operators of these names, default functions, without peepholes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization.quant_utils import compute_scale_zp

from selvage.frontend.onnx.names import Names
from selvage.frontend.onnx.read import is_operator
from selvage.frontend.onnx.recurrent import FIRST_C, FIRST_H, RECURRENT, why_not
from selvage.frontend.quantize.measure import session
from selvage.frontend.quantize.names import Neutral

Floats = NDArray[np.float32]
Range = tuple[float, float]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def quantise_loops(
    quantised: ModelProto,
    model: ModelProto,
    neutral: Neutral,
    feeds: Iterable[Mapping[str, NDArray]],
    kind: type,
    *,
    per_channel: bool,
) -> dict[str, str]:
    """Put a Scan of codes of type ``kind`` in the place of every recurrent node of ``quantised``, in place.

    ``model`` is the float model, whose nodes have the same ``neutral`` names; ``feeds`` the calibration images.
    Returned: why others are left in float, by name.
    """
    reasons = {node.name: why_not(node, _fixed(model)) for node in model.graph.node if is_operator(node, *RECURRENT)}
    wanted = [node for node in model.graph.node if reasons.get(node.name) == ""]
    entering = entered(model, [node.input[0] for node in wanted], feeds) if wanted else {}
    for node in wanted:
        if any(x.ndim != 3 or x.shape[1] != 1 for x in entering[node.input[0]]):
            reasons[node.name] = "is of several images at once, and the states of a loop are those of one"
    wanted = [node for node in wanted if not reasons[node.name]]
    left = {neutral.restored(name): why for name, why in reasons.items() if why}
    if not wanted:
        return left
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    replaced = {node.name: node for node in wanted}
    for node in quantised.graph.node:
        if node.name not in replaced or node.op_type not in RECURRENT:
            nodes.append(node)
            continue
        inputs = replaced[node.name].input
        arrays = [numpy_helper.to_array(constants[name]) if name in constants else None for name in inputs]
        maker = _Maker(node, neutral.restored(node.name), arrays, entering[inputs[0]], neutral.names, kind, per_channel)
        nodes += maker.nodes()
        quantised.graph.initializer.extend(maker.constants)
    del quantised.graph.node[:]
    quantised.graph.node.extend(nodes)
    return left


def _fixed(model: ModelProto) -> set[str]:
    return {tensor.name for tensor in model.graph.initializer}


def entered(model: ModelProto, names: list[str], feeds: Iterable[Mapping[str, NDArray]]) -> dict[str, list[Floats]]:
    """Return what tensors of a model are on the images, by name: (T, N, C) of each batch."""
    whole = ModelProto()
    whole.CopyFrom(model)
    own = {info.name for info in (*whole.graph.output, *whole.graph.input)}
    known = set(dict.fromkeys(names)) - own
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(known))
    run, found = session(whole.SerializeToString(), optimised=False), {name: [] for name in names}
    for images in feeds:
        arrays = run.run(sorted(known), dict(images)) if known else []
        there = dict(zip(sorted(known), arrays, strict=True)) | dict(images)
        for name in found:
            found[name].append(np.asarray(there[name], np.float32))
    return found


def _sigmoid(x: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-x))


@dataclass
class _Ranges:
    """The least and the greatest number that each result has, 0 among them."""

    found: dict[str, Range] = field(default_factory=dict)

    def __call__(self, name: str, values: NDArray) -> NDArray:
        """Take in what ``name`` is, and return it."""
        low, high = self.found.get(name, (0.0, 0.0))
        self.found[name] = min(low, float(values.min(initial=0))), max(high, float(values.max(initial=0)))
        return values


@dataclass(frozen=True)
class _Weights:
    """Weights of one direction, as rows times a matrix (K, M), and what is added to each product."""

    w: Floats
    r: Floats
    wb: Floats
    rb: Floats
    first: dict[str, Floats]  # the states at the beginning, (1, H)

    @property
    def hidden(self) -> int:
        """Numbers of the state."""
        return self.r.shape[0]


def _lstm(x: NDArray, w: _Weights, see: _Ranges, _: bool) -> None:
    h, c = (see(name, np.broadcast_to(w.first[name], (x.shape[1], w.hidden))) for name in "hc")
    for now in x:
        see("both", np.concatenate([see("x", now), see("h", h)], axis=1))
        i, o, f, g = np.split(see("pre", now @ w.w + h @ w.r + w.wb + w.rb), 4, axis=1)
        kept, new = see("kept", _sigmoid(f) * c), see("new", _sigmoid(i) * np.tanh(g))
        c = see("c", kept + new)
        h = see("h", _sigmoid(o) * np.tanh(c))


def _gru(x: NDArray, w: _Weights, see: _Ranges, linear: bool) -> None:
    h, size = see("h", np.broadcast_to(w.first["h"], (x.shape[1], w.hidden))), w.hidden
    for now in x:
        see("x", now)
        ahead = see("ahead", now @ w.w + w.wb)
        back = h @ w.r + w.rb
        gates = see("gates", ahead[:, : 2 * size] + see("back", back)[:, : 2 * size])
        z, r = np.split(_sigmoid(gates), 2, axis=1)
        reset = r * back[:, 2 * size :] if linear else see("rh", r * h) @ w.r[:, 2 * size :] + w.rb[2 * size :]
        n = np.tanh(see("pre", ahead[:, 2 * size :] + see("reset", reset)))
        h = see("h", n + see("moved", z * see("apart", h - n)))


def _rnn(x: NDArray, w: _Weights, see: _Ranges, _: bool) -> None:
    h = see("h", np.broadcast_to(w.first["h"], (x.shape[1], w.hidden)))
    for now in x:
        see("both", np.concatenate([see("x", now), see("h", h)], axis=1))
        h = see("h", np.tanh(see("pre", now @ w.w + h @ w.r + w.wb + w.rb)))


RUNS: dict[str, Callable[[NDArray, _Weights, _Ranges, bool], None]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


class _Maker:
    """The nodes that take the place of one recurrent node."""

    def __init__(
        self,
        node: NodeProto,
        title: str,
        arrays: list[NDArray | None],
        entering: list[Floats],
        names: Names,
        kind: type,
        per_channel: bool,
    ) -> None:
        self.node, self.title, self.arrays, self.entering, self.names = node, title, arrays, entering, names
        self.kind, self.per_channel = kind, per_channel
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        direction = attributes.get("direction", b"forward").decode()
        self.turned = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}[direction]
        self.linear = bool(attributes.get("linear_before_reset", 0))
        self.constants: list[TensorProto] = []
        self.made: list[NodeProto] = []

    def fresh(self, what: str) -> str:
        return self.names.fresh(f"{self.title}/{what}")

    def constant(self, array: Any, what: str) -> str:
        name = self.fresh(what)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, inputs: list[str], what: str, **attributes: Any) -> str:
        name = self.fresh(what)
        self.made.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def weights(self, direction: int) -> _Weights:
        """Return the weights of one direction."""
        w, r = (np.asarray(self.arrays[k])[direction].T for k in (1, 2))
        b = self.arrays[3] if len(self.arrays) > 3 else None
        both = np.zeros(2 * w.shape[1], np.float32) if b is None else b[direction]
        first = {}
        for name, position in (("h", FIRST_H), ("c", FIRST_C)):
            given = self.arrays[position] if len(self.arrays) > position else None
            first[name] = np.zeros((1, len(r)), np.float32) if given is None else np.asarray(given)[direction]
        return _Weights(w, r, both[: w.shape[1]], both[w.shape[1] :], first)

    def nodes(self) -> list[NodeProto]:
        """Return the nodes, which make the results of the node."""
        sequences, lasts = [], []
        for k, turned in enumerate(self.turned):
            weights, see = self.weights(k), _Ranges()
            for x in self.entering:
                RUNS[self.node.op_type](x[::-1] if turned else x, weights, see, self.linear)
            found = self.direction(weights, see.found, turned)
            sequences.append(found[0])
            lasts.append(found[1:])
        axis = self.constant(np.array([1], np.int64), "axis")
        self.result(0, [self.add("Unsqueeze", [name, axis], "row") for name in sequences], 1)
        first = self.constant(np.array([0], np.int64), "axis")
        for k in range(1, len(self.node.output)):
            if self.node.output[k]:
                self.result(k, [self.add("Unsqueeze", [own[k - 1], first], "row") for own in lasts], 0)
        return self.made

    def result(self, position: int, parts: list[str], axis: int) -> None:
        """Make one result of the node of those of its directions."""
        if self.node.output[position]:
            name = self.node.output[position]
            operator = "Concat" if len(parts) > 1 else "Identity"
            given: dict[str, Any] = {"axis": axis} if len(parts) > 1 else {}
            self.made.append(helper.make_node(operator, parts, [name], name=self.fresh("result"), **given))

    def direction(self, w: _Weights, ranges: dict[str, Range], turned: int) -> list[str]:
        """Return the names of all outputs and the last states of one direction, in real numbers."""
        body = _Body(self, ranges, w)
        states = ("h", "c") if self.node.op_type == "LSTM" else ("h",)
        graph = body.graph(BODIES[self.node.op_type], states)
        x = self.add("QuantizeLinear", [self.node.input[0], *self.scale(ranges["x"])], "codes")
        first = [self.constant(self.codes(w.first[name], ranges[name]), name) for name in states]
        outputs = [self.fresh(f"last_{name}") for name in states] + [self.fresh("sequence")]
        given = {"num_scan_inputs": 1, "scan_input_directions": [turned], "scan_output_directions": [turned]}
        name = self.title if turned == self.turned[0] else self.fresh("backward")
        self.made.append(helper.make_node("Scan", [*first, x], outputs, name=name, body=graph, **given))
        names = ["h", *states]
        order = [outputs[-1], *outputs[:-1]]
        return [
            self.add("DequantizeLinear", [own, *self.scale(ranges[name])], "real")
            for own, name in zip(order, names, strict=True)
        ]

    def codes(self, values: Floats, limits: Range) -> NDArray:
        """Return numbers quantised by a range."""
        zero, scale = scale_of(limits, self.kind)
        ends = np.iinfo(self.kind)
        return np.clip(np.rint(values / np.float32(scale)) + zero, ends.min, ends.max).astype(self.kind)

    def scale(self, limits: Range) -> list[str]:
        """Return the names of scale and zero point of a range."""
        zero, scale = scale_of(limits, self.kind)
        return [self.constant(np.float32(scale), "scale"), self.constant(self.kind(zero), "zero")]


def scale_of(limits: Range, kind: type) -> tuple[int, float]:
    """Return zero point and scale of a range, as onnxruntime's quantiser has them."""
    ends = np.iinfo(kind)
    low, high = (np.array(own, np.float32) for own in limits)
    zero, scale = compute_scale_zp(low, high, np.array(ends.min, kind), np.array(ends.max, kind), False)
    return int(zero), float(scale)


class _Body:
    """The body of a Scan: one step, every result quantised."""

    def __init__(self, maker: _Maker, ranges: dict[str, Range], weights: _Weights) -> None:
        self.maker, self.ranges, self.w = maker, ranges, weights
        self.nodes: list[NodeProto] = []

    def add(self, operator: str, *inputs: str, what: str = "", count: int = 1, **attributes: Any) -> str:
        """Add a node, and return its first output's name."""
        name = self.maker.fresh(f"step/{what or operator}")
        outputs = [name] if count == 1 else [f"{name}.{k}" for k in range(count)]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def codes(self, real: str, limits: Range) -> str:
        return self.add("QuantizeLinear", real, *self.maker.scale(limits))

    def real(self, codes: str, limits: Range) -> str:
        return self.add("DequantizeLinear", codes, *self.maker.scale(limits))

    def through(self, real: str, name: str) -> str:
        """Quantise a result by the range that ``name`` has, or one of functions."""
        limits = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}.get(name) or self.ranges[name]
        return self.real(self.codes(real, limits), limits)

    def dense(self, x: str, limits: Range, weights: NDArray, bias: NDArray) -> str:
        """Return a dense layer of rows ``x``, of a range: weights of int8, symmetric, the bias in units of a sum."""
        top = np.abs(weights).max(axis=0) if self.maker.per_channel else np.abs(weights).max(keepdims=True)
        scale = np.where(np.ravel(top) == 0, 1, np.ravel(top) / 127).astype(np.float32)
        codes = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
        own: dict[str, Any] = {"axis": 1} if len(scale) > 1 else {}
        scale = scale if len(scale) > 1 else scale.reshape(())
        units = np.float32(scale_of(limits, self.maker.kind)[1]) * scale
        whole = np.clip(np.rint(bias / units), -(2**31), 2**31 - 1).astype(np.int32)
        m = self.maker
        matrix = self.add("DequantizeLinear", m.constant(codes, "weights"), m.constant(scale, "scale"), **own)
        along: dict[str, Any] = {"axis": 0} if units.ndim else {}
        added = self.add("DequantizeLinear", m.constant(whole, "bias"), m.constant(units, "scale"), **along)
        return self.add("Gemm", x, matrix, added)

    def split(self, x: str, sizes: list[int]) -> list[str]:
        """Return parts of a row."""
        ends = self.maker.constant(np.array(sizes, np.int64), "sizes")
        first = self.add("Split", x, ends, count=len(sizes), axis=1)
        return [first] if len(sizes) == 1 else [f"{first.removesuffix('.0')}.{k}" for k in range(len(sizes))]

    def graph(self, step: "Callable[[_Body, dict[str, str]], dict[str, str]]", states: tuple[str, ...]) -> GraphProto:
        """Return the body: states and the step's row come as codes, the new states leave, and the output."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.maker.kind))
        names = {name: self.maker.fresh(f"step/{name}") for name in (*states, "x")}
        sides = dict.fromkeys(states, self.w.hidden) | {"x": self.w.w.shape[0]}
        infos = [helper.make_tensor_value_info(names[name], kind, (1, sides[name])) for name in names]
        made = step(self, {name: self.real(names[name], self.ranges[name]) for name in names})
        copy = self.add("Identity", made["h"], what="output")
        ends = [made[name] for name in states] + [copy]
        outputs = [helper.make_tensor_value_info(name, kind, (1, self.w.hidden)) for name in ends]
        return helper.make_graph(self.nodes, self.maker.fresh("step"), infos, outputs)


def _lstm_step(b: _Body, now: dict[str, str]) -> dict[str, str]:
    w, size = b.w, b.w.hidden
    both = b.through(b.add("Concat", now["x"], now["h"], axis=1), "both")
    pre = b.dense(both, b.ranges["both"], np.concatenate([w.w, w.r]), w.wb + w.rb)
    i, o, f, g = b.split(b.through(pre, "pre"), [size] * 4)
    i, o, f = (b.through(b.add("Sigmoid", gate), "sigmoid") for gate in (i, o, f))
    g = b.through(b.add("Tanh", g), "tanh")
    kept, new = b.through(b.add("Mul", f, now["c"]), "kept"), b.through(b.add("Mul", i, g), "new")
    c = b.codes(b.add("Add", kept, new), b.ranges["c"])
    bent = b.through(b.add("Tanh", b.real(c, b.ranges["c"])), "tanh")
    return {"h": b.codes(b.add("Mul", o, bent), b.ranges["h"]), "c": c}


def _gru_step(b: _Body, now: dict[str, str]) -> dict[str, str]:
    w, size, linear = b.w, b.w.hidden, b.maker.linear
    ahead = b.through(b.dense(now["x"], b.ranges["x"], w.w, w.wb), "ahead")
    gates_x, new = b.split(ahead, [2 * size, size])
    columns = 3 * size if linear else 2 * size
    back = b.through(b.dense(now["h"], b.ranges["h"], w.r[:, :columns], w.rb[:columns]), "back")
    gates_h, *rest = b.split(back, [2 * size, size]) if linear else [back]
    gates = b.through(b.add("Sigmoid", b.through(b.add("Add", gates_x, gates_h), "gates")), "sigmoid")
    z, r = b.split(gates, [size, size])
    if linear:
        reset = b.through(b.add("Mul", r, rest[0]), "reset")
    else:
        kept = b.through(b.add("Mul", r, now["h"]), "rh")
        reset = b.through(b.dense(kept, b.ranges["rh"], w.r[:, 2 * size :], w.rb[2 * size :]), "reset")
    n = b.through(b.add("Tanh", b.through(b.add("Add", new, reset), "pre")), "tanh")
    apart = b.through(b.add("Sub", now["h"], n), "apart")
    moved = b.through(b.add("Mul", z, apart), "moved")
    return {"h": b.codes(b.add("Add", n, moved), b.ranges["h"])}


def _rnn_step(b: _Body, now: dict[str, str]) -> dict[str, str]:
    both = b.through(b.add("Concat", now["x"], now["h"], axis=1), "both")
    pre = b.dense(both, b.ranges["both"], np.concatenate([b.w.w, b.w.r]), b.w.wb + b.w.rb)
    return {"h": b.codes(b.add("Tanh", b.through(pre, "pre")), b.ranges["h"])}


BODIES: dict[str, Callable[[_Body, dict[str, str]], dict[str, str]]] = {
    "LSTM": _lstm_step,
    "GRU": _gru_step,
    "RNN": _rnn_step,
}
