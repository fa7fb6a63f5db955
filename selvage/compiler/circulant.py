"""Block-circulant dense layers: each k x k block is k numbers, and its rows are rotations of them (C-LSTM, CirCNN).

A block is stored once, as the rows of one column of a crossbar, and the input is turned k times past it: a convolution
of k steps over a map whose columns are the numbers of a block, k - 1 of them repeated. So nothing of the machine is
new, and 1/k of the crossbars take k steps. Sources: Ding et al., CirCNN, MICRO 2017, doi 10.1145/3123939.3124552; Wang
et al., C-LSTM, FPGA 2018, doi 10.1145/3174243.3174253.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from selvage.base.circulant import LARGEST, SMALLEST, blocks, check_size
from selvage.base.errors import InputError
from selvage.base.graph import Graph, Matrix, Node, Reorder, Tensor
from selvage.base.layer import Layer
from selvage.base.text import free_name


@dataclass(frozen=True)
class CirculantAsked:
    """Block sizes: ``auto``, the largest that a layer's weights have; ``every`` layer that has it; or by layer."""

    auto: bool = False
    every: int | None = None
    by_layer: Mapping[str, int] = field(default_factory=dict)


def circulant_asked(text: str | None) -> CirculantAsked | None:
    """Return what ``--circulant`` says. `InputError`: it is no value of the option."""
    if text is None:
        return None
    if text == "auto":
        return CirculantAsked(auto=True)
    if re.fullmatch(r"[0-9]{1,4}", text):
        return CirculantAsked(every=check_size(int(text)))
    by_layer: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = part.rpartition("=")
        if not name or not re.fullmatch(r"[0-9]{1,4}", size) or name in by_layer:
            raise InputError(
                f"--circulant {text!r} is neither auto, nor a block size, nor layer=size and so on, each once"
            )
        by_layer[name] = check_size(int(size))
    return CirculantAsked(by_layer=by_layer)


def with_circulant(graph: Graph, asked: CirculantAsked | None) -> Graph:
    """Return the network with the dense layers that ``asked`` names as block-circulant ones.

    `InputError`: a layer that is named is none, or no layer has such blocks.
    """
    if asked is None:
        return graph
    dense = {node.name: node for node in graph.matrices if node.layer.op == "dense"}
    for name, size in asked.by_layer.items():
        if name not in dense:
            known = ", ".join(dense) or "there is none"
            raise InputError(f"--circulant names {name!r}, which is no dense layer of a single pixel: {known}")
        _check(dense[name], size)
    sizes = {name: size for name, node in dense.items() if (size := _chosen(node, asked))}
    if not sizes:
        size = "" if asked.auto else f" {asked.every}"
        raise InputError(
            f"--circulant: no dense layer is made of circulant blocks{size}; `selvage prune --circulant` makes them"
        )
    nodes: list[Node] = []
    taken = {*graph.tensors, *(node.name for node in graph.nodes)}
    for node in graph.nodes:
        if isinstance(node, Matrix) and node.name in sizes:
            nodes += _turned(node, graph.tensors[node.inputs[0]], sizes[node.name], taken)
        else:
            nodes.append(node)
    made = [node.name for node in nodes]
    inside = {name: {own for own in made if own.startswith(f"{name}/")} for name in sizes}
    loops = tuple(
        replace(loop, nodes=loop.nodes.union(*(inside[name] for name in loop.nodes & inside.keys())))
        for loop in graph.loops
    )
    return replace(graph, nodes=tuple(nodes), loops=loops)


def _check(node: Matrix, size: int) -> None:
    """Raise `InputError` unless a layer is made of circulant blocks of a size."""
    channels, outputs = node.weights.shape
    if channels % size or outputs % size:
        raise InputError(
            f"node {node.name!r}: blocks of {size} do not divide its weights of {channels} x {outputs}, and must"
        )
    if not _has(node, size):
        raise InputError(f"node {node.name!r}: its weights are not made of circulant blocks of {size} x {size}")


def _has(node: Matrix, size: int) -> bool:
    """Return whether weights are such blocks, and the outputs of each block have one scale."""
    scales = node.weight_scale.reshape(-1, size) if len(node.weight_scale) % size == 0 else None
    even = scales is not None and bool((scales == scales[:, :1]).all())
    return even and blocks(node.weights, size) is not None


def _chosen(node: Matrix, asked: CirculantAsked) -> int:
    """Return the block size of a layer; 0: it stays as it is."""
    if node.name in asked.by_layer:
        return asked.by_layer[node.name]
    tried = range(LARGEST, SMALLEST - 1, -1) if asked.auto else [asked.every] if asked.every else []
    return next((size for size in tried if _has(node, size)), 0)


def _turned(node: Matrix, source: Tensor, size: int, taken: set[str]) -> list[Node]:
    """Return a dense layer as a convolution along the numbers of its blocks, between two changes of order."""
    own = blocks(node.weights, size)
    assert own is not None, "blocks were checked"
    rows, columns, _ = own.shape
    steps = np.arange(2 * size - 1)
    parted = replace(source, name=free_name(f"{node.name}/blocks", taken), shape=(rows, 1, len(steps)))
    before = Reorder(
        name=free_name(f"{node.name}/blocks", taken),
        inputs=(source.name,),
        output=parted,
        channels=np.arange(rows) * size,
        rows=np.zeros(1, np.int64),
        columns=(steps + 1) % size,
        fill=0,
    )
    layer = Layer(name=node.layer.name, op="conv", channels=rows, outputs=columns, width=len(steps), kernel=(1, size))
    made = replace(node.output, name=free_name(f"{node.output.name}/blocks", taken), shape=(columns, 1, size))
    # Tap t of a window meets number (b + t + 1) mod size of the input's block: what is turned by size - 1 - t.
    kernel = own[:, :, ::-1].transpose(1, 0, 2).reshape(layer.weight_shape)
    conv = replace(
        node,
        inputs=(parted.name,),
        output=made,
        layer=layer,
        weights=np.ascontiguousarray(kernel),
        bias=node.bias.reshape(columns, 1, size),
        weight_scale=node.weight_scale.reshape(columns, size)[:, 0],
    )
    place = np.arange(columns * size)
    behind = Reorder(
        name=free_name(f"{node.name}/outputs", taken),
        inputs=(made.name,),
        output=node.output,
        channels=place % size * columns + place // size,
        rows=np.zeros(1, np.int64),
        columns=np.zeros(1, np.int64),
        fill=0,
    )
    return [before, conv, behind]
