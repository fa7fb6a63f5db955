"""Names that the quantiser cannot take for its own: it writes what it makes over whatever has the same name."""

import re
from collections.abc import Callable

from onnx import GraphProto, ModelProto, NodeProto

from selvage.frontend.onnx.names import Names
from selvage.frontend.onnx.read import graphs, inner_graphs


def name_nodes(graph: GraphProto) -> None:
    """Give every node of a graph and of its bodies a name of its own, for tools know nodes by their names.

    A node without a name, or with that of another, gets the name of its output.
    """
    nodes = [node for part in graphs(graph) for node in part.node]
    taken, names, seen = {node.name for node in nodes}, Names(graph), set[str]()
    for node in nodes:
        if not node.name or node.name in seen:
            name = next((name for name in node.output if name), node.op_type)
            node.name = name if name not in taken else names.fresh(name)
            taken.add(node.name)
        seen.add(node.name)


class Neutral:
    """A model whose tensors and nodes have numbers for names, and the way back to those that they had.

    The quantiser puts its own words behind the name of a tensor or node, such as `_scale`. Behind a number they
    are no name of the user's, and behind the old name they can be told from one.
    """

    def __init__(self, model: ModelProto) -> None:
        """Rename all of ``model`` in place but what is inside the bodies of nodes."""
        self.names = Names(model.graph)
        self.mark = "#"
        while any(self.mark in name for name in self.names.taken):
            self.mark += "#"
        self.originals: list[str] = []
        self.numbers: dict[str, str] = {}
        self.made: dict[str, str] = {}
        tensors = {name: self._number(name) for name in _tensors(model.graph)}
        _rename(model.graph, lambda name: tensors.get(name, name))
        for node in model.graph.node:
            node.name = self._number(node.name)

    def _number(self, name: str) -> str:
        if name not in self.numbers:
            self.numbers[name] = f"{self.mark}{len(self.originals)}{self.mark}"
            self.originals.append(name)
        return self.numbers[name]

    def text(self, text: str) -> str:
        """Return a text with the old names in it."""
        return re.sub(f"{self.mark}([0-9]+){self.mark}", lambda found: self.originals[int(found[1])], text)

    def restored(self, name: str) -> str:
        """Return the old name, or a fresh one that is like it for what the quantiser made."""
        old = self.text(name)
        if name == old or self.numbers.get(old) == name:
            return old
        if name not in self.made:
            self.made[name] = self.names.fresh(old)
        return self.made[name]

    def restore(self, model: ModelProto) -> None:
        """Take the numbers out of ``model``, in place."""
        _rename(model.graph, self.restored)
        for node in model.graph.node:
            node.name = self.restored(node.name)


def _tensors(graph: GraphProto) -> list[str]:
    """Return the names of the tensors that a graph itself holds."""
    names = [info.name for info in graph.input] + [tensor.name for tensor in graph.initializer]
    names += [name for node in graph.node for name in (*node.input, *node.output)]
    return [name for name in dict.fromkeys([*names, *(info.name for info in graph.output)]) if name]


def _rename(graph: GraphProto, new: Callable[[str], str]) -> None:
    """Rename the tensors of a graph, and where the bodies of its nodes read them."""
    for info in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        info.name = new(info.name)
    for tensor in graph.sparse_initializer:
        tensor.values.name = new(tensor.values.name)
    for entry in graph.quantization_annotation:
        entry.tensor_name = new(entry.tensor_name)
    for node in graph.node:
        _rename_node(node, new)


def _rename_node(node: NodeProto, new: Callable[[str], str]) -> None:
    """Rename what a node reads and makes, and what its bodies read from outside."""
    for names in (node.input, node.output):
        names[:] = [new(name) if name else name for name in names]
    for body in inner_graphs(node):
        outer = _outside(set(_made(body)), new)
        for info in body.output:
            info.name = outer(info.name)
        for inner in body.node:
            _rename_node(inner, outer)


def _outside(inner: set[str], new: Callable[[str], str]) -> Callable[[str], str]:
    """Return ``new`` for all names but the ``inner`` ones of a body, which stay."""
    return lambda name: name if name in inner else new(name)


def _made(graph: GraphProto) -> list[str]:
    """Return the names of the tensors that a body makes or is given."""
    names = [info.name for info in graph.input] + [tensor.name for tensor in graph.initializer]
    return [*names, *(name for node in graph.node for name in node.output)]
