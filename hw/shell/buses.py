"""The buses that a shell can stand behind: each is one class in this folder, found without being listed anywhere."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from selvage.base.registry import instances
from selvage.hw import shell as folder
from selvage.hw.shell.axi import FrameParameters, StreamIn, StreamOut
from selvage.hw.shell.registers import RegisterFile
from selvage.hw.shell.run import Run

if TYPE_CHECKING:
    from selvage.hw.shell.shell import Shell


class Bus(ABC):
    """How registers and words reach a shell. A subclass in a module of this folder is its gateware."""

    name: ClassVar[str]  # of ``--bus``
    framed: ClassVar[bool]  # an image's last word is marked, and what goes wrong with the marks is told
    queues: ClassVar[bool]  # words pass through registers, which queue them

    @abstractmethod
    def members(
        self, inputs: Sequence[FrameParameters], outputs: Sequence[FrameParameters]
    ) -> dict[str, wiring.Member]:
        """Return the pins of the bus by name."""

    @abstractmethod
    def registers(self, m: Module, shell: "Shell") -> wiring.PureInterface:
        """Add the access to registers between the pins of ``shell`` and the interface that is returned."""

    @abstractmethod
    def enter(
        self,
        m: Module,
        shell: "Shell",
        k: int,
        frames: StreamIn,
        target: stream.Interface,
        registers: RegisterFile,
        run: Run,
    ) -> None:
        """Connect input ``k``: from the pins or registers through ``frames`` to the network's stream ``target``."""

    @abstractmethod
    def leave(
        self,
        m: Module,
        shell: "Shell",
        k: int,
        frames: StreamOut,
        source: stream.Interface,
        registers: RegisterFile,
        run: Run,
    ) -> None:
        """Connect output ``k``, as `enter`."""


def buses() -> dict[str, Bus]:
    """Return all buses by name."""
    return {bus.name: bus for bus in sorted(instances(Bus, folder), key=lambda bus: bus.name)}


def flat(prefix: str, signature: wiring.Signature | wiring.FlippedSignature) -> dict[str, wiring.Member]:
    """Return members as pins of their own, named as tools know them."""
    return {f"{prefix}_{name}": member for name, member in signature.members.items()}


def join(m: Module, shell: "Shell", prefix: str, inner: wiring.PureInterface) -> None:
    """Connect the pins ``prefix_x`` of ``shell`` with the members of an interface."""
    for name in inner.signature.members:
        outer, own = getattr(shell, f"{prefix}_{name}"), getattr(inner, name)
        m.d.comb += own.eq(outer) if shell.signature.members[f"{prefix}_{name}"].flow is In else outer.eq(own)
