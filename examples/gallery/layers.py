"""Layers that several networks of the gallery share."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

Activation = Callable[[], nn.Module]


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
    activation: Activation = nn.ReLU,
) -> nn.Sequential:
    """A convolution that keeps the sides (or halves them), its normalisation and its activation."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
        activation(),
    )


def classify(channels: int, classes: int) -> nn.Sequential:
    """The mean of each channel, and from that a score of each class."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Excite(nn.Module):
    """Scales channels by what two dense layers make of their means (Hu, Shen and Sun, CVPR 2018), with Hardsigmoid."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.expand = nn.Conv2d(inner, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = functional.adaptive_avg_pool2d(x, 1)
        return x * functional.hardsigmoid(self.expand(functional.relu(self.reduce(means))))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and linear projection, with a shortcut where the shape is kept.

    ``wide``: channels in the middle; without an expansion where they are the inputs. ``inner``: channels of the
    squeeze-and-excite behind the depthwise convolution, 0 for none.
    """

    def __init__(
        self,
        inputs: int,
        wide: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        inner: int = 0,
        activation: Activation = nn.ReLU6,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if wide != inputs:
            layers += conv_norm(inputs, wide, activation=activation)
        layers += conv_norm(wide, wide, kernel, stride, groups=wide, activation=activation)
        if inner:
            layers.append(Excite(wide, inner))
        layers += conv_norm(wide, outputs, activation=nn.Identity)[:2]
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x)
        return x + y if self.shortcut else y
