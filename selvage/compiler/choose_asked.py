"""The mapping of a layer that options ask for; what they leave open is chosen by the cycle model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selvage.base.chip import Chip
from selvage.base.layer import Layer
from selvage.compiler.choose import Choice, choose
from selvage.mapping.dense import dense_kinds
from selvage.mapping.schedule import choose as schedule_of
from selvage.mapping.sme import SmeParameters, place_sme, worth

Integers = NDArray[np.int64]


def choose_asked(
    layer: Layer,
    weights: Integers,
    chip: Chip,
    codes: Integers,
    *,
    mapping: str,
    schedules: Sequence[str] | None,
    sme: SmeParameters | None,
    **how: Any,
) -> Choice:
    """Choose (`choose`) among what ``mapping`` (``auto``: all of them) and ``schedules`` allow.

    Planes change weights: ``auto`` takes them only when ``sme`` asks for them and they are `worth` it, and then it
    does take them. ``pattern`` with ``sme`` stores each plane by patterns. ``how`` is what `choose` takes else.
    """
    open_ones = {"schedules": schedules, **how}
    if mapping != "auto":
        return choose(layer, weights, chip, codes, mappings=[mapping], sme=sme, **open_ones)
    if sme is None:
        return choose(layer, weights, chip, codes, **open_ones)
    keys = _keys(layer, schedules, how)
    planes, _ = place_sme(layer, weights, chip, parameters=sme, **keys)
    kinds, order = dense_kinds(layer, chip, **keys)
    dense = sum(len(kinds.tiles[kind].arrays) for kind in order)
    if worth(planes.crossbars, dense):
        choice = choose(layer, weights, chip, codes, mappings=["sme"], sme=sme, **open_ones)
        return choice._replace(note=f"planes take {planes.crossbars:,} arrays instead of {dense:,}")
    choice = choose(layer, weights, chip, codes, **open_ones)
    note = f"no planes, they gain too little: {planes.crossbars:,} arrays instead of {dense:,}"
    return choice._replace(note=f"{note}; {choice.note}" if choice.note else note)


def _keys(layer: Layer, schedules: Sequence[str] | None, how: dict[str, Any]) -> dict[str, Any]:
    """Return arguments of the placements that are not left to `choose`."""
    schedule = schedules[0] if schedules else schedule_of(layer, "auto")
    return {"input_format": how["input_format"], "schedule": schedule, "dynamic": how["dynamic"][0]}
