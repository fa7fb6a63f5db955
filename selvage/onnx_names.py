"""Names for what is added to a user's graph: none that the graph has already."""

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, NodeProto


def inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    """The bodies of a node: of If, Loop, Scan and the like."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and the bodies in it, at every depth."""
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from graphs(inner)


class Names:
    """All names of tensors and of nodes in a graph and in its bodies, and those given since."""

    def __init__(self, graph: GraphProto) -> None:
        self.taken = {name for own in graphs(graph) for name in _names(own)}

    def fresh(self, stem: str) -> str:
        """``stem``, or where that is taken, it with a number behind; taken from now on."""
        name, count = stem, 0
        while not name or name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        return name


def _names(graph: GraphProto) -> Iterator[str]:
    """Names in a graph, those in its bodies left out."""
    yield from (info.name for infos in (graph.input, graph.output, graph.value_info) for info in infos)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (tensor.values.name for tensor in graph.sparse_initializer)
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)
