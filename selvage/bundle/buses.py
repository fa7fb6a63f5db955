"""The words and tests of a bundle for a bus: each is one class in this room, found without being listed anywhere."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from selvage import bundle as room
from selvage.base.registry import instances
from selvage.hw.shell.axi import FrameParameters

REFUSED = """\
      if (refused && !over) begin
        $display("FAIL first difference: register %h refused an access", address);
        over = 1'b1;
      end
    end
  endtask
"""
"""The end of a task of a self-test that accesses a register: an access that is refused fails the test."""


class BusFiles(ABC):
    """The words and the self-test of a shell for one bus (`hw.shell.buses.Bus`), in pieces of Verilog and of a page.

    Pieces are formatted with ``k``, the number of an input or output, ``frame``, words of an image, and ``words``, of
    all images.
    """

    name: ClassVar[str]
    title: ClassVar[str]  # as people call it
    stream: ClassVar[str]  # an input is called so, and its number
    page: ClassVar[str]  # on its pins and how they are used
    ends: ClassVar[str]  # what `abort` does
    turn: ClassVar[str]  # what the host does for the streams beside the registers, once
    entered: ClassVar[str]  # whether words of an input have entered
    waits: ClassVar[str]  # whether a word waits at an output
    refused_in: ClassVar[str]  # what is said of an input when nothing moves any more
    refused_out: ClassVar[str]
    withdraw: ClassVar[str] = ""  # what the test does behind an abort that leaves words at the outputs

    @abstractmethod
    def parts(
        self, inputs: Sequence[FrameParameters], outputs: Sequence[FrameParameters], images: int
    ) -> tuple[list[str], list[str], str]:
        """Return the pins, what stands beside the host's program, and what that does in a turn of the streams."""

    @abstractmethod
    def rewind(self, inputs: int, outputs: int) -> str:
        """Return what takes all streams back to their first word."""

    def dropping(self, inputs: Sequence[FrameParameters]) -> str:
        """Return the test of what is dropped behind an abort amid a frame."""
        return ""


def bus_files() -> dict[str, BusFiles]:
    """Return the files of all buses by name."""
    return {files.name: files for files in sorted(instances(BusFiles, room), key=lambda files: files.name)}
