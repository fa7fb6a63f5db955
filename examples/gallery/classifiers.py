"""Classifiers whose blocks add: ResNet and the mobile networks of inverted residuals."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from examples.gallery.layers import InvertedResidual, classify, conv_norm


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, by a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv_norm(inputs, outputs, 3, stride)
        self.conv2 = conv_norm(outputs, outputs, 3, activation=nn.Identity)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride, activation=nn.Identity)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class ResNet(nn.Module):
    """ResNet-18: a 7x7 stem, a max-pool, and stages of basic blocks.

    He, Zhang, Ren and Sun: Deep Residual Learning for Image Recognition, CVPR 2016.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512), blocks: int = 2, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(3, widths[0], 7, 2), nn.MaxPool2d(3, 2, 1)]
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(BasicBlock(inputs, width, 2 if stage and not block else 1))
                inputs = width
        self.layers = nn.Sequential(*layers, classify(inputs, classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class MobileNetV2(nn.Module):
    """Inverted residuals with linear bottlenecks and ReLU6; rows are expansion, channels, blocks and stride.

    Sandler, Howard, Zhu, Zhmoginov and Chen: MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.
    """

    ROWS = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(
        self, rows: Sequence[Sequence[int]] = ROWS, stem: int = 32, last: int = 1280, classes: int = 1000
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(3, stem, 3, 2, activation=nn.ReLU6)]
        inputs = stem
        for expansion, width, blocks, stride in rows:
            for block in range(blocks):
                layers.append(InvertedResidual(inputs, inputs * expansion, width, 3, 1 if block else stride))
                inputs = width
        layers.append(conv_norm(inputs, last, activation=nn.ReLU6))
        self.layers = nn.Sequential(*layers, classify(last, classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0: B0's 3x3 and 5x5 inverted residuals with ReLU6 for Swish and without squeeze-and-excite.

    Rows are kernel, expansion, channels, blocks and stride. Tan and Le: EfficientNet: Rethinking Model Scaling for
    Convolutional Neural Networks, ICML 2019; the lite variant: Liu, TensorFlow blog, March 2020.
    """

    ROWS = (
        (3, 1, 16, 1, 1),
        (3, 6, 24, 2, 2),
        (5, 6, 40, 2, 2),
        (3, 6, 80, 3, 2),
        (5, 6, 112, 3, 1),
        (5, 6, 192, 4, 2),
        (3, 6, 320, 1, 1),
    )

    def __init__(
        self, rows: Sequence[Sequence[int]] = ROWS, stem: int = 32, last: int = 1280, classes: int = 1000
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(3, stem, 3, 2, activation=nn.ReLU6)]
        inputs = stem
        for kernel, expansion, width, blocks, stride in rows:
            for block in range(blocks):
                layers.append(InvertedResidual(inputs, inputs * expansion, width, kernel, 1 if block else stride))
                inputs = width
        layers.append(conv_norm(inputs, last, activation=nn.ReLU6))
        self.layers = nn.Sequential(*layers, classify(last, classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class MobileNetV3(nn.Module):
    """MobileNetV3-Large: inverted residuals with squeeze-and-excite (Hardsigmoid) and Hardswish.

    Rows are kernel, middle channels, channels, inner channels of the squeeze-and-excite or 0, whether Hardswish
    (or ReLU), and stride. Howard et al.: Searching for MobileNetV3, ICCV 2019.
    """

    ROWS = (
        (3, 16, 16, 0, 0, 1),
        (3, 64, 24, 0, 0, 2),
        (3, 72, 24, 0, 0, 1),
        (5, 72, 40, 24, 0, 2),
        (5, 120, 40, 32, 0, 1),
        (5, 120, 40, 32, 0, 1),
        (3, 240, 80, 0, 1, 2),
        (3, 200, 80, 0, 1, 1),
        (3, 184, 80, 0, 1, 1),
        (3, 184, 80, 0, 1, 1),
        (3, 480, 112, 120, 1, 1),
        (3, 672, 112, 168, 1, 1),
        (5, 672, 160, 168, 1, 2),
        (5, 960, 160, 240, 1, 1),
        (5, 960, 160, 240, 1, 1),
    )

    def __init__(
        self,
        rows: Sequence[Sequence[int]] = ROWS,
        stem: int = 16,
        last: tuple[int, int] = (960, 1280),
        classes: int = 1000,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(3, stem, 3, 2, activation=nn.Hardswish)]
        inputs = stem
        for kernel, wide, width, inner, hard, stride in rows:
            activation = nn.Hardswish if hard else nn.ReLU
            layers.append(InvertedResidual(inputs, wide, width, kernel, stride, inner=inner, activation=activation))
            inputs = width
        layers += [conv_norm(inputs, last[0], activation=nn.Hardswish), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.layers = nn.Sequential(
            *layers, nn.Linear(*last), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(last[1], classes)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)
