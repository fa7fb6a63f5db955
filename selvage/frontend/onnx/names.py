"""Names that a graph does not have yet, for what is made beside the user's own nodes and tensors."""

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto


class Names:
    """All names of a graph: of tensors and of nodes, in the bodies of its nodes too, and those given out since."""

    def __init__(self, graph: GraphProto) -> None:
        self.taken = set(_names(graph))

    def fresh(self, stem: str) -> str:
        """Return a name like ``stem`` that nothing else has, and take it."""
        name, count = stem, 1
        while name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        return name


def _names(graph: GraphProto) -> Iterator[str]:
    for info in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield info.name
    for sparse in graph.sparse_initializer:
        yield sparse.values.name
    for node in graph.node:
        yield node.name
        yield from (*node.input, *node.output)
        for attribute in node.attribute:
            bodies = (attribute.g,) if attribute.type == AttributeProto.GRAPH else attribute.graphs
            for body in bodies:
                yield from _names(body)
