"""The benchmark layers of RED (Fan et al., DATE 2019), by their networks' public descriptions."""

from selvage.base.layer import Layer
from selvage.base.shapes import load_network

RED_LAYERS = {layer.name: layer for layer in load_network("red")}


def part(name: str, channels: int, outputs: int) -> Layer:
    """The layer at its published spatial size with fewer channels."""
    return RED_LAYERS[name].model_copy(update={"channels": channels, "outputs": outputs})
