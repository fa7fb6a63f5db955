"""What passes between a tile's components, shown at its face for waves: behind a parameter, nothing of it otherwise."""

from typing import Any

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import data

from selvage.hw.tile.buffer import buffer_probe
from selvage.hw.tile.engine import engine_probe
from selvage.hw.tile.parameters import EngineParameters, TileParameters
from selvage.hw.tile.splice import beat_layout
from selvage.hw.tile.streams import tag_layout


def reader_probe(p: EngineParameters, *, paired: bool) -> data.StructLayout:
    """Return the layout of what is shown of a reader: its engine, the tags of its reads, and of a pair its codes."""
    tag = tag_layout(p.slots_used, p.planes, p.driven_bits)
    shown = {"tag_valid": 1, "tag_ready": 1, "tag": tag, "engine": engine_probe(p)}
    codes = {"codes_valid": 1, "codes_ready": 1, "codes": 2 * p.ou_cols * p.adc_bits}
    return data.StructLayout({**shown, **(codes if paired else {})})


def probes_of(p: TileParameters) -> dict[str, data.StructLayout]:
    """Return the tile's members that show what happens in it, by name; none where it has no probes.

    ``probe_load`` has words of the window a cycle after their ``valid``; ``probe_sums_k`` the sums of reader k a cycle
    after its ``go``; ``probe_splice`` the beats of the splice.
    """
    if not p.probes:
        return {}
    lanes = data.ArrayLayout(p.buffer.format.bits, p.buffer.lanes)
    found = {
        "probe_buffer": buffer_probe(p.buffer),
        "probe_load": data.StructLayout({"valid": 1, "last": 1, "data": lanes}),
        "probe_splice": data.StructLayout({"valid": 1, "ready": 1, "beat": beat_layout(p)}),
    }
    for k, (engine, sums) in enumerate(zip(p.engines, p.accumulators, strict=True)):
        bits = sums.width * (sums.lanes + bool(sums.driven_bits))
        found[f"probe_reader_{k}"] = reader_probe(engine, paired=sums.paired)
        found[f"probe_sums_{k}"] = data.StructLayout({"go": 1, "sums": bits})
    return found


def show(m: Module, tile: Any) -> None:
    """Connect the probes of a `hw.tile.tile.Tile`."""
    load, splice = tile.buffer.load, tile.splice
    m.d.comb += [
        tile.probe_buffer.eq(tile.buffer.probe),
        *_set(tile.probe_load, valid=load.valid, last=load.last, data=load.data),
        *_set(tile.probe_splice, valid=splice.o.valid, ready=splice.o.ready, beat=splice.o.payload),
    ]
    for k, (engine, accumulator) in enumerate(zip(tile.engines, tile.accumulators, strict=True)):
        tag = engine.tag
        shown = {"tag_valid": tag.valid, "tag_ready": tag.ready, "tag": tag.payload, "engine": engine.probe}
        if tile.pairs[k] is not None:
            codes = accumulator.codes
            shown |= {"codes_valid": codes.valid, "codes_ready": codes.ready, "codes": codes.payload}
        m.d.comb += _set(getattr(tile, f"probe_reader_{k}"), **shown)
        m.d.comb += _set(getattr(tile, f"probe_sums_{k}"), go=splice.go[k], sums=accumulator.sums)


def _set(probe: data.View, **fields: Any) -> list[Any]:
    """Return the assignment of a probe from its fields, in the order of its layout."""
    assert list(fields) == [name for name, _ in probe.shape()]
    return [probe.as_value().eq(Cat(Value.cast(value) for value in fields.values()))]
