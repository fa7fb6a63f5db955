"""What stands beside a tile's waves: what the numbers in them mean, so that they can be told without the model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selvage import __version__
from selvage.base.errors import InputError
from selvage.base.files import write_whole
from selvage.hw.tile.output import output_beats
from selvage.hw.tile.parameters import TileParameters
from selvage.rtlsim.simulate import design_of
from selvage.rtlsim.waves.monitor import DESIGN_LETTERS
from selvage.rtlsim.waves.signals import tile_scopes
from selvage.rtlsim.waves.viewers import write_save_files
from selvage.rtlsim.waves.window import Window
from selvage.sim.machine import ou_reads

FORM = 1  # of the file


@dataclass(frozen=True)
class Described:
    """A tile as its waves need it.

    ``reads`` are (row, column, word) of each cycle of a load, offsets from a step's base; ``begins`` and ``insert`` as
    in the load plan and the sweep. ``arrays`` are the crossbars of each reader, ``dense`` the OU reads of a step in it
    with nothing skipped. ``outputs`` are the ids of each lane of each beat.
    """

    form: int
    version: str
    digest: str
    layer: str
    tile: int
    images: int
    steps: tuple[int, int]
    grid: tuple[int, int]
    stride: tuple[int, int]
    insert: tuple[int, int]
    size: tuple[int, int]
    words: int
    reads: list[list[int]]
    begins: list[int]
    kinds: int
    computed: tuple[int, int]  # first step and every how many: of a copy
    arrays: list[list[int]]
    dense: list[int]
    ou_cols: int
    channels: int
    outputs: list[list[int | None]]
    asked: tuple[int, int]  # the steps that were asked for: the first, and how many


def description(p: TileParameters, tile: int, images: int, window: Window) -> Described:
    """Return what the waves of a tile need."""
    total = (
        p.placement.sweep.count * images if p.placement.sweep.every == 1 else images * len(p.placement.sweep.computed)
    )
    left = total - window.first
    sweep, buffer = p.placement.sweep, p.buffer
    every = np.full((1, len(p.tile.offsets) * p.tile.channels), -1)  # every row drives in every plane
    return Described(
        form=FORM,
        version=__version__,
        digest=design_of(p)[:DESIGN_LETTERS],
        layer=p.placement.layer.name,
        tile=tile,
        images=images,
        steps=sweep.steps,
        grid=sweep.grid,
        stride=sweep.stride,
        insert=sweep.insert,
        size=sweep.size,
        words=buffer.words,
        reads=[list(read) for read in buffer.reads],
        begins=list(buffer.begins),
        kinds=sweep.kinds,
        computed=(sweep.first, sweep.every),
        arrays=[list(arrays) for arrays in p.tile.read_together],
        dense=[int(ou_reads(p.placement, array, every, skip=False)[0]) for array in p.tile.readers],
        ou_cols=p.chip.ou_cols,
        channels=p.placement.layer.outputs,
        outputs=output_beats(p),
        asked=(window.first, left if window.steps is None else min(window.steps, left)),
    )


def describe(p: TileParameters, window: Window, tile: int, images: int, *, marker: int | None = None) -> Path:
    """Write ``NAME.json`` beside ``NAME.fst``, and what viewers need; return GTKWave's file."""
    fst, text = window.file, json.dumps(vars(description(p, tile, images, window))) + "\n"
    write_whole(fst.with_suffix(".json"), text.encode())
    return write_save_files(tile_scopes(p), fst, marker=marker)


def load_description(fst: Path) -> Described:
    """Read what stands beside waves. `InputError`: it is not there, or is not of this version's form."""
    path = fst.with_suffix(".json")
    if not path.exists():
        raise InputError(
            f"waves {fst} have no {path.name} beside them, which says what they mean: only those of a tile have"
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}, which says what the waves {fst} mean, cannot be read: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{path}, which says what the waves {fst} mean, is no JSON") from None
    if not isinstance(content, dict) or content.get("form") != FORM:
        raise InputError(f"{path} does not describe waves of selvage {__version__}")
    try:
        return Described(**content)
    except TypeError:
        raise InputError(f"{path} does not describe waves of selvage {__version__}") from None
