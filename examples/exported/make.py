"""Exports three small networks by both of PyTorch's exporters and quantises each in both of onnxruntime's forms.

The files are fixtures: what an importer meets, not networks that can do anything; weights are random. One more
network, `fake_quantised`, is exported with the quantisers of quantisation-aware training in it. Everything is
seeded. Run from the root of the repository: ``python -m examples.exported.make``. It takes ten seconds.
"""

import argparse
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver, PerChannelMinMaxObserver
from torch.nn import functional

from examples.exported.inputs import inputs

SEED = 7
CALIBRATION_SEED = 1000
CHECK_SEED = 2000
GAIN = 2.0  # more than keeps the activations' spread, so that they reach the bounds of ReLU6 and of sigmoid
STACK_TRACE = "pkg.torch.onnx.stack_trace"


class Residual(nn.Module):
    """A residual classifier: grouped, strided and dilated convolutions, normalised; shares of 5 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(6)
        self.conv1 = nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=2, dilation=2)
        self.sum_norm = nn.BatchNorm2d(6)
        self.conv3 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(6, 8, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dense = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.stem_norm(self.stem(image))), 2)
        x = functional.relu(x + self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        x = self.sum_norm(x)
        x = functional.relu(self.conv3(x) + self.shortcut_norm(self.shortcut(x)))
        return functional.softmax(self.dense(self.pool(x).flatten(1)), 1)


class EncoderDecoder(nn.Module):
    """A U-Net in miniature: skips are concatenated; the class, of 4, of each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.encode1 = nn.Conv2d(2, 4, 3, padding=1)
        self.encode2 = nn.Conv2d(4, 6, 3, padding=1)
        self.encode3 = nn.Conv2d(6, 8, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1)
        self.decode2 = nn.Conv2d(12, 6, 3, padding=1)
        self.decode1 = nn.Conv2d(10, 6, 3, padding=1)
        self.score = nn.Conv2d(6, 4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        whole = functional.relu(self.encode1(image))
        half = functional.relu(self.encode2(functional.avg_pool2d(whole, 2)))
        quarter = functional.relu(self.encode3(functional.max_pool2d(half, 2)))
        half = functional.relu(self.decode2(torch.cat([functional.relu(self.up2(quarter)), half], 1)))
        whole = torch.cat([functional.interpolate(half, scale_factor=2.0, mode="nearest"), whole], 1)
        return self.score(torch.tanh(self.decode1(whole))).argmax(1)


class Separable(nn.Module):
    """Depthwise and pointwise convolutions; the chance of each of 5 labels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.depthwise1 = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pointwise1 = nn.Conv2d(8, 6, 1)
        self.depthwise2 = nn.Conv2d(6, 12, 3, groups=6)
        self.pointwise2 = nn.Conv2d(12, 8, 1)
        self.hidden = nn.Parameter(torch.randn(8, 6) * 0.5)
        self.dense = nn.Linear(6, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = functional.relu6(self.stem_norm(self.stem(image)))
        x = functional.leaky_relu(self.depthwise1(x), 0.1)
        x = functional.relu6(self.pointwise1(x))
        x = functional.leaky_relu(self.depthwise2(x), 0.2)
        x = functional.avg_pool2d(self.pointwise2(x), 3)
        x = functional.relu(x.view(x.size(0), -1) @ self.hidden)
        return torch.sigmoid(self.dense(x))


class FakeQuantised(nn.Module):
    """A classifier in quantisation-aware training: activations and weights are rounded where they enter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, padding=1)
        self.dense = nn.Linear(96, 5)
        self.image_codes, self.conv_codes, self.score_codes = (
            FakeQuantize(MovingAverageMinMaxObserver, 0, 255, dtype=torch.quint8) for _ in range(3)
        )
        self.conv_weight_codes, self.dense_weight_codes = (
            FakeQuantize(
                PerChannelMinMaxObserver, -128, 127, dtype=torch.qint8, qscheme=torch.per_channel_symmetric, ch_axis=0
            )
            for _ in range(2)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        weight = self.conv_weight_codes(self.conv.weight)
        x = functional.conv2d(self.image_codes(image), weight, self.conv.bias, padding=1)
        x = functional.max_pool2d(self.conv_codes(functional.relu(x)), 2)
        weight = self.dense_weight_codes(self.dense.weight)
        return self.score_codes(functional.linear(x.flatten(1), weight, self.dense.bias))


NETWORKS = {
    "residual": Residual,
    "encoder_decoder": EncoderDecoder,
    "separable": Separable,
    "fake_quantised": FakeQuantised,
}


@dataclass(frozen=True, kw_only=True)
class Export:
    """How a user calls an exporter.

    ``keep_norms``: batch normalisation is not folded into the convolutions. ``tolerance``: by how much
    onnxruntime may differ from PyTorch.
    """

    network: str
    exporter: str
    opset: int | None = None
    any_batch: bool = True
    keep_norms: bool = False
    tolerance: float = 1e-4

    @property
    def name(self) -> str:
        return f"{self.network}_{self.exporter}"


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """How a user calls the quantiser on an export.

    ``prepared``: with onnxruntime's pre-processing first, as its documents advise. ``symmetric``: the zero points
    of activations are 0; the quantiser then keeps the operators that it otherwise lets the codes' range do.
    """

    source: str
    form: QuantFormat
    activations: QuantType = QuantType.QUInt8
    symmetric: bool = False
    per_channel: bool = False
    prepared: bool = False

    @property
    def name(self) -> str:
        return f"{self.source}_{self.form.name.lower()}"


EXPORTS = (
    Export(network="residual", exporter="torchscript", opset=17, keep_norms=True),
    Export(network="residual", exporter="dynamo"),
    Export(network="encoder_decoder", exporter="torchscript", opset=13),
    Export(network="encoder_decoder", exporter="dynamo", any_batch=False),
    Export(network="separable", exporter="torchscript"),
    Export(network="separable", exporter="dynamo"),
    Export(network="fake_quantised", exporter="torchscript", tolerance=0.1),  # a code of its outputs is 0.08
)
QDQ, QOPERATOR = QuantFormat.QDQ, QuantFormat.QOperator
SIGNED = QuantType.QInt8
QUANTISATIONS = (
    Quantisation(source="residual_torchscript", form=QDQ, prepared=True),
    Quantisation(source="residual_torchscript", form=QOPERATOR, per_channel=True),
    Quantisation(source="residual_dynamo", form=QDQ, activations=SIGNED, per_channel=True),
    Quantisation(source="residual_dynamo", form=QOPERATOR, prepared=True),
    Quantisation(source="encoder_decoder_torchscript", form=QDQ, per_channel=True),
    Quantisation(source="encoder_decoder_torchscript", form=QOPERATOR, prepared=True),
    Quantisation(source="encoder_decoder_dynamo", form=QDQ, activations=SIGNED, symmetric=True, prepared=True),
    Quantisation(source="encoder_decoder_dynamo", form=QOPERATOR, per_channel=True),
    Quantisation(source="separable_torchscript", form=QDQ, activations=SIGNED, per_channel=True, prepared=True),
    Quantisation(source="separable_torchscript", form=QOPERATOR),
    Quantisation(source="separable_dynamo", form=QDQ),
    Quantisation(source="separable_dynamo", form=QOPERATOR, activations=SIGNED, symmetric=True, per_channel=True),
)


def network(name: str) -> nn.Module:
    """A network with random weights, its normalisations and quantisers settled on random images."""
    torch.manual_seed(SEED)
    model = NETWORKS[name]()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
        elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            fan_in = layer.weight[0].numel()
            nn.init.normal_(layer.weight, std=GAIN / fan_in**0.5)
    with torch.no_grad():
        for seed in range(20):
            model(torch.from_numpy(inputs(name, 64, seed)))
    model.eval()
    for layer in model.modules():
        if isinstance(layer, FakeQuantize):
            layer.disable_observer()
    return model


def export(way: Export, path: Path) -> None:
    """Writes a network as float ONNX, and checks that onnxruntime finds in it what PyTorch does."""
    model = network(way.network)
    images = inputs(way.network, 2 if way.any_batch else 1, CHECK_SEED)
    arguments = (torch.from_numpy(images),)
    if way.exporter == "dynamo":
        torch.onnx.export(
            model,
            arguments,
            path,
            opset_version=way.opset,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("N")},) if way.any_batch else None,
            external_data=False,
            verbose=False,
        )
    else:
        mode = torch.onnx.TrainingMode
        torch.onnx.export(
            model,
            arguments,
            path,
            opset_version=way.opset,
            dynamo=False,
            input_names=["image"],
            output_names=["output"],
            dynamic_axes={"image": {0: "N"}, "output": {0: "N"}} if way.any_batch else None,
            training=mode.PRESERVE if way.keep_norms else mode.EVAL,
            do_constant_folding=not way.keep_norms,
        )
    forget_stack_traces(path)
    found = run(path, images)
    with torch.no_grad():
        difference = np.abs(model(*arguments).numpy() - found).max()
    if difference > way.tolerance:
        raise RuntimeError(f"{path.name}: onnxruntime differs from PyTorch by {difference}")


def forget_stack_traces(path: Path) -> None:
    """Removes what the exporter writes of the source files, for it names the directories of the machine."""
    file = onnx.load(path)
    for node in file.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key != STACK_TRACE]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(file, path)


class Calibration(CalibrationDataReader):
    """64 random inputs of a network, one after the other: a batch may be fixed to 1."""

    def __init__(self, network: str, input_name: str) -> None:
        self.input_name = input_name
        self.images: Iterator[np.ndarray] = iter(inputs(network, 64, CALIBRATION_SEED)[:, None])

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else {self.input_name: image}


def quantise(way: Quantisation, network: str, source: Path, target: Path) -> None:
    """Writes the 8-bit file of a float one."""
    with tempfile.TemporaryDirectory() as directory:
        prepared = Path(directory) / "prepared.onnx"
        if way.prepared:
            quant_pre_process(source, prepared, skip_symbolic_shape=True)  # which fails on the encoder-decoder
        quantize_static(
            prepared if way.prepared else source,
            target,
            Calibration(network, onnx.load(source).graph.input[0].name),
            quant_format=way.form,
            per_channel=way.per_channel,
            activation_type=way.activations,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": way.symmetric},
        )


def run(path: Path, images: np.ndarray) -> np.ndarray:
    """What onnxruntime makes of images."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def describe(path: Path) -> None:
    """Prints the size of a file and the operators in it."""
    file = onnx.load(path)
    versions = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in file.opset_import)
    operators = sorted({node.op_type for node in file.graph.node})
    print(f"{path.name}: {path.stat().st_size} bytes, IR {file.ir_version}, {versions}\n    {' '.join(operators)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="directory of the files")
    directory = parser.parse_args().output
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # that the older exporter will go
    logging.disable(logging.WARNING)  # that pre-processing is advised, where it is left out on purpose
    networks = {}
    for way in EXPORTS:
        path = directory / f"{way.name}.onnx"
        export(way, path)
        describe(path)
        networks[way.name] = way.network
    for way in QUANTISATIONS:
        name = networks[way.source]
        source, target = directory / f"{way.source}.onnx", directory / f"{way.name}.onnx"
        quantise(way, name, source, target)
        describe(target)
        image = inputs(name, 1, CHECK_SEED)
        difference = np.abs(run(source, image).astype(float) - run(target, image))
        print(f"    from float: mean {difference.mean():.4f}, largest {difference.max():.4f}")


if __name__ == "__main__":
    main()
