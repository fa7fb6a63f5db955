"""A window of a tile's run: which steps are dumped, and where."""

import re
from dataclasses import dataclass
from pathlib import Path

from selvage.base.errors import InputError
from selvage.base.text import count_of
from selvage.mapping.schedule import Sweep


def file_name(name: str) -> str:
    """Return the name of a node, which is any text, often with slashes, as a file may be called."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name)


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

    def check(self, sweep: Sweep, images: int, where: str) -> None:
        """Raise `InputError`: the window begins behind the run of ``where``."""
        total = sweep.count * images
        if self.first >= total:
            raise InputError(f"--waves-from {self.first} is beyond the {count_of(total, 'step')} of {where}")
