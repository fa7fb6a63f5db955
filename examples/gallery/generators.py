"""Networks that make images: GANs and autoencoders."""

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class DCGAN(nn.Module):
    """DCGAN's generator: a dense layer to a map of 4x4, and transposed convolutions of 5x5 that double the sides.

    Radford, Metz and Chintala: Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks, ICLR 2016.
    """

    def __init__(self, noise: int = 100, widths: Sequence[int] = (1024, 512, 256, 128)) -> None:
        super().__init__()
        self.width = widths[0]
        self.dense = nn.Linear(noise, 16 * self.width)
        layers: list[nn.Module] = [nn.BatchNorm2d(self.width), nn.ReLU()]
        for inputs, outputs in itertools.pairwise(widths):
            enlarge = nn.ConvTranspose2d(inputs, outputs, 5, 2, 2, output_padding=1, bias=False)
            layers += [enlarge, nn.BatchNorm2d(outputs), nn.ReLU()]
        last = nn.ConvTranspose2d(widths[-1], 3, 5, 2, 2, output_padding=1)
        self.layers = nn.Sequential(*layers, last, nn.Tanh())

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return self.layers(self.dense(noise).view(-1, self.width, 4, 4))


class GrowingBlock(nn.Module):
    """A residual block that doubles the sides, normalisation and ReLU before the convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.interpolate(functional.relu(self.norm1(x)), scale_factor=2.0)
        y = self.conv2(functional.relu(self.norm2(self.conv1(y))))
        return y + self.shortcut(functional.interpolate(x, scale_factor=2.0))


class SNGANGenerator(nn.Module):
    """SNGAN's residual generator of 32x32 images: three blocks that double the sides.

    Miyato, Kataoka, Koyama and Yoshida: Spectral Normalization for Generative Adversarial Networks, ICLR 2018.
    """

    def __init__(self, noise: int = 128, width: int = 256, blocks: int = 3) -> None:
        super().__init__()
        self.width = width
        self.dense = nn.Linear(noise, 16 * width)
        self.layers = nn.Sequential(
            *(GrowingBlock(width, width) for _ in range(blocks)),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 3, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return self.layers(self.dense(noise).view(-1, self.width, 4, 4))


class JudgingBlock(nn.Module):
    """A residual block of two 3x3 convolutions behind ReLU; ``halve`` halves the sides, ``first`` is the image's."""

    def __init__(self, inputs: int, outputs: int, *, halve: bool, first: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if halve else nn.Identity()
        self.halve, self.first = halve, first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(functional.relu(self.conv1(x if self.first else functional.relu(x))))
        if not self.halve:
            return x + y
        if self.first:
            return functional.avg_pool2d(y, 2) + self.shortcut(functional.avg_pool2d(x, 2))
        return functional.avg_pool2d(y, 2) + functional.avg_pool2d(self.shortcut(x), 2)


class SNGANDiscriminator(nn.Module):
    """SNGAN's residual discriminator of 32x32 images: a score; spectral norms are in the weights.

    Miyato, Kataoka, Koyama and Yoshida: Spectral Normalization for Generative Adversarial Networks, ICLR 2018.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            JudgingBlock(3, width, halve=True, first=True),
            JudgingBlock(width, width, halve=True),
            JudgingBlock(width, width, halve=False),
            JudgingBlock(width, width, halve=False),
        )
        self.score = nn.Linear(width, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.score(functional.relu(self.blocks(image)).sum((2, 3)))


class Pix2Pix(nn.Module):
    """Pix2Pix's U-Net generator: 4x4 convolutions of stride 2 to one pixel and back, maps of the way concatenated.

    Normalisation is by running statistics, and dropout is off, where the published one keeps both as in training.
    Isola, Zhu, Zhou and Efros: Image-to-Image Translation with Conditional Adversarial Networks, CVPR 2017.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512, 512, 512, 512, 512)) -> None:
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        inputs = 3
        for level, width in enumerate(widths):
            entry = [nn.LeakyReLU(0.2)] if level else []
            inside = 0 < level < len(widths) - 1
            conv = nn.Conv2d(inputs, width, 4, 2, 1, bias=not inside)
            self.down.append(nn.Sequential(*entry, conv, *([nn.BatchNorm2d(width)] if inside else [])))
            inputs = width
        for level in range(len(widths) - 1, 0, -1):
            outputs = widths[level - 1]
            conv = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
            dropout = [nn.Dropout(0.5)] if len(widths) - 4 <= level < len(widths) - 1 else []
            self.up.append(nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(outputs), *dropout))
            inputs = 2 * outputs
        self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(inputs, 3, 4, 2, 1), nn.Tanh())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = [image]
        for conv in self.down:
            maps.append(conv(maps[-1]))
        x = maps.pop()
        for conv in self.up:
            x = torch.cat([conv(x), maps.pop()], 1)
        return self.last(x)


class Autoencoder(nn.Module):
    """A convolutional autoencoder of 32x32 images: convolutions with max-pools, a dense code, and the way back.

    Masci, Meier, Cireşan and Schmidhuber: Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction,
    ICANN 2011, with its numbers of maps for CIFAR-10; kernels are 3x3, and transposed convolutions enlarge.
    """

    def __init__(self, widths: Sequence[int] = (100, 150, 200), code: int = 300, side: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2)]
        small = side >> len(widths)
        values = widths[-1] * small**2
        layers += [nn.Flatten(), nn.Linear(values, code), nn.Tanh(), nn.Linear(code, values), nn.Tanh()]
        layers.append(nn.Unflatten(1, (widths[-1], small, small)))
        back = (*widths[::-1], 3)
        for inputs, outputs in itertools.pairwise(back):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class VAE(nn.Module):
    """A variational autoencoder without its chance: the mean is the code; the network of beta-VAE.

    Kingma and Welling: Auto-Encoding Variational Bayes, ICLR 2014; layers: Burgess et al.: Understanding
    disentangling in beta-VAE, arXiv:1804.03599, 2018. The logarithms of the variances are not computed.
    """

    def __init__(self, width: int = 32, convs: int = 4, dense: int = 256, code: int = 10, side: int = 64) -> None:
        super().__init__()
        small = side >> convs
        values = width * small**2
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = [nn.Linear(code, dense), nn.ReLU(), nn.Linear(dense, dense), nn.ReLU()]
        decoder += [nn.Linear(dense, values), nn.ReLU(), nn.Unflatten(1, (width, small, small))]
        for conv in range(convs):
            encoder += [nn.Conv2d(width if conv else 1, width, 4, 2, 1), nn.ReLU()]
            last = conv == convs - 1
            enlarge = nn.ConvTranspose2d(width, 1 if last else width, 4, 2, 1)
            decoder += [enlarge, nn.Sigmoid() if last else nn.ReLU()]
        encoder += [nn.Flatten(), nn.Linear(values, dense), nn.ReLU(), nn.Linear(dense, dense), nn.ReLU()]
        self.encoder = nn.Sequential(*encoder)
        self.mean = nn.Linear(dense, code)
        self.decoder = nn.Sequential(*decoder)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.mean(self.encoder(image)))
