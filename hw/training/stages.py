"""The stages of a training chip: layers forward and backward, each at a sample in a logical cycle."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from selvage.golden.fixed_point import code_range
from selvage.hw.lib.shared import Library
from selvage.hw.lib.tables import clipped, lookup, shifted
from selvage.hw.network.crossbar_control import CrossbarControl
from selvage.hw.network.network import Network, NetworkParameters
from selvage.hw.training.cells import CellPlan, CellWriter
from selvage.hw.training.gradient import Accumulator, AccumulatorParameters
from selvage.hw.training.maps import (
    Copy,
    MapMemory,
    Reader,
    Sink,
    Source,
    SourceParameters,
    address_bits,
    in_order,
    read_signature,
)
from selvage.mapping.training_chip import GRADIENT_BITS, BackStage, Product


@lru_cache(maxsize=256)  # a product's tiles are planned once, however many ask
def product_parameters(product: Product, *, skip: bool) -> NetworkParameters:
    """Return the parameters of a product's gateware."""
    return NetworkParameters(product.plan, skip=skip, programmable=True)


def cell_plan(parameters: NetworkParameters, product: Product, words: int, bits: int) -> CellPlan:
    """Return the plan of one product's cells, filled from ``words`` codes of ``bits``."""
    macro, chip = parameters.macro, product.placement.chip
    assert macro, "a product has a layer"
    stored = chip.slices * chip.cell_bits
    crossbars = len(parameters.crossbars)
    return CellPlan((product.cells,), words, bits, stored, crossbars, macro.values["ROWS"], macro.row_width)


def write_signature(words: int, bits: int) -> dict[str, wiring.Member]:
    """Return the members with which a stage writes a map in order: ``word``, ``address``, ``data``."""
    return {"word": Out(1), "address": Out(address_bits(words)), "data": Out(signed(bits))}


class Layer(wiring.Component):
    """A product fed from a memory: the map goes in a code a cycle, and what leaves is counted.

    The first code is there two cycles after ``begin``, and ``done`` comes the cycle after the last one left.

    Members
    -------
    begin, base, reader : of its source (`hw.training.maps.Source`)
    word, address, data : what leaves, in order
    done : all of it has left, until ``begin``
    control : of its crossbars
    """

    begin: Signal
    base: Signal
    reader: Reader
    word: Signal
    address: Signal
    data: Signal
    done: Signal
    control: CrossbarControl

    def __init__(self, parameters: NetworkParameters, source: SourceParameters, leaving: int, library: Library) -> None:
        self.p, self.leaving = parameters, leaving
        self.network, self.source = Network(parameters, library), Source(source)
        ((bits, _),) = parameters.outputs
        super().__init__(
            {
                "begin": In(1),
                "base": In(address_bits(source.base + 1)),
                "reader": Out(read_signature(source.words, source.bits)),
                **write_signature(leaving, bits),
                "done": Out(1),
                "control": In(self.network.control_signature),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect source, network and sink."""
        m = Module()
        source = self.source
        network: Any = self.network  # its streams are named by number
        m.submodules.source, m.submodules.network = source, network
        m.submodules.sink = sink = Sink(self.leaving)
        wiring.connect(m, source.reader, wiring.flipped(self.reader))
        wiring.connect(m, network.control, wiring.flipped(self.control))
        into: stream.Interface = network.i_0
        out: stream.Interface = network.o_0
        m.d.comb += [
            source.begin.eq(self.begin),
            source.base.eq(self.base),
            into.valid.eq(source.o.valid),
            into.payload.as_value().eq(source.o.payload.as_value()),
            source.o.ready.eq(into.ready),
            out.ready.eq(1),
            sink.begin.eq(self.begin),
            sink.word.eq(out.valid),
            self.word.eq(out.valid),
            self.address.eq(sink.address),
            self.data.eq(out.payload.as_value()),
            self.done.eq(sink.done),
        ]
        return m


@dataclass(frozen=True, eq=False)
class BackParameters:
    """A stage backward; ``places``: of the buffer of what entered its layer.

    ``unit_places``: of the unit error that goes back, 0 where the error itself does. ``first_layer``: of the
    discriminator, whose input the generator makes.
    """

    stage: BackStage
    places: int
    activation_bits: int
    error_bits: int
    skip: bool = True
    unit_places: int = 0
    first_layer: bool = False

    @property
    def entered(self) -> int:
        """Codes of what entered the layer, and of its error."""
        layer = self.stage.layer.layer
        return layer.channels * layer.height * layer.width

    @property
    def left(self) -> int:
        """Codes of what left the layer, and of its error."""
        layer = self.stage.layer.layer
        return layer.outputs * layer.output_size[0] * layer.output_size[1]

    @cached_property
    def gradient(self) -> NetworkParameters:
        """Parameters of the weight gradient's product."""
        return product_parameters(self.stage.gradient, skip=self.skip)

    @cached_property
    def sums(self) -> AccumulatorParameters:
        """Parameters of the accumulator."""
        ((bits, _),) = self.gradient.outputs
        if self.unit_places:
            return AccumulatorParameters(
                self.stage.layer.layer, bits, self.error_bits, GRADIENT_BITS + self.unit_places
            )
        return AccumulatorParameters(self.stage.layer.layer, bits)

    @property
    def stores_error(self) -> bool:
        """Whether the error is stored in the arrays of the weight gradient and what entered sweeps, not reversed."""
        return self.stage.layer.layer.op == "conv"

    @property
    def swept(self) -> SourceParameters:
        """The map that goes through those arrays, a channel after the other."""
        words, bits = (self.entered, self.activation_bits) if self.stores_error else (self.left, self.error_bits)
        layer = self.stage.layer.layer
        channels = layer.channels if self.stores_error else layer.outputs
        return SourceParameters(bits, words, ((channels, 1), (words // channels, channels)))

    @cached_property
    def stored(self) -> CellPlan:
        """The cells that the other map is written into."""
        words, bits = (self.left, self.error_bits) if self.stores_error else (self.entered, self.activation_bits)
        return cell_plan(self.gradient, self.stage.gradient, words, bits)


class BackLayer(wiring.Component):
    """A layer backward: copies of what entered it and of the error of what left, from which its products work.

    ``load`` copies both, so that their places may be written anew; ``begin`` lets the products work. The timing table
    is in ``docs/training.md``.

    Members
    -------
    load, loaded : of the copies
    begin, done : of the products
    base, reader : of what entered, in its buffer
    error_k : reader of the error of branch k
    runs_k : with ``begin``: the data gradient of branch k is wanted
    graded, first : with ``begin``: the weight gradient is wanted; it is the first of a batch
    scale, wanted : with a unit error: the logit's error, and the one that the generator wants
    word_k, address_k, data_k : the error of what entered, of branch k
    control_k : of the crossbars of its data gradient
    sums : reader of the summed weight gradients
    """

    load: Signal
    loaded: Signal
    begin: Signal
    done: Signal
    base: Signal
    reader: Reader
    graded: Signal
    first: Signal
    scale: Signal
    wanted: Signal
    sums: Reader

    def __init__(self, parameters: BackParameters, library: Library) -> None:
        self.p = p = parameters
        self.gradient = Layer(p.gradient, p.swept, p.sums.words, library)
        self.data = [
            Layer(product_parameters(own, skip=p.skip), in_order(p.left, p.error_bits), own.leaving, library)
            if own
            else None
            for own in p.stage.data
        ]
        members: dict[str, wiring.Member] = {name: In(1) for name in ("load", "begin", "graded", "first")}
        members |= {name: Out(1) for name in ("loaded", "done")}
        members |= {
            "base": In(address_bits(p.entered * (p.places - 1) + 1)),
            "reader": Out(read_signature(p.entered * p.places, p.activation_bits)),
            "sums": In(read_signature(p.sums.words, p.sums.sum_bits)),
        }
        if p.unit_places:
            members |= {"scale": In(signed(p.error_bits)), "wanted": In(signed(p.error_bits))}
        for k, own in enumerate(self.data):
            members[f"error_{k}"] = Out(read_signature(p.left, p.error_bits))
            if own:
                writes = write_signature(p.entered, p.error_bits)
                members |= {f"{name}_{k}": member for name, member in writes.items()}
                members |= {f"runs_{k}": In(1), f"control_{k}": In(own.network.control_signature)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Build the copies, the data gradients behind them, and the weight gradient."""
        m = Module()
        p = self.p
        entered = MapMemory(p.entered, p.activation_bits, 1 + len(self.data))
        errors = [MapMemory(p.left, p.error_bits, 2 - bool(k)) for k in range(len(self.data))]
        m.submodules.entered = entered
        loaded = [self._copy(m, "x", entered, in_order(p.entered, p.activation_bits, p.places), self.reader, self.base)]
        for k, store in enumerate(errors):
            m.submodules[f"errors_{k}"] = store
            reader = getattr(self, f"error_{k}")
            loaded.append(self._copy(m, f"e_{k}", store, in_order(p.left, p.error_bits), reader, Const(0, 1)))
        m.d.comb += self.loaded.eq(Cat(loaded).all())
        both = errors[0].reader(1), entered.reader(0)
        ended = [self._gradient(m, *(both if p.stores_error else both[::-1]))]
        for k, layer in enumerate(self.data):
            if layer:
                m.submodules[f"transposed_{k}"] = layer
                ended.append(self._data(m, k, layer, errors[k], entered))
        m.d.comb += self.done.eq(Cat(ended).all())
        return m

    def _copy(
        self, m: Module, name: str, store: MapMemory, source: SourceParameters, reader: Reader, base: Value
    ) -> Value:  # fmt: skip
        """Copy a map into ``store`` at each load; return whether it is there."""
        m.submodules[f"copy_{name}"] = copy = Copy(source)
        wiring.connect(m, copy.reader, wiring.flipped(reader))
        m.d.comb += [
            copy.begin.eq(self.load),
            copy.base.eq(base),
            store.write.eq(copy.write),
            store.address.eq(copy.address),
            store.data.eq(copy.data),
        ]
        return copy.done

    def _data(self, m: Module, k: int, layer: Layer, error: MapMemory, entered: MapMemory) -> Value:
        """Let the error go through the layer's weights, and times the slope at what entered; return the end."""
        wiring.connect(m, layer.reader, error.reader(0))
        wiring.connect(m, layer.control, wiring.flipped(getattr(self, f"control_{k}")))
        runs = getattr(self, f"runs_{k}")
        wanted = Signal(name=f"wanted_{k}")
        with m.If(self.begin):
            m.d.sync += wanted.eq(runs)
        slopes = entered.reader(1 + k)
        m.d.comb += [
            layer.begin.eq(self.begin & runs),
            # What entered at the place of the code that leaves: it is there a cycle ahead.
            slopes.address.eq(Mux(self.begin, 0, layer.address + layer.word)),
            slopes.enable.eq(1),
            getattr(self, f"word_{k}").eq(layer.word),
            getattr(self, f"address_{k}").eq(layer.address),
        ]
        passed = sloped(self._scaled(layer.data), slopes.data, self.p.stage)
        m.d.comb += getattr(self, f"data_{k}").eq(self._normalized(m, k, layer, passed))
        return ~wanted | layer.done

    def _normalized(self, m: Module, k: int, layer: Layer, error: Value) -> Value:
        """Return the error times its channel's factor, where what entered is normalised."""
        how = self.p.stage.normalization
        if not how:
            return error
        channel, channels = Signal(range(len(how.factors) + 1), name=f"channel_{k}"), len(how.factors)
        with m.If(self.begin):
            m.d.sync += channel.eq(0)
        with m.Elif(layer.word):
            m.d.sync += channel.eq(Mux(channel == channels - 1, 0, channel + 1))
        product = Signal(signed(self.p.error_bits + how.places + 2), name=f"normalized_{k}")
        m.d.comb += product.eq(error * lookup(how.factors, channel))
        return shifted(product, how.places)

    def _scaled(self, error: Value) -> Value:
        """Return the error of what the generator made, from that of a unit error; others pass."""
        p = self.p
        if not p.unit_places or not p.first_layer:
            return error
        return clipped(shifted(error * self.wanted, p.unit_places), *code_range(p.error_bits))

    def _gradient(self, m: Module, stored: Reader, swept: Reader) -> Value:
        """Write a map into the arrays, let the other through, add what leaves; return the end."""
        m.submodules.gradient, m.submodules.sums = gradient, sums = self.gradient, Accumulator(self.p.sums)
        m.submodules.writer = writer = CellWriter(self.p.stored, verify=False)
        wiring.connect(m, writer.reader, stored)
        wiring.connect(m, gradient.reader, swept)
        wiring.connect(m, writer.control, gradient.control)
        wiring.connect(m, sums.reader, wiring.flipped(self.sums))
        wanted, written = Signal(), Signal()
        with m.If(self.begin):
            m.d.sync += [wanted.eq(self.graded), written.eq(0)]
        with m.Elif(gradient.begin):
            m.d.sync += written.eq(1)
        m.d.comb += [
            writer.begin.eq(self.begin & self.graded),
            gradient.begin.eq(wanted & ~written & ~writer.busy),
            sums.begin.eq(self.begin & self.graded),
            sums.first.eq(self.first),
            sums.word.eq(gradient.word),
            sums.data.eq(gradient.data),
        ]
        if self.p.unit_places:
            m.d.comb += sums.scale.eq(self.scale)
        return ~wanted | sums.done


def sloped(error: Value, entered: Value, stage: BackStage) -> Value:
    """Return an error times the slope of what it belongs to: 1 above 0, else 2**-leak, 0 for a leak of 0.

    Where what it belongs to is saturated, an error that would push it further is dropped behind a gate.
    """
    leak = stage.leak
    if stage.gate is not None:
        low, high = code_range(stage.gate)
        error = Mux(((entered == low) & (error > 0)) | ((entered == high) & (error < 0)), 0, error)
    if leak is None:
        return error
    if not leak:
        return Mux(entered > 0, error, 0)
    return Mux(entered > 0, error, shifted(error, leak))
