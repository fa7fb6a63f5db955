"""The transposed convolutions of the digits generator, with the codes that really enter them.

Needs numpy and onnx only: the quantised network runs on onnx's reference evaluator.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from selvage.base.layer import InputFormat, Layer

GENERATOR = Path(__file__).with_name("generator.onnx")
NOISE = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class TransposedLayer:
    """A transposed convolution, its integer weights and activations recorded at its input.

    ``activations`` are raw codes, count x C x H x W; the zero point in ``format`` is not subtracted.
    ``weights`` are C x M/g x KH x KW, the zero point (none, as they are symmetric) subtracted.
    """

    name: str
    geometry: Layer
    format: InputFormat
    activations: np.ndarray
    weights: np.ndarray


def noise(count: int, seed: int) -> np.ndarray:
    """Standard normal vectors, count x NOISE, float32."""
    return np.random.default_rng(seed).standard_normal((count, NOISE), dtype=np.float32)


def transposed_layers(count: int = 1, seed: int = 0) -> list[TransposedLayer]:
    """The transposed convolutions in order, with the activations of ``count`` noise vectors of ``seed``."""
    model = onnx.load(GENERATOR)
    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "ConvTranspose"]
    codes = _evaluate(model, [producers[node.input[0]].input[0] for node in nodes], noise(count, seed))
    return [
        _layer(node, producers[node.input[0]], producers[node.input[1]], activations, constants)
        for node, activations in zip(nodes, codes, strict=True)
    ]


def _evaluate(model: onnx.ModelProto, names: list[str], vectors: np.ndarray) -> list[np.ndarray]:
    """The tensors of these names, for noise of count x NOISE; nodes behind the last one are not run."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    last = max(i for i, node in enumerate(part.graph.node) if set(names) & set(node.output))
    del part.graph.node[last + 1 :]
    del part.graph.output[:]
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return ReferenceEvaluator(part).run(None, {part.graph.input[0].name: vectors})


def _layer(
    node: onnx.NodeProto,
    activation_dequantise: onnx.NodeProto,
    weight_dequantise: onnx.NodeProto,
    activations: np.ndarray,
    constants: dict[str, np.ndarray],
) -> TransposedLayer:
    """Reads one ConvTranspose node and the DequantizeLinear nodes before its first two inputs."""
    codes, _, zero = (constants[name].astype(np.int64) for name in weight_dequantise.input)
    weights = codes - zero
    bits = np.iinfo(activations.dtype).bits
    return TransposedLayer(
        name=node.name,
        geometry=_geometry(node, activations.shape, weights.shape),
        format=InputFormat(
            raw_bits=bits,
            raw_signed=bool(np.issubdtype(activations.dtype, np.signedinteger)),
            zero_point=int(constants[activation_dequantise.input[2]]),
        ),
        activations=activations.astype(np.int64),
        weights=weights,
    )


def _geometry(node: onnx.NodeProto, inputs: tuple[int, ...], weights: tuple[int, ...]) -> Layer:
    """From the node's attributes, the shape N x C x H x W of its input and that of its weights."""
    known = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    groups = known.get("group", 1)
    return Layer(
        name=node.name,
        op="conv_transpose",
        channels=inputs[1],
        outputs=weights[1] * groups,
        height=inputs[2],
        width=inputs[3],
        kernel=weights[2:],
        stride=known.get("strides", (1, 1)),
        pads=known.get("pads", (0, 0, 0, 0)),
        output_padding=known.get("output_padding", (0, 0)),
        dilation=known.get("dilations", (1, 1)),
        groups=groups,
    )


def main() -> None:
    """Prints the layers, and the share of activations that equal the zero point."""
    for layer in transposed_layers(count=64):
        zeros = (layer.activations == layer.format.zero_point).mean()
        print(f"{layer.geometry!r}\n  {layer.format}\n  zeros: {zeros:.1%}")


if __name__ == "__main__":
    main()
