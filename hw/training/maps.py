"""Maps in memories: what reads one as a stream of codes, and what copies one."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out


def address_bits(words: int) -> int:
    """Return the bits of an address of so many words; at least one."""
    return max(1, (words - 1).bit_length())


class Reader(wiring.PureInterface):
    """Members of `read_signature`."""

    address: Signal
    enable: Signal
    data: Signal


def read_signature(words: int, bits: int) -> wiring.Signature:
    """Return the signature of a memory's reader: ``data`` of ``address`` a cycle after ``enable``, until the next."""
    return wiring.Signature({"address": Out(address_bits(words)), "enable": Out(1), "data": In(signed(bits))})


def codes(bits: int) -> stream.Signature:
    """Return the signature of a stream of codes, as a network of one lane has it."""
    return stream.Signature(data.ArrayLayout(bits, 1))


class MapMemory(wiring.Component):
    """A memory of ``words`` codes with a writer and some readers (`read_signature`, seen from the reader).

    What is written is read from the next cycle on.

    Members
    -------
    write, address, data : the writer
    reader_k : of reader k
    """

    write: Signal
    address: Signal
    data: Signal

    def __init__(self, words: int, bits: int, readers: int) -> None:
        self.words, self.bits, self.readers = words, bits, readers
        members = {f"reader_{k}": In(read_signature(words, bits)) for k in range(readers)}
        super().__init__({"write": In(1), "address": In(address_bits(words)), "data": In(signed(bits)), **members})

    def reader(self, k: int) -> Reader:
        """Return reader ``k``."""
        return getattr(self, f"reader_{k}")

    def elaborate(self, platform: object) -> Module:
        """Connect the memory's ports."""
        m = Module()
        m.submodules.memory = words = memory.Memory(shape=self.bits, depth=self.words, init=[])
        port = words.write_port()
        m.d.comb += [port.en.eq(self.write), port.addr.eq(self.address), port.data.eq(self.data)]
        for k in range(self.readers):
            reader, read = self.reader(k), words.read_port()
            m.d.comb += [read.addr.eq(reader.address), read.en.eq(reader.enable), reader.data.eq(read.data)]
        return m


@dataclass(frozen=True)
class SourceParameters:
    """``loops``, outermost first, count and stride of each, of the addresses of ``words`` codes of ``bits``.

    ``base``: the largest address that is added to all.
    """

    bits: int
    words: int
    loops: tuple[tuple[int, int], ...]
    base: int = 0

    @property
    def count(self) -> int:
        """Codes of a run."""
        return prod(count for count, _ in self.loops)


def in_order(words: int, bits: int, places: int = 1) -> SourceParameters:
    """Return the parameters of a source of all ``words`` of a map, at one of so many places of a memory."""
    return SourceParameters(bits, words * places, ((words, 1),), words * (places - 1))


class Walk(wiring.Component):
    """Nested counters: the addresses of ``loops``, one after the other.

    Members
    -------
    begin : back to the first address
    step : on to the next one
    offset : the address
    last : it is the last one
    """

    begin: Signal
    step: Signal
    offset: Signal
    last: Signal

    def __init__(self, loops: Sequence[tuple[int, int]]) -> None:
        self.loops = tuple((count, stride) for count, stride in loops if count > 1)
        most = sum((count - 1) * stride for count, stride in self.loops)
        super().__init__({"begin": In(1), "step": In(1), "offset": Out(address_bits(most + 1)), "last": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Let the innermost loop that has not ended step, and those inside it begin anew."""
        m = Module()
        ended, back = Const(1, 1), 0
        for level, (count, stride) in reversed(list(enumerate(self.loops))):
            at, last = Signal(range(count), name=f"loop_{level}"), Signal(name=f"last_{level}")
            m.d.comb += last.eq(at == count - 1)
            with m.If(self.step & ended):
                m.d.sync += at.eq(Mux(last, 0, at + 1))
            with m.If(self.step & ended & ~last):
                m.d.sync += self.offset.eq(self.offset + stride - back)
            with m.If(self.begin):
                m.d.sync += at.eq(0)
            back, ended = back + stride * (count - 1), ended & last
        m.d.comb += self.last.eq(ended)
        with m.If(self.begin):
            m.d.sync += self.offset.eq(0)
        return m


class Source(wiring.Component):
    """A reader of a memory: its codes leave as a stream, one a cycle.

    The first is there two cycles after ``begin``.

    Members
    -------
    begin : a run begins, after the last has ended
    base : added to addresses; stays in a run
    reader : of the memory
    o : codes
    """

    begin: Signal
    base: Signal
    reader: Reader
    o: stream.Interface

    def __init__(self, parameters: SourceParameters) -> None:
        self.p = p = parameters
        members = {"begin": In(1), "base": In(address_bits(p.base + 1)), "o": Out(codes(p.bits))}
        super().__init__({**members, "reader": Out(read_signature(p.words, p.bits))})

    def elaborate(self, platform: object) -> Module:
        """Fetch a code when there is none, or the one that is there is taken."""
        m = Module()
        m.submodules.walk = walk = Walk(self.p.loops)
        runs, fetch = Signal(), Signal()
        m.d.comb += [
            fetch.eq(runs & (~self.o.valid | self.o.ready)),
            walk.begin.eq(self.begin),
            walk.step.eq(fetch),
            self.reader.enable.eq(fetch),
            self.reader.address.eq(self.base + walk.offset),
            self.o.payload[0].eq(self.reader.data),
        ]
        with m.If(fetch):
            m.d.sync += [self.o.valid.eq(1), runs.eq(~walk.last)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.begin):
            m.d.sync += runs.eq(1)
        return m


class Copy(wiring.Component):
    """A copy of a map from a memory into another, a code a cycle.

    ``done`` is high from W + 2 cycles after ``begin``, W being the words, until the next.

    Members
    -------
    begin, base, reader : as of `Source`
    write, address, data : into the other memory
    done : all codes are written
    """

    begin: Signal
    base: Signal
    reader: Reader
    write: Signal
    address: Signal
    data: Signal
    done: Signal

    def __init__(self, parameters: SourceParameters) -> None:
        self.p = p = parameters
        super().__init__(
            {
                "begin": In(1),
                "base": In(address_bits(p.base + 1)),
                "reader": Out(read_signature(p.words, p.bits)),
                "write": Out(1),
                "address": Out(address_bits(p.count)),
                "data": Out(signed(p.bits)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Write what a source reads."""
        m = Module()
        m.submodules.source = source = Source(self.p)
        m.submodules.sink = sink = Sink(self.p.count)
        wiring.connect(m, source.reader, wiring.flipped(self.reader))
        m.d.comb += [
            source.begin.eq(self.begin),
            source.base.eq(self.base),
            source.o.ready.eq(1),
            sink.begin.eq(self.begin),
            sink.word.eq(source.o.valid),
            self.write.eq(source.o.valid),
            self.address.eq(sink.address),
            self.data.eq(source.o.payload[0].as_signed()),
            self.done.eq(sink.done),
        ]
        return m


class Sink(wiring.Component):
    """The count of the ``words`` of a map that is written in order.

    Members
    -------
    begin : a map follows
    word : a word is written
    address : of that word
    done : all are written, from the cycle after the last until ``begin``
    """

    begin: Signal
    word: Signal
    address: Signal
    done: Signal

    def __init__(self, words: int) -> None:
        self.words = words
        super().__init__({"begin": In(1), "word": In(1), "address": Out(address_bits(words)), "done": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Build the counter."""
        m = Module()
        with m.If(self.begin):
            m.d.sync += [self.address.eq(0), self.done.eq(0)]
        with m.Elif(self.word):
            with m.If(self.address == self.words - 1):
                m.d.sync += self.done.eq(1)
            with m.Else():
                m.d.sync += self.address.eq(self.address + 1)
        return m
