"""The stages of a quantised network: what each kind of node is made of."""

from collections.abc import Mapping
from dataclasses import replace
from functools import singledispatch

from selvage.base.errors import InputError
from selvage.base.graph import (
    Add,
    Concat,
    Graph,
    Matrix,
    Multiply,
    Node,
    Pool,
    Reorder,
    Reshape,
    Resize,
    Sequence,
    State,
    Steps,
    Table,
    Tensor,
)
from selvage.base.text import free_name
from selvage.golden.graph import matrix_requantization, mean_requantization, moved, product_requantization, sum_factors
from selvage.golden.requantize import all_codes
from selvage.mapping.placement import Placement
from selvage.mapping.stages import (
    AddStage,
    ConcatStage,
    LayerStage,
    MultiplyStage,
    NetworkPlan,
    PoolStage,
    ReorderStage,
    ReshapeStage,
    ResizeStage,
    Stage,
    StateStage,
    TableStage,
)

Placements = Mapping[str, Placement]  # by node


def plan_network(graph: Graph, placements: Placements) -> NetworkPlan:
    """Return the stages of ``graph``, its layers placed as ``placements`` say by node name.

    `InputError`: a factor of a requantisation is beyond what the output stage holds.
    """
    tensors, stages = graph.tensors, []
    taken = {*tensors, *(node.name for node in graph.nodes)}
    for node in graph.nodes:
        try:
            stages += stages_of(node, [tensors[name] for name in node.inputs], placements, taken)
        except InputError as error:
            raise InputError(f"node {node.name!r}: {error}") from None
    return NetworkPlan(graph.name, graph.inputs, tuple(stages), tuple(tensors[name] for name in graph.outputs))


@singledispatch
def stages_of(node: Node, sources: list[Tensor], placements: Placements, taken: set[str]) -> list[Stage]:
    """Return the stages of a node; names of parts are added to the names that are ``taken``.

    Each kind of node is registered (`functools.singledispatch`). TypeError: nobody knows this kind.
    """
    raise TypeError(f"node {node.name!r} is of no known kind")


@stages_of.register
def _(node: Matrix, sources: list[Tensor], placements: Placements, taken: set[str]) -> list[Stage]:
    how = None if node.raw else matrix_requantization(node, sources[0])
    return [LayerStage(node.name, tuple(sources), node.output, placements[node.name], how)]


@stages_of.register
def _(node: Pool, sources: list[Tensor], placements: Placements, taken: set[str]) -> list[Stage]:
    how = mean_requantization(node, sources[0]) if node.kind == "average" else None
    return [PoolStage(node.name, tuple(sources), node.output, node, how)]


@stages_of.register
def _(node: Table, sources: list[Tensor], placements: Placements, taken: set[str]) -> list[Stage]:
    return [TableStage(node.name, tuple(sources), node.output, tuple(node.entries.tolist()))]


@stages_of.register
def _(node: Add, sources: list[Tensor], placements: Placements, taken: set[str]) -> list[Stage]:
    return [AddStage(node.name, tuple(sources), node.output, *sum_factors(node, sources))]


@stages_of.register
def _(node: Multiply, sources: list[Tensor], placements: Placements, taken: set[str]) -> list[Stage]:
    return [MultiplyStage(node.name, tuple(sources), node.output, product_requantization(node, sources))]


@stages_of.register
def _(node: Concat, sources: list[Tensor], placements: Placements, taken: set[str]) -> list[Stage]:
    tables = [_table(node, k, source, taken) for k, source in enumerate(sources)]
    before = [stage for stage in tables if isinstance(stage, Stage)]
    sources = [stage.output if isinstance(stage, Stage) else stage for stage in tables]
    return [*before, ConcatStage(node.name, tuple(sources), node.output)]


@stages_of.register
def _(node: Resize, sources: list[Tensor], placements: Placements, taken: set[str]) -> list[Stage]:
    return [ResizeStage(node.name, tuple(sources), node.output, node.factor)]


@stages_of.register
def _(node: Reorder, sources: list[Tensor], placements: Placements, taken: set[str]) -> list[Stage]:
    return [ReorderStage(node.name, tuple(sources), node.output, node)]


@stages_of.register
def _(node: State, sources: list[Tensor], placements: Placements, taken: set[str]) -> list[Stage]:
    return [StateStage(node.name, tuple(sources), node.output, tuple(node.initial.tolist()), node.steps)]


@stages_of.register(Steps)
@stages_of.register(Sequence)
@stages_of.register(Reshape)
def _(node: Node, sources: list[Tensor], placements: Placements, taken: set[str]) -> list[Stage]:
    return [ReshapeStage(node.name, tuple(sources), node.output)]


def _table(node: Concat, k: int, source: Tensor, taken: set[str]) -> Stage | Tensor:
    """Return a source of a concatenation in the format of its output: through a table where scales differ."""
    codes = all_codes(source.format)
    entries = moved(codes[None, :], source, node.output)[0]
    if (entries == codes).all():
        return source
    tensor, name = (free_name(f"{stem}.{k}", taken) for stem in (node.output.name, node.name))
    to = replace(node.output, name=tensor, shape=source.shape)
    return TableStage(name, (source,), to, tuple(entries.tolist()), part_of=node.name)
