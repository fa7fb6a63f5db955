"""A quantised network: maps of codes, and the operations that make one of others."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from selvage.base.errors import InputError
from selvage.base.layer import InputFormat, Layer

Integers = NDArray[np.int64]
Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Tensor:
    """Codes of one image, (C, H, W): real value = ``scale`` * (code - ``format.zero_point``).

    Sums that leave a network before they are requantised are codes too: of 32 bits, their scale
    (C,) one for each channel.
    """

    name: str
    shape: Shape
    scale: float | NDArray[np.float32]
    format: InputFormat
    steps: int = 1  # inside a loop: there are so many maps of it for each image

    @property
    def numbers(self) -> int:
        """Numbers of one map."""
        return self.shape[0] * self.shape[1] * self.shape[2]


@dataclass(frozen=True)
class Activation:
    """A function of a real value: times ``slope`` below 0, then no less than ``low`` and no more than ``high``.

    Several slopes are those of the channels.
    """

    slope: float | tuple[float, ...] = 1.0
    low: float = -float("inf")
    high: float = float("inf")

    @property
    def slopes(self) -> tuple[float, ...]:
        """The slope of all channels, or of each."""
        return self.slope if isinstance(self.slope, tuple) else (self.slope,)

    @property
    def by_channel(self) -> bool:
        """Whether each channel has its own slope."""
        return isinstance(self.slope, tuple)

    @property
    def bends(self) -> bool:
        """Whether some slope is not 1."""
        return any(slope != 1 for slope in self.slopes)

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"low = {self.low} is above high = {self.high}")


LINEAR = Activation()


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """One operation; ``name`` is the ONNX node's, ``inputs`` the tensors' names."""

    name: str
    inputs: tuple[str, ...]
    output: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Matrix(Node):
    """A layer on crossbars: sums, bias, ``activation``, requantisation; without the latter two when ``raw``.

    ``weights`` are of ``layer.weight_shape``, integers of any width, the zero point subtracted; ``bias`` (M,) in
    units of input scale * weight scale; ``weight_scale`` (M,), below 0 where a folded normalisation turns the sign, is
    taken as exact, whatever its type. ``zero_first``: halves as `Requantization` has them.
    A dense layer behind a map is a convolution whose kernel is the whole map, and one whose outputs
    become a map a transposed convolution of a 1x1 map: there bias and weight scales may be (M, OH, OW),
    one for each output of the dense layer.
    """

    layer: Layer
    weights: Integers
    bias: Integers
    weight_scale: NDArray[np.floating]
    activation: Activation = LINEAR
    raw: bool = False
    zero_first: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Node):
    """The largest or the mean of each window.

    ``pads`` (top, left, bottom, right) take no part in a maximum and are zeros in a mean. ``counts``: the rows of each
    row of windows, and the columns of each column, that a mean divides by, where they are not all of the window's.
    ``zero_first``: halves of a mean, which alone has an ``activation``, as `Requantization` has them.
    """

    kind: Literal["max", "average"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    counts: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    activation: Activation = LINEAR
    zero_first: bool = False

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns that a window spans."""
        rows, columns = ((own - 1) * step + 1 for own, step in zip(self.kernel, self.dilation, strict=True))
        return rows, columns

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Pixels of a window, from the map's pixel where it would begin without pads."""
        return [
            (row * self.dilation[0] - self.pads[0], column * self.dilation[1] - self.pads[1])
            for row in range(self.kernel[0])
            for column in range(self.kernel[1])
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(Node):
    """A code for each code: any function of one value. ``entries[code - smallest code]``."""

    function: str  # ONNX's operators, for reports
    entries: Integers


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Node):
    """The sum of maps of one shape, their real values times ``coefficients`` added before the activation.

    All coefficients are 1 where none are given; others make differences and means. ``zero_first``: halves as
    `Requantization` has them.
    """

    activation: Activation = LINEAR
    zero_first: bool = False
    coefficients: tuple[Fraction, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Multiply(Node):
    """The product of two maps of one shape, of their real values, before the activation.

    ``zero_first``: halves as `Requantization` has them.
    """

    activation: Activation = LINEAR
    zero_first: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Node):
    """Channels of several maps one after the other, each requantised."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Resize(Node):
    """Each pixel ``factor`` times in each direction (nearest)."""

    factor: tuple[int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Node):
    """The numbers of a map, counted as its words flow, as a map (C, H, W): number ``(y * W + x) * C + c`` is (c, y, x).

    So nothing has to be moved.
    """


@dataclass(frozen=True, eq=False, kw_only=True)
class Reorder(Node):
    """Codes of a map in another order, or several times: transpositions, slices, crops, pads, shuffles, repetition.

    Code (c, y, x) is number ``channels[c] + rows[y] + columns[x]`` of the map read, counted as its words flow: number
    ``(y * W + x) * C + c`` is its code (c, y, x). Where one of the three is -1, it is ``fill``.
    """

    channels: Integers
    rows: Integers
    columns: Integers
    fill: int

    @property
    def numbers(self) -> Integers:
        """The number of each code of the output, (C, H, W); -1 where it is ``fill``."""
        axes = np.ix_(self.channels, self.rows, self.columns)
        return np.where(np.minimum.reduce(np.broadcast_arrays(*axes)) < 0, -1, sum(axes))


@dataclass(frozen=True, eq=False, kw_only=True)
class Steps(Node):
    """The columns of a map (C, 1, T), one step of a loop after the other: T maps (C, 1, 1). Nothing is moved."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Sequence(Node):
    """What the steps of a loop made, (C, 1, 1) each, as the columns of a map (C, 1, T). Nothing is moved."""


@dataclass(frozen=True, eq=False, kw_only=True)
class State(Node):
    """What a loop remembers: codes ``initial`` (C,) in its first step, then those of the input in the step before.

    The input is made behind it; no other node reads what is not there yet.
    """

    initial: Integers
    steps: int


@dataclass(frozen=True)
class Loop:
    """Nodes, by name, that run once for each of ``steps``: what depends on a `State`."""

    name: str
    steps: int
    nodes: frozenset[str]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which they can run; ``outputs`` name tensors that leave."""

    name: str
    inputs: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    loops: tuple[Loop, ...] = ()

    def __post_init__(self) -> None:
        known = {tensor.name for tensor in self.inputs}
        for node in self.nodes:
            for name in () if isinstance(node, State) else node.inputs:
                if name not in known:
                    raise InputError(f"node {node.name!r} reads {name!r}, which nothing before it makes")
            if node.output.name in known:
                raise InputError(f"node {node.name!r} makes {node.output.name!r}, which is there already")
            known.add(node.output.name)
        for name in self.outputs:
            if name not in known:
                raise InputError(f"output {name!r} is made by no node")

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All by name."""
        return {tensor.name: tensor for tensor in (*self.inputs, *(node.output for node in self.nodes))}

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """The nodes on crossbars."""
        return tuple(node for node in self.nodes if isinstance(node, Matrix))

    def readers(self, name: str) -> list[Node]:
        """Return the nodes that read a tensor, one twice where it does so twice."""
        return [node for node in self.nodes for source in node.inputs if source == name]

    def only(self, node: Node) -> Self:
        """Return a network of this one node; of one in a loop, each step is an image of its own."""
        tensors = self.tensors
        inputs = tuple(replace(tensors[name], steps=1) for name in dict.fromkeys(node.inputs))
        alone = replace(node, output=replace(node.output, steps=1))
        return replace(self, name=node.name, inputs=inputs, nodes=(alone,), outputs=(node.output.name,), loops=())
