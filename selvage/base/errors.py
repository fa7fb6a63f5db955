"""The exceptions that end a command with a sentence: bad input, and a simulation that failed."""

from typing import Any


class InputError(ValueError):
    """Bad input. The message is one sentence that names the value and the rule it breaks."""


class SimulationError(RuntimeError):
    """The simulator or the bench failed; the message says where its log is."""


class RtlError(SimulationError):
    """The RTL ran and broke a rule of its pins: it hangs, shows X, or sends what is not due. The message says which.

    ``node`` and ``tile`` are those that do, and ``sent`` the beats that had left the tile, where that is known;
    ``outputs`` are the tile's (N, M, OH, OW) where all of them had. Of a network that hangs nothing moves from cycle
    ``still`` on.
    """

    def __init__(
        self,
        message: str,
        sent: int | None = None,
        tile: int | None = None,
        node: str | None = None,
        outputs: Any = None,
        still: int | None = None,
    ) -> None:
        super().__init__(message, sent, tile, node, outputs, still)
        self.sent, self.tile, self.node, self.outputs, self.still = sent, tile, node, outputs, still

    def __str__(self) -> str:
        return self.args[0]
