"""Where the weights of a placement lie, for the files that name them."""

from mapping.placement import Placement, Tile


def describe_tiles(placement: Placement) -> list[dict]:
    """The channels that each tile takes, and its arrays."""
    return [
        {"first_channel": own.first_channel, "channels": own.channels, "arrays": describe_arrays(own)}
        for own in placement.tiles
    ]


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
