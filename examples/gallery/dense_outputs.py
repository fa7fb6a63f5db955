"""Networks that make images of images: segmentation and super-resolution."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from examples.gallery.layers import conv_norm


class UNet(nn.Module):
    """U-Net: pairs of convolutions, pooled and enlarged again; what the way down made is concatenated.

    Ronneberger, Fischer and Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015.
    As in most of today's copies, convolutions are padded and normalised, so that nothing is cropped.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512, 1024), inputs: int = 1, classes: int = 2) -> None:
        super().__init__()
        self.down = nn.ModuleList(self.pair(a, b) for a, b in zip((inputs, *widths), widths, strict=False))
        back = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in back)
        self.up = nn.ModuleList(self.pair(2 * b, b) for _, b in back)
        self.score = nn.Conv2d(widths[0], classes, 1)

    @staticmethod
    def pair(inputs: int, outputs: int) -> nn.Sequential:
        """Two convolutions."""
        return nn.Sequential(conv_norm(inputs, outputs, 3), conv_norm(outputs, outputs, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = [self.down[0](image)]
        for pair in self.down[1:]:
            maps.append(pair(functional.max_pool2d(maps[-1], 2)))
        x = maps.pop()
        for enlarge, pair in zip(self.enlarge, self.up, strict=True):
            x = pair(torch.cat([maps.pop(), enlarge(x)], 1))
        return self.score(x)


class FCN(nn.Module):
    """FCN-8s on VGG-16: scores of three scales, enlarged by transposed convolutions and added.

    ``widths`` and ``convs`` of the five stages, and ``dense`` of the two layers that were VGG's dense ones. Long,
    Shelhamer and Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015. The 7x7 convolution
    is padded, where the published network pads the image by 100 pixels and crops.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        convs: Sequence[int] = (2, 2, 3, 3, 3),
        dense: int = 4096,
        kernel: int = 7,
        classes: int = 21,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        inputs = 3
        for width, count in zip(widths, convs, strict=True):
            stage = nn.Sequential()
            for _ in range(count):
                stage.extend([nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()])
                inputs = width
            self.stages.append(stage.append(nn.MaxPool2d(2)))
        self.dense = nn.Sequential(
            nn.Conv2d(inputs, dense, kernel, padding=kernel // 2),
            nn.ReLU(),
            nn.Dropout(),
            nn.Conv2d(dense, dense, 1),
            nn.ReLU(),
            nn.Dropout(),
        )
        self.scores = nn.ModuleList(nn.Conv2d(c, classes, 1) for c in (widths[2], widths[3], dense))
        self.twice = nn.ConvTranspose2d(classes, classes, 4, 2, 1, bias=False)
        self.again = nn.ConvTranspose2d(classes, classes, 4, 2, 1, bias=False)
        self.whole = nn.ConvTranspose2d(classes, classes, 16, 8, 4, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = [image]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        x = self.twice(self.scores[2](self.dense(maps[5]))) + self.scores[1](maps[4])
        return self.whole(self.again(x) + self.scores[0](maps[3]))


class DeepLab(nn.Module):
    """The head of DeepLabv3: dilated 3x3 convolutions, a 1x1 and the pooled image side by side, then the classes.

    Input are the backbone's 2048 maps at a 16th of the image, or with ``stem`` an image, from which convolutions of
    these channels make the maps. Scores are enlarged ``scale`` times, bilinearly. Chen, Papandreou, Schroff and
    Adam: Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv:1706.05587, 2017.
    """

    def __init__(
        self,
        inputs: int = 2048,
        stem: Sequence[int] = (),
        width: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        scale: int = 16,
        classes: int = 21,
    ) -> None:
        super().__init__()
        widths = (inputs, *stem)
        self.stem = nn.Sequential(*(conv_norm(a, b, 3, 2) for a, b in zip(widths, stem, strict=False)))
        inputs = widths[-1]
        self.branches = nn.ModuleList(
            [conv_norm(inputs, width), *(conv_norm(inputs, width, 3, dilation=rate) for rate in rates)]
        )
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_norm(inputs, width))
        self.join = nn.Sequential(conv_norm((2 + len(rates)) * width, width), nn.Dropout(0.1))
        self.score = nn.Conv2d(width, classes, 1)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        pooled = functional.interpolate(self.pooled(x), size=x.shape[2:], mode="bilinear", align_corners=False)
        x = self.score(self.join(torch.cat([*(branch(x) for branch in self.branches), pooled], 1)))
        return functional.interpolate(x, scale_factor=float(self.scale), mode="bilinear", align_corners=False)


class FSRCNN(nn.Module):
    """FSRCNN(56, 12, 4) as published: PReLU with a slope a channel, and a transposed convolution of 9x9 at the end.

    Dong, Loy and Tang: Accelerating the Super-Resolution Convolutional Neural Network, ECCV 2016.
    """

    def __init__(self, wide: int = 56, narrow: int = 12, depth: int = 4, scale: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, wide, 5, padding=2), nn.PReLU(wide)]
        layers += [nn.Conv2d(wide, narrow, 1), nn.PReLU(narrow)]
        for _ in range(depth):
            layers += [nn.Conv2d(narrow, narrow, 3, padding=1), nn.PReLU(narrow)]
        layers += [nn.Conv2d(narrow, wide, 1), nn.PReLU(wide)]
        enlarge = nn.ConvTranspose2d(wide, 1, 9, scale, padding=4, output_padding=scale - 1)
        self.layers = nn.Sequential(*layers, enlarge)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class ESPCN(nn.Module):
    """ESPCN: three convolutions on the small image, whose last channels become pixels of the large one.

    Shi et al.: Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
    Network, CVPR 2016.
    """

    def __init__(self, widths: tuple[int, int] = (64, 32), scale: int = 3) -> None:
        super().__init__()
        first, second = widths
        self.layers = nn.Sequential(
            nn.Conv2d(1, first, 5, padding=2),
            nn.Tanh(),
            nn.Conv2d(first, second, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(second, scale**2, 3, padding=1),
            nn.PixelShuffle(scale),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)
