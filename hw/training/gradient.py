"""The accumulator of a layer's weight gradients: sums over a batch, in the order of the weights."""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from selvage.base.layer import Layer
from selvage.hw.training.maps import Reader, Walk, address_bits, read_signature
from selvage.mapping.training_chip import GRADIENT_BITS


@dataclass(frozen=True)
class AccumulatorParameters:
    """Sums of ``bits`` of a sample's weight gradients of ``layer``, as its layer on crossbars makes them.

    ``scale_bits``: of a factor of all gradients of a sample; 0 without one.
    """

    layer: Layer
    bits: int
    scale_bits: int = 0
    sum_bits: int = GRADIENT_BITS

    @property
    def words(self) -> int:
        """Weights."""
        layer = self.layer
        return layer.channels * layer.outputs * layer.kernel[0] * layer.kernel[1]

    @property
    def loops(self) -> tuple[tuple[int, int], ...]:
        """Counts and strides of the weights' places in the order in which their gradients come.

        The channels that are swept come one after the other; of each the kernel's places, of each the stored channels.
        """
        layer, (height, width) = self.layer, self.layer.kernel
        if layer.op == "dense":  # (C, M), the input stored
            return (layer.outputs, 1), (layer.channels, layer.outputs)
        swept, stored = (layer.channels, layer.outputs)[:: 1 if layer.op == "conv" else -1]
        place = height * width
        return (swept, place), (height, width), (width, 1), (stored, swept * place)


class Accumulator(wiring.Component):
    """The accumulator. A word a cycle; it is added two cycles after it came.

    Members
    -------
    begin : a sample follows; ``first`` of its batch, whose gradients take the place of what was there
    word, data : a gradient of it
    done : all are added, from two cycles after the last until the next ``begin``
    scale : the factor; stays while the sample's gradients come
    reader : of the sums, between samples
    """

    scale: Signal
    begin: Signal
    first: Signal
    word: Signal
    data: Signal
    done: Signal
    reader: Reader

    def __init__(self, parameters: AccumulatorParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "begin": In(1),
                "first": In(1),
                "word": In(1),
                "data": In(signed(p.bits)),
                "done": Out(1),
                **({"scale": In(signed(p.scale_bits))} if p.scale_bits else {}),
                "reader": In(read_signature(p.words, p.sum_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Read the sum, add, and write it back."""
        m = Module()
        p = self.p
        m.submodules.walk = walk = Walk(p.loops)
        m.submodules.sums = sums = memory.Memory(shape=p.sum_bits, depth=p.words, init=[])
        before, tells, port = sums.read_port(), sums.read_port(), sums.write_port()
        comes, ends, first, added = Signal(), Signal(), Signal(), Signal(signed(p.bits + p.scale_bits))
        address = Signal(address_bits(p.words))
        m.d.comb += [
            walk.begin.eq(self.begin),
            walk.step.eq(self.word),
            before.addr.eq(walk.offset),
            before.en.eq(self.word),
            port.addr.eq(address),
            port.en.eq(comes),
            port.data.eq(Mux(first, 0, before.data.as_signed()) + added),
            tells.addr.eq(self.reader.address),
            tells.en.eq(self.reader.enable),
            self.reader.data.eq(tells.data),
        ]
        m.d.sync += [comes.eq(self.word), ends.eq(self.word & walk.last)]
        with m.If(self.word):
            m.d.sync += [address.eq(walk.offset), added.eq(self.data * self.scale if p.scale_bits else self.data)]
        with m.If(ends):
            m.d.sync += self.done.eq(1)
        with m.If(self.begin):
            m.d.sync += [self.done.eq(0), first.eq(self.first)]
        return m
