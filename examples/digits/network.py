"""The digits classifiers in integers: a function of the caller makes the sums of every layer.

Needs numpy, onnx and scikit-learn's digits only. Between the layers are codes, as the QuantizeLinear and
DequantizeLinear nodes of the files say; biases and scales are applied in real numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.datasets import load_digits

from selvage.base.layer import InputFormat, Layer
from selvage.golden.layer import evaluate

CLASSIFIER = Path(__file__).with_name("classifier.onnx")
PRUNED = Path(__file__).with_name("classifier_pruned.onnx")
SPLIT_SEED = 11
HELD_OUT = 599
PLAIN_GEMM = {"alpha": 1, "beta": 1, "transA": 0, "transB": 0}

Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Quantiser:
    """Makes codes of ``format`` of real numbers, which are codes times ``scale``."""

    scale: float
    format: InputFormat

    def codes(self, values: NDArray) -> Codes:
        """Rounded half to even and saturated; the zero point is subtracted again."""
        low, high = (bound - self.format.zero_point for bound in self.format.raw_range)
        return np.clip(np.rint(values / self.scale), low, high).astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantisedLayer:
    """A convolution or dense layer, from codes to codes.

    ``format`` and ``input_scale`` are those of the codes that enter. ``weights`` are of
    ``geometry.weight_shape``, the zero point subtracted; ``bias``, M, counts in ``bias_scale``. ``output``
    makes the codes that leave; where its zero point is its least code, it is the ReLU too.
    """

    name: str
    geometry: Layer
    format: InputFormat
    input_scale: float
    weights: Codes
    weight_scale: float
    bias: Codes | None
    bias_scale: float
    output: Quantiser

    @property
    def output_scale(self) -> float:
        return self.output.scale

    @property
    def output_zero(self) -> int:
        return self.output.format.zero_point

    def finish(self, sums: NDArray, factor: float) -> Codes:
        """Codes that leave, for sums, N x M x OH x OW, that count in ``factor`` times the two scales."""
        values = sums * (factor * self.input_scale * self.weight_scale)
        if self.bias is not None:
            values = values + (self.bias * self.bias_scale)[:, None, None]
        return self.output.codes(values)


@dataclass(frozen=True, kw_only=True)
class MaxPool:
    """The largest of each ``kernel``, side by side without pads."""

    kernel: tuple[int, int]

    def apply(self, codes: Codes) -> Codes:
        """N x C x H x W to N x C x OH x OW; rows and columns that fill no kernel are left out."""
        (high, wide), (height, width) = self.kernel, codes.shape[2:]
        rows, columns = height // high, width // wide
        whole = codes[:, :, : rows * high, : columns * wide]
        return whole.reshape(*codes.shape[:2], rows, high, columns, wide).max((3, 5))


@dataclass(frozen=True)
class Rectify:
    """ReLU."""

    def apply(self, codes: Codes) -> Codes:
        return np.maximum(codes, 0)


@dataclass(frozen=True)
class Flatten:
    """Maps to channels, row-major: a dense layer has maps of 1x1."""

    def apply(self, codes: Codes) -> Codes:
        """N x C x H x W to N x CHW x 1 x 1."""
        return codes.reshape(len(codes), -1, 1, 1)


Step = Quantiser | QuantisedLayer | MaxPool | Rectify | Flatten
Multiply = Callable[[QuantisedLayer, Codes], tuple[NDArray, float]]


def known() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The two thirds of the digits to train with: images of 0 .. 1, n x 1 x 8 x 8, and labels, n."""
    return _digits(slice(HELD_OUT, None))


def held_out() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The other third: images of 0 .. 1, 599 x 1 x 8 x 8, and labels, 599."""
    return _digits(slice(HELD_OUT))


def _digits(part: slice) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    images, labels = load_digits(return_X_y=True)
    chosen = np.random.default_rng(SPLIT_SEED).permutation(len(labels))[part]
    return (images[chosen] / 16).astype(np.float32).reshape(-1, 1, 8, 8), labels[chosen].astype(np.int64)


def reference(layer: QuantisedLayer, codes: Codes) -> tuple[NDArray[np.int64], float]:
    """The golden sums with the layer's own weights."""
    return evaluate(layer.geometry, codes, layer.weights), 1.0


def logits(network: Path | list[Step], images: NDArray, multiply: Multiply = reference) -> NDArray[np.float64]:
    """Scores, n x 10, of images, n x 1 x 8 x 8, by the steps of `load` or of the file at a path.

    ``multiply(layer, codes)`` returns the sums of a layer, N x M x OH x OW, for codes with the zero point
    subtracted, N x C x H x W, and a factor to multiply them with: 1 for the layer's own weights.
    """
    steps = load(network) if isinstance(network, Path) else network
    values, scale = images, 1.0
    for step in steps:
        match step:
            case QuantisedLayer():
                values, scale = step.finish(*multiply(step, values)), step.output_scale
            case Quantiser():
                values, scale = step.codes(values * scale), step.scale
            case _:  # as large and in the same order in codes as in real numbers
                values = step.apply(values)
    return values.reshape(len(values), -1) * scale


def recorded(network: Path | list[Step], images: NDArray) -> dict[str, Codes]:
    """Raw codes, zero point not subtracted, N x C x H x W, that enter each layer, by its name."""
    found: dict[str, Codes] = {}

    def record(layer: QuantisedLayer, codes: Codes) -> tuple[NDArray[np.int64], float]:
        found[layer.name] = codes + layer.format.zero_point
        return reference(layer, codes)

    logits(network, images, record)
    return found


def load(path: Path) -> list[Step]:
    """The steps of a quantised network without branches.

    ValueError: it has a node of another operator, or with attributes that no step has.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    parts = _Parts(model.graph)
    steps: list[Step] = []
    now: Quantiser | None = None
    for node in model.graph.node:
        match node.op_type:
            case "DequantizeLinear":
                pass  # codes stay codes
            case "QuantizeLinear":
                if (quantiser := parts.quantiser(node)) != now:
                    steps.append(quantiser)
                    now = quantiser
            case "Conv" | "Gemm":
                layer = parts.layer(node)
                steps.append(layer)
                now = layer.output
            case "MaxPool":
                steps.append(_max_pool(node))
            case "Relu":
                steps.append(Rectify())
            case "Flatten":
                steps.append(Flatten())
            case _:
                raise ValueError(f"node {node.name!r} in {path.name} has the operator {node.op_type}, of no step here")
    return steps


class _Parts:
    """What the nodes of a quantised graph refer to by name."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.producers = {output: node for node in graph.node for output in node.output}
        self.consumers = {name: node for node in graph.node for name in node.input}
        self.shapes = {
            value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim) for value in graph.value_info
        }

    def quantiser(self, node: onnx.NodeProto) -> Quantiser:
        """Of a QuantizeLinear or DequantizeLinear node."""
        scale, zero = (self.constants[name] for name in node.input[1:])
        signed = bool(np.issubdtype(zero.dtype, np.signedinteger))
        bits = np.iinfo(zero.dtype).bits
        return Quantiser(scale=float(scale), format=InputFormat(raw_bits=bits, raw_signed=signed, zero_point=int(zero)))

    def stored(self, name: str) -> tuple[Codes, float]:
        """Constant codes behind a DequantizeLinear node, the zero point subtracted, and their scale."""
        codes, scale, zero = (self.constants[source] for source in self.producers[name].input)
        return codes.astype(np.int64) - zero.astype(np.int64).item(), scale.item()

    def layer(self, node: onnx.NodeProto) -> QuantisedLayer:
        """Of a Conv or Gemm node between DequantizeLinear and QuantizeLinear nodes."""
        source, weight, *bias = node.input
        behind = self.consumers.get(node.output[0])
        if behind is None or behind.op_type != "QuantizeLinear":
            raise ValueError(f"node {node.name!r} is not quantised behind")
        entering = self.quantiser(self.producers[source])
        weights, weight_scale = self.stored(weight)
        biases, bias_scale = self.stored(bias[0]) if bias else (None, 1.0)
        return QuantisedLayer(
            name=node.name,
            geometry=_geometry(node, self.shapes[source], weights.shape),
            format=entering.format,
            input_scale=entering.scale,
            weights=weights,
            weight_scale=weight_scale,
            bias=biases,
            bias_scale=bias_scale,
            output=self.quantiser(behind),
        )


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def _geometry(node: onnx.NodeProto, inputs: tuple[int, ...], weights: tuple[int, ...]) -> Layer:
    """From the node's attributes, the shape N x C x H x W or N x C of its input and that of its weights."""
    given = _attributes(node)
    if node.op_type == "Gemm":
        if given != {key: PLAIN_GEMM[key] for key in given}:
            raise ValueError(f"node {node.name!r} scales or transposes an operand")
        return Layer(name=node.name, op="dense", channels=weights[0], outputs=weights[1])
    if given.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ValueError(f"node {node.name!r} leaves its pads to auto_pad")
    return Layer(
        name=node.name,
        op="conv",
        channels=inputs[1],
        outputs=weights[0],
        height=inputs[2],
        width=inputs[3],
        kernel=weights[2:],
        stride=given.get("strides", (1, 1)),
        pads=given.get("pads", (0, 0, 0, 0)),
        dilation=given.get("dilations", (1, 1)),
        groups=given.get("group", 1),
    )


def _max_pool(node: onnx.NodeProto) -> MaxPool:
    given = _attributes(node)
    kernel = given["kernel_shape"]
    if given.get("strides") != kernel or any(given.get("pads", ())) or max(given.get("dilations", (1,))) > 1:
        raise ValueError(f"node {node.name!r} pools with pads, dilated, or with a stride that is not its kernel")
    return MaxPool(kernel=tuple(kernel))


def main() -> None:
    """Prints accuracy, and of each layer the shares of weights 0 and of activations at the zero point."""
    images, labels = held_out()
    for path in (CLASSIFIER, PRUNED):
        steps = load(path)
        print(f"{path.name}: {(logits(steps, images).argmax(1) == labels).mean():.2%} right of {len(labels)}")
        codes = recorded(steps, images)
        for layer in steps:
            if isinstance(layer, QuantisedLayer):
                activations = (codes[layer.name] == layer.format.zero_point).mean()
                print(f"  {layer.geometry!r}\n    {layer.format}")
                print(f"    zero weights {(layer.weights == 0).mean():.1%}, zero activations {activations:.1%}")


if __name__ == "__main__":
    main()
