"""A whole network: its layers and the small stages between them, all at work on successive images."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.base.graph import Tensor
from selvage.hw.lib.loadable import Constants, TableInterface, TablePart, check_constants, split_table, table_signature
from selvage.hw.lib.shared import Library
from selvage.hw.macro.macro_views import Macro
from selvage.hw.network.components import Surroundings, component_of, load_components, parameters_of
from selvage.hw.network.crossbar_control import CrossbarControl, control_signature, spread
from selvage.hw.network.layer import CrossbarLayer, LayerParameters, queue
from selvage.hw.network.maps import codes_layout
from selvage.hw.network.probes import network_probes, show
from selvage.hw.tile.streams import Fork
from selvage.mapping.stages import LayerStage, NetworkPlan, Stage

load_components()


@dataclass(frozen=True, eq=False)
class NetworkParameters:
    """Parameters of a `Network`; with ``skip`` OUs without an active row are left out.

    ``direct``: of a network of one layer; each tile has an input of its own. ``constants``: factors, biases, tables of
    codes are fixed (constants and ROM), or loaded: what `tables` has is where it begins. ``programmable``: whether
    crossbars have a programming port.
    """

    plan: NetworkPlan
    skip: bool = True
    direct: bool = False
    constants: Constants = "fixed"
    programmable: bool = False
    probes: bool = False  # what passes between its stages is at its face, for waves (`hw.network.probes`)

    def __post_init__(self) -> None:
        check_constants(self.constants)

    @cached_property
    def layers(self) -> dict[str, LayerParameters]:
        """Parameters of the layers on crossbars, by name."""
        lanes, entering = self.plan.lanes, {tensor.name for tensor in self.plan.inputs}
        return {
            stage.name: LayerParameters(
                stage,
                lanes[stage.sources[0].name],
                lanes[stage.output.name],
                queued=stage.sources[0].name not in entering,
                skip=self.skip,
                direct=self.direct,
                constants=self.constants,
                programmable=self.programmable,
                probes=self.probes,
            )
            for stage in self.plan.layers
        }

    @property
    def macro(self) -> Macro | None:
        """The crossbar of all its layers; None where there is no layer."""
        return next((layer.macro for layer in self.layers.values()), None)

    @cached_property
    def crossbars(self) -> list[str]:
        """Each crossbar's place in the network: layer by layer, tile by tile."""
        return [
            f"stage_{index}.tile_{k}.crossbar_{array}"
            for index, stage in enumerate(self.plan.stages)
            if isinstance(stage, LayerStage)
            for k, p in enumerate(self.layers[stage.name].tiles)
            for array in range(len(p.macros))
        ]

    @cached_property
    def tables(self) -> tuple[TablePart, ...]:
        """What is loaded, stage by stage; nothing where constants are fixed."""
        parts, base = [], 0
        for stage in self.plan.stages:
            parameters = self.parameters(stage)
            if getattr(parameters, "table", ()):
                parts.append(TablePart(stage.name, base, parameters.table, parameters.table_fields))
                base += len(parameters.table)
        return tuple(parts)

    @property
    def table(self) -> tuple[int, ...]:
        """All words that are loaded."""
        return tuple(word for part in self.tables for word in part.words)

    @cached_property
    def design(self) -> int:
        """CRC-32 of what loaded tables cannot change: tables of another network fit where it is the same."""
        return crc32(repr([self._structure(stage) for stage in self.plan.stages]).encode())

    def _structure(self, stage: Stage) -> tuple:
        """Return all of a stage but its cells and what is loaded.

        Zero points are among it where an input buffer subtracts them.
        """
        parameters, tensors = self.parameters(stage), [*self.plan.inputs, *(made.output for made in self.plan.stages)]
        index = {tensor.name: k for k, tensor in enumerate(tensors)}
        subtracts = stage.subtracts_zero_points
        sources = [
            (index[t.name], t.shape, t.format.raw_bits, t.format.raw_signed, t.format.zero_point if subtracts else None)
            for t in stage.sources
        ]
        output = (stage.output.shape, self.bits(stage.output.name), self.plan.lanes[stage.output.name])
        fields = parameters.table_fields if getattr(parameters, "table", ()) else ()
        return type(stage).__name__, sources, output, stage.structure, fields

    def bits(self, name: str) -> int:
        """Return the bits of a value of tensor ``name`` as it leaves its stage."""
        made = {stage.output.name: stage for stage in self.plan.stages}
        stage = made.get(name)
        if isinstance(stage, LayerStage):
            return self.layers[stage.name].output_bits
        return next(
            t.format.raw_bits for t in [*self.plan.inputs, *(s.output for s in made.values())] if t.name == name
        )

    def signed(self, tensor: Tensor) -> bool:
        """Return whether a tensor's values, or the sums that leave in their place, are two's complements."""
        sums = (stage.output.name for stage in self.plan.layers if stage.requantization is None)
        return tensor.format.raw_signed or tensor.name in sums

    @cached_property
    def inputs(self) -> list[tuple[int, int]]:
        """Bits and lanes of a word of each input."""
        if self.direct:
            (layer,) = self.layers.values()
            return [(tile.buffer.format.raw_bits, tile.buffer.lanes) for tile in layer.tiles]
        return [(tensor.format.raw_bits, self.plan.lanes[tensor.name]) for tensor in self.plan.inputs]

    @cached_property
    def outputs(self) -> list[tuple[int, int]]:
        """Bits and lanes of a word of each output."""
        return [(self.bits(tensor.name), self.plan.lanes[tensor.name]) for tensor in self.plan.outputs]

    def buffer_bits(self, stage: Stage) -> int:
        """Return the bits of all memories of a stage that hold activations or sums, its queues included."""
        queues = sum(
            self.plan.depths[stage.name, k] * self.plan.lanes[source.name] * source.format.raw_bits
            for k, source in enumerate(stage.sources)
        )
        return queues + getattr(self.parameters(stage), "buffer_bits", 0)

    def parameters(self, stage: Stage) -> Any:
        """Return the parameters of the component of one stage."""
        if isinstance(stage, LayerStage):
            return self.layers[stage.name]
        return parameters_of(stage, Surroundings(stage, self.plan.lanes[stage.output.name], self.constants))

    def make(self, stage: Stage, library: Library) -> Any:
        """Return the component of one stage, with ``i`` or ``i_k`` and ``o``; layers share what is in ``library``."""
        parameters = self.parameters(stage)
        return CrossbarLayer(parameters, library) if isinstance(stage, LayerStage) else component_of(parameters)


class Network(wiring.Component):
    """A whole network, all stages at work at once; images follow each other without a signal between them.

    What its layers share is in ``library``, or in one of its own.

    Members
    -------
    i_k : tensor k of the network's inputs, raster order, channels of a pixel in order; direct, words of tile k
    o_k : tensor k of its outputs, likewise
    control : of every crossbar: layer by layer, tile by tile; where they can be programmed
    probe_k, inside_k : with ``probes``: see `hw.network.probes.network_probes`
    beats : of every tile in that order, that a beat of sums leaves it
    words : of every stage, that a word leaves it
    table : writes to what is loaded, where something is; reset or not, but not while an image is inside
    """

    beats: Signal
    words: Signal
    table: TableInterface
    control: CrossbarControl

    def __init__(self, parameters: NetworkParameters, library: Library | None = None) -> None:
        self.p = p = parameters
        self.library = library or Library()
        self.stages = [p.make(stage, self.library) for stage in p.plan.stages]
        tiles = sum(len(layer.tiles) for layer in p.layers.values())
        inputs = {f"i_{k}": In(_stream(*word)) for k, word in enumerate(p.inputs)}
        outputs = {f"o_{k}": Out(_stream(*word)) for k, word in enumerate(p.outputs)}
        control = {"control": In(self.control_signature)} if p.programmable else {}
        strobes = {"beats": Out(max(1, tiles)), "words": Out(len(self.stages))}
        table = {"table": In(table_signature(len(p.table)))} if p.tables else {}
        probes = {name: Out(layout) for name, layout in network_probes(p).items()}
        super().__init__({**inputs, **outputs, **control, **strobes, **table, **probes})

    @property
    def control_signature(self) -> wiring.Signature:
        """Signature of the control of all crossbars."""
        macro = self.p.macro
        assert macro, "a network that is programmed has a layer"
        crossbars = sum(layer.crossbars for layer in self.p.layers.values())
        return control_signature(crossbars, macro.values["ROWS"], macro.row_width)

    def elaborate(self, platform: object) -> Module:
        """Connect the stages by forks and queues."""
        m = Module()
        plan = self.p.plan
        entering = [] if self.p.direct else plan.inputs
        made = {tensor.name: wiring.flipped(getattr(self, f"i_{k}")) for k, tensor in enumerate(entering)}
        for k, (stage, component) in enumerate(zip(plan.stages, self.stages, strict=True)):
            m.submodules[f"stage_{k}"] = component
            made[stage.output.name] = component.o
            m.d.comb += self.words[k].eq(component.o.valid & component.o.ready)
        self._tiles(m)
        self._tables(m)
        if self.p.probes:
            show(m, self)
        for k in range(len(self.p.inputs) if self.p.direct else 0):
            wiring.connect(m, wiring.flipped(getattr(self, f"i_{k}")), getattr(self.stages[0], f"i_{k}"))
        for index, (name, source) in enumerate(made.items()):
            readers = self._readers(m, name)
            m.submodules[f"fork_{index}"] = fork = Fork(source.payload.shape(), len(readers))
            wiring.connect(m, source, fork.i)
            for k, (reader, depth) in enumerate(readers):
                behind = queue(m, f"queue_{index}_{k}", getattr(fork, f"o_{k}"), depth)
                m.d.comb += [
                    reader.valid.eq(behind.valid),
                    reader.payload.eq(behind.payload),
                    behind.ready.eq(reader.ready),
                ]
        return m

    def _readers(self, m: Module, name: str) -> list[tuple[stream.Interface, int]]:
        """Return the streams that take a tensor, each with how many words may wait before it."""
        plan, found = self.p.plan, []
        at = {stage.name: component for stage, component in zip(plan.stages, self.stages, strict=True)}
        for stage, source in plan.readers(name):
            single = len(stage.sources) == 1
            found.append((getattr(at[stage.name], "i" if single else f"i_{source}"), plan.depths[stage.name, source]))
        leaving = [k for k, tensor in enumerate(plan.outputs) if tensor.name == name]
        return [*found, *((getattr(self, f"o_{k}"), 0) for k in leaving)]

    def _tables(self, m: Module) -> None:
        """Give each stage the writes to its tables."""
        if not self.p.tables:
            return
        at = {stage.name: component for stage, component in zip(self.p.plan.stages, self.stages, strict=True)}
        sizes = [len(part.words) for part in self.p.tables]
        for part, table in zip(self.p.tables, split_table(m, self.table, sizes), strict=True):
            wiring.connect(m, table, at[part.stage].table)

    def _tiles(self, m: Module) -> None:
        """Connect the strobes of the tiles, in order, and the control of their crossbars."""
        layers, tile = [component for component in self.stages if isinstance(component, CrossbarLayer)], 0
        for component in layers:
            count = len(component.tiles)
            m.d.comb += self.beats[tile : tile + count].eq(component.beats)
            tile += count
        if self.p.programmable:
            spread(m, self.control, [(component.control, component.p.crossbars) for component in layers])


def _stream(bits: int, lanes: int) -> stream.Signature:
    return stream.Signature(codes_layout(bits, lanes))
