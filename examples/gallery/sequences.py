"""Networks of sequences: causal convolutions, recurrent layers, attention, and keywords in sound."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from examples.gallery.layers import conv_norm


class CausalPair(nn.Module):
    """Two dilated convolutions, padded on both sides and cut behind, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.cut = (kernel - 1) * dilation
        self.conv1 = nn.Conv1d(inputs, outputs, kernel, padding=self.cut, dilation=dilation)
        self.conv2 = nn.Conv1d(outputs, outputs, kernel, padding=self.cut, dilation=dilation)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.conv1(x)[:, :, : -self.cut])
        y = functional.relu(self.conv2(y)[:, :, : -self.cut])
        return functional.relu(y + self.shortcut(x))


class TCN(nn.Module):
    """The temporal convolutional network for pixels in a row: levels of dilations 1, 2, 4 ..., the last step's class.

    Weight normalisation is in the weights. Bai, Kolter and Koltun: An Empirical Evaluation of Generic Convolutional
    and Recurrent Networks for Sequence Modeling, arXiv:1803.01271, 2018.
    """

    def __init__(self, inputs: int = 1, width: int = 25, levels: int = 8, kernel: int = 7, classes: int = 10) -> None:
        super().__init__()
        pairs = (CausalPair(width if level else inputs, width, kernel, 2**level) for level in range(levels))
        self.layers = nn.Sequential(*pairs)
        self.score = nn.Linear(width, classes)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        return self.score(self.layers(sequence)[:, :, -1])


class GatedLayer(nn.Module):
    """tanh times sigmoid of a dilated causal convolution, to the residual way and to the skip."""

    def __init__(self, width: int, inner: int, skip: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.signal = nn.Conv1d(width, inner, 2, dilation=dilation)
        self.gate = nn.Conv1d(width, inner, 2, dilation=dilation)
        self.residual = nn.Conv1d(inner, width, 1)
        self.skip = nn.Conv1d(inner, skip, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        padded = functional.pad(x, (self.dilation, 0))
        y = torch.tanh(self.signal(padded)) * torch.sigmoid(self.gate(padded))
        return x + self.residual(y), self.skip(y)


class WaveNet(nn.Module):
    """WaveNet's gated layers of dilations 1, 2, 4 ... 512, thrice, the sum of their skips, and scores of 256 levels.

    Van den Oord et al.: WaveNet: A Generative Model for Raw Audio, arXiv:1609.03499, 2016, which does not tell the
    widths; they are those of https://github.com/ibab/tensorflow-wavenet. A waveform of numbers comes in, not of one-hot
    levels.
    """

    def __init__(
        self, width: int = 32, inner: int = 32, skip: int = 512, powers: int = 10, rounds: int = 3, levels: int = 256
    ) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, width, 2)
        dilations = [2**power for power in range(powers)] * rounds
        self.layers = nn.ModuleList(GatedLayer(width, inner, skip, dilation) for dilation in dilations)
        self.last = nn.Sequential(nn.ReLU(), nn.Conv1d(skip, skip, 1), nn.ReLU(), nn.Conv1d(skip, levels, 1))

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        x = self.first(functional.pad(wave, (1, 0)))
        skips = []
        for layer in self.layers:
            x, skip = layer(x)
            skips.append(skip)
        total = skips[0]
        for skip in skips[1:]:
            total = total + skip
        return self.last(total)


class CRNN(nn.Module):
    """Reads a line of text: convolutions to one line of columns, two bidirectional LSTMs, scores of each column.

    ``widths`` of the seven convolutions. Shi, Bai and Yao: An End-to-End Trainable Neural Network for Image-based
    Sequence Recognition, TPAMI 39(11), 2017.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 256, 512, 512, 512),
        hidden: int = 256,
        layers: int = 2,
        classes: int = 37,
    ) -> None:
        super().__init__()
        a, b, c, d, e, f, g = widths
        self.convs = nn.Sequential(
            *(nn.Conv2d(1, a, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c, d, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, (2, 1), (0, 1))),
            *conv_norm(d, e, 3),
            *(*conv_norm(e, f, 3), nn.MaxPool2d(2, (2, 1), (0, 1))),
            *(nn.Conv2d(f, g, 2), nn.ReLU()),
        )
        self.recurrent = nn.LSTM(g, hidden, layers, bidirectional=True)
        self.score = nn.Linear(2 * hidden, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        columns = self.convs(image).squeeze(2).permute(2, 0, 1)
        return self.score(self.recurrent(columns)[0])


class LSTMClassifier(nn.Module):
    """Two LSTM layers over the readings of sensors, and from the last step a score of each activity.

    Hochreiter and Schmidhuber: Long Short-Term Memory, Neural Computation 9(8), 1997; the sizes are those of the
    recurrent layers of DeepConvLSTM: Ordóñez and Roggen, Sensors 16(1), 2016.
    """

    def __init__(self, inputs: int = 113, hidden: int = 128, layers: int = 2, classes: int = 18) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(inputs, hidden, layers, batch_first=True)
        self.score = nn.Linear(hidden, classes)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        return self.score(self.recurrent(steps)[0][:, -1])


class GRUDenoiser(nn.Module):
    """RNNoise: three GRUs estimate voice, noise and then the gain of each band of the spectrum, 0 .. 1.

    ``widths``: of the dense layer and the first GRU, of the second, of the third. Valin: A Hybrid DSP/Deep Learning
    Approach to Real-Time Full-Band Speech Enhancement, MMSP 2018. A whole sequence is read at once; the second
    output, whether there is voice, is left out.
    """

    def __init__(self, features: int = 42, widths: tuple[int, int, int] = (24, 48, 96), bands: int = 22) -> None:
        super().__init__()
        voice, noise, denoise = widths
        self.dense = nn.Linear(features, voice)
        self.voice = nn.GRU(voice, voice, batch_first=True)
        self.noise = nn.GRU(2 * voice + features, noise, batch_first=True)
        self.denoise = nn.GRU(voice + noise + features, denoise, batch_first=True)
        self.gain = nn.Linear(denoise, bands)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        dense = torch.tanh(self.dense(steps))
        voice = self.voice(dense)[0]
        noise = self.noise(torch.cat([dense, voice, steps], 2))[0]
        denoised = self.denoise(torch.cat([voice, noise, steps], 2))[0]
        return torch.sigmoid(self.gain(denoised))


class DSCNN(nn.Module):
    """DS-CNN for keywords: a convolution over 49 steps of 10 coefficients, depthwise and pointwise ones, the mean.

    Zhang, Suda, Lai and Chandra: Hello Edge: Keyword Spotting on Microcontrollers, arXiv:1711.07128, 2017; the
    small one of its sizes.
    """

    def __init__(self, width: int = 64, blocks: int = 4, classes: int = 12) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(1, width, (10, 4), 2, (5, 1), bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        pairs = (
            nn.Sequential(conv_norm(width, width, 3, groups=width), conv_norm(width, width)) for _ in range(blocks)
        )
        self.blocks = nn.Sequential(*pairs)
        self.score = nn.Linear(width, classes)

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.first(coefficients))
        return self.score(functional.avg_pool2d(x, x.shape[2:]).flatten(1))


class Transformer(nn.Module):
    """One encoder block of ViT-Base: LayerNorm, attention, LayerNorm, two dense layers with GELU, both added.

    Vaswani et al.: Attention Is All You Need, NeurIPS 2017; normalisation first as in Dosovitskiy et al.: An Image
    is Worth 16x16 Words, ICLR 2021.
    """

    def __init__(self, width: int = 768, heads: int = 12, wide: int = 3072) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.project = (nn.Linear(width, width) for _ in range(4))
        self.dense = nn.Sequential(nn.Linear(width, wide), nn.GELU(), nn.Linear(wide, width))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        """Means of the tokens' values, weighted by how their keys agree with a token's query, for each head."""
        n, tokens, width = x.shape
        query, key, value = (
            layer(x).view(n, tokens, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = functional.softmax(query @ key.transpose(2, 3) / (width // self.heads) ** 0.5, -1)
        return self.project((weights @ value).transpose(1, 2).reshape(n, tokens, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = tokens + self.attend(self.norm1(tokens))
        return x + self.dense(self.norm2(x))
