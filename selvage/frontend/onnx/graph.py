"""Import of quantised networks from ONNX files: what runs on crossbars, and what the host does before and behind."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto
from onnx.helper import tensor_dtype_to_np_dtype

from selvage.base.errors import InputError
from selvage.base.graph import Add, Graph, Loop, Matrix, Multiply, Node, Pool, Reorder, Tensor
from selvage.base.limits import IMAGES
from selvage.base.text import number, value
from selvage.frontend.numpy_files import declared
from selvage.frontend.onnx.bodies import reads
from selvage.frontend.onnx.host import Part, part
from selvage.frontend.onnx.hosted import Boundary, Entry, Hosted
from selvage.frontend.onnx.importer import Importer, sums_tensor
from selvage.frontend.onnx.nodes import error
from selvage.frontend.onnx.read import is_operator, name_of
from selvage.frontend.onnx.reader import Value
from selvage.frontend.onnx.recurrent import RECURRENT, why_not
from selvage.frontend.onnx.static import Shape, Static, read_static
from selvage.frontend.onnx.values import Constant, Head, Host, Map, Sums
from selvage.golden.graph import (
    matrix_requantization,
    mean_requantization,
    product_requantization,
    sum_factors,
)

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HostNode:
    """An operator of the model that the host computes, and why."""

    name: str
    operator: str
    why: str


@dataclass(frozen=True, eq=False)
class Imported:
    """A network, and the host's operators before it (head) and behind it (tail)."""

    graph: Graph
    entries: dict[str, Entry]  # by tensor of those inputs of the graph that are made of the model's
    hosted: tuple[Hosted, ...]  # what makes the others: steps between layers, each of what was before it
    host: tuple[HostNode, ...]
    inputs: dict[str, tuple[int, Shape]]  # ONNX's element type, shape with the batch, by name
    unread: tuple[str, ...]  # more inputs, of which nothing depends
    outputs: tuple[str, ...]
    boundaries: tuple[Boundary, ...]
    head: Part
    tail: Part
    notes: dict[str, str]  # by node: what is rounded
    views: dict[str, NDArray[np.int64] | None]  # by tensor: which numbers of it ONNX's are; None: nobody knows

    def enter(self, images: NDArray | Mapping[str, NDArray]) -> dict[str, Codes]:
        """Return by tensor the codes (N, C, H, W) that enter the network, for the ``images`` that the model is given.

        A model with several inputs takes them by name; what it does not read may be there or not. `InputError`: a
        shape or type is not the model's, or a number is not finite.
        """
        given = images if isinstance(images, Mapping) else dict.fromkeys(list(self.inputs)[:1], images)
        names = [name for name in given if name not in self.unread]
        for name in (*self.inputs, *names):
            if name not in names or name not in self.inputs:
                raise InputError(f"the model's inputs are {', '.join(self.inputs)}, and {', '.join(names)} are given")
        for name in names:
            self._check(name, *declared(given, name))
        feeds = {name: self._checked(name, np.asarray(given[name])) for name in names}
        counts = {len(array) for array in feeds.values()}
        if len(counts) > 1:
            raise InputError(f"inputs must hold equally many images, not {sorted(counts)}")
        found = self.head.run(feeds) | feeds
        return {name: entry.ordered(found[entry.name]) for name, entry in self.entries.items()}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Those of the graph, and what the host's steps read beside them."""
        return {own.tensor.name: own.tensor for step in self.hosted for own in step.boundaries} | self.graph.tensors

    def add_hosted(self, codes: dict[str, Codes]) -> None:
        """Add the codes of what the host makes between layers, as far as all is there that it is made of."""
        for step in self.hosted:
            if step.output.name not in codes and all(name in codes for name in step.inputs):
                codes[step.output.name] = step.compute(codes)

    def leave(self, codes: Mapping[str, Codes]) -> dict[str, NDArray]:
        """Return the model's outputs by name, for codes (N, C, H, W) of the network's outputs by tensor."""
        feeds = {}
        for boundary in self.boundaries:
            feeds[boundary.name] = boundary.given(codes[boundary.tensor.name])
        found = self.tail.run(feeds) | feeds
        return {name: found[name] for name in self.outputs}

    def _check(self, name: str, given: Shape, dtype: np.dtype) -> None:
        """Raise `InputError` for an input that the model does not take, before its numbers are read."""
        kind, shape = self.inputs[name]
        title = f"input {name!r}"
        if len(given) != len(shape) or given[1:] != shape[1:] or not given[0]:
            sides = ", ".join(map(str, ("N", *shape[1:])))
            raise InputError(f"{title} must have the shape ({sides}), not {value(given)}")
        wanted = np.dtype(tensor_dtype_to_np_dtype(kind))
        if wanted.kind in "iu" and dtype != wanted:
            raise InputError(f"{title} must hold {wanted}, not {dtype}")
        if wanted.kind not in "iu" and dtype.kind != "f":
            raise InputError(f"{title} must hold floats, not {dtype}")
        check_images(given[0], self.graph)

    def _checked(self, name: str, array: NDArray) -> NDArray:
        """Return an input as the model takes it."""
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"input {name!r} holds a value that is not finite")
        return array.astype(tensor_dtype_to_np_dtype(self.inputs[name][0]), copy=False)


def check_images(count: int, graph: Graph) -> None:
    """Raise `InputError` when ``count`` images have too many codes in some tensor."""
    for tensor in graph.tensors.values():
        IMAGES.check(count * tensor.numbers, f"tensor {value(tensor.name)}", f"holds, of {number(count)} images,")


def load_graph(path: str, shape: Shape | None = None, *, partial: bool = False) -> Imported:
    """Return the network in the ONNX file ``path``; ``shape``, the batch first, settles free sides of its input.

    ``partial``: the host makes whatever has no gateware between layers too, not only what is known to be left to it.
    `InputError`: the file is not one, is not quantised, or holds what cannot be brought to crossbars.
    """
    static = read_static(path, shape)
    importer = Importer(static, partial=partial)
    importer.run()
    tail = _Tail(importer)
    for name in static.outputs:
        if isinstance(importer.values[name], Constant):
            raise InputError(f"output {name!r} is the same for all inputs")
        tail.follow(name)
    nodes, inputs, hosted = _used(importer, [boundary.tensor.name for boundary in tail.boundaries])
    if not nodes:
        raise tail.why_nothing(path)
    made = {node.output.name for node in nodes}
    # What the host has made itself between layers leaves nowhere.
    left = [name for boundary in tail.boundaries if (name := boundary.tensor.name) not in importer.hosted]
    left += [name for step in hosted for name in step.inputs if name in made]
    loops = _loops(importer, nodes)
    graph = Graph(static.graph.name, inputs, nodes, tuple(dict.fromkeys(left)), loops)
    graph, entries, hosted = _entered(graph, hosted)
    _check_factors(graph)
    inputs = tuple(tensor for tensor in inputs if tensor.name not in importer.hosted)
    head_nodes = _before(static, [tensor.name for tensor in inputs])
    tail_nodes = [node for node in static.graph.node if node.output[0] in tail.nodes]
    names = [info.name for info in static.inputs]
    needed = [tensor.name for tensor in inputs if tensor.name not in names]
    starts = [boundary.name for boundary in tail.boundaries]
    apart = frozenset(boundary.name for boundary in tail.boundaries if boundary.apart)
    return Imported(
        graph=graph,
        entries=entries,
        hosted=hosted,
        host=(*_head_report(head_nodes, static), *map(_hosted_report, hosted), *tail.report(tail_nodes)),
        inputs={info.name: (info.type.tensor_type.elem_type, static.shapes[info.name]) for info in static.inputs},
        unread=static.unread,
        outputs=static.outputs,
        boundaries=tuple(tail.boundaries),
        head=part(static, head_nodes, names, needed, single=_turned(static, needed)),
        tail=part(static, tail_nodes, starts, [name for name in static.outputs if name not in starts], apart),
        notes=importer.notes,
        views={
            name: importer.per_image(view.numbers, importer.tensors[name].numbers) if view else None
            for name, view in importer.views.items()
        },
    )


def _entered(graph: Graph, hosted: tuple[Hosted, ...]) -> tuple[Graph, dict[str, Entry], tuple[Hosted, ...]]:
    """Return the graph without what only reorders its inputs, which is the host's; what enters it; the host's steps."""
    inputs, entries, gone, steps = [], {}, set(), list(hosted)
    made = {step.output.name: step for step in hosted}
    for tensor in graph.inputs:
        readers = graph.readers(tensor.name)
        if not readers and tensor.name not in graph.outputs:  # of the host's steps alone
            if tensor.name not in made:
                entries[tensor.name] = Entry(tensor.name, tensor.shape)
            continue
        plain = any(not isinstance(node, Reorder) for node in readers) or not readers
        plain = plain or tensor.name in graph.outputs or any(tensor.name in step.inputs for step in hosted)
        for node in (None,) if plain else [node for node in readers if isinstance(node, Reorder)]:
            inputs.append(node.output if node else tensor)
            if node:
                gone.add(node.name)
            if tensor.name not in made:
                entries[inputs[-1].name] = Entry(tensor.name, tensor.shape, node)
            elif node:
                steps.append(made[tensor.name].reordering(node))
        if not plain and tensor.name in made:
            steps.remove(made[tensor.name])
    nodes = tuple(node for node in graph.nodes if node.name not in gone)
    if not nodes:
        return graph, {t.name: Entry(t.name, t.shape) for t in graph.inputs if t.name not in made}, hosted
    return replace(graph, inputs=tuple(inputs), nodes=nodes), entries, tuple(steps)


def _hosted_report(step: Hosted) -> HostNode:
    return HostNode(step.name, ", ".join(step.operators), step.told())


def _check_factors(graph: Graph) -> None:
    """Raise `InputError` when the scales around a node are too far apart for its requantisation."""
    tensors = graph.tensors
    for node in graph.nodes:
        sources = [tensors[name] for name in node.inputs]
        try:
            match node:
                case Matrix(raw=False):
                    matrix_requantization(node, sources[0])
                case Pool(kind="average"):
                    mean_requantization(node, sources[0])
                case Add():
                    sum_factors(node, sources)
                case Multiply():
                    product_requantization(node, sources)
        except InputError as error:
            raise InputError(f"node {node.name!r}: {error}") from None


class _Tail:
    """The way from the model's outputs back to what the network makes."""

    def __init__(self, importer: Importer) -> None:
        self.importer = importer
        self.makers = {name: node for node in importer.static.graph.node for name in node.output if name}
        self.nodes: set[str] = set()  # by their first outputs
        self.boundaries: list[Boundary] = []

    def follow(self, output: str) -> None:
        """Take in the nodes that make ``output``. `InputError`: it needs the model's input past the network."""
        seen = {boundary.name for boundary in self.boundaries}
        waiting = [output]
        while waiting:
            name = waiting.pop(0)
            value = self.importer.values[name]
            if not isinstance(value, Constant) and name not in seen:
                waiting += self.step(name, value, output)
            seen.add(name)

    def step(self, name: str, value: Value, output: str) -> list[str]:
        """Make ``name`` a boundary, or take its node in; return the names that are to be followed then."""
        if isinstance(value, Head):
            raise self.past(output)
        if isinstance(value, Map) and not self.behind_all(value):
            self.bound(name, value)
        elif isinstance(value, Sums) and value.start == name:
            self.bound(name, Map(self.sums(value), True))
        elif self.makers[name].output[0] not in self.nodes:
            self.nodes.add(self.makers[name].output[0])
            return reads(self.makers[name])
        return []

    def behind_all(self, value: Map) -> bool:
        """Return whether codes are made by the host and read by no node of the network."""
        name = value.tensor.name
        return name in self.importer.hosted and not any(name in node.inputs for node in self.importer.order)

    def past(self, output: str) -> InputError:
        """Return the error of an output that needs the model's input itself."""
        if self.importer.floats and not self.importer.inputs:
            return self.importer.floats[0]  # nothing is quantised at all
        if output in [info.name for info in self.importer.static.inputs]:
            return InputError(f"output {output!r} is an input of the model, and must be made by an operator")
        return InputError(f"output {output!r} reads the model's input past everything that is quantised")

    def why_nothing(self, path: str) -> InputError:
        """Return the error of a model without an operator for gateware: that of the first that could have been one."""
        if self.importer.floats:
            return self.importer.floats[0]
        for node in self.importer.static.graph.node:
            value = self.importer.values[node.output[0]]
            if node.output[0] in self.nodes and isinstance(value, Host) and value.node.output == node.output:
                return error(node, f"operator {node.op_type!r} {value.why}, and gateware has no other node")
        for step in self.importer.hosted.values():
            return InputError(f"node {step.name!r}: {step.why}, and gateware has no other node")
        return InputError(f"model {path!r} holds no quantised operator; run `selvage quantize` first")

    def bound(self, name: str, value: Map) -> None:
        """Have the host read ``name`` of the network."""
        self.boundaries.append(self.importer.boundary(name, value))

    def sums(self, value: Sums) -> Tensor:
        """Make the layer whose sums leave as they are, and return their tensor."""
        to = sums_tensor(value)
        self.importer.add(replace(value, shape=to.shape).matrix(to, raw=True))
        self.importer.tell(value, to)
        return to

    def report(self, nodes: list[NodeProto]) -> list[HostNode]:
        """Return each operator behind the network, and why it is there."""
        found = []
        for boundary in self.boundaries:
            if boundary.real and boundary.name in self.makers:
                title = name_of(self.makers[boundary.name])
                found.append(HostNode(title, "DequantizeLinear", "gives the real numbers that leave the network"))
        for node in nodes:
            value = self.importer.values[node.output[0]]
            why = "is behind the last quantised tensor"
            if isinstance(value, Host) and value.node.output == node.output:
                why = f"{why}, and {value.why}"
            found.append(HostNode(name_of(node), node.op_type, why))
        return found


def _head_report(nodes: list[NodeProto], static: Static) -> list[HostNode]:
    found, quantises = [], "quantises the model's input"
    for node in nodes:
        why = quantises if node.op_type == "QuantizeLinear" else f"is before what {quantises}"
        if is_operator(node, *RECURRENT) and (reason := why_not(node, static.constants)):
            why = f"{why}, and {reason}"
        found.append(HostNode(name_of(node), node.op_type, why))
    return found


def _used(importer: Importer, outputs: list[str]) -> tuple[tuple[Node, ...], tuple[Tensor, ...], tuple[Hosted, ...]]:
    """Return the nodes, the inputs and the host's steps that the outputs depend on."""
    needed, before = set(outputs), -1
    kept, steps = [], []
    while before != len(needed):  # a loop needs what it makes for its next step
        before, kept, steps = len(needed), [], []
        for made in reversed(importer.order):
            if made.output.name in needed:
                (steps if isinstance(made, Hosted) else kept).append(made)
                needed.update(made.inputs)
    inputs = tuple(tensor for tensor in importer.inputs.values() if tensor.name in needed)
    return tuple(reversed(kept)), inputs, tuple(reversed(steps))


def _loops(importer: Importer, nodes: tuple[Node, ...]) -> tuple[Loop, ...]:
    """Return the loops of which nodes are kept."""
    names = {node.name for node in nodes}
    found = (replace(loop, nodes=loop.nodes & names) for loop in importer.loops)
    return tuple(loop for loop in found if loop.nodes)


def _turned(static: Static, names: list[str]) -> bool:
    """Return whether the first axis of a tensor is not that of images, so that each image is evaluated by itself."""
    return any(static.shapes.get(name, (static.batch,))[:1] != (static.batch,) for name in names)


def _before(static: Static, names: list[str]) -> list[NodeProto]:
    """Return the nodes that make ``names`` of the model's inputs."""
    needed, kept = set(names), []
    for node in reversed(static.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed.update(reads(node))
    return kept[::-1]
