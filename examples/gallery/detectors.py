"""Detectors: YOLO with its raw heads, a detector of text, and the first network of MTCNN."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from examples.gallery.layers import InvertedResidual, conv_norm


def silu(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation and SiLU."""
    return conv_norm(inputs, outputs, kernel, stride, activation=nn.SiLU)


class Bottleneck(nn.Module):
    """Two convolutions, with a shortcut if asked."""

    def __init__(self, channels: int, first: int, shortcut: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(silu(channels, channels, first), silu(channels, channels, 3))
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


class C3(nn.Module):
    """YOLOv5's cross-stage block: two 1x1 convolutions side by side, bottlenecks behind one of them."""

    def __init__(self, inputs: int, outputs: int, blocks: int = 1, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.main = nn.Sequential(silu(inputs, half), *(Bottleneck(half, 1, shortcut) for _ in range(blocks)))
        self.side = silu(inputs, half)
        self.join = silu(2 * half, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.join(torch.cat([self.main(x), self.side(x)], 1))


class C2f(nn.Module):
    """YOLOv8's cross-stage block: a split, and every bottleneck's result is concatenated."""

    def __init__(self, inputs: int, outputs: int, blocks: int = 1, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.half = half
        self.enter = silu(inputs, outputs)
        self.blocks = nn.ModuleList(Bottleneck(half, 3, shortcut) for _ in range(blocks))
        self.join = silu((2 + blocks) * half, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.enter(x).split(self.half, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.join(torch.cat(parts, 1))


class SPPF(nn.Module):
    """Max-pools of 5x5 one behind the other, all concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = silu(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = silu(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.join(torch.cat(parts, 1))


class Focus(nn.Module):
    """Every second pixel of every second line, four times, as channels, and a convolution."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = silu(12, outputs, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        return self.conv(torch.cat(parts, 1))


class Pyramid(nn.Module):
    """Backbone and neck of YOLO: an image to maps of 3 scales, of ``widths[2:]`` channels.

    The neck enlarges from the coarsest to the finest and comes back, concatenating what has the same sides. If
    ``narrow``, 1x1 convolutions first give a map the channels of the next finer one.
    """

    def __init__(
        self,
        block: type[C3] | type[C2f],
        stem: nn.Module,
        widths: Sequence[int],
        blocks: Sequence[int],
        *,
        narrow: bool = False,
    ) -> None:
        super().__init__()
        stages = [
            nn.Sequential(silu(inputs, outputs, 3, 2), block(outputs, outputs, count))
            for inputs, outputs, count in zip(widths, widths[1:], blocks, strict=False)
        ]
        a, b, c = widths[2:]
        self.fine = nn.Sequential(stem, *stages[:2])
        self.middle, self.coarse = stages[2], stages[3].append(SPPF(c))
        few_c, few_b = (b, a) if narrow else (c, b)
        self.narrow_coarse = silu(c, b) if narrow else nn.Identity()
        self.narrow_middle = silu(b, a) if narrow else nn.Identity()
        self.up_middle = block(few_c + b, b, blocks[0], False)
        self.up_fine = block(few_b + a, a, blocks[0], False)
        self.down_fine, self.down_middle = silu(a, a, 3, 2), silu(b, b, 3, 2)
        self.out_middle = block(a + few_b, b, blocks[0], False)
        self.out_coarse = block(b + few_c, c, blocks[0], False)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine = self.fine(image)
        middle = self.middle(fine)
        coarse = self.narrow_coarse(self.coarse(middle))
        middle = self.up_middle(torch.cat([functional.interpolate(coarse, scale_factor=2.0), middle], 1))
        middle = self.narrow_middle(middle)
        fine = self.up_fine(torch.cat([functional.interpolate(middle, scale_factor=2.0), fine], 1))
        middle = self.out_middle(torch.cat([self.down_fine(fine), middle], 1))
        return fine, middle, self.out_coarse(torch.cat([self.down_middle(middle), coarse], 1))


class YOLOv5(nn.Module):
    """YOLOv5s with a Focus stem and C3 blocks; of 3 scales the raw head, N x anchors x H x W x values.

    Jocher: YOLOv5, release 5.0, doi:10.5281/zenodo.4679653; the pools at the backbone's end are release 6.0's.
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        blocks: Sequence[int] = (1, 3, 3, 1),
        anchors: int = 3,
        classes: int = 80,
    ) -> None:
        super().__init__()
        self.pyramid = Pyramid(C3, Focus(widths[0]), widths, blocks, narrow=True)
        self.values = 5 + classes
        self.heads = nn.ModuleList(nn.Conv2d(width, anchors * self.values, 1) for width in widths[2:])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scores = [head(x) for head, x in zip(self.heads, self.pyramid(image), strict=True)]
        return tuple(
            x.view(x.shape[0], -1, self.values, *x.shape[2:]).permute(0, 1, 3, 4, 2).contiguous() for x in scores
        )


class YOLOv8(nn.Module):
    """YOLOv8n: C2f blocks with a split, SPPF, decoupled heads without anchors; raw, N x (bins + classes) x places.

    Jocher, Chaurasia and Qiu: Ultralytics YOLOv8, 2023, https://github.com/ultralytics/ultralytics. The places are
    those of 3 scales in a row; what makes boxes of 4 x 16 bins is left out.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        blocks: Sequence[int] = (1, 2, 2, 1),
        inner: tuple[int, int] = (64, 80),
        bins: int = 16,
        classes: int = 80,
    ) -> None:
        super().__init__()
        self.pyramid = Pyramid(C2f, silu(3, widths[0], 3, 2), widths, blocks)
        self.boxes, self.classes = (
            nn.ModuleList(
                nn.Sequential(silu(width, middle, 3), silu(middle, middle, 3), nn.Conv2d(middle, values, 1))
                for width in widths[2:]
            )
            for middle, values in zip(inner, (4 * bins, classes), strict=True)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        heads = zip(self.boxes, self.classes, self.pyramid(image), strict=True)
        return torch.cat([torch.cat([box(x), score(x)], 1).flatten(2) for box, score, x in heads], 2)


class PNet(nn.Module):
    """MTCNN's proposal network, fully convolutional: chances of face or not, and corrections of the box, by place.

    PReLU has a slope a channel and the max-pool rounds up. Zhang, Zhang, Li and Qiao: Joint Face Detection and
    Alignment Using Multitask Cascaded Convolutional Networks, IEEE Signal Processing Letters 23(10), 2016.
    """

    def __init__(self, widths: tuple[int, int, int] = (10, 16, 32)) -> None:
        super().__init__()
        a, b, c = widths
        self.layers = nn.Sequential(
            nn.Conv2d(3, a, 3),
            nn.PReLU(a),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(a, b, 3),
            nn.PReLU(b),
            nn.Conv2d(b, c, 3),
            nn.PReLU(c),
        )
        self.face = nn.Conv2d(c, 2, 1)
        self.box = nn.Conv2d(c, 4, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.layers(image)
        return functional.softmax(self.face(x), 1), self.box(x)


class TextDetector(nn.Module):
    """PP-OCR's detector: MobileNetV3-Large of half width with squeeze-and-excite, a pyramid, the head of DB.

    Stages are rows of kernel, middle channels, channels, whether squeeze-and-excite, whether Hardswish, and stride;
    the end of each stage enters the pyramid. The result is the chance of text of each pixel. Du et al.: PP-OCR: A
    Practical Ultra Lightweight OCR System, arXiv:2009.09941, 2020; the head: Liao et al.: Real-time Scene Text
    Detection with Differentiable Binarization, AAAI 2020.
    """

    STAGES = (
        ((3, 8, 8, 0, 0, 1), (3, 32, 16, 0, 0, 2), (3, 40, 16, 0, 0, 1)),
        ((5, 40, 24, 1, 0, 2), (5, 64, 24, 1, 0, 1), (5, 64, 24, 1, 0, 1)),
        (
            (3, 120, 40, 0, 1, 2),
            (3, 104, 40, 0, 1, 1),
            (3, 96, 40, 0, 1, 1),
            (3, 96, 40, 0, 1, 1),
            (3, 240, 56, 1, 1, 1),
            (3, 336, 56, 1, 1, 1),
        ),
        ((5, 336, 80, 1, 1, 2), (5, 480, 80, 1, 1, 1), (5, 480, 80, 1, 1, 1)),
    )

    def __init__(
        self, stages: Sequence[Sequence[Sequence[int]]] = STAGES, stem: int = 8, last: int = 480, neck: int = 96
    ) -> None:
        super().__init__()
        self.stem = conv_norm(3, stem, 3, 2, activation=nn.Hardswish)
        self.stages = nn.ModuleList()
        inputs, widths = stem, []
        for rows in stages:
            stage = nn.Sequential()
            for kernel, wide, width, excite, hard, stride in rows:
                activation = nn.Hardswish if hard else nn.ReLU
                inner = wide // 4 if excite else 0
                stage.append(InvertedResidual(inputs, wide, width, kernel, stride, inner=inner, activation=activation))
                inputs = width
            self.stages.append(stage)
            widths.append(inputs)
        self.stages[-1].append(conv_norm(inputs, last, activation=nn.Hardswish))
        widths[-1] = last
        few = neck // 4
        self.lateral = nn.ModuleList(nn.Conv2d(width, neck, 1, bias=False) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(neck, few, 3, padding=1, bias=False) for _ in widths)
        self.head = nn.Sequential(
            conv_norm(len(widths) * few, few, 3),
            nn.ConvTranspose2d(few, few, 2, 2),
            nn.BatchNorm2d(few),
            nn.ReLU(),
            nn.ConvTranspose2d(few, 1, 2, 2),
            nn.Sigmoid(),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        maps = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            maps.append(lateral(x))
        for finer in range(len(maps) - 2, -1, -1):
            maps[finer] = maps[finer] + functional.interpolate(maps[finer + 1], scale_factor=2.0)
        parts = [
            functional.interpolate(conv(x), scale_factor=2.0**scale) if scale else conv(x)
            for scale, (conv, x) in enumerate(zip(self.smooth, maps, strict=True))
        ]
        return self.head(torch.cat(parts[::-1], 1))
