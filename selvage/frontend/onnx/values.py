"""What the names in an ONNX graph stand for while it is read.

A `Map` is there: codes of a tensor of the network. A pending value is a result that the model computes in real
numbers and that becomes codes at the QuantizeLinear behind it; only then its node can be made.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from selvage.base.errors import InputError
from selvage.base.graph import (
    LINEAR,
    Activation,
    Integers,
    Matrix,
    Node,
    Pool,
    Reshape,
    Resize,
    Table,
    Tensor,
)
from selvage.base.layer import Layer
from selvage.frontend.onnx.kernels import zero_point_first
from selvage.golden.requantize import all_codes, dequantise, nearest, quantise

if TYPE_CHECKING:
    from selvage.frontend.onnx.views import View

Shape3 = tuple[int, int, int]
Fresh = Callable[[str], str]
BIAS_ENDS = -(2**31), 2**31 - 1  # of ONNX's int32, both allowed
TOLD_STEPS = 1 / 16  # an output in sixteen may be a step off


@dataclass(frozen=True, eq=False)
class Constant:
    """Constant numbers of the model, as they are."""

    array: NDArray


@dataclass(frozen=True, eq=False)
class Weights:
    """Constant codes, zero point subtracted, and the scale of each, of one shape; ``kind``: their type."""

    codes: Integers
    scale: NDArray[np.float32]
    kind: np.dtype

    @property
    def exact(self) -> NDArray[np.float64]:
        """Real values, without rounding to float32."""
        return self.codes * self.scale.astype(np.float64)

    @property
    def array(self) -> NDArray[np.float32]:
        """Real values as the model computes them."""
        return (self.codes * self.scale).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Head:
    """What the host makes of the model's inputs, or they themselves."""


@dataclass(frozen=True, eq=False)
class Map:
    """Codes of a tensor, or what they are worth. ONNX sees it in any shape of the same order, or as ``view`` says.

    ``direct``: a DequantizeLinear of the model makes it (`frontend.onnx.kernels`).
    """

    tensor: Tensor
    real: bool
    direct: bool = False
    view: "View | None" = None


@dataclass(frozen=True, eq=False)
class Host:
    """A result that only the host can compute, and why."""

    node: NodeProto
    why: str


@dataclass(frozen=True, eq=False)
class Pending:
    """A result in real numbers, ``shape`` (C, H, W), of the node ``name``; ``start`` is ONNX's name of it.

    That is its name before any activation. ``kernel``: which of onnxruntime's kernels makes codes of it, where that
    matters for rounding (`frontend.onnx.kernels`).
    """

    origin: NodeProto
    name: str
    shape: Shape3
    start: str
    kernel: str = field(default="", kw_only=True)

    def nodes(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make the nodes of the codes of ``to``, in their order; tensors between them are named by ``fresh``."""
        raise NotImplementedError

    def activated(self, activation: Activation) -> "Pending | None":
        """Return the same with an activation behind; ``None``: there is no node for that."""
        return None

    def note(self, to: Tensor, layer: Matrix) -> str:
        """Return what the codes of ``to``, which ``layer`` makes, lose of the model's numbers, for the report."""
        return ""

    @property
    def read(self) -> tuple[Tensor, ...]:
        """The tensors that the ``kernel`` reads."""
        return ()

    def zero_first(self, to: Tensor, activation: Activation = LINEAR) -> bool:
        """Return whether the ``kernel`` adds the zero point of ``to`` before it rounds."""
        return zero_point_first(self.kernel, self.read, to, activation)


@dataclass(frozen=True, eq=False)
class Sums(Pending):
    """The sums of a layer on crossbars; ``bias`` (M,) in units of sums, not rounded yet."""

    source: Tensor
    layer: Layer
    weights: Integers
    bias: NDArray[np.float64]
    weight_scale: NDArray[np.floating]
    activation: Activation = LINEAR

    @property
    def unit(self) -> NDArray[np.float64]:
        """Real value of one unit of a sum, (M,)."""
        return np.float64(np.float32(self.source.scale)) * self.weight_scale.astype(np.float64)

    def matrix(self, to: Tensor, raw: bool = False) -> Matrix:
        """Make the node; a dense layer whose outputs become a map is a transposed convolution of a 1x1 map.

        `InputError`: the bias is beyond 32 bits.
        """
        given: dict[str, Any] = {"weights": self.weights, "weight_scale": self.weight_scale, "layer": self.layer}
        if not fits_bias(self.bias).all():
            worst = self.bias[~fits_bias(self.bias)][0]
            raise InputError(f"node {self.name!r}: its bias holds {worst:.12g} units of a sum, beyond 32 bits")
        bias = np.rint(self.bias).astype(np.int64)
        if self.layer.op == "dense" and self.shape != (self.layer.outputs, 1, 1):
            size = self.shape[1:]
            given = {
                "layer": Layer(
                    name=self.layer.name,
                    op="conv_transpose",
                    channels=self.layer.channels,
                    outputs=self.shape[0],
                    kernel=size,
                    stride=size,
                ),
                "weights": self.weights.reshape(-1, *self.shape),
                "weight_scale": one_a_channel(self.weight_scale.reshape(self.shape)),
            }
            bias = one_a_channel(bias.reshape(self.shape))
        activation = LINEAR if raw else self.activation
        return Matrix(
            name=self.name, inputs=(self.source.name,), output=to, bias=bias, activation=activation, raw=raw, **given
        )

    def nodes(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make the layer, and where its pixel becomes a map, a `Reshape`."""
        if self.layer.op == "conv" and self.shape[1:] != self.layer.output_size:
            return self.reshaped(to, fresh)
        return [self.matrix(to)]

    def note(self, to: Tensor, layer: Matrix) -> str:
        """Return what rounding the bias moves."""
        return told_bias(self.bias - np.rint(self.bias), self.unit, to)

    def reshaped(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make the nodes of a dense layer that reads a map and makes one.

        Its kernel is as large as the map read, and its outputs are the channels of one pixel, in the order in which the
        words of ``to`` flow.
        """
        one = replace(to, name=fresh(self.start), shape=(self.layer.outputs, 1, 1))
        order = np.arange(self.layer.outputs).reshape(self.shape).transpose(1, 2, 0).reshape(-1)
        sorted_ = {name: getattr(self, name)[order] for name in ("weights", "bias", "weight_scale")}
        matrix = replace(self, shape=one.shape, **sorted_).matrix(one)
        return [matrix, Reshape(name=self.name, inputs=(one.name,), output=to)]

    def activated(self, activation: Activation) -> "Sums | None":
        """Return the sums with both activations, where they are one."""
        both = composed(self.activation, activation)
        return None if both is None else replace(self, activation=both)

    def scaled(self, factor: NDArray[np.float64], shift: NDArray[np.float64]) -> "Sums":
        """Return ``factor`` (M,) times these sums and ``shift`` (M,) more."""
        scale = self.weight_scale.astype(np.float64) * factor
        unit = np.float32(self.source.scale).astype(np.float64) * scale
        fits = np.abs(unit) > 0
        with np.errstate(all="ignore"):
            bias = self.bias + shift / unit
            fits &= fits_bias(bias)
        if fits.all():
            return replace(self, weight_scale=scale, bias=bias)
        # A channel that is as good as constant: no weights, and a unit fine enough for its value.
        weights = kept_outputs(self.layer, self.weights, fits)
        value = shift + np.where(factor == 0, 0, self.bias * self.unit * factor)
        fine = np.abs(value) / 2**20 / np.float64(np.float32(self.source.scale))
        fine = np.where(value == 0, self.weight_scale, fine)
        scale = np.where(fits, scale, fine)
        unit = np.float32(self.source.scale).astype(np.float64) * scale
        return replace(self, weights=weights, weight_scale=scale, bias=np.where(fits, bias, value / unit))


@dataclass(frozen=True, eq=False)
class Function(Pending):
    """A function of one code: ``values`` for each code of ``source``, the smallest first.

    Where a ``kernel`` makes codes of them, it computes the ``exact`` ones, of its ``operands``.
    """

    source: Tensor
    operator: str
    values: NDArray[np.float32]
    exact: NDArray[np.float64] | None = None
    operands: tuple[Tensor, ...] = ()

    @property
    def read(self) -> tuple[Tensor, ...]:
        """The operands."""
        return self.operands

    def nodes(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make a `Table`."""
        entries = quantise(self.values, to)
        if self.exact is not None and self.zero_first(to):
            steps = self.exact / float(np.float32(to.scale))
            entries = np.clip(nearest(steps, to.format.zero_point, True), *to.format.raw_range).astype(np.int64)
        return [Table(name=self.name, inputs=(self.source.name,), output=to, function=self.operator, entries=entries)]


@dataclass(frozen=True, eq=False)
class Followed(Pending):
    """The greatest of windows, or an enlargement: codes can be made before it as well as behind it."""

    before: Pending
    geometry: dict[str, Any]

    def nodes(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make the nodes of the value before, and the one that moves its codes."""
        inner = replace(to, name=fresh(self.before.start), shape=self.before.shape)
        return [*self.before.nodes(inner, fresh), moving_node(self.name, inner, to, self.geometry)]

    def note(self, to: Tensor, layer: Matrix) -> str:
        """Return the note of the value before."""
        return self.before.note(to, layer)

    def activated(self, activation: Activation) -> "Followed | None":
        """Return the same with the activation at the value before, where its order stays."""
        before = self.before.activated(activation) if min(activation.slopes) >= 0 else None
        return None if before is None else replace(self, before=before)


def moving_node(name: str, source: Tensor, to: Tensor, geometry: dict[str, Any]) -> Node:
    """Make a `Pool` of maxima or a `Resize`, whichever the keys of ``geometry`` are of."""
    kind = Resize if "factor" in geometry else Pool
    return kind(name=name, inputs=(source.name,), output=to, **geometry)


def told_bias(lost: NDArray[np.float64], unit: NDArray[np.float64], to: Tensor) -> str:
    """Return a note on a bias that is rounded by ``lost`` units of a sum; nothing below `TOLD_STEPS` of an output."""
    steps = float((np.abs(lost * unit) / np.float64(to.scale)).max(initial=0))
    if steps < TOLD_STEPS:
        return ""
    return f"its bias is rounded to whole units of a sum, which moves outputs by up to {steps:.2g} steps"


def composed(first: Activation, then: Activation) -> Activation | None:
    """Return both one after the other as one activation; ``None``: they are none."""
    if then.bends:
        return then if first == LINEAR else None
    low = min(max(first.low, then.low), then.high)
    return Activation(first.slope, low, max(min(first.high, then.high), low))


def fits_bias(bias: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which values are within 32 bits once they are rounded; what is no number is not."""
    low, high = BIAS_ENDS
    rounded = np.rint(bias)
    return (rounded >= low) & (rounded <= high)


def kept_outputs(layer: Layer, weights: Integers, kept: NDArray[np.bool_]) -> Integers:
    """Return the weights, those of outputs that are not ``kept`` (M,) at 0."""
    if layer.op == "conv":
        return weights * kept[:, None, None, None]
    if layer.op == "dense":
        return weights * kept
    grouped = weights.reshape(layer.groups, -1, *weights.shape[1:]) * kept.reshape(layer.groups, 1, -1, 1, 1)
    return grouped.reshape(weights.shape)


def one_a_channel(values: NDArray) -> NDArray:
    """Return (C,) of (C, H, W) where the pixels of each channel are equal, else the values as they are."""
    return values[:, 0, 0].copy() if (values == values[:, :1, :1]).all() else values


def roots(value: Map | Function, tables: dict[str, Table]) -> list[str]:
    """Return the tensors that a value is a function of, the nearest first."""
    names = [value.tensor.name if isinstance(value, Map) else value.source.name]
    while names[-1] in tables:
        names.append(tables[names[-1]].inputs[0])
    return names


def values_of(value: Map | Function, root: Tensor, tables: dict[str, Table]) -> NDArray[np.float32]:
    """Return real values for each code of ``root``, one of the `roots`."""
    codes = codes_behind(value, root, tables)
    if isinstance(value, Map):
        return dequantise(codes, value.tensor)
    return value.values[codes - value.source.format.raw_range[0]]


def codes_behind(value: Map | Function, root: Tensor, tables: dict[str, Table]) -> Integers:
    """Return the codes of a map, or of a function's source, for each code of ``root``."""
    path = roots(value, tables)
    codes, numbers = all_codes(root.format), root.format
    for name in reversed(path[: path.index(root.name)]):
        codes = tables[name].entries[codes - numbers.raw_range[0]]
        numbers = tables[name].output.format
    return codes
