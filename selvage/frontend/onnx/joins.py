"""Pending results of maps without weights: sums, products, means, maps joined."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from selvage.base.graph import LINEAR, Activation, Add, Concat, Multiply, Node, Pool, Tensor
from selvage.frontend.onnx.values import Fresh, Pending, composed


@dataclass(frozen=True, eq=False)
class Plus(Pending):
    """The sum of maps, each times its coefficient where there are some."""

    sources: tuple[Tensor, ...]
    activation: Activation = LINEAR
    coefficients: tuple[Fraction, ...] = ()

    def nodes(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make an `Add`."""
        own: dict[str, Any] = {"inputs": tuple(tensor.name for tensor in self.sources), "output": to}
        own |= {"activation": self.activation, "zero_first": self.zero_first(to, self.activation)}
        return [Add(name=self.name, coefficients=self.coefficients, **own)]

    @property
    def read(self) -> tuple[Tensor, ...]:
        """All maps."""
        return self.sources

    def activated(self, activation: Activation) -> "Plus | None":
        """Return the sum with both activations, where they are one without a slope."""
        both = composed(self.activation, activation)
        return None if both is None or both.bends else replace(self, activation=both)


@dataclass(frozen=True, eq=False)
class Product(Pending):
    """The product of two maps."""

    sources: tuple[Tensor, Tensor]
    activation: Activation = LINEAR

    def nodes(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make a `Multiply`."""
        inputs = tuple(tensor.name for tensor in self.sources)
        first = self.zero_first(to, self.activation)
        return [Multiply(name=self.name, inputs=inputs, output=to, activation=self.activation, zero_first=first)]

    @property
    def read(self) -> tuple[Tensor, ...]:
        """Both maps."""
        return self.sources

    def activated(self, activation: Activation) -> "Product | None":
        """Return the product with both activations, where they are one."""
        both = composed(self.activation, activation)
        return None if both is None else replace(self, activation=both)


@dataclass(frozen=True, eq=False)
class Mean(Pending):
    """The mean of each window of a map."""

    source: Tensor
    window: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int] = (1, 1)
    counts: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    activation: Activation = LINEAR

    def nodes(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make a `Pool` of means."""
        given: dict[str, Any] = {"kernel": self.window, "stride": self.stride, "pads": self.pads}
        given |= {"dilation": self.dilation, "counts": self.counts}
        given |= {"activation": self.activation, "zero_first": self.zero_first(to, self.activation)}
        return [Pool(name=self.name, inputs=(self.source.name,), output=to, kind="average", **given)]

    @property
    def read(self) -> tuple[Tensor, ...]:
        """The one map."""
        return (self.source,)

    def activated(self, activation: Activation) -> "Mean | None":
        """Return the mean with both activations, where they are one."""
        both = composed(self.activation, activation)
        return None if both is None else replace(self, activation=both)


@dataclass(frozen=True, eq=False)
class Joined(Pending):
    """The channels of several maps, one map after the other."""

    sources: tuple[Tensor, ...]

    def nodes(self, to: Tensor, fresh: Fresh) -> list[Node]:
        """Make a `Concat`."""
        return [Concat(name=self.name, inputs=tuple(tensor.name for tensor in self.sources), output=to)]
