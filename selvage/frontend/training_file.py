"""A training TOML: one network or two, their formats, learning rates and data."""

from dataclasses import dataclass
from math import log2, prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from selvage.base.chip import Chip, load_chip, one_sentence, read_toml
from selvage.base.errors import InputError
from selvage.base.layer import Layer, Pair, Positive
from selvage.base.limits import check_layer
from selvage.base.reading import beside
from selvage.base.text import value
from selvage.frontend.layer_file import check_kind
from selvage.frontend.numpy_files import read_npz
from selvage.golden.calibration import calibrated, weight_codes
from selvage.golden.training import Codes, ErrorUnit, Formats, TrainedNetwork, Weights

if TYPE_CHECKING:
    from selvage.frontend.training_onnx import StartLayer

Bits = Annotated[int, Field(ge=3, le=16)]
CALIBRATION = 64
"""Samples whose activations and errors set the scales."""
MOST_WEIGHTS, MOST_CODES = 2**20, 2**16
"""Of a layer: as much as is calibrated, placed and followed in seconds."""
SPREAD = 0.35
"""Standard deviation of noise, of which the codes hold one."""


class LayerEntry(BaseModel):
    """A layer as it is written: what enters follows from the one before it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: Literal["conv", "conv_transpose", "dense"]
    outputs: Positive | tuple[Positive, Positive, Positive] = Field(
        description="channels of what leaves; of a dense layer also a map: channels, rows, columns"
    )
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    output_padding: tuple[int, int] = (0, 0)
    slope: float = Field(1.0, description="below 0: 0, 1, or a power of two between them")
    gate: bool = Field(False, description="of the generator's last: errors do not push saturated codes further")
    normalization: Literal["none", "frozen", "batch"] = "none"


class NetworkEntry(BaseModel):
    """A network as it is written; its learning rate is 2**-``rate``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: Annotated[int, Field(ge=0, le=32)]
    layers: tuple[LayerEntry, ...] = Field((), max_length=64)
    onnx: str | None = Field(None, description="a file in the place of layers: their shapes and start values")
    noise: Positive | None = None
    headroom: Annotated[int, Field(ge=0, le=8)] = Field(1, description="bits for weights to grow")


class FormatsEntry(BaseModel):
    """Bits of codes; ``logit_fraction`` of a logit's are behind the point."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: Bits = 8
    activations: Annotated[int, Field(ge=3, le=12)] = 8
    errors: Annotated[int, Field(ge=3, le=12)] = 8
    logit_fraction: Annotated[int, Field(ge=0, le=12)] = 4
    logit_offset: Annotated[float, Field(ge=-16, le=16, description="subtracted of every logit")] = 0.0


class TrainingEntry(BaseModel):
    """The whole file: ``network`` alone, or ``generator`` and ``discriminator``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: Annotated[int, Field(ge=1, le=4096)]
    data: str = Field(description="an .npz: 'images' (N, C, H, W), -1 to 1; 'labels' (N,) of one network")
    rounding: Literal["nearest", "stochastic"] = "nearest"
    chip: str = "ou9x8"
    label_of_real: Annotated[float, Field(ge=0.5, le=1)] = 0.9
    formats: FormatsEntry = FormatsEntry()
    unit_error: bool = Field(False, description="of schedules that share the way forward")
    network: NetworkEntry | None = None
    generator: NetworkEntry | None = None
    discriminator: NetworkEntry | None = None


@dataclass(frozen=True, eq=False)
class TrainingFile:
    """What a training TOML says, and its data: ``images`` as codes, ``labels`` of one network."""

    name: str
    entry: TrainingEntry
    layers: dict[str, tuple[tuple[Layer, int | None], ...]]  # by network, G and D, with leaks
    images: Codes
    labels: NDArray[np.int64] | None
    chip: Chip
    read: dict[str, Path]  # the files that it names, by what messages call them
    start: dict[str, tuple[NDArray[np.float64], ...]]  # by network, of those that an ONNX file has

    @property
    def formats(self) -> Formats:
        """Bits of codes."""
        entry = self.entry.formats
        return Formats(entry.activations, entry.errors, entry.weights)

    @property
    def error_unit(self) -> ErrorUnit:
        """The error of logits."""
        entry = self.entry.formats
        return ErrorUnit(entry.activations, entry.logit_fraction, entry.errors, entry.logit_offset)

    @property
    def label_of_real(self) -> int:
        """The label of an image, as a code."""
        return round(self.entry.label_of_real * self.error_unit.one)

    def noise(self, count: int, rng: np.random.Generator) -> Codes:
        """Return noise codes (count, C, 1, 1): normal, within the codes."""
        first = self.layers["G"][0][0]
        high = 2 ** (self.formats.activations - 1) - 1
        drawn = rng.normal(0, SPREAD, (count, first.channels, 1, 1)) * high
        return np.clip(np.rint(drawn), -high, high).astype(np.int64)

    def networks(self, seed: int) -> tuple[dict[str, TrainedNetwork], dict[str, Weights]]:
        """Return the networks with the scales that a first batch needs, and random weights to start from.

        `InputError`: a learning rate that is too high, or rounds every update away.
        """
        rng = np.random.default_rng(seed)
        bits, unit = self.formats.activations, self.error_unit
        networks, weights = {}, {}
        entering = {"D": self.images[rng.integers(0, len(self.images), CALIBRATION)]}
        if "G" in self.layers:
            entering["G"] = self.noise(CALIBRATION, rng)
        error, point = None, self.formats.errors - 1
        for name in ("D", "G")[: len(self.layers)]:
            layers, entry = self.layers[name], self._entry(name)
            drawn = [rng.normal(0, _deviation(layer, leak), layer.weight_shape) for layer, leak in layers]
            values = self.start.get(name, drawn)
            codes, points = weight_codes(values, self.formats.weights, entry.headroom)
            if error is None:
                logits = np.zeros((CALIBRATION, layers[-1][0].outputs, *layers[-1][0].output_size), np.int64)
                error = unit.error(logits, rng.integers(0, 2, logits.shape) * unit.one)
            frozen = [k for k, own in enumerate(entry.layers) if own.normalization == "frozen"]
            how = {"formats": self.formats, "rate": entry.rate, "frozen": frozen}
            if name == "D":
                how |= {"last": unit.fraction}
            if entry.layers[-1].gate:
                how |= {"gate": bits}
            network, scale = calibrated(layers, codes, points, entering[name], bits - 1, error, point, **how)
            networks[name], weights[name] = network, codes
            maps = network.forward(codes, entering[name])
            errors = network.errors(codes, maps, error)
            if self.entry.rounding == "nearest":
                _check_updates(name, network, network.gradients(maps, errors), entry.rate, self.entry.batch)
            error, point = errors[0], scale.errors[0]
        return networks, weights

    def _entry(self, name: str) -> NetworkEntry:
        entry = self.entry
        found = entry.generator if name == "G" else entry.discriminator or entry.network
        assert found, "a file has the networks that its layers are of"
        return found


def _deviation(layer: Layer, leak: int | None) -> float:
    """Return the standard deviation with which activations keep theirs (He et al., ICCV 2015)."""
    terms = layer.channels * layer.kernel[0] * layer.kernel[1]
    if layer.op == "conv_transpose":
        terms /= layer.stride[0] * layer.stride[1]
    return float(((1 if leak is None else 2) / max(terms, 1)) ** 0.5)


def _check_updates(name: str, network: TrainedNetwork, gradients: Weights, rate: int, batch: int) -> None:
    """Raise `InputError` where no gradient of a first batch, rounded to the nearest, is a step of a weight."""
    for own, gradient in zip(network.layers, gradients, strict=True):
        # Samples of a batch agree in part: a sum grows with the root of their number at least.
        if abs(gradient).max() * (batch / CALIBRATION) ** 0.5 < 2.0 ** (own.update_shift - 2):
            raise InputError(
                f"network {name}: a learning rate of 2**-{rate} rounds every update of layer {own.layer.name!r} away: "
                f"its gradients are shifted by {own.update_shift} places"
            )


def load_training(path: str) -> TrainingFile:
    """Return what the training TOML ``path`` says. `InputError`: it cannot be read, or says what cannot be trained."""
    what = f"training {value(Path(path).stem)}"
    content = _tuples(read_toml(Path(path), "training"))
    try:
        entry = TrainingEntry.model_validate(content, strict=True)
    except ValidationError as error:
        raise InputError(one_sentence(error, what)) from None
    pair = entry.generator is not None, entry.discriminator is not None
    if (entry.network is not None) == any(pair) or pair[0] != pair[1]:
        raise InputError(f"{what} needs the table 'network', or both 'generator' and 'discriminator'")
    _check_keys(entry, what)
    read, chip = _chip(Path(path), entry)
    entry, values = _from_onnx(Path(path), entry, read, what)
    images, labels = _read_data(Path(path), entry)
    shape = images.shape[1:]
    layers = {}
    if entry.generator and entry.discriminator:
        if entry.generator.noise is None:
            raise InputError(f"{what}: generator lacks the key 'noise', the numbers that it starts from")
        layers["G"] = _layers("generator", entry.generator, (entry.generator.noise, 1, 1))
        made = _leaving(layers["G"][-1][0])
        if made != shape:
            raise InputError(f"{what}: the generator makes maps {made}, and the images are {shape}")
        layers["D"] = _layers("discriminator", entry.discriminator, shape)
        if _leaving(layers["D"][-1][0]) != (1, 1, 1):
            raise InputError(f"{what}: the discriminator leaves {_leaving(layers['D'][-1][0])}, and needs one logit")
    elif entry.network:
        layers["D"] = _layers("network", entry.network, shape)
        _check_labels(labels, len(images), _leaving(layers["D"][-1][0]), what)
    start = {name: _start(layers[name], own, what) for name, own in values.items()}
    return TrainingFile(Path(path).stem, entry, layers, images, labels, chip, read, start)


def _chip(path: Path, entry: TrainingEntry) -> tuple[dict[str, Path], Chip]:
    """Return the files that are read, and the chip: a ready one, or of a file beside the training file."""
    read = {"its data": path.parent / entry.data}
    if not entry.chip.endswith(".toml"):
        return read, load_chip(entry.chip)
    read["its chip"] = beside(path.parent, entry.chip, f"chip {value(entry.chip)}")
    return read, load_chip(str(read["its chip"]))


def _from_onnx(
    path: Path, entry: TrainingEntry, read: dict[str, Path], what: str
) -> tuple[TrainingEntry, "dict[str, list[StartLayer]]"]:
    """Return the file with the layers of its ONNX files, and these by network; the files are added to ``read``."""
    values = {}
    for table in ("network", "generator", "discriminator"):
        own: NetworkEntry | None = getattr(entry, table)
        if own and (own.onnx is None) == (not own.layers):
            raise InputError(f"{what}: {table} needs the key 'layers', or 'onnx', a file that has them")
        if not own or own.onnx is None:
            continue
        from selvage.frontend.training_onnx import read_chain  # loads onnx, which most files do without

        place = read[f"the model of its {table}"] = beside(path.parent, own.onnx, f"model {value(own.onnx)}")
        chain = read_chain(str(place))
        try:
            found = tuple(LayerEntry.model_validate(layer.keys, strict=True) for layer in chain)
        except ValidationError as error:
            raise InputError(one_sentence(error, f"model {value(own.onnx)}")) from None
        entry = entry.model_copy(update={table: own.model_copy(update={"layers": found})})
        values["G" if table == "generator" else "D"] = chain
    return entry, values


def _start(
    layers: tuple[tuple[Layer, int | None], ...], chain: "list[StartLayer]", what: str
) -> tuple[NDArray[np.float64], ...]:
    """Return start values of each layer's weight shape: those of a dense layer as the layer that it has become."""
    found = []
    for (layer, _), own in zip(layers, chain, strict=True):
        values = own.values.T if own.keys["op"] == "dense" and layer.op == "conv" else own.values
        if values.size != prod(layer.weight_shape) or (
            own.keys["op"] != "dense" and values.shape != layer.weight_shape
        ):
            raise InputError(
                f"{what}: layer {layer.name!r} has weights {own.values.shape}, and takes {layer.weight_shape}"
            )
        found.append(values.reshape(layer.weight_shape))
    return tuple(found)


def _check_keys(entry: TrainingEntry, what: str) -> None:
    """Check that no key is there that means nothing, and that weights have bits left beside their headroom."""
    for name in ("network", "discriminator"):
        own = getattr(entry, name)
        if own and own.noise is not None:
            raise InputError(f"{what}: {name} has the key 'noise', which is the generator's")
    for key in ("unit_error", "label_of_real"):
        if entry.network and key in entry.model_fields_set:
            raise InputError(f"{what}: {key} is of a generator and a discriminator, and there is one network")
    for own in (entry.network, entry.generator, entry.discriminator):
        if own and own.headroom > entry.formats.weights - 2:
            raise InputError(
                f"{what}: headroom = {own.headroom} leaves weights of {entry.formats.weights} bits less than two"
            )


def _tuples(content: Any) -> Any:
    """Return a TOML's contents with tuples for its arrays, as strict models want them."""
    if isinstance(content, dict):
        return {key: _tuples(item) for key, item in content.items()}
    return tuple(_tuples(item) for item in content) if isinstance(content, list) else content


def _read_data(path: Path, entry: TrainingEntry) -> tuple[Codes, NDArray[np.int64] | None]:
    """Return image codes (N, C, H, W) and labels, where there are some."""
    what = f"data {value(entry.data)}"
    arrays = read_npz(beside(path.parent, entry.data, what), what)
    if "images" not in arrays:
        raise InputError(f"{what} lacks the array 'images'")
    header = arrays.header("images")
    check_kind(header.dtype, f"{what}: 'images'")
    if len(header.shape) != 4 or 0 in header.shape:
        raise InputError(f"{what}: 'images' has shape {value(header.shape)}, and must be (N, C, H, W)")
    images = arrays["images"].astype(np.float64)
    if not np.isfinite(images).all() or images.min() < -1 or images.max() > 1:
        raise InputError(f"{what}: 'images' holds values from {images.min()} to {images.max()}, and may from -1 to 1")
    high = 2 ** (entry.formats.activations - 1) - 1
    codes = np.clip(np.rint(images * (high + 1)), -high, high).astype(np.int64)
    if "labels" not in arrays or not entry.network:
        return codes, None
    if arrays.header("labels").dtype.kind not in "iu":
        raise InputError(f"{what}: 'labels' holds {arrays.header('labels').dtype}, and integers are needed")
    return codes, arrays["labels"].astype(np.int64)


def _check_labels(labels: NDArray[np.int64] | None, count: int, leaving: tuple[int, ...], what: str) -> None:
    if labels is None:
        raise InputError(f"{what}: its data lack the array 'labels', which one network learns")
    if leaving[1:] != (1, 1):
        raise InputError(f"{what}: the network leaves {leaving}, and needs a logit for each label")
    if labels.shape != (count,) or labels.min() < 0 or labels.max() >= leaving[0]:
        raise InputError(f"{what}: 'labels' must be one for each of {count} images, from 0 to {leaving[0] - 1}")


def _leaving(layer: Layer) -> tuple[int, int, int]:
    return layer.outputs, *layer.output_size


def _layers(
    network: str, entry: NetworkEntry, shape: tuple[int, int, int]
) -> tuple[tuple[Layer, int | None], ...]:  # fmt: skip
    """Return a network's layers and leaks; ``shape`` enters."""
    found = []
    for index, own in enumerate(entry.layers, 1):
        what = f"layer {index} of the {network}"
        if own.gate and (network != "generator" or index < len(entry.layers)):
            raise InputError(f"{what}: gate = true is of the generator's last layer alone")
        if own.normalization == "batch":
            raise InputError(
                f"{what}: normalization = 'batch' couples the samples of a batch, which the pipeline takes one by one"
            )
        try:
            layer = _layer(f"{network}_{index}", own, shape, what)
        except ValidationError as error:
            raise InputError(one_sentence(error, what)) from None
        check_layer(layer, what)
        weights, maps = prod(layer.weight_shape), layer.outputs * prod(layer.output_size)
        for number, most, name in ((weights, MOST_WEIGHTS, "weights"), (maps, MOST_CODES, "codes that leave it")):
            if number > most:
                raise InputError(f"{what}: {number:,} {name} are more than the {most:,} of a layer that is trained")
        found.append((layer, _leak(own.slope, what)))
        shape = _leaving(layer)
    return tuple(found)


def _layer(name: str, own: LayerEntry, shape: tuple[int, int, int], what: str) -> Layer:
    """Return a layer on a map of ``shape``.

    A dense layer that takes a map is the convolution of its one window, and one that makes a map the transposed
    convolution of one: they are the same products, and the map keeps its order.
    """
    channels, height, width = shape
    sizes = {"name": name, "channels": channels, "height": height, "width": width}
    if own.op != "dense":
        if not isinstance(own.outputs, int):
            raise InputError(f"{what}: outputs = {own.outputs} is a map, and op = {own.op!r} takes its channels")
        keys = own.model_dump(exclude={"slope", "gate", "normalization", "op", "outputs"})
        return Layer(op=own.op, outputs=own.outputs, **sizes, **keys)
    if (own.kernel, own.stride, own.pads, own.output_padding) != ((1, 1), (1, 1), (0,) * 4, (0, 0)):
        raise InputError(f"{what}: a dense layer has no kernel, stride, pads or output_padding")
    outputs = own.outputs if isinstance(own.outputs, tuple) else (own.outputs, 1, 1)
    if outputs[1:] == (1, 1):
        if (height, width) == (1, 1):
            return Layer(op="dense", outputs=outputs[0], **sizes)
        return Layer(op="conv", outputs=outputs[0], kernel=(height, width), **sizes)
    if (height, width) != (1, 1):
        raise InputError(f"{what}: a dense layer takes a map {shape} and makes one {outputs}: one of them at most")
    return Layer(op="conv_transpose", outputs=outputs[0], kernel=outputs[1:], stride=outputs[1:], **sizes)


def _leak(slope: float, what: str) -> int | None:
    """Return the leak of a slope below 0: None for 1, 0 for 0."""
    if slope == 1:
        return None
    if slope == 0:
        return 0
    if not 2**-15 <= slope < 1 or not log2(slope).is_integer():
        raise InputError(f"{what}: slope = {slope} must be 0, 1, or a power of two between them")
    return int(-log2(slope))
