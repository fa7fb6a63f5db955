"""Streams between the stages of a network, word by word: when each is offered and when it is taken.

Written from the timing tables of ``docs/architecture.md`` and ``docs/pipelines.md``, not from the gateware. A process
is a generator; it yields what it waits for to grow. Nothing happens in a cycle in which no word moves.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence

Process = Generator["Times", None, None]


class Times(list[int]):
    """Cycles, one after the other, and the processes that wait for the next."""

    def __init__(self, run: Callable[[Process], None]) -> None:
        super().__init__()
        self.run, self.waiting = run, []

    def put(self, cycle: int) -> None:
        """Add the next."""
        self.append(cycle)
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            for process in waiting:
                self.run(process)


class Stream:
    """A stream of words: word n is offered from cycle ``offered[n]`` on, and taken in cycle ``taken[n]``."""

    def __init__(self, simulation: "Simulation") -> None:
        self.offered, self.taken = simulation.times(), simulation.times()


class Simulation:
    """All processes of a network."""

    def __init__(self) -> None:
        self.ready: deque[Process] = deque()

    def times(self) -> Times:
        """Return a new list of cycles."""
        return Times(self.ready.append)

    def stream(self) -> Stream:
        """Return a new stream."""
        return Stream(self)

    def start(self, process: Process) -> None:
        """Add a process."""
        self.ready.append(process)

    def run(self) -> None:
        """Run all processes until each is done or waits for what never comes."""
        while self.ready:
            process = self.ready.popleft()
            for waits in process:
                waits.waiting.append(process)
                break

    def source(self, words: int, first: int = 0) -> Stream:
        """Return a stream that offers so many words, the first in cycle ``first``, without a pause."""
        out = self.stream()
        self.start(_source(out, words, first))
        return out

    def sink(self, stream: Stream) -> Times:
        """Take every word when it is offered; return in which cycles."""
        self.start(_sink(stream))
        return stream.taken

    def fork(self, stream: Stream, readers: int) -> list[Stream]:
        """Return a stream for each reader, all of which have a word before the next one comes. No cycle."""
        if readers == 1:
            return [stream]
        outs = [self.stream() for _ in range(readers)]
        self.start(_fork(stream, outs))
        return outs

    def queue(self, stream: Stream, depth: int) -> Stream:
        """Return ``stream`` behind a queue of ``depth`` words in a memory; itself where ``depth`` is 0."""
        if not depth:
            return stream
        out, fetched = self.stream(), self.times()
        self.start(_fill(stream, fetched, max(2, depth) - 1))
        self.start(_empty(stream, fetched, out))
        return out

    def pipeline(self, stream: Stream, latency: int, *others: Stream) -> Stream:
        """Return a stream whose words leave ``latency`` cycles after one of each source was taken.

        All registers of the pipeline stand still while the word at its end is not taken.
        """
        pipe = Pipeline(self, latency)
        self.start(_enter([stream, *others], pipe))
        return pipe.out


class Pipeline:
    """Registers that move at once, or stand still while a word is offered at their end and not taken."""

    def __init__(self, simulation: Simulation, latency: int) -> None:
        self.latency, self.out, self.entered, self.passed = latency, simulation.stream(), simulation.times(), 0
        if latency > 1:
            simulation.start(self._leave())

    def moves(self, cycle: int) -> Generator[Times, None, int]:
        """Return the first cycle from ``cycle`` on in which the registers move; of later calls never an earlier one."""
        offered, taken = self.out.offered, self.out.taken
        while True:
            word = self.passed
            if word < len(offered):
                if offered[word] > cycle:
                    return cycle
                while len(taken) <= word:
                    yield taken
                cycle, self.passed = max(cycle, taken[word]), word + 1
            elif word < len(self.entered) and self.entered[word] + self.latency <= cycle:
                yield offered
            else:
                return cycle

    def enter(self, cycle: int) -> Generator[Times, None, int]:
        """Let a word in that is there in ``cycle``, and return when it comes in."""
        cycle = yield from self.moves(cycle)
        self.entered.put(cycle)
        if self.latency == 1:
            self.out.offered.put(cycle + 1)
        return cycle

    def _leave(self) -> Process:
        """Offer each word when the registers have moved as often as there are."""
        entered, offered, taken, word = self.entered, self.out.offered, self.out.taken, 0
        while True:
            while len(entered) <= word:
                yield entered
            first = entered[word] + 1
            end = first + self.latency - 2  # the cycle in which it moves into the last register
            for before in range(max(0, word - self.latency), word):
                if offered[before] > end:
                    break
                while len(taken) <= before:
                    yield taken
                end += max(0, taken[before] - max(offered[before], first))
            offered.put(end + 1)
            word += 1


def _source(out: Stream, words: int, first: int) -> Process:
    cycle = first
    for word in range(words):
        out.offered.put(cycle)
        while len(out.taken) <= word:
            yield out.taken
        cycle = out.taken[word] + 1


def _sink(stream: Stream) -> Process:
    word = 0
    while True:
        while len(stream.offered) <= word:
            yield stream.offered
        stream.taken.put(stream.offered[word])
        word += 1


def _fork(stream: Stream, outs: Sequence[Stream]) -> Process:
    word = 0
    while True:
        while len(stream.offered) <= word:
            yield stream.offered
        for out in outs:
            out.offered.put(stream.offered[word])
        for out in outs:
            while len(out.taken) <= word:
                yield out.taken
        stream.taken.put(max(out.taken[word] for out in outs))
        word += 1


def _fill(stream: Stream, fetched: Times, room: int) -> Process:
    """Take words while fewer than ``room`` are in the memory; a word leaves it in the cycle in which it is fetched."""
    word = 0
    while True:
        while len(stream.offered) <= word:
            yield stream.offered
        while len(fetched) <= word - room:
            yield fetched
        room_from = fetched[word - room] + 1 if word >= room else 0
        stream.taken.put(max(stream.offered[word], room_from))
        word += 1


def _empty(stream: Stream, fetched: Times, out: Stream) -> Process:
    """Fetch a word from the cycle after it was written on, when the one before it leaves; a cycle later it is there."""
    word, free = 0, 0
    while True:
        while len(stream.taken) <= word:
            yield stream.taken
        fetched.put(max(stream.taken[word] + 1, free))
        out.offered.put(fetched[word] + 1)
        while len(out.taken) <= word:
            yield out.taken
        free = out.taken[word]
        word += 1


def _enter(streams: Sequence[Stream], pipe: Pipeline) -> Process:
    word = 0
    while True:
        for stream in streams:
            while len(stream.offered) <= word:
                yield stream.offered
        cycle = yield from pipe.enter(max(stream.offered[word] for stream in streams))
        for stream in streams:
            stream.taken.put(cycle)
        word += 1
