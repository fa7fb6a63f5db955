"""What stands beside a tile's waves: what the numbers in them mean, so that they can be told without the model."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

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


Count = Annotated[int, Field(ge=0, le=2**31)]
Size = Annotated[int, Field(ge=1, le=2**31)]
Pair = tuple[Size, Size]


class Described(BaseModel):
    """A tile as its waves need it.

    ``reads`` are (row, column, word) of each cycle of a load, offsets from a step's base; ``begins`` and ``insert`` as
    in the load plan and the sweep. ``asked``: others in the waves were under way. ``arrays`` are the crossbars of each
    reader, ``dense`` the OU reads of a step in it with nothing skipped. ``outputs`` are the ids of each lane of each
    beat.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    form: int
    version: str
    digest: str
    layer: str
    tile: Count
    images: Size
    steps: Pair
    grid: Pair
    stride: Pair
    insert: Pair
    size: Pair
    words: Size
    reads: list[tuple[int, int, Count]] = Field(min_length=1)
    begins: list[Count] = Field(min_length=1)
    kinds: Size
    computed: tuple[Count, Size]  # first step and every how many: of a copy
    arrays: list[list[Count]] = Field(min_length=1)
    dense: list[Count]
    ou_cols: Annotated[int, Field(ge=1, le=2**16)]
    channels: Size
    outputs: list[list[Count | None]] = Field(min_length=1)
    asked: tuple[Count, Count]  # the steps that were asked for: the first, and how many

    @model_validator(mode="after")
    def _agrees(self) -> "Described":
        rows, columns = self.steps
        if len(self.dense) != len(self.arrays) or not all(1 <= len(arrays) <= 2 for arrays in self.arrays):
            raise ValueError("arrays, of one or two crossbars, and dense are lists of the same readers")
        if len(self.begins) != self.kinds or max(self.begins) > len(self.reads):
            raise ValueError("each kind of step begins in a cycle of the load")
        if len({len(beat) for beat in self.outputs}) != 1 or not self.outputs[0]:
            raise ValueError("each beat has as many lanes")
        if self.computed[0] >= rows * columns or any(a < b for a, b in zip(self.grid, self.steps, strict=True)):
            raise ValueError("steps are part of the grid")
        return self


def description(p: TileParameters, tile: int, images: int, window: Window) -> Described:
    """Return what the waves of a tile need."""
    left = images * len(p.placement.sweep.computed) - window.first
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
        reads=list(buffer.reads),
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
    fst, text = window.file, description(p, tile, images, window).model_dump_json() + "\n"
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
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}, which says what the waves {fst} mean, cannot be read: {error}") from None
    try:
        return Described.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        says = f": {where}: {first['msg']}" if where else f": {first['msg']}"
        raise InputError(f"{path} does not describe waves of selvage {__version__}{says}") from None
