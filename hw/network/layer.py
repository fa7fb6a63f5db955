"""A layer on crossbars, from a stream of codes to a stream of codes: its tiles and its output stage."""

from dataclasses import dataclass
from functools import cached_property

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.hw.lib.loadable import Constants, TableInterface, table_signature
from selvage.hw.lib.shared import Library
from selvage.hw.macro.macro_views import Macro, macro_of
from selvage.hw.network.collector import Collector, CollectorParameters, store_bits
from selvage.hw.network.crossbar_control import CrossbarControl, control_signature, spread
from selvage.hw.network.layer_probe import layer_probe
from selvage.hw.network.maps import Packer, PackerParameters, codes_layout
from selvage.hw.network.populated_tile import PopulatedTile
from selvage.hw.network.raster import RasterBuffer, RasterParameters
from selvage.hw.network.requantizer import Requantizer, RequantizerParameters, TablesOfRequantizer
from selvage.hw.tile.parameters import TileParameters
from selvage.hw.tile.streams import Fork
from selvage.mapping.stages import LayerStage


@dataclass(frozen=True, eq=False)
class LayerParameters(TablesOfRequantizer):
    """A layer of a network: ``lanes`` channels of a word that enters, ``leaving`` of one that leaves.

    ``queued``: whether the first lines of the next image wait in a queue while the tiles finish this one.
    ``direct``: every tile has an input of its own, of words as it takes them. ``constants``: of the requantisation.
    ``programmable``: whether its crossbars have a programming port.
    """

    stage: LayerStage
    lanes: int
    leaving: int
    queued: bool = True
    skip: bool = True
    direct: bool = False
    constants: Constants = "fixed"
    programmable: bool = False
    probes: bool = False  # what passes between its parts is at its face, for waves

    @cached_property
    def macro(self) -> Macro:
        """The crossbar of all its tiles."""
        chip, (engine, *_) = self.stage.placement.chip, self.tiles[0].engines
        return macro_of(engine, chip.cell_bits, chip.read_latency, programmable=self.programmable)

    @cached_property
    def crossbars(self) -> int:
        """Crossbars of all its tiles."""
        return sum(len(p.macros) for p in self.tiles)

    @cached_property
    def tiles(self) -> tuple[TileParameters, ...]:
        """Parameters of each tile, copy by copy; tiles of equal `mapping.placement.Tile.likeness` share their plans."""
        known, found = {}, []
        for share, tile in self.stage.placement.standing:
            like = known.get(share.likeness(tile))
            found.append(TileParameters(share, tile, self.skip, counters=False, like=like))
            known.setdefault(share.likeness(tile), found[-1])
        return tuple(found)

    @cached_property
    def collector(self) -> CollectorParameters:
        """Parameters of the collector of the tiles."""
        plan = self.stage.leaving.plan(self.leaving)
        assert plan is not None, f"the tiles of {self.stage.name!r} do not have {self.leaving} channels side by side"
        return CollectorParameters(plan, self.widths)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Bits of a sum, by tile of a copy."""
        return tuple(p.output_width for p in self.tiles[: len(self.stage.placement.tiles)])

    @property
    def output_bits(self) -> int:
        """Bits of one value that leaves."""
        return self.stage.output.format.raw_bits if self.stage.requantization else self.collector.sum_width

    @cached_property
    def requantizer(self) -> RequantizerParameters | None:
        """Parameters of the requantisation; None where sums leave as they are."""
        if not self.stage.requantization:
            return None
        m = self.stage.placement.layer.outputs
        settings = (self.collector.sum_width, self.leaving, m, self.output_bits, self.constants)
        return RequantizerParameters(self.stage.requantization, *settings)

    @cached_property
    def raster(self) -> RasterParameters | None:
        """Parameters of the raster buffer; None where outputs leave in raster order by themselves."""
        sweep, m = self.stage.placement.sweep, self.stage.placement.layer.outputs
        if sweep.raster:
            return None
        words = m // self.leaving
        return RasterParameters(
            sweep.grid, sweep.block, sweep.crop, sweep.output, (1, 1), words, self.leaving, self.output_bits
        )

    @cached_property
    def packers(self) -> tuple[PackerParameters, ...]:
        """Parameters of the packers before the tiles, each once."""
        return tuple(dict.fromkeys(self.packer(p) for p in self.tiles))

    def packer(self, p: TileParameters) -> PackerParameters:
        """Return the parameters of the packer before one tile."""
        bits, channels = p.buffer.format.raw_bits, self.stage.placement.layer.channels
        return PackerParameters(channels, self.lanes, p.tile.first_channel, p.tile.channels, p.buffer.lanes, bits)

    def queue(self, packer: PackerParameters) -> int:
        """Return how many words wait before the tiles of ``packer``: the lines of their first row of steps."""
        if not self.queued:
            return 0
        return max(p.buffer.depth for p in self.tiles if self.packer(p) == packer)

    def ahead(self, p: TileParameters) -> int:
        """Return how many words wait before one tile: lines that others need for a step and it has no room for yet.

        The collector holds a tile a few steps ahead of the others, and these must not lack lines meanwhile.
        """
        lines = -(-(self.lowest - _lowest(p)) // p.buffer.sweep.insert[0])
        return (lines + 1) * p.buffer.pitch if lines else 0

    @cached_property
    def lowest(self) -> int:
        """The lowest line that a tile needs for a step, counted from the step's base."""
        return max(map(_lowest, self.tiles))

    @property
    def buffer_bits(self) -> int:
        """Bits of the input buffers, the queues before them, the step stores and the raster buffer."""
        inputs = sum(p.buffer.depth * p.buffer.lanes * p.buffer.format.bits for p in self.tiles)
        queues = sum(self.queue(packer) * packer.packed * packer.bits for packer in self.packers)
        queues += sum(self.ahead(p) * p.buffer.lanes * p.buffer.format.raw_bits for p in self.tiles)
        alone = self.stage.placement.copies == 1  # without the plan, which takes long for large layers
        stores = store_bits(*self.stage.leaving.shape, self.widths) if alone else self.collector.bits
        return inputs + queues + stores + (self.raster.buffer_bits if self.raster else 0)


def _lowest(p: TileParameters) -> int:
    return max(row for row, _ in p.tile.offsets)


class CrossbarLayer(wiring.Component):
    """A layer on crossbars: quantised values in raster order in and out; images follow each other.

    Members
    -------
    i : codes as they come, ``lanes`` channels a word; ``i_k``, words of tile k, where they are direct
    o : codes, or sums where the layer is not requantised
    control : of its crossbars, tile by tile, where they can be programmed
    beats : a beat of tile k leaves
    table : writes to the constants of the requantisation, where they are loaded
    probe : with ``probes``: see `hw.network.layer_probe.layer_probe`
    """

    i: stream.Interface
    o: stream.Interface
    beats: Signal
    table: TableInterface
    control: CrossbarControl
    probe: data.View

    def __init__(self, parameters: LayerParameters, library: Library) -> None:
        self.p = p = parameters
        # Tiles of equal structure are one module.
        self.tiles = [
            library.shared(
                (PopulatedTile, tile.structure), lambda tile=tile: PopulatedTile(tile, p.macro, library), "tile"
            )
            for tile in p.tiles
        ]
        self.collector = library.shared(
            (Collector, p.collector), lambda: Collector(p.collector, library=library), "collector"
        )
        bits = p.tiles[0].buffer.format.raw_bits
        inputs = {"i": In(stream.Signature(codes_layout(bits, p.lanes)))}
        if p.direct:
            signatures = [stream.Signature(codes_layout(bits, tile.buffer.lanes)) for tile in p.tiles]
            inputs = {f"i_{k}": In(signature) for k, signature in enumerate(signatures)}
        super().__init__(
            {
                **inputs,
                "o": Out(stream.Signature(codes_layout(p.output_bits, p.leaving))),
                "beats": Out(len(p.tiles)),
                **({"control": In(self.control_signature)} if p.programmable else {}),
                **({"table": In(table_signature(len(p.table)))} if p.table else {}),
                **({"probe": Out(layer_probe(p))} if p.probes else {}),
            }
        )

    @property
    def control_signature(self) -> wiring.Signature:
        """Signature of the control of all its crossbars."""
        return control_signature(self.p.crossbars, self.p.macro.values["ROWS"], self.p.macro.row_width)

    def elaborate(self, platform: object) -> Module:
        """Connect the tiles to the collector, and it to requantisation and raster buffer where they are needed."""
        m = Module()
        p = self.p
        m.submodules.collector = collector = self.collector
        direct = [wiring.flipped(getattr(self, f"i_{k}")) for k in range(len(p.tiles))] if p.direct else None
        words = direct or self._inputs(m)
        for k, tile in enumerate(self.tiles):
            m.submodules[f"tile_{k}"] = tile
            wiring.connect(m, words[k], tile.i)
            store = getattr(collector, f"i_{k}")
            m.d.comb += [
                store.valid.eq(tile.o.valid),
                store.payload.eq(tile.o.payload["values"]),
                tile.o.ready.eq(store.ready),
                self.beats[k].eq(tile.o.valid & tile.o.ready),
            ]
        if p.programmable:
            counts = (len(tile.macros) for tile in p.tiles)
            spread(m, self.control, [(tile.control, count) for tile, count in zip(self.tiles, counts, strict=True)])
        leaves = requantized = collector.o
        if p.requantizer:
            m.submodules.requantizer = requantizer = Requantizer(p.requantizer)
            wiring.connect(m, leaves, requantizer.i)
            if p.table:
                wiring.connect(m, wiring.flipped(self.table), requantizer.table)
            leaves = requantized = requantizer.o
        if p.raster:
            m.submodules.raster_buffer = raster = RasterBuffer(p.raster)
            m.d.comb += [
                raster.i.valid.eq(leaves.valid),
                raster.i.payload.as_value().eq(leaves.payload.as_value()),
                leaves.ready.eq(raster.i.ready),
            ]
            leaves = raster.o
        m.d.comb += [
            self.o.valid.eq(leaves.valid),
            self.o.payload.as_value().eq(leaves.payload.as_value()),
            leaves.ready.eq(self.o.ready),
        ]
        if p.probes:
            fed = [Cat(tile.i.ready, tile.i.valid) for tile in self.tiles]
            parts = [*fed, *(Cat(Value.cast(tile.i.payload)) for tile in self.tiles)]
            for own in (collector.o, requantized):
                parts.append(Cat(own.ready, own.valid, Value.cast(own.payload)))
            m.d.comb += self.probe.eq(Cat(*parts))
        return m

    def _inputs(self, m: Module) -> list[stream.Interface]:
        """Return the stream of each tile, packed once for all tiles that take the same channels."""
        p = self.p
        m.submodules.fork = fork = Fork(self.i.payload.shape(), len(p.packers))
        wiring.connect(m, wiring.flipped(self.i), fork.i)
        packed = {}
        for k, needs in enumerate(p.packers):
            source = getattr(fork, f"o_{k}")
            if needs.needed:
                m.submodules[f"packer_{k}"] = packer = Packer(needs)
                wiring.connect(m, source, packer.i)
                source = packer.o
            source = queue(m, f"queue_{k}", source, p.queue(needs))
            readers = [index for index, tile in enumerate(p.tiles) if p.packer(tile) == needs]
            m.submodules[f"tiles_{k}"] = tiles = Fork(source.payload.shape(), len(readers))
            wiring.connect(m, source, tiles.i)
            for n, index in enumerate(readers):
                packed[index] = queue(m, f"ahead_{index}", getattr(tiles, f"o_{n}"), p.ahead(p.tiles[index]))
        return [packed[index] for index in range(len(p.tiles))]


def queue(m: Module, name: str, source: stream.Interface, depth: int) -> stream.Interface:
    """Return ``source`` behind a queue of ``depth`` words in a memory; itself where ``depth`` is 0."""
    if not depth:
        return source
    layout: data.ArrayLayout = source.payload.shape()
    m.submodules[name] = words = fifo.SyncFIFOBuffered(width=layout.size, depth=max(2, depth))
    behind = stream.Signature(layout).create(path=(name,))
    m.d.comb += [
        words.w_en.eq(source.valid),
        words.w_data.eq(Cat(source.payload.as_value())),
        source.ready.eq(words.w_rdy),
        behind.valid.eq(words.r_rdy),
        behind.payload.as_value().eq(words.r_data),
        words.r_en.eq(behind.ready),
    ]
    return behind
