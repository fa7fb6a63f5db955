"""Where the weights of a placement lie, for the files that name them."""

from mapping.placement import Tile


def describe_arrays(tile: Tile) -> list[dict]:
    """Where the weights lie in each array."""
    return [
        {
            "polarity": array.polarity,
            "slices": array.slices,
            "blocks": [
                {
                    "row": block.row,
                    "column": block.column,
                    "window": block.window.tolist(),
                    "shifts": block.shifts.tolist(),
                    "outputs": block.outputs.tolist(),
                    "significances": block.significances,
                }
                for block in array.blocks
            ],
        }
        for array in tile.arrays
    ]
