"""ResNet-18, ResNet-50 and DenseNet-121 as quantised ONNX files: their layers with drawn weights, nothing trained.

ResNet-18 has the stem for CIFAR, a 3x3 convolution, and 32 x 32 pixels, the others 224 x 224.

QuantizeLinear and DequantizeLinear of 8 bits around each operator, weights with a scale for each channel, as
onnxruntime's quantiser writes them. Weights have the deviation that keeps that of the maps (He, ICCV 2015), so the
scales are known without a calibration: four deviations fill the range of a map.

Topologies are those of torchvision 0.20, `resnet18`, `resnet50` and `densenet121`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper

from bench.onnx_models import MICROSOFT, Build

SIDE, CLASSES = 224, 1000  # of ImageNet
CIFAR = 32, 10
RANGE = 4.0  # deviations from the middle of a map's range to its end
OPSET = 17


@dataclass(frozen=True)
class Map:
    """A tensor behind DequantizeLinear: ``power`` is the mean of its squares."""

    name: str
    channels: int
    power: float = 1.0


class Drawn(Build):
    """Grows node by node; every method returns what a DequantizeLinear yields."""

    def __init__(self, seed: int) -> None:
        super().__init__(OPSET)
        self.rng = np.random.default_rng(seed)

    def start(self, side: int = SIDE) -> Map:
        """The picture."""
        real = self.input("image", (1, 3, side, side))
        return Map(self.through(real, 2 * RANGE / 255, 128), 3)

    def after_relu(self, real: str, deviation: float, channels: int) -> Map:
        """ReLU of what has this ``deviation``: half of its power stays."""
        scale = RANGE * deviation / 255
        return Map(self.through(self.add("Relu", real), scale), channels, deviation**2 / 2)

    def signed(self, real: str, power: float, channels: int) -> Map:
        """Values of both signs."""
        return Map(self.through(real, 2 * RANGE * power**0.5 / 255, 128), channels, power)

    def layer(self, x: Map, outputs: int, kernel: int = 1, stride: int = 1, *, relu: bool = True) -> Map:
        """A convolution with its bias; without ReLU its deviation is that of ``x``."""
        rows = x.channels * kernel**2
        gain = (2 if relu else 1) ** 0.5
        drawn = self.rng.standard_normal((outputs, x.channels, kernel, kernel), np.float32)
        real = self._product("Conv", x, drawn, gain / rows**0.5, pads=[kernel // 2] * 4, strides=[stride] * 2)
        if relu:
            return self.after_relu(real, gain * x.power**0.5, outputs)
        return self.signed(real, x.power, outputs)

    def _product(self, operator: str, x: Map, drawn: np.ndarray, deviation: float, **attributes: list[int]) -> str:
        """Conv or Gemm by ``drawn`` weights (M, ...) of deviation 1, times ``deviation``."""
        largest = np.abs(drawn.reshape(len(drawn), -1)).max(axis=1)
        codes = np.rint(drawn * (127 / largest).reshape(-1, *(1,) * (drawn.ndim - 1))).astype(np.int8)
        scales = largest * np.float32(deviation / 127)
        bias = self.rng.integers(-100, 101, len(drawn)).astype(np.int32)
        unit = scales * np.float32(2 * RANGE * x.power**0.5 / 255)
        return self.add(operator, x.name, self.weights(codes, scales), self.weights(bias, unit), **attributes)

    def pooled(self, x: Map, operator: str, kernel: int, stride: int, pad: int = 0) -> Map:
        """MaxPool or AveragePool, to the scale of what it reads."""
        how = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        return Map(self.through(self.add(operator, x.name, **how), RANGE * (2 * x.power) ** 0.5 / 255), x.channels)

    def sum(self, x: Map, y: Map) -> Map:
        """Sum and ReLU."""
        deviation = (x.power + y.power) ** 0.5
        return self.after_relu(self.add("Add", x.name, y.name), deviation, x.channels)

    def joined(self, maps: list[Map]) -> Map:
        """Channels one map after the other."""
        power = max(own.power for own in maps)
        channels = sum(own.channels for own in maps)
        real = self.add("Concat", *(own.name for own in maps), axis=1)
        return self.signed(real, power, channels)

    def normalised(self, x: Map) -> Map:
        """BatchNormalization and ReLU."""
        parts = [np.ones(x.channels), *self.rng.normal(0, 0.1, (2, x.channels)), np.full(x.channels, x.power)]
        real = self.add("BatchNormalization", x.name, *(self.constant(part, np.float32) for part in parts))
        return self.after_relu(real, 1.0, x.channels)

    def classified(self, x: Map, classes: int = CLASSES) -> ModelProto:
        """Mean of the map, and a dense layer: the model."""
        mean = self.through(self.add("GlobalAveragePool", x.name), RANGE * x.power**0.5 / 255)
        flat = Map(self.add("Flatten", mean), x.channels, x.power)
        drawn = self.rng.standard_normal((classes, x.channels), np.float32)
        real = self._product("Gemm", flat, drawn, x.channels**-0.5, transB=1)
        out = self.signed(real, x.power, classes)
        self.output(out.name, rank=2)
        graph = helper.make_graph(self.nodes, "made", self.inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def resnet18(seed: int = 0) -> ModelProto:
    """20 convolutions, 8 sums, a dense layer."""
    n, (side, classes) = Drawn(seed), CIFAR
    x = n.layer(n.start(side), 64, 3)
    for stage in range(4):
        width = 64 << stage
        for block in range(2):
            stride = 2 if stage and not block else 1
            way = n.layer(n.layer(x, width, 3, stride), width, 3, relu=False)
            short = n.layer(x, width, 1, stride, relu=False) if stride == 2 else x
            x = n.sum(way, short)
    return n.classified(x, classes)


def resnet50(seed: int = 0) -> ModelProto:
    """53 convolutions, 16 sums, a dense layer."""
    n = Drawn(seed)
    x = n.pooled(n.layer(n.start(), 64, 7, 2), "MaxPool", 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            way = n.layer(n.layer(n.layer(x, width), width, 3, stride), 4 * width, relu=False)
            short = x if block else n.layer(x, 4 * width, 1, stride, relu=False)
            x = n.sum(way, short)
    return n.classified(x)


def densenet121(seed: int = 0) -> ModelProto:
    """120 convolutions, 62 normalisations that no convolution takes in, 62 concatenations, a dense layer."""
    n, growth = Drawn(seed), 32
    x = n.pooled(n.layer(n.start(), 64, 7, 2), "MaxPool", 3, 2, 1)
    for block, layers in enumerate((6, 12, 24, 16)):
        maps = [x]
        for _ in range(layers):
            joined = n.joined(maps) if len(maps) > 1 else x
            made = n.layer(n.layer(n.normalised(joined), 4 * growth), growth, 3, relu=False)
            maps.append(made)
        x = n.joined(maps)
        if block < 3:
            x = n.layer(n.normalised(x), x.channels // 2, relu=False)
            x = n.pooled(x, "AveragePool", 2, 2)
    return n.classified(n.normalised(x))


NETWORKS: dict[str, Callable[[], ModelProto]] = {"resnet18": resnet18, "resnet50": resnet50, "densenet121": densenet121}


def write(name: str, folder: Path) -> Path:
    """The file of a network in ``folder``."""
    path = folder / f"{name}.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(NETWORKS[name](), path)
    return path
