"""Tiles in RTL, for figures that are measured."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selvage.hw.tile.parameters import TileParameters
from selvage.mapping.placement import Placement
from selvage.rtlsim.simulate import TileResult, simulate_tile


def tiles_in_rtl(placed: Placement, x: NDArray[np.int64], *, skip: bool, simulator: str = "icarus") -> list[TileResult]:
    """Return what each tile of one copy yields for activations ``x`` (N, C, H, W) as they come, one after the other."""
    return [simulate_tile(TileParameters(placed, tile, skip=skip), x, simulator=simulator) for tile in placed.tiles]


def reads_of(results: Sequence[TileResult]) -> int:
    """Return the OU reads of all tiles, of all their macros."""
    return sum(sum(result.reads) for result in results)
