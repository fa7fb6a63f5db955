"""Geometry of one layer, and the number format of its activations."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST = 2**31 - 1
"""The largest side, count or pad that means anything; products of them stay numbers that can be told."""
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
NotNegative = Annotated[int, Field(ge=0, le=LARGEST)]
Pair = tuple[Positive, Positive]


class Layer(BaseModel):
    """A convolution, a transposed convolution or a dense layer on NCHW maps, without its weights.

    ``pads`` are ONNX's, in the order top, left, bottom, right: rows and columns of zeros around the
    input of a convolution, cropped from the output of a transposed one. A dense layer is a 1x1
    convolution of a 1x1 map.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "layer"
    op: Literal["conv", "conv_transpose", "dense"]
    channels: Positive = Field(description="C, of the input")
    outputs: Positive = Field(description="M, channels of the output")
    height: Positive = 1
    width: Positive = 1
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pads: tuple[NotNegative, NotNegative, NotNegative, NotNegative] = (0, 0, 0, 0)
    output_padding: tuple[NotNegative, NotNegative] = (0, 0)
    dilation: Pair = (1, 1)
    groups: Positive = 1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for key, count in (("channels", self.channels), ("outputs", self.outputs)):
            if count % self.groups:
                raise ValueError(f"{key} = {count} is not a multiple of groups = {self.groups}")
        if self.op != "conv_transpose" and any(self.output_padding):
            raise ValueError(f"output_padding = {self.output_padding} is for op = 'conv_transpose' only")
        maps = (self.height, self.width, *self.kernel, *self.stride, *self.dilation, self.groups)
        if self.op == "dense" and (maps != (1,) * 9 or any(self.pads)):
            raise ValueError("a dense layer has no map: height, width, kernel, stride, dilation, groups 1, no pads")
        for axis, name in enumerate(("output_padding[0]", "output_padding[1]")):
            bound = max(self.stride[axis], self.dilation[axis])
            if self.output_padding[axis] >= bound:
                raise ValueError(
                    f"{name} = {self.output_padding[axis]} must be below the stride or the dilation, {bound}"
                )
        if min(self.output_size) < 1:
            raise ValueError(f"the output would be {self.output_size[0]} x {self.output_size[1]}")
        return self

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns that the dilated kernel spans."""
        (height, width), (down, across) = self.kernel, self.dilation
        return (height - 1) * down + 1, (width - 1) * across + 1

    @property
    def output_size(self) -> tuple[int, int]:
        """OH, OW."""
        size = []
        for axis, side in enumerate((self.height, self.width)):
            pads = self.pads[axis] + self.pads[axis + 2]
            stride, extent = self.stride[axis], self.extent[axis]
            if self.op == "conv_transpose":
                size.append((side - 1) * stride + extent - pads + self.output_padding[axis])
            else:
                size.append((side + pads - extent) // stride + 1 if side + pads >= extent else 0)
        return size[0], size[1]

    @property
    def spare(self) -> tuple[int, int]:
        """Rows and columns of a convolution's padded map behind its last window."""
        found = []
        for axis, (side, out) in enumerate(zip((self.height, self.width), self.output_size, strict=True)):
            padded = side + self.pads[axis] + self.pads[axis + 2]
            found.append(padded - self.extent[axis] - (out - 1) * self.stride[axis])
        return found[0], found[1]

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of ONNX's weight tensor: M, C/g, KH, KW; C, M/g, KH, KW transposed; C, M dense."""
        if self.op == "dense":
            return self.channels, self.outputs
        if self.op == "conv_transpose":
            return self.channels, self.outputs // self.groups, *self.kernel
        return self.outputs, self.channels // self.groups, *self.kernel


@dataclass(frozen=True, kw_only=True)
class InputFormat:
    """Activations as they enter, and the codes they become once the zero point is subtracted."""

    raw_bits: int
    raw_signed: bool
    zero_point: int = 0

    def __post_init__(self) -> None:
        low, high = self.raw_range
        if not low <= self.zero_point <= high:
            raise ValueError(f"zero point {self.zero_point} is outside {low} .. {high}")

    @property
    def raw_range(self) -> tuple[int, int]:
        """Smallest and largest raw value."""
        if self.raw_signed:
            return -(2 ** (self.raw_bits - 1)), 2 ** (self.raw_bits - 1) - 1
        return 0, 2**self.raw_bits - 1

    @property
    def signed(self) -> bool:
        """Whether codes are two's complement: the top bit plane then subtracts."""
        return self.raw_range[0] < self.zero_point

    @property
    def bits(self) -> int:
        """Bits of a code."""
        low, high = (bound - self.zero_point for bound in self.raw_range)
        return max(high.bit_length(), (-low - 1).bit_length()) + 1 if self.signed else high.bit_length()
