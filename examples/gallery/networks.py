"""The networks of the gallery by name, each in two sizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from examples.gallery import classifiers, concatenating, dense_outputs, detectors, generators, sequences


@dataclass(frozen=True)
class Size:
    """Sides of the input without the batch, and the arguments of the network where they are not the published ones."""

    shape: tuple[int, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network, its two sizes and the names of its outputs."""

    make: Callable[..., nn.Module]
    small: Size
    full: Size
    outputs: tuple[str, ...] = ("output",)

    def size(self, name: str) -> Size:
        """The size ``small`` or ``full``."""
        return self.small if name == "small" else self.full


def small(*shape: int, **arguments: Any) -> Size:
    """A reduced size."""
    return Size(shape, arguments)


def full(*shape: int) -> Size:
    """The published size."""
    return Size(shape)


MOBILE_V2 = ((1, 8, 1, 1), (4, 8, 2, 2), (4, 12, 2, 2), (4, 16, 1, 1))
LITE = ((3, 1, 8, 1, 1), (5, 4, 8, 2, 2), (3, 4, 12, 2, 2), (5, 4, 16, 1, 1))
MOBILE_V3 = ((3, 8, 8, 4, 0, 2), (3, 24, 8, 0, 0, 1), (5, 32, 12, 8, 1, 2), (5, 48, 12, 12, 1, 1))
FIRE = (((4, 16), (4, 16)), ((6, 24), (8, 32)))
INCEPTION = ((6, 6, 8, 4, 6, 4), (6, 6, 8, 4, 6, 4), (0, 8, 12, 6, 8, 0))
TEXT = (
    ((3, 8, 8, 0, 0, 1),),
    ((5, 16, 8, 1, 0, 2), (3, 24, 8, 1, 0, 1)),
    ((3, 24, 12, 0, 1, 2), (3, 36, 12, 1, 1, 1)),
    ((5, 36, 16, 1, 1, 2),),
)
CRNN = (4, 8, 12, 12, 16, 16, 16)

NETWORKS = {
    "resnet": Network(
        make=classifiers.ResNet,
        small=small(3, 32, 32, widths=(8, 16, 24), blocks=1, classes=10),
        full=full(3, 224, 224),
    ),
    "mobilenet_v2": Network(
        make=classifiers.MobileNetV2,
        small=small(3, 32, 32, rows=MOBILE_V2, stem=8, last=32, classes=10),
        full=full(3, 224, 224),
    ),
    "mobilenet_v3": Network(
        make=classifiers.MobileNetV3,
        small=small(3, 32, 32, rows=MOBILE_V3, stem=8, last=(32, 32), classes=10),
        full=full(3, 224, 224),
    ),
    "efficientnet_lite": Network(
        make=classifiers.EfficientNetLite,
        small=small(3, 32, 32, rows=LITE, stem=8, last=32, classes=10),
        full=full(3, 224, 224),
    ),
    "shufflenet_v2": Network(
        make=concatenating.ShuffleNetV2,
        small=small(3, 64, 64, widths=(8, 16, 32, 48), units=(2, 2), classes=10),
        full=full(3, 224, 224),
    ),
    "squeezenet": Network(
        make=concatenating.SqueezeNet, small=small(3, 32, 32, rows=FIRE, stem=8, classes=10), full=full(3, 224, 224)
    ),
    "densenet": Network(
        make=concatenating.DenseNet,
        small=small(3, 32, 32, blocks=(2, 3), growth=6, stem=8, classes=10),
        full=full(3, 224, 224),
    ),
    "inception": Network(
        make=concatenating.Inception,
        small=small(3, 32, 32, rows=INCEPTION, stem=(6, 12), classes=10),
        full=full(3, 224, 224),
    ),
    "yolov5": Network(
        make=detectors.YOLOv5,
        small=small(3, 64, 64, widths=(4, 6, 8, 12, 16), blocks=(1, 1, 1, 1), anchors=2, classes=3),
        full=full(3, 640, 640),
        outputs=("fine", "middle", "coarse"),
    ),
    "yolov8": Network(
        make=detectors.YOLOv8,
        small=small(3, 64, 64, widths=(4, 6, 8, 12, 16), blocks=(1, 1, 1, 1), inner=(8, 8), bins=4, classes=3),
        full=full(3, 640, 640),
    ),
    "pnet": Network(
        make=detectors.PNet,
        small=small(3, 33, 33, widths=(8, 12, 16)),
        full=full(3, 145, 193),  # an image of 480 x 640 in the pyramid, where faces have 40 pixels
        outputs=("face", "box"),
    ),
    "text_detector": Network(
        make=detectors.TextDetector,
        small=small(3, 64, 64, stages=TEXT, stem=8, last=24, neck=16),
        full=full(3, 640, 640),
    ),
    "unet": Network(make=dense_outputs.UNet, small=small(1, 32, 32, widths=(6, 12, 20)), full=full(1, 512, 512)),
    "fcn": Network(
        make=dense_outputs.FCN,
        small=small(3, 32, 32, widths=(6, 8, 12, 16, 16), convs=(1, 1, 1, 2, 1), dense=24, kernel=3, classes=4),
        full=full(3, 224, 224),
    ),
    "deeplab": Network(
        make=dense_outputs.DeepLab,
        small=small(3, 36, 36, inputs=3, stem=(8, 16), width=10, rates=(2, 4, 6), scale=4, classes=5),
        full=full(2048, 33, 33),
    ),
    "fsrcnn": Network(
        make=dense_outputs.FSRCNN, small=small(1, 32, 32, wide=16, narrow=6, depth=2, scale=2), full=full(1, 85, 85)
    ),
    "espcn": Network(
        make=dense_outputs.ESPCN, small=small(1, 32, 32, widths=(16, 12), scale=2), full=full(1, 360, 640)
    ),
    "dcgan": Network(make=generators.DCGAN, small=small(16, noise=16, widths=(20, 12, 8)), full=full(100)),
    "sngan_generator": Network(make=generators.SNGANGenerator, small=small(16, noise=16, width=12), full=full(128)),
    "sngan_discriminator": Network(
        make=generators.SNGANDiscriminator, small=small(3, 32, 32, width=12), full=full(3, 32, 32)
    ),
    "pix2pix": Network(
        make=generators.Pix2Pix, small=small(3, 32, 32, widths=(6, 10, 14, 16, 16)), full=full(3, 256, 256)
    ),
    "autoencoder": Network(
        make=generators.Autoencoder, small=small(3, 32, 32, widths=(8, 12, 12), code=24), full=full(3, 32, 32)
    ),
    "vae": Network(
        make=generators.VAE, small=small(1, 32, 32, width=8, convs=3, dense=32, code=6, side=32), full=full(1, 64, 64)
    ),
    "tcn": Network(make=sequences.TCN, small=small(2, 16, inputs=2, width=12, levels=3, kernel=3), full=full(1, 784)),
    "wavenet": Network(
        make=sequences.WaveNet,
        small=small(1, 16, width=8, inner=8, skip=12, powers=3, rounds=2, levels=16),
        full=full(1, 4096),
    ),
    "crnn": Network(
        make=sequences.CRNN,
        small=small(1, 32, 32, widths=CRNN, hidden=16, layers=1, classes=11),
        full=full(1, 32, 100),
    ),
    "lstm": Network(
        make=sequences.LSTMClassifier, small=small(12, 8, inputs=8, hidden=16, classes=6), full=full(24, 113)
    ),
    "gru_denoiser": Network(
        make=sequences.GRUDenoiser, small=small(12, 12, features=12, widths=(8, 12, 16), bands=8), full=full(100, 42)
    ),
    "ds_cnn": Network(make=sequences.DSCNN, small=small(1, 49, 10, width=16, blocks=3), full=full(1, 49, 10)),
    "transformer": Network(
        make=sequences.Transformer, small=small(16, 16, width=16, heads=2, wide=32), full=full(197, 768)
    ),
}
