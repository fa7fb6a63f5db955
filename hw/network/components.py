"""What a stage is in gateware: parameters by the kind of stage, components by the kind of parameters.

Each component's module registers both (`functools.singledispatch`), so that a new one is told of nowhere else.
"""

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from amaranth.lib import wiring

from selvage.base.layer import InputFormat
from selvage.base.registry import load
from selvage.hw.lib.loadable import Constants
from selvage.mapping.stages import Stage


@dataclass(frozen=True)
class Surroundings:
    """What a network says of a stage: channels of a word of its output (``lanes``), and how constants are held."""

    stage: Stage
    lanes: int
    constants: Constants

    @property
    def bits(self) -> int:
        """Bits of a value of the output."""
        return self.stage.output.format.raw_bits

    @property
    def formats(self) -> tuple[InputFormat, ...]:
        """Formats of the sources' values."""
        return tuple(source.format for source in self.stage.sources)

    @property
    def words(self) -> tuple[int, ...]:
        """Words of a pixel of each source."""
        return tuple(source.shape[0] // self.lanes for source in self.stage.sources)


@singledispatch
def parameters_of(stage: Stage, around: Surroundings) -> Any:
    """Return the parameters of a stage's component. TypeError: nobody knows this kind of stage."""
    raise TypeError(f"stage {stage.name!r} is of no known kind")


@singledispatch
def component_of(parameters: object) -> wiring.Component:
    """Return the component that parameters describe, with ``i`` or ``i_k`` and ``o``. TypeError: none is."""
    raise TypeError(f"{parameters} are of no known component")


def load_components() -> None:
    """Load all modules beside this one, so that what they register is known."""
    load(__package__)
