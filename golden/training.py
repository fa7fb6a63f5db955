"""Training in fixed point: a network forward and backward, its update, and iterations of one and of two networks.

Every tensor has a power-of-two scale, which a calibration set (`selvage.golden.calibration`): what lies between two
products is a shift with halves to even and a saturation. Weights have no bias. The order of sums does not matter: they
are integers, and nothing is rounded before a sum is whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selvage.base.layer import Layer
from selvage.golden.dense import Integers
from selvage.golden.fixed_point import code_range, random_words, saturated, shifted, shifted_randomly
from selvage.golden.gradients import data_gradient, weight_gradient
from selvage.golden.layer import evaluate

Codes = NDArray[np.int64]
Weights = tuple[Codes, ...]


@dataclass(frozen=True)
class Formats:
    """Bits of two's-complement codes."""

    activations: int = 8
    errors: int = 8
    weights: int = 8


@dataclass(frozen=True)
class FrozenNormalization:
    """A multiply-add for each channel of a layer's sums, whose numbers are not trained.

    It is normalisation with the statistics of a reference batch (virtual batch normalisation, Salimans et al., NIPS
    2016): ``(sums + offset) * factor``, factors at most ``2**places``. Errors go back times ``factor / 2**places``.
    """

    factors: tuple[int, ...]
    offsets: tuple[int, ...]
    places: int

    def __post_init__(self) -> None:
        if not all(0 < factor <= 2**self.places for factor in self.factors):
            raise ValueError(f"factors must be from 1 to {2**self.places}, not {self.factors}")

    def applied(self, sums: Codes) -> Codes:
        """Return sums (N, C, H, W) normalised."""
        factors, offsets = (np.array(own, np.int64)[:, None, None] for own in (self.factors, self.offsets))
        return (sums + offsets) * factors

    def back(self, error: Codes) -> Codes:
        """Return the error of sums from that of normalised ones."""
        return shifted(error * np.array(self.factors, np.int64)[:, None, None], self.places)


@dataclass(frozen=True)
class TrainedLayer:
    """A layer and the shifts around its products.

    ``shift`` is from its sums to the codes that leave it, ``error_shift`` from the sums of its data gradient to the
    error codes of what entered it, ``update_shift`` from its summed weight gradient to steps of its weights: all by
    the scales and the learning rate. ``leak`` is of what is below 0: None for a linear layer, else 2**-leak of it is
    left, or nothing where it is 0. ``gate``: bits of the codes that leave, where the error that would push saturated
    ones further is dropped; None: all errors pass. ``normalization`` is of the sums, before the shift and the leak.
    """

    layer: Layer
    shift: int
    error_shift: int
    update_shift: int
    leak: int | None = None
    gate: int | None = None
    normalization: FrozenNormalization | None = None

    def activated(self, sums: Codes, bits: int) -> Codes:
        """Return the codes that leave of the layer's sums."""
        if self.normalization:
            sums = self.normalization.applied(sums)
        codes = shifted(sums, self.shift)
        if self.leak is not None:
            below = shifted(sums, self.shift + self.leak) if self.leak else np.zeros_like(codes)
            codes = np.where(sums < 0, below, codes)
        return saturated(codes, bits)

    def error_of_sums(self, error: Codes, leaving: Codes) -> Codes:
        """Return the error of the layer's sums from that of the codes ``leaving``.

        Their signs tell the slope, and at their ends the gate is closed to one sign of the error.
        """
        shape = len(error), self.layer.outputs, *self.layer.output_size
        error, leaving = error.reshape(shape), leaving.reshape(shape)
        if self.gate is not None:
            low, high = code_range(self.gate)
            further = ((leaving == low) & (error > 0)) | ((leaving == high) & (error < 0))
            error = np.where(further, 0, error)
        if self.leak is not None:
            below = shifted(error, self.leak) if self.leak else np.zeros_like(error)
            error = np.where(leaving > 0, error, below)
        return self.normalization.back(error) if self.normalization else error


@dataclass(frozen=True)
class TrainedNetwork:
    """Layers in order; what leaves one enters the next, reshaped where the next is, or was, dense."""

    layers: tuple[TrainedLayer, ...]
    formats: Formats = Formats()

    def forward(self, weights: Weights, x: Integers) -> list[Codes]:
        """Return what enters each layer and what leaves the last, (N, C, H, W) each, for input codes ``x``."""
        maps = [x.astype(np.int64)]
        for own, w in zip(self.layers, weights, strict=True):
            layer = own.layer
            maps[-1] = maps[-1].reshape(len(x), layer.channels, layer.height, layer.width)
            maps.append(own.activated(evaluate(layer, maps[-1], w), self.formats.activations))
        return maps

    def errors(self, weights: Weights, maps: Sequence[Codes], error: Codes) -> list[Codes]:
        """Return the error of what entered the network, then that of each layer's sums.

        ``maps`` are `forward`'s, ``error`` that of what left.
        """
        found: list[Codes] = []
        for index in reversed(range(len(self.layers))):
            own = self.layers[index]
            found.append(own.error_of_sums(error, maps[index + 1]))
            sums = data_gradient(own.layer, found[-1], weights[index])
            error = saturated(shifted(sums, own.error_shift), self.formats.errors)
        return [error, *reversed(found)]

    def gradients(self, maps: Sequence[Codes], errors: Sequence[Codes]) -> Weights:
        """Return the weight gradients of every layer, of `forward`'s ``maps`` and `errors`."""
        return tuple(
            weight_gradient(own.layer, entered, error)
            for own, entered, error in zip(self.layers, maps, errors[1:], strict=False)
        )

    def updated(
        self, weights: Weights, gradients: Weights, random: "Random | None" = None, *, further: int = 0
    ) -> Weights:
        """Return the weights less their rounded, shifted gradients, within their codes; ``further`` places of a shift.

        Halves go to even, or ``random`` decides: its words go to the weights layer by layer, each in the order of its
        memory. The smallest code is left out: magnitudes are stored.
        """
        high = code_range(self.formats.weights)[1]
        found = []
        for own, w, gradient in zip(self.layers, weights, gradients, strict=True):
            if random is None:
                step = shifted(gradient, own.update_shift + further)
            else:
                step = shifted_randomly(gradient, own.update_shift + further, random.words(w.size).reshape(w.shape))
            found.append(np.clip(w - step, -high, high))
        return tuple(found)


@dataclass
class Random:
    """The register that rounds stochastically; one for each network."""

    state: int

    def words(self, count: int) -> Codes:
        """Return the next words (`random_words`)."""
        found, self.state = random_words(self.state, count)
        return found


@dataclass(frozen=True)
class ErrorUnit:
    """The output error of logits: the sigmoid, from a table, of each less ``offset``; less the label.

    It is the gradient of the cross entropy of each logit; the offset is a bias that all of them share. Logit codes have
    ``fraction`` bits behind the point, error codes all but their sign.
    """

    logit_bits: int
    fraction: int
    error_bits: int
    offset: float = 0
    table: Codes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        low, high = code_range(self.logit_bits)
        logits = np.arange(low, high + 1) * 2.0**-self.fraction - self.offset
        object.__setattr__(self, "table", np.rint(self.one * np.exp(-np.logaddexp(0, -logits))).astype(np.int64))

    @property
    def one(self) -> int:
        """The code of a probability of one."""
        return 2 ** (self.error_bits - 1)

    @property
    def unit_places(self) -> int:
        """Places of the unit error, a power of two within the codes."""
        return self.error_bits - 2

    def error(self, logits: Codes, labels: Codes) -> Codes:
        """Return error codes of logit codes; ``labels`` are codes from 0 to `one`."""
        low = code_range(self.logit_bits)[0]
        return saturated(self.table[logits - low] - labels, self.error_bits)


@dataclass(frozen=True)
class State:
    """Weights of a generator and a discriminator, and their registers' states (0 without stochastic rounding)."""

    generator: Weights
    discriminator: Weights
    random: tuple[int, int] = (0, 0)
    iteration: int = 0

    def of(self, network: str) -> Weights:
        """Return the weights of network G or D."""
        return self.generator if network == "G" else self.discriminator


@dataclass(frozen=True, eq=False)
class Way:
    """What a batch left on its way: maps of the generator and of the discriminator, errors (`TrainedNetwork.errors`).

    ``back``: the errors of the generator, where it goes back through it; ``scale`` (N, 1, 1, 1): those of the logits.
    """

    made: list[Codes]
    judged: list[Codes]
    errors: list[Codes]
    back: list[Codes] = field(default_factory=list)
    scale: Codes = field(default_factory=lambda: np.zeros((0, 1, 1, 1), np.int64))


@dataclass(frozen=True)
class Gan:
    """Two networks trained against each other; ``label_of_real`` is a code up to `ErrorUnit.one`.

    A discriminator of several logits has one for each class: whether an image is real and of that class.

    ``unit_error``, with simultaneous descent: a unit error goes back through the discriminator, once for both networks,
    and what it leaves is multiplied by each error of the logit (Computation Sharing of ReGAN, ASP-DAC 2018): going back
    is linear in the error of a single logit, but for the rounding.
    """

    generator: TrainedNetwork
    discriminator: TrainedNetwork
    error_unit: ErrorUnit
    label_of_real: int
    descent: Literal["alternating", "simultaneous"] = "alternating"
    unit_error: bool = False

    def __post_init__(self) -> None:
        if self.unit_error and self.descent != "simultaneous":
            raise ValueError("a unit error is of simultaneous descent")

    def iterate(self, state: State, real: Codes, noise: Sequence[Codes], classes: Sequence[Codes] = ()) -> State:
        """Return the state after one update of each network (`followed`)."""
        return self.followed(state, real, noise, classes)[0]

    def followed(
        self, state: State, real: Codes, noise: Sequence[Codes], classes: Sequence[Codes] = ()
    ) -> "tuple[State, dict[str, Way]]":
        """Return the state after one update of each network, and what passes R, F and G did.

        ``real`` (N, C, H, W) are image codes. Alternating descent takes two batches of ``noise``, one for each network;
        the generator's error passes the updated discriminator. Simultaneous descent takes one, and the error passes
        the discriminator as it was: F and G have one way forward. ``classes``: of the real images, and of the images
        that the generator is to make of the last batch of noise; without them the labels are those of all logits.
        """
        of_real, wanted = classes or (None, None)
        weights = {"G": state.generator, "D": state.discriminator}
        ways = {
            "R": self._judged(weights["D"], [real], self.label_of_real, of_real),
            "F": self._judged(weights["D"], self.generator.forward(weights["G"], noise[0]), 0),
        }
        randoms = [Random(own) if own else None for own in state.random]
        gradients = self._added(*(self._gradients(ways[k]) for k in "RF"))
        further = self.error_unit.unit_places if self.unit_error else 0
        discriminator = self.discriminator.updated(weights["D"], gradients, randoms[1], further=further)
        made, through = ways["F"].made, weights["D"]
        if self.descent == "alternating":
            through = discriminator
            made = self.generator.forward(weights["G"], noise[1])
        way = self._judged(through, made, self.error_unit.one, wanted)
        way = replace(way, back=self.generator.errors(weights["G"], made, self._wanted(way)))
        ways["G"] = way
        generator = self.generator.updated(weights["G"], self.generator.gradients(made, way.back), randoms[0])
        after = tuple(own.state if own else 0 for own in randoms)
        moved = replace(
            state,
            generator=generator,
            discriminator=discriminator,
            random=(after[0], after[1]),
            iteration=state.iteration + 1,
        )
        return moved, ways

    def _judged(self, weights: Weights, made: list[Codes], label: int, classes: Codes | None = None) -> "Way":
        """Return the way of what the generator ``made``, or of images, through the discriminator and back.

        The label is that of all logits, or, with ``classes``, of the one of each image's class; of the others it is 0.
        """
        judged = self.discriminator.forward(weights, made[-1])
        labels = np.full_like(judged[-1], label)
        if classes is not None:
            labels[classes[:, None] != np.arange(labels.shape[1])] = 0
        error = self.error_unit.error(judged[-1], labels)
        back = np.full_like(error, 2**self.error_unit.unit_places) if self.unit_error else error
        return Way(made, judged, self.discriminator.errors(weights, judged, back), scale=error)

    def _gradients(self, way: "Way") -> Weights:
        """Return the discriminator's gradients of a way: of a unit error, times the logit's."""
        errors = [error * way.scale for error in way.errors] if self.unit_error else way.errors
        return self.discriminator.gradients(way.judged, errors)

    def _wanted(self, way: "Way") -> Codes:
        """Return the error of what the generator made."""
        if not self.unit_error:
            return way.errors[0]
        wanted = shifted(way.errors[0] * way.scale, self.error_unit.unit_places)
        return saturated(wanted, self.discriminator.formats.errors)

    @staticmethod
    def _added(first: Weights, second: Weights) -> Weights:
        return tuple(a + b for a, b in zip(first, second, strict=True))


def train_step(
    network: TrainedNetwork,
    error_unit: ErrorUnit,
    weights: Weights,
    x: Codes,
    labels: Codes,
    random: Random | None = None,
) -> tuple[Weights, Codes]:
    """Return the weights after a batch of one network, and its logits; ``labels`` have the logits' shape."""
    maps = network.forward(weights, x)
    error = error_unit.error(maps[-1], labels.reshape(maps[-1].shape))
    gradients = network.gradients(maps, network.errors(weights, maps, error))
    return network.updated(weights, gradients, random), maps[-1]


@dataclass(frozen=True)
class Supervised:
    """One network that learns labels: the error of each logit is against 1 for the label's, else 0."""

    network: TrainedNetwork
    error_unit: ErrorUnit

    def followed(self, state: State, x: Codes, labels: Codes) -> tuple[State, dict[str, Way]]:
        """Return the state after a batch, and what its pass R did; ``labels`` (N,) are numbers of logits.

        The weights are those of the state's discriminator.
        """
        weights = state.discriminator
        judged = self.network.forward(weights, x)
        wanted = np.zeros((len(x), judged[-1][0].size), np.int64)
        wanted[np.arange(len(x)), labels] = self.error_unit.one
        error = self.error_unit.error(judged[-1], wanted.reshape(judged[-1].shape))
        errors = self.network.errors(weights, judged, error)
        random = Random(state.random[1]) if state.random[1] else None
        updated = self.network.updated(weights, self.network.gradients(judged, errors), random)
        after = state.random[0], random.state if random else 0
        moved = replace(state, discriminator=updated, random=after, iteration=state.iteration + 1)
        return moved, {"R": Way([x], judged, errors)}
