"""What a training chip is made of: the product of each stage on crossbars, and what runs where.

Words have one code. Maps are in raster order, the channels of a pixel in order; weights in the order of their array.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.graph import Tensor
from selvage.base.layer import InputFormat, Layer
from selvage.base.requantization import Requantization
from selvage.golden.fixed_point import LFSR_BITS, code_range
from selvage.golden.training import ErrorUnit, FrozenNormalization, TrainedLayer, TrainedNetwork
from selvage.mapping.backward import data_gradient_layer, data_gradient_weights, weight_gradient_layer
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Integers, Placement
from selvage.mapping.stages import LayerStage, NetworkPlan
from selvage.mapping.training import Pass, TrainingSchedule
from selvage.mapping.training_cells import CellRow, cell_rows, check_pairs

GRADIENT_BITS = 32
"""Of a sum of weight gradients over a batch."""


@dataclass(frozen=True, eq=False)
class Product:
    """A layer on crossbars whose codes are written in training: its plan, and where each code stands."""

    plan: NetworkPlan
    cells: tuple[CellRow, ...]

    @property
    def placement(self) -> Placement:
        """The layer on the chip."""
        return self.plan.layers[0].placement

    @property
    def leaving(self) -> int:
        """Codes, or sums, of a map that leaves."""
        return self.plan.outputs[0].numbers


def product(layer: Layer, chip: Chip, bits: int, how: Requantization | None, order: Integers, leaving: int) -> Product:
    """Return ``layer`` on ``chip`` for codes of ``bits``; codes of ``leaving`` bits leave, or sums without ``how``."""
    numbers = InputFormat(raw_bits=bits, raw_signed=True)
    placement = place_dense(layer, np.zeros(layer.weight_shape, np.int64), chip, input_format=numbers)
    if len(placement.passes) > 1:
        raise InputError(
            f"layer {layer.name!r} takes {len(placement.passes)} passes with tiles = {chip.tiles} on chip {chip.name}: "
            "a stage of training has all its tiles"
        )
    source = Tensor("x", (layer.channels, layer.height, layer.width), 1.0, numbers)
    made = InputFormat(raw_bits=leaving, raw_signed=True)
    output = Tensor("y", (layer.outputs, *layer.output_size), 1.0, made)
    stage = LayerStage("product", (source,), output, placement, how)
    plan = NetworkPlan(layer.name, (source,), (stage,), (output,), widest=1)
    return Product(plan, cell_rows(layer, chip, numbers, order))


def forward_requantization(own: TrainedLayer, bits: int) -> Requantization:
    """Return what makes codes of a layer's sums: a frozen normalisation, a shift, another one below 0."""
    low, high = code_range(bits)
    normalization = own.normalization
    factors, bias = (normalization.factors, normalization.offsets) if normalization else ((1,), (0,))
    if own.leak is None:
        return Requantization(factors, own.shift, 0, low, high, bias=bias)
    if not own.leak:
        return Requantization(factors, own.shift, 0, low, high, bias=bias, below=(0,) * len(factors))
    above = tuple(factor << own.leak for factor in factors)
    return Requantization(above, own.shift + own.leak, 0, low, high, bias=bias, below=factors)


@dataclass(frozen=True, eq=False)
class BackStage:
    """A layer backward: the products that its stage has.

    ``gradient``: of its weights. ``data``: by branch, of what enters it; a second branch has the error that the
    generator wants, where it shares the way forward. ``leak``, ``gate`` and ``normalization``: of
    what enters it (`golden.training.TrainedLayer`).
    """

    layer: TrainedLayer
    gradient: Product
    data: tuple[Product | None, ...]
    leak: int | None
    gate: int | None = None
    normalization: FrozenNormalization | None = None

    @property
    def branches(self) -> int:
        """Errors that enter."""
        return len(self.data)


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """A training chip: ``networks`` by letter, G and D or D alone, on ``chip`` as ``schedule`` says.

    ``unit_error``: as of `golden.training.Gan`, of a schedule that shares the way forward.

    `InputError`: maps of layers that follow each other differ, codes that the chip cannot hold, or a schedule of other
    layers.
    """

    networks: Mapping[str, TrainedNetwork]
    error_unit: ErrorUnit
    label_of_real: int
    schedule: TrainingSchedule
    chip: Chip
    unit_error: bool = False

    def __post_init__(self) -> None:
        check_pairs(self.chip)
        _check_chip(self.chip)
        layers = {"G": self.schedule.generator, "D": self.schedule.discriminator}
        for name, network in self.networks.items():
            if len(network.layers) != layers[name]:
                raise InputError(f"network {name} has {len(network.layers)} layers, its schedule {layers[name]}")
            _check_formats(name, network, self.chip)
            _check_sums(name, network, self.schedule.batch)
            _check_shifts(name, network, self.error_unit.unit_places if self.unit_error and name == "D" else 0)
        if self.unit_error and not any(own.name == "FG" for own in self.schedule.passes):
            raise InputError("a unit error is of a schedule that shares the way forward: cs or sp+cs")
        for network in self.networks.values():
            if network.layers[-1].normalization:
                raise InputError(f"layer {network.layers[-1].layer.name!r} is a network's last, and is not normalised")
        last = self.networks["D"].layers[-1]
        if last.leak is not None or last.gate is not None:
            raise InputError(f"layer {last.layer.name!r} leaves logits: it is linear, its slope 1 and without a gate")
        if len(self.networks) > 1:
            if self.logits != 1:
                raise InputError(f"a discriminator has one logit, not {self.logits}")
            made, taken = self.networks["G"].layers[-1].layer, self.networks["D"].layers[0].layer
            _check_maps(made, taken)

    @property
    def logits(self) -> int:
        """Codes that leave the last layer before the error."""
        layer = self.networks["D"].layers[-1].layer
        return layer.outputs * layer.output_size[0] * layer.output_size[1]

    def check(self) -> None:
        """Make all products. `InputError`: one of them cannot be."""
        for own in (self.forward, self.back):
            assert own, "a network has layers"

    @cached_property
    def places(self) -> tuple[str, ...]:
        """The networks as they stand on the chip: D1 is the second discriminator."""
        copies = [f"D{copy or ''}" for copy in range(self.schedule.copies)]
        return (*(["G"] if "G" in self.networks else []), *copies)

    def network(self, place: str) -> TrainedNetwork:
        """Return the network that stands at ``place``."""
        return self.networks[place[0]]

    def passes(self, stage: str) -> tuple[Pass, ...]:
        """Return the passes that go through a stage."""
        return tuple(own for own in self.schedule.passes if stage in self.schedule.way(own))

    def graded(self, stage: str) -> tuple[Pass, ...]:
        """Return the passes whose weight gradients are summed in a stage backward."""
        return tuple(own for own in self.passes(stage) if stage[0] == "G" or not own.back or own.name == "FG")

    @cached_property
    def forward(self) -> dict[str, Product]:
        """The product of each stage forward, by its name."""
        return {
            f"{place}_f{k}": product(
                own.layer,
                self.chip,
                network.formats.activations,
                forward_requantization(own, network.formats.activations),
                _in_order(own.layer),
                network.formats.activations,
            )
            for place in self.places
            for network in [self.network(place)]
            for k, own in enumerate(network.layers, 1)
        }

    @cached_property
    def back(self) -> dict[str, BackStage]:
        """Each stage backward, by its name."""
        return {
            f"{place}_b{k}": self._back(place, k)
            for place in self.places
            for k in range(1, len(self.network(place).layers) + 1)
        }

    def _back(self, place: str, k: int) -> BackStage:
        network, name = self.network(place), f"{place}_b{k}"
        own, formats = network.layers[k - 1], network.formats
        before = network.layers[k - 2] if k > 1 else None
        if k == 1 and place == "D" and len(self.networks) > 1:
            before = self.networks["G"].layers[-1]
        of_entered = (before.leak, before.gate, before.normalization) if before else (None, None, None)
        passes = {one.name for one in self.passes(name)}
        shared = place == "D" and "FG" in passes
        if shared and self.unit_error:  # one error serves both networks
            wanted = [True]
        else:
            wanted = [k > 1 or (place == "D" and "G" in passes), *([True] if shared else [])]
        return BackStage(
            own, self._gradient(own, formats.activations, formats.errors),
            tuple(self._data(own, formats.errors) if each else None for each in wanted), *of_entered,
        )  # fmt: skip

    def _data(self, own: TrainedLayer, bits: int) -> Product:
        layer = data_gradient_layer(own.layer)
        how = Requantization((1,), own.error_shift, 0, *code_range(bits))
        return product(layer, self.chip, bits, how, data_gradient_weights(own.layer, _in_order(own.layer)), bits)

    def _gradient(self, own: TrainedLayer, activations: int, errors: int) -> Product:
        layer = weight_gradient_layer(own.layer)
        if own.layer.op != "dense" and layer.output_size != own.layer.kernel:
            raise InputError(
                f"layer {own.layer.name!r} is not trained: its windows do not fill its map (pads = {own.layer.pads}, "
                f"output_padding = {own.layer.output_padding}), and its weight gradient would be {layer.output_size}"
            )
        windows = layer.kernel[0] * layer.kernel[1]
        order = np.arange(windows * layer.outputs).reshape(*layer.kernel, 1, layer.outputs).transpose(3, 2, 0, 1)
        order = order.reshape(layer.weight_shape)
        return product(layer, self.chip, activations if own.layer.op == "conv" else errors, None, order, 32)


def _in_order(layer: Layer) -> Integers:
    return np.arange(np.prod(layer.weight_shape)).reshape(layer.weight_shape)


def _check_formats(name: str, network: TrainedNetwork, chip: Chip) -> None:
    """Check that the chip holds a network's codes, and that maps follow each other."""
    formats = network.formats
    stored = {"weights": formats.weights, "activations": formats.activations, "errors": formats.errors}
    for what, bits in stored.items():
        # A sign and magnitudes; the smallest activation or error has a magnitude more.
        most = chip.weight_bits + (what == "weights")
        if bits > most:
            raise InputError(
                f"{what} of {bits} bits of network {name} are not stored by weight_bits = {chip.weight_bits} of chip "
                f"{chip.name}: they may have {most}"
            )
        if what != "weights" and bits > chip.input_bits:
            raise InputError(
                f"{what} of {bits} bits of network {name} are more than input_bits = {chip.input_bits} of chip "
                f"{chip.name}"
            )
    for own, after in pairwise(network.layers):
        _check_maps(own.layer, after.layer)


def _check_chip(chip: Chip) -> None:
    """Check that a chip's codes are exact and have signs: golden training knows no other."""
    if chip.adc_bits < chip.lossless_adc_bits:
        raise InputError(
            f"training needs an ADC that never clips, and adc_bits = {chip.adc_bits} of chip {chip.name} is below "
            f"{chip.lossless_adc_bits}"
        )
    if not chip.input_signed:
        raise InputError(f"training needs input_signed = true, and chip {chip.name} has false: errors have signs")


def _check_shifts(name: str, network: TrainedNetwork, further: int) -> None:
    """Check that the random register's words reach to where gradients are shifted."""
    for own in network.layers:
        places = own.update_shift + further
        if places > LFSR_BITS:
            raise InputError(
                f"gradients of layer {own.layer.name!r} of network {name} are shifted by {places} places, more than "
                f"{LFSR_BITS}: its learning rate is too low"
            )


def _check_sums(name: str, network: TrainedNetwork, batch: int) -> None:
    """Check that a batch's weight gradients, of two passes, stay within their sums."""
    formats = network.formats
    for own in network.layers:
        layer = own.layer
        sides = layer.output_size if layer.op == "conv" else (layer.height, layer.width)
        terms = 2 * batch * sides[0] * sides[1]
        if terms << formats.activations + formats.errors - 2 >= 2 ** (GRADIENT_BITS - 2):
            raise InputError(
                f"gradients of layer {layer.name!r} of network {name} may leave {GRADIENT_BITS} bits: {terms:,} "
                f"products of activations of {formats.activations} bits and errors of {formats.errors}"
            )


def _check_maps(layer: Layer, after: Layer) -> None:
    made, taken = (layer.outputs, *layer.output_size), (after.channels, after.height, after.width)
    if made != taken:
        raise InputError(f"layer {layer.name!r} makes a map {made}, and layer {after.name!r} takes one of {taken}")
