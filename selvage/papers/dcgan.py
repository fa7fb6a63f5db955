"""The four DCGANs of `papers.regan` as layers: generator and discriminator, without weights.

Radford, Metz and Chintala (arXiv 1511.06434): noise, a dense layer, transposed convolutions that double the map; the
discriminator halves it and ends in one logit. Kernels are 5 x 5 with a stride of 2 and a pad of 2, as in that paper's
code (github.com/Newmu/dcgan_code). ReGAN names the data sets, not the widths: each network has its own source here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from selvage.base.layer import Layer

KERNEL, STRIDE, PAD = (5, 5), (2, 2), (2, 2, 2, 2)
MORE = (1, 1)  # of a transposed convolution, so that it doubles the map exactly


@dataclass(frozen=True)
class Gan:
    """Two networks; ``source`` says where their shapes are from."""

    name: str
    source: str
    generator: tuple[Layer, ...]
    discriminator: tuple[Layer, ...]

    @property
    def weights(self) -> int:
        """Weights of both networks."""
        return sum(multiplications(layer) // windows(layer) for layer in (*self.generator, *self.discriminator))


def windows(layer: Layer) -> int:
    """Return how often each weight is used in a sample: by pixels of the smaller map, without inserted zeros."""
    height, width = layer.output_size if layer.op == "conv" else (layer.height, layer.width)
    return height * width


def multiplications(layer: Layer) -> int:
    """Multiplications of a sample forward, and the same of its data gradient or weight gradient; none by a zero."""
    return windows(layer) * layer.kernel[0] * layer.kernel[1] * layer.channels * layer.outputs


def with_zeros(layer: Layer) -> tuple[int, int, int]:
    """Multiplications forward, of the data gradient and of the weight gradient with the zeros inserted.

    A transposed convolution, and the data gradient of a convolution, are then convolutions at every pixel of the larger
    map; the stored map of a weight gradient is spread over the stride.
    """
    plain = multiplications(layer)
    if layer.op == "dense":
        return plain, plain, plain
    each = plain // windows(layer)
    small, large = (layer.height, layer.width), layer.output_size
    if layer.op == "conv":
        small, large = large, small
    full = large[0] * large[1] * each
    spread = ((small[0] - 1) * layer.stride[0] + 1) * ((small[1] - 1) * layer.stride[1] + 1) * each
    return (plain, full, spread) if layer.op == "conv" else (full, plain, spread)


def _dense(name: str, channels: int, outputs: int) -> Layer:
    return Layer(name=name, op="dense", channels=channels, outputs=outputs)


def _up(name: str, channels: int, outputs: int, side: int) -> Layer:
    """Return a transposed convolution from a map of ``side`` to one of twice that."""
    how = {"name": name, "op": "conv_transpose", "channels": channels, "outputs": outputs}
    return Layer(**how, height=side, width=side, kernel=KERNEL, stride=STRIDE, pads=PAD, output_padding=MORE)


def _down(name: str, channels: int, outputs: int, side: int) -> Layer:
    """Return a convolution from a map of ``side`` to one of half that."""
    how = {"name": name, "op": "conv", "channels": channels, "outputs": outputs, "height": side, "width": side}
    return Layer(**how, kernel=KERNEL, stride=STRIDE, pads=PAD)


def _usual(name: str, source: str, noise: int, channels: Sequence[int], side: int) -> Gan:
    """Return a generator from a map of ``side``, with these channels from first to last, and its mirror."""
    pairs = [(before, after, side * 2**k) for k, (before, after) in enumerate(pairwise(channels))]
    up = [_up(f"G{k}", *pair) for k, pair in enumerate(pairs, 2)]
    down = [_down(f"D{k}", after, before, 2 * at) for k, (before, after, at) in enumerate(reversed(pairs), 1)]
    flat = channels[0] * side * side
    return Gan(name, source, (_dense("G1", noise, flat), *up), (*down, _dense(f"D{len(down) + 1}", flat, 1)))


def networks() -> tuple[Gan, ...]:
    """Return the four, in ReGAN's order of data sets."""
    labels = 10  # are put beside the channels of every layer but the last of the discriminator's maps
    mnist = Gan(
        "MNIST",
        "github.com/Newmu/dcgan_code, mnist/train_cond_dcgan.py: 28 x 28, with labels",
        (
            _dense("G1", 100 + labels, 1024),
            _dense("G2", 1024 + labels, 128 * 7 * 7),
            _up("G3", 128 + labels, 64, 7),
            _up("G4", 64 + labels, 1, 14),
        ),
        (
            _down("D1", 1 + labels, 64, 28),
            _down("D2", 64 + labels, 128, 14),
            _dense("D3", 128 * 7 * 7 + labels, 1024),
            _dense("D4", 1024 + labels, 1),
        ),
    )
    improved = "generator of github.com/openai/improved-gan, train_cifar_feature_matching.py; discriminator its mirror"
    tensorflow = "github.com/carpedm20/DCGAN-tensorflow, model.py with 64 filters, its default for celebA"
    radford = "arXiv 1511.06434, figure 1; github.com/Newmu/dcgan_code with 128 filters"
    return (
        mnist,
        _usual("CIFAR-10", improved, 100, (512, 256, 128, 3), 4),
        _usual("CelebA", tensorflow, 100, (512, 256, 128, 64, 3), 4),
        _usual("LSUN", radford, 100, (1024, 512, 256, 128, 3), 4),
    )
