"""A window of a tile's run: which steps are dumped, and where."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selvage.base.errors import InputError
from selvage.base.text import count_of
from selvage.mapping.schedule import Sweep

SUFFIXES = (".fst", ".json", ".gtkw", ".sucl")  # of what stands beside each other
LONGEST = 80  # letters of a name in the name of a file


def file_names(names: Sequence[str]) -> list[str]:
    """Return what nodes may be called in names of files: their names are any text, often with slashes, some alike."""
    found: list[str] = []
    for index, name in enumerate(names):
        own = re.sub(r"[^A-Za-z0-9.-]+", "_", name)[:LONGEST]
        found.append(f"{own}_node{index}" if own in found or not own.strip("._-") else own)
    return found


@dataclass(frozen=True)
class Window:
    """Steps ``first`` to ``first + steps`` - 1 of all images are dumped to ``file``; None: all to the end.

    ``alone``: the run ends with the window, for nothing but the waves is wanted of it.
    """

    file: Path
    first: int = 0
    steps: int | None = None
    alone: bool = False

    def until(self, sweep: Sweep) -> int:
        """Return before which output block, of all images, the window ends; 0: never.

        Where steps overlap, a block is whole after its last step.
        """
        if self.steps is None:
            return 0
        image, step = divmod(self.first + self.steps - 1, sweep.count)
        if not sweep.overlap:
            return image * sweep.count + step + 1
        row, column = divmod(step, sweep.steps[1])
        # Beats of the step that are no block's last come behind it, and before the next block leaves.
        return image * sweep.grid[0] * sweep.grid[1] + row * sweep.grid[1] + column + 2

    def within(self, total: int, where: str) -> "Window":
        """Return the part of it that lies within ``total`` steps.

        `InputError`: it begins behind the run of ``where``, or something that is no file is in its files' places.
        """
        if self.first >= total:
            raise InputError(f"--waves-from {self.first} is beyond the {count_of(total, 'step')} of {where}")
        for suffix in SUFFIXES:
            path = self.file.with_suffix(suffix)
            if path.is_dir():
                raise InputError(f"waves {path} cannot be written: a folder is there")
        return self if self.steps is None else replace(self, steps=min(self.steps, total - self.first))
