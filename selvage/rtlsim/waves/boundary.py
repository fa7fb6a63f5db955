"""What leaves a component in a step: what it must show, and what it showed in the waves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from selvage.rtlsim.waves.file import Events

Entry = Sequence[int]


@dataclass(frozen=True)
class Boundary:
    """What leaves a component: what it must show in a step, and what it showed.

    ``told`` says what an entry means; ``place`` gives what else is known of the place of entry k. ``handshake`` is the
    stream's signal, where it is a stream.
    """

    component: str
    expected: Sequence[Entry]
    shown: Events
    names: tuple[str, ...]
    told: Callable[[Entry], str]
    handshake: str = ""
    place: Callable[[int], dict[str, int]] = lambda _: {}
    taker: str = ""  # the component that takes it, where there is a handshake
    fed: int | None = None  # entries that what it has been given is enough for; None: all
    reader: int = -1  # the array or pair that it belongs to; -1: to none
    settled: bool = False  # it is worth comparing only where all before it is whole
    since: str = ""  # without a handshake, a signal that stands still when it waits

    def entries(self) -> list[Entry]:
        """Return what was shown."""
        columns = [self.shown.fields[name].tolist() for name in self.names]
        return list(zip(*columns, strict=True))
