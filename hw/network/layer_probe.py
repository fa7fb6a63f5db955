"""What passes between the parts of a layer, for waves."""

from typing import Any

from amaranth.lib import data


def layer_probe(p: Any) -> data.StructLayout:
    """Return the layout of what a layer of `hw.network.layer.LayerParameters` shows.

    ``fed_k`` has {valid, ready} of each tile's input, ``word_k`` its word; then come the words of the collector, and
    those of the requantisation.
    """
    words = {f"word_{k}": tile.buffer.lanes * tile.buffer.format.raw_bits for k, tile in enumerate(p.tiles)}
    sums, codes = p.collector.sum_width * p.leaving, p.output_bits * p.leaving
    streams = {"collected": 2, "sums": sums, "requantized": 2, "codes": codes}
    return data.StructLayout({**{f"fed_{k}": 2 for k in range(len(p.tiles))}, **words, **streams})
