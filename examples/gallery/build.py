"""Writes networks of the gallery as float ONNX, and random inputs to calibrate their quantisation with.

Weights are random, so a network computes nothing useful, but values are spread as in a trained one:
normalisations have the statistics of random inputs. Everything is seeded and nothing is fetched. Each file is
compared with PyTorch by onnxruntime. Run from the root of the repository: ``python -m examples.gallery.build``,
which makes all small ones in five seconds, or with names and ``--size full``.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from examples.gallery.networks import NETWORKS, Network

OPSET = 17
SEED = 7
CALIBRATION_SEED = 1000
SETTLING_SEED = 2000
GAIN = 1.3  # keeps the spread of activations, of which ReLU takes some
IMAGES = 16
SETTLING = {"small": (8, 16), "full": (1, 4)}  # batches, and inputs in each, of which normalisations learn
TOLERANCE = 1e-4


def inputs(shape: tuple[int, ...], count: int, seed: int) -> np.ndarray:
    """Random inputs of -1 .. 1, N x shape: noise, finer and coarser along all sides but the first.

    With fine noise alone the means of all inputs, and so a classifier's scores, would be much alike.
    """
    random = np.random.default_rng(seed)
    sides = shape[1:]
    finest = max(sides, default=1)
    grids = [1, *(2**i for i in range(1, 10) if 2**i < finest), finest]
    total = np.zeros((count, *shape))
    for grid in grids:
        coarse = [min(grid, side) for side in sides]
        noise = random.standard_normal((count, shape[0], *coarse))
        for axis, (side, few) in enumerate(zip(sides, coarse, strict=True), 2):
            noise = noise.take(np.arange(side) * few // side, axis)
        total += noise
    return np.tanh(total / len(grids) ** 0.5).astype(np.float32)


def randomise(model: nn.Module) -> None:
    """Draws weights that about keep the spread of what they are applied to."""
    for layer in model.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            fan_in = layer.weight[0].numel()
            if isinstance(layer, nn.ConvTranspose2d):
                fan_in = layer.in_channels * np.prod(layer.kernel_size) / np.prod(layer.stride)
            nn.init.normal_(layer.weight, std=GAIN / fan_in**0.5)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.1)
        elif isinstance(layer, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(layer.weight, 0.7, 1.3)
            nn.init.normal_(layer.bias, 0.5, 0.3)
        elif isinstance(layer, nn.PReLU):
            nn.init.uniform_(layer.weight, 0.05, 0.4)
        elif isinstance(layer, (nn.LSTM, nn.GRU)):
            for weight in layer.parameters():
                nn.init.normal_(weight, std=weight.shape[-1] ** -0.5 if weight.ndim == 2 else 0.1)


def settled(network: Network, size: str) -> nn.Module:
    """A network with random weights and the statistics of random inputs, ready for inference."""
    torch.manual_seed(SEED)
    model = network.make(**network.size(size).arguments)
    randomise(model)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of all batches
    batches, count = SETTLING[size]
    with torch.no_grad():
        for batch in range(batches if norms else 0):
            model(torch.from_numpy(inputs(network.size(size).shape, count, SETTLING_SEED + batch)))
    return model.eval()


def known_sides(file: onnx.ModelProto) -> dict[str, list[int]]:
    """The sides of the values whose sides follow from those of the input; the file is told them too."""
    file.CopyFrom(onnx.shape_inference.infer_shapes(file, data_prop=True))
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*file.graph.input, *file.graph.value_info)}
    return {
        name: [side.dim_value for side in sides]
        for name, sides in shapes.items()
        if sides and all(side.HasField("dim_value") for side in sides)
    }


def fold(file: onnx.ModelProto) -> None:
    """Computes in a file whatever depends on constants and on the sides of maps only; constants get initialisers."""
    for output in file.graph.output:  # where the exporter left names for sides
        output.type.tensor_type.ClearField("shape")
    constants = {weights.name: numpy_helper.to_array(weights) for weights in file.graph.initializer}
    while True:
        del file.graph.value_info[:]
        shapes, graph = known_sides(file), file.graph
        kept = []
        for node in graph.node:
            if node.op_type == "Constant" or (node.input and all(name in constants for name in node.input if name)):
                feeds = {name: constants[name] for name in node.input if name}
                constants.update(zip(node.output, ReferenceEvaluator(node).run(None, feeds), strict=True))
            elif node.op_type == "Shape" and not node.attribute and node.input[0] in shapes:
                constants[node.output[0]] = np.array(shapes[node.input[0]], np.int64)
            else:
                kept.append(node)
        if len(kept) == len(graph.node):
            return
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(nodes)
        used = dict.fromkeys(name for node in nodes for name in node.input if name in constants)
        graph.initializer.extend(numpy_helper.from_array(np.asarray(constants[name]), name) for name in used)


def export(model: nn.Module, image: np.ndarray, outputs: tuple[str, ...], path: Path) -> None:
    """Writes a network, of a batch of 1, as float ONNX of one file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the older exporter will go, and that recurrent layers have a fixed batch
        torch.onnx.export(
            model,
            (torch.from_numpy(image),),
            path,
            opset_version=OPSET,
            dynamo=False,
            input_names=["input"],
            output_names=list(outputs),
        )
    file = onnx.load(path)
    fold(file)
    onnx.checker.check_model(file, full_check=True)
    onnx.save(file, path)


def difference(model: nn.Module, images: np.ndarray, path: Path) -> float:
    """By how much onnxruntime's outputs differ at most from PyTorch's."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    largest = 0.0
    for image in images[:, None]:
        found = session.run(None, {"input": image})
        with torch.no_grad():
            wanted = model(torch.from_numpy(image))
        wanted = (wanted,) if isinstance(wanted, torch.Tensor) else wanted
        for a, b in zip(found, wanted, strict=True):
            largest = max(largest, float(np.abs(a - b.numpy()).max()))
    return largest


def build(name: str, size: str, directory: Path) -> None:
    """Writes NAME.onnx and NAME.npy, and says how large they are and how far from PyTorch."""
    network = NETWORKS[name]
    model = settled(network, size)
    images = inputs(network.size(size).shape, IMAGES, CALIBRATION_SEED)
    path = directory / f"{name}.onnx"
    export(model, images[:1], network.outputs, path)
    np.save(directory / f"{name}.npy", images)
    far = difference(model, images if size == "small" else images[:2], path)
    numbers = sum(weights.numel() for weights in model.parameters())
    sides = " x ".join(str(side) for side in network.size(size).shape)
    print(f"{path}: input {sides}, {numbers:,} numbers, {far:.1e} from PyTorch", flush=True)
    if far > TOLERANCE:
        raise RuntimeError(f"{path}: onnxruntime differs from PyTorch by {far}, more than {TOLERANCE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all if none is given: {', '.join(NETWORKS)}")
    parser.add_argument("--out", type=Path, default=Path("build/gallery"), metavar="DIR", help="default: build/gallery")
    parser.add_argument("--size", choices=SETTLING, default="small", help="default: small")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in NETWORKS]
    if unknown:
        print(f"{unknown[0]!r} is not a network of the gallery, which has {', '.join(NETWORKS)}", file=sys.stderr)
        sys.exit(2)
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or NETWORKS:
        build(name, arguments.size, arguments.out)


if __name__ == "__main__":
    main()
