"""A single layer placed on a chip, with the activations that it is compiled for."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.errors import InputError
from selvage.base.layer import InputFormat
from selvage.base.noise import Noise
from selvage.compiler.chip_limits import check_collected, clipping
from selvage.compiler.choose_asked import choose_asked
from selvage.compiler.model_file import Model, check_weights, input_format, to_maps
from selvage.compiler.options import Options
from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.dense import place_dense
from selvage.mapping.placement import Placement
from selvage.mapping.schemes import scheme
from selvage.sim.cycles import TileCycles
from selvage.sim.devices import Devices
from selvage.sim.layer import alone_cycles

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Compiled:
    """A layer on a chip with its activations."""

    model: Model
    placement: Placement
    maps: Integers  # (N, C, H, W) activations as they come
    weights: Integers  # that the placement computes with
    dense: Placement  # the same weights, all of them stored
    warning: str = ""
    note: str = ""  # why `auto` chose as it did
    noise: Noise | None = None

    @cached_property
    def devices(self) -> Devices | None:
        """Crossbars that are not ideal."""
        return Devices(self.placement, self.noise) if self.noise else None

    @property
    def codes(self) -> Integers:
        """Activations with the zero point subtracted."""
        return self.maps - self.placement.format.zero_point


def compile_layer(model: Model, chip: Chip, x: Integers, options: Options, *, written: bool = False) -> Compiled:
    """Place ``model`` for activations ``x`` in ONNX's layout; ``written``: as of `compile_network`.

    Raises `InputError`.
    """
    chip = chip.not_ideal() if options.noise else chip
    if options.mapping != "auto":
        scheme(options.mapping).check(chip, options.sme)
    check_weights(model, chip)
    numbers = input_format(model, chip, x)
    if written:
        check_collected(model.layer, model.weights, numbers.raw_bits, chip, options)
    warning = clipping(chip, lossless=options.lossless)
    maps = to_maps(model, x)
    placement, weights, dense, note = place(model, chip, numbers, maps - numbers.zero_point, options)
    found = Compiled(model, placement, maps, weights, dense, warning, note, options.noise)
    _ = found.devices  # a chip whose wires leave no level is refused here
    return found


def place(
    model: Model, chip: Chip, numbers: InputFormat, codes: Integers, options: Options
) -> tuple[Placement, Integers, Placement, str]:
    """Return the placement, the weights it stands for, the dense mapping on its schedule, and why ``auto`` chose it.

    What mapping and schedule leave open is chosen by the cycle model for the first image of ``codes`` (N, C, H, W),
    zero point subtracted; planes are taken only as `choose_asked` says, for weights change by them. Folding is
    for dense arrays on the schedule that has phases.
    """
    layer, weights = model.layer, model.weights
    how = {"input_format": numbers, "dynamic": options.dynamic}
    if options.fold != 1 and (options.mapping not in ("auto", "dense") or options.sme):
        raise InputError(f"--fold {options.fold} needs the dense mapping: others do not share rows")
    settled = layer.op != "conv_transpose" or options.schedule != "auto"
    if options.fold != 1 or (options.mapping == "dense" and settled):
        placement = place_dense(layer, weights, chip, schedule=options.schedule, fold=options.fold, **how)
        return placement, weights, placement, ""
    chosen = choose_asked(
        layer,
        weights,
        chip,
        codes,
        input_format=numbers,
        mapping=options.mapping,
        schedules=None if options.schedule == "auto" else [options.schedule],
        dynamic=(options.dynamic,),
        skip=options.skip,
        sme=options.sme,
    )
    placement = chosen.placement
    if placement.mapping == "dense":
        return placement, weights, placement, chosen.note
    dense = place_dense(layer, weights, chip, schedule=placement.schedule, **how)
    return placement, chosen.weights, dense, chosen.note


def predict(compiled: Compiled, options: Options) -> list[TileCycles]:
    """Return what the cycle model predicts of every tile."""
    return alone_cycles(compiled.placement, compiled.codes, skip=options.skip)


def tile_parameters(compiled: Compiled, options: Options) -> list[TileParameters]:
    """Return the parameters of every tile, in order; with waves they have probes."""
    shown = options.waves is not None
    return [
        TileParameters(compiled.placement, tile, skip=options.skip, probes=shown) for tile in compiled.placement.tiles
    ]
