"""The benchmark layers of RED (Fan et al., DATE 2019), by their networks' public descriptions."""

from selvage.base.layer import Layer


def _layer(name: str, side: int, channels: int, outputs: int, kernel: int, stride: int, pad: int, more: int) -> Layer:
    return Layer(
        name=name,
        op="conv_transpose",
        channels=channels,
        outputs=outputs,
        height=side,
        width=side,
        kernel=(kernel, kernel),
        stride=(stride, stride),
        pads=(pad, pad, pad, pad),
        output_padding=(more, more),
    )


RED_LAYERS = {
    layer.name: layer
    for layer in (
        _layer("GAN_Deconv1", 8, 512, 256, 5, 2, 2, 1),  # DCGAN, LSUN
        _layer("GAN_Deconv2", 4, 512, 256, 5, 2, 2, 1),  # Improved GAN, CIFAR-10
        _layer("GAN_Deconv3", 4, 512, 256, 4, 2, 1, 0),  # SNGAN, CIFAR-10
        _layer("GAN_Deconv4", 6, 512, 256, 4, 2, 1, 0),  # SNGAN, STL-10
        _layer("FCN_Deconv1", 16, 21, 21, 4, 2, 0, 0),  # voc-fcn8s, 2x
        _layer("FCN_Deconv2", 70, 21, 21, 16, 8, 0, 0),  # voc-fcn8s, 8x
    )
}


def part(name: str, channels: int, outputs: int) -> Layer:
    """The layer at its published spatial size with fewer channels."""
    return RED_LAYERS[name].model_copy(update={"channels": channels, "outputs": outputs})
