"""Bodies of If, Loop and Scan: what they read from outside, and a branch in the place of its If."""

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, NodeProto, helper

from selvage.frontend.onnx.names import Names
from selvage.frontend.onnx.read import name_of


def bodies(node: NodeProto) -> list[GraphProto]:
    """Return the graphs that a node has as attributes."""
    found = []
    for item in node.attribute:
        if item.type == AttributeProto.GRAPH:
            found.append(item.g)
        elif item.type == AttributeProto.GRAPHS:
            found.extend(item.graphs)
    return found


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes of a graph, each before those of its bodies."""
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from all_nodes(body)


def captured(node: NodeProto) -> list[str]:
    """Return the names that the bodies of a node read from outside of them, each once."""
    return list(dict.fromkeys(name for body in bodies(node) for name in _free(body)))


def reads(node: NodeProto) -> list[str]:
    """Return all names that a node reads: its inputs in their order, but those left out, then what its bodies take."""
    return [*(name for name in node.input if name), *captured(node)]


def _free(graph: GraphProto) -> Iterator[str]:
    """Yield the names that a body reads and does not make."""
    made = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    made |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        yield from (name for name in reads(node) if name not in made)
        made.update(node.output)
    yield from (info.name for info in graph.output if info.name not in made)


def inlined(graph: GraphProto, choice: NodeProto, taken: bool) -> list[NodeProto]:
    """Return the nodes of the branch of an If in ``graph`` that is always ``taken``; its constants become the graph's.

    What the branch makes gets names that nothing else in the graph has, as both branches may make the same.
    """
    wanted = "then_branch" if taken else "else_branch"
    branch = next(item.g for item in choice.attribute if item.name == wanted)
    made = [*(tensor.name for tensor in branch.initializer), *(name for node in branch.node for name in node.output)]
    known = Names(graph)
    names = {name: known.fresh(f"{name_of(choice)}/{name}") for name in made if name}
    body = GraphProto()
    body.CopyFrom(branch)
    _rename(body, names)
    graph.initializer.extend(body.initializer)
    ends = zip(body.output, choice.output, strict=True)
    return [*body.node, *(helper.make_node("Identity", [info.name], [name]) for info, name in ends if name)]


def _rename(graph: GraphProto, names: dict[str, str]) -> None:
    """Give what a graph and its bodies read and make the new ``names`` of the old ones, in place."""
    for part in (*graph.initializer, *graph.output):
        part.name = names.get(part.name, part.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for body in bodies(node):
            _rename(body, names)
