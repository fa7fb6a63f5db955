"""Classifiers whose blocks concatenate: ShuffleNet, SqueezeNet, DenseNet and Inception."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from examples.gallery.layers import classify, conv_norm


def shuffle(x: torch.Tensor, groups: int = 2) -> torch.Tensor:
    """Takes channels from the groups in turn."""
    n, channels, height, width = x.shape
    return x.view(n, groups, channels // groups, height, width).transpose(1, 2).reshape(n, channels, height, width)


class ShuffleUnit(nn.Module):
    """Half of the channels goes by and half through the branch; with stride 2 all go through both of two branches."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.down = stride == 2
        entry = inputs if self.down else half
        self.branch = nn.Sequential(
            conv_norm(entry, half),
            conv_norm(half, half, 3, stride, groups=half, activation=nn.Identity),
            conv_norm(half, half),
        )
        if self.down:
            self.side = nn.Sequential(
                conv_norm(inputs, inputs, 3, 2, groups=inputs, activation=nn.Identity), conv_norm(inputs, half)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.down:
            return shuffle(torch.cat([self.side(x), self.branch(x)], 1))
        kept, changed = x.chunk(2, 1)
        return shuffle(torch.cat([kept, self.branch(changed)], 1))


class ShuffleNetV2(nn.Module):
    """ShuffleNet v2 1.0x: units with channel split, concatenation and channel shuffle.

    Ma, Zhang, Zheng and Sun: ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, ECCV 2018.
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 116, 232, 464, 1024),
        units: Sequence[int] = (4, 8, 4),
        classes: int = 1000,
    ) -> None:
        super().__init__()
        stem, *stages, last = widths
        layers: list[nn.Module] = [conv_norm(3, stem, 3, 2), nn.MaxPool2d(3, 2, 1)]
        inputs = stem
        for width, count in zip(stages, units, strict=True):
            for unit in range(count):
                layers.append(ShuffleUnit(inputs, width, 1 if unit else 2))
                inputs = width
        self.layers = nn.Sequential(*layers, conv_norm(inputs, last), classify(last, classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class Fire(nn.Module):
    """A 1x1 convolution to few channels, from these a 1x1 and a 3x3 one side by side."""

    def __init__(self, inputs: int, few: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, few, 1)
        self.expand1 = nn.Conv2d(few, outputs // 2, 1)
        self.expand3 = nn.Conv2d(few, outputs // 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.squeeze(x))
        return torch.cat([functional.relu(self.expand1(x)), functional.relu(self.expand3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1: fire modules, max-pools that round up, scores as the mean of a 1x1 convolution.

    Rows are groups of fire modules, (few, outputs) each, a pool before each group. Iandola et al.: SqueezeNet:
    AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size, arXiv:1602.07360, 2016.
    """

    ROWS = (
        ((16, 128), (16, 128)),
        ((32, 256), (32, 256)),
        ((48, 384), (48, 384), (64, 512), (64, 512)),
    )

    def __init__(self, rows: Sequence[Sequence[tuple[int, int]]] = ROWS, stem: int = 64, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, stem, 3, 2), nn.ReLU()]
        inputs = stem
        for row in rows:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            for few, outputs in row:
                layers.append(Fire(inputs, few, outputs))
                inputs = outputs
        score = nn.Conv2d(inputs, classes, 1)
        self.layers = nn.Sequential(*layers, nn.Dropout(0.5), score, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


def norm_conv(inputs: int, outputs: int, kernel: int = 1) -> nn.Sequential:
    """Normalisation and ReLU before the convolution."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), conv)


class DenseLayer(nn.Module):
    """Appends ``growth`` channels to what comes in, by a 1x1 and a 3x3 convolution."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(norm_conv(inputs, 4 * growth), norm_conv(4 * growth, growth, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.layers(x)], 1)


class DenseNet(nn.Module):
    """DenseNet-121: dense blocks with normalisation before the convolutions, which average pools part.

    Huang, Liu, van der Maaten and Weinberger: Densely Connected Convolutional Networks, CVPR 2017.
    """

    def __init__(
        self, blocks: Sequence[int] = (6, 12, 24, 16), growth: int = 32, stem: int = 64, classes: int = 1000
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(3, stem, 7, 2), nn.MaxPool2d(3, 2, 1)]
        channels = stem
        for block, count in enumerate(blocks):
            if block:
                layers += [norm_conv(channels, channels // 2), nn.AvgPool2d(2)]
                channels //= 2
            for _ in range(count):
                layers.append(DenseLayer(channels, growth))
                channels += growth
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), classify(channels, classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class InceptionBlock(nn.Module):
    """Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and two of 3x3; a pool of 3x3 and 1x1.

    ``widths``: the 1x1, the 3x3 and what leads to it, the double 3x3 and what leads to it, the pool's. Without a
    1x1 the block halves the sides, and its pool is a maximum that nothing follows; else the pool is a mean.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        one, lead3, three, lead33, double, pooled = widths
        stride = 1 if one else 2
        branches = [
            nn.Sequential(conv_norm(inputs, lead3), conv_norm(lead3, three, 3, stride)),
            nn.Sequential(
                conv_norm(inputs, lead33), conv_norm(lead33, double, 3), conv_norm(double, double, 3, stride)
            ),
        ]
        if one:
            branches.insert(0, conv_norm(inputs, one))
            branches.append(nn.Sequential(nn.AvgPool2d(3, 1, 1), conv_norm(inputs, pooled)))
        else:
            branches.append(nn.Sequential(nn.MaxPool2d(3, 2, 1)))
        self.branches = nn.ModuleList(branches)
        self.channels = one + three + double + (pooled if one else inputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Inception(nn.Module):
    """The stem of BN-Inception and its blocks 3a, 3b and 3c, of which the last halves the sides; then the classes.

    Ioffe and Szegedy: Batch Normalization: Accelerating Deep Network Training, ICML 2015, after Szegedy et al.:
    Going Deeper with Convolutions, CVPR 2015.
    """

    ROWS = ((64, 64, 64, 64, 96, 32), (64, 64, 96, 64, 96, 64), (0, 128, 160, 64, 96, 0))

    def __init__(
        self, rows: Sequence[Sequence[int]] = ROWS, stem: tuple[int, int] = (64, 192), classes: int = 1000
    ) -> None:
        super().__init__()
        first, channels = stem
        layers: list[nn.Module] = [
            conv_norm(3, first, 7, 2),
            nn.MaxPool2d(3, 2, 1),
            conv_norm(first, first),
            conv_norm(first, channels, 3),
            nn.MaxPool2d(3, 2, 1),
        ]
        for row in rows:
            block = InceptionBlock(channels, row)
            layers.append(block)
            channels = block.channels
        self.layers = nn.Sequential(*layers, classify(channels, classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)
