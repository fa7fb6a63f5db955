"""What the streams of a run that goes wrong show: since when each offers or refuses, and which pin is unknown.

For benches with Python and without: the sentences are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FACTOR = 4
SLACK = 1000
NAMED = 3  # streams of a kind that a sentence names
HISTORY = 4096  # changes kept before they are summed up
FILE = "streams.txt"


def most_cycles(predicted: int, slower: int = 1) -> int:
    """Return the cycles after which a run of ``predicted`` cycles, ``slower`` times as long by pauses, hangs."""
    return FACTOR * predicted * slower + SLACK


class GatewareFault(Exception):
    """The gateware breaks a rule of its pins; the message is a sentence."""


@dataclass(frozen=True)
class Stream:
    """One stream in the cycle in which a run ends. Levels are ``0``, ``1`` or ``x``."""

    name: str
    from_rtl: bool  # the gateware offers, the bench takes
    valid: str
    ready: str
    since: int  # cycle from which on both are so
    unknown: bool = False  # some of what is offered is X


def told_hang(why: str, streams: Sequence[Stream]) -> str:
    """Return the sentence on a run that does not end: who refuses what is offered, and where nothing is offered."""
    refused = [s for s in streams if s.valid == "1" and s.ready == "0"]
    # What the bench does not offer it has sent, or has not been asked for.
    silent = [s for s in streams if s.valid == "0" and s.from_rtl]
    kinds = {
        "offered, and the RTL refuses": [s for s in refused if not s.from_rtl],
        "offered, and the bench refuses": [s for s in refused if s.from_rtl],
        "the RTL offers nothing at": silent,
        "still moving": [s for s in streams if s.valid == s.ready == "1"],
    }
    parts = [f"{kind} {_since(found)}" for kind, found in kinds.items() if found]
    return f"the RTL hangs, {why}: " + "; ".join(parts)


def _since(streams: Sequence[Stream]) -> str:
    """Name streams, the first that stopped first."""
    found = sorted(streams, key=lambda s: s.since)
    named = ", ".join(f"{s.name} (since cycle {s.since:,})" for s in found[:NAMED])
    return named + (f" and {len(found) - NAMED} more" if len(found) > NAMED else "")


def told_unknown(pins: Sequence[str], cycle: int) -> str:
    """Return the sentence on pins that are X."""
    more = f" and at {len(pins) - 1} more pins" if len(pins) > 1 else ""
    return f"the RTL shows X at {pins[0]} in cycle {cycle:,}{more}"


def unknown_pins(streams: Sequence[Stream]) -> list[str]:
    """Return the pins that are X, handshakes first."""
    levels = [f"{s.name}__{pin}" for s in streams for pin in ("valid", "ready") if getattr(s, pin) not in "01"]
    return levels + [f"{s.name}__payload" for s in streams if s.unknown]


class Watch:
    """The cycle since which each stream is as it is, for benches in Python. A cycle costs next to nothing."""

    def __init__(self, names: Sequence[tuple[str, bool]]) -> None:
        """Take ``names`` of the streams, and whether the gateware offers; bit k of what is seen is stream k's."""
        self.names = names
        self._last = 0, 0
        self._changes: list[tuple[int, int]] = []  # cycle, streams that changed in it
        self._since = [0] * len(names)

    def see(self, now: int, valid: int, ready: int) -> None:
        """Note the handshakes of a cycle."""
        if (valid, ready) != self._last:
            self._changes.append((now, valid ^ self._last[0] | ready ^ self._last[1]))
            self._last = valid, ready
            if len(self._changes) > HISTORY:
                self._settle()

    def _settle(self) -> None:
        """Keep the last change of each stream, which is all that counts."""
        left = 2 ** len(self.names) - 1
        for now, changed in reversed(self._changes):
            for k in range(left.bit_length()) if changed & left else ():
                if changed & left & 1 << k:
                    self._since[k] = now
            left &= ~changed
            if not left:
                break
        self._changes.clear()

    def streams(self) -> list[Stream]:
        """Return the streams as they are now."""
        self._settle()
        valid, ready = self._last
        return [
            Stream(name, from_rtl, str(valid >> k & 1), str(ready >> k & 1), self._since[k])
            for k, (name, from_rtl) in enumerate(self.names)
        ]


def watch_text(pins: Sequence[tuple[str, str, str]]) -> str:
    """Return Verilog for a bench without Python: task ``watch``, called before each edge of a run that is watched.

    ``pins``: valid, ready and payload of each stream. It needs ``now``, the cycle. Nothing of it is looked at in a run
    without ``+watch``; ``odd`` is raised in Icarus (Verilator knows no X), and a run with it is worth another look. The
    bench declares both before its macros (`FLAGS`), which raise ``odd`` too.
    """
    return _WATCH.format(
        streams=len(pins),
        valid=", ".join(valid for valid, _, _ in reversed(pins)),
        ready=", ".join(ready for _, ready, _ in reversed(pins)),
        unknown=", ".join(f"{valid} === 1'b1 && ^{payload} === 1'bx" for valid, _, payload in reversed(pins)),
    )


def read_streams(path: Path, names: Sequence[tuple[str, bool]]) -> tuple[int, list[Stream]]:
    """Return what `watch_text` wrote: the last cycle, and all streams."""
    cycle, *lines = path.read_text().splitlines()
    found = []
    for (name, from_rtl), line in zip(names, lines, strict=True):
        valid, ready, unknown, since = line.split()
        found.append(Stream(name, from_rtl, valid, ready, int(since), unknown == "1"))
    return int(cycle), found


FLAGS = "reg watching = 1'b0, odd = 1'b0;"

_WATCH = """\
  wire [{streams} - 1:0] stream_valid = {{{valid}}};
  wire [{streams} - 1:0] stream_ready = {{{ready}}};
  reg [{streams} - 1:0] was_valid = 0, was_ready = 0, unknown;
  integer since [0:{streams} - 1];
  integer stream, streams_file;
  initial begin
    watching = $test$plusargs("watch");
    for (stream = 0; stream < {streams}; stream = stream + 1) since[stream] = 0;
  end
`ifndef VERILATOR
  wire handshakes = ^{{stream_valid, stream_ready}};
  always @(handshakes) if (!rst && handshakes === 1'bx) odd = 1'b1;
`endif
  task tell_streams;
    begin
      streams_file = $fopen("streams.txt", "w");
      $fdisplay(streams_file, "%0d", now);
      for (stream = 0; stream < {streams}; stream = stream + 1)
        $fdisplay(streams_file, "%b %b %b %0d",
          stream_valid[stream], stream_ready[stream], unknown[stream], since[stream]);
      $fclose(streams_file);
      $finish;
    end
  endtask
  task watch;
    input ends;
    begin
      for (stream = 0; stream < {streams}; stream = stream + 1)
        if (stream_valid[stream] !== was_valid[stream] || stream_ready[stream] !== was_ready[stream])
          since[stream] = now;
      was_valid = stream_valid;
      was_ready = stream_ready;
      unknown = {{{unknown}}};
      if (^{{stream_valid, stream_ready}} === 1'bx || unknown != 0 || ends) tell_streams;
    end
  endtask
"""
