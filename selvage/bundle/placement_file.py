"""The places of a layer's weights, for the files that name them."""

from selvage.mapping.placement import Placement, Tile
from selvage.mapping.schedule import taps_of


def describe_placement(placement: Placement) -> dict:
    """Return all that it takes to find every weight of a layer in the cells, and every output; see `PLACEMENT`."""
    sweep = placement.sweep
    phases = [list(phase) for phase in sweep.phases]
    return {
        "mapping": placement.mapping,
        "schedule": placement.schedule,
        "fold": placement.fold,
        "layer": placement.layer.model_dump(),
        "weight_offset": placement.weight_offset,
        "phases": phases,
        "taps": [
            {"kernel": tap.kernel, "offset": tap.offset, "phase": phases.index(list(tap.phase))}
            for tap in taps_of(placement.layer, placement.schedule)
        ],
        "copies": placement.copies,
        "step": {"stride": sweep.stride, "insert": sweep.insert, "block": sweep.block, "crop": sweep.crop},
        "tiles": [describe_tile(tile) for tile in placement.tiles],
    }


def describe_tile(tile: Tile) -> dict:
    """Return the channels and pixels that a tile takes, and its arrays."""
    return {
        "first_channel": tile.first_channel,
        "channels": tile.channels,
        "pixels": tile.offsets,
        "arrays": describe_arrays(tile),
    }


def describe_arrays(tile: Tile) -> list[dict]:
    """Return where the weights lie in each array."""
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


PLACEMENT = """\
Entry w of a block's `window` is the row's input: pixel w / `channels` of the tile's `pixels` (rounded down), channel
`first_channel` + w % `channels`. Entry o of `outputs` is channel o % `outputs` (of `layer`) in phase o / `outputs`
(rounded down) of `phases`. The one of `taps` with that pixel as `offset` and that phase says which kernel position this
is: their weight stands at word line `row` + (index of w) in `slices` neighbouring columns, lowest first, `cell_bits`
each, from `column` + `slices` * (index of o). Of several `significances` each has such columns of its own, a band after
the other, each from a multiple of `ou_cols` on. Its value is all these cells together, times 2 to the power of its
significance and of the row's `shifts`, times the array's `polarity`, all of it added up; `weight_offset` was added to
each weight before it was stored. What stands nowhere is 0. Channels count within the layer, not within a group.

The `tiles` stand `copies` times, with the same cells each: the crossbars of the first copy come first, then those of
the next. Of `k` copies, copy `j` computes the steps `j`, `j + k`, `j + 2k` and so on of each image, in raster order.

Step (y, x) of the `phases` is output pixel (y, x) * `block` + phase - `crop`, of `step`; a tap reads the pixel
(y, x) * `stride` + offset of a map with a pixel of the input every `insert` rows and columns and zeros between.
"""
